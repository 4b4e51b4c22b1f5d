"""Entropic transport against POT, autograd through every update, the scaling form of Sinkhorn, and its limits."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from twelvefold.core.seeds import torch_generator
from twelvefold.ot import dual_ascent
from twelvefold.ot.sinkhorn import sinkhorn
from twelvefold.ot.transport_plan import Potentials, marginal_error, unit_columns

F64 = torch.float64


def costs(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch_generator(seed, 0, f"sinkhorn {shape}"), dtype=F64)


def uneven(n: int, m: int, total: float = 1.0) -> Potentials:
    """Marginals that differ between rows and between columns."""
    rows, columns = costs(n, seed=1) + 0.1, costs(m, seed=2) + 0.1
    return total * rows / rows.sum(), total * columns / columns.sum()


def by_autograd(cost: Tensor, source: Tensor, target: Tensor, epsilon: float, iterations: int) -> Tensor:
    """The scaling form, u = mu / K v and v = nu / K^T u, with whole matrices that autograd follows."""
    kernel = (-cost / epsilon).exp()
    v = torch.ones_like(target)
    for _ in range(iterations):
        u = source / (kernel @ v)
        v = target / (kernel.T @ u)
    return u[:, None] * kernel * v


@pytest.fixture(params=["one block", "blocks of rows"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Problems whole, or in blocks of few rows as large problems go."""
    if request.param == "blocks of rows":
        monkeypatch.setattr(dual_ascent, "_CACHED", 39)


@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.02])
def test_it_is_the_plan_of_pot(epsilon, blocks):
    cost, (source, target) = costs(12, 20), uneven(12, 20)
    peer = ot.sinkhorn(source.numpy(), target.numpy(), cost.numpy(), epsilon, method="sinkhorn_log",
                       numItermax=20_000, stopThr=1e-14)  # fmt: skip
    found = sinkhorn(cost, source, target, regularisation=epsilon, iterations=20_000, tolerance=1e-13)
    assert float(found.marginal_error) <= 1e-13
    np.testing.assert_allclose(found.plan.numpy(), peer, atol=1e-8)


@pytest.mark.parametrize("iterations", [1, 4])
def test_every_iterate_is_that_of_the_scaling_form(iterations, blocks):
    cost, (source, target) = costs(9, 7), uneven(9, 7, total=3.0)
    found = sinkhorn(cost, source, target, regularisation=0.1, iterations=iterations)
    plan, (a, b) = found.plan, found.potentials
    torch.testing.assert_close(plan, by_autograd(cost, source, target, 0.1, iterations), atol=1e-14, rtol=1e-12)
    torch.testing.assert_close(plan, ((a[:, None] + b - cost) / 0.1).exp(), atol=1e-14, rtol=1e-12)
    torch.testing.assert_close(plan.sum(-2), target, atol=1e-14, rtol=0)  # the last update is that of the columns
    assert found.iterations.tolist() == iterations
    torch.testing.assert_close(found.marginal_error, marginal_error(plan, source, target), atol=1e-15, rtol=0)


def test_two_by_two_by_hand():
    # by symmetry a and b are constant: P = [[t, 1 - t], [1 - t, t]] with t / (1 - t) = exp((c12 - c11) / epsilon)
    cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=F64)
    plan = sinkhorn(cost, *unit_columns(2, 2, dtype=F64), regularisation=0.5).plan
    t = 1 / (1 + math.exp(-1 / 0.5))
    torch.testing.assert_close(plan, torch.tensor([[t, 1 - t], [1 - t, t]], dtype=F64), atol=1e-14, rtol=0)


def test_a_small_regularisation_stays_finite_and_nears_the_cheapest_plan():
    # one cheap entry a row, so that few updates suffice; exp(-C / epsilon) itself is 0 everywhere else
    generator = torch_generator(3, 0, "order")
    order = torch.randperm(8, generator=generator)
    cost = costs(8, 8) + 5.0
    cost[torch.arange(8), order] = 0.0
    for dtype in (F64, torch.float32):
        marginals = tuple(marginal / 8 for marginal in unit_columns(8, 8, dtype=dtype))
        found = sinkhorn(cost.to(dtype), *marginals, regularisation=1e-4, iterations=50)
        best = torch.zeros(8, 8, dtype=dtype)
        best[torch.arange(8), order] = 1 / 8
        torch.testing.assert_close(found.plan, best, atol=1e-6, rtol=0)
    hard = sinkhorn(1e4 * costs(2, 6, 8), *uneven(6, 8), regularisation=1e-4, iterations=200)
    for value in (hard.plan, *hard.potentials, hard.marginal_error):
        assert bool(value.isfinite().all())


def test_a_large_regularisation_leaves_the_product_of_the_marginals():
    source, target = uneven(6, 8)
    plan = sinkhorn(costs(6, 8), source, target, regularisation=1e6).plan
    torch.testing.assert_close(plan, source[:, None] * target, atol=1e-7, rtol=0)


def test_every_problem_of_a_batch_is_solved_as_if_alone():
    cost = (costs(5, 9, 11) * torch.logspace(-2, 1, 5, dtype=F64).view(5, 1, 1)).float().requires_grad_()
    marginals, weights = [marginal.float() for marginal in uneven(9, 11)], costs(5, 9, 11, seed=3).float()
    for options in ({"iterations": 7}, {"tolerance": 1e-3}, {"gradient": "implicit"}):
        found = sinkhorn(cost, *marginals, regularisation=0.1, **options)
        (gradient,) = torch.autograd.grad((found.plan * weights).sum(), cost)
        for index in range(5):
            alone = cost[index].detach().clone().requires_grad_()
            one = sinkhorn(alone, *marginals, regularisation=0.1, **options)
            for name in ("plan", "source_potential", "target_potential", "iterations", "marginal_error"):
                assert torch.equal(getattr(one, name), getattr(found, name)[index]), name
            (expected,) = torch.autograd.grad((one.plan * weights[index]).sum(), alone)
            assert torch.equal(gradient[index], expected)


def test_a_tolerance_ends_each_problem_on_its_own_and_a_start_goes_on():
    cost, marginals = costs(3, 9, 11) * torch.tensor([0.1, 1.0, 5.0], dtype=F64).view(3, 1, 1), uneven(9, 11)
    found = sinkhorn(cost, *marginals, regularisation=0.1, iterations=40, tolerance=1e-4)
    made = found.iterations.tolist()
    assert made[0] < made[1] < made[2] == 40
    for one, count, plan, error in zip(cost, made, found.plan, found.marginal_error, strict=True):
        torch.testing.assert_close(sinkhorn(one, *marginals, regularisation=0.1, iterations=count).plan, plan)
        assert (float(error) <= 1e-4) == (count < 40)
    first = sinkhorn(cost, *marginals, regularisation=0.1, iterations=3)
    on = sinkhorn(cost, *marginals, regularisation=0.1, iterations=4, start=first.potentials)
    through = sinkhorn(cost, *marginals, regularisation=0.1, iterations=7)
    torch.testing.assert_close(on.plan, through.plan, atol=1e-14, rtol=0)


# --- gradients


def test_the_unrolled_gradient_is_that_of_finite_differences():
    cost = costs(2, 4, 5).requires_grad_()
    assert gradcheck(lambda c: sinkhorn(c, *uneven(4, 5), regularisation=0.2, iterations=3).plan, cost)


@pytest.mark.parametrize("iterations", [1, 2, 20])
def test_the_unrolled_gradient_is_that_of_autograd_through_every_update(iterations, blocks):
    cost, weights = costs(9, 7).requires_grad_(), costs(9, 7, seed=3)
    source, target = (marginal.requires_grad_() for marginal in uneven(9, 7, total=3.0))
    inputs = (cost, source, target)
    ours = sinkhorn(*inputs, regularisation=0.1, iterations=iterations).plan
    reference = by_autograd(*inputs, 0.1, iterations)
    for one, other in zip(torch.autograd.grad((ours * weights).sum(), inputs),
                          torch.autograd.grad((reference * weights).sum(), inputs), strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)


def test_both_gradients_agree_at_convergence_and_only_there(blocks):
    cost, weights, found = costs(9, 7).requires_grad_(), costs(9, 7, seed=3), {}
    for iterations in (1, 300):
        for name in ("unrolled", "implicit"):
            plan = sinkhorn(cost, *uneven(9, 7), regularisation=0.1, iterations=iterations, gradient=name).plan
            (found[iterations, name],) = torch.autograd.grad((plan * weights).sum(), cost)
    torch.testing.assert_close(found[300, "implicit"], found[300, "unrolled"], atol=1e-12, rtol=1e-9)
    assert float((found[1, "implicit"] - found[1, "unrolled"]).abs().max()) > 1e-3


def test_the_implicit_gradient_of_the_marginals_is_that_of_moves_that_keep_the_total():
    cost, weights, along = costs(9, 7), costs(9, 7, seed=3), []
    source, target = (marginal.requires_grad_() for marginal in uneven(9, 7))
    step, across = costs(9, seed=4), costs(7, seed=5)
    across = across * step.sum() / across.sum()
    for name in ("unrolled", "implicit"):
        plan = sinkhorn(cost, source, target, regularisation=0.1, iterations=300, gradient=name).plan
        for_source, for_target = torch.autograd.grad((plan * weights).sum(), (source, target))
        along.append(float((for_source * step).sum() + (for_target * across).sum()))
    assert along[1] == pytest.approx(along[0], rel=1e-9)


def test_the_envelope_theorem():
    """The gradient of the optimal value in the cost is the plan itself."""
    cost, marginals = costs(9, 7).requires_grad_(), uneven(9, 7)
    plan = sinkhorn(cost, *marginals, regularisation=0.1, iterations=300).plan
    value = (plan * cost).sum() + 0.1 * (plan * (plan.log() - 1)).sum()
    (gradient,) = torch.autograd.grad(value, cost)
    torch.testing.assert_close(gradient, plan.detach(), atol=1e-10, rtol=0)


# --- bad input


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf])
def test_bad_regularisations_are_named(epsilon):
    with pytest.raises(ValueError, match=f"regularisation = {epsilon}; a positive number"):
        sinkhorn(costs(3, 4), *uneven(3, 4), regularisation=epsilon)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cost": costs(3, 4).log() / 0}, "cost holds values that are not finite"),
        ({"cost": costs(4)}, r"cost is torch.float64 \(4,\)"),
        ({"source_marginal": uneven(3, 4, total=2.0)[0]}, "the same total"),
        ({"source_marginal": torch.zeros(3, dtype=F64)}, "source_marginal holds masses from 0.0"),
        ({"target_marginal": uneven(3, 5)[1]}, r"target_marginal is torch.float64 \(5,\)"),
        ({"start": uneven(4, 3)}, "the source potential of start is"),
        ({"iterations": 0}, "iterations = 0"),
        ({"tolerance": 0.0}, "tolerance = 0.0"),
        ({"gradient": "exact"}, "gradient = 'exact'"),
    ],
)
def test_bad_input_is_named(changed, words):
    source, target = uneven(3, 4)
    good = {"cost": costs(3, 4), "source_marginal": source, "target_marginal": target, "regularisation": 0.1}
    with pytest.raises(ValueError, match=words):
        sinkhorn(**{**good, **changed})
