"""The experiment on confidence: beliefs from votes, too sure or too unsure, and what they do to labels and ranking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from twelvefold.core.seeds import torch_generator
from twelvefold.papers.igda.beliefs import labels, uncertainty
from twelvefold.papers.igda.discovery_study import (
    CHUNK,
    columns_of,
    drawn_experts,
    experiments_per_round,
    policy_of,
    summary_of,
)
from twelvefold.papers.igda.feedback import Feedback, no_feedback, pairs
from twelvefold.papers.igda.loop import Discovery, Expert, area, discover
from twelvefold.papers.igda.metrics import calibration
from twelvefold.papers.igda.simulated_expert import SimulatedExpert, Skill, all_pairs
from twelvefold.papers.igda.stating import Manner, StatingExpert
from twelvefold.tasks.causal_graphs import load_graph

SMALLEST = 2.0**-30  # distance from 1/2 that tells yes from no; a power of 2, so that yes and no stay equally unsure
WHOLE, LABELS, RANKING = "both", "labels", "ranking"  # what votes decide; the exact belief decides the rest


class Separated(NamedTuple):
    """An expert whose labels come from one source and whose confidence, which ranks pairs, from another.

    Attributes:
        labelling, ranking: experts on the same evidence.
    """

    labelling: Expert
    ranking: Expert

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        """Beliefs `[S, n, n]` on the side of 1/2 that the one states and as far from it as the other states."""
        yes = labels(self.labelling.beliefs(asked, feedback))
        # 1 - u = |2p - 1|
        distance = (1 - uncertainty(self.ranking.beliefs(asked, feedback))).clamp(min=SMALLEST) / 2
        return 0.5 + torch.where(yes, distance, -distance)


def voting(
    expert: SimulatedExpert, votes: int | None, of: str, generator: torch.Generator, manner: Manner | None = None
) -> Expert:
    """The expert when K votes stand for its belief.

    Args:
        votes: K; None: infinitely many. of: what the votes decide: "both", "labels" or "ranking".
        generator: draws the votes. manner: each of the K answers states a confidence; None: each counts as certain.

    Raises:
        ValueError: something else for votes to decide, fewer than one vote, or stated confidences of infinitely many.
    """
    exact = expert._replace(skill=replace(expert.skill, votes=None))
    voted: Expert = expert._replace(skill=replace(expert.skill, votes=votes), generator=generator)
    if manner is not None:
        if votes is None:
            raise ValueError("votes = None; a number of answers that state a confidence is needed")
        voted = StatingExpert(exact, votes, manner, generator)
    if of == WHOLE:
        return voted
    if of == LABELS:
        return Separated(labelling=voted, ranking=exact)
    if of == RANKING:
        return Separated(labelling=exact, ranking=voted)
    raise ValueError(f"of = {of!r}; {WHOLE!r}, {LABELS!r} or {RANKING!r} is needed")


def _chunks(
    seed: int, graph: str, replicates: int, skill: Mapping[str, Any], device: str | torch.device
) -> list[tuple[range, SimulatedExpert]]:
    """Numbers of replicates that fit one tensor program, and their experts."""
    chunks = [range(first, min(first + CHUNK, replicates)) for first in range(0, replicates, CHUNK)]
    return [(chunk, drawn_experts(seed, chunk, Skill(**skill), load_graph(graph), device)) for chunk in chunks]


def _discovered(
    seed: int, graph: str, policy: str, chunk: range, expert: SimulatedExpert, of: str, rounds: int,
    tested_share: float, manner: Manner | None = None,
) -> Discovery:  # fmt: skip
    """What a policy finds with the votes of an expert."""
    draws = torch_generator(seed, chunk[0], f"votes on {graph} {policy}")
    voter = voting(expert, expert.skill.votes, of, draws, manner)
    # policies break ties independently: one that knows nothing is then another draw of random tests
    ties = torch_generator(seed, chunk[0], f"ties on {graph} {policy}")
    experiments = experiments_per_round(len(expert.edges), rounds, tested_share)
    return discover(voter, expert.edges, policy_of(policy), replicates=len(chunk), rounds=rounds,
                    experiments=experiments, generator=ties)  # fmt: skip


def confidence_runs(
    seed: int, graph: str, policies: list[str], skill: dict[str, Any], replicates: int, rounds: int,
    tested_share: float, of: str = WHOLE, block: int = 1, manner: dict[str, float] | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Let policies discover a published graph with an expert that states its beliefs in a certain way.

    Args:
        seed: base seed. graph: name. policies: keys, see `discovery_study.policy_of`.
        skill: arguments of `Skill`, votes and temperature among them. replicates: S. rounds: R.
        tested_share: of all pairs, after R rounds. of: what votes decide, see `voting`.
        block: numbers per replicate are averaged over so many, which must divide S.
        manner: arguments of `Manner`: votes are answers that state a confidence; None: each counts as certain.

    Returns:
        `area`: per policy the mean F1 over rounds 0, ..., R, one number per block. `means`: columns policy and, with
        standard errors `..._se` over replicates, area, first and last (F1 before the first and after the last round).

    Raises:
        ValueError: a number or name that is not accepted.
    """
    _check_blocks(replicates, block)
    chunks, rows, areas = _chunks(seed, graph, replicates, skill, device), [], {}
    stated = None if manner is None else Manner(**manner)
    for policy in policies:
        made = [_discovered(seed, graph, policy, *chunk, of, rounds, tested_share, stated) for chunk in chunks]
        f1 = torch.cat([each.f1 for each in made]).cpu()
        numbers = {"area": area(f1), "first": f1[:, 0], "last": f1[:, -1]}
        areas[policy] = numbers["area"].view(-1, block).mean(1).tolist()
        rows.append({"policy": policy, **summary_of(numbers)})
    return {"area": areas, "means": columns_of(rows)}


def _check_blocks(replicates: int, block: int) -> None:
    if block < 1 or replicates < 1 or replicates % block:
        raise ValueError(f"block = {block}, replicates = {replicates}; whole blocks of at least 1 are needed")


def temperature_runs(
    seed: int, graph: str, policies: list[str], temperatures: list[float], skill: dict[str, Any], replicates: int,
    rounds: int, tested_share: float, device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Count the replicates in which the temperature of exact beliefs changes anything.

    Args:
        as `confidence_runs`; skill: without a temperature. temperatures: compared with temperature 1.

    Returns:
        `columns`: policy, temperature, replicates and changed: number of replicates in which another pair is tested in
        any round, another label given in the end, or F1 differs.
    """
    rows, made = [], {}
    for temperature in (1.0, *temperatures):
        chunks = _chunks(seed, graph, replicates, {**skill, "temperature": temperature}, device)
        for policy in policies:
            made[policy, temperature] = [_discovered(seed, graph, policy, *chunk, WHOLE, rounds, tested_share)
                                         for chunk in chunks]  # fmt: skip
    for policy in policies:
        for temperature in temperatures:
            both = zip(made[policy, temperature], made[policy, 1.0], strict=True)
            rows.append({"policy": policy, "temperature": temperature, "replicates": replicates,
                         "changed": sum(_differing(*pair) for pair in both)})  # fmt: skip
    return {"columns": columns_of(rows)}


def _differing(one: Discovery, other: Discovery) -> int:
    tests = (one.feedback.round != other.feedback.round).flatten(1).any(1)
    named = (labels(one.beliefs) != labels(other.beliefs)).flatten(1).any(1)
    return int((tests | named | (one.f1 != other.f1).any(1)).sum())


def reliability_runs(
    seed: int, graph: str, policies: list[str], skill: dict[str, Any], replicates: int, rounds: int,
    tested_share: float, first_borders: list[float], borders: list[float], block: int = 1,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """How well beliefs fit: before any test over all pairs, and after the last round over untested pairs.

    Args:
        as `confidence_runs`; policies may be empty. first_borders, borders: between the bins of beliefs, before any
            test and after the last round.

    Returns:
        `bins`: columns moment ("before", or a policy: after its last round), belief, share and pairs, see
        `metrics.Calibration`. `gaps`: per moment, one number per block: mean belief minus share of edges. `means`:
        columns moment, expected_error (pooled over replicates), and with standard errors belief, share and gap.

    Raises:
        ValueError: a number or name that is not accepted.
    """
    _check_blocks(replicates, block)
    chunks, edges = _chunks(seed, graph, replicates, skill, device), load_graph(graph).edges
    beliefs = [expert.beliefs(all_pairs(expert), no_feedback(len(chunk), len(edges), device))
               for chunk, expert in chunks]  # fmt: skip
    every = pairs(len(edges))
    found = {"before": (torch.cat(beliefs).cpu(), every.expand(replicates, -1, -1), first_borders)}
    for policy in policies:
        made = [_discovered(seed, graph, policy, *chunk, WHOLE, rounds, tested_share) for chunk in chunks]
        untested = every & ~torch.cat([each.feedback.tested for each in made]).cpu()
        found[policy] = torch.cat([each.beliefs for each in made]).cpu(), untested, borders
    bins, means, gaps = [], [], {}
    for moment, (stated, among, between) in found.items():
        fit, numbers = calibration(stated, edges, between, among), _stated_and_true(stated, edges, among)
        bins += [{"moment": moment, "belief": float(b), "share": float(s), "pairs": int(n)}
                 for b, s, n in zip(*fit, strict=True)]  # fmt: skip
        means.append({"moment": moment, "expected_error": fit.expected_error, **summary_of(numbers)})
        gaps[moment] = numbers["gap"].view(-1, block).mean(1).tolist()
    return {"bins": columns_of(bins), "means": columns_of(means), "gaps": gaps}


def _stated_and_true(beliefs: Tensor, edges: Tensor, among: Tensor) -> dict[str, Tensor]:
    """Mean belief, share of true edges and their difference over some of the pairs, per replicate `[S]`."""
    count = among.sum((1, 2)).clamp(min=1)
    belief, share = (torch.where(among, values, 0.0).sum((1, 2)) / count for values in (beliefs, edges.double()))
    return {"belief": belief, "share": share, "gap": belief - share}


class Stated(NamedTuple):
    """First beliefs in all pairs of different variables, of all replicates: exact ones and stated ones `[m]`, and which
    pairs are edges `[m]`, bool."""

    exact: Tensor
    stated: Tensor
    edge: Tensor


def stated_beliefs(
    graph: str, votes: int | None, temperature: float, replicates: int, seed: int, bias: float = 0.0
) -> Stated:
    """What experts believe and what they state.

    Args:
        graph: name. votes: K; None: infinitely many. temperature: T. replicates: S. seed: of their evidence.
        bias: beta, in logits.
    """
    task, nothing = load_graph(graph), no_feedback(replicates, load_graph(graph).size)
    expert = drawn_experts(seed, range(replicates), Skill(votes=votes, temperature=temperature, bias=bias), task)
    among = all_pairs(expert)
    exact = expert._replace(skill=Skill()).beliefs(among, nothing)
    return Stated(exact[among], expert.beliefs(among, nothing)[among], task.edges.expand_as(among)[among])
