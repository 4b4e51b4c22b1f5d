"""Alternating maximisation of the dual of regularised optimal transport, over rows and columns in turn.

With scores C (cost -C) and a convex regulariser of the plan, the dual's state is one potential a `[n]` of the rows and
one b `[m]` of the columns. The plan is P = phi(C + a 1^T + 1 b^T) entry by entry: phi(z) = [z]_+ for the quadratic
regulariser, exp(z / epsilon) for the entropic one. An update of a makes all row sums right with b held fixed, an update
of b all column sums; both are exact maximisers over their block. With exp this is Sinkhorn's algorithm, with [z]_+ the
nonlinear Gauss-Seidel method of Lorenz, Manns and Meyer (2021).

No matrix is kept besides C: what is needed of C + a 1^T + 1 b^T is made again, a block of rows at a time, which stays
in the cache of a CPU. Rows are contiguous, and sums over columns are collected over the blocks, so that one layout
serves both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from twelvefold.ot.transport_plan import error_of_sums

# entries at a time, measured on one core with float32: a block stays in the cache and outweighs the cost of a call
_CACHED = 2**19
_BOUNDED = 2**23  # elsewhere: 32 MB of float32, which bounds the memory beside the scores


class Regulariser(Protocol):
    """phi and what the ascent needs of it; every function may overwrite its blocks `[G, r, m]`."""

    @property
    def scale(self) -> float:
        """phi' = slope / scale."""
        ...

    def plan_(self, z: Tensor) -> Tensor:
        """phi(z), in place."""
        ...

    def slope_(self, z: Tensor) -> Tensor:
        """scale phi'(z), in place."""
        ...

    def slope_of_plan(self, plan: Tensor, out: Tensor) -> Tensor:
        """scale phi'(z) where P = phi(z)."""
        ...

    def rows(self, z: Tensor, scratch: Tensor, masses: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """a `[G, r]` with sum_j phi(z_ij + a_i) = mass_i, and the sums of the slopes there."""
        ...

    def columns(self, blocks: Callable[[], Iterator[Tensor]], masses: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """b `[G, m]` with sum_i phi(z_ij + b_j) = mass_j, and the sums of the slopes; z comes in blocks of rows."""
        ...


@dataclass(frozen=True)
class Step:
    """Potentials after an update of the rows and one of the columns, and what its gradient needs.

    Attributes:
        source, target: a `[G, n]` and b `[G, m]`.
        row_slopes, column_slopes: sum_j slope_ij `[G, n]` after the first update, sum_i slope_ij `[G, m]` after both.
        moved: bool `[G]`, False for problems that had ended before; None: all moved.
    """

    source: Tensor
    target: Tensor
    row_slopes: Tensor
    column_slopes: Tensor
    moved: Tensor | None = None


@dataclass(frozen=True)
class Blocks:
    """Scores `[G, n, m]` of a few problems, a block of rows at a time in one buffer."""

    scores: Tensor
    buffer: Tensor

    @classmethod
    def of(cls, scores: Tensor) -> Blocks:
        """Blocks of about the size that suits the device."""
        groups, n, m = scores.shape
        rows = min(n, max(1, _block_size(scores) // (groups * m)))
        return cls(scores, scores.new_empty(groups * rows * m))

    def slices(self) -> list[slice]:
        """Which rows each block holds."""
        groups, n, m = self.scores.shape
        rows = self.buffer.numel() // (groups * m)
        return [slice(first, min(first + rows, n)) for first in range(0, n, rows)]

    def empty(self, rows: slice) -> Tensor:
        """A block `[G, r, m]` of the buffer."""
        shape = self.scores[:, rows].shape
        return self.buffer[: shape.numel()].view(shape)

    def plus_source(self, rows: slice, source: Tensor) -> Tensor:
        """C + a 1^T in the buffer."""
        return torch.add(self.scores[:, rows], source[:, rows, None], out=self.empty(rows))

    def plus_target(self, rows: slice, target: Tensor) -> Tensor:
        """C + 1 b^T in the buffer."""
        return torch.add(self.scores[:, rows], target[:, None], out=self.empty(rows))


def groups(scores: Tensor) -> list[slice]:
    """Slices of problems `[B, n, m]` that go through the ascent together: as many as fit a block, at least one."""
    several = max(1, _block_size(scores) // (scores.shape[1] * scores.shape[2]))
    return [slice(first, first + several) for first in range(0, scores.shape[0], several)]


def ascend(
    blocks: Blocks,
    marginals: tuple[Tensor, Tensor],
    start: tuple[Tensor, Tensor],
    regulariser: Regulariser,
    iterations: int,
    tolerance: float | None,
    keep: bool,
) -> tuple[list[Step], Tensor]:
    """At most `iterations` pairs of updates, all of them where `keep`, else the last; and pairs made `[G]`.

    A problem whose marginal error is at most `tolerance` stays as it is.
    """
    step = Step(*start, *start)
    steps: list[Step] = []
    scratch = torch.empty_like(blocks.buffer)
    made = torch.zeros(start[0].shape[0], dtype=torch.int64, device=start[0].device)
    moving = None if tolerance is None else torch.ones_like(made, dtype=torch.bool)
    for _ in range(iterations):
        step = _updated(blocks, marginals, step, regulariser, scratch, moving)
        steps = steps if keep else []
        steps.append(step)
        made += 1 if moving is None else moving
        if tolerance is not None and moving is not None:
            sums = plan_sums(blocks, step, regulariser)
            moving = error_of_sums(*sums, *marginals) > tolerance  # what had ended is as it was
            if not bool(moving.any()):
                break
    return steps, made


def plan_sums(blocks: Blocks, step: Step, regulariser: Regulariser, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Row sums `[G, n]` and column sums `[G, m]` of the plan, which is written to `out` `[G, n, m]` where given."""
    row_sums, column_sums = torch.empty_like(step.source), torch.zeros_like(step.target)
    for rows in blocks.slices():
        z = blocks.plus_source(rows, step.source)
        z = z.add_(step.target[:, None]) if out is None else torch.add(z, step.target[:, None], out=out[:, rows])
        plan = regulariser.plan_(z)  # P = phi((C + a) + b) [G, r, m]
        row_sums[:, rows] = plan.sum(-1)
        column_sums += plan.sum(-2)
    return row_sums, column_sums


def _updated(
    blocks: Blocks,
    marginals: tuple[Tensor, Tensor],
    step: Step,
    regulariser: Regulariser,
    scratch: Tensor,
    moving: Tensor | None,
) -> Step:
    """One exact maximisation of the dual over a, then one over b."""
    source, row_slopes = torch.empty_like(step.source), torch.empty_like(step.source)
    for rows in blocks.slices():
        z = blocks.plus_target(rows, step.target)
        source[:, rows], row_slopes[:, rows] = regulariser.rows(
            z, scratch[: z.numel()].view_as(z), marginals[0][:, rows], step.source[:, rows]
        )
    if moving is not None:
        source = torch.where(moving[:, None], source, step.source)

    def with_source() -> Iterator[Tensor]:
        return (blocks.plus_source(rows, source) for rows in blocks.slices())

    target, column_slopes = regulariser.columns(with_source, marginals[1], step.target)
    if moving is not None:
        target = torch.where(moving[:, None], target, step.target)
    return Step(source, target, row_slopes, column_slopes, moving)


def _block_size(scores: Tensor) -> int:
    return _CACHED if scores.device.type == "cpu" else _BOUNDED
