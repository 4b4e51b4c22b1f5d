"""What is learnt: scores C `[v, u]`, and the four ways in which they become a plan from source to target tokens.

Masses are those of a joint distribution times u, the number of target tokens. With uniform marginals a column then has
mass 1 and a row u / v, so that entries have a size that optimisers and float32 are made for (with total mass 1 they
would be near 1 / (u v)). This is one scale for the whole matrix: with other marginals it is still the Euclidean
projection of the paper, of C / u.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from twelvefold.ot.polytope import project_polytope
from twelvefold.ot.sinkhorn import sinkhorn
from twelvefold.ot.transport_plan import Potentials, unit_columns
from twelvefold.papers.s2t2.translation import Norm, Vectors, combine, translate

Kind = Literal["sparse_sinkhorn", "column_softmax", "entropic_sinkhorn", "unconstrained"]
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class PlanModel:
    """How scores C become a plan.

    Attributes:
        kind: "sparse_sinkhorn": P = argmin |P - C|^2 / 2 over the plans with both marginals (the paper);
            "column_softmax": P_st = softmax_s(C_st), the target marginal alone;
            "entropic_sinkhorn": P = diag(a) exp(C / regularisation) diag(b) with both marginals, dense;
            "unconstrained": P = C.
        norm: how the plan is normalised (see `translation`); "unconstrained" knows none.
        iterations: row and column updates of a projection, T. The paper does not say how many; 5 is our choice, and
            successive projections go on from the potentials of the last.
        regularisation: of the entropic plan.
        spread: standard deviation of the scores that training starts from; not known from the paper.
        gradient: of both Sinkhorn plans, "unrolled" through their T iterations or "implicit" at their limit.
    """

    kind: Kind = "sparse_sinkhorn"
    norm: Norm = "convex"
    iterations: int = 5
    regularisation: float = 1.0
    spread: float = 0.02
    gradient: Literal["unrolled", "implicit"] = "unrolled"

    def __post_init__(self) -> None:
        for name, value, known in (("kind", self.kind, Kind), ("norm", self.norm, Norm)):
            if value not in get_args(known):
                raise ValueError(f"{name} = {value!r}; known are {list(get_args(known))}")
        if self.gradient not in ("unrolled", "implicit"):
            raise ValueError(f"gradient = {self.gradient!r}; known are 'unrolled' and 'implicit'")
        if self.iterations < 1 or not self.regularisation > 0 or not self.spread >= 0:
            raise ValueError(f"iterations = {self.iterations}, regularisation = {self.regularisation}, spread = "
                             f"{self.spread}; at least 1, above 0 and at least 0 are needed")  # fmt: skip


class Marginals(NamedTuple):
    """Row masses `[v]` and column masses `[u]` of a plan; each sums to u."""

    source: Tensor
    target: Tensor


class Plan(NamedTuple):
    """A plan `[v, u]` and the potentials from which the next projection may start (None: it has none)."""

    weights: Tensor
    potentials: Potentials | None


def uniform_marginals(sources: int, targets: int, device: torch.device | str = "cpu") -> Marginals:
    """Every source token has mass u / v, every target token mass 1.

    Raises:
        ValueError: a number of tokens below 1.
    """
    return Marginals(*unit_columns(sources, targets, device=device))


def marginals_of(source: Tensor, target: Tensor) -> Marginals:
    """Masses of given token probabilities, e.g. unigram frequencies: mu `[v]` and nu `[u]`, each times u.

    Raises:
        ValueError: probabilities that do not sum to one, or one that is zero, negative or not finite: a token without
            mass can neither be used nor be made.
    """
    for name, given in (("source", source), ("target", target)):
        if given.ndim != 1 or not bool((given > 0).all()):
            raise ValueError(f"{name} has shape {tuple(given.shape)} and smallest entry "
                             f"{float(given.min()) if given.numel() else None}; positive probabilities [n] are needed")
        if not abs(float(given.double().sum()) - 1) <= _SUM_TOLERANCE:
            raise ValueError(f"{name} sums to {float(given.double().sum())}; probabilities that sum to one are needed")
    size = len(target)
    # in float64, so that both sum to the same number as exactly as float32 allows
    source, target = (size * given.double() / given.double().sum() for given in (source, target))
    return Marginals(source.float(), target.float())


def draw_scores(model: PlanModel, marginals: Marginals, generator: torch.Generator) -> Tensor:
    """Scores to start from `[v, u]`: N(0, spread^2), drawn on the CPU.

    Unconstrained weights start at the plan that sparse Sinkhorn makes of such scores, so that both start with the same
    embeddings and differ in their constraints alone.
    """
    source, target = marginals
    drawn = model.spread * torch.randn(len(source), len(target), generator=generator)
    scores = drawn.to(source.device)
    if model.kind != "unconstrained":
        return scores
    return project_polytope(scores, source, target, iterations=model.iterations).plan.detach()


def plan_of(model: PlanModel, scores: Tensor, marginals: Marginals, start: Potentials | None = None) -> Plan:
    """The plan of scores C `[v, u]`, differentiable in them.

    Args:
        model: how.
        scores: C, float32.
        marginals: masses of rows and columns; a column softmax heeds the target's alone, unconstrained weights none.
        start: potentials of an earlier projection to go on from; they get no gradient.

    Raises:
        ValueError: scores whose shape the marginals do not fit.
    """
    source, target = marginals
    if tuple(scores.shape) != (len(source), len(target)):
        raise ValueError(f"scores has shape {tuple(scores.shape)}; {(len(source), len(target))} is needed")
    if model.kind == "unconstrained":
        return Plan(scores, None)
    if model.kind == "column_softmax":
        return Plan(scores.softmax(0) * target, None)
    if model.kind == "entropic_sinkhorn":
        made = sinkhorn(-scores, source, target, regularisation=model.regularisation, iterations=model.iterations,
                        start=start, gradient=model.gradient)  # fmt: skip
        return Plan(made.plan, made.potentials)
    found = project_polytope(scores, source, target, iterations=model.iterations, start=start, gradient=model.gradient)
    return Plan(found.plan, found.potentials)


def vectors_of(model: PlanModel, plan: Plan, source: Vectors) -> Vectors:
    """E' and L' `[u, d]` of a plan, from E and L `[v, d]`; unconstrained: E' = W^T E and L' = W^T L.

    Raises:
        ValueError: as `translate`.
    """
    if model.kind != "unconstrained":
        return translate(plan.weights, source, norm=model.norm)
    embedding = combine(plan.weights, source.embedding)
    return Vectors(embedding, embedding if source.tied else combine(plan.weights, source.head))
