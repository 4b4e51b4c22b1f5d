"""One replicate of the loop, step by step: what was tested, what was answered, what the expert then believed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from twelvefold.core.seeds import torch_generator
from twelvefold.papers.igda.beliefs import labels
from twelvefold.papers.igda.discovery_study import drawn_experts, followed
from twelvefold.papers.igda.feedback import neighbours, no_feedback
from twelvefold.papers.igda.loop import Discovery, select
from twelvefold.papers.igda.simulated_expert import Skill, all_pairs
from twelvefold.tasks.causal_graphs import CausalGraph


def steps(
    seed: int, graph: CausalGraph, policy: str, rounds: int, experiments: int, skill: Skill | None = None
) -> list[Discovery]:  # fmt: skip
    """The loop after 0, 1, ..., R rounds, for the first replicate of a seed.

    Args:
        seed: base seed. graph: to be discovered. policy: key, see `discovery_study.policy_of`. rounds: R.
        experiments: I, tests per round. skill: of the simulated expert; default that of `Skill`.

    Raises:
        ValueError: a number or policy that is not accepted.
    """
    expert = drawn_experts(seed, [0], skill or Skill(), graph)
    # draws of a longer loop begin with those of a shorter one, so that each step goes on where the last one ended
    return [followed(seed, [0], expert, graph, policy, r, experiments) for r in range(rounds + 1)]


def tests_made(walk: Sequence[Discovery], graph: CausalGraph) -> pd.DataFrame:
    """Every test in the order of rounds: columns round, cause, effect, belief (just before it) and answer."""
    number = walk[-1].feedback.round[0]
    rows = [(int(number[i, j]), i, j) for i, j in number.nonzero().tolist()]
    return pd.DataFrame([
        {"round": r, "cause": graph.variables[i], "effect": graph.variables[j],
         "belief": float(walk[r - 1].beliefs[0, i, j]), "answer": "yes" if graph.edges[i, j] else "no"}
        for r, i, j in sorted(rows)
    ])  # fmt: skip


def moved_beliefs(before: Discovery, after: Discovery, graph: CausalGraph, most: int) -> pd.DataFrame:
    """Pairs that were asked about again in the last round, those whose belief moved farthest first.

    Returns:
        At most `most` rows; columns cause, effect, before, after, and edge ("yes" where there is one).
    """
    pairs = neighbours(after.feedback)[0].nonzero().tolist()
    rows = [{"cause": graph.variables[i], "effect": graph.variables[j], "before": float(before.beliefs[0, i, j]),
             "after": float(after.beliefs[0, i, j]), "edge": "yes" if graph.edges[i, j] else "no"}
            for i, j in pairs]  # fmt: skip
    return pd.DataFrame(sorted(rows, key=lambda row: -abs(row["after"] - row["before"]))[:most])


def first_choices(seed: int, graph: CausalGraph, skill: Skill, rules: Sequence[str], count: int) -> pd.DataFrame:
    """The pairs that each rule would test first, of the first replicate of a seed.

    Returns:
        Columns rule, cause, effect, belief and edge ("yes" where there is one), `count` rows per rule, the largest
        belief first.
    """
    expert, nothing = drawn_experts(seed, [0], skill, graph), no_feedback(1, graph.size)
    beliefs, rows = expert.beliefs(all_pairs(expert), nothing), []
    for rule in rules:
        chosen = select(rule, beliefs, nothing, count, torch_generator(seed, 0, f"ties on {graph.name}"))[0]
        found = sorted(chosen.nonzero().tolist(), key=lambda pair: -float(beliefs[0, pair[0], pair[1]]))
        rows += [{"rule": rule, "cause": graph.variables[i], "effect": graph.variables[j],
                  "belief": float(beliefs[0, i, j]), "edge": "yes" if graph.edges[i, j] else "no"}
                 for i, j in found]  # fmt: skip
    return pd.DataFrame(rows)


def judged_edges(step: Discovery, graph: CausalGraph) -> dict[str, list[tuple[int, int]]]:
    """The edges of the predicted and the true graph, and the pairs of the last round.

    Returns:
        Pairs (i, j) by kind: "confirmed" (true and tested), "predicted" (true and rightly predicted), "missed" (true
        and not predicted), "wrong" (predicted and not true), "tested now" (of whatever kind).
    """
    predicted, tested, true = labels(step.beliefs)[0], step.feedback.tested[0], graph.edges
    number = step.feedback.round[0]
    kinds = {
        "confirmed": true & tested, "predicted": true & predicted & ~tested, "missed": true & ~predicted,
        "wrong": predicted & ~true, "tested now": tested & (number == step.feedback.last_round),
    }  # fmt: skip
    return {kind: [(i, j) for i, j in mask.nonzero().tolist()] for kind, mask in kinds.items()}
