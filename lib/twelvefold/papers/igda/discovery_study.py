"""The experiment behind the loop and its selection: replicates of a graph, every policy on the same evidence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twelvefold.core.frames import rounded
from twelvefold.core.reporting import mean_and_error
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.igda.beliefs import labels
from twelvefold.papers.igda.feedback import no_feedback, pairs
from twelvefold.papers.igda.loop import Discovery, Policy, Update, area, discover
from twelvefold.papers.igda.simulated_expert import SimulatedExpert, Skill, all_pairs, draw_expert
from twelvefold.tasks.causal_graphs import CausalGraph, graph_of, load_graph

CHUNK = 1_000  # replicates in one tensor program: the largest graph, 107 variables, then takes about 4 GB
REFERENCE = "uncertainty"  # whose tests `overlap` is measured against
LOGITS = (-10.0, 7.0, 35)  # ends and number of the borders between which beliefs are counted
ENDS = ("zero_shot", "f1", "f1_untested", "distance", "precision", "hits", "questions", "overlap")
TABLES = {"replicate": "areas", "round": "rounds", "end": "ends", "belief": "beliefs"}  # kinds of rows, and results


def policy_of(key: str) -> Policy:
    """The policy of a key: "uncertainty+local" selects by uncertainty and updates locally; without "+", no update.

    Raises:
        ValueError: an unknown rule or update.
    """
    selection, _, update = key.partition("+")
    return Policy(selection, cast(Update, update or "none"))


def graph_called(name: str, seed: int) -> CausalGraph:
    """A published network, or, called "random-20-59", a random acyclic graph of 20 variables with 59 edges.

    Raises:
        ValueError: neither; or more edges than an acyclic graph can have.
    """
    found = re.fullmatch(r"random-([0-9]+)-([0-9]+)", name)
    if found is None:
        return load_graph(name)
    n, edges = int(found[1]), int(found[2])
    if not edges <= n * (n - 1) // 2:
        raise ValueError(f"name = {name!r}; {n} variables have at most {n * (n - 1) // 2} edges without a cycle")
    generator, variables = torch_generator(seed, 0, name), [f"V{i}" for i in range(1, n + 1)]
    order = torch.randperm(n, generator=generator).tolist()
    pairs_in_order = list(combinations((variables[i] for i in order), 2))  # an earlier one may cause a later one
    chosen = torch.randperm(len(pairs_in_order), generator=generator)[:edges].tolist()
    return graph_of(name, variables, [pairs_in_order[k] for k in chosen])


def experiments_per_round(variables: int, rounds: int, tested_share: float) -> int:
    """I, so that R rounds test about this share of the n (n - 1) pairs; at least 1.

    Raises:
        ValueError: no round, or a share outside (0, 1].
    """
    if rounds < 1 or not 0 < tested_share <= 1:
        raise ValueError(f"rounds = {rounds}, tested_share = {tested_share}; at least 1 round and a share above 0, at "
                         "most 1, are needed")  # fmt: skip
    return max(1, round(tested_share * variables * (variables - 1) / rounds))


def drawn_experts(
    seed: int, replicates: Sequence[int], skill: Skill, graph: CausalGraph, device: torch.device | str = "cpu"
) -> SimulatedExpert:
    """One simulated expert per replicate; whatever the bias, a replicate has the same evidence.

    Raises:
        ValueError: no replicate, or a graph that no expert can be drawn for.
    """
    if not replicates:
        raise ValueError("replicates is empty; at least one is needed")
    evidence = [draw_expert(skill, graph.edges, 1, torch_generator(seed, r, f"evidence on {graph.name}")).evidence
                for r in replicates]  # fmt: skip
    votes = torch_generator(seed, replicates[0], f"votes on {graph.name}")
    return SimulatedExpert(skill, graph.edges.to(device), torch.cat(evidence).to(device), votes)


def followed(
    seed: int, replicates: Sequence[int], expert: SimulatedExpert, graph: CausalGraph, policy: str, rounds: int,
    experiments: int,
) -> Discovery:  # fmt: skip
    """The loop under a policy. Ties fall alike for all policies: random tests are the same with and without update.

    Args:
        seed, replicates: of the expert `expert`. policy: a key, see `policy_of`. rounds, experiments: as `discover`.
    """
    return discover(expert, expert.edges, policy_of(policy), replicates=len(replicates), rounds=rounds,
                    experiments=experiments,
                    generator=torch_generator(seed, replicates[0], f"ties on {graph.name}"))  # fmt: skip


def measured(made: Discovery, edges: Tensor, reference: Tensor) -> dict[str, Tensor]:
    """What is kept of every replicate, on the CPU, float64.

    Args:
        made: of R >= 1 rounds. edges: the true graph `[n, n]`. reference: tested pairs to compare with `[S, n, n]`.

    Returns:
        f1, f1_untested, distance `[S, R + 1]`; zero_shot: F1 before the first test `[S]`; after the last round `[S]`:
        precision of the predicted graph (1 when it is empty), hits (share of the tests that met an edge), questions
        (asked, per pair of variables) and overlap (share of the tests that are among the reference's).
    """
    predicted, tested, n = labels(made.beliefs), made.feedback.tested, len(edges)
    claimed, tests = predicted.sum((1, 2)).double(), tested.sum((1, 2)).double()
    right = (predicted & edges).sum((1, 2)).double()
    kept = {
        "f1": made.f1, "f1_untested": made.f1_untested, "distance": made.distance, "zero_shot": made.f1[:, 0],
        "precision": torch.where(claimed > 0, right / claimed.clamp(min=1), 1.0), "hits": made.found[:, -1] / tests,
        "questions": made.questions[:, -1] / (n * (n - 1)), "overlap": (tested & reference).sum((1, 2)) / tests,
    }  # fmt: skip
    return {name: values.double().cpu() for name, values in kept.items()}


def counted(logits: Tensor, among: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Number of pairs in each interval of the logit of their first belief, per replicate on average, float64.

    Args:
        logits: `[S, n, n]`. among: which pairs count, by name, each `[S, n, n]`, bool.
    """
    borders = torch.linspace(*LOGITS, dtype=torch.float64)
    place = (torch.bucketize(logits.double().cpu(), borders) - 1).clamp(0, len(borders) - 2)
    return {name: torch.bincount(place[chosen.cpu()], minlength=len(borders) - 1) / len(logits)
            for name, chosen in among.items()}  # fmt: skip


def _chunk(
    seed: int, replicates: Sequence[int], graph: CausalGraph, policies: Sequence[str], skill: Skill, rounds: int,
    experiments: int, device: torch.device | str,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:  # fmt: skip
    """What `measured` keeps, by policy, and what `counted` counts (a sum over replicates)."""
    expert = drawn_experts(seed, replicates, skill, graph, device)
    first = expert.beliefs(all_pairs(expert), no_feedback(len(replicates), graph.size, device))
    every = pairs(graph.size, device).expand_as(first)
    found, among = {}, {"pairs": every, "true": expert.edges.expand_as(first)}
    for policy in sorted(policies, key=lambda key: key != REFERENCE):  # the reference first
        made = followed(seed, replicates, expert, graph, policy, rounds, experiments)
        among[policy] = made.feedback.tested
        found[policy] = measured(made, expert.edges, among[REFERENCE])
    counts = counted(torch.logit(first), among)
    return found, {name: values * len(replicates) for name, values in counts.items()}


def discovery_runs(
    seed: int, graph: str, policies: list[str], skill: dict[str, Any], replicates: int, rounds: int,
    tested_share: float, block: int = 1, histogram: bool = False, device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Let policies discover a graph with a simulated expert.

    Args:
        seed: base seed. graph: see `graph_called`. policies: keys, see `policy_of`; "uncertainty" must be among them.
        skill: arguments of `Skill`. replicates: S. rounds: R. tested_share: of all pairs, after R rounds.
        block: areas are averaged over so many replicates, which must divide S.
        histogram: also count pairs by their first belief.

    Returns:
        `areas`: per policy the mean F1 over rounds 0, ..., R, one number per block.
        `rounds`: columns policy, round, tested (share of the pairs), f1, f1_untested with standard errors `..._se`.
        `ends`: columns policy, variables, edges, experiments (I), and `ENDS` with standard errors.
        `beliefs`: columns logit (middle of the interval), pairs, true (edges) and the policies (tested), which count
        pairs per replicate; empty without `histogram`.

    Raises:
        ValueError: a number or name that is not accepted.
    """
    if block < 1 or replicates < 1 or replicates % block:
        raise ValueError(f"block = {block}, replicates = {replicates}; whole blocks of at least 1 are needed")
    if REFERENCE not in policies:
        raise ValueError(f"policies = {policies}; {REFERENCE!r}, which others are compared with, must be among them")
    task = graph_called(graph, seed)
    experiments = experiments_per_round(task.size, rounds, tested_share)
    chunks = [range(first, min(first + CHUNK, replicates)) for first in range(0, replicates, CHUNK)]
    parts = [_chunk(seed, chunk, task, policies, Skill(**skill), rounds, experiments, device) for chunk in chunks]
    found = {policy: {name: torch.cat([part[policy][name] for part, _ in parts]) for name in ENDS}
             for policy in policies}  # fmt: skip
    share = min(1.0, rounds * experiments / (task.size * (task.size - 1)))
    counts = {name: sum((part[name] for _, part in parts), torch.zeros(())) / replicates for name in parts[0][1]}
    return {
        "areas": {policy: area(kept["f1"]).view(-1, block).mean(1).tolist() for policy, kept in found.items()},
        "rounds": _round_columns(found, rounds, share), "ends": _end_columns(found, task, experiments),
        "beliefs": _belief_columns(counts) if histogram else {},
    }  # fmt: skip


def _round_columns(found: Mapping[str, Mapping[str, Tensor]], rounds: int, share: float) -> dict[str, list[Any]]:
    rows = []
    for policy, kept in found.items():
        for r in range(rounds + 1):
            row: dict[str, Any] = {"policy": policy, "round": r, "tested": share * r / rounds}
            rows.append(row | summary_of({name: kept[name][:, r] for name in ("f1", "f1_untested")}))
    return columns_of(rows)


def _end_columns(
    found: Mapping[str, Mapping[str, Tensor]], graph: CausalGraph, experiments: int
) -> dict[str, list[Any]]:  # fmt: skip
    sizes = {"variables": graph.size, "edges": int(graph.edges.sum()), "experiments": experiments}
    last = {policy: {name: kept[name] if kept[name].ndim == 1 else kept[name][:, -1] for name in ENDS}
            for policy, kept in found.items()}  # fmt: skip
    return columns_of([{"policy": policy, **sizes, **summary_of(values)} for policy, values in last.items()])


def summary_of(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Means of columns `[S]` and, called `..._se`, their standard errors."""
    pairs_of = {name: mean_and_error(column.numpy()) for name, column in values.items()}
    return {f"{name}{end}": pair[i] for name, pair in pairs_of.items() for i, end in enumerate(("", "_se"))}


def _belief_columns(counts: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    borders = np.linspace(*LOGITS)
    used = counts["pairs"] > 0
    middles = ((borders[1:] + borders[:-1]) / 2)[used.numpy()]
    return {"logit": middles.tolist(), **{name: values[used].tolist() for name, values in counts.items()}}


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A table by columns; all rows have the names of the first."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def rows_of_points(
    points: Iterable[tuple[Mapping[str, object], Mapping[str, Any]]], curves: Sequence[str] | None = None
) -> pd.DataFrame:  # fmt: skip
    """Rows of `discovery_runs` for runs.csv, four significant digits.

    Args:
        points: what identifies a point, its graph among it, and its result.
        curves: graphs whose F1 is kept round by round; None: all.

    Returns:
        Columns: what, those that identify the point, and: for "replicate" (one row per block) replicate, policies;
        for "round", "end" and "belief" the columns of `discovery_runs`.
    """
    parts = []
    for identity, result in points:
        tables = {what: pd.DataFrame(dict(result[of])) for what, of in TABLES.items()}
        tables["replicate"].insert(0, "replicate", range(len(tables["replicate"])))
        if curves is not None and identity["graph"] not in curves:
            del tables["round"]
        parts += [_rounded(table, what=what, **identity) for what, table in tables.items() if len(table)]
    rows = pd.concat(parts, ignore_index=True)
    whole = [name for name in ("replicate", "round", "variables", "edges", "experiments") if name in rows]
    for name in whole:
        rows[name] = rows[name].astype("Int64")  # whole numbers beside empty cells
    return rows


def _rounded(table: pd.DataFrame, **identity: object) -> pd.DataFrame:
    numbers = {name: rounded(table[name], 4) for name in table.select_dtypes("float")}
    frame = table.assign(**identity, **numbers)
    return frame[[*identity, *frame.columns.drop([*identity])]]
