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
import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)
_CPU = torch.device("cpu")
_aten = torch.ops.aten
# the operations with which CUDA lets an operand lie on the CPU: indices, and copies between devices
_INDEXED = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_, _aten._unsafe_index}
_COPIES = {_aten.copy_, _aten._to_copy}
_LOOKS = {_aten._local_scalar_dense, _aten.equal, _aten.is_nonzero, _aten.item}
_SHAPED_BY_VALUES = {_aten.nonzero, _aten.masked_select, _aten.unique_dim, _aten._unique2, _aten.unique_consecutive}
# what makes a tensor from nothing, when Python asks for it
_FACTORIES = {
    torch.arange, torch.as_tensor, torch.empty, torch.empty_strided, torch.eye, torch.from_numpy, torch.full,
    torch.linspace, torch.logspace, torch.normal, torch.ones, torch.rand, torch.randint, torch.randn, torch.randperm,
    torch.scalar_tensor, torch.tensor, torch.tril_indices, torch.triu_indices, torch.zeros,
}  # fmt: skip
_FROM_THE_HOST = {torch.as_tensor, torch.from_numpy, torch.tensor}
# refused in torch's deterministic mode (its docstring lists them), where this project could come to use them
_NOT_DETERMINISTIC = {
    _aten._adaptive_avg_pool2d_backward, _aten.adaptive_max_pool2d_backward, _aten.avg_pool3d_backward, _aten.cumsum,
    _aten.cumsum_, _aten.grid_sampler_2d_backward, _aten.histc, _aten.median, _aten.nll_loss2d_forward, _aten.put_,
    _aten.reflection_pad1d_backward, _aten.reflection_pad2d_backward, _aten.upsample_bicubic2d_backward,
    _aten.upsample_bilinear2d_backward, _aten.upsample_linear1d_backward,
}  # fmt: skip
_VIEWS_OF_NOTHING = {_aten.detach, _aten.alias, _aten.lift_fresh}


class OnDevice(Tensor):
    """A tensor of the pretended device; `inner` is what it holds, on the CPU."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=_CPU,
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
        _current().look("tolist")
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


class _ToDevice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _current().arrived(tensor.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _current().left(gradient)


class _ToHost(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _current().left(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _current().arrived(gradient)


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


_DEVICES: list[Device] = []


def _current() -> Device:
    if not _DEVICES:
        raise RuntimeError("a tensor of the pretended device was used outside `pretended_cuda()`")
    return _DEVICES[-1]


class Graph:
    """A captured graph: operations on inner tensors, with the memory that their results are written to."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.steps: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
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
        _current().counts["replays"] += 1
        with torch.utils._python_dispatch._disable_current_modes():
            for func, args, kwargs, places in self.steps:
                again = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, Tensor)]
                for place, value in zip(places, again, strict=bool(places)):
                    place.copy_(value)

    def reset(self) -> None:
        """Forget the operations."""
        self.steps.clear()


@contextlib.contextmanager
def _capture(graph: Graph, *_: Any, **__: Any) -> Iterator[None]:
    device = _current()
    device.recording = graph
    try:
        yield
    finally:
        device.recording = None
        with torch.no_grad(), torch.utils._python_dispatch._disable_current_modes():
            graph.end()


class _GeneratorType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, torch._C.Generator)


class _Generator(metaclass=_GeneratorType):
    """Makes generators, also those of the device."""

    def __new__(cls, device: Any = "cpu") -> Any:
        made = torch._C.Generator()
        if torch.device(device).type == "cuda":
            _current().generators.append(made)
        return made


class _Stream:
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait_stream(self, stream: _Stream) -> None:
        pass

    def synchronize(self) -> None:
        _current().look("synchronize")


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class _Moves(TorchFunctionMode):
    """Whatever names a device: factories and moves, which the CPU build of torch would refuse."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if args and isinstance(args[0], Tensor) and func in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._moved(func, args, kwargs)
        if func is torch.as_tensor and isinstance(args[0], Tensor):
            return args[0].to(**kwargs)
        target = kwargs.get("device")
        if target is None or name == "__get__":
            with _current().asked() if func in _FACTORIES else contextlib.nullcontext():
                return func(*args, **kwargs)
        on_device = torch.device(target).type == "cuda"
        given = args[0] if args and isinstance(args[0], Tensor) else None
        if given is not None and isinstance(given, OnDevice) == on_device:  # x.new_..., torch...._like
            return func(*args, **{**kwargs, "device": None})
        if on_device and given is None and func not in _FROM_THE_HOST:
            return func(*args, **{**kwargs, "device": CUDA})  # below, `_Computes` makes it
        wanted = bool(kwargs.pop("requires_grad", False))
        plain = tree_map(_inner, args)
        with _current().asked():
            made = func(*plain, **{**kwargs, "device": _CPU})
        made = _current().arrived(made) if on_device else made
        return made.requires_grad_() if wanted else made

    @staticmethod
    def _moved(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        tensor, *rest = args
        target = kwargs.pop("device", None)
        if func is Tensor.cpu:
            target, rest = _CPU, []
        elif func is Tensor.cuda:
            target, rest = CUDA, []
        elif rest and isinstance(rest[0], Tensor):
            target, rest = rest[0].device, [rest[0].dtype]
        elif rest and isinstance(rest[0], (str, torch.device)):
            target, rest = rest[0], rest[1:]
        kwargs.pop("non_blocking", None)
        here, there = isinstance(tensor, OnDevice), None if target is None else torch.device(target).type == "cuda"
        if there is not None and there != here:
            tensor = (_ToDevice if there else _ToHost).apply(tensor)
        rest = [value for value in rest if value is not None and not isinstance(value, bool)]  # non_blocking, copy
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        return tensor.to(*rest, **kwargs) if rest or kwargs else tensor


class _Computes(TorchDispatchMode):
    """Computes on the inner tensors, and refuses what CUDA refuses."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        device, target = _current(), kwargs.get("device")
        made_there = target is not None and target.type == "cuda"
        if made_there:
            kwargs = {**kwargs, "device": _CPU}
        if not made_there and not any(isinstance(leaf, OnDevice) for leaf in tensors):
            made = func(*args, **kwargs)
            if not device.answering and all(leaf in device.anywhere for leaf in tensors):
                device.anywhere.update(leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor))
            return made
        if packet in _COPIES and tensors and len({isinstance(leaf, OnDevice) for leaf in tensors}) > 1:
            device.refuse_capture("copy between devices")
            device.counts["to device" if isinstance(args[0], OnDevice) else "to host"] += 1
        elif packet in _INDEXED and not isinstance(args[0], OnDevice):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        else:
            _check_devices(func, tree_leaves((args[0], args[2:])) if packet in _INDEXED else tensors)
        if packet in _NOT_DETERMINISTIC and torch.are_deterministic_algorithms_enabled():
            _check_determinism(func, args, kwargs)
        drawing = kwargs.get("generator")
        if drawing is not None and all(drawing._cdata != known._cdata for known in device.generators):
            raise RuntimeError(f"{func}: Expected a 'cuda' device type for generator but found 'cpu'")
        if packet in _LOOKS:
            device.look(str(packet))
        if packet in _SHAPED_BY_VALUES or (packet in _INDEXED and _has_flags(args)):
            device.look(str(packet))
        device.operations[str(packet)] += packet not in _VIEWS_OF_NOTHING
        plain_args, plain_kwargs = tree_map(_inner, (args, kwargs))
        if device.recording is not None and func._schema.is_mutable:
            device.recording.before(func, plain_args, plain_kwargs)
        made = func(*plain_args, **plain_kwargs)
        if device.recording is not None:
            device.recording.add(func, plain_args, plain_kwargs, made)
        on_host = not made_there and packet in _COPIES and not isinstance(args[0], OnDevice)
        wrapped = made if on_host else tree_map(device.wrapped, made)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _inner(leaf: Any) -> Any:
    return leaf.inner if isinstance(leaf, OnDevice) else leaf


def _has_flags(args: Any) -> bool:
    """Whether an index is a mask: its result's shape depends on values."""
    return any(isinstance(leaf, Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(args[1]))


def _check_determinism(func: Any, args: Any, kwargs: Any) -> None:
    whole = not args[0].is_floating_point() and kwargs.get("dtype") not in (torch.float32, torch.float64)
    values_alone = func.overloadpacket is _aten.median and func._overloadname == "default"
    if values_alone or (whole and func.overloadpacket in (_aten.cumsum, _aten.cumsum_)):
        return
    raise RuntimeError(f"{func} on CUDA does not have a deterministic implementation")


def _check_devices(func: Any, leaves: list[Any]) -> None:
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, OnDevice)]
    there = [leaf for leaf in tensors if leaf.ndim > 0 and leaf not in _current().anywhere]
    if there:
        raise RuntimeError(f"{func}: Expected all tensors to be on the same device, but got one on cpu of shape "
                           f"{tuple(there[0].shape)} among those on cuda:0")  # fmt: skip


def _grouped(groups: Callable[..., Any]) -> Callable[..., Any]:
    """The groups of tensors by device that an optimiser makes; below Python they were all of the CPU."""

    def found(lists: Any, *args: Any, **kwargs: Any) -> Any:
        made = groups(lists, *args, **kwargs)
        if not any(isinstance(leaf, OnDevice) for leaf in tree_leaves(lists)):
            return made
        return {(CUDA, dtype): value for (_, dtype), value in made.items()}

    return found


@contextlib.contextmanager
def pretended_cuda() -> Iterator[Device]:
    """Let torch have one CUDA device, as far as this module goes."""
    device = Device()
    free = (8 * 2**30, 16 * 2**30)
    answers: dict[str, Any] = {
        "is_available": True, "device_count": 1, "current_device": 0, "get_device_name": "pretended",
        "mem_get_info": free, "memory_reserved": 0, "memory_allocated": 0, "max_memory_allocated": 0,
        "reset_peak_memory_stats": None, "empty_cache": None, "_lazy_init": None, "is_bf16_supported": True,
        "current_stream": _Stream(), "is_current_stream_capturing": False, "manual_seed_all": None,
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, lambda *_, _answer=answer, **__: _answer))
        stack.enter_context(mock.patch.object(torch.cuda, "synchronize", lambda *_: device.look("synchronize")))
        for name, stand_in in {"Stream": _Stream, "CUDAGraph": Graph, "graph": _capture}.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
        stack.enter_context(mock.patch.object(torch.cuda, "stream", lambda *_: contextlib.nullcontext()))
        optimiser = torch.optim.Optimizer
        by_device = _grouped(optimiser._group_tensors_by_device_and_dtype)
        stack.enter_context(mock.patch.object(optimiser, "_group_tensors_by_device_and_dtype", staticmethod(by_device)))
        overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # a module's weights become wrappers
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrite)
        _DEVICES.append(device)
        stack.callback(_DEVICES.pop)
        stack.enter_context(_Moves())
        stack.enter_context(_Computes())
        yield device
