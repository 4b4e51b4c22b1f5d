"""DeepSets (Zaheer et al. 2017, "Deep Sets", NeurIPS), f(X) = rho(pool over x in X of phi(x)), as a stacked population;
and what all networks on padded clouds share: checking, and pooling over the points that are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from twelvefold.nn.stacked import Weights, draw_linear, linear

Pooling = Literal["mean", "sum", "max"]


@dataclass(frozen=True)
class DeepSets:
    """A DeepSets classifier.

    Attributes:
        dimension: d, coordinates of a point.
        classes: k, number of classes.
        widths: sizes of the layers of phi, each a Linear and a ReLU, on every point. (Without the last ReLU, the last
            map of phi and the first of rho would be one linear map under mean and sum pooling.)
        head: sizes of the hidden layers of rho, each a Linear and a ReLU; a Linear to k logits follows.
        pooling: "mean", "sum" or "max" over the points.

    Raises:
        ValueError: a size that is not a positive whole number, no width, or an unknown pooling.
    """

    dimension: int
    classes: int
    widths: tuple[int, ...] = (128, 128)
    head: tuple[int, ...] = (128,)
    pooling: Pooling = "mean"

    def __post_init__(self) -> None:
        check_sizes("dimension", [self.dimension])
        check_sizes("classes", [self.classes])
        check_sizes("widths", self.widths)
        check_sizes("head", self.head, empty=True)
        if self.pooling not in get_args(Pooling):
            raise ValueError(f"pooling = {self.pooling!r}; known are {list(get_args(Pooling))}")


def draw(config: DeepSets, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights of one member, `{name: [*shape]}`, by torch.nn.Linear's default initialisation."""
    point_sizes = (config.dimension, *config.widths)
    head_sizes = (config.widths[-1], *config.head, config.classes)
    drawn: dict[str, Tensor] = {}
    for name, sizes in (("points", point_sizes), ("head", head_sizes)):
        for layer in range(len(sizes) - 1):
            drawn |= draw_linear(f"{name}.{layer}", sizes[layer], sizes[layer + 1], generator)
    return drawn


def classify(config: DeepSets, weights: Weights, clouds: Tensor, mask: Tensor | None = None) -> Tensor:
    """Logits `[P, B, k]` of clouds `[P, B, M, d]` with the mask `[P, B, M]`, True for points; None: no padding.

    Raises:
        ValueError: as `zero_padded`.
    """
    x = zero_padded(weights, clouds, mask, config.dimension)
    for layer in range(len(config.widths)):
        x = torch.relu(linear(weights, f"points.{layer}", x))  # phi, [P, B, M, width]
    x = pool(x, mask, config.pooling)
    for layer in range(len(config.head)):
        x = torch.relu(linear(weights, f"head.{layer}", x))
    return linear(weights, f"head.{len(config.head)}", x)


def pool(features: Tensor, mask: Tensor | None, pooling: Pooling) -> Tensor:
    """Mean, sum or maximum over the valid points: features `[P, B, M, c]`, mask `[P, B, M]` or None -> `[P, B, c]`.

    Points tied for the maximum share its gradient evenly. A cloud without a valid point has mean and sum 0 and maximum
    minus infinity.
    """
    if pooling == "max":
        return (features if mask is None else features.masked_fill(~mask[..., None], -torch.inf)).amax(2)
    if mask is None:
        return features.sum(2) if pooling == "sum" else features.mean(2)
    valid = mask.to(features.dtype)[:, :, None]  # [P, B, 1, M]
    if pooling == "mean":
        valid = valid / valid.sum(-1, keepdim=True).clamp(min=1)
    return torch.matmul(valid, features)[:, :, 0]


def zero_padded(weights: Weights, clouds: Tensor, mask: Tensor | None, dimension: int) -> Tensor:
    """The clouds `[P, B, M, d]`, checked, with zeros where the mask `[P, B, M]` is False: whatever stood there, finite
    or not, cannot reach a result or a gradient.

    Raises:
        ValueError: clouds that do not have the population's P, the given dimension and at least one cloud and point; a
            mask that is not bool or of another shape; on a CPU, a cloud without a valid point (on a GPU the look would
            make the host wait, and such a cloud gives infinite or arbitrary results).
    """
    members = next(iter(weights.values())).shape[0]
    if clouds.ndim != 4 or (clouds.shape[0], clouds.shape[3]) != (members, dimension) or not clouds.numel():
        raise ValueError(f"clouds has shape {tuple(clouds.shape)}; [{members} members, clouds, points, {dimension}] "
                         "with at least one cloud and one point is needed")  # fmt: skip
    if mask is None:
        return clouds
    if mask.dtype != torch.bool or mask.shape != clouds.shape[:3]:
        raise ValueError(f"mask is {mask.dtype} with shape {tuple(mask.shape)}; bool of shape "
                         f"{tuple(clouds.shape[:3])} is needed")  # fmt: skip
    if mask.device.type == "cpu" and not mask.any(-1).all():
        member, cloud = (~mask.any(-1)).nonzero()[0].tolist()
        raise ValueError(f"mask[{member}, {cloud}] has no True; every cloud needs at least one valid point")
    return clouds.masked_fill(~mask[..., None], 0)


def check_sizes(name: str, sizes: Sequence[int], empty: bool = False) -> None:
    """Refuse sizes that are not positive whole numbers, and no sizes at all unless `empty` allows it (ValueError)."""
    whole = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes)
    if not whole or not (sizes or empty):
        raise ValueError(f"{name} = {sizes!r}; positive whole numbers are needed" + ("" if empty else ", at least one"))
