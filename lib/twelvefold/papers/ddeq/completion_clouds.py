"""Clouds with holes for the members of a population, and the scores of what was put into the holes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from twelvefold.core.seeds import torch_generator
from twelvefold.ot.discrepancy import chamfer, distances, energy_distance
from twelvefold.papers.ddeq.cloud_batches import Stacked
from twelvefold.tasks.cloud_completion import RADIUS, RATIO, cut_holes, free_particles, in_holes
from twelvefold.tasks.point_clouds import Clouds, resampled

SCORES = ("energy", "chamfer", "coverage", "precision")


@dataclass(frozen=True)
class Holed:
    """B clouds with holes, of P members where there is a leading axis P.

    Attributes:
        observed: what is seen of the rest `[P, B, M, d]`; observed_mask: bool `[P, B, M]`.
        outside: as many points of the rest as there are particles (as far as it goes), the observed ones first,
            `[P, B, K', d]`; outside_mask: bool `[P, B, K']`.
        particles: the observed points, then the free ones `[P, B, K, d]`; mask: bool `[P, B, K]`, True for a particle;
            fixed: bool `[P, B, K]`, True for an observed one.
        truth: the whole cloud `[P, B, T, d]`; truth_mask, deleted: bool `[P, B, T]`, True for a point, and for one that
            lies in a hole.
        centres: of the holes `[P, B, holes, d]`.
    """

    observed: Tensor
    observed_mask: Tensor
    outside: Tensor
    outside_mask: Tensor
    particles: Tensor
    mask: Tensor
    fixed: Tensor
    truth: Tensor
    truth_mask: Tensor
    deleted: Tensor
    centres: Tensor

    @property
    def free(self) -> Tensor:
        """Which particles may move, bool `[P, B, K]`."""
        return self.mask & ~self.fixed

    def part(self, chosen: slice) -> Holed:
        """The clouds with some numbers, of every member."""
        return Holed(**{field.name: getattr(self, field.name)[:, chosen] for field in fields(self)})

    def stacked(self) -> Holed:
        """The same clouds with a leading axis of one member."""
        return Holed(**{field.name: getattr(self, field.name)[None] for field in fields(self)})

    def to(self, device: str | torch.device) -> Holed:
        """The same clouds on a device."""
        return Holed(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def holed(
    clouds: Clouds, generator: torch.Generator, *, observed: int | None = None, points: int | None = None,
    cut: tuple[Tensor, Tensor] | None = None, radius: float = RADIUS,
) -> Holed:  # fmt: skip
    """Cut holes into the clouds of one member and add free particles; no leading axis P.

    Args:
        clouds: n whole clouds.
        generator: of centres, subsets and free particles.
        observed: at most so many of the points outside the holes are seen (a random subset); None: all.
        points: at most so many points of the whole cloud make the truth (a random subset); None: all.
        cut: mask of the points left `[n, M]` and centres `[n, holes, d]` to be used instead of drawn ones.
        radius: of the holes.

    Raises:
        ValueError: as `cut_holes` (nothing left of a cloud, a radius out of range), `resampled` and `free_particles`.
    """
    left, centres = cut_holes(clouds, generator, radius=radius) if cut is None else cut
    outside = replace(clouds, mask=left)
    if observed is not None:
        outside = resampled(outside, particle_count(observed), generator)
    seen, seen_mask = outside.points[:, :observed], outside.mask[:, :observed]
    particles, mask, fixed = free_particles(seen, seen_mask, generator)
    # one size for every batch and every member, whatever was cut out: a member computes what it would compute alone
    missing = particle_count(seen.shape[1]) - particles.shape[1]
    particles = torch.nn.functional.pad(particles, (0, 0, 0, missing))
    mask, fixed = (torch.nn.functional.pad(flags, (0, missing)) for flags in (mask, fixed))
    truth = clouds if points is None else resampled(clouds, points, generator)
    deleted = in_holes(truth.points, truth.mask, centres, radius)
    return Holed(seen, seen_mask, outside.points, outside.mask, particles, mask, fixed, truth.points, truth.mask,
                 deleted, centres)  # fmt: skip


def particle_count(observed: int) -> int:
    """Number of all particles of a cloud with so many observed points."""
    return math.floor(observed * RATIO + 1e-9)


def holed_members(
    clouds: Stacked, seed: int, members: Sequence[int], purpose: str, observed: int | None, points: int | None
) -> Holed:
    """`holed` for the clouds `[P, n, M, d]` of every member, drawn for a purpose from the member's own generator."""
    parts = []
    for place, replicate in enumerate(members):
        masks = torch.ones(clouds.points.shape[1:3], dtype=torch.bool) if clouds.mask is None else clouds.mask[place]
        own = Clouds(clouds.points[place], masks, clouds.labels[place])
        parts.append(holed(own, torch_generator(seed, replicate, purpose), observed=observed, points=points))
    return Holed(**{field.name: torch.stack([getattr(part, field.name) for part in parts]) for field in fields(Holed)})


def entropy(points: Tensor, mask: Tensor, bandwidth: float = 1.0) -> Tensor:
    """Entropy of points by a leave-one-out kernel density estimate, H = -1/n sum_i log p_i `[...]` in nats.

    With h the bandwidth, p_i = 1/(n - 1) sum_{j != i} (2 pi h^2)^(-d/2) exp(-||x_i - x_j||^2 / (2 h^2)). A cloud of
    fewer than two points has no such estimate: its entropy is 0, without gradient.

    Args:
        points, mask: `[..., N, d]` and bool `[..., N]`.
        bandwidth: h, above 0.

    Raises:
        ValueError: a bandwidth that is not positive, or a mask that does not fit.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth = {bandwidth}; a positive number is needed")
    if mask.dtype != torch.bool or mask.shape != points.shape[:-1]:
        raise ValueError(f"mask is {mask.dtype} {tuple(mask.shape)}; bool {tuple(points.shape[:-1])} is needed")
    n, count = points.shape[-2], mask.sum(-1)
    apart = ~torch.eye(n, dtype=torch.bool, device=points.device)
    pairs = mask[..., None] & mask[..., None, :] & apart  # [..., N, N]
    exponents = distances(points, points).square() * (-0.5 / bandwidth**2)
    alone = ~pairs.any(-1)  # rows without a partner: any finite value, they are left out below
    sums = exponents.masked_fill(~(pairs | alone[..., None]), -torch.inf).logsumexp(-1)  # [..., N]
    constant = 0.5 * points.shape[-1] * math.log(2 * math.pi * bandwidth**2)
    logs = sums - torch.log((count - 1).clamp(min=1).to(points.dtype))[..., None] - constant  # log p_i
    valid = mask & (count > 1)[..., None]
    return -torch.where(valid, logs, 0.0).sum(-1) / count.clamp(min=1)


@torch.no_grad()
def scores(predicted: Tensor, mask: Tensor, added: Tensor | None, batch: Holed) -> dict[str, Tensor]:
    """How near a completed cloud is to the truth; every score is a distance, `[P, B]`, smaller is better.

    Args:
        predicted, mask: the whole completed cloud `[P, B, K, d]` and bool `[P, B, K]`.
        added: bool `[P, B, K]`, the points that the method put there; None: it added none.
        batch: the clouds with their truth.

    Returns:
        `energy`, the energy distance, and `chamfer`, both to the whole true cloud; `coverage`, the mean distance of a
        deleted true point to the nearest predicted point; `precision`, the mean distance of an added point to the
        nearest true point (NaN where there is none).

    Raises:
        ValueError: shapes that do not fit.
    """
    found = distances(predicted, batch.truth)  # [P, B, K, T]
    to_predicted = found.masked_fill(~mask[..., None], torch.inf).amin(-2)
    to_truth = found.masked_fill(~batch.truth_mask[..., None, :], torch.inf).amin(-1)
    precision = torch.full_like(to_truth[..., 0], torch.nan) if added is None else _mean_over(to_truth, added)
    return {
        "energy": energy_distance(predicted, batch.truth, mask, batch.truth_mask),
        "chamfer": chamfer(predicted, batch.truth, mask, batch.truth_mask),
        "coverage": _mean_over(to_predicted, batch.deleted), "precision": precision,
    }  # fmt: skip


def _mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of `[..., N]` over the chosen entries, NaN where none is."""
    return torch.where(chosen, values, 0.0).sum(-1) / chosen.sum(-1)
