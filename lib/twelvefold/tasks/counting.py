"""Counting from one number to another: `SOS a b > a a+1 ... b EOS`, one token per number (Zhou et al. 2023, arXiv
2310.16028).

The rule that works at any length looks at the last number only: its successor, or the end where it equals b.
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

_PROMPT = 4  # tokens of start, a, b and separator


@dataclass(frozen=True)
class Counting:
    """Counting among the numbers 0 ... `numbers` - 1; the length n of an example is how many it lists, b - a + 1.

    Attributes:
        numbers: how many numbers there are, N. The first one, a, is uniform on 0 ... N - n, so that every number is
            trained.
        lengths: pairs (length n, weight) of the training examples.

    Raises:
        ValueError: a length outside 1 to N, a number that is not whole or not positive.
    """

    numbers: int
    lengths: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", whole_number("numbers", self.numbers))
        object.__setattr__(self, "lengths", check_lengths(self.lengths, 1, self.numbers))

    @property
    def vocabulary(self) -> int:
        """Number of token ids: padding, start, end, separator, numbers."""
        return SPECIALS + self.numbers

    @property
    def longest_training(self) -> int:
        """Tokens of the longest training sequence."""
        return self.tokens_at(max(length for length, _ in self.lengths))

    def words(self) -> list[str]:
        """The symbol of every token id."""
        return [*special_words(), *(str(number) for number in range(self.numbers))]

    def tokens_at(self, length: int) -> int:
        """Tokens of a sequence that lists `length` numbers: start, a, b, separator, the numbers, end."""
        return _PROMPT + length + 1

    def training(self, generator: np.random.Generator, n: int) -> Examples:
        """n training sequences, their lengths drawn by weight."""
        return self._examples(generator, drawn_lengths(self.lengths, generator, n), self.longest_training)

    def test(self, generator: np.random.Generator, n: int, length: int) -> Examples:
        """n sequences that list `length` numbers (only N - length + 1 of them differ); ValueError outside 1 to N."""
        return self._examples(generator, same_lengths(length, n, 1, self.numbers), self.tokens_at(int(length)))

    def _examples(self, generator: np.random.Generator, lengths: NDArray[np.int64], width: int) -> Examples:
        """Sequences that list the given counts of numbers `[n]`, padded to `width` tokens."""
        n = len(lengths)
        first = SPECIALS + (generator.random(n) * (self.numbers - lengths + 1)).astype(np.int64)[:, None]  # id of a
        listed = first + np.arange(lengths.max())
        last = first + lengths[:, None] - 1  # id of b
        parts: list[Part] = [
            ([SOS_ID], 1), (first, 1), (last, 1), ([SEPARATOR_ID], 1), (listed, lengths), ([EOS_ID], 1)
        ]  # fmt: skip
        tokens, ends = joined(parts, n, width)
        return Examples(tokens, np.full(n, _PROMPT, dtype=np.int64), ends)
