"""The loop as one writes it down first: one replicate, pair by pair. Oracle of the tests, peer of the benchmark."""

from __future__ import annotations

import math

import numpy as np
from twelvefold.papers.igda.simulated_expert import Skill

Pair = tuple[int, int]


def plain_discovery(
    skill: Skill, edges: np.ndarray, evidence: np.ndarray, rounds: int, experiments: int
) -> list[float]:
    """F1 before and after every round for one expert with evidence `[n, n]`: most uncertain pairs, local update."""
    n = len(edges)
    everything = [(i, j) for i in range(n) for j in range(n) if i != j]
    answers: dict[Pair, bool] = {}
    beliefs = plain_beliefs(skill, edges, evidence, everything, answers)
    curve = [plain_f1(edges, beliefs, everything)]
    for _ in range(rounds):
        untested = [pair for pair in everything if pair not in answers]
        untested.sort(key=lambda pair: abs(beliefs[pair] - 0.5))
        new = untested[:experiments]
        answers.update({pair: bool(edges[pair]) for pair in new})
        sources, targets = {i for i, _ in new}, {j for _, j in new}
        near = [pair for pair in untested if pair not in answers and (pair[0] in sources or pair[1] in targets)]
        beliefs.update(plain_beliefs(skill, edges, evidence, near, answers))
        beliefs.update({pair: float(answer) for pair, answer in answers.items()})
        curve.append(plain_f1(edges, beliefs, everything))
    return curve


def plain_beliefs(
    skill: Skill, edges: np.ndarray, evidence: np.ndarray, asked: list[Pair], answers: dict[Pair, bool]
) -> dict[Pair, float]:
    """Beliefs in the asked pairs given the answers; the posterior of the shared errors by one linear system."""
    n, variance = len(edges), skill.own_variance
    prior = np.diag([1 / skill.shared_source] * n + [1 / skill.shared_target] * n)
    total = np.zeros(2 * n)
    for (i, j), present in answers.items():
        phi = np.zeros(2 * n)
        phi[i] = phi[n + j] = 1
        prior += np.outer(phi, phi) / variance
        total += phi * (evidence[i, j] - skill.separation * (present - 0.5)) / variance
    covariance = np.linalg.inv(prior)
    mean = covariance @ total
    density = edges.sum() / (n * (n - 1))
    found = {}
    for i, j in asked:
        m = mean[i] + mean[n + j]
        v = variance + covariance[i, i] + covariance[n + j, n + j] + 2 * covariance[i, n + j]
        logit = math.log(density / (1 - density)) + skill.bias + skill.separation * (evidence[i, j] - m) / v
        found[i, j] = 1 / (1 + math.exp(-logit / skill.temperature))
    return found


def plain_f1(edges: np.ndarray, beliefs: dict[Pair, float], everything: list[Pair]) -> float:
    """2 TP / (2 TP + FP + FN)."""
    hits = sum(bool(edges[pair]) and beliefs[pair] > 0.5 for pair in everything)
    wrong = sum(bool(edges[pair]) != (beliefs[pair] > 0.5) for pair in everything)
    return 2 * hits / (2 * hits + wrong) if hits + wrong else 1.0
