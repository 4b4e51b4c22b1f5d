"""Entropic optimal transport in the log domain: Sinkhorn's algorithm, batched and differentiable.

With cost C `[n, m]` and regularisation epsilon, the plan

    argmin <C, P> + epsilon sum_ij P_ij (log P_ij - 1)   over P 1 = mu, P^T 1 = nu

is P_ij = exp((a_i + b_j - C_ij) / epsilon) (Cuturi 2013; Peyre and Cuturi 2019, chapter 4). Potentials are updated as
logarithms of sums of exponentials, so that a small epsilon stays finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from twelvefold.ot.dual_gradients import Schedule, solve
from twelvefold.ot.transport_plan import Potentials, Projection, check_schedule, checked_problem


@dataclass(frozen=True)
class Entropic:
    """The regulariser scale * sum P (log P - 1): phi(z) = exp(z / scale), whose slope is phi / scale."""

    scale: float

    def plan_(self, z: Tensor) -> Tensor:
        """exp(z / scale), in place."""
        return z.div_(self.scale).exp_()

    def slope_(self, z: Tensor) -> Tensor:
        """scale phi' = phi, in place."""
        return self.plan_(z)

    def slope_of_plan(self, plan: Tensor, out: Tensor) -> Tensor:
        """scale phi' = P."""
        return out.copy_(plan)

    def rows(self, z: Tensor, scratch: Tensor, masses: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """a = scale (log mass - log sum_j exp(z_ij / scale)) `[G, r]`, and the sums of the slopes: the masses."""
        top = z.amax(-1)
        total = torch.sub(z, top[..., None], out=scratch).div_(self.scale).exp_().sum(-1)
        return self.scale * (masses.log() - total.log()) - top, masses

    def columns(self, blocks: Callable[[], Iterator[Tensor]], masses: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """b = scale (log mass - log sum_i exp(z_ij / scale)) `[G, m]`, and the masses; one pass over the blocks."""
        top, total = torch.full_like(masses, -math.inf), torch.zeros_like(masses)
        for z in blocks():
            higher = torch.maximum(top, z.amax(-2))
            total *= ((top - higher) / self.scale).exp()  # the sum so far, relative to the new maximum
            total += z.sub_(higher[:, None]).div_(self.scale).exp_().sum(-2)
            top = higher
        return self.scale * (masses.log() - total.log()) - top, masses


def sinkhorn(
    cost: Tensor,
    source_marginal: Tensor,
    target_marginal: Tensor,
    *,
    regularisation: float,
    iterations: int = 100,
    tolerance: float | None = None,
    start: Potentials | None = None,
    gradient: str = "unrolled",
) -> Projection:
    """Entropic transport plan `[..., n, m]`, which is the projection of exp(-C / epsilon) in relative entropy.

    The last update is that of the columns: their sums are exact, those of the rows nearly. With "unrolled" the gradient
    is that of the updates made, right at any number of iterations. With "implicit" it is that of the exact solution:
    right, and cheaper after many iterations, where the marginal error is small. Both keep the cost or the plan and
    vectors, no iterates, and reach the cost and the marginals. Differentiable once.

    In float32 an entry of the plan has a relative error of about 1e-7 |C| / epsilon.

    Args:
        cost: C `[..., n, m]`, float32 or float64.
        source_marginal: mu, masses of the rows, positive, `[..., n]` or `[n]`.
        target_marginal: nu, masses of the columns, positive, `[..., m]` or `[m]`; of the same total.
        regularisation: epsilon, positive, in the unit of the cost.
        iterations: at most so many pairs of updates.
        tolerance: a problem ends when its `marginal_error` is at most this; None: never early.
        start: potentials (a, b) to start at, in the unit of the cost; without a gradient.
        gradient: "unrolled" or "implicit".

    Raises:
        ValueError: a regularisation that is not positive, or as `project_polytope`.
    """
    check_schedule(iterations, tolerance, gradient)
    if not 0 < regularisation < math.inf:
        raise ValueError(f"regularisation = {regularisation}; a positive number is needed")
    source, target, start = checked_problem("cost", cost, source_marginal, target_marginal, start)
    return solve(-cost, source, target, start, Schedule(Entropic(regularisation), iterations, tolerance, gradient))
