"""The classifiers that are compared, under one interface: architecture, weights of a member, logits of a population."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from twelvefold.nn.batch_norm import Moments, Recorder
from twelvefold.nn.counter_random import dropout_masks
from twelvefold.nn.stacked import Weights, count, draw_linear, linear, stack
from twelvefold.papers.ddeq.baselines import deepsets, point_transformer, pointnet
from twelvefold.papers.ddeq.network import NetworkConfig, draw_network

Config = NetworkConfig | pointnet.PointNet | deepsets.DeepSets | point_transformer.PointTransformer
KINDS: dict[str, type[Config]] = {
    "ddeq": NetworkConfig, "pointnet": pointnet.PointNet, "deepsets": deepsets.DeepSets,
    "point_transformer": point_transformer.PointTransformer,
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """A kind of classifier, its sizes and the number of classes."""

    kind: str
    config: Config
    classes: int


def architecture(kind: str, sizes: Mapping[str, Any], dimension: int, classes: int) -> Architecture:
    """The classifier `kind` with `sizes` (lists become tuples) on clouds of a dimension.

    Raises:
        ValueError: an unknown kind or size.
    """
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r}; known are {list(KINDS)}")
    own = {name: tuple(value) if isinstance(value, list) else value for name, value in sizes.items()}
    fixed = {"dimension": dimension} | ({} if kind == "ddeq" else {"classes": classes})
    make: Any = KINDS[kind]
    try:
        return Architecture(kind, make(**fixed, **own), classes)
    except TypeError as error:
        raise ValueError(f"sizes = {dict(sizes)} of {kind}: {error}") from None


def draw_member(model: Architecture, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights of one member; for an equilibrium model those of F and of the head `max over particles -> classes`."""
    config = model.config
    if isinstance(config, NetworkConfig):
        return draw_network(config, generator) | draw_linear("head", config.width, model.classes, generator)
    if isinstance(config, pointnet.PointNet):
        return pointnet.draw(config, generator)
    if isinstance(config, deepsets.DeepSets):
        return deepsets.draw(config, generator)
    return point_transformer.draw(config, generator)


def parameters(kind: str, sizes: Mapping[str, Any], dimension: int, classes: int) -> int:
    """Number of parameters of a classifier."""
    model = architecture(kind, sizes, dimension, classes)
    return count(stack([draw_member(model, torch.Generator().manual_seed(0))]))


def head(weights: Weights, particles: Tensor) -> Tensor:
    """Logits `[P, B, k]` of particles `[P, B, N, d]`: their maximum by feature, then a linear map."""
    return linear(weights, "head", particles.amax(2))


def baseline_logits(
    model: Architecture, weights: Weights, clouds: Tensor, mask: Tensor | None, moments: Moments,
    keys: Tensor | None = None, draw: int = 0,
) -> Tensor:  # fmt: skip
    """Logits `[P, B, k]` of a baseline.

    Args:
        model: of another kind than "ddeq".
        weights, clouds, mask: stacked, `[P, B, M, d]` and `[P, B, M]`.
        moments: of batch normalisation, see `nn.batch_norm`.
        keys: `[P]` switches dropout on, with the masks of draw number `draw`.
    """
    config = model.config
    if isinstance(config, deepsets.DeepSets):
        return deepsets.classify(config, weights, clouds, mask)
    assert isinstance(config, pointnet.PointNet | point_transformer.PointTransformer)
    dropout = None
    if keys is not None and config.dropout:
        shape = (clouds.shape[1], config.dropout_width)
        dropout = dropout_masks(keys, draw, shape[0] * shape[1], config.dropout).unflatten(1, shape)
    classify = pointnet.classify if isinstance(config, pointnet.PointNet) else point_transformer.classify
    return classify(config, weights, clouds, mask, moments, dropout)  # type: ignore[arg-type]


def uses_moments(model: Architecture) -> bool:
    """Whether the classifier has batch normalisation."""
    return model.kind in ("pointnet", "point_transformer")


def recorded(model: Architecture, weights: Weights, clouds: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """Moments of batch normalisation of one batch."""
    recorder = Recorder()
    baseline_logits(model, weights, clouds, mask, recorder)
    return recorder.moments
