"""Wasserstein gradient flow of the discrepancy between a measure and its push-forward.

For particles Z with N points and a map F, the objective is G(Z) = 1/2 MMD^2(Z, F(Z)). Its gradient in Wasserstein
geometry at particle i is g_i = N dG/dz_i, and a step of the flow is Z <- Z - eta g (Geuter et al. 2025; Arbel et al.
2019 for the MMD flow and the injection of noise).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from twelvefold.ot.discrepancy import Kernel, check_clouds, energy_distance, riesz, squared_mmd, witness
from twelvefold.ot.pairwise import without_padding

FORMS = ("through", "witness", "detached")
CAPTURED_FROM = 20  # steps from which capturing a step on CUDA pays
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Flow:
    """Where a flow ended.

    Attributes:
        particles: `[..., N, d]`, without a graph.
        values: MMD^2(Z_t, F(Z_t)) `[C, ...]` at the steps `checked_at` (the last is the end; empty when neither
            `record` nor `tolerance` was asked for).
        checked_at: C numbers of steps.
        steps: steps made.
        forward_calls, backward_calls: of the push-forward, those of a step that the stop rule took back included.
        converged: whether the stop rule ended the flow before its last step.
    """

    particles: Tensor
    values: Tensor
    checked_at: tuple[int, ...]
    steps: int
    forward_calls: int
    backward_calls: int
    converged: bool


def wasserstein_flow(
    start: Tensor,
    push_forward: Map,
    *,
    steps: int,
    kernel: Kernel | None = None,
    step_size: float = 5.0,
    decay: float = 1.0,
    form: str = "through",
    noise: float = 0.0,
    noise_decay: float = 1.0,
    generator: torch.Generator | None = None,
    tolerance: float | None = None,
    relative: bool = True,
    check_every: int = 10,
    mask: Tensor | None = None,
    fixed: Tensor | None = None,
    record: bool = False,
    capture: bool | None = None,
    carried: Sequence[Tensor] = (),
) -> Flow:
    """Move particles so that they and their images agree as measures.

    Args:
        start: particles `[..., N, d]`.
        push_forward: F, of the shape of `start`; what it closes over receives no gradient.
        steps: at most so many; 0 returns the start.
        kernel: of the MMD; None takes the Riesz kernel -||x - y|| (energy distance).
        step_size: eta. decay: factor on it after every step.
        form: "through" differentiates both arguments of the MMD, also through F; "witness" evaluates
            grad f(z) - J_F(z)^T grad f(F(z)) with the measures inside the witness function f held fixed (equal to
            "through" without noise); "detached" treats F(Z) as a constant target, which is another algorithm.
        noise: beta; the gradient is evaluated at z + beta u, u ~ N(0, I) (form "witness"). noise_decay: factor on it.
        generator: of the noise, on the CPU.
        tolerance: stop when the mean value over clouds, relative to each cloud's first where `relative`, is below it.
        check_every: steps between two looks at the value.
        mask: bool `[..., N]`, True for a particle; g_i has the factor of the number of particles of its cloud.
        fixed: bool `[..., N]`, particles that do not move.
        record: value every step (steps before the last cost nothing extra).
        capture: on CUDA, capture a step as a graph and replay it; None: from 20 steps on, without noise.
        carried: tensors that `push_forward` changes in place, e.g. a counter of random draws. Capturing calls it three
            times more, and puts them back.

    Raises:
        ValueError: start not finite, a cloud without particles, numbers out of range, an unknown form, or a map that
            changes the shape.
    """
    _check(start, steps, step_size, decay, form, noise, noise_decay, generator, tolerance, check_every, mask, fixed)
    step = _Step(push_forward, kernel, form, mask, fixed)
    z, eta, beta = start.detach().clone(), step_size, noise
    if capture is None:
        capture = steps >= CAPTURED_FROM
    advance = _captured(step, z, carried) if capture and z.is_cuda and noise == 0 and steps > 0 else step.advance
    values: dict[int, Tensor] = {}
    made, forward_calls, converged = steps, 0, False
    for done in range(steps):
        check = tolerance is not None and done % check_every == 0
        before = z.clone() if check else None
        shift = None if beta == 0 else beta * torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
        value = advance(z, eta, shift)  # of z before the step: a look at it costs no further call of F
        forward_calls += 1 if shift is None else 2
        if record or check:
            values[done] = value.clone()
        if before is not None and _small(values[0], value, tolerance, relative):
            z, made, converged = before, done, True
            break
        eta, beta = eta * decay, beta * noise_decay
    backward_calls = 0 if form == "detached" else made + int(converged)  # a step that is taken back was computed, too
    if (record or tolerance is not None) and not converged:
        values[steps] = step.value(z)
        forward_calls += 1
    stacked = torch.stack(list(values.values())) if values else z.new_empty(0, *z.shape[:-2])
    return Flow(z, stacked, tuple(values), made, forward_calls, backward_calls, converged)


def _small(first: Tensor, value: Tensor, tolerance: float | None, relative: bool) -> bool:
    """Whether the mean value over clouds, relative to each cloud's first one if so wished, is below the tolerance."""
    value = value.clamp(min=0)  # an MMD^2 near 0 is rounding, of either sign
    if relative:  # and so is the first value of a cloud that starts at an equilibrium
        value = value / first.clamp(min=torch.finfo(first.dtype).eps)
    return tolerance is not None and bool(value.mean() < tolerance)


@dataclass(frozen=True)
class _Step:
    """One step of the flow, in place."""

    push_forward: Map
    kernel: Kernel | None
    form: str
    mask: Tensor | None
    fixed: Tensor | None

    def mmd(self, z: Tensor, image: Tensor) -> Tensor:
        if self.kernel is None:
            return energy_distance(z, image, self.mask, self.mask)
        return squared_mmd(z, image, self.kernel, self.mask, self.mask)

    def image(self, z: Tensor) -> Tensor:
        image = self.push_forward(z)
        if image.shape != z.shape:
            raise ValueError(f"push_forward maps {tuple(z.shape)} to {tuple(image.shape)}; the shape must stay")
        return image

    @torch.no_grad()
    def value(self, z: Tensor) -> Tensor:
        return self.mmd(z, self.image(z))

    @torch.no_grad()
    def advance(self, z: Tensor, eta: float | Tensor, shift: Tensor | None) -> Tensor:
        """Z <- Z - eta N dG/dZ in place; returns MMD^2 `[...]` before the step."""
        with torch.enable_grad():
            at = z.detach().requires_grad_()
            value, gradient = self.differentiated(at, shift)
        gradient = without_padding(gradient, self.mask)
        if self.fixed is not None:
            gradient = gradient.masked_fill(self.fixed[..., None], 0.0)
        z.sub_(gradient * eta)
        return value.detach()

    def differentiated(self, z: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor]:
        """MMD^2 `[...]` and the Wasserstein gradient `[..., N, d]` of G."""
        count = z.shape[-2] if self.mask is None else self.mask.sum(-1)[..., None, None]
        if self.form == "witness" or shift is not None:
            return self._by_witness(z, shift)
        with torch.set_grad_enabled(self.form == "through"):
            image = self.image(z)
        value = self.mmd(z, image)
        (gradient,) = torch.autograd.grad(0.5 * value.sum(), z)  # dG/dz, G = 1/2 MMD^2
        return value, count * gradient

    def _by_witness(self, z: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor]:
        """grad f(z) - J_F(z)^T grad f(F(z)) at z + shift, f the witness function of (Z, F(Z)), its measures fixed."""
        with torch.set_grad_enabled(shift is None):
            image = self.image(z)
        moved, moved_image = (z, image) if shift is None else (z + shift, self.image(z + shift))
        moved, moved_image = without_padding(moved, self.mask), without_padding(moved_image, self.mask)
        kernel, measures = self.kernel or riesz, (z.detach(), image.detach())
        at_z, at_image = (witness(points, *measures, kernel, self.mask, self.mask) for points in (moved, moved_image))
        (gradient,) = torch.autograd.grad((at_z - at_image).sum(), z)  # a row without a particle has no gradient
        return self.mmd(*measures), gradient


def _captured(
    step: _Step, z: Tensor, carried: Sequence[Tensor]
) -> Callable[[Tensor, float, Tensor | None], Tensor]:
    """The step as a captured CUDA graph on the buffer z: eagerly, small clouds would wait for kernel launches."""
    rate = torch.zeros((), dtype=z.dtype, device=z.device)
    kept = [(tensor, tensor.clone()) for tensor in (z, *carried)]
    stream = torch.cuda.Stream(z.device)
    stream.wait_stream(torch.cuda.current_stream(z.device))
    with torch.cuda.stream(stream):
        for _ in range(3):  # with rate 0 the particles stay
            step.advance(z, rate, None)
    torch.cuda.current_stream(z.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = step.advance(z, rate, None)
    for tensor, before in kept:
        tensor.copy_(before)

    def replay(particles: Tensor, eta: float, shift: Tensor | None) -> Tensor:
        rate.fill_(eta)
        graph.replay()
        return value

    return replay


def _check(
    start: Tensor, steps: int, step_size: float, decay: float, form: str, noise: float, noise_decay: float,
    generator: torch.Generator | None, tolerance: float | None, check_every: int, mask: Tensor | None,
    fixed: Tensor | None,
) -> None:  # fmt: skip
    check_clouds("start", start, mask)
    for name, number, least in (("steps", steps, 0), ("check_every", check_every, 1)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ValueError(f"{name} = {number!r}; a whole number, at least {least}, is needed")
    positive = {"step_size": step_size, "decay": decay} | ({} if tolerance is None else {"tolerance": tolerance})
    wrong = {name: size for name, size in positive.items() if not 0 < size < math.inf}
    wrong |= {name: size for name, size in (("noise", noise), ("noise_decay", noise_decay)) if not 0 <= size < math.inf}
    if wrong:
        raise ValueError(f"{wrong}: step_size, decay and tolerance must be positive, noise and noise_decay at least 0")
    if form not in FORMS:
        raise ValueError(f"form = {form!r}; known are {list(FORMS)}")
    if noise > 0 and (form != "witness" or generator is None):
        raise ValueError(f"noise = {noise} with form = {form!r}, generator = {generator}; noise needs the form "
                         "'witness' and a generator")  # fmt: skip
    if fixed is not None and (fixed.dtype != torch.bool or fixed.shape != start.shape[:-1]):
        raise ValueError(f"fixed is {fixed.dtype} {tuple(fixed.shape)}; bool {tuple(start.shape[:-1])} is needed")
