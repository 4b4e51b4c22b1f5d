"""A pretended CUDA device, for machines without one: it finds what would break on a GPU, and nothing about speed.

Within `pretended_cuda()` a tensor of device "cuda" is a wrapper around one of the CPU. It says that it is on "cuda:0",
computes as the CPU does, and refuses what CUDA refuses:

- one operation on tensors of two devices (a number, a tensor without axes and CPU indices are allowed, as on CUDA);
- becoming a numpy array without `.cpu()`;
- draws by a generator of the other device;
- in torch's deterministic mode, in which studies run, operations that have no deterministic form;
- in a captured graph: looking at a value, results whose shape depends on values, and copies to or from the CPU.

A captured graph is real: it records operations with their tensors and repeats them on the same memory, so that a value
that Python worked out anew for each step stays what it was at the capture, as on CUDA. `Device` counts what reaches the
device: operations (about one kernel launch each), looks at values (each stops the device), copies, and replays.

What it cannot tell: other roundings, kernels that CUDA lacks or has with other rules, memory, streams, seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch.utils._pytree import tree_leaves

from tests.pretended_cuda.device import CUDA, DEVICES, Device, OnDevice
from tests.pretended_cuda.graph import Generator, Graph, Stream, capture
from tests.pretended_cuda.modes import Computes, Moves

__all__ = ["Device", "OnDevice", "pretended_cuda"]


def _grouped(groups: Callable[..., Any]) -> Callable[..., Any]:
    """The groups of tensors by device that an optimiser makes; below Python they were all of the CPU."""

    def found(lists: Any, *args: Any, **kwargs: Any) -> Any:
        made = groups(lists, *args, **kwargs)
        if not any(isinstance(leaf, OnDevice) for leaf in tree_leaves(lists)):
            return made
        return {(CUDA, dtype): value for (_, dtype), value in made.items()}

    return found


def _keeping_ties(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Moving a module: weights that two modules share stay one, as they do where a move only changes their data."""

    def moved(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        shared: dict[int, list[tuple[torch.nn.Module, str]]] = {}
        for part in module.modules():
            for name, weight in part._parameters.items():
                if weight is not None:
                    shared.setdefault(id(weight), []).append((part, name))
        made = apply(module, *args, **kwargs)
        for (first, own), *others in shared.values():
            for part, name in others:
                part._parameters[name] = first._parameters[own]
        return made

    return moved


@contextlib.contextmanager
def pretended_cuda() -> Iterator[Device]:
    """Let torch have one CUDA device, as far as this module goes."""
    device = Device()
    free = (8 * 2**30, 16 * 2**30)
    answers: dict[str, Any] = {
        "is_available": True, "device_count": 1, "current_device": 0, "get_device_name": "pretended",
        "mem_get_info": free, "memory_reserved": 0, "memory_allocated": 0, "max_memory_allocated": 0,
        "reset_peak_memory_stats": None, "empty_cache": None, "_lazy_init": None, "is_bf16_supported": True,
        "current_stream": Stream(), "is_current_stream_capturing": False, "manual_seed_all": None,
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, lambda *_, _answer=answer, **__: _answer))
        stack.enter_context(mock.patch.object(torch.cuda, "synchronize", lambda *_: device.look("synchronize")))
        for name, stand_in in {"Stream": Stream, "CUDAGraph": Graph, "graph": capture}.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        stack.enter_context(mock.patch.object(torch, "Generator", Generator))
        stack.enter_context(mock.patch.object(torch.cuda, "stream", lambda *_: contextlib.nullcontext()))
        optimiser = torch.optim.Optimizer
        by_device = _grouped(optimiser._group_tensors_by_device_and_dtype)
        stack.enter_context(mock.patch.object(optimiser, "_group_tensors_by_device_and_dtype", staticmethod(by_device)))
        stack.enter_context(mock.patch.object(torch.nn.Module, "_apply", _keeping_ties(torch.nn.Module._apply)))
        overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # a module's weights become wrappers
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrite)
        DEVICES.append(device)
        stack.callback(DEVICES.pop)
        stack.enter_context(Moves())
        stack.enter_context(Computes())
        yield device
