"""Projection onto the transport polytope against the same updates by sorting (entmax) and against POT's dual solver.

The physical limit is the memory's bandwidth times the passes over the scores: a pass over 49,152 x 512 in float32 is
100 MB, 30 microseconds on a GPU with 3.3 TB/s. On one CPU core a pass is bound by its operations inside the cache.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ot
import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.ot.polytope import project_polytope
from twelvefold.ot.transport_plan import unit_columns

from tests.benchmarks.interleave import measure, record

SOURCES, TARGETS = 49_152, 512
ITERATIONS = 5
PASS = 3.3e12  # bytes a second: the bandwidth of the memory of an H100

COPIES = f"""
import torch
from twelvefold.ot.polytope import project_polytope
from twelvefold.ot.transport_plan import unit_columns
torch.set_num_threads(1)
n, m = {SOURCES}, {TARGETS}
marginals = unit_columns(n, m)
scores = torch.empty(n, m).normal_(0, 0.02, generator=torch.Generator().manual_seed(0)).requires_grad_()
gradient = torch.empty(n, m).normal_(generator=torch.Generator().manual_seed(1))
def run():
    torch.autograd.grad(project_polytope(scores, *marginals).plan, scores, gradient)
def kilobytes(what):
    return int(next(line for line in open("/proc/self/status") if line.startswith(what)).split()[1])
run()  # code that is loaded when it is first used is no part of the peak
open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
before = kilobytes("VmRSS")
run()
print(2 + (kilobytes("VmHWM") - before) * 1024 / (4 * n * m))
"""


def drawn(n: int, m: int, scale: float = 0.02, dtype: torch.dtype = torch.float32) -> Tensor:
    return scale * torch.randn(n, m, generator=torch_generator(10_000, n, f"scores {m}"), dtype=dtype)


def by_sorting(scores: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The same updates, for uniform marginals, with entmax: it sorts, knows the mass 1 alone, and is fastest along
    contiguous vectors, for which the scores are kept transposed, too."""
    sparsemax = pytest.importorskip("entmax").sparsemax

    def potential(x: Tensor, mass: Tensor) -> Tensor:
        # the largest entry of the projection is max x + potential
        return mass * sparsemax(x / mass, dim=-1).amax(-1) - x.amax(-1)

    transposed, b = scores.T.contiguous(), torch.zeros_like(target)
    for _ in range(ITERATIONS):
        a = potential(scores + b, source[0])
        b = potential(transposed + a, target[0])
    return (scores + a[:, None] + b).relu_()


def once(work: Callable[[], Any]) -> tuple[Any, float]:
    """Result and CPU seconds of one call, for what takes too long to be repeated."""
    before = time.process_time()
    found = work()
    return found, time.process_time() - before


@pytest.mark.slow
@pytest.mark.parametrize("sources", [SOURCES // 4, SOURCES])
def test_against_sorting(benchmark: Any, sources: int) -> None:
    scores, marginals = drawn(sources, TARGETS), unit_columns(sources, TARGETS)

    def ours() -> Tensor:
        return project_polytope(scores, *marginals, iterations=ITERATIONS).plan

    peer, seconds_of_peer = once(lambda: by_sorting(scores, *marginals))
    torch.testing.assert_close(ours(), peer, atol=2e-6, rtol=0)
    seconds = measure(ours, lambda: None, rounds=2)[0]
    what = f"projection of {sources} sources x {TARGETS} targets, {ITERATIONS} iterations, float32"
    ratio = record(benchmark, (seconds, seconds_of_peer), 5.0, what, "the same updates with entmax.sparsemax")
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0


@pytest.mark.slow
def test_the_backward_pass(benchmark: Any) -> None:
    """Against the forward pass, the peer here."""
    scores, marginals = drawn(SOURCES // 4, TARGETS).requires_grad_(), unit_columns(SOURCES // 4, TARGETS)
    gradient = drawn(SOURCES // 4, TARGETS, scale=1.0)
    plan = project_polytope(scores, *marginals, iterations=ITERATIONS).plan

    def ours() -> tuple[Tensor, ...]:
        return torch.autograd.grad(plan, scores, gradient, retain_graph=True)

    seconds = measure(ours, lambda: project_polytope(scores, *marginals, iterations=ITERATIONS), rounds=2)
    what = f"gradient of a projection of {SOURCES // 4} sources x {TARGETS} targets"
    ratio = record(benchmark, seconds, 1.0, what, "our forward pass")
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0


@pytest.mark.parametrize(("problems", "n", "m", "scale"), [(1, 512, 128, 0.1), (100, 20, 50, 0.1), (100, 20, 50, 1.0)])
def test_against_pot(benchmark: Any, problems: int, n: int, m: int, scale: float) -> None:
    """One problem after the other for POT, all at once for ours, to about the same marginal error."""
    scores = drawn(problems * n, m, scale, torch.float64).view(problems, n, m)
    source, target = unit_columns(n, m, dtype=torch.float64)

    def ours() -> Tensor:
        return project_polytope(scores, source, target, iterations=2000, tolerance=4e-7).plan

    def one(cost: Any) -> Any:
        return ot.smooth.smooth_ot_dual(
            source.numpy(), target.numpy(), cost, 1.0, "l2", numItermax=20_000, stopThr=1e-14
        )

    def theirs() -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it hands an option to scipy that scipy will drop
            return torch.stack([torch.from_numpy(one(-problem.numpy())) for problem in scores])

    torch.testing.assert_close(ours(), theirs(), atol=1e-5, rtol=0)
    seconds = measure(ours, theirs, rounds=3)
    what = f"exact projection of {problems} problems of {n} x {m} scores of scale {scale}, float64"
    ratio = record(benchmark, seconds, 1.0, what, "ot.smooth.smooth_ot_dual")
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read as on Linux")
def test_copies_in_memory(benchmark: Any) -> None:
    """Peak of forward and backward in copies of the scores: scores, plan, and the two gradients are 4."""
    done = subprocess.run([sys.executable, "-c", COPIES], capture_output=True, text=True, check=True)
    copies = float(done.stdout)
    benchmark.extra_info.update(what=f"peak memory in copies of {SOURCES} x {TARGETS} scores", copies=copies)
    benchmark.pedantic(lambda: None, rounds=1)
    assert copies > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_against_the_bandwidth(benchmark: Any) -> None:
    """Seconds on CUDA over those of reading the scores once in every pass that an update and a gradient must make."""
    scores, marginals = drawn(SOURCES, TARGETS).cuda().requires_grad_(), unit_columns(SOURCES, TARGETS, device="cuda")
    gradient = torch.ones_like(scores)

    def ours() -> None:
        plan = project_polytope(scores, *marginals, iterations=ITERATIONS).plan
        torch.autograd.grad(plan, scores, gradient)
        torch.cuda.synchronize()

    ours()
    before = time.perf_counter()
    ours()
    seconds = time.perf_counter() - before
    passes = 3 * ITERATIONS + 2
    floor = passes * 4 * SOURCES * TARGETS / PASS
    what = f"projection and gradient of {SOURCES} x {TARGETS} scores on CUDA, {ITERATIONS} iterations"
    ratio = record(benchmark, (seconds, floor), 1.0, what, f"{passes} passes at 3.3 TB/s")
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0
