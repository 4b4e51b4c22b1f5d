"""Causal graphs with what their variables mean: published networks, a user's own, and renamed copies.

A graph of n variables is a boolean matrix `[n, n]`; entry (i, j) says that variable i is a direct cause of variable j.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from twelvefold.core import data

_DOMAIN = "the system that these variables describe"
_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "kl", "pl", "st", "tr")
_VOWELS = ("a", "e", "i", "o", "u")
_CODAS = ("b", "l", "m", "n", "r", "s", "x")


@dataclass(frozen=True, eq=False)
class CausalGraph:
    """A graph to be discovered.

    Attributes:
        name: of the graph.
        variables: n short names, all different.
        phrases: n noun phrases, all different, that read well after "a change in".
        domain: what an expert on these variables is an expert of.
        edges: the true graph `[n, n]`, bool, without loops.
    """

    name: str
    variables: tuple[str, ...]
    phrases: tuple[str, ...]
    domain: str
    edges: Tensor

    def __post_init__(self) -> None:
        n = len(self.variables)
        for what, texts in (("variables", self.variables), ("phrases", self.phrases)):
            if len(set(texts)) != n or not all(texts):
                raise ValueError(f"{what} of {self.name!r}: {len(texts)}, {len(set(texts))} of them different; {n} "
                                 "different ones that are not empty are needed")  # fmt: skip
        if n < 2 or tuple(self.edges.shape) != (n, n) or self.edges.dtype != torch.bool:
            raise ValueError(f"edges of {self.name!r} are {self.edges.dtype} {tuple(self.edges.shape)}; booleans of "
                             f"shape {(n, n)} for at least 2 variables are needed")  # fmt: skip
        if bool(self.edges.diagonal().any()):
            looped = self.variables[int(self.edges.diagonal().nonzero()[0])]
            raise ValueError(f"edges of {self.name!r}: {looped!r} causes itself")

    @property
    def size(self) -> int:
        """Number n of variables."""
        return len(self.variables)

    @property
    def acyclic(self) -> bool:
        """Whether no variable is, through others, a cause of itself."""
        groups, _ = connected_components(self.edges.numpy(), directed=True, connection="strong")
        return bool(groups == self.size)


@cache
def _networks() -> Mapping[str, Any]:
    return _json("causal_networks")


@cache
def _glossary() -> Mapping[str, Any]:
    return _json("causal_glossary")


def _json(name: str) -> Mapping[str, Any]:
    (file,) = data.load(name)["files"]
    found: Mapping[str, Any] = json.loads(Path(file).read_text(encoding="utf-8"))
    return found


def known_graphs(described: bool = False) -> list[str]:
    """Names of the published networks, from small to large; `described`: only those with phrases for variables."""
    sizes = {name: len(network["nodes"]) for name, network in _networks().items()}
    return [name for name in sorted(sizes, key=lambda n: (sizes[n], n)) if not described or name in _glossary()]


def load_graph(name: str) -> CausalGraph:
    """Load a published network; variables without a phrase are called by their names.

    Raises:
        ValueError: an unknown name.
    """
    if name not in _networks():
        raise ValueError(f"name = {name!r}; known are {', '.join(known_graphs())}")
    network, words = _networks()[name], _glossary().get(name, {"domain": _DOMAIN, "variables": {}})
    return graph_of(name, network["nodes"], network["edges"], words["variables"], words["domain"])


def graph_of(
    name: str, variables: Sequence[str], edges: Sequence[Sequence[str]], phrases: Mapping[str, str] | None = None,
    domain: str = _DOMAIN,
) -> CausalGraph:  # fmt: skip
    """Make a graph from names.

    Args:
        name: of the graph. variables: n names. edges: pairs (cause, effect) of names.
        phrases: noun phrases by name; a variable that is not among them is called by its name. domain: of expertise.

    Raises:
        ValueError: an edge that is no pair, twice the same edge, an edge or a phrase of an unknown variable, or as
            `CausalGraph`.
    """
    place = {variable: i for i, variable in enumerate(variables)}
    matrix = torch.zeros(len(variables), len(variables), dtype=torch.bool)
    for edge in edges:
        if len(edge) != 2 or not {*edge} <= {*place}:
            raise ValueError(
                f"edge {list(edge)} of {name!r}; a pair (cause, effect) of {', '.join(variables)} is needed"
            )
        i, j = place[edge[0]], place[edge[1]]
        if matrix[i, j]:
            raise ValueError(f"edge {list(edge)} of {name!r} is given twice")
        matrix[i, j] = True
    words = dict(phrases or {})
    if unknown := sorted({*words} - {*place}):
        raise ValueError(f"phrases of {name!r} name {unknown[0]!r}, which is no variable of the graph")
    return CausalGraph(name, tuple(variables), tuple(words.get(v, v) for v in variables), domain, matrix)


def read_graph(edge_list: Path | str, glossary: Path | str | None = None) -> CausalGraph:
    """Read a user's graph.

    Args:
        edge_list: a CSV file with the header `cause,effect` and one edge a line.
        glossary: a JSON file {"domain": text, "variables": {name: phrase}}; a variable without any edge is listed
            there.

    Raises:
        ValueError: a file that is not of this form; the message names file and line. OSError: a file cannot be read.
    """
    path = Path(edge_list)
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    if not rows or [cell.strip() for cell in rows[0]] != ["cause", "effect"]:
        raise ValueError(f"{path} begins with {rows[0] if rows else 'nothing'}; the header cause,effect is needed")
    edges = [[cell.strip() for cell in row] for row in rows[1:] if row]
    for number, edge in enumerate(edges, 2):
        if len(edge) != 2 or not all(edge):
            raise ValueError(f"{path}, edge {number - 1}: {edge}; two names, cause and effect, are needed")
    domain, phrases = (_DOMAIN, {}) if glossary is None else _read_glossary(Path(glossary))
    variables = dict.fromkeys([*phrases, *(v for edge in edges for v in edge)])
    return graph_of(path.stem, list(variables), edges, phrases, domain)


def _read_glossary(path: Path) -> tuple[str, dict[str, str]]:
    """Domain, and phrases by variable."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        domain, phrases = found["domain"], dict(found["variables"])
    except (ValueError, KeyError, TypeError) as error:
        form = '{"domain": text, "variables": {name: phrase}}'
        raise ValueError(f"{path} is not of the form {form}: {error!r}") from error
    if not all(isinstance(text, str) and text for text in (domain, *phrases.values())):
        raise ValueError(f"{path}: domain and phrases must be texts that are not empty")
    return domain, phrases


def anonymised(graph: CausalGraph) -> CausalGraph:
    """The same graph with variables V1, ..., Vn and a domain that says nothing: names cannot be recognised."""
    names = tuple(f"V{i}" for i in range(1, graph.size + 1))
    return replace(graph, variables=names, phrases=names, domain=_DOMAIN)


def fictional(graph: CausalGraph, generator: np.random.Generator, *, hints: bool = True) -> CausalGraph:
    """The same graph about things that do not exist, so that nothing can be remembered.

    Args:
        graph: whose structure is kept. generator: draws the words.
        hints: whether a phrase names the direct causes ("the level of zol, which is made from brin"), so that a reader
            of the glossary can find the graph.
    """
    names: list[str] = []
    while len(names) < graph.size:
        parts = [generator.choice(part) for part in (_ONSETS, _VOWELS, _CODAS, _VOWELS, _CODAS)]
        if (word := "".join(parts)) not in names:
            names.append(word)
    causes = [[names[i] for i in graph.edges[:, j].nonzero()[:, 0].tolist()] for j in range(graph.size)]
    phrases = [f"the level of {name}" + (f", which is made from {' and '.join(of)}" if hints and of else "")
               for name, of in zip(names, causes, strict=True)]  # fmt: skip
    return replace(graph, variables=tuple(names), phrases=tuple(phrases), domain="the chemistry of a distant planet")
