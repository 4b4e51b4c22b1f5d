"""Projection onto the transport polytope against POT, Dykstra, autograd through every update, and its own geometry."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck
from torch.utils._python_dispatch import TorchDispatchMode
from twelvefold.core.seeds import torch_generator
from twelvefold.ot import dual_ascent
from twelvefold.ot.polytope import alternating_projections, dykstra, project_polytope
from twelvefold.ot.simplex import project_simplex
from twelvefold.ot.transport_plan import Potentials, marginal_error, unit_columns

F64 = torch.float64
EXACT: dict[str, Any] = {"iterations": 20_000, "tolerance": 2e-14}  # rounding is all that is left


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch_generator(seed, 0, f"polytope {shape}"), dtype=F64)


def uneven(n: int, m: int, seed: int = 0) -> Potentials:
    """Marginals of total mass m that differ between rows and between columns."""
    rows, columns = drawn(n, seed=seed).exp(), drawn(m, seed=seed + 1).exp()
    return m * rows / rows.sum(), m * columns / columns.sum()


def by_autograd(scores: Tensor, source: Tensor, target: Tensor, iterations: int, start: Tensor | None = None) -> Tensor:
    """The same updates with whole matrices, which autograd follows."""
    b = torch.zeros_like(scores[..., 0, :]) if start is None else start
    for _ in range(iterations):
        x = scores + b[..., None, :]
        on = (project_simplex(x, source.expand(x.shape[:-1])) > 0).detach().to(F64)
        a = (source - (on * x).sum(-1)) / on.sum(-1)
        x = scores + a[..., None]
        on = (project_simplex(x, target.expand(b.shape), dim=-2) > 0).detach().to(F64)
        b = (target - (on * x).sum(-2)) / on.sum(-2)
    return (scores + a[..., None] + b[..., None, :]).relu()


@pytest.fixture(params=["one block", "blocks of rows"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Problems whole, or in blocks of few rows as large problems go."""
    if request.param == "blocks of rows":
        monkeypatch.setattr(dual_ascent, "_CACHED", 39)


# --- the plan


def test_two_by_two_by_hand():
    # P = [[t, 1 - t], [1 - t, t]]; the projection onto this line takes t = 1/2 + (c11 + c22 - c12 - c21) / 4
    scores = torch.tensor([[0.5, 0.1], [0.2, 0.3]], dtype=F64)
    found = project_polytope(scores, *unit_columns(2, 2, dtype=F64), iterations=50)
    t = 0.5 + 0.5 / 4
    torch.testing.assert_close(found.plan, torch.tensor([[t, 1 - t], [1 - t, t]], dtype=F64), atol=1e-14, rtol=0)


@pytest.mark.parametrize(("n", "m", "scale"), [(20, 50, 0.1), (12, 20, 1.0), (6, 10, 3.0)])
def test_it_is_quadratically_regularised_transport(n, m, scale):
    scores = drawn(n, m, scale=scale)
    source, target = (marginal / m for marginal in uneven(n, m))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POT hands an option to scipy that it will drop
        peer = ot.smooth.smooth_ot_dual(
            source.numpy(), target.numpy(), -scores.numpy(), reg=1.0, reg_type="l2", numItermax=20000, stopThr=1e-14
        )
    found = project_polytope(scores, source, target, iterations=20_000, tolerance=1e-13)
    assert float(found.marginal_error) <= 1e-13
    np.testing.assert_allclose(found.plan.numpy(), peer, atol=1e-6)


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_dykstra_ends_at_the_same_plan_and_takes_longer(scale):
    scores, marginals = drawn(2, 8, 12, scale=scale), uneven(8, 12)
    exact = project_polytope(scores, *marginals, **EXACT).plan
    torch.testing.assert_close(dykstra(scores, *marginals, iterations=400), exact, atol=1e-10, rtol=0)
    for iterations in (2, 5, 20):
        ours = (project_polytope(scores, *marginals, iterations=iterations).plan - exact).abs().amax((-2, -1))
        theirs = (dykstra(scores, *marginals, iterations=iterations) - exact).abs().amax((-2, -1))
        assert bool((ours < theirs).all())


def test_alternation_without_corrections_ends_at_another_plan():
    scores, marginals = drawn(20, 50), unit_columns(20, 50, dtype=F64)
    exact = project_polytope(scores, *marginals, **EXACT).plan
    other = alternating_projections(scores, *marginals, iterations=100)
    assert float(marginal_error(other, *marginals)) < 1e-12  # it is in the polytope,
    assert float((other - exact).abs().max()) > 1e-3
    assert float((other - scores).norm()) > float((exact - scores).norm()) + 1e-3  # and not the nearest plan


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (5, 1), (7, 12), (12, 7)])
def test_the_last_update_makes_the_columns_exact(n, m, blocks):
    scores, (source, target) = drawn(n, m), uneven(n, m)
    found = project_polytope(scores, source, target, iterations=3)
    plan, (a, b) = found.plan, found.potentials
    torch.testing.assert_close(plan.sum(-2), target, atol=1e-14, rtol=1e-14)
    torch.testing.assert_close(plan, (scores + a[:, None] + b).relu(), atol=0, rtol=0)
    by_hand = ((plan.sum(-1) - source).abs().sum() + (plan.sum(-2) - target).abs().sum()) / m
    assert float(found.marginal_error) == pytest.approx(float(by_hand), abs=1e-15)
    assert float(marginal_error(plan, source, target)) == pytest.approx(float(by_hand), abs=1e-15)
    assert found.iterations.tolist() == 3
    converged = project_polytope(scores, source, target, **EXACT)
    torch.testing.assert_close(converged.plan.sum(-1), source, atol=1e-12, rtol=0)


def test_scores_of_a_large_scale_have_a_vertex_as_plan():
    n, m = 6, 8
    (source, target), scores = uneven(n, m), drawn(n, m)
    found = project_polytope(30 * scores, source, target, iterations=5000, tolerance=1e-12)
    best = ot.emd(source.numpy(), target.numpy(), -scores.numpy())
    assert int((found.plan > 0).sum()) <= n + m - 1
    np.testing.assert_allclose(found.plan.numpy(), best, atol=1e-8)


def test_float32_is_near_float64(blocks):
    scores, marginals = drawn(2, 40, 30, scale=0.3), uneven(40, 30)
    exact = project_polytope(scores, *marginals).plan
    single = project_polytope(scores.float(), *(marginal.float() for marginal in marginals)).plan
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, atol=2e-6, rtol=0)


def test_every_problem_of_a_batch_is_solved_as_if_alone():
    scores = (drawn(3, 4, 9, 11) * torch.logspace(-2, 1, 12, dtype=F64).view(3, 4, 1, 1)).float()
    source = drawn(3, 4, 9).exp().float()
    target = (drawn(3, 4, 11).exp() / 11).float()
    target = target * (source.sum(-1) / target.sum(-1))[..., None]
    scores.requires_grad_()
    weights = drawn(3, 4, 9, 11, seed=1).float()
    for options in ({}, {"tolerance": 1e-3, "iterations": 50}, {"gradient": "implicit", "iterations": 50}):
        found = project_polytope(scores, source, target, **options)
        (gradient,) = torch.autograd.grad((found.plan * weights).sum(), scores)
        for i in range(3):
            for j in range(4):
                alone = scores[i, j].detach().clone().requires_grad_()
                one = project_polytope(alone, source[i, j], target[i, j], **options)
                for name in ("plan", "source_potential", "target_potential", "iterations", "marginal_error"):
                    assert torch.equal(getattr(one, name), getattr(found, name)[i, j]), name
                (expected,) = torch.autograd.grad((one.plan * weights[i, j]).sum(), alone)
                assert torch.equal(gradient[i, j], expected)


def test_one_pair_of_marginals_serves_a_batch():
    scores, marginals = drawn(3, 8, 6), uneven(8, 6)
    each = [marginal.expand(3, -1) for marginal in marginals]
    assert torch.equal(project_polytope(scores, *marginals).plan, project_polytope(scores, *each).plan)


def test_layout_does_not_matter():
    scores, (source, target) = drawn(8, 6), uneven(8, 6)
    strided = scores.T.contiguous().T
    assert torch.equal(project_polytope(strided, source, target).plan, project_polytope(scores, source, target).plan)


# --- its course


def test_a_tolerance_ends_each_problem_on_its_own(blocks):
    scores, marginals = drawn(4, 10, 9) * torch.tensor([0.01, 0.3, 1.0, 30.0], dtype=F64).view(4, 1, 1), uneven(10, 9)
    found = project_polytope(scores, *marginals, iterations=60, tolerance=1e-6)
    made = found.iterations.tolist()
    assert len(set(made)) > 2 and max(made) == 60
    for one, count, plan, error in zip(scores, made, found.plan, found.marginal_error, strict=True):
        assert torch.equal(project_polytope(one, *marginals, iterations=count).plan, plan)
        assert (float(error) <= 1e-6) == (count < 60)
        if count > 1:
            assert float(project_polytope(one, *marginals, iterations=count - 1).marginal_error) > 1e-6


def test_a_warm_start_goes_on_where_the_other_ended(blocks):
    scores, marginals = drawn(2, 10, 9), uneven(10, 9)
    first = project_polytope(scores, *marginals, iterations=3)
    on = project_polytope(scores, *marginals, iterations=4, start=first.potentials)
    torch.testing.assert_close(on.plan, project_polytope(scores, *marginals, iterations=7).plan, atol=1e-13, rtol=0)
    exact = project_polytope(scores, *marginals, **EXACT)
    again = project_polytope(scores, *marginals, iterations=1, start=exact.potentials)
    torch.testing.assert_close(again.plan, exact.plan, atol=1e-12, rtol=0)
    far = (torch.full((2, 10), -1e3, dtype=F64), torch.linspace(-99, 99, 18, dtype=F64).view(2, 9))
    anywhere = project_polytope(scores, *marginals, start=far, **EXACT)
    torch.testing.assert_close(anywhere.plan, exact.plan, atol=1e-11, rtol=0)


# --- geometry


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.1, 1.0]))
def test_the_projection_stays_where_it_is_ignores_constants_and_never_expands(seed, n, m, scale):
    marginals, scores = uneven(n, m, seed), drawn(2, n, m, seed=seed, scale=scale)

    def project(c: Tensor) -> Tensor:
        return project_polytope(c, *marginals, iterations=20_000, tolerance=1e-13).plan

    plans = project(scores)
    torch.testing.assert_close(project(plans), plans, atol=1e-9, rtol=0)
    shifted = scores + drawn(n, 1, seed=seed) + drawn(1, m, seed=seed)
    torch.testing.assert_close(project(shifted), plans, atol=1e-9, rtol=0)
    assert float((plans[0] - plans[1]).norm()) <= float((scores[0] - scores[1]).norm()) + 1e-9


# --- gradients


def gradients(plan: Tensor, weights: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((plan * weights).sum(), inputs)


@pytest.mark.parametrize("warm", [False, True])
def test_the_unrolled_gradient_is_that_of_finite_differences(warm):
    scores, (source, target) = drawn(2, 5, 6, scale=0.3).requires_grad_(), uneven(5, 6)
    start = (drawn(2, 5, scale=0.1), drawn(2, 6, scale=0.1)) if warm else None
    assert gradcheck(lambda c: project_polytope(c, source, target, iterations=3, start=start).plan, scores)


@pytest.mark.parametrize("iterations", [1, 2, 5, 40])
@pytest.mark.parametrize("warm", [False, True])
def test_the_unrolled_gradient_is_that_of_autograd_through_every_update(iterations, warm, blocks):
    scores = drawn(3, 9, 10, scale=0.5).requires_grad_()
    source, target = (marginal.requires_grad_() for marginal in uneven(9, 10))
    start = (drawn(3, 9), drawn(3, 10)) if warm else None
    inputs, weights = (scores, source, target), drawn(3, 9, 10, seed=1)
    ours = project_polytope(*inputs, iterations=iterations, start=start).plan
    reference = by_autograd(*inputs, iterations, start[1] if start else None)
    torch.testing.assert_close(ours, reference, atol=1e-13, rtol=0)
    for one, other in zip(gradients(ours, weights, *inputs), gradients(reference, weights, *inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_the_unrolled_gradient_of_problems_that_ended_early(blocks):
    scores = (drawn(3, 9, 10) * torch.tensor([0.01, 0.3, 1.0], dtype=F64).view(3, 1, 1)).requires_grad_()
    source, target = (marginal.requires_grad_() for marginal in uneven(9, 10))
    weights = drawn(3, 9, 10, seed=1)
    found = project_polytope(scores, source, target, iterations=100, tolerance=1e-3)
    made = found.iterations.tolist()
    assert len(set(made)) > 1
    plans = torch.stack([by_autograd(c, source, target, count) for c, count in zip(scores, made, strict=True)])
    ours, theirs = (gradients(plan, weights, scores, source, target) for plan in (found.plan, plans))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_both_gradients_and_that_of_dykstra_agree_at_convergence():
    scores, weights = drawn(3, 9, 10, scale=0.3).requires_grad_(), drawn(3, 9, 10, seed=1)
    source, target = uneven(9, 10)
    by = {name: project_polytope(scores, source, target, iterations=500, gradient=name).plan
          for name in ("unrolled", "implicit")}  # fmt: skip
    by["dykstra"] = dykstra(scores, source, target, iterations=500)
    found = {name: gradients(plan, weights, scores)[0] for name, plan in by.items()}
    torch.testing.assert_close(found["implicit"], found["unrolled"], atol=1e-10, rtol=0)
    torch.testing.assert_close(found["dykstra"], found["unrolled"], atol=1e-10, rtol=0)
    assert float(found["implicit"].sum(-1).abs().max()) < 1e-10  # rows and columns keep their masses
    assert float(found["implicit"].sum(-2).abs().max()) < 1e-10
    assert not bool(found["implicit"][by["implicit"] == 0].any())


@pytest.mark.parametrize("scale", [0.05, 1.0, 100.0])
def test_the_implicit_gradient_projects_onto_the_plans_support(scale, blocks):
    """The nearest matrix on the support with zero row and column sums, by least squares; its graph may have parts."""
    scores, (source, target) = drawn(8, 9, scale=scale).requires_grad_(), uneven(8, 9)
    plan = project_polytope(scores, source, target, iterations=20_000, tolerance=1e-13, gradient="implicit").plan
    weights = drawn(8, 9, seed=1)
    (found,) = gradients(plan, weights, scores)
    rows, columns = (plan > 0).nonzero(as_tuple=True)
    incidence = torch.zeros(17, len(rows), dtype=F64)  # [n + m, edges]
    incidence[rows, torch.arange(len(rows))] = 1
    incidence[8 + columns, torch.arange(len(rows))] = 1
    edge = weights[rows, columns]
    expected = torch.zeros_like(weights)
    expected[rows, columns] = edge - incidence.T @ (torch.linalg.pinv(incidence.T) @ edge)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_the_implicit_gradient_of_a_graph_in_two_parts(blocks):
    scores = torch.block_diag(drawn(3, 3, scale=0.1), drawn(4, 4, scale=0.1)) - 50 * (
        1 - torch.block_diag(torch.ones(3, 3, dtype=F64), torch.ones(4, 4, dtype=F64))
    )
    scores.requires_grad_()
    marginals, weights = unit_columns(7, 7, dtype=F64), drawn(7, 7)
    plan = project_polytope(scores, *marginals, iterations=500, gradient="implicit").plan
    assert not bool(plan[:3, 3:].any()) and bool(plan[:3, :3].all())
    (found,) = gradients(plan, weights, scores)
    for part in (slice(0, 3), slice(3, 7)):
        block = weights[part, part]
        centred = block - block.mean(0) - block.mean(1, keepdim=True) + block.mean()
        torch.testing.assert_close(found[part, part], centred, atol=1e-12, rtol=0)


def test_the_implicit_gradient_of_the_marginals_is_that_of_moves_that_keep_the_total():
    scores, weights = drawn(9, 10, scale=0.3), drawn(9, 10, seed=1)
    source, target = (marginal.requires_grad_() for marginal in uneven(9, 10))
    step, across = drawn(9, seed=2), drawn(10, seed=3)
    across = across * step.sum() / across.sum()
    along = []
    for name in ("unrolled", "implicit"):
        plan = project_polytope(scores, source, target, iterations=500, gradient=name).plan
        for_source, for_target = gradients(plan, weights, source, target)
        along.append(float((for_source * step).sum() + (for_target * across).sum()))
    assert along[1] == pytest.approx(along[0], rel=1e-9)


def test_the_implicit_gradient_in_float32():
    scores, (source, target) = drawn(300, 40, scale=0.1), uneven(300, 40)
    weights, found = drawn(300, 40, seed=1), []
    for dtype in (torch.float32, F64):
        c = scores.to(dtype).requires_grad_()
        plan = project_polytope(c, source.to(dtype), target.to(dtype), iterations=30, gradient="implicit").plan
        found.append(gradients(plan, weights.to(dtype), c)[0].double())
    differ = (found[0] - found[1]).abs() > 1e-4
    assert float(differ.double().mean()) < 2e-3  # entries that rounding put on the other side of the support's edge


@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
def test_a_plan_before_convergence_may_have_empty_rows(gradient):
    scores = torch.tensor([[9.0, 0.0], [9.0, 0.0]], dtype=F64).requires_grad_()
    marginals = torch.tensor([1.9, 0.1], dtype=F64), torch.ones(2, dtype=F64)
    found = project_polytope(scores, *marginals, iterations=1, gradient=gradient)
    torch.testing.assert_close(found.plan, torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=F64))
    (given,) = gradients(found.plan, drawn(2, 2), scores)
    torch.testing.assert_close(given, torch.zeros(2, 2, dtype=F64), atol=1e-14, rtol=0)  # each column has one entry


@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
def test_the_start_and_the_potentials_have_no_gradient(gradient):
    scores, marginals = drawn(4, 5).requires_grad_(), uneven(4, 5)
    start = (drawn(4).requires_grad_(), drawn(5).requires_grad_())
    found = project_polytope(scores, *marginals, start=start, gradient=gradient)
    given = torch.autograd.grad(found.plan.square().sum(), (scores, *start), allow_unused=True)
    assert given[0] is not None and given[1:] == (None, None)
    assert found.plan.requires_grad
    assert not any(value.requires_grad for value in (*found.potentials, found.iterations, found.marginal_error))
    with torch.no_grad():
        assert torch.equal(project_polytope(scores, *marginals, start=start).plan, found.plan)


def test_a_second_derivative_is_refused():
    scores = drawn(4, 5).requires_grad_()
    plan = project_polytope(scores, *uneven(4, 5)).plan
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(plan.square().sum(), scores, create_graph=True)


@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
def test_an_autocast_around_changes_nothing(gradient):
    scores, weights = drawn(6, 5).float().requires_grad_(), drawn(6, 5, seed=1).float()
    marginals = unit_columns(6, 5)

    def run() -> tuple[Tensor, ...]:
        plan = project_polytope(scores, *marginals, gradient=gradient).plan
        return plan, *gradients(plan, weights, scores)

    with torch.autocast("cpu", torch.bfloat16):
        inside = run()
    for one, other in zip(inside, run(), strict=True):
        assert torch.equal(one, other)


class _Storages(TorchDispatchMode):
    """Counts the storages of at least `size` bytes that come up, those of `known` tensors aside."""

    def __init__(self, size: int, *known: Tensor) -> None:
        super().__init__()
        self.size = size
        self.known = {tensor.data_ptr(): tensor for tensor in known}  # kept alive: no address is used twice
        self.made = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor) and value.untyped_storage().nbytes() >= self.size:
                address = value.untyped_storage().data_ptr()
                self.made += address not in self.known
                self.known[address] = value
        return result


@pytest.mark.parametrize(("gradient", "iterations"), [("unrolled", 3), ("unrolled", 6), ("implicit", 20)])
def test_forward_and_backward_make_one_matrix_each(gradient, iterations, monkeypatch):
    monkeypatch.setattr(dual_ascent, "_CACHED", 64)
    scores, weights = drawn(64, 8, scale=0.3).requires_grad_(), drawn(64, 8, seed=1)
    marginals = unit_columns(64, 8, dtype=F64)
    with _Storages(scores.numel() * 8 // 2, scores, weights) as seen:
        plan = project_polytope(scores, *marginals, gradient=gradient, iterations=iterations).plan
        assert seen.made == 1  # the plan
        torch.autograd.grad(plan, scores, weights)
        assert seen.made == 2  # and the gradient: four matrices with the scores and the incoming gradient


# --- bad input

SCORES = drawn(3, 4)
SOURCE, TARGET = unit_columns(3, 4, dtype=F64)


@pytest.mark.parametrize("function", [project_polytope, dykstra, alternating_projections])
@pytest.mark.parametrize(
    ("scores", "source", "target", "words"),
    [
        (SCORES, SOURCE, 2 * TARGET, "source_marginal has the total mass 4.0 and target_marginal 8.0"),
        (SCORES, SOURCE * (1 + 1e-6), TARGET, "the same total"),
        (SCORES, torch.tensor([2.0, 2.0, 0.0], dtype=F64), TARGET, "source_marginal holds masses from 0.0"),
        (SCORES, SOURCE, torch.tensor([5.0, -1.0, 0.0, 0.0], dtype=F64), "target_marginal holds masses from -1.0"),
        (SCORES, torch.full((3,), math.nan, dtype=F64), TARGET, "source_marginal holds masses from nan"),
        (SCORES, SOURCE, torch.full((4,), math.inf, dtype=F64), "target_marginal holds masses from inf"),
        (SCORES, TARGET, TARGET, r"source_marginal is torch.float64 \(4,\)"),
        (SCORES, SOURCE, SOURCE, r"target_marginal is torch.float64 \(3,\)"),
        (SCORES, SOURCE.float(), TARGET, "source_marginal is torch.float32"),
        (SCORES, SOURCE.expand(2, 3), TARGET, r"source_marginal is .* \(2, 3\)"),
        (SCORES.log(), SOURCE, TARGET, "scores holds values that are not finite"),
        (-1 / torch.zeros(3, 4, dtype=F64), SOURCE, TARGET, "scores holds values that are not finite"),
        (SCORES[0], SOURCE, TARGET, r"scores is torch.float64 \(4,\)"),
        (SCORES[:0], SOURCE[:0], TARGET, "at least one row"),
        (SCORES.half(), SOURCE.half(), TARGET.half(), "scores is torch.float16"),
        (SCORES.long(), SOURCE, TARGET, "scores is torch.int64"),
    ],
)
def test_bad_problems_are_named(function, scores, source, target, words):
    with pytest.raises(ValueError, match=words):
        function(scores, source, target)


@pytest.mark.parametrize("function", [project_polytope, dykstra, alternating_projections])
@pytest.mark.parametrize("iterations", [0, -1, 2.5, True])
def test_bad_numbers_of_iterations_are_named(function, iterations):
    with pytest.raises(ValueError, match=f"iterations = {iterations}"):
        function(SCORES, SOURCE, TARGET, iterations=iterations)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gradient": "exact"}, r"gradient = 'exact'; known are \['unrolled', 'implicit'\]"),
        ({"tolerance": 0.0}, "tolerance = 0.0"),
        ({"tolerance": -1.0}, "tolerance = -1.0"),
        ({"tolerance": math.nan}, "tolerance = nan"),
        ({"start": (SOURCE,)}, "start has 1 entries"),
        ({"start": (SOURCE, SOURCE)}, r"the target potential of start is .* \(3,\)"),
        ({"start": (SOURCE.float(), TARGET)}, "the source potential of start is torch.float32"),
        ({"start": (SOURCE, TARGET * math.nan)}, "the target potential of start is not finite"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        project_polytope(SCORES, SOURCE, TARGET, **options)


def test_marginal_error_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="source_marginal is"):
        marginal_error(SCORES, TARGET, TARGET)


@pytest.mark.parametrize(("sources", "targets"), [(0, 3), (3, 0), (-1, 3)])
def test_unit_columns_refuses_no_sources_or_targets(sources, targets):
    with pytest.raises(ValueError, match=f"sources = {sources}, targets = {targets}"):
        unit_columns(sources, targets)


def test_unit_columns():
    rows, columns = unit_columns(4, 2)
    assert (rows.tolist(), columns.tolist(), rows.dtype) == ([0.5] * 4, [1.0] * 2, torch.float32)
    assert unit_columns(4, 2, dtype=F64)[0].dtype == F64
