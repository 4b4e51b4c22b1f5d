"""Final weights of some members among the results of a population function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from twelvefold.nn.transformer import Weights

_KEPT = "weights/"  # before the names of kept weights in a result


def as_kept(weights: Weights, kept: int) -> dict[str, torch.Tensor]:
    """The weights of the first `kept` members under names that `kept_weights` finds."""
    return {_KEPT + name: weight[:kept] for name, weight in weights.items()}


def kept_weights(result: Mapping[str, Any], device: str | torch.device = "cpu") -> Weights:
    """The final weights `{name: [kept, ...]}` in the result of a population function."""
    return {
        name.removeprefix(_KEPT): torch.as_tensor(value).to(device)
        for name, value in result.items()
        if name.startswith(_KEPT)
    }
