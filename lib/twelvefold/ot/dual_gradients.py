"""Gradients of a regularised transport plan, which keep vectors alone, and the operator that torch differentiates.

With W_ij = slope_ij the entries of phi' at the plan (for [z]_+ the support, for exp the plan itself), an update of the
rows changes a by  da_i = (scale dmu_i - sum_j W_ij (dC_ij + db_j)) / sum_j W_ij,  an update of the columns b likewise,
and the plan by  dP_ij = W_ij (dC_ij + da_i + db_j) / scale.

"unrolled" runs this back through all updates. Only the potentials of every update are kept, and W is made again from
them; one pass over the scores serves the update of the columns and that of the rows before it.

"implicit" takes the plan for the exact solution, where all row and column sums are given: with the incoming gradient G,

    grad C = W (G - alpha 1^T - 1 beta^T) / scale, where its row and column sums are 0.

These are linear equations on the bipartite graph of W; alpha is eliminated, and conjugate gradients find beta without
making the matrix. The equations are singular, once for each connected component of the graph (alpha + c, beta - c), and
consistent: conjugate gradients from 0 stay where the solution is unique, and the constants c cancel in grad C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from twelvefold.ot.dual_ascent import Blocks, Regulariser, Step, ascend, groups, plan_sums
from twelvefold.ot.transport_plan import Potentials, Projection, error_of_sums

_SMALL_RESIDUAL = 32  # of conjugate gradients, in units of the type's epsilon


@dataclass(frozen=True)
class Schedule:
    """How long the ascent lasts, and its gradient."""

    regulariser: Regulariser
    iterations: int
    tolerance: float | None
    gradient: str


def solve(scores: Tensor, source: Tensor, target: Tensor, start: Potentials, schedule: Schedule) -> Projection:
    """Plan of scores `[..., n, m]` with marginals `[..., n]` and `[..., m]`, all checked, with its gradient."""
    lead, (n, m) = scores.shape[:-2], scores.shape[-2:]
    a, b = start[0].detach().reshape(-1, n), start[1].detach().reshape(-1, m)
    inputs = scores.reshape(-1, n, m), source.reshape(-1, n), target.reshape(-1, m)
    differentiate = torch.is_grad_enabled() and any(given.requires_grad for given in inputs)
    plan, a, b, made, error = _Plan.apply(*inputs, a, b, schedule, differentiate)
    return Projection(plan.view(scores.shape), a.view(*lead, n), b.view(*lead, m), made.view(lead), error.view(lead))


class _Plan(torch.autograd.Function):
    """Plan `[B, n, m]` of scores, marginals `[B, n]` and `[B, m]` and potentials to start at; with what it took."""

    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        source: Tensor,
        target: Tensor,
        a: Tensor,
        b: Tensor,
        schedule: Schedule,
        differentiate: bool,
    ) -> tuple[Tensor, ...]:
        keep = differentiate and schedule.gradient == "unrolled"
        plan = torch.empty(scores.shape, dtype=scores.dtype, device=scores.device)
        histories, ends = [], []
        for group in groups(scores):
            blocks, masses = Blocks.of(scores[group]), (source[group], target[group])
            steps, made = ascend(blocks, masses, (a[group], b[group]), schedule.regulariser, schedule.iterations,
                                 schedule.tolerance, keep)  # fmt: skip
            sums = plan_sums(blocks, steps[-1], schedule.regulariser, plan[group])
            ends.append((steps[-1].source, steps[-1].target, made, error_of_sums(*sums, *masses)))
            if keep:
                histories.append(steps)
        ctx.schedule, ctx.histories = schedule, histories
        ctx.save_for_backward(*((scores, b) if keep else (plan,) if differentiate else ()))
        found = tuple(torch.cat(parts) for parts in zip(*ends, strict=True))
        ctx.mark_non_differentiable(*found)
        return plan, *found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("a transport plan is differentiable once; create_graph = True is not accepted")
        matrix, *first = ctx.saved_tensors  # scores and b at the start, or the plan
        out = torch.empty(matrix.shape, dtype=matrix.dtype, device=matrix.device)
        parts = []
        for index, group in enumerate(groups(matrix)):
            these = Blocks.of(matrix[group]), gradient[group], out[group], ctx.schedule.regulariser
            if first:
                parts.append(_unrolled(*these, ctx.histories[index], first[0][group]))
            else:
                parts.append(_implicit(*these))
        source, target = (torch.cat(part) for part in zip(*parts, strict=True))
        return out, source, target, None, None, None, None


def _unrolled(
    blocks: Blocks, gradient: Tensor, out: Tensor, regulariser: Regulariser, steps: list[Step], first: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient of the steps made from b = `first`: of scores into `out` `[G, n, m]`, of marginals as the result."""
    for_a, for_b = _through_plan(blocks, steps[-1], gradient, out, regulariser)
    for_source, for_target = torch.zeros_like(for_a), torch.zeros_like(for_b)
    befores = [first, *(step.target for step in steps[:-1])]
    for step, before in zip(reversed(steps), reversed(befores), strict=True):
        u = _at(step.moved, for_b / step.column_slopes)
        v, back = _through_step(blocks, step, before, u, for_a, out, regulariser)
        for_source += v
        for_target += u
        # what did not move passes its gradient on; else it went into the scores and into b before
        for_b = back if step.moved is None else torch.where(step.moved[:, None], back, for_b)
        for_a = torch.zeros_like(for_a) if step.moved is None else for_a.masked_fill(step.moved[:, None], 0.0)
    return for_source.mul_(regulariser.scale), for_target.mul_(regulariser.scale)


def _through_plan(
    blocks: Blocks, step: Step, gradient: Tensor, out: Tensor, regulariser: Regulariser
) -> tuple[Tensor, Tensor]:
    """W G / scale into `out`; its row sums `[G, n]` and column sums `[G, m]`, the gradients of a and b."""
    for_a, for_b = torch.empty_like(step.source), torch.zeros_like(step.target)
    for rows in blocks.slices():
        slopes = regulariser.slope_(blocks.plus_source(rows, step.source).add_(step.target[:, None]))
        found = torch.mul(slopes, gradient[:, rows], out=out[:, rows])
        if regulariser.scale != 1:
            found.div_(regulariser.scale)
        for_a[:, rows] = found.sum(-1)
        for_b += found.sum(-2)
    return for_a, for_b


def _through_step(
    blocks: Blocks, step: Step, before: Tensor, u: Tensor, for_a: Tensor, out: Tensor, regulariser: Regulariser
) -> tuple[Tensor, Tensor]:
    """Back through the update of b, with u = grad b / column slopes `[G, m]`, and then through that of a.

    Returns v = grad a / row slopes `[G, n]`, and the gradient `[G, m]` of b `before`.
    """
    v, back = torch.empty_like(for_a), torch.zeros_like(u)
    for rows in blocks.slices():
        slopes = regulariser.slope_(blocks.plus_source(rows, step.source).add_(step.target[:, None]))
        slopes.mul_(u[:, None])  # W_ij u_j, W after both updates
        grown = for_a[:, rows] - slopes.sum(-1)
        out[:, rows].sub_(slopes)
        v[:, rows] = _at(step.moved, grown / step.row_slopes[:, rows])
        slopes = regulariser.slope_(blocks.plus_target(rows, before).add_(step.source[:, rows, None]))
        slopes.mul_(v[:, rows, None])  # W_ij v_i, W after the update of a
        back -= slopes.sum(-2)
        out[:, rows].sub_(slopes)
    return v, back


def _implicit(blocks: Blocks, gradient: Tensor, out: Tensor, regulariser: Regulariser) -> tuple[Tensor, Tensor]:
    """Gradient at the solution whose plan is in `blocks`: of the scores into `out`, alpha `[G, n]`, beta `[G, m]`."""
    plan, graph = blocks.scores, _Graph(blocks, regulariser)
    row_slopes, r = torch.empty_like(plan[..., 0]), torch.empty_like(plan[..., 0])
    column_slopes, right = torch.zeros_like(plan[:, 0]), torch.zeros_like(plan[:, 0])
    for rows in blocks.slices():
        slopes = graph.slopes(rows)
        # a row that got no mass (a plan before convergence) has no equation
        row_slopes[:, rows] = slopes.sum(-1).masked_fill_((slopes.sum(-1) == 0), 1.0)
        column_slopes += slopes.sum(-2)
        found = torch.mul(slopes, gradient[:, rows], out=out[:, rows])
        r[:, rows] = found.sum(-1)
        right += found.sub_(slopes.mul_((r[:, rows] / row_slopes[:, rows])[..., None])).sum(-2)
    beta = _conjugate_gradients(graph, row_slopes, column_slopes, right)
    alpha = (r - graph.row_sums(beta)) / row_slopes
    for rows in blocks.slices():
        residual = torch.sub(gradient[:, rows], alpha[:, rows, None], out=out[:, rows]).sub_(beta[:, None])
        residual.mul_(graph.slopes(rows)).div_(regulariser.scale)  # W (G - alpha - beta) / scale
    return alpha, beta


@dataclass(frozen=True)
class _Graph:
    """W `[G, n, m]` of the plan in `blocks`, a block of rows at a time."""

    blocks: Blocks
    regulariser: Regulariser

    def slopes(self, rows: slice) -> Tensor:
        return self.regulariser.slope_of_plan(self.blocks.scores[:, rows], self.blocks.empty(rows))

    def row_sums(self, beta: Tensor) -> Tensor:
        """W beta `[G, n]`."""
        return torch.cat([self.slopes(rows).mul_(beta[:, None]).sum(-1) for rows in self.blocks.slices()], -1)

    def eliminated(self, beta: Tensor, row_slopes: Tensor) -> Tensor:
        """W^T diag(1 / row slopes) W beta `[G, m]`, in one pass."""
        found = torch.zeros_like(beta)
        for rows in self.blocks.slices():
            sums = self.slopes(rows).mul_(beta[:, None]).sum(-1) / row_slopes[:, rows]
            found += self.slopes(rows).mul_(sums[..., None]).sum(-2)
        return found


def _conjugate_gradients(graph: _Graph, row_slopes: Tensor, column_slopes: Tensor, right: Tensor) -> Tensor:
    """beta `[G, m]` with (D - W^T diag(1 / row slopes) W) beta = right, D the column slopes, preconditioned by D."""
    beta, residual = torch.zeros_like(right), right.clone()
    preconditioned = residual / column_slopes
    direction, size = preconditioned, (residual * preconditioned).sum(-1, keepdim=True)
    small = size * (_SMALL_RESIDUAL * torch.finfo(right.dtype).eps) ** 2
    for _ in range(2 * min(graph.blocks.scores.shape[1:]) + 10):  # in exact arithmetic half of it is enough
        going = size > small
        if not bool(going.any()):
            break
        image = column_slopes * direction - graph.eliminated(direction, row_slopes)
        curvature = (direction * image).sum(-1, keepdim=True)
        length = torch.where(going & (curvature > 0), size / curvature, 0.0)
        beta = beta + length * direction
        residual = residual - length * image
        preconditioned = residual / column_slopes
        after = (residual * preconditioned).sum(-1, keepdim=True)
        direction = preconditioned + torch.where(going, after / size, 0.0) * direction
        size = torch.where(going, after, size)
    return beta


def _at(moved: Tensor | None, values: Tensor) -> Tensor:
    """The values, and 0 for problems that had ended."""
    return values if moved is None else torch.where(moved[:, None], values, 0.0)
