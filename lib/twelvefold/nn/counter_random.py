"""Random masks from a counter: the bits of mask element i of a member at a step are a function of (key, step, i) alone.

No generator state is kept, so a member draws the same masks alone, in a population, in a chunk of one, after a resume,
and on every device: the mixing is integer arithmetic. The mixing function is that of SplitMix64 (Steele, Lea and Flood
2014, "Fast splittable pseudorandom number generators", OOPSLA).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from twelvefold.core.seeds import seed_sequence

LANES = 4  # one 64-bit word gives four 16-bit lanes, each of which decides one mask element
_LEVELS = 2**16
_BLOCK_WORDS = 2**14  # words mixed at a time on a CPU: 128 KiB, so that all passes stay in the cache


def _signed(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit number (torch has no unsigned arithmetic)."""
    return value - 2**64 if value >= 2**63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_STEP = _signed(0xD1342543DE82EF95)
_MULTIPLIERS = (_signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB))


def _shifted(words: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; torch's own shift of a signed integer copies the sign."""
    return (words >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def mix(words: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64 words of any shape: a bijection whose output bits look independent.

    Raises:
        TypeError: `words` is not int64.
    """
    if words.dtype != torch.int64:
        raise TypeError(f"words has dtype {words.dtype}; int64 is needed")
    z = _shifted(words, 30).bitwise_xor_(words).mul_(_MULTIPLIERS[0])
    z.bitwise_xor_(_shifted(z, 27)).mul_(_MULTIPLIERS[1])
    return z.bitwise_xor_(_shifted(z, 31))


def mask_keys(seed: int, replicates: Sequence[int], purpose: str) -> Tensor:
    """Keys `[P]` (int64), one per member, from base seed, replicate number and purpose; errors as `seed_sequence`."""
    words = [int(seed_sequence(seed, r, purpose).generate_state(1, "uint64")[0]) for r in replicates]
    return torch.tensor([_signed(word) for word in words], dtype=torch.int64)


def dropout_masks(
    keys: Tensor, step: int | Tensor, elements: int, rate: float, out: Tensor | None = None
) -> Tensor:
    """Masks `[P, elements]` of one step: 1 / (1 - rate) with probability 1 - rate, else 0.

    The rate is rounded to a multiple of 2^-16.

    Args:
        keys: one int64 key per member `[P]`, on the device where the masks are wanted.
        step: number of the step, or an int64 tensor without dimensions (a captured CUDA graph reads it anew).
        elements: number of mask elements of one member.
        rate: probability that an element is dropped, in [0, 1).
        out: where to write, a floating-point tensor `[P, elements]`.

    Raises:
        ValueError: a wrong shape, rate or number of elements.
    """
    _check(keys, elements, rate, out)
    threshold = round(rate * _LEVELS)
    masks = torch.empty(len(keys), elements, device=keys.device) if out is None else out
    moved = torch.as_tensor(step, dtype=torch.int64, device=keys.device).add(1).mul(_STEP)  # wraps, as it should
    streams = mix(keys + moved)  # [P]
    block = LANES * max(1, (_BLOCK_WORDS if keys.device.type == "cpu" else elements * len(keys)) // len(keys))
    for first in range(0, elements, block):
        part = masks[:, first : first + block]
        torch.ge(_lanes(streams, first // LANES, part.shape[1]), threshold - _LEVELS // 2, out=part)
        part.mul_(_LEVELS / (_LEVELS - threshold))
    return masks


def _lanes(streams: Tensor, first_word: int, elements: int) -> Tensor:
    """Elements `[P, elements]` of the streams `[P]` from a word on: int16, uniform on [-2^15, 2^15)."""
    words = -(-elements // LANES)
    counters = torch.arange(first_word + 1, first_word + words + 1, device=streams.device).mul_(_GOLDEN)  # [W]
    return mix(streams[:, None] + counters).view(torch.int16)[:, :elements]


def _check(keys: Tensor, elements: int, rate: float, out: Tensor | None) -> None:
    if keys.ndim != 1 or keys.dtype != torch.int64 or not len(keys):
        raise ValueError(f"keys is {keys.dtype} with shape {tuple(keys.shape)}; int64 of shape [members] is needed")
    if not 0 <= rate < 1:
        raise ValueError(f"rate = {rate!r}; a probability in [0, 1) is needed")
    if isinstance(elements, bool) or not isinstance(elements, int) or elements < 1:
        raise ValueError(f"elements = {elements!r}; a whole number, at least 1, is needed")
    if out is not None and (out.shape != (len(keys), elements) or not out.is_floating_point()):
        raise ValueError(f"out is {out.dtype} with shape {tuple(out.shape)}; floating-point numbers of shape "
                         f"[{len(keys)}, {elements}] are needed")  # fmt: skip
