"""Euclidean projection onto the transport polytope: quadratically regularised, sparse optimal transport.

The projection of scores C `[n, m]` onto the plans with given marginals,

    argmin 1/2 ||P - C||^2 = argmin <-C, P> + 1/2 ||P||^2   over P >= 0, P 1 = mu, P^T 1 = nu,

is optimal transport with cost -C and the quadratic regulariser of weight 1. Its solution is P = [C + a 1^T + 1 b^T]_+
(Blondel, Seguy and Rolet 2018; Essid and Solomon 2018; Lorenz, Manns and Meyer 2021), sparser the larger the scores.
`project_polytope` updates a and b in turn, each update an exact threshold on simplices. `dykstra` (Boyle and Dykstra
1986) reaches the same point with two matrices of corrections, in more iterations: after a projection it has
clipped entries, while an update of b looks at C + a 1^T unclipped. `alternating_projections`, which leaves the
corrections out, ends at another point of the polytope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from twelvefold.ot.dual_gradients import Schedule, solve
from twelvefold.ot.simplex import newton_threshold, project_simplex
from twelvefold.ot.transport_plan import Potentials, Projection, check_schedule, checked_problem


@dataclass(frozen=True)
class Quadratic:
    """The regulariser 1/2 ||P||^2: phi(z) = [z]_+."""

    scale: float = 1.0

    def plan_(self, z: Tensor) -> Tensor:
        """[z]_+, in place."""
        return z.relu_()

    def slope_(self, z: Tensor) -> Tensor:
        """1 on the support z > 0, else 0, in place."""
        return z.relu_().sign_()  # faster than a comparison, which writes bool first

    def slope_of_plan(self, plan: Tensor, out: Tensor) -> Tensor:
        """1 on the support P > 0."""
        return torch.sign(plan, out=out)

    def rows(self, z: Tensor, scratch: Tensor, masses: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """a = -tau `[G, r]` for the thresholds tau of the rows of z `[G, r, m]`, and the sizes of their supports."""

        def moments(tau: Tensor) -> tuple[Tensor, Tensor]:
            above = torch.sub(z, tau[..., None], out=scratch).relu_()
            return above.sum(-1), above.sign_().sum(-1)

        top = z.amax(-1)
        first = torch.maximum(-start, top - masses)  # no entry exceeds the mass, so tau >= max z - mass
        tau, count = newton_threshold(moments, masses, first, lambda: top)
        return -tau, count

    def columns(self, blocks: Callable[[], Iterator[Tensor]], masses: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """b = -tau `[G, m]` for the thresholds tau of the columns of z, and the sizes of their supports."""

        def moments(tau: Tensor) -> tuple[Tensor, Tensor]:
            excess, count = torch.zeros_like(tau), torch.zeros_like(tau)
            for z in blocks():
                above = z.sub_(tau[:, None]).relu_()
                excess += above.sum(-2)
                count += above.sign_().sum(-2)
            return excess, count

        def peak() -> Tensor:
            return torch.stack([z.amax(-2) for z in blocks()]).amax(0)

        tau, count = newton_threshold(moments, masses, -start, peak)
        return -tau, count


def project_polytope(
    scores: Tensor,
    source_marginal: Tensor,
    target_marginal: Tensor,
    *,
    iterations: int = 5,
    tolerance: float | None = None,
    start: Potentials | None = None,
    gradient: str = "unrolled",
) -> Projection:
    """Plan nearest to the scores among those with the given marginals, by alternating updates of two potentials.

    The last update is that of the columns: their sums are exact, those of the rows nearly. With "unrolled" the gradient
    is that of the updates made; forward and backward pass together keep the scores, the plan, the two gradients, and
    vectors. With "implicit" it is that of the exact projection, for plans whose marginal error is small. Both reach
    the scores and the marginals. Differentiable once. An update of the rows reads the scores once, an update of the
    columns as often as its thresholds take steps, a backward pass iterations + 1 times.

    In float32 keep |scores| below about 1e4 times the masses: the plan is a small difference of scores and potentials.

    Args:
        scores: C `[..., n, m]`, float32 or float64.
        source_marginal: mu, masses of the rows, positive, `[..., n]` or `[n]`.
        target_marginal: nu, masses of the columns, positive, `[..., m]` or `[m]`; of the same total.
        iterations: at most so many pairs of updates.
        tolerance: a problem ends when its `marginal_error` is at most this; None: never early.
        start: potentials (a, b) to start at, e.g. `Projection.potentials` of similar scores; without a gradient.
        gradient: "unrolled" or "implicit".

    Raises:
        ValueError: shapes or types that do not fit, values that are not finite, masses that are not positive or differ
            in total, fewer than one iteration, a tolerance that is not positive, an unknown gradient.
    """
    check_schedule(iterations, tolerance, gradient)
    source, target, start = checked_problem("scores", scores, source_marginal, target_marginal, start)
    return solve(scores, source, target, start, Schedule(Quadratic(), iterations, tolerance, gradient))


def dykstra(scores: Tensor, source_marginal: Tensor, target_marginal: Tensor, *, iterations: int = 5) -> Tensor:
    """Dykstra's alternating projections, the reference for `project_polytope`; the plan `[..., n, m]`.

    X = C, p = q = 0, and then Y = rows(X + p), p <- X + p - Y, X = columns(Y + q), q <- Y + q - X, where rows and
    columns project onto the simplices of the marginals. Differentiable by autograd, which keeps every iterate.
    Arguments and errors as `project_polytope`.
    """
    source, target = _checked(scores, source_marginal, target_marginal, iterations)
    x = scores
    p = q = torch.zeros_like(scores)
    for _ in range(iterations):
        y = project_simplex(x + p, source, dim=-1)  # rows have the masses mu
        p = x + p - y
        x = project_simplex(y + q, target, dim=-2)  # columns have the masses nu
        q = y + q - x
    return x


def alternating_projections(
    scores: Tensor, source_marginal: Tensor, target_marginal: Tensor, *, iterations: int = 5
) -> Tensor:
    """Projections onto rows and columns in turn without Dykstra's corrections; the plan `[..., n, m]`.

    It ends at a plan with these marginals, which is NOT the nearest one: a warning in code. Arguments and errors as
    `project_polytope`.
    """
    source, target = _checked(scores, source_marginal, target_marginal, iterations)
    x = scores
    for _ in range(iterations):
        x = project_simplex(project_simplex(x, source, dim=-1), target, dim=-2)
    return x


def _checked(scores: Tensor, source: Tensor, target: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    check_schedule(iterations, None, "unrolled")
    return checked_problem("scores", scores, source, target, None)[:2]
