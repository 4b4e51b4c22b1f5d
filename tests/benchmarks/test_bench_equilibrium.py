"""The inner problem of a distributional equilibrium model: what caching the input branch, solving without a graph, and
our row solvers bring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.fixed_points import anderson, iterate
from twelvefold.nn.stacked import stack
from twelvefold.ot.gradient_flow import wasserstein_flow
from twelvefold.papers.ddeq.equilibrium import Solver, applied, equilibrium
from twelvefold.papers.ddeq.network import NetworkConfig, draw_network, encode, transform

from tests.benchmarks.interleave import measure, record
from tests.papers.ddeq.plain_network import PlainNetwork

CLOUDS, PARTICLES, POINTS = 64, 10, 48
DIGIT_POINTS = 150  # mean number of points of an MNIST digit
SMALL = NetworkConfig(width=32, heads=4, hidden=64, pooling="mean")
PAPER = NetworkConfig()
STEPS, ROUNDS = 4, 3
Apply = Callable[[Tensor], Tensor]


def problem(config: NetworkConfig, most: int = POINTS) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """Weights of one network, clouds `[1, 64, most, d_x]`, at least half full, their masks, particles at the start."""
    generator = torch_generator(10_000, config.width, "equilibrium")
    weights = stack([draw_network(config, generator)])
    clouds = torch.randn(1, CLOUDS, most, config.dimension, generator=generator)
    mask = torch.arange(most) < torch.randint(most // 2, most + 1, (1, CLOUDS, 1), generator=generator)
    return weights, clouds, mask, torch.randn(1, CLOUDS, PARTICLES, config.width, generator=generator)


def energy(z: Tensor, w: Tensor) -> Tensor:
    return 2 * torch.cdist(z, w).mean((-2, -1)) - torch.cdist(z, z).mean((-2, -1)) - torch.cdist(w, w).mean((-2, -1))


def straightforward(apply: Apply, z: Tensor, steps: int, eta: float) -> Tensor:
    """Z <- Z - eta N dG/dZ by torch.cdist and autograd."""
    for _ in range(steps):
        leaf = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(0.5 * energy(leaf, apply(leaf)).sum(), leaf)
        z = z - eta * z.shape[-2] * gradient
    return z


@pytest.mark.parametrize("points", [POINTS, DIGIT_POINTS])
@pytest.mark.parametrize("config", [SMALL, PAPER], ids=["width 32", "width 128"])
@pytest.mark.parametrize("modules", [True, False], ids=["torch modules", "our layers"])
def test_an_inner_step(benchmark: Any, config: NetworkConfig, points: int, modules: bool) -> None:
    """Against a plain implementation; and against our own layers, to see what the cache alone brings."""
    weights, clouds, mask, start = problem(config, points)
    with torch.no_grad():
        context = encode(config, weights, clouds, mask)
    trained = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    plain = PlainNetwork(config, weights)

    def recomputed(z: Tensor) -> Tensor:
        if modules:
            return plain(z[0], clouds[0], mask[0])[None]
        return transform(config, trained, encode(config, trained, clouds, mask), z)

    def ours() -> Tensor:
        return wasserstein_flow(start, applied(config, weights, context), steps=STEPS, step_size=0.5).particles

    def peer() -> Tensor:
        return straightforward(recomputed, start, STEPS, 0.5)

    torch.testing.assert_close(ours(), peer(), atol=1e-3, rtol=1e-3)
    seconds = measure(ours, peer, ROUNDS)
    words = "torch's modules" if modules else "our layers"
    ratio = record(
        benchmark, seconds, target=3.0,
        peer=f"{words}, torch.cdist and autograd, the clouds' branch computed in every step",
        what=f"{STEPS} inner steps, {CLOUDS} clouds of {points} points, {PARTICLES} particles of width {config.width}",
    )  # fmt: skip
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0


class _Held:
    """A tensor that a forward pass keeps for its backward pass; storages that are held twice count once."""

    held: Counter[tuple[int, int]] = Counter()
    peak = 0

    def __init__(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        # without its graph: a node that kept its own output with its graph would never be freed
        self.tensor, self.key = tensor.detach(), (storage.data_ptr(), storage.nbytes())
        _Held.held[self.key] += 1
        _Held.peak = max(_Held.peak, sum(size for _, size in _Held.held))

    def __del__(self) -> None:
        _Held.held[self.key] -= 1
        if not _Held.held[self.key]:
            del _Held.held[self.key]


def saved_bytes(work: Callable[[], Any]) -> int:
    """The most bytes that are kept for backward passes at one time."""
    _Held.peak = 0
    with torch.autograd.graph.saved_tensors_hooks(_Held, lambda held: held.tensor):
        work()
    assert not _Held.held, "everything must be freed with the graph"
    return _Held.peak


def test_a_training_pass_through_the_equilibrium(benchmark: Any) -> None:
    """Against back-propagation through T plain applications of F.

    Not through T steps of the flow: each holds a derivative, and our distances are differentiable once.
    """
    config, applications = SMALL, 10
    weights, clouds, mask, start = problem(config)
    leaves = {name: weight.requires_grad_() for name, weight in weights.items()}

    def solved() -> Tensor:
        solver = Solver(steps=applications, method="iteration")
        return equilibrium(config, leaves, clouds, mask, start, solver).output.square().mean()

    def flowed() -> Tensor:
        return equilibrium(config, leaves, clouds, mask, start, Solver(steps=applications)).output.square().mean()

    def unrolled() -> Tensor:
        apply = applied(config, leaves, encode(config, leaves, clouds, mask))
        return iterate(apply, start, applications + 1).square().mean()

    def trained(loss: Callable[[], Tensor], own: Mapping[str, Tensor] = leaves) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(loss(), list(own.values()), allow_unused=True)

    assert torch.allclose(solved(), unrolled())
    seconds = measure(trained(solved), trained(unrolled), ROUNDS)
    ratio = record(
        benchmark, seconds, target=1.5, peer=f"back-propagation through {applications + 1} applications of F",
        what=f"training pass with {applications} inner applications of width {config.width}, 1-step gradient",
    )  # fmt: skip
    ours, flow, peer = (saved_bytes(work) for work in (solved, flowed, unrolled))
    benchmark.extra_info.update(ours_saved_bytes=ours, flow_saved_bytes=flow, peer_saved_bytes=peer,
                                memory_ratio=peer / ours)  # fmt: skip
    benchmark.pedantic(trained(solved), rounds=1)
    assert ratio > 0


def residual(apply: Apply, z: Tensor) -> float:
    return (apply(z) - z).norm().item()


@pytest.mark.parametrize("name", ["iteration", "anderson"])
def test_row_solvers(benchmark: Any, name: str) -> None:
    theirs = pytest.importorskip("torchdeq.solver")
    config, evaluations = SMALL, 20
    weights, clouds, mask, start = problem(config)
    with torch.no_grad():
        apply = applied(config, weights, encode(config, weights, clouds, mask))
    flat = start[0]  # torchdeq takes the first axis for the batch
    calls: list[int] = []

    def counted(z: Tensor) -> Tensor:
        calls.append(1)
        return apply(z[None])[0]

    solver = {"iteration": theirs.fixed_point_iter, "anderson": theirs.anderson_solver}[name]

    @torch.no_grad()
    def ours() -> Tensor:
        return (iterate if name == "iteration" else anderson)(counted, flat, evaluations)

    @torch.no_grad()
    def peer() -> Tensor:
        found: Tensor = solver(counted, flat, max_iter=evaluations, tol=0.0, return_final=True)[0]
        return found

    with torch.no_grad():
        left = [residual(lambda z: apply(z[None])[0], work()) for work in (ours, peer)]
    assert len(calls) == 2 * evaluations
    seconds = measure(ours, peer, ROUNDS)
    ratio = record(benchmark, seconds, target=1.0, peer="torchdeq",
                   what=f"{name} of {evaluations} evaluations of width {config.width}")  # fmt: skip
    benchmark.extra_info.update(ours_residual=left[0], peer_residual=left[1], residual_ratio=left[1] / left[0])
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0
