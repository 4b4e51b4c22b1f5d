"""What the solvers of regularised optimal transport take and return, and the checks they share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GRADIENTS = ("unrolled", "implicit")
# relative difference of the two total masses that rounding explains
_SAME_TOTAL = {torch.float32: 1e-5, torch.float64: 1e-8}
Potentials = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Projection:
    """A transport plan, as a projection onto the plans with given marginals, and how it was reached.

    Attributes:
        plan: P `[..., n, m]`, with the gradient. Columns have their mass to rounding, rows nearly.
        source_potential: a `[..., n]`, without a graph.
        target_potential: b `[..., m]`, without a graph.
        iterations: pairs of updates made, int64 `[...]`.
        marginal_error: `marginal_error` of the plan `[...]`, without a graph.
    """

    plan: Tensor
    source_potential: Tensor
    target_potential: Tensor
    iterations: Tensor
    marginal_error: Tensor

    @property
    def potentials(self) -> Potentials:
        """(a, b), as the `start` of a next call takes them."""
        return self.source_potential, self.target_potential


def marginal_error(plan: Tensor, source_marginal: Tensor, target_marginal: Tensor) -> Tensor:
    """Share of the mass `[...]` that is misplaced: (sum_i |P_i1 - mu_i| + sum_j |P_1j - nu_j|) / sum_i mu_i.

    Args:
        plan: P `[..., n, m]`.
        source_marginal: mu, masses of the rows, `[..., n]` or `[n]`.
        target_marginal: nu, masses of the columns, `[..., m]` or `[m]`.

    Raises:
        ValueError: shapes that do not fit.
    """
    source, target = _marginals(plan, source_marginal, target_marginal)
    return error_of_sums(plan.sum(-1), plan.sum(-2), source, target)


def error_of_sums(rows: Tensor, columns: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """`marginal_error` `[...]` from sums over rows `[..., n]` and columns `[..., m]`."""
    return ((rows - source).abs().sum(-1) + (columns - target).abs().sum(-1)) / source.sum(-1)


def unit_columns(
    sources: int, targets: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Uniform marginals in which every column has mass 1: rows m / n `[n]`, columns 1 `[m]`.

    A column is then a distribution over sources, and the entries of a plan do not shrink with the size of the problem.

    Raises:
        ValueError: fewer than one source or target.
    """
    if sources < 1 or targets < 1:
        raise ValueError(f"sources = {sources}, targets = {targets}; at least 1 of each is needed")
    rows = torch.full((sources,), targets / sources, dtype=dtype, device=device)
    return rows, torch.ones(targets, dtype=dtype, device=device)


def checked_problem(
    name: str, scores: Tensor, source_marginal: Tensor, target_marginal: Tensor, start: Potentials | None
) -> tuple[Tensor, Tensor, Potentials]:
    """Marginals `[..., n]` and `[..., m]` and potentials of these shapes to start at (0 without a start).

    Raises:
        ValueError: `name`, for scores, or the argument that does not fit, with what is accepted.
    """
    if scores.ndim < 2 or scores.dtype not in _SAME_TOTAL or 0 in scores.shape:
        raise ValueError(f"{name} is {scores.dtype} {tuple(scores.shape)}; float32 or float64 [..., n, m] with at "
                         "least one row and one column is needed")  # fmt: skip
    if not bool(torch.stack(scores.detach().aminmax()).isfinite().all()):
        raise ValueError(f"{name} holds values that are not finite; every value must be a number")
    source, target = _marginals(scores, source_marginal, target_marginal)
    _check_masses(source, target)
    if start is None:
        return source, target, (torch.zeros_like(source), torch.zeros_like(target))
    _check_start(start, source, target)
    return source, target, start


def check_schedule(iterations: int, tolerance: float | None, gradient: str) -> None:
    """Refuse fewer than one iteration, a tolerance that is not positive, and an unknown gradient (ValueError)."""
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"iterations = {iterations!r}; a whole number, at least 1, is needed")
    if tolerance is not None and not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance = {tolerance}; a positive number, or None, is needed")
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient = {gradient!r}; known are {list(GRADIENTS)}")


def _marginals(plan: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both marginals with the leading axes of the plan."""
    shaped = []
    for name, marginal, length in (("source", source, plan.shape[-2]), ("target", target, plan.shape[-1])):
        full = (*plan.shape[:-2], length)
        fits = marginal.shape == full or marginal.shape == full[-1:]
        if not fits or (marginal.dtype, marginal.device) != (plan.dtype, plan.device):
            raise ValueError(f"{name}_marginal is {marginal.dtype} {tuple(marginal.shape)} on {marginal.device}; "
                             f"{plan.dtype} {full} or {full[-1:]} on {plan.device} is needed")  # fmt: skip
        shaped.append(marginal.expand(full))
    return shaped[0], shaped[1]


def _check_masses(source: Tensor, target: Tensor) -> None:
    for name, marginal in (("source", source), ("target", target)):
        if not bool(((marginal > 0) & marginal.isfinite()).all()):
            raise ValueError(f"{name}_marginal holds masses from {float(marginal.min())} to {float(marginal.max())}; "
                             "positive numbers are needed (drop rows and columns without mass)")  # fmt: skip
    totals = source.detach().double().sum(-1), target.detach().double().sum(-1)
    apart = (totals[0] - totals[1]).abs() / totals[0]
    if bool((apart > _SAME_TOTAL[source.dtype]).any()):
        worst = int(apart.argmax())
        raise ValueError(f"source_marginal has the total mass {float(totals[0].flatten()[worst])} and target_marginal "
                         f"{float(totals[1].flatten()[worst])}; the same total is needed")  # fmt: skip


def _check_start(start: Potentials, source: Tensor, target: Tensor) -> None:
    if len(start) != 2:
        raise ValueError(f"start has {len(start)} entries; the source and the target potential are needed")
    for name, potential, like in (("source", start[0], source), ("target", start[1], target)):
        if potential.shape != like.shape or (potential.dtype, potential.device) != (like.dtype, like.device):
            raise ValueError(f"the {name} potential of start is {potential.dtype} {tuple(potential.shape)} on "
                             f"{potential.device}; {like.dtype} {tuple(like.shape)} on {like.device} is "
                             "needed")  # fmt: skip
        if not bool(potential.isfinite().all()):
            raise ValueError(f"the {name} potential of start is not finite; every value must be a number")
