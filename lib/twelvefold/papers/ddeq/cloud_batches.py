"""Labelled clouds of every training run, and the batches it sees: functions of seed, replicate and step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from twelvefold.core.seeds import torch_generator
from twelvefold.tasks.meshes import modelnet_clouds
from twelvefold.tasks.point_clouds import Clouds, mnist_clouds, resampled, split

SETS = ("mnist5k", "mnist60k", "modelnet40")


@dataclass(frozen=True)
class Stacked:
    """The same kind of data for P members: points `[P, n, M, d]`, mask bool `[P, n, M]` (None: no padding anywhere),
    labels `[P, n]`."""

    points: Tensor
    mask: Tensor | None
    labels: Tensor

    def rows(self, index: Tensor) -> Stacked:
        """Clouds `index [P, B]` of each member."""
        member = torch.arange(index.shape[0], device=index.device)[:, None]
        return Stacked(self.points[member, index], None if self.mask is None else self.mask[member, index],
                       self.labels[member, index])  # fmt: skip

    def part(self, chosen: slice) -> Stacked:
        """The same clouds numbers of every member."""
        mask = None if self.mask is None else self.mask[:, chosen]
        return Stacked(self.points[:, chosen], mask, self.labels[:, chosen])

    def first(self) -> Stacked:
        """The clouds of the first member."""
        return Stacked(self.points[:1], None if self.mask is None else self.mask[:1], self.labels[:1])

    def to(self, device: str | torch.device) -> Stacked:
        """The same clouds on a device."""
        return Stacked(self.points.to(device), None if self.mask is None else self.mask.to(device),
                       self.labels.to(device))  # fmt: skip


def splits(name: str, seed: int, replicate: int, train: int | None, test: int | None) -> tuple[Clouds, Clouds]:
    """Training and test clouds of a run.

    Args:
        name: "mnist5k" (every run draws its own split), "mnist60k" or "modelnet40" (the makers' split).
        seed, replicate: whose split is drawn.
        train, test: numbers of clouds; None takes all that the makers' split has (needed for mnist5k).

    Raises:
        ValueError: an unknown name, or sizes that do not fit. DataMissing: see `core.data.load`.
    """
    generator = torch_generator(seed, replicate, "split")
    if name == "mnist5k":
        clouds = mnist_clouds("mnist5k")
        if train is None or test is None:
            raise ValueError(f"train = {train}, test = {test}; mnist5k has no split of its own, both are needed")
        parts = split(len(clouds), {"train": train, "test": test}, generator)
        return clouds.select(parts["train"]), clouds.select(parts["test"])
    if name not in SETS:
        raise ValueError(f"name = {name!r}; known are {list(SETS)}")
    whole = [_part(name, part) for part in ("train", "test")]
    sizes = [len(clouds) if size is None else size for clouds, size in zip(whole, (train, test), strict=True)]
    chosen = [split(len(clouds), {"all": size}, generator)["all"] for clouds, size in zip(whole, sizes, strict=True)]
    return whole[0].select(chosen[0]), whole[1].select(chosen[1])


@lru_cache(maxsize=2)
def _part(name: str, part: str) -> Clouds:
    return modelnet_clouds(part) if name == "modelnet40" else mnist_clouds(name, part)


def stacked(
    name: str, seed: int, members: Sequence[int], train: int | None, test: int | None, points: int | None
) -> tuple[Stacked, Stacked]:
    """Training and test clouds of every member, at most `points` random points of each (None: all)."""
    pairs = []
    for replicate in members:
        parts = splits(name, seed, replicate, train, test)
        if points is not None:
            generator = torch_generator(seed, replicate, "points")
            parts = (resampled(parts[0], points, generator), resampled(parts[1], points, generator))
        pairs.append(parts)
    return _joined([pair[0] for pair in pairs]), _joined([pair[1] for pair in pairs])


def _joined(members: Sequence[Clouds]) -> Stacked:
    mask = torch.stack([clouds.mask for clouds in members])
    return Stacked(torch.stack([clouds.points for clouds in members]), None if bool(mask.all()) else mask,
                   torch.stack([clouds.labels for clouds in members]))  # fmt: skip


class Order:
    """Which clouds a member sees at which update: every epoch in a random order of its own, left-overs dropped."""

    def __init__(self, seed: int, members: Sequence[int], clouds: int, batch: int) -> None:
        if not 1 <= batch <= clouds:
            raise ValueError(f"batch = {batch}; from 1 to the {clouds} training clouds are accepted")
        self.seed, self.members, self.clouds, self.batch = seed, tuple(members), clouds, batch
        self.per_epoch = clouds // batch
        self._epoch: tuple[int, Tensor] = (-1, torch.empty(0))

    def __call__(self, step: int) -> Tensor:
        """Numbers of the clouds of update `step`, `[P, B]`."""
        epoch, place = divmod(step, self.per_epoch)
        if self._epoch[0] != epoch:
            drawn = [torch.randperm(self.clouds, generator=torch_generator(self.seed, replicate, f"order {epoch}"))
                     for replicate in self.members]  # fmt: skip
            self._epoch = epoch, torch.stack(drawn)
        return self._epoch[1][:, place * self.batch : (place + 1) * self.batch]


def particles(seed: int, members: Sequence[int], purpose: str, shape: tuple[int, int, int]) -> Tensor:
    """Standard normal particles Z_0 `[P, B, N, d]` of every member for a purpose, drawn on the CPU."""
    drawn = [torch.randn(shape, generator=torch_generator(seed, replicate, purpose)) for replicate in members]
    return torch.stack(drawn)
