"""Layers of networks that are stacked along a leading population axis.

A layer is a function of a dict of weights and its own name: with `weights["head.weight"]` of shape `[P, d_in, d_out]`,
`linear(weights, "head", x)` maps `[P, ..., d_in]` to `[P, ..., d_out]`, every member by its own matrix, in one
`torch.bmm`. The functions named `draw_...` draw the weights of one member; `stack` joins members. P = 1 is an ordinary
network. A member computes what it would compute alone: on a CPU bit for bit where its part of every matrix and batch is
a multiple of 8 numbers (how a matrix product rounds depends on where its result lies in memory), else but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.nn.functional_population import Layout

Weights = Mapping[str, Tensor]


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """x W + b of every member, `[P, ..., d_in]` -> `[P, ..., d_out]`; without a bias where there is none."""
    matrix, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    rows = x if x.ndim == 3 else x.reshape(x.shape[0], -1, x.shape[-1])
    mapped = torch.bmm(rows, matrix) if bias is None else torch.baddbmm(bias[:, None], rows, matrix)
    return mapped if x.ndim == 3 else mapped.view(*x.shape[:-1], matrix.shape[-1])


def layer_norm(weights: Weights, name: str, x: Tensor, epsilon: float = 1e-5) -> Tensor:
    """LayerNorm over the last axis of `[P, ..., d]`, with the member's own scale and shift (Ba et al. 2016)."""
    normal = F.layer_norm(x, x.shape[-1:], eps=epsilon)
    scale, shift = (_broadcast(weights[f"{name}.{part}"], x.ndim) for part in ("scale", "shift"))
    return torch.addcmul(shift, normal, scale)


def _broadcast(vector: Tensor, dimensions: int) -> Tensor:
    """`[P, d]` as `[P, 1, ..., 1, d]`."""
    return vector.view(vector.shape[0], *[1] * (dimensions - 2), vector.shape[1])


def two_layers(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Linear, ReLU, Linear, on every row: `[P, ..., d_in]` -> `[P, ..., d_out]`."""
    return linear(weights, f"{name}.out", torch.relu(linear(weights, f"{name}.in", x)))


def draw_linear(
    name: str, d_in: int, d_out: int, generator: torch.Generator, bias: bool = True
) -> dict[str, Tensor]:
    """Weights of `linear` for one member, uniform within 1 / sqrt(d_in) (torch.nn.Linear's default)."""
    bound = 1 / math.sqrt(d_in)
    drawn = {f"{name}.weight": (torch.rand(d_in, d_out, generator=generator) * 2 - 1) * bound}
    if bias:
        drawn[f"{name}.bias"] = (torch.rand(d_out, generator=generator) * 2 - 1) * bound
    return drawn


def draw_norm(name: str, width: int) -> dict[str, Tensor]:
    """Weights of a norm for one member: scale 1, shift 0."""
    return {f"{name}.scale": torch.ones(width), f"{name}.shift": torch.zeros(width)}


def draw_two_layers(
    name: str, d_in: int, hidden: int, d_out: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Weights of `two_layers` for one member."""
    return draw_linear(f"{name}.in", d_in, hidden, generator) | draw_linear(f"{name}.out", hidden, d_out, generator)


def stack(members: Sequence[Weights]) -> dict[str, Tensor]:
    """Join the weights of P members, `{name: [P, *shape]}`.

    Raises:
        ValueError: no member, or members that differ in names or shapes.
    """
    shapes = [{name: tuple(weight.shape) for name, weight in member.items()} for member in members]
    if not shapes or any(other != shapes[0] for other in shapes):
        raise ValueError(f"members: {len(shapes)} were given; at least one is needed, all with equal names and shapes")
    return {name: torch.stack([member[name] for member in members]) for name in members[0]}


def layout(weights: Weights) -> Layout:
    """Where each weight of stacked weights `{name: [P, *shape]}` lies in a row of the matrix `[P, total]`."""
    return Layout(tuple(weights), tuple(tuple(weight.shape[1:]) for weight in weights.values()))


def count(weights: Weights, prefixes: Iterable[str] = ("",)) -> int:
    """Number of parameters of one member of stacked weights, of those whose names start with one of `prefixes`."""
    starts = tuple(prefixes)
    return sum(weight[0].numel() for name, weight in weights.items() if name.startswith(starts))
