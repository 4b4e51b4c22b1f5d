"""What tasks of prompts and continuations share: joined parts, drawn lengths, checked numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from twelvefold.tasks.examples import (
    LARGEST,
    SEPARATOR_ID,
    SPECIALS,
    check_length,
    check_lengths,
    drawn_lengths,
    joined,
    readable,
    same_lengths,
    special_words,
    whole_number,
)
from twelvefold.tasks.string_copying import StringCopying
from twelvefold.tasks.vocabulary import EOS_ID, PAD_ID, SOS_ID


def test_the_specials_have_their_places() -> None:
    words = special_words()
    assert len(words) == SPECIALS == len(set(words))
    assert [words[i] for i in (PAD_ID, SOS_ID, EOS_ID, SEPARATOR_ID)] == ["<pad>", "<sos>", "<eos>", ">"]


@given(st.lists(st.lists(st.lists(st.integers(1, 9), max_size=4), min_size=3, max_size=3), max_size=4),
       st.integers(0, 3))  # fmt: skip
def test_joined_parts_are_concatenated_lists(parts: list[list[list[int]]], room: int) -> None:
    expected = [[token for part in parts for token in part[row]] for row in range(3)]
    width = max(map(len, expected)) + room
    tables = [(np.array([row + [7] * (4 - len(row)) for row in part]), np.array([len(row) for row in part]))
              for part in parts]  # fmt: skip
    tokens, lengths = joined(tables, 3, width)
    assert tokens.tolist() == [row + [0] * (width - len(row)) for row in expected]
    assert lengths.tolist() == [len(row) for row in expected]


def test_parts_for_all_sequences_are_repeated() -> None:
    tokens, lengths = joined([([5], 1), (np.array([[1, 2], [3, 4]]), np.array([1, 2])), ([8, 9], 2)], 2, 5)
    assert tokens.tolist() == [[5, 1, 8, 9, 0], [5, 3, 4, 8, 9]] and lengths.tolist() == [4, 5]


def test_lengths_are_drawn_by_weight() -> None:
    found = drawn_lengths([(6, 10), (4, 1), (5, 9)], np.random.default_rng(10_000), 20_000)
    counts = [int((found == length).sum()) for length in (6, 4, 5)]
    assert sum(counts) == 20_000
    assert chisquare(counts, [10_000, 1_000, 9_000]).pvalue > 0.001


def test_one_length_for_all() -> None:
    assert same_lengths(7, 3, 1, 9).tolist() == [7, 7, 7]
    assert same_lengths(np.int8(100), 2, 1, None).dtype == np.int64


def test_json_lists_and_numpy_numbers_become_tuples_of_ints() -> None:
    for lengths in ([[4, 1], [5, 10]], ((4, 1), (5, 10)), np.array([[4, 1], [5, 10]])):
        pairs = check_lengths(lengths, 1, 9)
        assert pairs == ((4, 1), (5, 10)) and all(type(number) is int for pair in pairs for number in pair)


@pytest.mark.parametrize(
    ("lengths", "named"),
    [
        (5, "lengths = 5"), (None, "lengths = None"), ("45", "lengths = '45'"), ([], r"lengths = \[\]"),
        ({5: 1}, "lengths = {5: 1}"), ([4, 5], "lengths holds 4"), (["45"], "lengths holds '45'"),
        ([[4]], r"lengths holds \[4\]"), ([[4, 1, 1]], "lengths holds"), ([[0, 1]], "length = 0"),
        ([[10, 1]], "length = 10; a whole number from 1 to 9"), ([[4.0, 1]], "length = 4.0"),
        ([[float("nan"), 1]], "length = nan"), ([[True, 1]], "length = True"), ([["4", 1]], "length = '4'"),
        ([[4, 0]], "weight of length 4 = 0"), ([[4, -1]], "= -1"), ([[4, 0.5]], "= 0.5"),
        ([[4, float("nan")]], "= nan"), ([[4, 10**30]], "weight of length 4 = 1000"), ([[4, None]], "= None"),
        ([[4, 1], [4, 2]], "each length is accepted once"),
    ],
)  # fmt: skip
def test_impossible_lengths_are_refused(lengths: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        check_lengths(lengths, 1, 9)


@pytest.mark.parametrize("value", [0, 10, 4.0, float("nan"), float("inf"), True, "4", None, 10**30, [4]])
def test_impossible_numbers_are_refused(value: Any) -> None:
    for ask in (lambda: check_length(value, 1, 9), lambda: whole_number("length", value, 1, 9),
                lambda: same_lengths(value, 5, 1, 9)):  # fmt: skip
        with pytest.raises(ValueError, match="length = .*from 1 to 9 is needed"):
            ask()
    if value not in (10, 0):
        return
    with pytest.raises(ValueError, match=f"from 11 to {LARGEST}"):
        check_length(value, 11, None)


@pytest.mark.parametrize("n", [0, -1, 2.0, float("nan"), True, "3", None])
def test_impossible_counts_are_refused(n: Any) -> None:
    for ask in (lambda: drawn_lengths([(4, 1)], np.random.default_rng(0), n), lambda: same_lengths(4, n, 1, 9)):
        with pytest.raises(ValueError, match="n = .*; a whole number from 1"):
            ask()


def test_sequences_are_readable() -> None:
    task = StringCopying(3, [[2, 1]])
    assert readable(task, [1, 4, 6, 3, 4, 6, 2, 0, 0]) == "<sos> a c > a c <eos>"
    assert readable(task, np.array([1, 5])) == "<sos> b"
    for wrong in (-1, 7, 1.0):
        with pytest.raises(ValueError, match=f"token = {wrong}; a whole number from 0 to 6"):
            readable(task, [1, wrong])
