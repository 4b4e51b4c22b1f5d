"""PointNet (Qi et al. 2017, "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation", CVPR) as a
stacked population.

Every layer but the last is a Linear, a batch normalisation and a ReLU. Padded points are left out of every
normalisation and every maximum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from twelvefold.nn.batch_norm import Moments, draw_norm_layers, norm_layers
from twelvefold.nn.stacked import Weights, draw_linear, linear

from .deepsets import check_sizes, pool, zero_padded


@dataclass(frozen=True)
class PointNet:
    """A PointNet classifier: transform, per-point layers, maximum over the points, head.

    Attributes:
        dimension: d, coordinates of a point.
        classes: k, number of classes.
        widths: sizes of the per-point layers.
        head: sizes of the hidden layers after the maximum.
        transform_widths: sizes of the per-point layers of a transform network; None takes `widths`.
        transform_head: sizes of its hidden layers after the maximum.
        feature_transform: transform the outputs of the first per-point layer as well, by a second such network.
        dropout: rate before the last layer, for whoever draws the masks.

    Raises:
        ValueError: a size that is not a positive whole number, a layer list without an entry, or a rate outside [0, 1).
    """

    dimension: int
    classes: int
    widths: tuple[int, ...] = (64, 128, 1024)
    head: tuple[int, ...] = (512, 256)
    transform_widths: tuple[int, ...] | None = None
    transform_head: tuple[int, ...] = (512, 256)
    feature_transform: bool = False
    dropout: float = 0.3

    def __post_init__(self) -> None:
        check_sizes("dimension", [self.dimension])
        check_sizes("classes", [self.classes])
        for name in ("widths", "head", "transform_head", "transform_layers"):
            check_sizes(name, getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout = {self.dropout}; a rate in [0, 1) is needed")

    @property
    def transform_layers(self) -> tuple[int, ...]:
        """Sizes of the per-point layers of a transform network."""
        return self.widths if self.transform_widths is None else self.transform_widths

    @property
    def dropout_width(self) -> int:
        """Last axis of the dropout mask."""
        return self.head[-1]


def shallow(dimension: int, classes: int) -> PointNet:
    """The PointNet with one layer less everywhere: about a third of the parameters."""
    return PointNet(dimension, classes, widths=(64, 512), head=(512,), transform_widths=(128, 512),
                    transform_head=(256,))  # fmt: skip


def draw(config: PointNet, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights of one member, `{name: [*shape]}`, by torch.nn.Linear's default initialisation; the transforms start as
    the identity."""
    drawn = _draw_transform(config, "transform", config.dimension, generator)
    drawn |= draw_norm_layers("points", (config.dimension, *config.widths), generator)
    if config.feature_transform:
        drawn |= _draw_transform(config, "feature_transform", config.widths[0], generator)
    drawn |= draw_norm_layers("head", (config.widths[-1], *config.head), generator)
    return drawn | draw_linear("logits", config.head[-1], config.classes, generator)


def _draw_transform(config: PointNet, name: str, size: int, generator: torch.Generator) -> dict[str, Tensor]:
    drawn = draw_norm_layers(f"{name}.points", (size, *config.transform_layers), generator)
    drawn |= draw_norm_layers(f"{name}.head", (config.transform_layers[-1], *config.transform_head), generator)
    # the identity is added to this layer's output: at zero the transform starts as the identity (Qi et al., appendix)
    return drawn | {
        f"{name}.out.weight": torch.zeros(config.transform_head[-1], size**2), f"{name}.out.bias": torch.zeros(size**2)
    }  # fmt: skip


def classify(
    config: PointNet, weights: Weights, clouds: Tensor, mask: Tensor | None, moments: Moments,
    dropout: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Logits `[P, B, k]`.

    Args:
        config: the architecture.
        weights: stacked weights of P members.
        clouds: points `[P, B, M, d]`.
        mask: bool `[P, B, M]`, True for points, False for padding; None: no padding.
        moments: a `Recorder` in training (B >= 2), fixed moments in evaluation.
        dropout: masks `[P, B, head[-1]]`, 0 or 1 / (1 - rate), applied before the last layer; None: no dropout.

    Raises:
        ValueError: as `zero_padded` and `batch_norm`, or a dropout mask of another shape.
    """
    x = zero_padded(weights, clouds, mask, config.dimension)
    x = x @ _transform(config, weights, "transform", x, mask, moments)  # [P, B, M, d] [P, B, d, d]
    x = norm_layers(weights, "points", [0], x, moments, mask)
    if config.feature_transform:
        x = x @ _transform(config, weights, "feature_transform", x, mask, moments)
    x = norm_layers(weights, "points", range(1, len(config.widths)), x, moments, mask)
    x = norm_layers(weights, "head", range(len(config.head)), pool(x, mask, "max"), moments)
    return linear(weights, "logits", dropped(x, dropout))


def _transform(
    config: PointNet, weights: Weights, name: str, x: Tensor, mask: Tensor | None, moments: Moments
) -> Tensor:
    """The matrix `[P, B, s, s]` by which every point of a cloud `[P, B, M, s]` is multiplied: identity + network."""
    size = x.shape[-1]
    x = norm_layers(weights, f"{name}.points", range(len(config.transform_layers)), x, moments, mask)
    x = norm_layers(weights, f"{name}.head", range(len(config.transform_head)), pool(x, mask, "max"), moments)
    identity = torch.eye(size, dtype=x.dtype, device=x.device)
    return identity + linear(weights, f"{name}.out", x).unflatten(-1, (size, size))


def dropped(x: Tensor, dropout: Tensor | None) -> Tensor:
    """x times its dropout masks of the same shape (0 or 1 / (1 - rate)), or x alone.

    Raises:
        ValueError: masks of another shape.
    """
    if dropout is None:
        return x
    if dropout.shape != x.shape:
        raise ValueError(f"dropout has shape {tuple(dropout.shape)}; {tuple(x.shape)} is needed")
    return x * dropout
