"""What the tests of optimal transport share: clouds drawn from named streams, masks, and a small map of clouds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator


def drawn(*shape: int, purpose: str = "points", dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch_generator(10_000, 0, f"{purpose} {shape}"), dtype=dtype)


def mask_of(counts: Tensor, rows: int, purpose: str = "mask") -> Tensor:
    """Bool `[..., rows]` with `counts [...]` True entries each, in no order."""
    order = torch.rand(*counts.shape, rows, generator=torch_generator(10_000, 0, purpose)).argsort(-1).argsort(-1)
    return order < counts[..., None]


def mlp(width: int, dtype: torch.dtype = torch.float64, mixing: float = 0.3) -> Callable[[Tensor], Tensor]:
    """A smooth map `[..., N, width]` of clouds that moves points by their places and, with mixing, their mean."""
    first, second = (drawn(*shape, purpose="weights", dtype=dtype) for shape in ((width, 16), (16, width)))

    def push(z: Tensor) -> Tensor:
        shift = mixing * z.mean(-2, keepdim=True).sum(-1, keepdim=True) if mixing else 0.0
        return torch.tanh(z @ first + shift) @ second / 4

    return push
