"""The experiment with scores of a language model: beliefs from score matrices, and the loop on each of them.

Nothing is asked again after a test, so that a matrix is all that the loop needs of the model.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from twelvefold.core.seeds import torch_generator
from twelvefold.core.sweep import sweep
from twelvefold.papers.igda.discovery_study import columns_of, experiments_per_round
from twelvefold.papers.igda.edge_scoring import Names, scored_by_wording
from twelvefold.papers.igda.feedback import pairs
from twelvefold.papers.igda.logit_model import beliefs_of_scores
from twelvefold.papers.igda.loop import Discovery, FixedExpert, Policy, area, discover
from twelvefold.papers.igda.metrics import ranking_quality
from twelvefold.papers.igda.prompt_update import density_of
from twelvefold.papers.igda.score_recording import recorded_scores
from twelvefold.papers.igda.wordings import PROMPT
from twelvefold.tasks.causal_graphs import CausalGraph, load_graph

RECORDED = "recorded"  # source of scores: the file of the project
STEEPNESS = 10.0  # logits between two phrases without and with all words in common
ENDS = ("area", "first", "last", "last_untested")
UNLIKE = 0.03  # shared words below it: words such as "the" at most; hardly any pair lies near it
QUALITIES = ("auroc", "unlike", "skeleton", "direction")


def explored(
    beliefs: Tensor, edges: Tensor, selection: str, rounds: int, tested_share: float, generator: torch.Generator
) -> Discovery:
    """The loop without updates.

    Args:
        beliefs: of each replicate `[S, n, n]`. edges: the true graph `[n, n]`. selection: see `Policy`. rounds: R.
        tested_share: of all pairs, after R rounds. generator: breaks ties.
    """
    return discover(FixedExpert(beliefs), edges, Policy(selection, "none"), replicates=len(beliefs), rounds=rounds,
                    experiments=experiments_per_round(len(edges), rounds, tested_share),
                    generator=generator)  # fmt: skip


def permuted(beliefs: Tensor, replicates: int, generator: torch.Generator) -> Tensor:
    """The beliefs `[n, n]` dealt out anew among all pairs, S times `[S, n, n]`; the diagonal stays 0."""
    every = pairs(len(beliefs))
    dealt = torch.zeros(replicates, *beliefs.shape, dtype=beliefs.dtype)
    orders = torch.rand(replicates, int(every.sum()), generator=generator).argsort(1)
    dealt[:, every] = beliefs[every][orders]
    return dealt


def qualities(scores: Tensor, graph: CausalGraph) -> dict[str, float]:
    """How well scores or beliefs `[n, n]` tell a graph that has no two edges between the same variables.

    Returns:
        auroc: of the ordered pairs; unlike: the same of pairs whose phrases share no telling word; skeleton: AUROC of
            the unordered pairs, each with its larger score; direction: share of the edges whose score is above that of
            their reverse, ties half.
    """
    edges, unlike = graph.edges, (shared_words(graph) < UNLIKE) & pairs(graph.size)
    larger = torch.maximum(scores, scores.T)
    return {"auroc": float(ranking_quality(scores[None], edges)),
            "unlike": _ahead(scores[edges & unlike][:, None], scores[~edges & unlike]),
            "skeleton": float(ranking_quality(larger[None], edges | edges.T)),
            "direction": _ahead(scores[edges], scores.T[edges])}  # fmt: skip


def _ahead(first: Tensor, second: Tensor) -> float:
    """How often the first is larger than the second, ties half; NaN where there is nothing to compare."""
    return float(((first > second).double() + (first == second).double() / 2).mean())


def shared_words(graph: CausalGraph) -> Tensor:
    """What two phrases have in common, a score without any model `[n, n]`, float64, symmetric, 0 to 1.

    Weight of the words that both have, divided by that of the words that either has; a word weighs log(n / number of
    phrases with it). Words that begin with the same five letters are the same.
    """
    bags = [{word[:5] for word in re.findall(r"[a-z0-9]+", phrase.lower())} for phrase in graph.phrases]
    count = Counter(word for bag in bags for word in bag)

    def weight(words: set[str]) -> float:
        return sum(math.log(graph.size / count[word]) for word in sorted(words))

    table = [[weight(a & b) / max(weight(a | b), 1e-12) for b in bags] for a in bags]
    return torch.tensor(table, dtype=torch.float64).masked_fill(~pairs(graph.size), 0.0)


def word_beliefs(graph: CausalGraph, edges_per_variable: float) -> Tensor:
    """Beliefs `[n, n]` from shared words alone; the mean belief is the density that is assumed."""
    return beliefs_of_scores(STEEPNESS * shared_words(graph), density_of(graph.size, edges_per_variable))


def choice_runs(
    seed: int, network: str, prompt: str, centred: bool, edges_per_variable: float, orders: int, rounds: int,
    tested_share: float,
) -> dict[str, float]:  # fmt: skip
    """How well one way to ask does on a network of the choosing half, by recorded scores.

    Args:
        seed: of orders and ties. network, prompt: of the recording. centred: see `logit_model.offsets`.
        edges_per_variable: assumed. orders: S. rounds, tested_share: see `explored`.

    Returns:
        gain: mean F1 over rounds 0, ..., R of testing uncertain pairs minus that of testing random ones (mean of S
            orders); and `qualities` of the beliefs.
    """
    graph = load_graph(network)
    beliefs = beliefs_of_scores(recorded_scores()[f"{network}/{prompt}/real"],
                                density_of(graph.size, edges_per_variable), centred)  # fmt: skip
    mean_f1 = {rule: area(explored(beliefs.expand(times, -1, -1), graph.edges, rule, rounds, tested_share,
                                   torch_generator(seed, 0, f"ties on {network}")).f1).mean()
               for rule, times in (("uncertainty", 1), ("random", orders))}  # fmt: skip
    return {"gain": float(mean_f1["uncertainty"] - mean_f1["random"]), **qualities(beliefs, graph)}


def wording_runs(
    seed: int, network: str, number: int, wording: list[str], source: str, edges_per_variable: float, centred: bool,
    orders: int, rounds: int, tested_share: float, device: str | torch.device = "cpu", dtype: str = "float32",
) -> dict[str, Any]:  # fmt: skip
    """The loop with one wording, under all names that were recorded, with its controls.

    Args:
        seed: of orders, deals and ties. network: name. number, wording: of the unit, see `edge_scoring`.
        source: "recorded", or the language model that is asked, see `load_language_model`.
        edges_per_variable: assumed. centred: see `logit_model.offsets`. orders: S, see `compared`.
        rounds, tested_share: see `explored`.

    Returns:
        As `compared`.
    """
    size = load_graph(network).size
    beliefs = {names: beliefs_of_scores(scores, density_of(size, edges_per_variable), centred)
               for names, scores in _scores(network, number, wording, source, device, dtype).items()}  # fmt: skip
    words = word_beliefs(load_graph(network), edges_per_variable)
    return compared(seed, network, number, {**beliefs, "words": words}, orders, rounds, tested_share)


def _scores(
    network: str, number: int, wording: list[str], source: str, device: str | torch.device, dtype: str
) -> dict[str, Tensor]:
    if source == RECORDED:
        keys = {names: f"{network}/{PROMPT}/{names}/{number}" for names in get_args(Names)}
        return {names: recorded_scores()[key] for names, key in keys.items() if key in recorded_scores()}
    points = [{"network": network, "names": names, "draw": number, "wording": wording, "model": source}
              for names in get_args(Names)]  # fmt: skip
    made = sweep(scored_by_wording, points, device=device, dtype=dtype)
    return {point["names"]: torch.as_tensor(one["scores"]) for point, one in zip(points, made, strict=True)}


def compared(
    seed: int, network: str, number: int, beliefs: Mapping[str, Tensor], orders: int, rounds: int, tested_share: float
) -> dict[str, Any]:
    """Uncertain pairs tested on every matrix of beliefs, and two controls on that of the real names.

    Args:
        seed, number: of orders, deals and ties. network: name. beliefs: `[n, n]` by condition, "real" among them.
        orders: S; "words" (whose beliefs tie), "random" (random pairs tested) and "permuted" (beliefs dealt out anew)
            are means of so many orders.
        rounds, tested_share: see `explored`.

    Returns:
        `ends`: columns condition, `ENDS` (mean F1 over rounds, F1 before the first and after the last test, the latter
            also over untested pairs) and `QUALITIES` (NaN for the controls).
        `rounds`: columns condition, round, tested (share of the pairs), f1.
    """
    graph, real = load_graph(network), beliefs["real"]
    n, edges, ends, curves = graph.size, graph.edges, [], []
    dealt = permuted(real, orders, torch_generator(seed, number, f"deal on {network}"))
    given = {name: own.expand(orders if name == "words" else 1, -1, -1) for name, own in beliefs.items()}
    given |= {"random": real.expand(orders, -1, -1), "permuted": dealt}
    share = rounds * experiments_per_round(n, rounds, tested_share) / (n * (n - 1))
    for name, own in given.items():
        generator = torch_generator(seed, number, f"ties on {network}, {name}")
        rule = "random" if name == "random" else "uncertainty"
        made = explored(own, edges, rule, rounds, tested_share, generator)
        f1 = made.f1.mean(0).tolist()
        told = qualities(beliefs[name], graph) if name in beliefs else dict.fromkeys(QUALITIES, math.nan)
        ends.append({"condition": name, "area": sum(f1) / len(f1), "first": f1[0], "last": f1[-1],
                     "last_untested": float(made.f1_untested[:, -1].mean()), **told})  # fmt: skip
        curves += [{"condition": name, "round": r, "tested": share * r / rounds, "f1": value}
                   for r, value in enumerate(f1)]  # fmt: skip
    return {"ends": columns_of(ends), "rounds": columns_of(curves)}


def believed(network: str, names: str, number: int, edges_per_variable: float, centred: bool) -> Tensor:
    """Recorded beliefs `[n, n]` of a network of the reporting half; arguments as `wording_runs`."""
    scores = recorded_scores()[f"{network}/{PROMPT}/{names}/{number}"]
    return beliefs_of_scores(scores, density_of(len(scores), edges_per_variable), centred)


def walked(beliefs: Tensor, edges: Tensor, made: int, rounds: int, tested_share: float) -> Discovery:
    """Where testing uncertain pairs stands after the first rounds.

    Args:
        beliefs: `[n, n]`. edges: the true graph `[n, n]`. made: rounds so far. rounds, tested_share: of the whole loop,
            which decide on the tests per round.
    """
    return discover(FixedExpert(beliefs[None]), edges, Policy("uncertainty", "none"), replicates=1, rounds=made,
                    experiments=experiments_per_round(len(edges), rounds, tested_share),
                    generator=torch_generator(0, 0, "ties of a walk"))  # fmt: skip
