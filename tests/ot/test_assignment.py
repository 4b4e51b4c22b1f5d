"""Exact assignments against all permutations and POT's linear programme."""

from __future__ import annotations

import itertools
import math

import ot
import pytest
import torch
from scipy.stats import wasserstein_distance as on_a_line
from twelvefold.ot.assignment import matched_residual, wasserstein_distance

from tests.ot.clouds import drawn


def test_the_best_of_all_permutations():
    z, w = drawn(2, 3, 5, 2), drawn(2, 3, 5, 2, purpose="others")
    residual, best = matched_residual(z, w)
    assert residual.shape == (2, 3) and best.dtype == torch.int64
    for i, j in itertools.product(range(2), range(3)):
        costs = {order: ((z[i, j] - w[i, j][list(order)]) ** 2).sum(-1).mean().sqrt().item()
                 for order in itertools.permutations(range(5))}  # fmt: skip
        assert residual[i, j].item() == pytest.approx(min(costs.values()), abs=1e-12)
        assert tuple(best[i, j].tolist()) == min(costs, key=costs.__getitem__)


def test_a_permuted_cloud_has_residual_zero():
    z, order = drawn(7, 3), torch.tensor([3, 1, 0, 6, 5, 2, 4])
    residual, best = matched_residual(z, z[order])
    assert residual == 0
    assert torch.equal(z[order][best], z)


@pytest.mark.parametrize("p", [1, 2])
def test_wasserstein_distances_equal_pot(p):
    x, y = drawn(3, 9, 4), drawn(3, 9, 4, purpose="others")
    for found, a, b in zip(wasserstein_distance(x, y, p), x, y, strict=True):
        costs = ot.dist(a.numpy(), b.numpy(), "euclidean") ** p
        assert found.item() == pytest.approx(ot.emd2([], [], costs) ** (1 / p), abs=1e-10)


def test_wasserstein_distance_on_a_line_equals_scipy():
    x, y = drawn(12, 1), drawn(12, 1, purpose="others")
    assert wasserstein_distance(x, y, 1).item() == pytest.approx(on_a_line(x[:, 0], y[:, 0]), abs=1e-12)


def test_the_type_and_no_graph():
    z = drawn(4, 6, 2, dtype=torch.float32).requires_grad_()
    residual, _ = matched_residual(z, z.detach() + 1)
    assert residual.dtype == torch.float32 and not residual.requires_grad
    torch.testing.assert_close(residual, torch.full((4,), math.sqrt(2)))
    assert wasserstein_distance(z[0], z[0]).shape == ()


@pytest.mark.parametrize("function", [matched_residual, wasserstein_distance])
def test_bad_input(function):
    good = drawn(2, 4, 3)
    bad = good.clone()
    bad[1, 2, 0] = math.nan
    for pair, words in (((good, good[:, :3]), "equal shapes"), ((good, bad), r"second cloud\[1, 2\] is not finite"),
                        ((bad, good), r"first cloud\[1, 2\]"), ((good.long(), good.long()), "floating-point"),
                        ((good[0, 0], good[0, 0]), "at least one point")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            function(*pair)
    with pytest.raises(ValueError, match="p = 3"):
        wasserstein_distance(good, good, 3)
