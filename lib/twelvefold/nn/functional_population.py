"""Populations of equally shaped networks, held as one member x parameter matrix.

A population of N networks with P parameters each is a matrix `weights [N, P]` together with one module that gives the
architecture. `torch.func.vmap` over `functional_call` turns that module into a batched program, so that N small
networks cost one set of kernel launches, and averaging, distances and optimiser steps are plain matrix arithmetic.
Meant for MLPs and small convolutional networks; a large network works with one member at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

# Bytes that the activations of one pass may take. Constants, not the free memory, so that chunks (and rounding) are the
# same on every machine of a kind. On a CPU an evaluation pass should stay in the cache: 4 MiB measured fastest.
EVALUATION_BYTES = {"cpu": 4 * 2**20, "cuda": 4 * 2**30}
TRAINING_BYTES = {"cpu": 256 * 2**20, "cuda": 8 * 2**30}


@dataclass(frozen=True)
class Layout:
    """Where each parameter of a module lies in a row of the matrix `weights [N, P]`: names and shapes in the module's
    order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of entries of each parameter; they sum to P."""
        return tuple(int(torch.Size(shape).numel()) for shape in self.shapes)

    @property
    def total(self) -> int:
        """P, the number of parameters of one member."""
        return sum(self.sizes)

    def unpack(self, weights: Tensor) -> dict[str, Tensor]:
        """Views `{name: [N, *shape]}` of a matrix `weights [N, P]`; raises ValueError for any other shape."""
        if weights.ndim != 2 or weights.shape[1] != self.total:
            raise ValueError(
                f"weights has shape {tuple(weights.shape)}; this architecture needs [members, {self.total}]"
            )
        pieces = weights.split(self.sizes, dim=1)
        return {
            name: piece.unflatten(1, shape) if shape else piece[:, 0]
            for name, shape, piece in zip(self.names, self.shapes, pieces, strict=True)
        }

    def pack(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The matrix `[N, P]` of stacked parameters `{name: [N, *shape]}`; raises ValueError when a name is missing."""
        missing = [name for name in self.names if name not in parameters]
        if missing:
            raise ValueError(f"parameters lacks {missing}; needed are {list(self.names)}")
        return torch.cat(
            [
                parameters[name].flatten(1) if parameters[name].ndim > 1 else parameters[name][:, None]
                for name in self.names
            ],
            dim=1,
        )


def layout_of(model: nn.Module) -> Layout:
    """The layout of a module's parameters; raises ValueError for a module without parameters."""
    named = list(model.named_parameters())
    if not named:
        raise ValueError(f"model {type(model).__name__} has no parameters; a population needs at least one")
    return Layout(tuple(name for name, _ in named), tuple(tuple(parameter.shape) for _, parameter in named))


def weights_of(modules: Sequence[nn.Module]) -> Tensor:
    """Stack the parameters of N equally shaped modules into `weights [N, P]` (a copy); raises ValueError for an empty
    list or unequal shapes."""
    if not modules:
        raise ValueError("modules is empty; a population needs at least one member")
    layouts = [layout_of(module) for module in modules]
    different = [index for index, layout in enumerate(layouts) if layout != layouts[0]]
    if different:
        raise ValueError(
            f"modules {different} differ in their parameters from module 0; a population has one architecture"
        )
    parameters, _ = stack_module_state(list(modules))
    return layouts[0].pack(parameters).detach()


def member(model: nn.Module, weights: Tensor) -> nn.Module:
    """A copy of `model` that carries one row `weights [P]`."""
    alone = copy.deepcopy(model)
    rows = layout_of(model).unpack(weights[None])
    with torch.no_grad():
        for name, parameter in alone.named_parameters():
            parameter.copy_(rows[name][0])
    return alone


def batched(model: nn.Module) -> Callable[..., Tensor]:
    """The program `forward(weights, inputs, mask=None, shared=False)` of a module, with its layout looked up once.

    The returned function gives the outputs `[N, B, ...]` of all members for `weights [N, P]` and `inputs [N, B, ...]`,
    or `[B, ...]` when `shared` (every member sees the same batch). `mask` is an optional second argument of the module
    with a leading member axis, e.g. dropout masks `[N, B, ...]`. Buffers of the module are shared by all members. It
    raises ValueError when the leading sizes differ.
    """
    layout, buffers = layout_of(model), dict(model.named_buffers())

    def one(own: dict[str, Tensor], batch: Tensor, own_mask: Tensor | None) -> Tensor:
        arguments = (batch,) if own_mask is None else (batch, own_mask)
        return functional_call(model, (own, buffers), arguments)

    def run(weights: Tensor, inputs: Tensor, mask: Tensor | None = None, shared: bool = False) -> Tensor:
        if not shared and inputs.shape[0] != weights.shape[0]:
            raise ValueError(
                f"inputs has {inputs.shape[0]} leading entries for {weights.shape[0]} members; "
                "pass shared=True for one common batch"
            )
        axes = (0, None if shared else 0, None if mask is None else 0)
        return vmap(one, in_dims=axes)(layout.unpack(weights), inputs, mask)

    return run


def forward(
    model: nn.Module, weights: Tensor, inputs: Tensor, mask: Tensor | None = None, *, shared: bool = False
) -> Tensor:
    """Outputs `[N, B, ...]` of all members in one program; see `batched` for shapes and errors."""
    return batched(model)(weights, inputs, mask, shared)


def activation_bytes(model: nn.Module, example: Tensor) -> int:
    """Bytes of all module outputs for one input `example [1, ...]`: what one member needs per input in a forward pass
    (an upper bound)."""
    total = 0

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * output.element_size()

    handles = [module.register_forward_hook(count) for module in model.modules()]
    try:
        with torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return max(total, 1)


def _budget(device: torch.device, limits: Mapping[str, int]) -> int:
    limit = limits.get(device.type, limits["cpu"])
    if device.type == "cuda":
        limit = min(limit, torch.cuda.mem_get_info(device)[0] // 2)
    return limit


def training_chunk(model: nn.Module, example: Tensor, members: int, batch: int, device: torch.device) -> int:
    """How many members of a population fit into one training pass (activations are kept for the backward pass: counted
    three times)."""
    each = 3 * batch * activation_bytes(model, example)
    return max(1, min(members, _budget(device, TRAINING_BYTES) // each))


def _passes(members: int, inputs: int, cell: int, budget: int) -> Iterator[tuple[slice, slice]]:
    """Cut a members x inputs table into passes of at most `budget // cell` cells."""
    cells = max(1, budget // cell)
    columns = min(inputs, cells)
    rows = max(1, min(members, cells // columns))
    for first_row in range(0, members, rows):
        for first in range(0, inputs, columns):
            yield slice(first_row, first_row + rows), slice(first, first + columns)


@torch.no_grad()
def predict(model: nn.Module, weights: Tensor, inputs: Tensor) -> Tensor:
    """Logits `[N, n, C]` of every member for `inputs [n, ...]`, computed in passes that fit the activation budget, on
    the device of `weights`."""
    if inputs.shape[0] == 0:
        raise ValueError("inputs is empty; at least one example is needed")
    device = weights.device
    cell, run = activation_bytes(model, inputs[:1].to(device)), batched(model)
    result: Tensor | None = None
    for rows, columns in _passes(weights.shape[0], inputs.shape[0], cell, _budget(device, EVALUATION_BYTES)):
        logits = run(weights[rows], inputs[columns].to(device), shared=True)
        if result is None:
            result = torch.empty(
                weights.shape[0], inputs.shape[0], *logits.shape[2:], dtype=logits.dtype, device=device
            )
        result[rows, columns] = logits
    assert result is not None
    return result


@torch.no_grad()
def correctness(model: nn.Module, weights: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """Boolean table `[N, n]`: does member i classify example j correctly (arg max of the logits)."""
    if labels.shape != inputs.shape[:1]:
        raise ValueError(f"labels has shape {tuple(labels.shape)}; needed is [{inputs.shape[0]}], one label per input")
    device = weights.device
    cell, run = activation_bytes(model, inputs[:1].to(device)), batched(model)
    labels = labels.to(device)
    right = torch.empty(weights.shape[0], inputs.shape[0], dtype=torch.bool, device=device)
    for rows, columns in _passes(weights.shape[0], inputs.shape[0], cell, _budget(device, EVALUATION_BYTES)):
        logits = run(weights[rows], inputs[columns].to(device), shared=True)
        right[rows, columns] = logits.argmax(-1) == labels[columns]
    return right
