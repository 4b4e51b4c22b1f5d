"""The pretended device refuses what CUDA refuses, allows what it allows, and repeats a graph on the same memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.pretended_cuda import Device, pretended_cuda

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real device")


@pytest.fixture
def device() -> Iterator[Device]:
    with pretended_cuda() as made:
        yield made


def here(*shape: int) -> Tensor:
    return torch.ones(*shape)


def there(*shape: int) -> Tensor:
    return torch.ones(*shape, device="cuda")


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "sum of both": (lambda: there(3, 4) + here(4), "same device"),
    "product of both": (lambda: there(3, 4) @ here(4, 2), "same device"),
    "rows of the CPU": (lambda: torch.nn.functional.embedding(torch.tensor([1]), there(3, 2)), "same device"),
    "joined": (lambda: torch.cat([there(2), here(2)]), "same device"),
    "index of CUDA": (lambda: here(4)[torch.tensor([1], device="cuda")], "indices should be"),
    "values of the CPU": (lambda: there(4).index_put_((torch.tensor([1, 2]),), here(2)), "same device"),
    "numpy": (lambda: there(2).numpy(), "convert cuda"),
    "array": (lambda: np.asarray(there(2)), "convert cuda"),
    "generator of the CPU": (
        lambda: torch.rand(3, device="cuda", generator=torch.Generator().manual_seed(0)), "for generator"),
    "draw in place": (lambda: there(3).normal_(generator=torch.Generator().manual_seed(0)), "for generator"),
    "module on the CPU": (lambda: torch.nn.Linear(3, 2)(there(1, 3)), "same device"),
}  # fmt: skip
ALLOWED: dict[str, Callable[[], Any]] = {
    "a number": lambda: there(3) * 2.5,
    "a tensor without axes": lambda: there(3) * torch.tensor(2.0),
    "index of the CPU": lambda: there(4)[torch.tensor([1, 2])],
    "copy": lambda: there(2).copy_(here(2)),
    "copy to the CPU": lambda: here(2).copy_(there(2)),
    "its own generator": lambda: torch.rand(3, device="cuda", generator=torch.Generator("cuda").manual_seed(0)),
    "classes": lambda: torch.nn.functional.one_hot(torch.tensor([0, 2], device="cuda"), 3),
    "module": lambda: torch.nn.Linear(3, 2).to("cuda")(there(1, 3)),
    "copied module": lambda: copy.deepcopy(torch.nn.Linear(3, 2).cuda())(there(1, 3)),
    "like": lambda: torch.zeros_like(here(2), device="cuda") + there(2),
    "new": lambda: there(2).new_ones(2, device="cuda") + there(2),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cuda_refuses(device: Device, name: str) -> None:
    work, words = REFUSED[name]
    with pytest.raises((RuntimeError, TypeError), match=words):
        work()


@pytest.mark.parametrize("name", ALLOWED)
def test_what_cuda_allows(device: Device, name: str) -> None:
    assert isinstance(ALLOWED[name](), Tensor)


def test_values_and_gradients_are_those_of_the_cpu(device: Device) -> None:
    x, weight = torch.randn(5, 4), torch.randn(4, 3)
    found = {}
    for where in ("cpu", "cuda"):
        leaf = weight.clone().requires_grad_()
        made = (x.to(where) @ leaf.to(where)).softmax(-1).square().sum()
        made.backward()  # through the copy to the device
        assert leaf.grad is not None and made.device.type == where
        found[where] = float(made.detach()), leaf.grad
    assert found["cpu"][0] == found["cuda"][0] and torch.equal(found["cpu"][1], found["cuda"][1])


def test_weights_that_modules_share_stay_one(device: Device) -> None:
    first, second = torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False)
    second.weight = first.weight
    for where in ("cpu", "cuda"):
        both = torch.nn.ModuleList([first, second]).to(where)
        assert both[0].weight is both[1].weight and both[0].weight.device.type == where


def test_an_optimiser_that_is_captured_keeps_its_state_on_the_device(device: Device) -> None:
    weight = there(3).requires_grad_()
    optimiser = torch.optim.AdamW([weight], lr=torch.tensor(0.1, device="cuda"), fused=True, capturable=True)
    weight.sum().backward()
    optimiser.step()
    assert all(value.is_cuda for value in optimiser.state[weight].values()) and bool((weight < 1).all())


def test_a_capture_computes_nothing_and_a_replay_reads_memory_anew(device: Device) -> None:
    x, counter = there(3), torch.zeros((), device="cuda")
    graph, python = torch.cuda.CUDAGraph(), 1.0
    with torch.cuda.graph(graph):
        counter.add_(1)
        y = (x * 2 + counter).exp() * python
        part = y[:2]
    assert float(counter) == 0 and bool(y.isnan().all())
    python = 5.0  # a number of Python is part of the graph
    for turn, value in enumerate((0.0, 1.0), start=1):
        x.fill_(value)
        graph.replay()
        expected = torch.full((2,), 2 * value + turn).exp()
        assert float(counter) == turn and torch.equal(part.cpu(), expected) and python == 5.0
    assert device.counts["replays"] == 2


IN_A_CAPTURE: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "truth": lambda x: bool((x > 0).all()),
    "list": lambda x: x.tolist(),
    "to the CPU": lambda x: x.cpu(),
    "from the CPU": lambda x: x + here(3).to("cuda"),
    "from a list": lambda x: x + torch.tensor([1.0, 2.0, 3.0], device="cuda"),
    "a mask": lambda x: x[x > 0],
    "nonzero": lambda x: x.nonzero(),
}


@pytest.mark.parametrize("name", IN_A_CAPTURE)
def test_what_no_graph_can_hold(device: Device, name: str) -> None:
    x = there(3)
    with pytest.raises(RuntimeError, match="capturing"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        IN_A_CAPTURE[name](x)


def test_the_deterministic_mode(device: Device) -> None:
    torch.set_deterministic_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="deterministic"):
            there(3).cumsum(0)
        assert there(3).long().cumsum(0).tolist() == [1, 2, 3] and float(there(3).median()) == 1
    finally:
        torch.set_deterministic_debug_mode("default")


def test_looks_and_copies_are_counted(device: Device) -> None:
    x = there(3)
    assert device.counts["looks"] == 0
    float(x.sum())
    x.cpu()
    here(3).cuda()
    assert (device.counts["looks"], device.counts["to host"], device.counts["to device"]) == (1, 1, 1)


def test_everything_is_as_before_afterwards() -> None:
    with pretended_cuda():
        x = there(2)
        assert torch.cuda.is_available() and isinstance(torch.Generator(), torch.Generator)
    assert not torch.cuda.is_available() and torch.Generator is torch._C.Generator
    with pytest.raises(RuntimeError, match="outside"):
        x + 1
