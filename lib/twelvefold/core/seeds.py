"""Seeds: every draw has a base seed, a replicate and a purpose, and no draw touches a global generator.

Replicate r of base seed s draws for a purpose from `SeedSequence([s, r, crc32(purpose)])`. Torch generators live on the
CPU: what they draw is moved to the device afterwards, so every device sees the same numbers.
"""

from __future__ import annotations

import zlib
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError(f"{name} = {value!r}; a whole number, 0 or larger, is needed.")
    return int(value)


def seed_sequence(seed: int, replicate: int, purpose: str) -> np.random.SeedSequence:
    """Return the seed sequence of one replicate for one purpose.

    Args:
        seed: base seed of the study, at least 0.
        replicate: number of the replicate, at least 0.
        purpose: what is drawn, e.g. "initial weights"; another purpose gives independent draws.

    Raises:
        ValueError: a negative or fractional number, or an empty purpose.
    """
    if not isinstance(purpose, str) or not purpose:
        raise ValueError(f"purpose = {purpose!r}; a text that says what is drawn is needed, e.g. 'initial weights'.")
    return np.random.SeedSequence([_whole("seed", seed), _whole("replicate", replicate), zlib.crc32(purpose.encode())])


def numpy_generator(seed: int, replicate: int, purpose: str) -> np.random.Generator:
    """Return a numpy generator for one replicate and purpose; arguments and errors as `seed_sequence`."""
    return np.random.Generator(np.random.PCG64(seed_sequence(seed, replicate, purpose)))


def torch_generator(seed: int, replicate: int, purpose: str) -> torch.Generator:
    """Return a torch generator on the CPU for one replicate and purpose; arguments and errors as `seed_sequence`."""
    import torch

    state = int(seed_sequence(seed, replicate, purpose).generate_state(1, np.uint32)[0])
    return torch.Generator(device="cpu").manual_seed(state)
