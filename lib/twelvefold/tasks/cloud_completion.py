"""Completion of point clouds: discs are cut out, and free particles are to fill them.

Source: Geuter et al. 2025, arXiv 2503.01140. The observed points stay where they are; particles drawn from a normal
distribution with the mean and the spread of the observed cloud are added, and a model moves these alone. What a model
puts into the holes is found by `in_holes`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from twelvefold.tasks.examples import whole_number
from twelvefold.tasks.point_clouds import Clouds, check_points, moments

RADIUS = 0.6  # in standard deviations of the cloud, when the clouds are normalised
RATIO = 1.275  # all particles to observed points
_ATTEMPTS = 20  # redraws of the centres of a cloud of which nothing would be left


def cut_holes(
    clouds: Clouds, generator: torch.Generator, *, radius: float = RADIUS, holes: int = 2
) -> tuple[Tensor, Tensor]:
    """Delete all points within `radius` of centres that are drawn uniformly, with replacement, among a cloud's points.

    Args:
        clouds: n clouds, each with at least one point.
        generator: of the centres.
        radius: in the units of the points, above 0.
        holes: number of centres of each cloud.

    Returns:
        The mask of the observed points, bool `[n, M]` (the points themselves are not touched), and the centres
        `[n, holes, d]`. The centres of a cloud of which no point would be left are drawn again.

    Raises:
        ValueError: radius or holes out of range, or a cloud of which nothing is left after 20 redraws.
    """
    _check_radius(radius)
    whole_number("holes", holes)
    _refuse_empty("clouds", clouds.mask)
    centres = _drawn_centres(clouds.points, clouds.mask, holes, generator)
    observed = clouds.mask & ~in_holes(clouds.points, clouds.mask, centres, radius)
    for _ in range(_ATTEMPTS):
        gone = (~observed.any(1)).nonzero()[:, 0]
        if not len(gone):
            return observed, centres
        points, mask = clouds.points[gone], clouds.mask[gone]
        centres[gone] = _drawn_centres(points, mask, holes, generator)
        observed[gone] = mask & ~in_holes(points, mask, centres[gone], radius)
    _refuse_empty(f"after {_ATTEMPTS} redraws of {holes} holes of radius {radius:g}: observed", observed)
    return observed, centres


def in_holes(points: Tensor, mask: Tensor, centres: Tensor, radius: float) -> Tensor:
    """Which points lie within `radius` of a centre (the rim included), bool `[n, K]`; False where there is no point.

    Args:
        points, mask: `[n, K, d]` and bool `[n, K]`.
        centres: `[n, holes, d]`.
        radius: in the units of the points, above 0.

    Raises:
        ValueError: shapes that do not fit, or a radius that is not a positive number.
    """
    check_points("points", points, mask)
    _check_radius(radius)
    if centres.ndim != 3 or centres.shape[::2] != points.shape[::2]:
        raise ValueError(f"centres has shape {tuple(centres.shape)}; [{points.shape[0]}, holes, {points.shape[2]}] "
                         "is needed")
    inside = torch.zeros_like(mask)
    for centre in centres.unbind(1):  # two holes: a loop needs half the memory
        # || x - c ||^2 <= r^2                                                                               [n, K]
        inside |= (points - centre[:, None]).square().sum(-1) <= radius**2
    return inside & mask


def free_particles(
    points: Tensor, observed: Tensor, generator: torch.Generator, ratio: float = RATIO
) -> tuple[Tensor, Tensor, Tensor]:
    """Observed points and, behind them, free particles drawn N(mean, standard deviation) of each axis of the cloud.

    Args:
        points: `[n, M, d]`.
        observed: bool `[n, M]`, at least one True in each row; the other points are not looked at.
        generator: of the particles.
        ratio: a cloud of m observed points gets floor(ratio m) particles in all (so m = 1 to 3 get no free one at
            1.275); at least 1.

    Returns:
        With K = the largest floor(ratio m): particles `[n, K, d]`, the observed points first and in their order, zeros
        where there is none; their mask, bool `[n, K]`; and fixed, bool `[n, K]`, True for the observed ones.

    Raises:
        ValueError: shapes that do not fit, a cloud without an observed point, or a ratio below 1.
    """
    check_points("points", points, observed)
    if not (math.isfinite(ratio) and ratio >= 1):
        raise ValueError(f"ratio = {ratio!r}; a number of at least 1 is needed, all particles to observed points")
    _refuse_empty("observed", observed)
    counts = observed.sum(1, keepdim=True)  # m                                                              [n, 1]
    totals = torch.floor(counts.double() * ratio + 1e-9).long()  # 1e-9: 1.15 * 100 must not become 114
    size = int(totals.max())
    place = torch.arange(size, device=points.device)
    mask, fixed = place < totals, place < counts
    mean, spread = moments(points, observed)
    noise = torch.randn(len(points), size, points.shape[2], generator=generator, device=generator.device)
    particles = torch.where(mask[..., None], mean + spread * noise.to(points.device, points.dtype), 0)
    particles[fixed] = points[observed]  # the true places of both masks come cloud by cloud, m in each
    return particles, mask, fixed


def _drawn_centres(points: Tensor, mask: Tensor, holes: int, generator: torch.Generator) -> Tensor:
    """Uniform draws with replacement among the points of each cloud, `[n, holes, d]`."""
    counts = mask.sum(1, keepdim=True)
    uniform = torch.rand(len(points), holes, generator=generator, device=generator.device, dtype=torch.float64)
    number = torch.minimum((uniform.to(points.device) * counts).long(), counts - 1)  # the how-manieth point
    # the place of point number k is the first one at which k + 1 points have been counted
    place = torch.searchsorted(mask.cumsum(1), number + 1)
    return points.gather(1, place[..., None].expand(-1, -1, points.shape[2]))


def _check_radius(radius: float) -> None:
    if not (math.isfinite(radius) and radius > 0):
        raise ValueError(f"radius = {radius!r}; a positive number is needed")


def _refuse_empty(name: str, mask: Tensor) -> None:
    empty = (~mask.any(1)).nonzero()[:, 0]
    if len(empty):
        raise ValueError(f"{name}: cloud {int(empty[0])} has no point ({len(empty)} of {len(mask)} clouds); every "
                         "cloud needs at least one")
