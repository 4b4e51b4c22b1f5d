"""An inner step on CUDA, captured as a graph: against the same step eagerly, and against what the device could do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from twelvefold.ot.gradient_flow import Map, wasserstein_flow
from twelvefold.papers.ddeq.equilibrium import applied
from twelvefold.papers.ddeq.network import encode

from tests.benchmarks.interleave import on_device, record
from tests.benchmarks.test_bench_equilibrium import CLOUDS, DIGIT_POINTS, PAPER, PARTICLES, problem

TARGET = 0.3e-3  # seconds a step
FEW, MANY = 20, 420  # steps: their difference is without what a capture costs
LAUNCHES = 1000


class _Counted(TorchDispatchMode):
    """Counts operations that start a kernel: all but views."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = [value.alias_info for value in func._schema.returns]
        self.operations += not (returned and all(alias is not None and not alias.is_write for alias in returned))
        return func(*args, **(kwargs or {}))


def operations_of_a_step(flow: Callable[..., Any]) -> int:
    """Operations of one eager step: those of three steps without those of two."""
    made = []
    for steps in (2, 3):
        with _Counted() as counted:
            flow(steps=steps, capture=False)
        made.append(counted.operations)
    return made[1] - made[0]


def launch_seconds() -> float:
    """Seconds that a captured graph of kernels without work takes, by kernel."""
    one = torch.zeros(1, device="cuda")
    graph = torch.cuda.CUDAGraph()
    one.add_(1)
    with torch.cuda.graph(graph):
        for _ in range(LAUNCHES):
            one.add_(1)
    return on_device(graph.replay, 20) / LAUNCHES


def seconds_of_a_step(flow: Callable[..., Any], capture: bool) -> float:
    """Seconds of one step, without what comes once."""
    few, many = (on_device(partial(flow, steps=steps, capture=capture), 5) for steps in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def flow_on_cuda() -> Callable[..., Any]:
    """The inner flow of the paper's network on full clouds, as a function of `steps` and `capture`."""
    weights, clouds, mask, start = problem(PAPER, DIGIT_POINTS)
    weights = {name: weight.cuda() for name, weight in weights.items()}
    with torch.no_grad():
        context = encode(PAPER, weights, clouds.cuda(), mask.cuda())
    inner: Map = applied(PAPER, weights, context)
    z: Tensor = start.cuda()
    return partial(wasserstein_flow, z, inner, step_size=0.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="a benchmark of CUDA")
def test_a_captured_inner_step(benchmark: Any) -> None:
    """The floor is the time of as many kernels without work, captured in one graph."""
    flow = flow_on_cuda()
    seconds = seconds_of_a_step(flow, True), seconds_of_a_step(flow, False)
    kernels, launch = operations_of_a_step(flow), launch_seconds()
    words = f"{CLOUDS} clouds of {DIGIT_POINTS} points, {PARTICLES} particles of width {PAPER.width}"
    ratio = record(
        benchmark, seconds, target=seconds[1] / TARGET, peer="the same step, eagerly",
        what=f"a captured inner step, {words}, on {torch.cuda.get_device_name()}: {1e3 * seconds[0]:.3f} ms (target "
             f"{1e3 * TARGET}); floor: {kernels} kernels of {1e6 * launch:.2f} us, {1e3 * kernels * launch:.3f} ms",
    )  # fmt: skip
    benchmark.pedantic(partial(flow, steps=FEW, capture=True), rounds=1)
    assert ratio > 0
