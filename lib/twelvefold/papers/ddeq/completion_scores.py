"""Scoring completed clouds: trained populations, and baselines that need no training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from twelvefold.core.seeds import torch_generator
from twelvefold.core.sweep import sweep
from twelvefold.nn.batch_norm import Moments
from twelvefold.nn.stacked import Weights
from twelvefold.papers.ddeq.baselines import pcn
from twelvefold.papers.ddeq.cloud_batches import stacked
from twelvefold.papers.ddeq.completion import architecture, completed, train_completion, trained
from twelvefold.papers.ddeq.completion_clouds import SCORES, Holed, holed, holed_members, scores
from twelvefold.papers.ddeq.equilibrium import Solver
from twelvefold.papers.ddeq.flow_embedding import decode
from twelvefold.papers.ddeq.network import NetworkConfig
from twelvefold.tasks.cloud_completion import in_holes
from twelvefold.tasks.point_clouds import Clouds

COPY, MORE, START, TRUE_FILL = "copy", "copy, as many points", "Gaussian start", "true points as fill"
BASELINES = (COPY, MORE, START, TRUE_FILL)
_TEST_CLOUDS = 100  # at a time
Completed = tuple[str, Tensor, Tensor, Tensor | None]  # output, cloud, its mask, and which points were added
Method = Callable[[Holed], Iterator[Completed]]


def evaluate_completion(
    arm: str, training: dict[str, Any] | None, data: dict[str, Any], seed: int, members: list[int], shown: int = 0,
    solver: dict[str, Any] | None = None, device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Score a trained population, or one of `BASELINES`, on the test clouds of every member.

    Args:
        arm: name of the arm; one of `BASELINES` where `training` is None.
        training: point of `train_completion`, trained by a nested sweep where it is not stored.
        data, seed, members: as in `train_completion`.
        shown: the first so many test clouds of the first member are returned.
        solver: changes of the inner solver.

    Returns:
        for each output (of an equilibrium model "applied", F(Z*), and "found", Z* itself; otherwise "made") and each of
        `completion_clouds.SCORES` its mean over test clouds, "output/score" `[P]` (NaN where no cloud has one); and
        "output/cloud" `[shown, K, d]` with "output/mask" and "output/added" `[shown, K]`.

    Raises:
        ValueError: an unknown baseline.
    """
    test = held_out(data, seed, members).to(device)
    complete = _baseline(arm) if training is None else _trained_method(training, solver, device)
    pieces: dict[str, list[dict[str, Tensor]]] = {}
    for first in range(0, test.mask.shape[1], _TEST_CLOUDS):
        part, kept = test.part(slice(first, first + _TEST_CLOUDS)), slice(0, max(0, shown - first))
        for output, cloud, mask, added in complete(part):
            none = torch.zeros_like(mask) if added is None else added
            drawn = {"cloud": cloud[:1, kept], "mask": mask[:1, kept], "added": none[:1, kept]}
            pieces.setdefault(output, []).append(scores(cloud, mask, added, part) | drawn)
    joined = {f"{output}/{name}": torch.cat([part[name] for part in parts], 1)
              for output, parts in pieces.items() for name in parts[0]}  # fmt: skip
    return {name: value.nanmean(1) if name.split("/")[1] in SCORES else value[0] for name, value in joined.items()}


def held_out(data: Mapping[str, Any], seed: int, members: Sequence[int]) -> Holed:
    """The test clouds of every member, with holes and free particles drawn once for all methods."""
    _, test = stacked(data["name"], seed, members, data["train"], data["test"], None)
    return holed_members(test, seed, members, "test holes", data["observed"], data["test_points"])


def _trained_method(
    training: Mapping[str, Any], solver: Mapping[str, Any] | None, device: str | torch.device
) -> Method:
    (result,) = sweep(train_completion, [dict(training)], device=device)
    config, (weights, moments) = architecture(training["kind"], training["sizes"]), trained(result, device)
    if isinstance(config, NetworkConfig):
        return partial(_by_equilibrium, config, weights, Solver(**(final_solver(training) | dict(solver or {}))))
    return partial(_by_pcn, config, weights, moments)


def final_solver(training: Mapping[str, Any]) -> dict[str, Any]:
    """The inner solver at the end of a training point."""
    late = training["recipe"].get("late") or {}
    return dict(training["solver"]) | {name: value for name, value in late.items() if name != "from_epoch"}


@torch.no_grad()
def _by_equilibrium(config: NetworkConfig, weights: Weights, solver: Solver, batch: Holed) -> Iterator[Completed]:
    made = completed(config, weights, batch, solver)
    for output, particles in (("applied", made.output), ("found", made.found)):
        yield output, decode(particles, config.dimension), batch.mask, batch.free


@torch.no_grad()
def _by_pcn(config: pcn.PCN, weights: Weights, moments: Moments, batch: Holed) -> Iterator[Completed]:
    _, fine = pcn.complete(config, weights, batch.observed, batch.observed_mask, moments)
    everywhere = torch.ones(fine.shape[:3], dtype=torch.bool, device=fine.device)
    yield "made", fine, everywhere, everywhere


def _baseline(arm: str) -> Method:
    """What needs no training.

    The observed points alone; as many points from outside the holes as there are particles, which tells what their mere
    number is worth; the free particles as they were drawn; and true deleted points in their place: a method that knows
    the answer, though not where few points balance the missing mass best.
    """
    made: dict[str, Callable[[Holed], tuple[Tensor, Tensor, Tensor | None]]] = {
        COPY: lambda batch: (batch.observed, batch.observed_mask, None),
        MORE: lambda batch: (batch.outside, batch.outside_mask, None),
        START: lambda batch: (batch.particles, batch.mask, batch.free),
        TRUE_FILL: lambda batch: (true_fill(batch), batch.mask, batch.free),
    }
    if arm not in made:
        raise ValueError(f"arm = {arm!r} without a training; known are {list(BASELINES)}")
    return lambda batch: iter([("made", *made[arm](batch))])


def true_fill(batch: Holed) -> Tensor:
    """The particles `[P, B, K, d]` with the free ones put on deleted true points, spread evenly over their order; in a
    cloud without a deleted point they stay."""
    number = batch.free.cumsum(-1) - 1  # j of each free particle [P, B, K]
    free, deleted = batch.free.sum(-1, keepdim=True).clamp(min=1), batch.deleted.sum(-1, keepdim=True)
    rank = ((2 * number.clamp(min=0) + 1) * deleted).div(2 * free, rounding_mode="floor")  # which deleted point
    # the place of the deleted point of rank r is the first at which r + 1 have been counted
    place = torch.searchsorted(batch.deleted.cumsum(-1), torch.minimum(rank, deleted - 1).clamp(min=0) + 1)
    place = place.clamp(max=batch.truth.shape[2] - 1)
    taken = batch.truth.gather(2, place[..., None].expand(*place.shape, batch.truth.shape[-1]))
    return torch.where((batch.free & (deleted > 0))[..., None], taken, batch.particles)


def fill(
    training: Mapping[str, Any], weights: Weights, cloud: Clouds, centre: tuple[float, float], radius: float, steps: int
) -> tuple[Holed, Tensor, Tensor]:
    """Knock one hole into one cloud and let one trained network of a "ddeq" training fill it.

    Args:
        training: its point.
        weights: of one member, `{name: [1, *shape]}`.
        cloud: one whole cloud.
        centre, radius: of the hole, in standard deviations of the cloud.
        steps: inner steps.

    Returns:
        the cloud with its hole, and the points `[K, d]` of Z after the inner steps and of F(Z).

    Raises:
        ValueError: nothing is left of the cloud, or no radius.
    """
    centres = torch.tensor([[centre]], dtype=cloud.points.dtype)  # [1, 1, d]
    left = cloud.mask & ~in_holes(cloud.points, cloud.mask, centres, radius)
    if not bool(left.any()):
        raise ValueError(f"centre = {centre}, radius = {radius}: no point of the cloud is left; a smaller radius or "
                         "another centre is needed")  # fmt: skip
    data, config = training["data"], architecture(training["kind"], training["sizes"])
    assert isinstance(config, NetworkConfig)
    batch = holed(cloud, torch_generator(training["seed"], 0, "explored hole"), observed=data["observed"],
                  cut=(left, centres), radius=radius).stacked()  # fmt: skip
    solver = Solver(**(final_solver(training) | {"steps": steps, "tolerance": None}))
    with torch.no_grad():
        made = completed(config, weights, batch, solver)
    return batch, decode(made.found, config.dimension)[0, 0], decode(made.output, config.dimension)[0, 0]
