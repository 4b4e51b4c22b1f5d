"""Copying a string of different symbols: `SOS x_1 ... x_n > x_1 ... x_n EOS`.

Two rules solve it as long as few lengths occur. By **position**: look n places back. By **content**: find the current
token in the prompt and output its successor. Both are right on the lengths they were learned for; only the second is
right on any length. Which one a network follows is read off where they disagree, see `swapped`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twelvefold.nn.transformer import forward
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.tasks.examples import (
    SEPARATOR_ID,
    SPECIALS,
    Examples,
    Part,
    check_length,
    check_lengths,
    drawn_lengths,
    joined,
    same_lengths,
    special_words,
    whole_number,
)
from twelvefold.tasks.vocabulary import EOS_ID, SOS_ID


@dataclass(frozen=True)
class StringCopying:
    """Strings of n different symbols out of `alphabet`, copied after a separator.

    Attributes:
        alphabet: number of symbols N.
        lengths: pairs (length n, weight) of the training strings.

    Raises:
        ValueError: a length outside 1 to N, a number that is not whole or not positive.
    """

    alphabet: int
    lengths: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "alphabet", whole_number("alphabet", self.alphabet))
        object.__setattr__(self, "lengths", check_lengths(self.lengths, 1, self.alphabet))

    @property
    def vocabulary(self) -> int:
        """Number of token ids: padding, start, end, separator, symbols."""
        return SPECIALS + self.alphabet

    @property
    def longest_training(self) -> int:
        """Tokens of the longest training sequence."""
        return self.tokens_at(max(length for length, _ in self.lengths))

    def words(self) -> list[str]:
        """The symbol of every token id; the alphabet is a, b, c, ..."""
        letters = "abcdefghijklmnopqrstuvwxyz"
        names = [letters[i] if self.alphabet <= len(letters) else f"x{i}" for i in range(self.alphabet)]
        return [*special_words(), *names]

    def tokens_at(self, length: int) -> int:
        """Tokens of a sequence with strings of a length: start, string, separator, string, end."""
        return 2 * length + 3

    def training(self, generator: np.random.Generator, n: int) -> Examples:
        """n training sequences, their lengths drawn by weight."""
        return self._examples(generator, drawn_lengths(self.lengths, generator, n), self.longest_training)

    def test(self, generator: np.random.Generator, n: int, length: int) -> Examples:
        """n sequences with strings of one length; ValueError for a length outside 1 to N."""
        return self._examples(generator, same_lengths(length, n, 1, self.alphabet), self.tokens_at(int(length)))

    def _examples(self, generator: np.random.Generator, lengths: NDArray[np.int64], width: int) -> Examples:
        """Sequences with strings of the given lengths `[n]`, padded to `width` tokens."""
        n = len(lengths)
        order = generator.random((n, self.alphabet)).argsort(1)  # a random order of all symbols
        string = (SPECIALS + order, lengths)
        parts: list[Part] = [([SOS_ID], 1), string, ([SEPARATOR_ID], 1), string, ([EOS_ID], 1)]
        tokens, ends = joined(parts, n, width)
        return Examples(tokens, lengths + 2, ends)


class Swapped(NamedTuple):
    """Sequences whose copy has one wrong token, and what each rule predicts after it.

    Attributes:
        tokens: `[n, T]`; at position `at` stands x_k where the copy should have x_j.
        at: that position, `[n]`. What comes later is the true copy, which a causal network cannot see.
        content: x_(k + 1), the successor of the wrong token in the prompt, `[n]`.
        position: x_(j + 1), the token to which the place points, `[n]`.
    """

    tokens: NDArray[np.int64]
    at: NDArray[np.int64]
    content: NDArray[np.int64]
    position: NDArray[np.int64]


def swapped(
    task: StringCopying, generator: np.random.Generator, n: int, length: int, neighbour: bool = False
) -> Swapped:
    """n sequences on which the two rules disagree: inside the copy, the token x_j is replaced by another one, x_k.

    j and k are drawn from 1 ... length - 1. A network that learned by position on two neighbouring lengths may follow
    the rule "look n places back, and if the current token stands there, one place less"; where k = j + 1 it then agrees
    with the rule by content. So this case is left out, or with `neighbour` the only one.

    Args:
        task: the copying task.
        generator: of all draws.
        n: number of sequences.
        length: symbols of the strings, at least 4.
        neighbour: take k = j + 1 everywhere.

    Raises:
        ValueError: a length below 4 or above the alphabet, or n is not positive.
    """
    length = check_length(length, 4, task.alphabet)
    tokens = task.test(generator, n, length).tokens
    places = [(j, k) for j in range(1, length) for k in range(1, length)]
    pairs = [(j, k) for j, k in places if (k == j + 1 if neighbour else k not in (j, j + 1))]
    j, k = np.array(pairs)[generator.integers(len(pairs), size=n)].T
    rows, at = np.arange(n), length + 1 + j
    changed = tokens.copy()
    changed[rows, at] = tokens[rows, k]  # x_k stands at position k, behind the start token
    return Swapped(changed, at, tokens[rows, k + 1], tokens[rows, j + 1])


@torch.no_grad()
def rule_shares(
    config: TransformerConfig, weights: Mapping[str, Tensor], cases: Swapped, starts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Shares of swapped sequences after which each network predicts by content and by position, both `[P]`.

    Args:
        config, weights: a population of P networks.
        cases: from `swapped`.
        starts: first row of the learned position table, `[n]`.

    Raises:
        ValueError: a token is outside the vocabulary, or a shape does not fit.
    """
    device = weights["embedding"].device
    given = None if starts is None else starts.to(device)
    tokens, at, content, position = (torch.from_numpy(part).to(device) for part in cases)
    # the last token is never read, and starts leave no row of the table for it
    best = forward(config, weights, tokens[:, :-1], starts=given, at=at).argmax(-1)  # [P, n]
    return (best == content).double().mean(1), (best == position).double().mean(1)
