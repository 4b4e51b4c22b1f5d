"""Points as particles: zero padding and one affine coupling layer, with an exact inverse (Dinh et al. 2017).

A point `[d_x]` is padded with zeros to the width d_z = 2h of a particle and split into halves u, v `[h]`:

    u' = u,    v' = v exp(s(u)) + t(u),

where the networks s and t are Linear, ReLU, Linear, h -> h -> h. The coordinates of a point lie in the half that passes
unchanged, so a particle is decoded by reading its first d_x coordinates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from twelvefold.nn.stacked import Weights, draw_two_layers, two_layers


def draw_embedding(width: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the networks s ("embed.scale") and t ("embed.shift") of one member.

    Args:
        width: d_z, an even number of at least 2.

    Raises:
        ValueError: another width.
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < 2 or width % 2:
        raise ValueError(f"width = {width!r}; an even whole number of at least 2 is needed, which has two halves")
    half = width // 2
    return draw_two_layers("embed.scale", half, half, half, generator) | draw_two_layers(
        "embed.shift", half, half, half, generator
    )


def couple(weights: Weights, x: Tensor) -> Tensor:
    """The coupling layer: x `[P, ..., d_z]` -> `[P, ..., d_z]`.

    Raises:
        ValueError: x does not have the members or the width of the weights.
    """
    first, second, scale, shift = _parts(weights, x)
    return torch.cat([first, second * torch.exp(scale) + shift], -1)  # v exp(s(u)) + t(u)


def uncouple(weights: Weights, y: Tensor) -> Tensor:
    """The inverse of `couple`, of the same shapes and errors."""
    first, second, scale, shift = _parts(weights, y)
    return torch.cat([first, (second - shift) * torch.exp(-scale)], -1)  # (v' - t(u)) exp(-s(u))


def _parts(weights: Weights, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """u, v, s(u), t(u) of x."""
    members, half = weights["embed.scale.in.weight"].shape[:2]
    if x.ndim < 3 or x.shape[0] != members or x.shape[-1] != 2 * half:
        raise ValueError(f"particles have shape {tuple(x.shape)}; [{members}, ..., {2 * half}] is needed")
    first, second = x.split(half, -1)
    return first, second, two_layers(weights, "embed.scale", first), two_layers(weights, "embed.shift", first)


def embed(weights: Weights, points: Tensor) -> Tensor:
    """Particles `[P, ..., d_z]` of points `[P, ..., d_x]`.

    Raises:
        ValueError: points with more coordinates than half a particle, or as `couple`.
    """
    half = weights["embed.scale.in.weight"].shape[1]
    if points.ndim < 3 or not 1 <= points.shape[-1] <= half:
        raise ValueError(f"points has shape {tuple(points.shape)}; [P, ..., d_x] with d_x from 1 to {half}, half the "
                         "width of a particle, is needed")  # fmt: skip
    return couple(weights, torch.nn.functional.pad(points, (0, 2 * half - points.shape[-1])))


def decode(particles: Tensor, dimension: int) -> Tensor:
    """Points `[..., d_x]` of particles `[..., d_z]`: the first d_x coordinates of `uncouple`, which leaves them alone.

    Raises:
        ValueError: a dimension that is not within 1 and half the width.
    """
    if not 1 <= dimension <= particles.shape[-1] // 2:
        raise ValueError(f"dimension = {dimension}; from 1 to {particles.shape[-1] // 2}, half the width, is "
                         "accepted")  # fmt: skip
    return particles[..., :dimension]
