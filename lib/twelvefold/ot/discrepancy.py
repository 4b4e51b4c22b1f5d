"""Discrepancies between point clouds: kernels, squared MMD, energy distance, witness function, Chamfer distance.

Clouds are `[..., N, d]`: N points in d dimensions, equally weighted, with any leading axes. A mask `[..., N]` is True
for points that are there; the other rows may hold anything, and their gradient is 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from twelvefold.ot.pairwise import Distances, EnergyDistance, valid_pairs, without_padding

Kernel = Callable[[Tensor, Tensor], Tensor]


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances `[..., N, M]` of the points of x `[..., N, d]` and y `[..., M, d]`.

    The gradient between coincident points is 0 (the subgradient of least norm), not NaN. Differentiable once: a
    backward pass with create_graph = True is a RuntimeError, here and in all that is computed from distances.

    Raises:
        ValueError: shapes, types or devices that do not fit.
    """
    _check_pair("x", x, None, "y", y, None)
    found: Tensor = Distances.apply(x, y)
    return found


def riesz(x: Tensor, y: Tensor, r: float = 1.0) -> Tensor:
    """Riesz kernel k(x, y) = -||x - y||^r, `[..., N, M]`; conditionally positive definite for 0 < r < 2.

    Raises:
        ValueError: r outside (0, 2), or as `distances`.
    """
    if not 0 < r < 2:
        raise ValueError(f"r = {r}; an exponent between 0 and 2 is needed")
    found = distances(x, y)
    if r == 1:
        return -found
    coincide = found == 0  # the power's slope at 0 is infinite for r < 1; coincident points have gradient 0
    return -torch.where(coincide, 0.0, found.masked_fill(coincide, 1.0) ** r)


def gaussian(x: Tensor, y: Tensor, sigma: float = 1.0) -> Tensor:
    """Gaussian kernel k(x, y) = exp(-||x - y||^2 / (2 sigma^2)), `[..., N, M]`.

    Raises:
        ValueError: sigma is not positive, or as `distances`.
    """
    if not sigma > 0:
        raise ValueError(f"sigma = {sigma}; a positive width is needed")
    return torch.exp(distances(x, y).square() * (-0.5 / sigma**2))


def squared_mmd(
    z: Tensor, w: Tensor, kernel: Kernel = riesz, z_mask: Tensor | None = None, w_mask: Tensor | None = None
) -> Tensor:
    """MMD^2 = E k(z, z') + E k(w, w') - 2 E k(z, w) `[...]`, with the diagonal (V-statistic).

    Args:
        z, w: clouds `[..., N, d]` and `[..., M, d]`.
        kernel: of two clouds, e.g. `riesz`, or `functools.partial(gaussian, sigma=2.0)`.
        z_mask, w_mask: bool `[..., N]` and `[..., M]`; means are over valid pairs. None: all points are there.

    Raises:
        ValueError: shapes that do not fit, a mask that is not bool, or (on a CPU, where a look costs nothing) a cloud
            without a point; on other devices such a cloud gives NaN.
    """
    _check_pair("z", z, z_mask, "w", w, w_mask)
    masks = _both(z, z_mask, w, w_mask)
    z, w = without_padding(z, z_mask), without_padding(w, w_mask)
    terms = ((z, z, masks[0], masks[0]), (w, w, masks[1], masks[1]), (z, w, *masks))
    zz, ww, zw = (_mean(kernel(a, b), a_mask, b_mask) for a, b, a_mask, b_mask in terms)
    return zz + ww - 2 * zw


def energy_distance(z: Tensor, w: Tensor, z_mask: Tensor | None = None, w_mask: Tensor | None = None) -> Tensor:
    """`squared_mmd` with the kernel -||x - y||: 2 E||z - w|| - E||z - z'|| - E||w - w'|| `[...]` (Szekely, Rizzo 2013).

    Computed with its gradient in one pass, a few clouds at a time. Arguments and errors as `squared_mmd`.
    """
    _check_pair("z", z, z_mask, "w", w, w_mask)
    wanted = [torch.is_grad_enabled() and cloud.requires_grad for cloud in (z, w)]
    value: Tensor = EnergyDistance.apply(z, w, *_both(z, z_mask, w, w_mask), *wanted)
    return value


def witness(
    z: Tensor, a: Tensor, b: Tensor, kernel: Kernel = riesz, a_mask: Tensor | None = None, b_mask: Tensor | None = None
) -> Tensor:
    """Witness function f(z) = E_a k(., z) - E_b k(., z) at the points of z `[..., N, d]`, `[..., N]`.

    Args:
        z: where it is evaluated.
        a, b: clouds `[..., M, d]` and `[..., K, d]`.
        kernel, a_mask, b_mask: as in `squared_mmd`.

    Raises:
        ValueError: as `squared_mmd`.
    """
    _check_pair("a", a, a_mask, "b", b, b_mask)
    a, b = without_padding(a, a_mask), without_padding(b, b_mask)
    return _column_mean(kernel(z, a), a_mask) - _column_mean(kernel(z, b), b_mask)


def chamfer(x: Tensor, y: Tensor, x_mask: Tensor | None = None, y_mask: Tensor | None = None) -> Tensor:
    """Chamfer distance E_x min_y ||x - y|| + E_y min_x ||x - y|| `[...]`, unsquared.

    Args:
        x, y: clouds `[..., N, d]` and `[..., M, d]`.
        x_mask, y_mask: bool, True for points that are there.

    Raises:
        ValueError: as `squared_mmd`.
    """
    _check_pair("x", x, x_mask, "y", y, y_mask)
    found = distances(without_padding(x, x_mask), without_padding(y, y_mask))
    to_y = found if y_mask is None else found.masked_fill(~y_mask[..., None, :], torch.inf)
    to_x = found if x_mask is None else found.masked_fill(~x_mask[..., None], torch.inf)
    return _point_mean(to_y.amin(-1), x_mask) + _point_mean(to_x.amin(-2), y_mask)


def check_clouds(name: str, points: Tensor, mask: Tensor | None = None) -> None:
    """Refuse clouds `[..., N, d]` that are empty or hold numbers that are not finite, where the mask is True.

    This looks at the values and so makes a GPU wait: for the entrance of an algorithm, not for its inner loop.

    Raises:
        ValueError: the name, and the first cloud at fault.
    """
    _check_mask(name, points, mask)
    valid = torch.ones(points.shape[:-1], dtype=torch.bool, device=points.device) if mask is None else mask
    empty = ~valid.any(-1)
    if bool(empty.any()):
        raise ValueError(f"{name}{empty.nonzero()[0].tolist()} has no point; every cloud needs at least one")
    bad = valid & ~points.isfinite().all(-1)
    if bool(bad.any()):
        raise ValueError(f"{name}{bad.nonzero()[0].tolist()} is not finite; every coordinate must be a number")


def _mean(values: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    """Mean of `[..., N, M]` over valid pairs."""
    if rows is None or columns is None:
        return values.mean((-2, -1))
    valid = valid_pairs(rows, columns)
    return torch.where(valid, values, 0.0).sum((-2, -1)) / valid.sum((-2, -1))


def _column_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of `[..., N, M]` over the valid M."""
    if mask is None:
        return values.mean(-1)
    return torch.where(mask[..., None, :], values, 0.0).sum(-1) / mask.sum(-1, keepdim=True)


def _point_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of `[..., N]` over the valid N."""
    if mask is None:
        return values.mean(-1)
    return torch.where(mask, values, 0.0).sum(-1) / mask.sum(-1)


def _both(z: Tensor, z_mask: Tensor | None, w: Tensor, w_mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Both masks, or neither: a missing one is all True."""
    if z_mask is None and w_mask is None:
        return None, None
    full = [torch.ones(cloud.shape[:-1], dtype=torch.bool, device=cloud.device) if mask is None else mask
            for cloud, mask in ((z, z_mask), (w, w_mask))]  # fmt: skip
    return full[0], full[1]


def _check_pair(
    x_name: str, x: Tensor, x_mask: Tensor | None, y_name: str, y: Tensor, y_mask: Tensor | None
) -> None:
    _check_mask(x_name, x, x_mask)
    _check_mask(y_name, y, y_mask)
    if x.shape[:-2] != y.shape[:-2] or x.shape[-1] != y.shape[-1] or (x.dtype, x.device) != (y.dtype, y.device):
        raise ValueError(
            f"{x_name} is {x.dtype} {tuple(x.shape)} on {x.device}, {y_name} is {y.dtype} {tuple(y.shape)} on "
            f"{y.device}; the same leading axes, dimension, type and device are needed"
        )


def _check_mask(name: str, points: Tensor, mask: Tensor | None) -> None:
    if points.ndim < 2 or not points.is_floating_point() or 0 in points.shape[-2:]:
        raise ValueError(f"{name} is {points.dtype} {tuple(points.shape)}; floating-point numbers [..., N, d] with at "
                         "least one point and one coordinate are needed")  # fmt: skip
    if mask is None:
        return
    if mask.dtype != torch.bool or mask.shape != points.shape[:-1]:
        raise ValueError(f"the mask of {name} is {mask.dtype} {tuple(mask.shape)}; bool "
                         f"{tuple(points.shape[:-1])} is needed")  # fmt: skip
    if mask.device.type == "cpu" and not bool(mask.any(-1).all()):
        where = (~mask.any(-1)).nonzero()[0].tolist()
        raise ValueError(f"the mask of {name} has no True at {where}; every cloud needs at least one point")
