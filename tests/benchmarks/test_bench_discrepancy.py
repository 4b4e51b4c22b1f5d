"""The energy distance of a batch of clouds against geomloss, and against POT's distances one cloud at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ot
import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.ot.discrepancy import energy_distance

from tests.benchmarks.interleave import measure, record

CLOUDS = 64
SIZES = [(10, 2), (10, 32), (64, 2), (64, 32), (512, 2), (512, 32)]
ROUNDS = {10: 9, 64: 5, 512: 1}
Discrepancy = Callable[[Tensor, Tensor], Tensor]


def by_geomloss() -> Discrepancy:
    """geomloss' energy distance: half of ours, on dense tensors."""
    loss = pytest.importorskip("geomloss").SamplesLoss("energy", backend="tensorized")
    return lambda z, w: 2 * loss(z, w)


def by_pot() -> Discrepancy:
    """Means of POT's distance matrices, cloud by cloud."""

    def one(z: Tensor, w: Tensor) -> Tensor:
        return (2 * ot.dist(z, w, "euclidean").mean() - ot.dist(z, z, "euclidean").mean()
                - ot.dist(w, w, "euclidean").mean())  # fmt: skip

    return lambda z, w: torch.stack([one(*pair) for pair in zip(z, w, strict=True)])


def clouds(points: int, dimension: int) -> tuple[Tensor, Tensor]:
    generator = torch_generator(10_000, points, f"clouds {dimension}")
    z, w = torch.randn(2, CLOUDS, points, dimension, generator=generator).unbind()
    return z.requires_grad_(), (1.5 * w + 0.5).requires_grad_()


@pytest.mark.parametrize(("peer", "words"), [(by_geomloss, "geomloss"), (by_pot, "a loop over POT's distances")])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward and backward"])
@pytest.mark.parametrize(("points", "dimension"), SIZES)
def test_energy_distance(
    benchmark: Any, points: int, dimension: int, backward: bool, peer: Callable[[], Discrepancy], words: str
) -> None:
    pair, theirs = clouds(points, dimension), peer()

    def work(function: Discrepancy) -> tuple[Tensor, ...]:
        if not backward:
            with torch.no_grad():
                return (function(*pair),)
        value = function(*pair)
        return value, *torch.autograd.grad(value.sum(), pair)

    # the peers expand ||x||^2 + ||y||^2 - 2 x y, which loses half of the digits where points coincide: on the diagonal
    torch.testing.assert_close(work(energy_distance)[0], work(theirs)[0], atol=2e-3, rtol=2e-3)
    seconds = measure(lambda: work(energy_distance), lambda: work(theirs), ROUNDS[points])
    passes = "with gradients" if backward else "value"
    what = f"energy distance, {passes}, of {CLOUDS} pairs of clouds of {points} points, d = {dimension}"
    ratio = record(benchmark, seconds, target=1.0, what=what, peer=words)
    benchmark.pedantic(lambda: work(energy_distance), rounds=1)
    assert ratio > 0
