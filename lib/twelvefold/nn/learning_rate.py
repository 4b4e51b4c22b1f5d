"""Learning-rate schedules: linear warm-up, then a decay to zero or a constant rate."""

from __future__ import annotations

import math
from typing import Literal, get_args

Decay = Literal["linear", "cosine", "constant"]


def learning_rate(step: int, *, peak: float, steps: int, warmup: int, decay: Decay) -> float:
    """Learning rate of update `step` (0, 1, ...): it rises linearly over `warmup` updates, then falls to reach 0 after
    `steps`, or stays at its peak where `decay` is "constant".

    Raises:
        ValueError: an unknown decay, or a warm-up that is negative or longer than the training.
    """
    if decay not in get_args(Decay):
        raise ValueError(f"decay = {decay!r}; known are {list(get_args(Decay))}")
    if not 0 <= warmup <= steps:
        raise ValueError(f"warmup = {warmup}; a number of steps from 0 to steps = {steps} is needed")
    if step < warmup:
        return peak * (step + 1) / warmup
    if decay == "constant":
        return peak
    left = (steps - step) / max(1, steps - warmup)  # from 1 to 0
    return peak * (left if decay == "linear" else 0.5 * (1 - math.cos(math.pi * left)))
