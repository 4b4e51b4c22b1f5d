"""Distances between all points of two clouds, and the energy distance, with gradients written by hand.

With D_ij = ||x_i - y_j|| and A_ij = c_ij / D_ij (0 where D_ij = 0) the gradient of sum_ij c_ij D_ij is

    grad x = rowsum(A) x - A y,    grad y = colsum(A) y - A^T x,

so that no tensor of differences `[C, N, M, d]` is made. The energy distance knows its c before the backward pass: value
and gradient come from one pass over the distances, a few clouds at a time, and no distance is kept.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

Mask = Tensor | None

# What is fastest was measured on one core with N = M from 10 to 512 and d from 2 to 128.
_CACHED = 2**16  # distances at a time on a CPU, which stay in its cache
_BOUNDED = 2**26  # distances at a time elsewhere, which bounds the memory
_FEW_COORDINATES = 3
_SOME_POINTS = 32  # from here on it is faster on a CPU to go over few coordinates one by one,
_MANY_POINTS = 128  # and from here on over any number of them


def pairwise(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances `[C, N, M]` of points x `[C, N, d]` and y `[C, M, d]`, from their differences.

    The expansion ||x||^2 + ||y||^2 - 2 x y loses the distance of points that nearly coincide.
    """
    fewest = _SOME_POINTS if x.shape[-1] <= _FEW_COORDINATES else _MANY_POINTS
    if y.shape[-2] >= fewest and x.device.type == "cpu":
        return _by_coordinates(x, y)
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _by_coordinates(x: Tensor, y: Tensor) -> Tensor:
    """`pairwise`, one coordinate at a time over all pairs."""
    rows, columns = x.mT.unsqueeze(-1), y.mT.contiguous().unsqueeze(-2)  # [C, d, N, 1], [C, d, 1, M]
    squares = x.new_zeros(x.shape[0], x.shape[1], y.shape[1])
    for axis in range(x.shape[-1]):
        difference = rows[:, axis] - columns[:, axis]
        squares.addcmul_(difference, difference)
    return squares.sqrt_()


def flat(points: Tensor) -> Tensor:
    """`[..., N, d]` as `[C, N, d]`."""
    return points.reshape(-1, *points.shape[-2:])


def without_padding(points: Tensor, mask: Mask) -> Tensor:
    """Points `[..., N, d]` with 0 in the rows that are not there: what padding holds, even NaN, reaches nothing."""
    return points if mask is None else points.masked_fill(~mask.unsqueeze(-1), 0.0)


def valid_pairs(x_mask: Tensor, y_mask: Tensor) -> Tensor:
    """Which pairs `[..., N, M]` are of two valid points, from masks `[..., N]` and `[..., M]`."""
    return x_mask.unsqueeze(-1) & y_mask.unsqueeze(-2)


def _inverse(found: Tensor) -> Tensor:
    """1 / D, and 0 where D = 0."""
    # three kernels' time faster than a comparison and a masked fill; a NaN stays one
    return found.reciprocal().nan_to_num_(nan=math.nan, posinf=0.0)


def _gradient(points: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """rowsum(A) x - A y for points x `[C, N, d]`, others y `[C, M, d]` and factors A `[C, N, M]`."""
    return torch.baddbmm(factors.sum(-1, keepdim=True) * points, factors, others, alpha=-1)


def _full_precision(points: Tensor) -> torch.autocast:
    """Ends an autocast around: the two terms of a gradient nearly cancel, and bfloat16 would leave 5 % of error."""
    return torch.autocast(points.device.type, enabled=False)


def _refuse_a_graph() -> None:
    """Called in a backward pass. torch's `once_differentiable` lets through what gives a wrong second derivative."""
    if torch.is_grad_enabled():
        raise RuntimeError("distances are differentiable once; create_graph = True in a backward pass is not accepted")


class Distances(torch.autograd.Function):
    """Distances `[..., N, M]` of x `[..., N, d]` and y `[..., M, d]`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        found = pairwise(flat(x), flat(y))
        ctx.save_for_backward(x, y, found)
        return found.view(*x.shape[:-1], y.shape[-2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        _refuse_a_graph()
        x, y, found = ctx.saved_tensors
        rows, columns = flat(x), flat(y)
        factors = _inverse(found).mul_(gradient.reshape(found.shape))  # A = c / D
        with _full_precision(x):
            for_x = _gradient(rows, columns, factors).view(x.shape) if ctx.needs_input_grad[0] else None
            for_y = _gradient(columns, rows, factors.mT).view(y.shape) if ctx.needs_input_grad[1] else None
        return for_x, for_y


def _mean_distance(x: Tensor, y: Tensor, x_mask: Mask, y_mask: Mask, differentiate: bool) -> tuple[Tensor, Tensor]:
    """Mean of D `[C]` over pairs of valid points, and A `[C, N, M]` of that mean, if it is to be differentiated."""
    found = pairwise(x, y)
    pairs: Any = found.shape[1] * found.shape[2]
    if x_mask is not None and y_mask is not None:
        valid = valid_pairs(x_mask, y_mask)
        found.mul_(valid)  # as if the points coincided: no distance and no gradient
        pairs = valid.sum((1, 2), keepdim=True)
    mean = found.sum((1, 2), keepdim=True).div_(pairs)
    return mean, _inverse(found).div_(pairs) if differentiate else found


def energy(
    z: Tensor, w: Tensor, z_mask: Mask, w_mask: Mask, for_z: bool, for_w: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """2 E||z - w|| - E||z - z'|| - E||w - w'|| `[C]` of z `[C, N, d]` and w `[C, M, d]`, and its gradients.

    Args:
        z_mask, w_mask: the valid points `[C, N]` and `[C, M]`, or both None.
        for_z, for_w: whether the gradient with respect to z and to w is wanted; None is returned in its place if not.
    """
    between, across = _mean_distance(z, w, z_mask, w_mask, for_z or for_w)
    within_z, inside_z = _mean_distance(z, z, z_mask, z_mask, for_z)
    within_w, inside_w = _mean_distance(w, w, w_mask, w_mask, for_w)
    # every 2: E||z - z'|| depends on z through both of its arguments
    grad_z = _gradient(z, w, across).sub_(_gradient(z, z, inside_z)).mul_(2) if for_z else None
    grad_w = _gradient(w, z, across.mT).sub_(_gradient(w, w, inside_w)).mul_(2) if for_w else None
    return 2 * between - within_z - within_w, grad_z, grad_w


def _energy_in_passes(
    z: Tensor, w: Tensor, z_mask: Mask, w_mask: Mask, for_z: bool, for_w: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """`energy` of z, w and their masks, so many clouds at a time that their distances stay in the cache."""
    most = _CACHED if z.device.type == "cpu" else _BOUNDED
    size = max(1, most // max(z.shape[1], w.shape[1]) ** 2)
    if size >= len(z):
        return energy(z, w, z_mask, w_mask, for_z, for_w)
    parts = [slice(first, first + size) for first in range(0, len(z), size)]
    passes = [energy(z[part], w[part], _rows(z_mask, part), _rows(w_mask, part), for_z, for_w) for part in parts]
    value, grad_z, grad_w = zip(*passes, strict=True)
    return torch.cat(value), torch.cat(grad_z) if for_z else None, torch.cat(grad_w) if for_w else None


def _flat_mask(mask: Mask) -> Mask:
    """`[..., N]` as `[C, N]`."""
    return None if mask is None else mask.reshape(-1, mask.shape[-1])


def _rows(mask: Mask, part: slice) -> Mask:
    return None if mask is None else mask[part]


class EnergyDistance(torch.autograd.Function):
    """`energy` `[...]` of clouds z `[..., N, d]` and w `[..., M, d]`, a few clouds at a time."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, w: Tensor, z_mask: Mask, w_mask: Mask, for_z: bool, for_w: bool) -> Tensor:
        clouds = flat(without_padding(z, z_mask)), flat(without_padding(w, w_mask))
        masks = _flat_mask(z_mask), _flat_mask(w_mask)
        with _full_precision(z):
            value, grad_z, grad_w = _energy_in_passes(*clouds, *masks, for_z, for_w)
        ctx.save_for_backward(grad_z, grad_w)
        ctx.shapes = z.shape, w.shape
        return value.view(z.shape[:-2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_a_graph()
        factor = gradient.reshape(-1, 1, 1)
        of_z, of_w = (
            None if saved is None else (factor * saved).view(shape)
            for saved, shape in zip(ctx.saved_tensors, ctx.shapes, strict=True)
        )
        return of_z, of_w, None, None, None, None
