"""Sequences that consist of a prompt and the one right continuation, and training lengths with weights."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from twelvefold.tasks.vocabulary import EOS, PAD, PAD_ID, SOS

SEPARATOR_ID = 3  # between prompt and continuation; after the ids of PAD, SOS and EOS
SPECIALS = 4  # ids below this are not symbols of a task
LARGEST = 2**31 - 1  # of settings: products of two still fit int64

Part = tuple[NDArray[np.int64] | Sequence[int], NDArray[np.int64] | int]  # of sequences, see `joined`


def special_words() -> list[str]:
    """The symbols of the ids below `SPECIALS`: padding, start, end, and the separator of prompt and continuation."""
    return [PAD, SOS, EOS, ">"]


class Examples(NamedTuple):
    """n sequences: tokens `[n, T]`, padded on the right; position `first [n]` of the continuation's first token; number
    of tokens `lengths [n]`, the end of the sequence included. All int64."""

    tokens: NDArray[np.int64]
    first: NDArray[np.int64]
    lengths: NDArray[np.int64]


class PromptTask(Protocol):
    """A task whose prompts have exactly one right continuation, at any length."""

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        ...

    @property
    def longest_training(self) -> int:
        """Tokens of the longest training sequence."""
        ...

    def words(self) -> list[str]:
        """The symbol of every token id."""
        ...

    def tokens_at(self, length: int) -> int:
        """Tokens of the longest sequence of a length of the task."""
        ...

    def training(self, generator: np.random.Generator, n: int) -> Examples:
        """n training sequences."""
        ...

    def test(self, generator: np.random.Generator, n: int, length: int) -> Examples:
        """n test sequences of one length."""
        ...


def joined(
    parts: Sequence[Part], n: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sequences `[n, width]` that consist of parts, one behind the other and padded on the right, and their lengths.

    Args:
        parts: pairs of ids `[n, m]` (or `[m]`, for all sequences) and how many of these, from the left, each sequence
            takes (`[n]`, or one number).
        n, width: number of sequences, and of their columns.

    Returns:
        Tokens `[n, width]` and number of tokens `[n]`.
    """
    tokens, end = np.zeros((n, width), dtype=np.int64), np.zeros(n, dtype=np.int64)
    for ids, taken in parts:
        values, size = np.asarray(ids), np.broadcast_to(taken, n)
        row, column = np.nonzero(np.arange(values.shape[-1]) < size[:, None])
        tokens[row, end[row] + column] = np.broadcast_to(values, (n, values.shape[-1]))[row, column]
        end = end + size
    return tokens, end


def drawn_lengths(
    lengths: Sequence[Sequence[int]], generator: np.random.Generator, n: int
) -> NDArray[np.int64]:
    """n lengths `[n]` from pairs (length, weight), with probabilities in proportion to the weights; ValueError unless
    n is a positive whole number."""
    table = np.array(lengths, dtype=np.int64)
    ends = np.cumsum(table[:, 1]) / table[:, 1].sum()
    return table[np.searchsorted(ends, generator.random(whole_number("n", n)), side="right"), 0]


def same_lengths(length: int, n: int, least: int, most: int | None) -> NDArray[np.int64]:
    """One length n times, `[n]`; ValueError unless it is a whole number from `least` to `most` and n a positive one."""
    return np.full(whole_number("n", n), check_length(length, least, most), dtype=np.int64)


def check_lengths(lengths: Sequence[Sequence[int]], least: int, most: int | None) -> tuple[tuple[int, int], ...]:
    """The pairs (length, weight) as tuples; ValueError unless lengths are different whole numbers from `least` to
    `most` and weights positive whole numbers."""
    if not isinstance(lengths, Sequence | np.ndarray) or isinstance(lengths, str) or not len(lengths):
        raise ValueError(f"lengths = {lengths!r}; a list of at least one pair (length, weight) is needed")
    pairs = []
    for pair in lengths:
        if not isinstance(pair, Sequence | np.ndarray) or isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"lengths holds {pair!r}; pairs (length, weight) of whole numbers are needed")
        length = check_length(pair[0], least, most)
        pairs.append((length, whole_number(f"weight of length {length}", pair[1])))
    if len({length for length, _ in pairs}) < len(pairs):
        raise ValueError(f"lengths = {lengths!r}; each length is accepted once")
    return tuple(pairs)


def check_length(length: int, least: int, most: int | None) -> int:
    """The length; ValueError unless it is a whole number from `least` to `most`."""
    return whole_number("length", length, least, LARGEST if most is None else most)


def whole_number(name: str, value: Any, least: int = 1, most: int = LARGEST) -> int:
    """The value as an int; ValueError, with the name of the argument, unless it is a whole number in the range."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise ValueError(f"{name} = {value!r}; a whole number from {least} to {most} is needed")
    return int(value)


def readable(task: PromptTask, tokens: Sequence[int]) -> str:
    """The symbols of a sequence of ids, without padding; ValueError for an id that the task does not have."""
    words = task.words()
    known = [whole_number("token", token, 0, len(words) - 1) for token in np.asarray(tokens).tolist()]
    return " ".join(words[token] for token in known if token != PAD_ID)
