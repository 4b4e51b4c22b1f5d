"""Point Transformer for classification (Zhao et al. 2021, "Point Transformer", ICCV) as a stacked population.

A cloud passes through stages of ever fewer points and more features. In a stage every point attends to its k nearest
neighbours with one weight per feature; between two stages the points are thinned by farthest point sampling, and every
point that stays takes the maximum over its neighbours.

Padding is left out everywhere: neighbours and samples are taken among valid points, a cloud of n points keeps
max(1, n // stride) of them however long its padding is, and norms and pools skip the rest. (The code published with the
paper that this package belongs to masks some of these places only, so that there padding changes the logits.) Sampling
starts at the first valid point, and of equally near or equally far points the first is taken: the network is a
deterministic function of the cloud, and invariant to permutations that keep the first point where distances differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from twelvefold.nn.batch_norm import (
    Moments,
    batch_norm,
    draw_linear_norm,
    draw_norm_layers,
    linear_norm,
    norm_layers,
)
from twelvefold.nn.stacked import Weights, draw_linear, draw_norm, linear

from .deepsets import check_sizes, pool, zero_padded
from .pointnet import dropped


@dataclass(frozen=True)
class PointTransformer:
    """A Point Transformer classifier.

    Attributes:
        dimension: d, coordinates of a point.
        classes: k, number of classes.
        channels: features of every stage.
        strides: per stage, the factor by which the points are thinned before it; 1 for the first.
        neighbours: number of nearest neighbours (the point itself is one of them); all where a cloud has fewer.
        head: size of the hidden layer after the mean over the points.
        dropout: rate before the last layer, for whoever draws the masks.

    Raises:
        ValueError: a size that is not a positive whole number, strides that do not fit the channels or do not start
            with 1, or a rate outside [0, 1).
    """

    dimension: int
    classes: int
    channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    strides: tuple[int, ...] = (1, 4, 4, 4, 4)
    neighbours: int = 16
    head: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("dimension", "classes", "neighbours", "head"):
            check_sizes(name, [getattr(self, name)])
        for name in ("channels", "strides"):
            check_sizes(name, getattr(self, name))
        if len(self.strides) != len(self.channels) or self.strides[0] != 1:
            raise ValueError(f"strides = {self.strides}; one per entry of channels = {self.channels}, the first 1, "
                             "is needed")  # fmt: skip
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout = {self.dropout}; a rate in [0, 1) is needed")

    @property
    def dropout_width(self) -> int:
        """Last axis of the dropout mask."""
        return self.head


def small(dimension: int, classes: int) -> PointTransformer:
    """The variant with a third of the parameters."""
    return PointTransformer(dimension, classes, channels=(32, 48, 96, 192, 256))


def draw(config: PointTransformer, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights of one member, `{name: [*shape]}`, by torch.nn.Linear's default initialisation."""
    d, channels = config.dimension, config.channels
    drawn = draw_norm_layers("input", (d, channels[0], channels[0]), generator, bias=False)
    for stage, width in enumerate(channels):
        if stage:
            sizes = (d + channels[stage - 1], width, width)
            drawn |= draw_norm_layers(f"{stage}.down", sizes, generator, bias=False)
        drawn |= draw_block(f"{stage}", d, width, generator)
    drawn |= draw_linear_norm("head", channels[-1], config.head, generator)
    return drawn | draw_linear("logits", config.head, config.classes, generator)


def draw_block(name: str, dimension: int, width: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights of `block` for one member."""
    drawn = draw_linear_norm(f"{name}.in", width, width, generator, bias=False)
    for part in ("query", "key", "value"):
        drawn |= draw_linear(f"{name}.{part}", width, width, generator)
    drawn |= draw_linear_norm(f"{name}.position.in", dimension, width, generator, bias=False)
    drawn |= draw_linear(f"{name}.position.out", width, width, generator)
    drawn |= draw_norm(f"{name}.attention.norm", width)
    drawn |= draw_linear_norm(f"{name}.attention.in", width, width, generator, bias=False)
    drawn |= draw_linear(f"{name}.attention.out", width, width, generator)
    drawn |= draw_norm(f"{name}.attended", width)
    return drawn | draw_linear_norm(f"{name}.out", width, width, generator, bias=False)


class Level(NamedTuple):
    """The geometry of one stage; it depends on the clouds alone, not on weights.

    Attributes:
        points: `[P, B, S, d]`.
        mask: which of them are valid, bool `[P, B, S]`; None: all.
        neighbours: positions of the k nearest valid points of every point, nearest first, `[P, B, S, k]`; behind the
            last valid one come invalid ones.
        near: which neighbours are valid, bool `[P, B, S, k]`; None: all.
        kept: positions of the points of the next stage among these, `[P, B, S']`; None in the last stage.
    """

    points: Tensor
    mask: Tensor | None
    neighbours: Tensor
    near: Tensor | None
    kept: Tensor | None


@torch.no_grad()
def levels(config: PointTransformer, clouds: Tensor, mask: Tensor | None) -> list[Level]:
    """Points, neighbours and samples of every stage, for clouds `[P, B, M, d]` with zeros where the mask
    `[P, B, M]` is False."""
    found: list[Level] = []
    points = clouds
    for stride in config.strides[1:]:
        size = max(1, points.shape[2] // stride)
        level = _level(points, mask, config.neighbours, size)
        assert level.kept is not None
        found.append(level)
        points = _gather(points, level.kept)
        if mask is not None:
            number = (mask.sum(-1, keepdim=True) // stride).clamp(min=1)  # of points that a cloud keeps, [P, B, 1]
            mask = torch.arange(size, device=mask.device) < number
    return [*found, _level(points, mask, config.neighbours, None)]


def _level(points: Tensor, mask: Tensor | None, number: int, size: int | None) -> Level:
    """The level of points `[P, B, S, d]` with `number` neighbours, of which `size` points are kept."""
    apart = _distances(points, mask)
    neighbours = apart.sort(dim=-1, stable=True).indices[..., :number]  # stable: of equally near ones the first
    near = None if mask is None else _gather(mask[..., None], neighbours)[..., 0]
    return Level(points, mask, neighbours, near, None if size is None else farthest_points(apart, mask, size))


def _distances(points: Tensor, mask: Tensor | None) -> Tensor:
    """Distance of every point to every valid point, infinite to invalid ones: `[P, B, S, S]`."""
    rows = points.flatten(0, 1)
    # differences, not a matrix product: a point must be at distance 0 from itself, however a batch is composed
    apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").view(*points.shape[:3], -1)
    return apart if mask is None else apart.masked_fill(~mask[:, :, None], torch.inf)


def farthest_points(distances: Tensor, mask: Tensor | None, size: int) -> Tensor:
    """Farthest point sampling without replacement: each next point is the valid one farthest from those taken before.

    Args:
        distances: of every point to every other, `[P, B, S, S]`.
        mask: valid points, bool `[P, B, S]`; the first of them is taken first. None: all are valid.
        size: number of points to take; after the last valid point, arbitrary ones follow.

    Returns: positions `[P, B, size]`.
    """
    rows = distances.flatten(0, 1)
    cloud, place = (torch.arange(n, device=rows.device) for n in rows.shape[:2])
    valid = rows.new_ones(rows.shape[:2]) if mask is None else mask.flatten(0, 1).to(rows.dtype)
    # distance to the nearest point taken so far; -1 for points that must not be taken
    left = torch.where(valid > 0, torch.inf, -1.0).to(rows.dtype)
    taken = [valid.argmax(1)]
    for _ in range(size - 1):
        left = torch.minimum(left, rows[cloud, taken[-1]]).masked_fill(place == taken[-1][:, None], -1)
        taken.append(left.argmax(1))
    return torch.stack(taken, 1).view(*distances.shape[:2], size)


def _gather(values: Tensor, positions: Tensor) -> Tensor:
    """Rows of values `[P, B, S, c]` at positions `[P, B, ...]`: `[P, B, ..., c]`."""
    members, batch, size, width = values.shape
    first = torch.arange(members * batch, device=values.device) * size  # where each cloud starts
    rows = positions.reshape(members * batch, -1) + first[:, None]
    # index_select has a deterministic gradient on a GPU when torch is asked for one
    return values.reshape(-1, width).index_select(0, rows.view(-1)).view(*positions.shape, width)


def classify(
    config: PointTransformer, weights: Weights, clouds: Tensor, mask: Tensor | None, moments: Moments,
    dropout: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Logits `[P, B, k]`.

    Args:
        config: the architecture.
        weights: stacked weights of P members.
        clouds: points `[P, B, M, d]`.
        mask: bool `[P, B, M]`, True for points, False for padding; None: no padding.
        moments: a `Recorder` in training (B >= 2), fixed moments in evaluation.
        dropout: masks `[P, B, head]`, 0 or 1 / (1 - rate), applied before the last layer; None: no dropout.

    Raises:
        ValueError: as `zero_padded` and `batch_norm`, or a dropout mask of another shape.
    """
    clouds = zero_padded(weights, clouds, mask, config.dimension)
    x = norm_layers(weights, "input", range(2), clouds, moments, mask)
    above: Level | None = None
    for stage, level in enumerate(levels(config, clouds, mask)):
        if above is not None:
            x = _transition_down(weights, f"{stage}.down", above, level, x, moments)
        x = block(weights, f"{stage}", level, x, moments)
        above, mask = level, level.mask
    x = torch.relu(linear_norm(weights, "head", pool(x, mask, "mean"), moments))
    return linear(weights, "logits", dropped(x, dropout))


def _transition_down(
    weights: Weights, name: str, above: Level, level: Level, x: Tensor, moments: Moments
) -> Tensor:
    """Features `[P, B, S, c]` of one stage -> `[P, B, S', c']` of the next: a network of offset and features of each
    neighbour, and the maximum over neighbours."""
    assert above.kept is not None
    neighbours = _gather(above.neighbours, above.kept)  # [P, B, S', k]
    offsets = _gather(above.points, neighbours) - level.points[:, :, :, None]
    x = torch.cat([offsets, _gather(x, neighbours)], -1)  # [P, B, S', k, d + c]
    near = None if above.near is None else _gather(above.near, above.kept)
    if near is None or level.mask is None:
        return norm_layers(weights, name, range(2), x, moments).amax(3)
    x = norm_layers(weights, name, range(2), x, moments, near & level.mask[..., None])
    return x.masked_fill(~near[..., None], -torch.inf).amax(3)


def block(weights: Weights, name: str, level: Level, x: Tensor, moments: Moments) -> Tensor:
    """The residual block of one stage, `[P, B, S, c]` -> `[P, B, S, c]`:
    ReLU(x + ReLU(norm(W' ReLU(norm(attention(ReLU(norm(W x)))))))).

    The paper's parameter counts include three norms per block; the code published with it passes through two of them,
    here the third stands after the attention.
    """
    y = torch.relu(linear_norm(weights, f"{name}.in", x, moments, level.mask))
    y = _vector_attention(weights, name, level, y, moments)
    y = torch.relu(batch_norm(weights, f"{name}.attended", y, moments, level.mask))
    return torch.relu(x + torch.relu(linear_norm(weights, f"{name}.out", y, moments, level.mask)))


def _vector_attention(weights: Weights, name: str, level: Level, x: Tensor, moments: Moments) -> Tensor:
    """y_i = sum_j softmax_j(gamma(q_i - k_j + delta_ij)) * (v_j + delta_ij), j over the neighbours of i, the softmax
    per feature, delta_ij = theta(p_i - p_j); equations 2 to 4 of the paper. `[P, B, S, c]` -> `[P, B, S, c]`."""
    query, key, value = (linear(weights, f"{name}.{part}", x) for part in ("query", "key", "value"))
    near = level.near
    pairs = None if near is None or level.mask is None else near & level.mask[..., None]  # [P, B, S, k]
    offsets = level.points[:, :, :, None] - _gather(level.points, level.neighbours)  # p_i - p_j, [P, B, S, k, d]
    delta = torch.relu(linear_norm(weights, f"{name}.position.in", offsets, moments, pairs))
    delta = linear(weights, f"{name}.position.out", delta)  # [P, B, S, k, c]
    scores = query[:, :, :, None] - _gather(key, level.neighbours) + delta
    scores = torch.relu(batch_norm(weights, f"{name}.attention.norm", scores, moments, pairs))
    scores = torch.relu(linear_norm(weights, f"{name}.attention.in", scores, moments, pairs))
    scores = linear(weights, f"{name}.attention.out", scores)
    if near is not None:
        scores = scores.masked_fill(~near[..., None], -torch.inf)
    return (scores.softmax(3) * (_gather(value, level.neighbours) + delta)).sum(3)
