"""The network F of a distributional equilibrium model, for a population of members.

F maps latent particles Z `[N, d]` to new ones, given an input cloud X `[M, d_x]`. It is equivariant in the rows of Z
and invariant in the rows of X, so it acts on measures. Everything that depends on X alone is computed once, by
`encode`; `transform` is what an inner solver calls again and again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from twelvefold.nn.attention import attention
from twelvefold.nn.stacked import (
    Weights,
    draw_linear,
    draw_norm,
    draw_two_layers,
    layer_norm,
    linear,
    two_layers,
)


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of F; the defaults are those of the paper's MNIST classifier.

    Attributes:
        dimension: of a point of the input cloud, d_x.
        width: of a particle, d_z.
        narrow: width of the bilinear block.
        heads: of every attention layer; divides `width`.
        hidden: width inside the feed-forward blocks.
        self_layers: self-attention layers on Z, and as many on X.
        cross_layers: layers in which Z attends to X.
        dropout: rate inside the feed-forward blocks; one mask for all rows of a cloud.
        pooling: how the bilinear block pools X, "sum" (the authors') or "mean".

    Raises:
        ValueError: a size below 1, heads that do not divide the width, a rate outside [0, 1), an unknown pooling.
    """

    dimension: int = 2
    width: int = 128
    narrow: int = 16
    heads: int = 32
    hidden: int = 512
    self_layers: int = 1
    cross_layers: int = 1
    dropout: float = 0.0
    pooling: str = "sum"

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in
                 ("dimension", "width", "narrow", "heads", "hidden", "self_layers", "cross_layers")}  # fmt: skip
        wrong = {name: size for name, size in sizes.items() if not isinstance(size, int) or size < 1}
        if wrong:
            raise ValueError(f"{wrong}: whole numbers, at least 1, are needed")
        if self.width % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide width = {self.width}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout = {self.dropout}; a rate in [0, 1) is needed")
        if self.pooling not in ("sum", "mean"):
            raise ValueError(f"pooling = {self.pooling!r}; known are 'sum' and 'mean'")

    def mask_elements(self, clouds: int) -> tuple[int, int]:
        """Number of dropout mask elements of one member for a batch of clouds: in `encode` and in `transform`."""
        block = clouds * self.hidden
        return self.self_layers * block, (self.self_layers + self.cross_layers + 1) * block


@dataclass(frozen=True)
class Context:
    """What F needs of the input clouds, constant while the particles move.

    Attributes:
        bilinear: the bilinear map of each cloud, `[P, B, p, p]`.
        keys, values: of each cross-attention layer, `[P B, M, d_z]`.
        blocked: added to attention scores, -inf at padding, `[P B, 1, M]`; None without padding.
    """

    bilinear: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    blocked: Tensor | None

    def detach(self) -> Context:
        """The same numbers without a graph."""
        return replace(
            self, bilinear=self.bilinear.detach(), keys=tuple(key.detach() for key in self.keys),
            values=tuple(value.detach() for value in self.values),
        )  # fmt: skip


def draw_network(config: NetworkConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the weights of F for one member: linear maps as torch does, the bilinear block standard normal (authors)."""
    narrow, width = config.narrow, config.width
    weights = draw_two_layers("z.first", width, narrow, narrow, generator) | draw_norm("z.first.norm", narrow)
    weights |= draw_two_layers("x.first", config.dimension, narrow, narrow, generator)
    weights |= draw_norm("x.first.norm", narrow)
    weights["bilinear.weight"] = torch.randn(narrow, narrow, narrow, generator=generator)
    weights["bilinear.bias"] = torch.randn(narrow, generator=generator)
    weights |= draw_norm("bilinear.norm", narrow) | draw_norm("z.second.norm", narrow)
    for side in ("z", "x"):
        weights |= draw_two_layers(f"{side}.third", narrow, width, width, generator)
        weights |= draw_norm(f"{side}.third.norm", width)
    weights |= draw_norm("z.fourth.norm", width)
    stacks = {"x.self": config.self_layers, "z.self": config.self_layers, "cross": config.cross_layers}
    for kind, layers in stacks.items():
        for layer in range(layers):
            weights |= _draw_attention_layer(config, f"{kind}.{layer}", generator)
    return weights | _draw_feedforward(config, "out", generator)


def _draw_attention_layer(config: NetworkConfig, name: str, generator: torch.Generator) -> dict[str, Tensor]:
    width = config.width
    bound = (6 / (4 * width)) ** 0.5  # Glorot's, of the joint map to queries, keys and values, as torch draws it
    joint = (torch.rand(width, 3 * width, generator=generator) * 2 - 1) * bound
    weights = {f"{name}.in.weight": joint, f"{name}.in.bias": torch.zeros(3 * width)}
    weights |= draw_linear(f"{name}.mix", width, width, generator)
    weights[f"{name}.mix.bias"] = torch.zeros(width)
    return weights | draw_norm(f"{name}.norm", width) | _draw_feedforward(config, f"{name}.feedforward", generator)


def _draw_feedforward(config: NetworkConfig, name: str, generator: torch.Generator) -> dict[str, Tensor]:
    return draw_two_layers(name, config.width, config.hidden, config.width, generator) | draw_norm(
        f"{name}.norm", config.width
    )


def _split_masks(config: NetworkConfig, masks: Tensor | None, clouds: int, blocks: int) -> Iterator[Tensor | None]:
    """Masks `[P, B, 1, hidden]` of the feed-forward blocks in turn, from `masks [P, blocks * B * hidden]`."""
    if masks is None:
        return iter([None] * blocks)
    return iter(masks.view(masks.shape[0], blocks, clouds, 1, config.hidden).unbind(1))


def _feedforward(weights: Weights, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
    """LN(x + W2 (m * relu(W1 x))), with a row-invariant dropout mask m."""
    hidden = torch.relu(linear(weights, f"{name}.in", x))
    if mask is not None:
        hidden = hidden * mask
    return layer_norm(weights, f"{name}.norm", x + linear(weights, f"{name}.out", hidden))


def _attend(
    config: NetworkConfig, weights: Weights, name: str, x: Tensor, query: Tensor, key: Tensor, value: Tensor,
    blocked: Tensor | None, mask: Tensor | None,
) -> Tensor:  # fmt: skip
    """y = LN(x + attention), then the feed-forward block on y; `[P, B, N, width]`."""
    mixed = attention(query.flatten(0, 1), key, value, config.heads, blocked).view(x.shape)
    y = layer_norm(weights, f"{name}.norm", x + linear(weights, f"{name}.mix", mixed))
    return _feedforward(weights, f"{name}.feedforward", y, mask)


def _self_attention(
    config: NetworkConfig, weights: Weights, name: str, x: Tensor, blocked: Tensor | None, mask: Tensor | None
) -> Tensor:
    query, key, value = linear(weights, f"{name}.in", x).chunk(3, dim=-1)
    return _attend(config, weights, name, x, query, key.flatten(0, 1), value.flatten(0, 1), blocked, mask)


def _projected(weights: Weights, name: str, x: Tensor, part: slice) -> Tensor:
    """`linear` with some columns of a matrix."""
    own = {f"{name}.weight": weights[f"{name}.weight"][..., part], f"{name}.bias": weights[f"{name}.bias"][..., part]}
    return linear(own, name, x)


def _blocked(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """What is added to attention scores, `[P B, 1, N]`: -inf where a key is padding."""
    if mask is None:
        return None
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, -torch.inf).flatten(0, 1)[:, None]


def encode(
    config: NetworkConfig, weights: Weights, clouds: Tensor, mask: Tensor | None = None, masks: Tensor | None = None
) -> Context:
    """Everything that F needs of the input clouds.

    Args:
        config: sizes.
        weights: `{name: [P, *shape]}` from `draw_network`.
        clouds: points `[P, B, M, d_x]`; padding may hold any finite numbers.
        mask: bool `[P, B, M]`, True for a point; None without padding. Every cloud needs a point.
        masks: dropout masks `[P, config.mask_elements(B)[0]]`; None switches dropout off.

    Raises:
        ValueError: a shape does not fit.
    """
    _check_rows("clouds", clouds, "mask", mask, weights, config.dimension)
    blocked = _blocked(mask, clouds)
    x = layer_norm(weights, "x.first.norm", two_layers(weights, "x.first", clouds))  # [P, B, M, p]
    bilinear = torch.einsum("pbd,pihd->pbih", _pooled(config, x, mask), weights["bilinear.weight"])
    x = layer_norm(weights, "x.third.norm", two_layers(weights, "x.third", x))  # [P, B, M, d]
    drop = _split_masks(config, masks, clouds.shape[1], config.self_layers)
    for layer in range(config.self_layers):
        x = _self_attention(config, weights, f"x.self.{layer}", x, blocked, next(drop))
    keys, values = [], []
    for layer in range(config.cross_layers):
        both = _projected(weights, f"cross.{layer}.in", x, slice(config.width, None))
        key, value = both.flatten(0, 1).chunk(2, dim=-1)
        keys.append(key)
        values.append(value)
    return Context(bilinear, tuple(keys), tuple(values), blocked)


def _pooled(config: NetworkConfig, x: Tensor, mask: Tensor | None) -> Tensor:
    """Sum or mean of the rows that are points, `[P, B, p]`."""
    if mask is not None:
        x = x * mask[..., None]
    total = x.sum(2)
    if config.pooling == "sum":
        return total
    return total / (x.shape[2] if mask is None else mask.sum(2, keepdim=True))


def transform(
    config: NetworkConfig, weights: Weights, context: Context, particles: Tensor, *, mask: Tensor | None = None,
    fixed: Tensor | None = None, masks: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """F(Z; X): the particles after one application.

    Args:
        config, weights: as in `encode`.
        context: of the input clouds, from `encode`.
        particles: Z `[P, B, N, d_z]`.
        mask: bool `[P, B, N]`, True for a particle; the other rows of the result are 0.
        fixed: bool `[P, B, N]`: these rows pass every cross-attention layer and the last block, and so F, unchanged.
        masks: dropout masks `[P, config.mask_elements(B)[1]]`; None switches dropout off.

    Raises:
        ValueError: a shape does not fit.
    """
    _check_rows("particles", particles, "mask", mask, weights, config.width)
    kept = None if fixed is None else fixed[..., None]
    z = layer_norm(weights, "z.first.norm", two_layers(weights, "z.first", particles))  # [P, B, N, p]
    mapped = torch.matmul(z, context.bilinear) + weights["bilinear.bias"][:, None, None]
    z = layer_norm(weights, "z.second.norm", z + torch.relu(layer_norm(weights, "bilinear.norm", mapped)))
    z = layer_norm(weights, "z.third.norm", two_layers(weights, "z.third", z))  # [P, B, N, d]
    z = layer_norm(weights, "z.fourth.norm", z + particles)
    drop = _split_masks(config, masks, particles.shape[1], config.self_layers + config.cross_layers + 1)
    blocked = _blocked(mask, particles)
    for layer in range(config.self_layers):
        z = _self_attention(config, weights, f"z.self.{layer}", z, blocked, next(drop))
    for layer in range(config.cross_layers):
        name = f"cross.{layer}"
        query = _projected(weights, f"{name}.in", z, slice(0, config.width))
        after = _attend(config, weights, name, z, query, context.keys[layer], context.values[layer], context.blocked,
                        next(drop))  # fmt: skip
        z = after if kept is None else torch.where(kept, z, after)
    z = _feedforward(weights, "out", z, next(drop))
    if kept is not None:
        z = torch.where(kept, particles, z)
    return z if mask is None else z * mask[..., None]


def _check_rows(
    name: str, rows: Tensor, mask_name: str, mask: Tensor | None, weights: Weights, width: int
) -> None:
    members = weights["bilinear.weight"].shape[0]
    if rows.ndim != 4 or rows.shape[0] != members or rows.shape[3] != width or 0 in rows.shape:
        raise ValueError(f"{name} has shape {tuple(rows.shape)}; [{members}, B, N, {width}] with at least one cloud "
                         "and one row is needed")  # fmt: skip
    if mask is not None and (mask.shape != rows.shape[:3] or mask.dtype != torch.bool):
        raise ValueError(f"{mask_name} is {mask.dtype} with shape {tuple(mask.shape)}; bool with shape "
                         f"{list(rows.shape[:3])} is needed")  # fmt: skip
