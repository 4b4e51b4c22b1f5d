"""Scores of all pairs of a described network by a language model, under its real or other names and any wording.

A wording is two texts that the phrase of the effect continues, one with the cause in it and one without:

    s_ij = mean over tokens of log p(phrase of j | the text with phrase i) - the same | the text without.

Renamings are drawn from a seed of their own, so that scores belong to no study and can be recorded once for all.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor

from twelvefold.core.seeds import numpy_generator
from twelvefold.nn.pretrained import LanguageModel, load_language_model
from twelvefold.papers.igda.feedback import pairs
from twelvefold.papers.igda.logit_model import Prompt, mean_log_probabilities, score_matrix
from twelvefold.tasks.causal_graphs import CausalGraph, anonymised, fictional, load_graph

SEED = 30_000  # of renamings, apart from the seeds of every study
Names = Literal["real", "anonymised", "fictional"]


class Wording(NamedTuple):
    """How a phrase is asked for.

    Attributes:
        named: a text with `{cause}` in it. plain: the text to compare with.
    """

    named: str
    plain: str


def renamed(network: str, names: str, draw: int) -> CausalGraph:
    """A described network under other names.

    Args:
        network: of `known_graphs(described=True)`.
        names: "real"; "anonymised": V1, ..., Vn in an order that is drawn; "fictional": drawn nonwords, whose phrases
            name the direct causes.
        draw: number of the renaming.

    Raises:
        ValueError: an unknown network or kind of names.
    """
    if names not in get_args(Names):
        raise ValueError(f"names = {names!r}; known are {list(get_args(Names))}")
    graph = load_graph(network)
    if names == "real":
        return graph
    generator = numpy_generator(SEED, draw, f"{names} {network}")
    if names == "fictional":
        return fictional(graph, generator)
    plain = anonymised(graph)
    words = tuple(plain.variables[k] for k in generator.permutation(graph.size))
    return replace(plain, variables=words, phrases=words)


def wording_scores(
    language_model: LanguageModel, wording: Wording, graph: CausalGraph, *, batch_tokens: int = 2048
) -> Tensor:
    """Scores s of all pairs `[n, n]`, float32, 0 on the diagonal.

    Args:
        language_model: who is asked. wording: how. graph: whose phrases are used. batch_tokens: most positions of one
            forward pass, see `nn.pretrained_scoring`.

    Raises:
        ValueError: a wording without `{cause}` in its first text alone, or texts longer than the model's context.
    """
    if "{cause}" not in wording.named or "{cause}" in wording.plain:
        raise ValueError(f"wording = {tuple(wording)}; needed is {{cause}} in the first text and not in the second")
    cause = [wording.named.format(cause=phrase) for phrase in graph.phrases]
    wanted = {(text, phrase) for text in (*cause, wording.plain) for phrase in graph.phrases}
    wanted -= set(zip(cause, graph.phrases, strict=True))  # nothing causes itself
    found = mean_log_probabilities(language_model, wanted, batch_tokens)
    scores = torch.zeros(graph.size, graph.size, dtype=torch.float64)
    for i, j in pairs(graph.size).nonzero().tolist():
        scores[i, j] = found[cause[i], graph.phrases[j]] - found[wording.plain, graph.phrases[j]]
    return scores.float()


@lru_cache(maxsize=1)
def _loaded(model: str, device: str, dtype: str) -> LanguageModel:
    return load_language_model(model, device=device, dtype=getattr(torch, dtype))


def scored_by_wording(
    network: str, names: str, draw: int, wording: list[str], model: str, device: str | torch.device = "cpu",
    dtype: str = "float32",
) -> dict[str, Any]:  # fmt: skip
    """One matrix, to be kept by a sweep: `scores [n, n]`, float32.

    Args:
        network, names, draw: see `renamed`. wording: the two texts of a `Wording`. model: see `load_language_model`.

    Raises:
        ValueError: as `renamed` and `wording_scores`.
    """
    asked = Wording(*wording)
    return {"scores": wording_scores(_loaded(model, str(device), dtype), asked, renamed(network, names, draw)).cpu()}


def scored_by_prompt(
    network: str, prompt: str, model: str, device: str | torch.device = "cpu", dtype: str = "float32"
) -> dict[str, Any]:
    """One matrix under real names, to be kept by a sweep: `scores [n, n]`, float32.

    Args:
        network: name. prompt: "chat", "few-shot" or "pmi", see `logit_model`. model: see `load_language_model`.

    Raises:
        ValueError: as `score_matrix`.
    """
    own = _loaded(model, str(device), dtype)
    return {"scores": score_matrix(own, cast(Prompt, prompt), load_graph(network)).cpu()}
