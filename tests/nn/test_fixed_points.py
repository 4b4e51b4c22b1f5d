"""Fixed-point iteration and Anderson acceleration: linear problems, least squares, torchdeq, counts, bad input."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.fixed_points import anderson, iterate


def drawn(*shape: int, purpose: str = "x", dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch_generator(10_000, len(shape), purpose), dtype=dtype)


def linear_problem(batch: int, n: int, radius: float = 0.9):
    """z -> A z + b on `[batch, n, 1]` with spectral radius 0.9, and its fixed points."""
    matrices = drawn(batch, n, n, purpose="A")
    matrices = radius * matrices / torch.linalg.matrix_norm(matrices, 2)[:, None, None]
    offset = drawn(batch, n, 1, purpose="b")
    solution = torch.linalg.solve(torch.eye(n, dtype=matrices.dtype) - matrices, offset)
    return (lambda z: matrices @ z + offset), solution


def contraction(dtype: torch.dtype = torch.float64):
    weight = 0.2 * drawn(4, 4, purpose="weight", dtype=dtype)
    return lambda z: torch.tanh(z @ weight) + 0.1 * z.mean(-2, keepdim=True) + 0.3


class Counted:
    def __init__(self, f) -> None:
        self.f, self.calls = f, 0

    def __call__(self, z: Tensor) -> Tensor:
        self.calls += 1
        return self.f(z)


@pytest.mark.parametrize("solver", [iterate, anderson])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_calls_are_counted_exactly(solver, steps):
    f, start = Counted(contraction()), drawn(3, 5, 4)
    found = solver(f, start, steps)
    assert f.calls == steps and found.shape == start.shape
    if steps == 0:
        assert torch.equal(found, start)


def test_iteration_is_repeated_application():
    f, start = contraction(), drawn(2, 3, 5, 4)
    assert torch.equal(iterate(f, start, 3), f(f(f(start))))


def test_iteration_carries_a_graph():
    f, start = contraction(), drawn(2, 5, 4).requires_grad_()
    (found,) = torch.autograd.grad(iterate(f, start, 2).sum(), start)
    (expected,) = torch.autograd.grad(f(f(start)).sum(), start)
    assert torch.equal(found, expected)


def test_anderson_without_memory_is_iteration():
    f, start = contraction(), drawn(2, 5, 4)
    torch.testing.assert_close(anderson(f, start, 9, memory=1), iterate(f, start, 9), atol=1e-14, rtol=1e-14)


def test_damping_without_memory():
    f, z = contraction(), drawn(2, 5, 4)
    found = anderson(f, z, 3, memory=1, mixing=0.4)
    for _ in range(3):
        z = 0.6 * z + 0.4 * f(z)
    torch.testing.assert_close(found, z, atol=1e-14, rtol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 4, 6])
@pytest.mark.parametrize("mixing", [1.0, 0.5])
def test_a_linear_problem_is_solved_in_n_plus_1_steps(n, mixing):
    f, solution = linear_problem(5, n)
    found = anderson(f, drawn(5, n, 1), n + 1, memory=n + 2, mixing=mixing, ridge=0.0)
    assert (found - solution).abs().max() < 1e-6
    short = anderson(f, drawn(5, n, 1), n, memory=n + 2, mixing=mixing, ridge=0.0)
    assert (short - solution).abs().max() > 1e-4  # and not sooner


@pytest.mark.parametrize("mixing", [1.0, 0.7])
def test_weights_solve_the_least_squares_problem(mixing):
    """One step by hand: minimise ||sum a_j g_j||^2 over sum a_j = 1, by numpy on differences of residuals."""
    f, points = contraction(), [drawn(5, 4)]
    for step in range(1, 5):
        points.append(anderson(f, points[0], step, memory=3, mixing=mixing, ridge=0.0))
    last = [point.numpy().ravel() for point in points[1:4]]
    residuals = [f(point).numpy().ravel() - point.numpy().ravel() for point in points[1:4]]
    differences = np.stack([residuals[j] - residuals[2] for j in range(2)], 1)
    part = np.linalg.lstsq(differences, -residuals[2], rcond=None)[0]
    weights = [*part, 1 - part.sum()]
    expected = sum(w * (z + mixing * g) for w, z, g in zip(weights, last, residuals, strict=True))
    np.testing.assert_allclose(points[4].numpy().ravel(), expected, atol=1e-8)


def test_it_converges_where_iteration_is_slow():
    matrices, offset, start = drawn(4, 20, 20, purpose="A"), drawn(4, 20, 1, purpose="b"), drawn(4, 20, 1)
    matrices = matrices @ matrices.mT  # symmetric, and so as slow as its norm
    matrices = 0.99 * matrices / torch.linalg.matrix_norm(matrices, 2)[:, None, None]
    solution = torch.linalg.solve(torch.eye(20, dtype=matrices.dtype) - matrices, offset)

    def f(z: Tensor) -> Tensor:
        return matrices @ z + offset

    errors = [(solver(f, start, 40) - solution).flatten(1).norm(dim=1)
              for solver in (iterate, partial(anderson, memory=10, ridge=0.0))]  # fmt: skip
    assert bool((errors[1] < 1e-2 * errors[0]).all())


@pytest.mark.parametrize("ridge", [0.0, 1e-4])
def test_a_fixed_point_stays(ridge):
    f, solution = linear_problem(3, 4)
    found = anderson(f, solution, 10, ridge=ridge)
    torch.testing.assert_close(found, solution, atol=1e-9, rtol=1e-9)
    assert torch.equal(anderson(lambda z: z, solution, 8, ridge=ridge).isfinite(), torch.ones(3, 4, 1).bool())


@pytest.mark.parametrize("ridge", [1e-4, 1e-1])
def test_the_ridge_is_relative_to_the_residuals(ridge):
    """Problems that differ by a factor take the same way: the regularisation has the residuals' scale."""
    f, start = contraction(), drawn(2, 5, 4)
    found = anderson(lambda z: 1e3 * f(z / 1e3), 1e3 * start, 6, ridge=ridge)
    torch.testing.assert_close(found, 1e3 * anderson(f, start, 6, ridge=ridge), atol=1e-8, rtol=1e-8)
    assert not torch.allclose(anderson(f, start, 6, ridge=ridge), anderson(f, start, 6, ridge=0.0), atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_problems_together_equal_each_alone(dtype):
    f, start = contraction(dtype), drawn(2, 3, 5, 4, dtype=dtype)
    together = anderson(f, start, 8)
    assert together.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    for i in range(2):
        for j in range(3):
            alone = anderson(f, start[i, j], 8)
            torch.testing.assert_close(together[i, j], alone, atol=tolerance, rtol=tolerance)


def test_equal_steps_equal_torchdeq():
    """torchdeq's first two points are z and f(z), as ours without memory; then both mix all they have.

    It regularises with lambda I and without the residuals' scale, so that a tiny lambda stands for ours of 0, and it
    returns f of its last point: one plain step after ours.
    """
    solvers = pytest.importorskip("torchdeq.solver.anderson")
    weight = 0.5 * drawn(4, 4, purpose="weight")

    def f(z: Tensor) -> Tensor:
        return torch.tanh(z @ weight) + 0.3

    start = drawn(3, 5, 4)
    for steps in (3, 4, 6):
        theirs, _, _ = solvers.anderson_solver(f, start, max_iter=steps, tol=0.0, m=3, lam=1e-14, return_final=True)
        ours = f(anderson(f, start, steps - 1, memory=3, ridge=0.0))
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_iteration_equals_torchdeq():
    solvers = pytest.importorskip("torchdeq.solver.fp_iter")
    f, start = contraction(), drawn(3, 5, 4)
    theirs, _, _ = solvers.fixed_point_iter(f, start, max_iter=9, tol=0.0, return_final=True)
    torch.testing.assert_close(iterate(f, start, 9), theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("steps", [-1, 1.5, True, "3"])
@pytest.mark.parametrize("solver", [iterate, anderson])
def test_impossible_numbers_of_steps(solver, steps):
    with pytest.raises(ValueError, match="steps = "):
        solver(contraction(), drawn(5, 4), steps)


@pytest.mark.parametrize(
    "change", [{"memory": 0}, {"mixing": 0.0}, {"mixing": 1.1}, {"mixing": math.nan}, {"ridge": -1.0}]
)
def test_impossible_numbers(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        anderson(contraction(), drawn(5, 4), 3, **change)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"start has shape \(4,\)"):
        anderson(contraction(), drawn(4), 3)
    with pytest.raises(ValueError, match=r"f maps \(5, 4\) to \(5, 3\)"):
        anderson(lambda z: z[:, :3], drawn(5, 4), 3)
