"""Published discrete Bayesian networks with their conditional tables, and rows drawn from them.

The files (BIF, from the bnlearn repository) lie inside the package pgmpy, an extra ("graphs"); nothing is downloaded.
A row is one observation of all n variables, each written as the number of its category.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from twelvefold.core.seeds import numpy_generator
from twelvefold.tasks.causal_graphs import CausalGraph, load_graph

_FOLDER = Path("utils", "example_models")  # of the files, within pgmpy


@dataclass(frozen=True, eq=False)
class BayesianNetwork:
    """A causal graph whose variables take finitely many values.

    Attributes:
        graph: structure and names; all arrays are in the order of its variables.
        categories: names of the categories of each variable.
        parents: numbers of the direct causes of each variable, in the order that its table has.
        tables: for each variable j, P(X_j = c | parents), `[*categories of the parents, categories of j]`.
    """

    graph: CausalGraph
    categories: tuple[tuple[str, ...], ...]
    parents: tuple[tuple[int, ...], ...]
    tables: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        n, counts = self.graph.size, self.counts
        if not len(self.categories) == len(self.parents) == len(self.tables) == n:
            raise ValueError(f"{self.graph.name!r}: {len(self.categories)} lists of categories, {len(self.parents)} of "
                             f"parents and {len(self.tables)} tables; {n} of each are needed")  # fmt: skip
        if not self.graph.acyclic:
            raise ValueError(f"graph {self.graph.name!r} has a cycle; a graph without is needed")
        for j, (parents, table) in enumerate(zip(self.parents, self.tables, strict=True)):
            name, shape = self.graph.variables[j], (*(counts[i] for i in parents), counts[j])
            if sorted(parents) != self.graph.edges[:, j].nonzero()[:, 0].tolist():
                raise ValueError(f"parents of {name!r}: {list(parents)}; the edges of the graph say otherwise")
            if table.shape != shape or not (table >= 0).all() or not np.allclose(table.sum(-1), 1, atol=1e-9):
                raise ValueError(f"table of {name!r} with shape {table.shape}: probabilities of shape {shape} that sum "
                                 "to 1 over the last axis are needed")  # fmt: skip

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of categories of each variable."""
        return tuple(len(names) for names in self.categories)

    @property
    def order(self) -> tuple[int, ...]:
        """The variables, causes before effects."""
        placed: list[int] = []
        while len(placed) < self.graph.size:
            placed += [j for j, parents in enumerate(self.parents) if j not in placed and {*parents} <= {*placed}]
        return tuple(placed)


def bundled_networks() -> list[str]:
    """Names of the discrete networks that pgmpy brings with it.

    Raises:
        ModuleNotFoundError: pgmpy is not installed.
    """
    return sorted(path.name.removesuffix(".bif.gz") for path in _folder().glob("*.bif.gz"))


def _folder() -> Path:
    found = importlib.util.find_spec("pgmpy")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("Bayesian networks are read from the package pgmpy: pip install 'twelvefold[graphs]'")
    return Path(found.submodule_search_locations[0]) / _FOLDER


@cache
def load_network(name: str) -> BayesianNetwork:
    """Load a published network; tables are scaled to sum to 1, which files give to a few digits only.

    Args:
        name: one of `bundled_networks` that `causal_graphs.load_graph` knows too.

    Raises:
        ValueError: an unknown name, or a file whose graph is not that of `load_graph`.
        ModuleNotFoundError: pgmpy is not installed.
    """
    if name not in bundled_networks():
        raise ValueError(f"name = {name!r}; known are {', '.join(bundled_networks())}")
    from pgmpy.readwrite import BIFReader  # takes seconds to import

    graph = load_graph(name)
    read = BIFReader(string=gzip.decompress((_folder() / f"{name}.bif.gz").read_bytes()).decode("utf-8"))
    place = {variable: j for j, variable in enumerate(graph.variables)}
    if {*read.variable_names} != {*place}:
        raise ValueError(f"the file of {name!r} has other variables than the graph: {sorted(read.variable_names)}")
    categories = tuple(tuple(read.variable_states[v]) for v in graph.variables)
    parents = tuple(tuple(place[p] for p in read.variable_parents[v]) for v in graph.variables)
    return BayesianNetwork(graph, categories, parents, tuple(
        _table(read.variable_cpds[v], [len(categories[i]) for i in parents[j]], len(categories[j]))
        for j, v in enumerate(graph.variables)
    ))  # fmt: skip


def _table(values: np.ndarray, of_parents: list[int], own: int) -> np.ndarray:
    """From one column per combination of parents to the shape of `BayesianNetwork.tables`."""
    table = np.asarray(values, dtype=np.float64).T.reshape(*of_parents, own)
    return table / table.sum(-1, keepdims=True)


def sample_rows(
    network: BayesianNetwork, rows: int, generator: np.random.Generator, do: Mapping[str, int | None] | None = None
) -> np.ndarray:  # fmt: skip
    """Draw rows, causes before effects. More rows of equal generators begin with the same rows.

    Args:
        network: what is drawn from. rows: N, at least 1. generator: draws N n numbers.
        do: variables that an experimenter sets, by name: to a category, given as its number, or, None, to a uniformly
            random one. Their causes then have no influence on them.

    Returns:
        Numbers of categories `[N, n]`, int64.

    Raises:
        ValueError: no rows, an unknown variable in `do`, or a category that it does not have.
    """
    forced, counts = _forced(network, do or {}), network.counts
    if rows < 1:
        raise ValueError(f"rows = {rows}; at least 1 is needed")
    uniform = generator.random((rows, network.graph.size))  # row by row: the first rows do not depend on N
    values = np.zeros(uniform.shape, dtype=np.int64)
    for j in network.order:
        if j in forced:
            value = forced[j]
            values[:, j] = (uniform[:, j] * counts[j]).astype(np.int64) if value is None else value
            continue
        limits = network.tables[j].cumsum(-1)[tuple(values[:, i] for i in network.parents[j])]  # [N or 1, categories]
        values[:, j] = (uniform[:, j, None] >= np.atleast_2d(limits)[:, :-1]).sum(1)
    return values


def _forced(network: BayesianNetwork, do: Mapping[str, int | None]) -> dict[int, int | None]:
    names, counts = network.graph.variables, network.counts
    if unknown := sorted({*do} - {*names}):
        raise ValueError(f"do names {unknown[0]!r}; variables of {network.graph.name!r} are {', '.join(names)}")
    for name, value in do.items():
        most = counts[names.index(name)] - 1
        if value is not None and not 0 <= value <= most:
            raise ValueError(f"do sets {name!r} to {value}; 0 to {most}, or None, is needed")
    return {names.index(name): value for name, value in do.items()}


def drawn_rows(network: BayesianNetwork, rows: int, seed: int, draw: int) -> np.ndarray:
    """Observed rows of a numbered data draw `[N, n]`; a larger N adds rows to those of a smaller one."""
    return sample_rows(network, rows, numpy_generator(seed, draw, f"rows of {network.graph.name}"))


def drawn_interventions(network: BayesianNetwork, rows: int, seed: int, draw: int) -> np.ndarray:
    """Rows of a numbered data draw under experiments: `[n, M, n]`, in slot k variable k is set uniformly at random."""
    return np.stack([
        sample_rows(network, rows, numpy_generator(seed, draw, f"rows of {network.graph.name}, {v} set"), {v: None})
        for v in network.graph.variables
    ])  # fmt: skip
