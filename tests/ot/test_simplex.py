"""Projection onto the simplex against entmax, sorting, hand-computed cases and the conditions of optimality."""

from __future__ import annotations

import math

import pytest
import torch
from entmax import sparsemax
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from twelvefold.core.seeds import torch_generator
from twelvefold.ot.simplex import PASSES, newton_threshold, project_simplex, simplex_threshold


def drawn(*shape: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch_generator(0, 0, f"simplex {shape}"), dtype=dtype)


def by_sorting(x: Tensor, mass: Tensor) -> Tensor:
    """Thresholds `[...]` from the definition: rho = max{k : k x_(k) > sum_{j <= k} x_(j) - z}."""
    ordered = x.sort(-1, descending=True).values
    excess = ordered.cumsum(-1) - mass[..., None]
    length = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    rho = (length * ordered > excess).sum(-1, keepdim=True)
    return (excess.gather(-1, rho - 1) / rho).squeeze(-1)


@pytest.mark.parametrize(
    ("x", "mass", "tau", "projected"),
    [
        ([3.0, 1.0, 0.0], 1.0, 2.0, [1.0, 0.0, 0.0]),  # far apart: a vertex
        ([1.0, 0.8, 0.1], 1.0, 0.4, [0.6, 0.4, 0.0]),
        ([0.2, 0.3, 0.5], 1.0, 0.0, [0.2, 0.3, 0.5]),  # already there
        ([0.0, 0.0, 0.0, 0.0], 2.0, -0.5, [0.5, 0.5, 0.5, 0.5]),
        ([-5.0], 0.25, -5.25, [0.25]),
        ([5.0, 5.0, 1.0], 2.0, 4.0, [1.0, 1.0, 0.0]),  # a tie
        ([2.0, 1.0, 0.0], 3.0, 0.0, [2.0, 1.0, 0.0]),  # an entry at the threshold
    ],
)
def test_cases_by_hand(x, mass, tau, projected):
    values = torch.tensor(x, dtype=torch.float64)
    assert simplex_threshold(values, mass).item() == pytest.approx(tau, abs=1e-15)
    torch.testing.assert_close(project_simplex(values, mass), torch.tensor(projected, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("length", [1, 2, 17, 512])
def test_mass_one_is_sparsemax(scale, length):
    x = drawn(64, length, dtype=torch.float32, scale=scale)
    torch.testing.assert_close(project_simplex(x), sparsemax(x, dim=-1), atol=1e-7, rtol=0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_thresholds_are_those_of_the_sorted_vector(scale):
    x, mass = drawn(5, 40, 300, scale=scale), drawn(5, 40).exp()
    torch.testing.assert_close(simplex_threshold(x, mass), by_sorting(x, mass), atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
def test_any_axis(dim):
    x = drawn(4, 5, 6)
    mass = drawn(*x.movedim(dim, -1).shape[:-1]).exp()
    along = project_simplex(x, mass, dim)
    torch.testing.assert_close(along.movedim(dim, -1), project_simplex(x.movedim(dim, -1), mass), atol=0, rtol=0)
    torch.testing.assert_close(along, (x - simplex_threshold(x, mass, dim).unsqueeze(dim)).relu(), atol=1e-14, rtol=0)


def test_a_start_changes_nothing_wherever_it_lies():
    x = drawn(30, 100)
    tau = simplex_threshold(x, 1.0)
    for start in (tau, tau - 0.1, tau + 0.1, tau - 1e6, tau + 1e6, x.amax(-1), x.amin(-1)):
        torch.testing.assert_close(simplex_threshold(x, 1.0, start=start), tau, atol=1e-14, rtol=0)


def test_alone_or_in_a_batch_the_same_bits():
    x, mass = drawn(12, 333, dtype=torch.float32), drawn(12, dtype=torch.float32).exp()
    x[::3] *= 50  # few steps beside many
    together = project_simplex(x, mass)
    for one, m, found in zip(x, mass, together, strict=True):
        assert torch.equal(project_simplex(one, m), found)


def count_steps(x: Tensor, mass: Tensor, start: Tensor) -> tuple[Tensor, int]:
    taken = []

    def moments(tau: Tensor) -> tuple[Tensor, Tensor]:
        taken.append(tau)
        above = (x - tau[..., None]).relu()
        return above.sum(-1), above.sign().sum(-1)

    return newton_threshold(moments, mass, start, lambda: x.amax(-1))[0], len(taken)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_cap_on_steps_is_never_reached(dtype):
    # values that pile up towards the maximum in powers of two let every step drop few of them
    worst = -(2.0 ** -torch.arange(0, 60, 0.01, dtype=dtype))
    vectors = [worst, -(-worst).sqrt(), -((-worst) ** 2), drawn(6000, dtype=dtype), drawn(6000, dtype=dtype).exp()]
    x = torch.stack([vector.expand(6000) for vector in vectors])
    for mass in (1e-2, 1.0, 100.0):
        masses = torch.full((len(vectors),), mass, dtype=dtype)
        for start in (x.amax(-1) - mass, x.amin(-1) - 1e3, x.amax(-1) + 1):
            tau, steps = count_steps(x, masses, start)
            assert steps <= PASSES / 2
            torch.testing.assert_close((x - tau[:, None]).relu().sum(-1), masses, rtol=2e-3, atol=0)


def test_few_steps_suffice_from_a_near_start():
    x, mass = drawn(8, 5000), torch.ones(8, dtype=torch.float64)
    tau, cold = count_steps(x, mass, x.amax(-1) - 1)
    again, warm = count_steps(x, mass, tau)
    assert (warm, cold > 4) == (2, True)  # one step, and one look that confirms it
    torch.testing.assert_close(again, tau, atol=1e-14, rtol=0)


finite = st.floats(-100, 100, width=32)


@given(st.lists(finite, min_size=1, max_size=12), st.floats(0.125, 64, width=32))
def test_the_projection_is_the_nearest_point(values, mass):
    x = torch.tensor(values, dtype=torch.float64)
    p = project_simplex(x, mass)
    assert bool((p >= 0).all())
    assert p.sum().item() == pytest.approx(mass, rel=1e-12)
    # x - p lies in the normal cone: no vertex z e_i of the simplex has a larger product with it
    normal = x - p
    assert bool((mass * normal - (normal * p).sum() <= 1e-9 * (1 + mass)).all())


@given(st.lists(finite, min_size=2, max_size=8), st.floats(-50, 50, width=32))
def test_constants_do_not_matter_and_a_second_projection_does_nothing(values, constant):
    x = torch.tensor(values, dtype=torch.float64)
    p = project_simplex(x, 2.0)
    torch.testing.assert_close(project_simplex(x + constant, 2.0), p, atol=1e-12, rtol=0)
    torch.testing.assert_close(project_simplex(p, 2.0), p, atol=1e-12, rtol=0)


def test_the_gradient_is_that_of_finite_differences_and_of_entmax():
    x, mass = drawn(6, 9).requires_grad_(), drawn(6).exp().requires_grad_()
    assert gradcheck(project_simplex, (x, mass))
    assert gradgradcheck(project_simplex, (x, mass))
    weights = drawn(6, 9, scale=3.0)
    (ours,) = torch.autograd.grad((project_simplex(x) * weights).sum(), x)
    (theirs,) = torch.autograd.grad((sparsemax(x, dim=-1) * weights).sum(), x)
    torch.testing.assert_close(ours, theirs, atol=1e-14, rtol=0)


def test_the_gradient_by_hand():
    x = torch.tensor([1.0, 0.8, 0.1], dtype=torch.float64, requires_grad=True)
    mass = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    project_simplex(x, mass).backward(torch.tensor([3.0, 1.0, 50.0], dtype=torch.float64))
    assert x.grad is not None and mass.grad is not None
    assert x.grad.tolist() == [1.0, -1.0, 0.0]  # g_S - mean(g_S), with S the first two
    assert mass.grad.item() == 2.0


def test_a_threshold_has_no_gradient():
    assert not simplex_threshold(drawn(3, 4).requires_grad_(), 1.0).requires_grad


@pytest.mark.parametrize("function", [project_simplex, simplex_threshold])
@pytest.mark.parametrize(
    ("x", "mass", "dim", "words"),
    [
        (drawn(3, 4), 0.0, -1, "mass = 0.0; positive"),
        (drawn(3, 4), -1.0, -1, "mass = -1.0; positive"),
        (drawn(3, 4), math.nan, -1, "mass = nan; positive"),
        (drawn(3, 4), math.inf, -1, "mass = inf; positive"),
        (drawn(3, 4), torch.tensor([1.0, 0.0, 1.0]), -1, "positive"),
        (drawn(3, 4), torch.ones(4), -1, r"mass is \(4,\); .*\(3,\)"),
        (drawn(3, 4), torch.ones(3, 4), -1, r"mass is \(3, 4\)"),
        (torch.tensor([1.0, math.nan]), 1.0, -1, "not finite"),
        (torch.tensor([1.0, math.inf]), 1.0, -1, "not finite"),
        (torch.tensor([1.0, -math.inf]), 1.0, -1, "not finite"),
        (torch.empty(3, 0), 1.0, -1, "at least one value"),
        (torch.tensor(1.0), 1.0, -1, "at least one axis"),
        (torch.ones(3, dtype=torch.int64), 1.0, -1, "int64"),
        (torch.ones(3, dtype=torch.bfloat16), 1.0, -1, "bfloat16"),
        (drawn(3, 4), 1.0, 2, "dim = 2"),
    ],
)
def test_bad_input_is_named(function, x, mass, dim, words):
    with pytest.raises(ValueError, match=words):
        function(x, mass, dim)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (torch.zeros(4, dtype=torch.float64), r"start is .*\(4,\)"),
        (torch.zeros(3), "float32"),
        (torch.full((3,), math.nan, dtype=torch.float64), "not finite"),
    ],
)
def test_a_bad_start_is_named(start, words):
    with pytest.raises(ValueError, match=words):
        simplex_threshold(drawn(3, 4), 1.0, start=start)


def test_no_vectors_are_projected_to_none():
    assert project_simplex(torch.empty(0, 3)).shape == (0, 3)
    assert simplex_threshold(torch.empty(0, 3), 1.0).shape == (0,)
