"""The Wasserstein gradient flow against finite differences and a plain re-implementation; counts of the map's calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.ot.discrepancy import energy_distance, gaussian, riesz, squared_mmd
from twelvefold.ot.gradient_flow import FORMS, Flow, _small, wasserstein_flow

from tests.ot.clouds import drawn, mask_of, mlp

EXACT = {"atol": 1e-10, "rtol": 1e-10}
KERNELS = {"energy": None, "riesz": riesz, "riesz 1.5": partial(riesz, r=1.5), "gaussian": partial(gaussian, sigma=2.0)}

class _Tally(torch.autograd.Function):
    """The identity; counts the passes."""

    @staticmethod
    def forward(ctx, z: Tensor, counted: Counted) -> Tensor:
        ctx.counted = counted
        counted.forward += 1
        return z.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.counted.backward += 1
        return gradient, None


class Counted:
    """A map that counts how often it is called and differentiated."""

    def __init__(self, push: Callable[[Tensor], Tensor]) -> None:
        self.push, self.forward, self.backward = push, 0, 0

    def __call__(self, z: Tensor) -> Tensor:
        return _Tally.apply(self.push(z), self)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plain_energy(z: Tensor, w: Tensor) -> Tensor:
    exact = partial(torch.cdist, compute_mode="donot_use_mm_for_euclid_dist")
    return 2 * exact(z, w).mean((-2, -1)) - exact(z, z).mean((-2, -1)) - exact(w, w).mean((-2, -1))


def plain_flow(start: Tensor, push, steps: int, eta: float, decay: float = 1.0, detached: bool = False) -> list[Tensor]:
    """Z_0, ..., Z_T by torch.cdist and autograd."""
    path = [start]
    for step in range(steps):
        z = path[-1].clone().requires_grad_()
        image = push(z).detach() if detached else push(z)
        (gradient,) = torch.autograd.grad(0.5 * plain_energy(z, image).sum(), z)
        path.append(path[-1] - eta * decay**step * z.shape[-2] * gradient)
    return path


# --- the step


@pytest.mark.parametrize("n", [6, 40])
@pytest.mark.parametrize("form", ["through", "detached"])
@pytest.mark.parametrize("decay", [1.0, 0.9])
def test_twenty_steps_equal_a_plain_implementation(n, form, decay):
    start, push = drawn(4, n, 3), mlp(3)
    flow = wasserstein_flow(start, push, steps=20, step_size=0.4, decay=decay, form=form, record=True)
    path = plain_flow(start, push, 20, 0.4, decay, form == "detached")
    torch.testing.assert_close(flow.particles, path[-1], **EXACT)
    values = torch.stack([plain_energy(z, push(z)) for z in path])
    torch.testing.assert_close(flow.values, values, **EXACT)
    assert flow.checked_at == tuple(range(21)) and flow.steps == 20 and not flow.converged
    assert not flow.particles.requires_grad and not flow.values.requires_grad


def one_step(start: Tensor, push, **options) -> Tensor:
    """The gradient of a step, from where it leads."""
    moved = wasserstein_flow(start, push, steps=1, step_size=1e-3, **options).particles
    return (start - moved) / 1e-3


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_n_times_finite_differences(kernel, masked):
    start, push = drawn(1, 5, 2), mlp(2, mixing=0.0)
    mask = torch.tensor([[True, False, True, True, False]]) if masked else None
    count, of = (3, mask) if masked else (5, None)
    found = one_step(start, push, kernel=KERNELS[kernel], mask=mask)[0]

    def objective(z: Tensor) -> float:
        return 0.5 * squared_mmd(z, push(z), KERNELS[kernel] or riesz, of, of).item()

    for i in range(5):
        for axis in range(2):
            shift = torch.zeros_like(start)
            shift[0, i, axis] = 1e-5
            expected = count * (objective(start + shift) - objective(start - shift)) / 2e-5
            assert found[i, axis].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("masked", [False, True])
def test_the_witness_form_equals_differentiation_through(kernel, masked):
    start, push = drawn(3, 9, 4), mlp(4, mixing=0.0 if masked else 0.3)
    mask = mask_of(torch.tensor([9, 4, 1]), 9) if masked else None
    run = partial(wasserstein_flow, start, push, steps=10, step_size=0.3, kernel=KERNELS[kernel], mask=mask,
                  record=True)  # fmt: skip
    through, by_witness = run(form="through"), run(form="witness")
    torch.testing.assert_close(by_witness.particles, through.particles, atol=1e-8, rtol=0)
    torch.testing.assert_close(by_witness.values, through.values, atol=1e-8, rtol=0)
    assert not torch.allclose(run(form="detached").particles, through.particles, atol=1e-3)


def test_the_flow_descends_and_nears_a_fixed_point():
    start, push = drawn(8, 10, 3), mlp(3)
    values = wasserstein_flow(start, push, steps=200, step_size=0.2, decay=0.99, record=True).values
    assert bool((values[-1] < 0.3 * values[0]).all())


def test_an_equilibrium_as_a_measure_stays():
    def push(z: Tensor) -> Tensor:
        return z.flip(-2)  # the same measure in another order of rows

    start = drawn(2, 6, 3)
    flow = wasserstein_flow(start, push, steps=5, record=True)
    torch.testing.assert_close(flow.particles, start, **EXACT)
    assert flow.values.abs().max() < 1e-12


def test_permuted_particles_move_as_before():
    start, push, order = drawn(2, 8, 3), mlp(3), torch.tensor([4, 2, 0, 7, 6, 1, 3, 5])
    flow = partial(wasserstein_flow, push_forward=push, steps=10, step_size=0.5)
    torch.testing.assert_close(flow(start[:, order]).particles, flow(start).particles[:, order], **EXACT)


# --- masks and fixed particles


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("garbage", [0.0, 1e30, math.inf, math.nan])
def test_padded_rows_equal_rows_that_are_deleted(form, garbage):
    clouds, push, mask = drawn(3, 9, 3), mlp(3, mixing=0.0), mask_of(torch.tensor([9, 5, 1]), 9)
    start = torch.where(mask[..., None], clouds, garbage)
    flow = wasserstein_flow(start, push, steps=8, step_size=0.4, form=form, mask=mask, record=True)
    assert torch.equal(flow.particles[~mask].nan_to_num(), start[~mask].nan_to_num())
    for i in range(3):
        alone = wasserstein_flow(start[i][mask[i]], push, steps=8, step_size=0.4, form=form, record=True)
        torch.testing.assert_close(flow.particles[i][mask[i]], alone.particles, **EXACT)
        torch.testing.assert_close(flow.values[:, i], alone.values, **EXACT)


@pytest.mark.parametrize("form", FORMS)
def test_fixed_particles_do_not_move(form):
    start, push = drawn(2, 7, 3), mlp(3)
    fixed = mask_of(torch.tensor([3, 7]), 7)
    found = wasserstein_flow(start, push, steps=6, step_size=0.5, form=form, fixed=fixed).particles
    assert torch.equal(found[fixed], start[fixed])
    assert bool((found != start).any(-1)[~fixed].all())
    first = one_step(start, push, form=form)
    torch.testing.assert_close(one_step(start, push, form=form, fixed=fixed)[~fixed], first[~fixed], **EXACT)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clouds_together_equal_each_alone(form, dtype):
    start, push = drawn(2, 3, 6, 4, dtype=dtype), mlp(4, dtype=dtype)
    run = partial(wasserstein_flow, push_forward=push, steps=10, step_size=0.3, form=form, record=True)
    together = run(start)
    assert together.particles.dtype == together.values.dtype == dtype and together.values.shape == (11, 2, 3)
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else EXACT
    for i in range(2):
        for j in range(3):
            alone = run(start[i, j])
            torch.testing.assert_close(together.particles[i, j], alone.particles, **tolerance)
            torch.testing.assert_close(together.values[:, i, j], alone.values, **tolerance)


# --- looks, counts and the stop rule


def counted(start: Tensor, **options) -> Flow:
    """A flow whose counts of calls are true."""
    push = Counted(mlp(start.shape[-1]))
    flow = wasserstein_flow(start, push, **options)
    assert (flow.forward_calls, flow.backward_calls) == (push.forward, push.backward)
    assert len(flow.values) == len(flow.checked_at)
    return flow


@pytest.mark.parametrize("form", FORMS)
def test_counts_of_calls(form):
    start, backward = drawn(2, 5, 3), 0 if form == "detached" else 7
    plain = counted(start, steps=7, form=form)
    assert (plain.forward_calls, plain.backward_calls, plain.checked_at) == (7, backward, ())
    assert plain.values.shape == (0, 2)
    recorded = counted(start, steps=7, form=form, record=True)
    assert (recorded.forward_calls, recorded.backward_calls) == (8, backward)  # the value at the end is one more call
    looked = counted(start, steps=7, form=form, tolerance=1e-12, check_every=3)
    assert (looked.forward_calls, looked.backward_calls, looked.checked_at) == (8, backward, (0, 3, 6, 7))
    torch.testing.assert_close(looked.values, recorded.values[[0, 3, 6, 7]], **EXACT)
    both = counted(start, steps=7, form=form, tolerance=1e-12, check_every=3, record=True)
    assert both.checked_at == tuple(range(8))
    for flow in (recorded, looked, both):
        assert torch.equal(flow.particles, plain.particles) and not flow.converged


@pytest.mark.parametrize("form", FORMS)
def test_no_steps(form):
    start = drawn(2, 5, 3)
    flow = counted(start, steps=0, form=form)
    assert torch.equal(flow.particles, start) and flow.particles is not start
    assert (flow.steps, flow.forward_calls, flow.backward_calls, flow.converged) == (0, 0, 0, False)
    looked = counted(start, steps=0, form=form, record=True)
    assert (looked.forward_calls, looked.checked_at) == (1, (0,))
    torch.testing.assert_close(looked.values[0], energy_distance(start, mlp(3)(start)), **EXACT)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("record", [True, False])
def test_the_stop_rule_returns_the_particles_that_met_it(relative, record):
    start, options = drawn(4, 10, 3), {"step_size": 0.2, "decay": 0.99}
    path = counted(start, steps=100, record=True, **options).values
    means = ((path / path[0]) if relative else path).mean(1)
    tolerance = means[33].item()  # met between two looks
    first = next(step for step in range(0, 101, 4) if means[step] < tolerance)
    assert 33 < first < 100
    flow = counted(start, steps=100, tolerance=tolerance, relative=relative, check_every=4, record=record, **options)
    assert flow.converged and flow.steps == first and flow.checked_at[-1] == first
    assert flow.checked_at == tuple(range(first + 1) if record else range(0, first + 1, 4))
    assert (flow.forward_calls, flow.backward_calls) == (first + 1, first + 1)
    same = counted(start, steps=first, record=True, **options)
    assert torch.equal(flow.particles, same.particles)
    torch.testing.assert_close(flow.values[-1], same.values[-1], **EXACT)


def test_a_start_that_meets_the_rule_is_returned():
    start = drawn(2, 5, 3)
    flow = wasserstein_flow(start, lambda z: z, steps=10, tolerance=1e-3)  # the first value is 0: nothing to divide by
    assert flow.converged and flow.steps == 0 and torch.equal(flow.particles, start)
    flow = counted(start, steps=10, tolerance=1e6, relative=False)
    assert flow.converged and flow.steps == 0 and flow.checked_at == (0,)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rounding_at_an_equilibrium_does_not_decide_the_relative_rule(sign):
    first = torch.tensor([1.0, sign * 1e-17], dtype=torch.float64)
    for error in (1e-17, -1e-17, 0.0):
        late = torch.tensor([1e-3, error], dtype=torch.float64)
        assert not _small(first, late * torch.tensor([500.0, 1.0]), 0.1, relative=True)
        assert _small(first, late, 0.1, relative=True)
    below = torch.tensor([0.5, -1e-14], dtype=first.dtype)  # a negative rounding error outweighs no other cloud
    assert not _small(first, below, 0.1, relative=True) and not _small(torch.ones(2), below, 0.1, relative=False)


def test_what_the_map_closes_over_receives_no_gradient():
    weight = drawn(3, 3, purpose="weight").requires_grad_()
    start = drawn(4, 3).requires_grad_()
    for form in FORMS:
        flow = wasserstein_flow(start, lambda z: z @ weight, steps=3, form=form, step_size=0.1)
        assert not flow.particles.requires_grad
    assert weight.grad is None and start.grad is None
    assert torch.equal(start, drawn(4, 3))
    with torch.no_grad():  # as a solver is called
        inside = wasserstein_flow(start, lambda z: z @ weight, steps=3, form=form, step_size=0.1)
    assert torch.equal(inside.particles, flow.particles)


# --- noise


def noisy(generator: torch.Generator, **options) -> Flow:
    return counted(drawn(2, 6, 3), steps=6, step_size=0.3, form="witness", generator=generator, **options)


def test_noise_is_reproducible_and_decays():
    first, again, other = (noisy(torch_generator(10_000, seed, "noise"), noise=0.5) for seed in (0, 0, 1))
    silent = noisy(torch_generator(10_000, 0, "noise"), noise=0.0)
    assert torch.equal(first.particles, again.particles)
    assert not torch.allclose(first.particles, other.particles)
    assert not torch.allclose(first.particles, silent.particles)
    assert torch.equal(silent.particles, counted(drawn(2, 6, 3), steps=6, step_size=0.3, form="witness").particles)
    assert (first.forward_calls, first.backward_calls) == (12, 6)  # the measures, and the places with noise
    once = noisy(torch_generator(10_000, 0, "noise"), noise=0.5, noise_decay=0.0)
    assert (once.forward_calls, once.backward_calls) == (7, 6)


@pytest.mark.parametrize("masked", [False, True])
def test_noise_moves_where_the_gradient_is_evaluated_alone(masked):
    start, push = drawn(1, 5, 2), mlp(2, mixing=0.0)
    mask = torch.tensor([[True, True, False, True, True]]) if masked else None
    shift = 0.7 * torch.randn(start.shape, generator=torch_generator(10_000, 0, "n"), dtype=start.dtype)
    found = one_step(start, push, form="witness", noise=0.7, generator=torch_generator(10_000, 0, "n"), mask=mask)
    cloud = start[0] if mask is None else start[0][mask[0]]
    image = push(cloud)

    def witnessed(z: Tensor) -> Tensor:
        return (z - image).norm(dim=-1).mean() - (z - cloud).norm(dim=-1).mean()  # f(z) with k = -||x - y||

    for i in range(5):
        at = (start + shift)[0, i].requires_grad_()
        (expected,) = torch.autograd.grad(witnessed(at) - witnessed(push(at[None])[0]), at)
        if masked and i == 2:
            expected = torch.zeros_like(expected)
        torch.testing.assert_close(found[0, i], expected, atol=1e-9, rtol=1e-9)


# --- bad input


def moved(start: Tensor | None = None, push=None, **options) -> Flow:
    return wasserstein_flow(torch.zeros(2, 4, 3) if start is None else start, push or (lambda z: z),
                            **({"steps": 2} | options))  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": -1}, "steps = -1"),
        ({"steps": 1.0}, "steps = 1.0"),
        ({"steps": True}, "steps = True"),
        ({"check_every": 0}, "check_every = 0"),
        ({"step_size": 0.0}, "step_size"),
        ({"step_size": math.nan}, "step_size"),
        ({"step_size": math.inf}, "step_size"),
        ({"decay": 0.0}, "decay"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": math.nan}, "tolerance"),
        ({"noise": -0.1, "form": "witness"}, "noise"),
        ({"noise": 0.1, "noise_decay": -1.0, "form": "witness"}, "noise_decay"),
        ({"form": "sideways"}, r"form = 'sideways'; known are \['through', 'witness', 'detached'\]"),
        ({"noise": 0.1, "form": "witness"}, "needs the form 'witness' and a generator"),
        ({"noise": 0.1, "generator": torch.Generator()}, "needs the form 'witness' and a generator"),
        ({"mask": torch.zeros(2, 4, dtype=torch.bool)}, "no True"),
        ({"mask": torch.ones(2, 3, dtype=torch.bool)}, "the mask of start"),
        ({"mask": torch.ones(2, 4)}, "the mask of start"),
        ({"fixed": torch.ones(2, 3, dtype=torch.bool)}, "fixed is"),
        ({"fixed": torch.ones(2, 4)}, "fixed is"),
        ({"start": torch.full((2, 4, 3), math.nan)}, r"start\[0, 0\] is not finite"),
        ({"start": torch.zeros(3)}, "start is"),
        ({"start": torch.zeros(2, 4, 3, dtype=torch.int64)}, "floating-point"),
        ({"push": lambda z: z[..., :2]}, r"push_forward maps \(2, 4, 3\) to \(2, 4, 2\)"),
        ({"push": lambda z: z[:1]}, "push_forward maps"),
    ],
)
def test_bad_input_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        moved(**options)


# --- CUDA


@pytest.mark.gpu
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", [{}, {"record": True}, {"tolerance": 0.5, "check_every": 4}])
@pytest.mark.parametrize("masked", [False, True])
def test_captured_equals_eager(form, options, masked):
    start, mask = drawn(8, 10, 3).cuda(), mask_of(torch.arange(8) % 10 + 1, 10).cuda() if masked else None
    first, second = drawn(3, 16, purpose="first").cuda(), drawn(16, 3, purpose="second").cuda() / 4
    fixed = mask_of(torch.arange(8) % 3, 10, "fixed").cuda()
    run = partial(wasserstein_flow, start, lambda z: torch.tanh(z @ first) @ second, steps=30, step_size=0.2,
                  decay=0.99, form=form, mask=mask, fixed=fixed, **options)  # fmt: skip
    captured, eager = run(capture=True), run(capture=False)
    torch.testing.assert_close(captured.particles, eager.particles, **EXACT)
    torch.testing.assert_close(captured.values, eager.values, **EXACT)
    for name in ("checked_at", "steps", "forward_calls", "backward_calls", "converged"):
        assert getattr(captured, name) == getattr(eager, name), name


@pytest.mark.gpu
def test_the_flow_on_cuda_equals_the_cpu():
    start, weight = drawn(4, 10, 3), drawn(3, 3, purpose="weight") / 2
    options, there_weight = {"steps": 25, "step_size": 0.2, "record": True}, weight.cuda()
    here = wasserstein_flow(start, lambda z: torch.tanh(z @ weight), **options)
    there = wasserstein_flow(start.cuda(), lambda z: torch.tanh(z @ there_weight), **options)
    torch.testing.assert_close(there.particles.cpu(), here.particles, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(there.values.cpu(), here.values, atol=1e-8, rtol=1e-8)


@pytest.mark.gpu
def test_what_a_map_changes_is_put_back_after_a_capture():
    """A map that counts its calls, and depends on the count, moves particles as it does eagerly."""
    start, weight = drawn(4, 10, 3).cuda(), (drawn(3, 3, purpose="weight") / 2).cuda()
    found = {}
    for capture in (False, True):
        counter = torch.zeros((), dtype=torch.int64, device="cuda")

        def push(z: Tensor, counter: Tensor = counter) -> Tensor:
            counter.add_(1)
            return torch.tanh(z @ weight) * (1 + counter % 3)

        flow = wasserstein_flow(start, push, steps=25, step_size=0.2, record=True, capture=capture, carried=[counter])
        found[capture] = flow.particles, flow.values, counter
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other, **EXACT)
