"""What stands between Python and torch while there is a pretended device."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from tests.pretended_cuda.device import CPU, CUDA, OnDevice, current

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


class _ToDevice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return current().arrived(tensor.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return current().left(gradient)


class _ToHost(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return current().left(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return current().arrived(gradient)


class Moves(TorchFunctionMode):
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
            with current().asked() if func in _FACTORIES else contextlib.nullcontext():
                return func(*args, **kwargs)
        on_device = torch.device(target).type == "cuda"
        given = args[0] if args and isinstance(args[0], Tensor) else None
        if given is not None and isinstance(given, OnDevice) == on_device:  # x.new_..., torch...._like
            return func(*args, **{**kwargs, "device": None})
        if on_device and given is None and func not in _FROM_THE_HOST:
            return func(*args, **{**kwargs, "device": CUDA})  # below, `Computes` makes it
        wanted = bool(kwargs.pop("requires_grad", False))
        plain = tree_map(_inner, args)
        with current().asked():
            made = func(*plain, **{**kwargs, "device": CPU})
        made = current().arrived(made) if on_device else made
        return made.requires_grad_() if wanted else made

    @staticmethod
    def _moved(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        tensor, *rest = args
        target = kwargs.pop("device", None)
        if func is Tensor.cpu:
            target, rest = CPU, []
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


class Computes(TorchDispatchMode):
    """Computes on the inner tensors, and refuses what CUDA refuses."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        device, target = current(), kwargs.get("device")
        made_there = target is not None and target.type == "cuda"
        if made_there:
            kwargs = {**kwargs, "device": CPU}
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
    there = [leaf for leaf in tensors if leaf.ndim > 0 and leaf not in current().anywhere]
    if there:
        raise RuntimeError(f"{func}: Expected all tensors to be on the same device, but got one on cpu of shape "
                           f"{tuple(there[0].shape)} among those on cuda:0")  # fmt: skip
