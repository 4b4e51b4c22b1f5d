"""Fixed points z = f(z) of batched maps by rows: plain iteration, and Anderson acceleration."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


def iterate(f: Map, start: Tensor, steps: int) -> Tensor:
    """z <- f(z), `steps` times; ValueError for a negative number."""
    _check(steps)
    z = start
    for _ in range(steps):
        z = f(z)
    return z


def anderson(
    f: Map, start: Tensor, steps: int, *, memory: int = 6, mixing: float = 1.0, ridge: float = 1e-4
) -> Tensor:
    """Anderson acceleration (Anderson 1965; Walker and Ni 2011) of `[..., N, d]`, every leading entry on its own.

    With residuals g_j = f(z_j) - z_j of the last m points, weights a that sum to 1 minimise ||sum_j a_j g_j||^2, and
    z <- sum_j a_j (z_j + mixing g_j). The weights come from (G G^T + ridge trace(G G^T) / m I) a = 1, scaled to sum 1.

    Args:
        f: the map, of one shape.
        start: first z; every entry of its leading axes is a problem of its own.
        steps: evaluations of f.
        memory: m, at least 1 (1 with mixing 1 is plain iteration).
        mixing: damping, in (0, 1].
        ridge: regularisation relative to the mean squared residual, at least 0.

    Raises:
        ValueError: a number out of range, a start without two axes, or a map that changes the shape.
    """
    _check(steps)
    if start.ndim < 2:
        raise ValueError(f"start has shape {tuple(start.shape)}; [..., N, d] is needed")
    if memory < 1 or not 0 < mixing <= 1 or ridge < 0:
        raise ValueError(f"memory = {memory}, mixing = {mixing}, ridge = {ridge}; memory >= 1, 0 < mixing <= 1 and "
                         "ridge >= 0 are needed")  # fmt: skip
    z = start.flatten(-2)
    points: list[Tensor] = []
    residuals: list[Tensor] = []
    for _ in range(steps):
        after = f(z.unflatten(-1, start.shape[-2:]))
        if after.shape != start.shape:
            raise ValueError(f"f maps {tuple(start.shape)} to {tuple(after.shape)}; the shape must stay")
        points, residuals = [*points, z][-memory:], [*residuals, after.flatten(-2) - z][-memory:]
        z = _mixed(torch.stack(points, -2), torch.stack(residuals, -2), mixing, ridge)
    return z.unflatten(-1, start.shape[-2:])


def _mixed(points: Tensor, residuals: Tensor, mixing: float, ridge: float) -> Tensor:
    """The next z `[..., n]` from points and residuals `[..., m, n]`."""
    gram = residuals @ residuals.mT  # [..., m, m]
    size = gram.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    tiny = torch.finfo(gram.dtype).tiny  # at a fixed point all residuals are 0 and any weights will do
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    system = gram / size.clamp(min=tiny) + (ridge + torch.finfo(gram.dtype).eps) * eye
    weights, failed = torch.linalg.solve_ex(system, torch.ones_like(system[..., :1]))  # [..., m, 1]
    # singular without a ridge, where rounding is all that is left of the residuals; `solve` would stop all problems
    weights = weights.masked_fill((failed != 0)[..., None, None], 1.0)
    weights = weights / weights.sum(-2, keepdim=True)
    return (weights * (points + mixing * residuals)).sum(-2)


def _check(steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ValueError(f"steps = {steps!r}; a whole number, at least 0, is needed")
