"""The experiment with experts that learn from rows of data: hill climbing, ENCO-lite, and the expert by names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twelvefold.core.frames import rounded
from twelvefold.core.reporting import mean_and_error
from twelvefold.core.seeds import numpy_generator, torch_generator
from twelvefold.papers.igda.discovery_study import columns_of, drawn_experts, experiments_per_round, policy_of
from twelvefold.papers.igda.enco import EncoConfig, EncoExpert, EncoFit, fit
from twelvefold.papers.igda.feedback import Feedback, no_feedback, pairs
from twelvefold.papers.igda.loop import Discovery, Expert, FixedExpert, Policy, area, discover
from twelvefold.papers.igda.metrics import ranking_quality
from twelvefold.papers.igda.simulated_expert import Skill
from twelvefold.papers.igda.structure_learning import (
    Climbing,
    RelearningExpert,
    Resample,
    class_shares,
    frequencies,
    resamples,
)
from twelvefold.tasks.bayesian_networks import BayesianNetwork, drawn_interventions, drawn_rows, load_network
from twelvefold.tasks.causal_graphs import load_graph

ONE_WAY = ", one way"  # ends the key of a policy whose expert uses that an edge excludes its reverse
EXPERT, FOUND, CLASS, ENCO = "expert", "found", "class", "ENCO"  # methods; the middle two: of hill climbing


class OneWay(NamedTuple):
    """An expert that also knows that no edge goes both ways; an `Expert` of the loop."""

    inner: Expert

    def beliefs(self, asked: Tensor, feedback: Feedback) -> Tensor:
        """What the inner expert believes, and 0 in j -> i where a test has shown i -> j `[S, n, n]`."""
        shown = (feedback.tested & feedback.present).transpose(1, 2)
        return self.inner.beliefs(asked, feedback).masked_fill(shown, 0.0)


def _followed(expert: Expert, edges: Tensor, key: str, replicates: int, loop: Mapping[str, Any]) -> Discovery:
    """The loop under a policy; ties fall alike for all experts and policies.

    Args:
        key: see `discovery_study.policy_of`; with `ONE_WAY` behind it, all pairs are asked about again.
        loop: seed, rounds, tested_share.
    """
    plain = key.removesuffix(ONE_WAY)
    if plain != key:
        expert = OneWay(expert)
    policy = Policy(policy_of(plain).selection, "global") if plain != key else policy_of(plain)
    experiments = experiments_per_round(len(edges), loop["rounds"], loop["tested_share"])
    return discover(expert, edges, policy, replicates=replicates, rounds=loop["rounds"], experiments=experiments,
                    generator=torch_generator(loop["seed"], 0, "ties"))  # fmt: skip


def start_of(beliefs: Tensor, edges: Tensor) -> dict[str, Tensor]:
    """How beliefs `[S, n, n]` fit before any test, per data draw `[S]`, float64.

    Two variables count as joined when the beliefs in the two directions sum to more than 1/2.

    Returns:
        skeleton: F1 of the joined pairs, directions aside; of true edges that are joined, the share with more belief in
        the right direction (right), as much in both (open), and more in the wrong one (wrong), NaN where none is
        joined; ranking: AUROC of the beliefs.
    """
    joined, true = (beliefs + beliefs.transpose(1, 2)) > 0.5, edges | edges.T
    hit, lead, among = (joined & true).sum((1, 2)).double(), beliefs - beliefs.transpose(1, 2), joined & edges
    shares = {"right": lead > 1e-9, "open": lead.abs() <= 1e-9, "wrong": lead < -1e-9}
    return {
        "skeleton": 2 * hit / (joined.sum((1, 2)) + true.sum()),
        **{name: (chosen & among).sum((1, 2)).double() / among.sum((1, 2)) for name, chosen in shares.items()},
        "ranking": ranking_quality(beliefs, edges),
    }  # fmt: skip


def _gathered(
    found: Mapping[tuple[str, str], Discovery], starts: Mapping[str, Tensor], edges: Tensor, draws: int
) -> dict[str, Any]:  # fmt: skip
    """Tables of a point.

    Args:
        found: by method and key of a policy, S replicates each, S / draws for each data draw.
        starts: first beliefs `[S, n, n]` by method.

    Returns:
        `draws`: columns method, policy, draw, area (mean F1 over rounds 0, ..., R). `rounds`: method, policy, round,
        tested (share of the pairs), f1 with its standard error f1_se over replicates. `start`: method and, with
        standard errors, what `start_of` gives and zero_shot (F1).
    """
    n, by_draw, rounds, start = len(edges), [], [], []
    for (method, policy), made in found.items():
        areas = area(made.f1).view(draws, -1).mean(1)
        by_draw += [{"method": method, "policy": policy, "draw": k, "area": a} for k, a in enumerate(areas.tolist())]
        rounds += [{"method": method, "policy": policy, "round": r, "tested": int(made.tests[r]) / (n * (n - 1)),
                    **_summary({"f1": made.f1[:, r]})} for r in range(made.f1.shape[1])]  # fmt: skip
    for method, beliefs in starts.items():
        first = next(made.f1[:, 0] for (of, _), made in found.items() if of == method)
        start.append({"method": method, **_summary({**start_of(beliefs, edges), "zero_shot": first})})
    return {"draws": columns_of(by_draw), "rounds": columns_of(rounds), "start": columns_of(start)}


def _summary(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over replicates with standard errors `..._se`; NaN does not count, and both are 0 where nothing does."""
    made = {}
    for name, column in values.items():
        there = column[~column.isnan()].cpu().numpy()
        made[name], made[f"{name}_se"] = mean_and_error(there) if len(there) else (0.0, 0.0)
    return made


def _check(draws: int, policies: Sequence[str]) -> None:
    if draws < 1 or not policies:
        raise ValueError(f"draws = {draws}, policies = {list(policies)}; at least one of each is needed")


def expert_runs(
    seed: int, graph: str, skill: dict[str, Any], draws: int, each: int, policies: list[str], rounds: int,
    tested_share: float, device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Let the simulated expert, who sees no rows, discover a graph: the mean of some experts for each data draw.

    Args:
        seed: base seed. graph: name. skill: arguments of `Skill`. draws: number of data draws to compare with.
        each: experts per draw. policies: keys, see `discovery_study.policy_of`, and `ONE_WAY`. rounds: R.
        tested_share: of all pairs, after R rounds.

    Returns:
        See `_gathered`; one method, "expert".
    """
    _check(min(draws, each), policies)
    expert = drawn_experts(seed, range(draws * each), Skill(**skill), load_graph(graph), device)
    loop = {"seed": seed, "rounds": rounds, "tested_share": tested_share}
    found = {(EXPERT, key): _followed(expert, expert.edges, key, draws * each, loop) for key in policies}
    every = pairs(len(expert.edges), device).expand_as(expert.evidence)
    first = expert.beliefs(every, no_feedback(draws * each, len(expert.edges), device))
    return _gathered(found, {EXPERT: first}, expert.edges, draws)


def drawn_resamples(
    network: BayesianNetwork, seed: int, draw: int, rows: int, climbing: Climbing
) -> list[Resample]:  # fmt: skip
    """Bootstrap resamples of the first N rows of a numbered data draw."""
    generator = numpy_generator(seed, draw, f"resamples of {rows} rows of {network.graph.name}")
    return resamples(drawn_rows(network, rows, seed, draw), network.counts, climbing, generator)


def climbing_runs(
    seed: int, graph: str, rows: int, draws: int, policies: list[str], rounds: int, tested_share: float,
    resamples: int = 10, max_parents: int = 4, columns: str = "random", open_too: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Let bootstrap hill climbing, on observed rows, discover a graph.

    Args:
        as `expert_runs`; rows: N. draws: P. resamples, max_parents, columns: see `Climbing`.
        open_too: whether to follow also beliefs that leave open what independences leave open.

    Returns:
        See `_gathered`. Methods: "found" (edges as the searches return them; policies with an update learn anew after
        each round, with the tested edges required or forbidden), and "class" (policies without update only).
    """
    _check(draws, policies)
    network, climbing = load_network(graph), Climbing(resamples, max_parents, columns)
    drawn = [drawn_resamples(network, seed, k, rows, climbing) for k in range(draws)]
    graphs = [[resample.graph() for resample in each] for each in drawn]
    starts = {FOUND: torch.stack([frequencies(each) for each in graphs])}
    if open_too:
        starts[CLASS] = torch.stack([frequencies([class_shares(g) for g in each]) for each in graphs])
    loop, found = {"seed": seed, "rounds": rounds, "tested_share": tested_share}, {}
    for method, beliefs in starts.items():
        for key in policies:
            learning = "+" in key  # a policy with an update
            expert: Expert = RelearningExpert(drawn, beliefs) if learning else FixedExpert(beliefs)
            if method == FOUND or not learning:
                found[method, key] = _followed(expert, network.graph.edges, key, draws, loop)
    return _gathered(found, starts, network.graph.edges, draws)


def enco_runs(
    seed: int, graph: str, rows: int, intervened: int, draws: int, policies: list[str], rounds: int,
    tested_share: float, config: dict[str, Any], device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Let ENCO-lite, on observed and interventional rows, discover a graph.

    Args:
        as `expert_runs`; rows: N, the first of the draw. intervened: M, rows in which variable k is set at random, for
            each k. draws: P. config: arguments of `EncoConfig`; lists stand for tuples.

    Returns:
        See `_gathered`; one method, "ENCO". Policies with an update fit the graph on after each round.
    """
    _check(draws, policies)
    state = fitted(load_network(graph), seed, rows, intervened, draws, config, device)
    loop, edges = {"seed": seed, "rounds": rounds, "tested_share": tested_share}, load_graph(graph).edges.to(device)
    found = {(ENCO, key): _followed(EncoExpert(state), edges, key, draws, loop) for key in policies}
    return _gathered(found, {ENCO: state.probabilities}, edges, draws)


def fitted(
    network: BayesianNetwork, seed: int, rows: int, intervened: int, draws: int, config: Mapping[str, Any],
    device: str | torch.device = "cpu",
) -> EncoFit:  # fmt: skip
    """ENCO-lite after its fit, before any test, for P data draws; arguments as `enco_runs`."""
    observed = np.stack([drawn_rows(network, rows, seed, k) for k in range(draws)])
    under = np.stack([drawn_interventions(network, intervened, seed, k) for k in range(draws)])
    options: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in config.items()}
    made = EncoConfig(**options)
    return fit(torch.from_numpy(observed).to(device), torch.from_numpy(under).to(device), network.counts, made,
               torch_generator(seed, 0, f"ENCO on {network.graph.name}"))  # fmt: skip


def walked(seed: int, graph: str, rows: int, draw: int, resamples: int, rounds: int, experiments: int) -> Discovery:
    """What hill climbing on the first N rows of a data draw finds when uncertain pairs are tested, one replicate.

    Args:
        seed: base seed. graph: name. rows: N. draw: number of the data draw. resamples: B.
        rounds, experiments: see `loop.discover`.
    """
    network = load_network(graph)
    drawn = drawn_resamples(network, seed, draw, rows, Climbing(resamples))
    beliefs = frequencies([resample.graph() for resample in drawn])[None]
    return discover(FixedExpert(beliefs), network.graph.edges, Policy("uncertainty", "none"), replicates=1,
                    rounds=rounds, experiments=experiments,
                    generator=torch_generator(seed, draw, "ties"))  # fmt: skip


def rows_of_study(found: Mapping[str, Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]]) -> pd.DataFrame:
    """All rows of the study, five significant digits.

    Args:
        found: points and results of "expert", "climbing", "few" (also of `climbing_runs`, fewer resamples) and "enco".

    Returns:
        Columns: what ("draws", "rounds" or "start"), graph, method, policy, size (rows in all; 0 for the expert),
        intervened (of them under experiments), skill (d'; 0 for others), columns, searched ("few" or "all"), and those
        of the tables of a point.
    """
    parts = []
    for kind, points in found.items():
        for point, result in points:
            identity = _identity(kind, point)
            parts += [pd.DataFrame(dict(result[what])).assign(what=what, **identity)
                      for what in ("draws", "rounds", "start")]  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    numbers = rows.select_dtypes("float").columns
    rows[numbers] = rounded(rows[numbers], 5)
    for name in ("draw", "round"):
        rows[name] = rows[name].astype("Int64")  # whole numbers beside empty cells
    first = ["what", "graph", "method", "policy", "size", "intervened", "skill", "columns", "searched"]
    return rows[[*first, *rows.columns.drop(first)]]


def _identity(kind: str, point: Mapping[str, Any]) -> dict[str, Any]:
    under = point.get("intervened", 0) * load_graph(point["graph"]).size
    return {"graph": point["graph"], "size": point.get("rows", 0) + under, "intervened": under,
            "skill": point["skill"]["separation"] if kind == "expert" else 0.0,
            "columns": point.get("columns", "random"), "searched": "few" if kind == "few" else "all"}  # fmt: skip
