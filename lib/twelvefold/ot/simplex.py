"""Euclidean projection onto the simplex of a given mass, without sorting.

The projection of x `[k]` onto {p >= 0, sum p = z} is p = [x - tau]_+ with the one threshold at which the mass is right,

    f(tau) = sum_i [x_i - tau]_+ - z = 0.

f is convex, decreasing and piecewise linear with slope -|S|, S = {x > tau} the support, so Newton's method

    tau <- tau + f(tau) / |S| = (sum_S x - z) / |S|

lands below the root from any start, rises from there on, and is exact once a step leaves the support as it was
(Michelot 1986). f |S| falls at least by a factor of 4 a step, so that about log_4(k^2 / epsilon) steps always suffice:
27 in float32 and 42 in float64 for k = 50,000; 4 to 8 are usual. A step is two sums over x: the limit is the memory's
bandwidth times the steps. With mass 1 the projection is sparsemax (Martins and Astudillo 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PASSES = 64  # a cap above the bound for any length that fits a memory
_ROUGH = 8  # relative error of the mass, in units of the type's epsilon
Moments = Callable[[Tensor], tuple[Tensor, Tensor]]


def simplex_threshold(x: Tensor, mass: float | Tensor, dim: int = -1, start: Tensor | None = None) -> Tensor:
    """Threshold tau `[...]` with sum_i [x_i - tau]_+ = mass along `dim`, without a gradient.

    Args:
        x: values `[..., k, ...]`, float32 or float64, k along `dim`.
        mass: z > 0, a number or a tensor that broadcasts to the shape of x without `dim`.
        dim: axis of the vectors, which the result lacks.
        start: thresholds of a similar x (a warm start, of the result's shape); they change the speed alone.

    Raises:
        ValueError: x without a value along `dim`, not finite or of another type; a mass that is not positive; shapes
            that do not fit.
    """
    rows, masses = _checked(x, mass, dim)
    with torch.no_grad():
        top = rows.amax(-1)
        shifted = rows - top.unsqueeze(-1)
        first = -masses  # tau >= max x - z, since the largest entry of the projection is at most z
        if start is not None:
            _check_start(start, top)
            given = start - top
            first = torch.where(given < 0, torch.maximum(first, given), first)
        return top + _shifted_threshold(shifted, masses, first)


def project_simplex(x: Tensor, mass: float | Tensor = 1.0, dim: int = -1) -> Tensor:
    """Point of {p >= 0, sum p = mass} that is nearest to x along `dim`, of the shape of x.

    Differentiable, also twice: on the support S, the gradient g maps to g_S - mean(g_S), and the mass receives
    mean(g_S); elsewhere it is 0. Arguments and errors as `simplex_threshold`.
    """
    rows, masses = _checked(x, mass, dim)
    projected: Tensor = _SimplexProjection.apply(rows, masses)
    return projected.movedim(-1, dim)


def newton_threshold(
    moments: Moments, mass: Tensor, start: Tensor, peak: Callable[[], Tensor]
) -> tuple[Tensor, Tensor]:
    """Threshold tau `[...]` and size of its support `[...]` by Newton's method; the engine under this module.

    Every threshold stays as it is once its own support does, whatever the others still need: batched or alone, a
    vector's threshold is the same to the last bit.

    Args:
        moments: of tau, sum_i [x_i - tau]_+ and the number of x_i > tau, each `[...]`.
        mass: z `[...]`.
        start: tau `[...]` to start at.
        peak: max x `[...]`; asked for only where the start lies above every value.
    """
    tau = start
    excess, count = moments(tau)
    if bool((count == 0).any()):
        tau = torch.where(count == 0, peak() - mass, tau)
        excess, count = moments(tau)
    refined = torch.zeros_like(count, dtype=torch.bool)
    for step in range(PASSES):
        tau = tau + (excess - mass) / count.clamp(min=1)  # Newton: tau + f / |S|
        before = count
        excess, count = moments(tau)
        # supports are nested, so that equal counts are equal supports, and tau is exact; from the second step on
        # they shrink, but for rounding, which could make an entry at the threshold come and go for ever
        changed = count < before if step else count != before
        # a long last step leaves a rounding error in tau, |S|-fold in the mass: one more, short step mends it
        rough = ~(changed | refined) & ((excess - mass).abs() > _ROUGH * torch.finfo(mass.dtype).eps * mass)
        refined |= rough
        moving = changed | rough
        if not bool(moving.any()):
            break
        mass = torch.where(moving, mass, excess)  # the next step of a settled threshold is exactly 0
    return tau, count.clamp_(min=1)


class _SimplexProjection(torch.autograd.Function):
    """Projection `[..., k]` of rows `[..., k]` with masses `[...]`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, masses: Tensor) -> Tensor:
        shifted = rows - rows.amax(-1, keepdim=True)  # near the maximum, where the support is, this is exact
        tau = _shifted_threshold(shifted, masses, -masses)
        projected = shifted.sub_(tau.unsqueeze(-1)).relu_()
        ctx.save_for_backward(projected > 0)
        return projected

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (support,) = ctx.saved_tensors
        on_support = torch.where(support, gradient, 0.0)
        mean = on_support.sum(-1) / support.sum(-1).clamp(min=1)
        return on_support - support * mean.unsqueeze(-1), mean  # g_S - mean(g_S)


def _shifted_threshold(shifted: Tensor, masses: Tensor, start: Tensor) -> Tensor:
    """Thresholds `[...]` of rows `[..., k]` whose maximum is 0."""
    scratch = torch.empty_like(shifted)

    def moments(tau: Tensor) -> tuple[Tensor, Tensor]:
        above = torch.sub(shifted, tau.unsqueeze(-1), out=scratch).relu_()
        return above.sum(-1), above.sign_().sum(-1)

    return newton_threshold(moments, masses, start, lambda: torch.zeros_like(masses))[0]


def _checked(x: Tensor, mass: float | Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """x with its vectors last `[..., k]`, and masses `[...]`."""
    if x.dtype not in (torch.float32, torch.float64) or x.ndim == 0:
        raise ValueError(f"x is {x.dtype} {tuple(x.shape)}; float32 or float64 with at least one axis is needed")
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"dim = {dim}; an axis of x {tuple(x.shape)} is needed")
    rows = x.movedim(dim, -1)
    if rows.shape[-1] == 0:
        raise ValueError(f"x is {tuple(x.shape)}; at least one value along dim = {dim} is needed")
    if rows.numel() and not bool(torch.stack(x.detach().aminmax()).isfinite().all()):
        raise ValueError("x holds values that are not finite; every value must be a number")
    masses = torch.as_tensor(mass, dtype=x.dtype, device=x.device)
    if not bool((masses > 0).all() & masses.isfinite().all()):
        raise ValueError(f"mass = {mass}; positive numbers are needed")
    try:
        return rows, masses.expand(rows.shape[:-1])
    except RuntimeError as error:
        raise ValueError(f"mass is {tuple(masses.shape)}; a number or a tensor that broadcasts to "
                         f"{tuple(rows.shape[:-1])} is needed") from error  # fmt: skip


def _check_start(start: Tensor, like: Tensor) -> None:
    if start.shape != like.shape or start.dtype != like.dtype:
        raise ValueError(f"start is {start.dtype} {tuple(start.shape)}; {like.dtype} {tuple(like.shape)} is needed")
    if not bool(start.isfinite().all()):
        raise ValueError("start holds values that are not finite; every threshold must be a number")
