"""Captured graphs, streams and generators of the pretended device."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves

from tests.pretended_cuda.device import current

Step = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], list[Tensor]]


class Graph:
    """A captured graph: operations on inner tensors, with the memory that their results are written to."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.steps: list[Step] = []
        self._overwritten: list[tuple[Tensor, Tensor]] = []

    def before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Remember what an operation will write over: a capture computes nothing."""
        given = {**dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)), **kwargs}
        for argument in func._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write:
                written = [leaf for leaf in tree_leaves(given.get(argument.name)) if isinstance(leaf, Tensor)]
                self._overwritten.extend((leaf, leaf.clone()) for leaf in written)

    def add(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Keep an operation, unless its result is a view of what it got: views stay right by themselves."""
        known = {_memory(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        fresh = [leaf for leaf in made if _memory(leaf) not in known]
        if fresh or func._schema.is_mutable:
            self.steps.append((func, args, kwargs, made if fresh else []))

    def end(self) -> None:
        """Put everything back, and let results be noise until the first replay."""
        for place, value in reversed(self._overwritten):
            place.copy_(value)
        self._overwritten.clear()
        for _, _, _, places in self.steps:
            for place in places:
                place.fill_(math.nan if place.is_floating_point() else 0)

    @torch.no_grad()
    def replay(self) -> None:
        """Repeat all operations on the same memory."""
        current().counts["replays"] += 1
        with _disable_current_modes():
            for func, args, kwargs, places in self.steps:
                again = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, Tensor)]
                for place, value in zip(places, again, strict=bool(places)):
                    place.copy_(value)

    def reset(self) -> None:
        """Forget the operations."""
        self.steps.clear()


@contextlib.contextmanager
def capture(graph: Graph, *_: Any, **__: Any) -> Iterator[None]:
    device = current()
    device.recording = graph
    try:
        yield
    finally:
        device.recording = None
        with torch.no_grad(), _disable_current_modes():
            graph.end()


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class _GeneratorType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, torch._C.Generator)


class Generator(metaclass=_GeneratorType):
    """Makes generators, also those of the device."""

    def __new__(cls, device: Any = "cpu") -> Any:
        made = torch._C.Generator()
        if torch.device(device).type == "cuda":
            current().generators.append(made)
        return made


class Stream:
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait_stream(self, stream: Stream) -> None:
        pass

    def synchronize(self) -> None:
        current().look("synchronize")
