"""Addition with the result's least significant digit first and a hint before every digit that names its place.

`SOS h_k x_k ... h_0 x_0 + h_k y_k ... h_0 y_0 > h_0 s_0 h_1 s_1 ... h_k s_k (h_(k+1) 1) EOS` (Zhou et al. 2023, arXiv
2310.16028). Reverse order makes each digit a function of the two digits of its place and of the carry, which the last
digit shows; hints let a network find a place by content. They are a run of neighbouring hint symbols with a random
start, so that longer numbers use no hint that was not trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twelvefold.tasks.examples import (
    SEPARATOR_ID,
    SPECIALS,
    Examples,
    Part,
    check_lengths,
    drawn_lengths,
    joined,
    same_lengths,
    special_words,
    whole_number,
)
from twelvefold.tasks.vocabulary import EOS_ID, SOS_ID

PLUS_ID = SPECIALS
_DIGITS = SPECIALS + 1  # id of the digit 0


@dataclass(frozen=True)
class HintedAddition:
    """Sums of two numbers of n digits each, n being the length of an example.

    Attributes:
        base: of the number system; digits are 0 ... base - 1.
        hints: number of hint symbols; an example of length n uses n + 1 neighbouring ones (one for a last carry).
        lengths: pairs (length n, weight) of the training examples.

    Raises:
        ValueError: a base below 2, too few hints for a length, a number that is not whole or not positive.
    """

    base: int
    hints: int
    lengths: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        for name in ("base", "hints"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), 2))
        object.__setattr__(self, "lengths", check_lengths(self.lengths, 1, self.hints - 1))

    @property
    def vocabulary(self) -> int:
        """Number of token ids: padding, start, end, separator, plus, digits, hints."""
        return _DIGITS + self.base + self.hints

    @property
    def longest_training(self) -> int:
        """Tokens of the longest training sequence."""
        return self.tokens_at(max(length for length, _ in self.lengths))

    def words(self) -> list[str]:
        """The symbol of every token id; hint number i is `h<i>`."""
        digits = [str(digit) for digit in range(self.base)]
        return [*special_words(), "+", *digits, *(f"h{number}" for number in range(self.hints))]

    def tokens_at(self, length: int) -> int:
        """Tokens of the longest sequence with numbers of n digits: 4 n + 3 of the prompt, n + 1 places, end."""
        return 4 * length + 3 + 2 * (length + 1) + 1

    def training(self, generator: np.random.Generator, n: int) -> Examples:
        """n training sequences, their lengths drawn by weight."""
        return self._examples(generator, drawn_lengths(self.lengths, generator, n), self.longest_training)

    def test(self, generator: np.random.Generator, n: int, length: int) -> Examples:
        """n sums of numbers with `length` digits; ValueError for a length that the hints cannot name."""
        return self._examples(generator, same_lengths(length, n, 1, self.hints - 1), self.tokens_at(int(length)))

    def _examples(self, generator: np.random.Generator, lengths: NDArray[np.int64], width: int) -> Examples:
        """Sums of numbers with the given counts of digits `[n]`, padded to `width` tokens."""
        most = int(lengths.max())
        place, size = np.arange(most), lengths[:, None]
        uniform = generator.random((2, len(lengths), most))
        least = (place == size - 1).astype(np.int64)  # the leading digit is at least 1, also of a number of one digit
        digits = least + (uniform * (self.base - least)).astype(np.int64)
        digits = np.where(place < size, digits, 0)  # [2, n, most], least significant first
        start = (generator.random(len(lengths)) * (self.hints - lengths)).astype(np.int64)  # hint of the place 0
        hints = _DIGITS + self.base + start[:, None] + np.arange(most + 1)  # [n, most + 1]
        total = added(digits, self.base)  # [n, most + 1]
        carried = np.take_along_axis(total, size, 1)[:, 0]
        numbers = [_hinted(hints[:, :most], _DIGITS + number) for number in digits]
        return _laid_out(numbers, _hinted(hints, _DIGITS + total), lengths, lengths + carried, width)


def added(digits: NDArray[np.int64], base: int) -> NDArray[np.int64]:
    """Digits `[n, m + 1]` of the sums of two columns of numbers `[2, n, m]`, least significant first; ValueError for
    another shape, or digits outside 0 to base - 1."""
    base, digits = whole_number("base", base, 2), np.asarray(digits)
    if digits.ndim != 3 or len(digits) != 2 or not np.issubdtype(digits.dtype, np.integer):
        raise ValueError(f"digits are {digits.dtype} of shape {digits.shape}; integers [2, n, m] are needed")
    if digits.size and not 0 <= digits.min() <= digits.max() < base:
        raise ValueError(f"digits are from {digits.min()} to {digits.max()}; 0 to {base - 1} are needed")
    carry = np.zeros(digits.shape[1], dtype=np.int64)
    places = []
    for place in range(digits.shape[2]):
        column = digits[0, :, place] + digits[1, :, place] + carry
        places.append(column % base)
        carry = column // base
    return np.stack([*places, carry], axis=1)


def _hinted(hints: NDArray[np.int64], digits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ids of hints and digits `[n, m]` of m places as pairs `[n, m, 2]`."""
    return np.stack([hints, digits], axis=2)


def _laid_out(
    numbers: Sequence[NDArray[np.int64]], total: NDArray[np.int64], size: NDArray[np.int64],
    places: NDArray[np.int64], width: int,
) -> Examples:  # fmt: skip
    """Sequences from pairs of ids `[n, m, 2]` of two numbers of `size` digits `[n]`, and those of their sums `[n, m +
    1, 2]`, which have `places` `[n]`; all of them least significant first."""
    n, most = numbers[0].shape[:2]
    downwards = np.maximum(size[:, None] - 1 - np.arange(most), 0)[..., None]  # most significant place first
    first, second = (np.take_along_axis(number, downwards, 1).reshape(n, -1) for number in numbers)
    parts: list[Part] = [
        ([SOS_ID], 1), (first, 2 * size), ([PLUS_ID], 1), (second, 2 * size), ([SEPARATOR_ID], 1),
        (total.reshape(n, -1), 2 * places), ([EOS_ID], 1),
    ]  # fmt: skip
    tokens, ends = joined(parts, n, width)
    return Examples(tokens, 4 * size + 3, ends)
