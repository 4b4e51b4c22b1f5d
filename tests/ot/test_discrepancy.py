"""Discrepancies of clouds against loops, POT, scipy and finite differences; padding, coincident points, bad input."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance as energy_on_a_line
from torch import Tensor
from torch.autograd import gradcheck
from twelvefold.ot.discrepancy import (
    chamfer,
    check_clouds,
    distances,
    energy_distance,
    gaussian,
    riesz,
    squared_mmd,
    witness,
)
from twelvefold.ot.pairwise import pairwise

from tests.ot.clouds import drawn, mask_of

EXACT = {"atol": 1e-10, "rtol": 1e-10}
# numbers of points below and above the thresholds of the ways in which distances are computed
SIZES = [(1, 1, 1), (7, 5, 3), (10, 10, 32), (40, 33, 2), (35, 40, 5), (130, 129, 4)]
WIDE = partial(gaussian, sigma=1.7)
DISCREPANCIES: dict[str, Callable[..., Tensor]] = {
    "energy": energy_distance,
    "riesz": lambda z, w, a=None, b=None: squared_mmd(z, w, riesz, a, b),
    "riesz 0.5": lambda z, w, a=None, b=None: squared_mmd(z, w, partial(riesz, r=0.5), a, b),
    "gaussian": lambda z, w, a=None, b=None: squared_mmd(z, w, WIDE, a, b),
    "chamfer": chamfer,
}


def by_loops(z: Tensor, w: Tensor, kernel: Callable[[float], float]) -> float:
    """MMD^2 of two clouds by its definition, from a function of the distance."""

    def mean(a: Tensor, b: Tensor) -> float:
        found = [kernel(math.dist(p, q)) for p, q in itertools.product(a.tolist(), b.tolist())]
        return math.fsum(found) / len(found)

    return mean(z, z) + mean(w, w) - 2 * mean(z, w)


# --- values


@pytest.mark.parametrize(("n", "m", "d"), SIZES)
def test_distances_equal_scipy_and_pot(n, m, d):
    x, y = drawn(2, 3, n, d), drawn(2, 3, m, d, purpose="others")
    found = distances(x, y)
    for index in itertools.product(range(2), range(3)):
        torch.testing.assert_close(found[index], torch.from_numpy(cdist(x[index], y[index])), **EXACT)
        torch.testing.assert_close(found[index], ot.dist(x[index], y[index], "euclidean"), atol=1e-7, rtol=1e-7)


def test_points_that_nearly_coincide_keep_their_distance():
    for n in (5, 40, 130):
        x = drawn(1, n, 3) + 100
        found = pairwise(x, x + torch.tensor([1e-9, 0.0, 0.0], dtype=torch.float64)).diagonal(dim1=1, dim2=2)
        torch.testing.assert_close(found, torch.full_like(found, 1e-9), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("n", "m", "d"), SIZES)
def test_discrepancies_equal_loops(n, m, d):
    z, w = drawn(2, n, d), drawn(2, m, d, purpose="others") * 2 + 0.5
    kernels = {"energy": lambda r: -r, "riesz": lambda r: -r, "riesz 0.5": lambda r: -math.sqrt(r),
               "gaussian": lambda r: math.exp(-(r**2) / (2 * 1.7**2))}  # fmt: skip
    for name, kernel in kernels.items():
        expected = torch.tensor([by_loops(a, b, kernel) for a, b in zip(z, w, strict=True)], dtype=torch.float64)
        torch.testing.assert_close(DISCREPANCIES[name](z, w), expected, **EXACT, msg=name)


def test_energy_distance_on_a_line_equals_scipy():
    z, w = drawn(4, 9, 1), drawn(4, 12, 1, purpose="others")
    expected = [energy_on_a_line(a[:, 0], b[:, 0]) ** 2 for a, b in zip(z, w, strict=True)]  # scipy takes the root
    torch.testing.assert_close(energy_distance(z, w), torch.tensor(expected, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize(("n", "m", "d"), SIZES)
def test_chamfer_equals_nearest_neighbours_by_scipy(n, m, d):
    x, y = drawn(n, d), drawn(m, d, purpose="others")
    apart = cdist(x, y)
    assert chamfer(x, y).item() == pytest.approx(apart.min(1).mean() + apart.min(0).mean(), abs=1e-10)


@pytest.mark.parametrize("kernel", [riesz, WIDE])
def test_the_witness_function_by_loops(kernel):
    z, a, b = drawn(4, 3), drawn(5, 3, purpose="a"), drawn(6, 3, purpose="b")
    a_mask, b_mask = mask_of(torch.tensor(3), 5), mask_of(torch.tensor(4), 6)
    expected = [(kernel(point[None], a[a_mask]).mean() - kernel(point[None], b[b_mask]).mean()).item() for point in z]
    found = witness(z, a, b, kernel, a_mask, b_mask)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), **EXACT)
    # MMD^2 = E_z f - E_w f
    difference = witness(a, a, b, kernel).mean() - witness(b, a, b, kernel).mean()
    torch.testing.assert_close(difference, squared_mmd(a, b, kernel), **EXACT)


# --- gradients


@pytest.mark.parametrize("name", DISCREPANCIES)
@pytest.mark.parametrize(("n", "m", "d"), [(4, 3, 2), (40, 33, 2), (130, 128, 1)])
def test_gradients_equal_finite_differences(name, n, m, d):
    z, w = drawn(2, n, d).requires_grad_(), drawn(2, m, d, purpose="others").requires_grad_()
    masks = (mask_of(torch.tensor([n, n - 2]), n), mask_of(torch.tensor([m - 1, 2]), m))
    for arguments in ((), masks, (masks[0], None)):
        assert gradcheck(lambda a, b, rest=arguments: DISCREPANCIES[name](a, b, *rest), (z, w), fast_mode=True)


@pytest.mark.parametrize("kernel", [distances, riesz, partial(riesz, r=0.7), partial(riesz, r=1.5), WIDE])
def test_gradients_of_kernels_equal_finite_differences(kernel):
    assert gradcheck(kernel, (drawn(2, 4, 3).requires_grad_(), drawn(2, 5, 3, purpose="y").requires_grad_()))


def test_only_the_gradients_that_are_asked_for_are_made():
    z, w = drawn(3, 6, 2).requires_grad_(), drawn(3, 6, 2, purpose="others").requires_grad_()
    both = torch.autograd.grad(energy_distance(z, w).sum(), (z, w))
    for leaf, other, expected in ((z, w, both[0]), (w, z, both[1])):
        pair = (leaf, other.detach()) if leaf is z else (other.detach(), leaf)
        value = energy_distance(*pair)
        torch.testing.assert_close(torch.autograd.grad(value.sum(), leaf)[0], expected, **EXACT)
    with torch.no_grad():
        assert not energy_distance(z, w).requires_grad


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_a_second_derivative_is_refused_and_not_wrong(name):
    z = drawn(5, 2).requires_grad_()
    value = DISCREPANCIES[name](z, drawn(5, 2, purpose="w"))
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(value + z.square().sum(), z, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DISCREPANCIES)
@pytest.mark.parametrize("n", [5, 40, 130])
def test_coincident_points_give_zero(name, n, dtype):
    cloud = drawn(2, 3, dtype=dtype).repeat(n, 1)[:n].requires_grad_()  # every point many times
    same = cloud.detach().clone().requires_grad_()
    value = DISCREPANCIES[name](cloud, same)
    gradients = torch.autograd.grad(value, (cloud, same))
    assert abs(value.item()) < 1e-6
    for gradient in gradients:
        assert gradient.abs().max() < 1e-6  # and so not NaN


def test_one_point_many_times_has_no_gradient():
    z = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(distances(z, z.detach()).sum(), z)
    assert not gradient.any()


# --- masks


@pytest.mark.parametrize("name", DISCREPANCIES)
@pytest.mark.parametrize(("n", "m"), [(9, 6), (40, 35), (130, 140)])
@pytest.mark.parametrize("garbage", [0.0, 1e6, 1e300, math.inf, -math.inf, math.nan])
def test_a_mask_equals_rows_that_are_deleted(name, n, m, garbage):
    z, w = drawn(3, n, 2), drawn(3, m, 2, purpose="others")
    masks = mask_of(torch.tensor([n, 4, 1]), n), mask_of(torch.tensor([2, m, 3]), m, "others")
    padded = [torch.where(mask[..., None], cloud, garbage).requires_grad_()
              for cloud, mask in zip((z, w), masks, strict=True)]  # fmt: skip
    value = DISCREPANCIES[name](*padded, *masks)
    gradients = torch.autograd.grad(value.sum(), padded)
    for i in range(3):
        alone = [cloud[i][mask[i]].clone().requires_grad_() for cloud, mask in zip((z, w), masks, strict=True)]
        expected = DISCREPANCIES[name](*alone)
        torch.testing.assert_close(value[i], expected, **EXACT)
        own = torch.autograd.grad(expected, alone)
        for gradient, mask, deleted in zip(gradients, masks, own, strict=True):
            torch.testing.assert_close(gradient[i][mask[i]], deleted, **EXACT)
            assert not gradient[i][~mask[i]].any()


@pytest.mark.parametrize("garbage", [1e300, math.inf, math.nan])
def test_padding_does_not_reach_the_witness_function(garbage):
    z, a, b = drawn(4, 2).requires_grad_(), drawn(6, 2, purpose="a"), drawn(5, 2, purpose="b")
    masks = mask_of(torch.tensor(3), 6), mask_of(torch.tensor(2), 5)
    padded = [torch.where(mask[..., None], cloud, garbage) for cloud, mask in zip((a, b), masks, strict=True)]
    found, expected = witness(z, *padded, riesz, *masks), witness(z, a[masks[0]], b[masks[1]])
    torch.testing.assert_close(found, expected, **EXACT)
    for one, other in zip(*(torch.autograd.grad(value.sum(), z) for value in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_one_mask_leaves_the_other_cloud_whole(name):
    z, w, mask = drawn(2, 6, 2), drawn(2, 5, 2, purpose="others"), mask_of(torch.tensor([6, 2]), 6)
    full = torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(DISCREPANCIES[name](z, w, mask), DISCREPANCIES[name](z, w, mask, full), **EXACT)
    torch.testing.assert_close(DISCREPANCIES[name](w, z, None, mask), DISCREPANCIES[name](w, z, full, mask), **EXACT)


def test_a_point_that_is_not_finite_is_not_hidden():
    z = drawn(5, 2)
    z[1, 0] = math.nan
    for function in DISCREPANCIES.values():
        assert function(z, drawn(5, 2, purpose="others")).isnan()


# --- properties


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 45), m=st.integers(1, 45), d=st.integers(1, 5), scale=st.floats(1e-3, 1e3))
def test_properties_of_the_energy_distance(n, m, d, scale):
    z, w = drawn(n, d), drawn(m, d, purpose="others")
    value = energy_distance(z, w)
    assert value >= -1e-12
    torch.testing.assert_close(energy_distance(w, z), value, **EXACT)
    torch.testing.assert_close(energy_distance(scale * z + 3, scale * w + 3), scale * value, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(energy_distance(z.flip(0), w), value, **EXACT)
    torch.testing.assert_close(squared_mmd(z, w), value, **EXACT)


@pytest.mark.parametrize("name", DISCREPANCIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clouds_in_a_batch_equal_each_alone(name, dtype):
    # 3 x 40 clouds of 60 points are more than one pass of the energy distance takes
    z, w = drawn(3, 40, 60, 2, dtype=dtype), drawn(3, 40, 50, 2, purpose="others", dtype=dtype)
    mask = mask_of(torch.arange(1, 121).view(3, 40) % 60 + 1, 60)
    z.requires_grad_()
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else EXACT
    for arguments in ((), (mask,)):
        value = DISCREPANCIES[name](z, w, *arguments)
        assert value.shape == (3, 40) and value.dtype == dtype
        (gradient,) = torch.autograd.grad(value.sum(), z)
        for i, j in ((0, 0), (1, 17), (2, 39)):
            own = z[i, j].detach().requires_grad_()
            alone = DISCREPANCIES[name](own, w[i, j], *(part[i, j] for part in arguments))
            torch.testing.assert_close(value[i, j], alone, **tolerance)
            torch.testing.assert_close(gradient[i, j], torch.autograd.grad(alone, own)[0], **tolerance)


@pytest.mark.parametrize(("n", "d"), [(10, 32), (40, 2), (64, 32), (130, 3)])
def test_members_together_equal_each_alone_bit_for_bit(n, d):
    z, w = drawn(3, 20, n, d, dtype=torch.float32), drawn(3, 20, n, d, purpose="others", dtype=torch.float32)
    together = z.clone().requires_grad_()
    value = energy_distance(together, w)
    (gradient,) = torch.autograd.grad(value.sum(), together)
    for member in range(3):
        alone = z[member].clone().requires_grad_()
        own = energy_distance(alone, w[member])
        assert torch.equal(own, value[member])
        assert torch.equal(torch.autograd.grad(own.sum(), alone)[0], gradient[member])


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_autocast_does_not_touch_values_or_gradients(name):
    z, w = drawn(4, 10, 8, dtype=torch.float32).requires_grad_(), drawn(4, 10, 8, purpose="w", dtype=torch.float32)

    def found() -> tuple[Tensor, ...]:
        value = DISCREPANCIES[name](z, w)
        return value, *torch.autograd.grad(value.sum(), z)

    with torch.autocast("cpu", torch.bfloat16):
        inside = found()
    for one, other in zip(inside, found(), strict=True):
        assert torch.equal(one, other)


# --- bad input


GOOD = torch.zeros(2, 4, 3)


@pytest.mark.parametrize("function", [*DISCREPANCIES.values(), distances, riesz, gaussian])
@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (GOOD[0, 0], GOOD, "at least one point"),
        (GOOD.long(), GOOD, "floating-point"),
        (GOOD[:, :0], GOOD, "at least one point"),
        (GOOD, GOOD[..., :0], "one coordinate"),
        (GOOD, GOOD[0], "same leading axes"),
        (GOOD, GOOD[:1], "same leading axes"),
        (GOOD, GOOD[..., :2], "dimension"),
        (GOOD, GOOD.double(), "type"),
    ],
)
def test_clouds_that_do_not_fit_are_refused(function, x, y, words):
    with pytest.raises(ValueError, match=words):
        function(x, y)


@pytest.mark.parametrize("function", DISCREPANCIES.values())
@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.ones(2, 4), "bool"),
        (torch.ones(2, 3, dtype=torch.bool), r"\(2, 4\) is needed"),
        (torch.ones(4, dtype=torch.bool), r"\(2, 4\) is needed"),
        (torch.tensor([[True] * 4, [False] * 4]), r"no True at \[1\]"),
    ],
)
def test_masks_that_do_not_fit_are_refused(function, mask, words):
    with pytest.raises(ValueError, match=words):
        function(GOOD, GOOD, mask)
    with pytest.raises(ValueError, match=words):
        function(GOOD, GOOD, None, mask)


def test_the_witness_function_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="b is .*the same leading axes"):
        witness(GOOD, GOOD, GOOD[..., :2])
    with pytest.raises(ValueError, match="x is .*the same leading axes"):
        witness(GOOD[..., :2], GOOD, GOOD)
    with pytest.raises(ValueError, match="the mask of a has no True"):
        witness(GOOD, GOOD, GOOD, riesz, torch.zeros(2, 4, dtype=torch.bool))


@pytest.mark.parametrize("r", [0.0, 2.0, -1.0, math.nan])
def test_exponents_out_of_range_are_refused(r):
    with pytest.raises(ValueError, match="r = "):
        riesz(GOOD, GOOD, r)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_widths_out_of_range_are_refused(sigma):
    with pytest.raises(ValueError, match="sigma = "):
        gaussian(GOOD, GOOD, sigma)


def test_check_clouds_names_the_first_cloud_at_fault():
    clouds = drawn(2, 3, 4, 2)
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    check_clouds("start", clouds, mask)
    clouds[1, 2, 3, 0] = math.inf
    with pytest.raises(ValueError, match=r"start\[1, 2, 3\] is not finite"):
        check_clouds("start", clouds)
    mask[1, 2, 3] = False
    check_clouds("start", clouds, mask)
    with pytest.raises(ValueError, match=r"no True at \[0, 1\]"):
        mask[0, 1] = False
        check_clouds("start", clouds, mask)
