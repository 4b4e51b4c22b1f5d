"""What a population of transformers is trained with: the recipe of its optimiser, and a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from twelvefold.nn.learning_rate import Decay, learning_rate


@dataclass(frozen=True)
class Recipe:
    """How a population is optimised; all members share it.

    Attributes:
        steps: updates.
        learning_rate: peak of the schedule.
        warmup: updates of linear warm-up.
        decay: "linear" or "cosine" to zero after the last update, or "constant".
        beta1, beta2, epsilon: of AdamW.
        weight_decay: decoupled; acts on matrices and embeddings, not on biases and norms.
        clip: largest gradient norm of a member; None leaves gradients alone.
        precision: "float32", or "bfloat16" for matrix products (autocast; master weights stay float32).

    Raises:
        ValueError: a number is out of range, or a name is unknown.
    """

    steps: int
    learning_rate: float
    warmup: int = 0
    decay: Decay = "linear"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip: float | None = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.learning_rate > 0:
            raise ValueError(f"steps = {self.steps}, learning_rate = {self.learning_rate}; both must be positive")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.epsilon > 0 and self.weight_decay >= 0):
            raise ValueError(f"beta1 = {self.beta1}, beta2 = {self.beta2}, epsilon = {self.epsilon}, weight_decay = "
                             f"{self.weight_decay}; 0 <= beta < 1, epsilon > 0, weight_decay >= 0 are needed")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip = {self.clip}; a positive norm, or None, is needed")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision = {self.precision!r}; known are 'float32' and 'bfloat16'")
        self.rate(0)

    def rate(self, step: int) -> float:
        """Learning rate of update `step`."""
        return learning_rate(step, peak=self.learning_rate, steps=self.steps, warmup=self.warmup, decay=self.decay)


class Batch(NamedTuple):
    """Sequences of one update: tokens `[P, B, T + 1]`; counted `[P, B, T]` (bool), which next tokens enter the loss
    (None: all of them); starts `[P, B]`, first rows of the learned position table (None: 0)."""

    tokens: Tensor
    counted: Tensor | None = None
    starts: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return self.each(lambda part: part.to(device, non_blocking=True))

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every part that is there changed."""
        optional = (None if part is None else change(part) for part in self[1:])
        return Batch(change(self.tokens), *optional)
