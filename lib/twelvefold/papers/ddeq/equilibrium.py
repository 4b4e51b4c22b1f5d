"""The equilibrium of a population of networks F on a batch of clouds: solvers, and the ways back through it.

Forward: particles Z* with F(Z*; X) = Z* as measures, found without a graph. Backward: F applied once more (or k times)
with a graph, the phantom gradient of torchdeq that the paper trains with; `gradients` has the implicit one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from twelvefold.nn.counter_random import dropout_masks
from twelvefold.nn.fixed_points import anderson, iterate
from twelvefold.nn.stacked import Weights
from twelvefold.ot.discrepancy import energy_distance, gaussian
from twelvefold.ot.gradient_flow import Flow, wasserstein_flow
from twelvefold.papers.ddeq.network import Context, NetworkConfig, encode, transform

METHODS = ("flow", "iteration", "anderson")
Apply = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Solver:
    """How the inner problem is solved; the defaults are the paper's.

    Attributes:
        steps: at most so many inner steps; 0 leaves the particles where they start.
        method: "flow" (Wasserstein gradient flow), "iteration" (Z <- F(Z)) or "anderson" (Anderson acceleration on
            rows), the last two being those of ordinary equilibrium models.
        step_size: eta of the flow.
        decay: factor on eta after every step.
        form: "through", "witness" or "detached", see `ot.gradient_flow`.
        sigma: width of a Gaussian kernel; None takes the Riesz kernel -||x - y|| (energy distance).
        noise: size of the injected noise, beta.
        tolerance: stop when the mean relative value is below it; None makes all steps.
        check_every: steps between two tests of the stop rule.

    Raises:
        ValueError: an unknown method or a number out of range.
    """

    steps: int = 200
    method: str = "flow"
    step_size: float = 5.0
    decay: float = 1.0
    form: str = "through"
    sigma: float | None = None
    noise: float = 0.0
    tolerance: float | None = None
    check_every: int = 100

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method = {self.method!r}; known are {list(METHODS)}")
        if self.steps < 0 or not self.step_size > 0 or not 0 < self.decay <= 1:
            raise ValueError(f"steps = {self.steps}, step_size = {self.step_size}, decay = {self.decay}; steps >= 0, "
                             "step_size > 0 and 0 < decay <= 1 are needed")  # fmt: skip


def solve(
    apply: Apply, start: Tensor, solver: Solver, *, mask: Tensor | None = None, fixed: Tensor | None = None,
    generator: torch.Generator | None = None, record: bool = False, carried: Sequence[Tensor] = (),
) -> Flow:  # fmt: skip
    """Particles `[P, B, N, d]` near the equilibrium of `apply`, without a graph, and what finding them took.

    Args:
        apply: Z -> F(Z; X).
        start: Z at step 0.
        solver: method and its numbers.
        mask: bool `[P, B, N]`, True for a particle. fixed: bool `[P, B, N]`, particles that stay where they are.
        generator: of the noise.
        record: value MMD^2(Z_t, F(Z_t)) at every step.
        carried: what `apply` changes in place, see `wasserstein_flow`.
    """
    if solver.method == "flow":
        kernel = None if solver.sigma is None else partial(gaussian, sigma=solver.sigma)
        return wasserstein_flow(
            start, apply, kernel=kernel, steps=solver.steps, step_size=solver.step_size, decay=solver.decay,
            form=solver.form, noise=solver.noise, generator=generator, tolerance=solver.tolerance,
            check_every=solver.check_every, mask=mask, fixed=fixed, record=record, carried=carried,
        )  # fmt: skip
    with torch.no_grad():
        return _by_rows(apply, start, solver, mask, record)


def _by_rows(apply: Apply, start: Tensor, solver: Solver, mask: Tensor | None, record: bool) -> Flow:
    """The solvers of ordinary equilibrium models, which compare rows and so cannot see a permuted equilibrium."""
    values: list[Tensor] = []

    def watched(z: Tensor) -> Tensor:
        after = apply(z)
        if record:
            values.append(residual(z, after, mask))
        return after

    run = iterate if solver.method == "iteration" else anderson
    particles = run(watched, start, solver.steps)
    if record:
        values.append(residual(particles, apply(particles), mask))
    checked = tuple(range(len(values)))
    stacked = torch.stack(values) if values else start.new_empty(0, *start.shape[:-2])
    return Flow(particles, stacked, checked, solver.steps, solver.steps + int(record), 0, False)


def residual(particles: Tensor, after: Tensor, mask: Tensor | None = None) -> Tensor:
    """MMD^2(Z, F(Z)) `[P, B]` with the Riesz kernel, whatever kernel a solver used: how far from an equilibrium."""
    return energy_distance(particles, after, mask, mask)


def applied(
    config: NetworkConfig, weights: Weights, context: Context, *, mask: Tensor | None = None,
    fixed: Tensor | None = None, keys: Tensor | None = None, counter: Tensor | None = None,
) -> Apply:  # fmt: skip
    """Z -> F(Z; X) as a function of Z alone.

    Args:
        config, weights, context, mask, fixed: see `network.transform`.
        keys: `[P]` (int64) switches dropout on; every call draws masks anew, as the authors do in every inner step.
        counter: int64 tensor without dimensions: number of the draw, raised in place by every call (a captured CUDA
            graph raises it, too).
    """
    if keys is None or config.dropout == 0:
        return partial(transform, config, weights, context, mask=mask, fixed=fixed)
    assert counter is not None

    def apply(z: Tensor) -> Tensor:
        counter.add_(1)
        masks = dropout_masks(keys, counter, config.mask_elements(z.shape[1])[1], config.dropout)
        return transform(config, weights, context, z, mask=mask, fixed=fixed, masks=masks)

    return apply


@dataclass(frozen=True)
class Equilibrium:
    """Particles at the end of the inner solve (`found`, no graph) and after the outer applications (`output`)."""

    found: Tensor
    output: Tensor
    flow: Flow


def equilibrium(
    config: NetworkConfig, weights: Weights, clouds: Tensor, mask: Tensor | None, start: Tensor, solver: Solver, *,
    particle_mask: Tensor | None = None, fixed: Tensor | None = None, applications: int = 1,
    keys: Tensor | None = None, draw: int = 0, record: bool = False,
) -> Equilibrium:  # fmt: skip
    """Solve for the equilibrium and apply F `applications` times with a graph (phantom gradient, tau = 1).

    The branch of the input clouds is computed once: the inner steps read its numbers, the outer applications its graph.
    With dropout its masks are drawn once per call (the authors draw them anew in every inner step).

    Args:
        config, weights: of F; weights that require gradients receive them through the outer applications.
        clouds, mask: input `[P, B, M, d_x]` and `[P, B, M]`.
        start: particles `[P, B, N, d_z]`.
        solver: how to solve.
        particle_mask, fixed: bool `[P, B, N]`, see `solve`.
        applications: k of the k-step phantom gradient; 1 is the paper's.
        keys: `[P]` switches dropout on; `draw` is the number of this call.
        record: value every step.
    """
    counter, masks = None, None
    if keys is not None and config.dropout:
        counter = torch.full((), draw * 2**20, dtype=torch.int64, device=start.device)
        masks = dropout_masks(keys, counter, config.mask_elements(clouds.shape[1])[0], config.dropout)
    context = encode(config, weights, clouds, mask, masks)
    common = {"mask": particle_mask, "fixed": fixed, "keys": keys, "counter": counter}
    inner = applied(config, {name: weight.detach() for name, weight in weights.items()}, context.detach(), **common)
    flow = solve(inner, start, solver, mask=particle_mask, fixed=fixed, record=record,
                 carried=() if counter is None else [counter])  # fmt: skip
    outer, output = applied(config, weights, context, **common), flow.particles
    for _ in range(applications):
        output = outer(output)
    return Equilibrium(flow.particles, output, flow)
