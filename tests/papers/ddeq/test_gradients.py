"""Gradients at an equilibrium against autograd, the dense solve, closed forms and finite differences."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twelvefold.nn.stacked import layout
from twelvefold.papers.ddeq import gradients
from twelvefold.papers.ddeq.gradient_problems import FAMILIES, Family, draw_problem, polished
from twelvefold.papers.ddeq.gradient_study import solved_losses
from twelvefold.papers.ddeq.network import NetworkConfig, encode, transform

TINY = NetworkConfig(width=4, narrow=3, heads=2, hidden=6)
REPLICATES = [0, 1, 2]


@pytest.fixture(scope="module")
def case():
    """Three tiny networks (N = 3, d = 4) at equilibria: problem, weights with gradients, F with a graph, Found."""
    problem = draw_problem(TINY, [Family()], 10_000, REPLICATES, particles=3, points=5)
    weights = {name: weight.clone().requires_grad_() for name, weight in problem.weights.items()}
    goal = polished(problem.apply(), problem.start, 400)
    assert bool(goal.converged.all())
    return problem, weights, problem.apply(weights), goal


def directions_of(problem, count, seed=3):
    drawn = torch.randn(len(problem.start), count, layout(problem.weights).total, dtype=torch.float64,
                        generator=torch.Generator().manual_seed(seed))  # fmt: skip
    return drawn / drawn.norm(dim=-1, keepdim=True)


def test_the_one_step_gradient_is_autograd_of_f_at_the_detached_particles(case):
    problem, _, _, goal = case
    for particles in (problem.start, goal.particles):
        weights = {name: weight.clone().requires_grad_() for name, weight in problem.weights.items()}
        image = transform(TINY, weights, encode(TINY, weights, problem.clouds), particles.detach())
        expected = torch.autograd.grad(problem.loss(image).sum(), list(weights.values()))
        made = gradients.phantom_gradient(problem.apply(weights), weights, particles, problem.loss)
        for one, other in zip(made.values(), expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-8, rtol=0)


def test_the_implicit_gradient_is_that_of_finite_differences_of_the_solved_loss(case):
    problem, weights, apply, goal = case
    made = gradients.implicit_gradient(apply, weights, goal.particles, problem.loss, permutation=goal.permutation)
    directions = directions_of(problem, 5)
    again = solved_losses(problem, goal, 10, 400)
    expected = gradients.finite_differences(again, weights, directions, 1e-4)
    found = gradients.slopes(made.gradient, directions)
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-3)
    one_step = gradients.phantom_gradient(apply, weights, goal.particles, problem.loss)
    assert not torch.allclose(gradients.slopes(one_step, directions), expected, atol=1e-6, rtol=1e-3)


def test_the_iterated_backward_solve_is_the_dense_one(case):
    problem, weights, apply, goal = case
    options = {"permutation": goal.permutation}
    iterated = gradients.implicit_gradient(apply, weights, goal.particles, problem.loss, **options, tolerance=1e-13)
    dense = gradients.implicit_gradient(apply, weights, goal.particles, problem.loss, **options, dense=True)
    torch.testing.assert_close(iterated.cotangent, dense.cotangent, atol=1e-11, rtol=0)
    assert float(dense.residual.max()) < 1e-13 and float(iterated.residual.max()) < 1e-12
    assert bool((iterated.steps > 1).all()) and bool((dense.steps == 0).all())
    matrix = gradients.jacobian(apply, goal.particles)
    expected = torch.autograd.functional.jacobian(problem.apply(), goal.particles)  # [P, B, N, d, P, B, N, d]
    for p in range(len(REPLICATES)):
        torch.testing.assert_close(matrix[p, 0], expected[p, 0, :, :, p, 0].reshape(12, 12), atol=1e-12, rtol=0)


def test_k_applications_at_the_equilibrium_are_k_terms_of_the_sum(case):
    problem, weights, apply, goal = case
    assert float(goal.by_rows.max()) < 1e-8  # no permutation, so that particles stay in their rows
    exact = gradients.implicit_gradient(apply, weights, goal.particles, problem.loss, dense=True).gradient
    for k in (1, 2, 4):
        made = gradients.phantom_gradient(apply, weights, goal.particles, problem.loss, applications=k)
        cut = gradients.implicit_gradient(apply, weights, goal.particles, problem.loss, steps=k, tolerance=0)
        shifted = gradients.phantom_gradient(apply, weights, goal.particles, problem.loss, applications=k + 1)
        for name in weights:  # k iterations from u = c are the terms of k + 1 applications
            torch.testing.assert_close(cut.gradient[name], shifted[name], atol=1e-10, rtol=0)
        assert bool((gradients.cosine(made, exact) < 1).all())
    far = gradients.phantom_gradient(apply, weights, goal.particles, problem.loss, applications=200)
    assert float(gradients.cosine(far, exact).min()) > 1 - 1e-9


def test_damping_shrinks_the_one_step_gradient_of_a_fixed_point(case):
    problem, weights, apply, goal = case
    whole, half = (
        gradients.phantom_gradient(apply, weights, goal.particles, problem.loss, damping=tau) for tau in (1.0, 0.5)
    )
    for name in weights:
        torch.testing.assert_close(half[name], 0.5 * whole[name], atol=1e-10, rtol=0)


def test_members_together_compute_what_each_computes_alone(case):
    problem, weights, apply, goal = case
    together = gradients.implicit_gradient(apply, weights, goal.particles, problem.loss, permutation=goal.permutation)
    for r in REPLICATES:
        alone = draw_problem(TINY, [Family()], 10_000, [r], particles=3, points=5)
        own = {name: weight.clone().requires_grad_() for name, weight in alone.weights.items()}
        made = gradients.implicit_gradient(
            alone.apply(own), own, goal.particles[[r]], alone.loss, permutation=goal.permutation[[r]]
        )
        assert int(made.steps) == int(together.steps[r])
        for name in own:
            torch.testing.assert_close(made.gradient[name][0], together.gradient[name][r], atol=1e-12, rtol=1e-10)


def swapped_pair(theta=2.0):
    """F(z) = -theta tanh z, whose equilibrium {b, -b} changes places, with the derivative of b^2 by theta."""
    weights = {"theta": torch.tensor([theta], dtype=torch.float64, requires_grad=True)}
    b = 1.0
    for _ in range(500):
        b = theta * math.tanh(b)
    particles = torch.tensor([b, -b], dtype=torch.float64).view(1, 1, 2, 1)
    slope = 2 * b * math.tanh(b) / (1 - theta / math.cosh(b) ** 2)
    return lambda z: -weights["theta"][:, None, None, None] * torch.tanh(z), weights, particles, slope


def half_square(z):
    return 0.5 * z.square().flatten(1).sum(1)


def test_a_permuted_equilibrium_has_the_gradient_of_the_measure():
    apply, weights, particles, slope = swapped_pair()
    order = gradients.equilibrium_permutation(particles, apply(particles))
    assert order.flatten().tolist() == [1, 0]
    for dense in (True, False):
        made = gradients.implicit_gradient(apply, weights, particles, half_square, permutation=order, dense=dense)
        assert float(made.gradient["theta"]) == pytest.approx(slope, rel=1e-9)
    by_rows = gradients.implicit_gradient(apply, weights, particles, half_square, dense=True)
    assert abs(float(by_rows.gradient["theta"]) - slope) > 0.1
    far = gradients.phantom_gradient(apply, weights, particles, half_square, applications=60)
    assert float(far["theta"]) == pytest.approx(slope, rel=1e-9)
    # a cycle of three is not its own inverse: z_i = F(Z)_p(i)
    z = torch.arange(3.0).view(1, 1, 3, 1)
    image = z[:, :, [2, 0, 1]]
    torch.testing.assert_close(gradients.permuted(image, gradients.equilibrium_permutation(z, image)), z)


def test_nearly_coincident_particles_keep_their_rows():
    z = torch.randn(1, 1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-12
    image = z + 1.0
    assert gradients.equilibrium_permutation(z, image).flatten().tolist() == [0, 1, 2, 3]
    assert gradients.equilibrium_permutation(z, z).flatten().tolist() == [0, 1, 2, 3]
    pair, lower = (torch.tensor(rows).double().view(1, 1, 2, 1) for rows in ([0.0, 1.0], [0.7, 0.4]))
    # exchanged, the residual falls from 0.65 to 0.35: not to less than half
    assert gradients.equilibrium_permutation(pair, lower).flatten().tolist() == [0, 1]


def test_an_iteration_that_cannot_converge_says_so():
    weights = {"theta": torch.tensor([1.5, 0.5], dtype=torch.float64, requires_grad=True)}
    z = torch.ones(2, 1, 1, 1, dtype=torch.float64)
    made = gradients.implicit_gradient(
        lambda z: weights["theta"][:, None, None, None] * z, weights, z, half_square, steps=50
    )
    assert float(made.residual[0]) > 1 and float(made.residual[1]) < 1e-10
    assert int(made.steps[0]) == 50 and int(made.steps[1]) < 50


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_spectral_radius_and_solve_of_linear_maps(seed, n):
    draw = torch.Generator().manual_seed(seed)
    matrix = torch.randn(n, n, dtype=torch.float64, generator=draw)
    matrix = 0.8 * matrix / torch.linalg.eigvals(matrix).abs().max()
    shift = torch.randn(1, n, dtype=torch.float64, generator=draw).requires_grad_()

    def affine(z):  # one particle: F(z) = A z + shift, dL/dshift = (I - A^T)^-1 z*
        return z @ matrix.T + shift[:, None, None]

    z = torch.linalg.solve(torch.eye(n, dtype=torch.float64) - matrix, shift.detach()[0]).view(1, 1, 1, n)
    made = gradients.implicit_gradient(affine, {"shift": shift}, z, half_square, steps=2000, tolerance=1e-12)
    expected = torch.linalg.solve(torch.eye(n, dtype=torch.float64) - matrix.T, z.flatten())
    torch.testing.assert_close(made.gradient["shift"][0], expected, rtol=1e-7, atol=1e-8)
    radius = gradients.spectral_radius(gradients.jacobian(affine, z))
    torch.testing.assert_close(radius, torch.full((1, 1), 0.8, dtype=torch.float64))


def test_slopes_finite_differences_and_cosines_by_hand():
    weights = {"a": torch.tensor([[1.0, 2.0], [3.0, -1.0]]).double(), "b": torch.tensor([0.5, 0.25]).double()}
    gradient = {"a": 2 * weights["a"], "b": 3 * weights["b"] ** 2}  # of sum a^2 + b^3
    directions = torch.tensor([[[1.0, 0, 0], [0, 0, 1]], [[0, 1, 0], [1, 1, 1]]], dtype=torch.float64)
    expected = torch.tensor([[2, 0.75], [-2, 6 - 2 + 0.1875]], dtype=torch.float64)
    torch.testing.assert_close(gradients.slopes(gradient, directions), expected)
    found = gradients.finite_differences(
        lambda theta: theta["a"].square().sum(1) + theta["b"] ** 3, weights, directions, 1e-4
    )
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)
    turned = {name: torch.stack([first, -second]) for name, (first, second) in gradient.items()}
    torch.testing.assert_close(gradients.cosine(gradient, turned), torch.tensor([1.0, -1.0]).double())


def test_weights_that_do_not_matter_have_the_gradient_0():
    weights = {"used": torch.ones(1, requires_grad=True), "unused": torch.ones(1, 3, requires_grad=True)}
    z = torch.ones(1, 1, 2, 1)
    made = gradients.phantom_gradient(lambda z: 0.5 * weights["used"] * z, weights, z, half_square)
    assert float(made["used"]) != 0 and made["unused"].tolist() == [[0, 0, 0]]


def test_bad_input_is_refused():
    apply, weights, z, _ = swapped_pair()
    for options, words in (({"applications": 0}, "applications = 0"), ({"damping": 0.0}, "damping = 0.0")):
        with pytest.raises(ValueError, match=words):
            gradients.phantom_gradient(apply, weights, z, half_square, **options)
    for options, words in (
        ({"steps": 0}, "steps = 0"), ({"tolerance": -1.0}, "tolerance = -1.0"),
        ({"permutation": torch.zeros(1, 1, 2)}, "permutation is torch.float32"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            gradients.implicit_gradient(apply, weights, z, half_square, **options)
    for solve in (gradients.phantom_gradient, gradients.implicit_gradient):
        with pytest.raises(ValueError, match="particles is"):
            solve(apply, weights, z[0], half_square)
        with pytest.raises(ValueError, match="requiring gradients"):
            solve(apply, {"theta": torch.ones(1)}, z, half_square)
        with pytest.raises(ValueError, match="loss gave"):
            solve(apply, weights, z, lambda z: z.sum((1, 2, 3))[:, None])
    with pytest.raises(ValueError, match="particles is"):
        gradients.jacobian(apply, z[0])
    with pytest.raises(ValueError, match="square"):
        gradients.spectral_radius(torch.ones(2, 3))
    with pytest.raises(ValueError, match="equal shapes"):
        gradients.equilibrium_permutation(z, z[:, :, :1])
    with pytest.raises(ValueError, match="step = 0"):
        gradients.finite_differences(lambda theta: theta["theta"], weights, torch.ones(1, 2, 1), 0)
    with pytest.raises(ValueError, match="directions has shape"):
        gradients.finite_differences(lambda theta: theta["theta"], weights, torch.ones(1, 2, 2), 1e-4)
    with pytest.raises(ValueError, match="losses gave"):
        gradients.finite_differences(lambda theta: theta["theta"][:1], weights, torch.ones(1, 2, 1).double(), 1e-4)
    with pytest.raises(ValueError, match="names"):
        gradients.cosine({"a": torch.ones(1, 1)}, {"b": torch.ones(1, 1)})


def test_families_change_what_they_say():
    plain, doubled, repelling = (
        draw_problem(TINY, [family], 10_000, [0], particles=3, points=5).weights for family in FAMILIES.values()
    )
    torch.testing.assert_close(doubled["out.in.weight"], 2 * plain["out.in.weight"])
    torch.testing.assert_close(doubled["out.in.bias"], plain["out.in.bias"])
    value = repelling["z.self.0.in.weight"][0, :, 8:]
    torch.testing.assert_close(value @ repelling["z.self.0.mix.weight"][0], -torch.eye(4).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(repelling["out.in.weight"], plain["out.in.weight"])
    with pytest.raises(ValueError, match="factor > 0"):
        draw_problem(TINY, [Family(factor=0.0)], 0, [0], particles=3, points=5)
    with pytest.raises(ValueError, match="at least one of each"):
        draw_problem(TINY, [], 0, [0], particles=3, points=5)


def test_families_and_replicates_are_members_in_order():
    both = draw_problem(TINY, [Family(), Family(2.0)], 10_000, [0, 1], particles=3, points=5)
    one = draw_problem(TINY, [Family(2.0)], 10_000, [1], particles=3, points=5)
    assert all(torch.equal(both.weights[name][3], one.weights[name][0]) for name in one.weights)
    assert torch.equal(both.start[3], one.start[0])
    assert torch.equal(both.head["head.weight"][1], both.head["head.weight"][3])
    assert both.repeated(3).start.shape[0] == 12 and torch.equal(both.repeated(3).start[3], both.start[1])
