"""Tensors of the pretended device, and the device itself: what reached it, and what it refuses."""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tests.pretended_cuda.graph import Graph

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")


class OnDevice(Tensor):
    """A tensor of the pretended device; `inner` is what it holds, on the CPU."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=CPU,
        )  # fmt: skip

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a tensor of the pretended device outside `pretended_cuda()`")

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    def get_device(self) -> int:
        return 0

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    numpy = __array__

    def tolist(self) -> Any:
        current().look("tolist")
        return self.inner.tolist()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnDevice({self.inner!r})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 else repr(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError("only leaves can be copied deeply")
        copied = OnDevice(self.inner.clone())
        memo[id(self)] = copied
        return copied.requires_grad_(self.requires_grad)


class _Tensors:
    """A set of tensors by identity that keeps none of them alive."""

    def __init__(self) -> None:
        self._known: dict[int, weakref.ref[Tensor]] = {}

    def update(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            key = id(tensor)
            self._known[key] = weakref.ref(tensor, lambda _, key=key: self._known.pop(key, None))

    def __contains__(self, tensor: Tensor) -> bool:
        known = self._known.get(id(tensor))
        return known is not None and known() is tensor


@dataclass
class Device:
    """What reached the pretended device.

    Attributes:
        operations: how often each operation was started by the host, by name; those of a replayed graph do not count.
        counts: "looks" at values, "to device" and "to host" copies of tensors with an axis, "replays".
        recording: the graph that is being captured.
        generators: those that draw on the device.
        anywhere: tensors that torch made by itself, below Python, where it takes the wrapper for one of the CPU (zeros
            for a missing gradient, numbers of classes); they go with either device.
        answering: whether Python asked for a new tensor just now.
    """

    operations: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    recording: Graph | None = None
    generators: list[Any] = field(default_factory=list)
    anywhere: _Tensors = field(default_factory=_Tensors)
    answering: bool = False

    @contextlib.contextmanager
    def asked(self) -> Iterator[None]:
        """Within, new tensors are those that Python asks for."""
        before, self.answering = self.answering, True
        try:
            yield
        finally:
            self.answering = before

    def look(self, what: str) -> None:
        """The host waits for a value."""
        self.refuse_capture(what)
        self.counts["looks"] += 1

    def refuse_capture(self, what: str) -> None:
        """CUDA's error for an operation that no graph can hold."""
        if self.recording is not None:
            raise RuntimeError(f"{what}: operation not permitted when stream is capturing")

    def arrived(self, tensor: Tensor) -> OnDevice:
        """A copy of a CPU tensor on the device."""
        self.refuse_capture("copy to the device")
        self.counts["to device"] += tensor.ndim > 0
        return OnDevice(tensor.detach().clone())

    def wrapped(self, leaf: Any) -> Any:
        """A result on the device; sparse ones cannot be wrapped and go with either device."""
        if not isinstance(leaf, Tensor):
            return leaf
        if leaf.layout != torch.strided:
            self.anywhere.update([leaf])
            return leaf
        return OnDevice(leaf)

    def left(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor of the device on the CPU."""
        self.refuse_capture("copy to the host")
        self.counts["to host"] += 1
        assert isinstance(tensor, OnDevice)
        return tensor.inner.clone()


DEVICES: list[Device] = []


def current() -> Device:
    if not DEVICES:
        raise RuntimeError("a tensor of the pretended device was used outside `pretended_cuda()`")
    return DEVICES[-1]
