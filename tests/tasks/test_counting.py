"""Counting: an independent reading of the words; every start and every number occurs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from twelvefold.tasks.counting import Counting
from twelvefold.tasks.examples import Examples

TASK = Counting(20, [[1, 1], [4, 1], [7, 2]])


def generator(seed: int = 10_000) -> np.random.Generator:
    return np.random.default_rng(seed)


def parsed(task: Counting, examples: Examples) -> list[tuple[int, int]]:
    """The numbers a and b of sequences that are what the task says, read from their words."""
    pairs = []
    for row, first, length in zip(*(part.tolist() for part in examples), strict=True):
        words = [task.words()[token] for token in row]
        assert set(words[length:]) <= {"<pad>"} and words[first - 1] == ">"
        prompt, listed = " ".join(words[:length]).split(" > ")
        start, a, b = prompt.split()
        *numbers, end = listed.split()
        assert (start, end) == ("<sos>", "<eos>")
        assert numbers == [str(number) for number in range(int(a), int(b) + 1)] and numbers
        pairs.append((int(a), int(b)))
    return pairs


@given(st.data())
def test_sequences_count(data: st.DataObject) -> None:
    numbers = data.draw(st.integers(1, 60), label="numbers")
    lengths = data.draw(st.lists(st.integers(1, numbers), min_size=1, max_size=3, unique=True), label="lengths")
    task = Counting(numbers, [[length, 1] for length in lengths])
    assert len(task.words()) == task.vocabulary == numbers + 4 == len(set(task.words()))
    examples = task.training(generator(data.draw(st.integers(0, 99))), 9)
    assert {b - a + 1 for a, b in parsed(task, examples)} <= set(lengths)
    assert examples.tokens.shape == (9, task.longest_training) == (9, task.tokens_at(max(lengths)))
    test = task.test(generator(), 3, numbers)  # everything is listed: one prompt
    assert parsed(task, test) == [(0, numbers - 1)] * 3 and test.tokens.all()


def test_every_start_is_equally_likely() -> None:
    for length in (1, 4, 18):
        starts = [a for a, _ in parsed(TASK, TASK.test(generator(), 2_100, length))]
        counts = [starts.count(a) for a in range(21 - length)]
        assert sum(counts) == 2_100 and chisquare(counts).pvalue > 0.001


def test_every_number_is_trained() -> None:
    tokens, first, lengths = TASK.training(generator(), 2_000)
    continued = np.arange(tokens.shape[1]) >= first[:, None]
    assert set(tokens[continued].tolist()) == {0, 2, *range(4, 24)}  # padding, end, all numbers


def test_lengths_occur_as_often_as_said() -> None:
    sizes = [b - a + 1 for a, b in parsed(TASK, TASK.training(generator(), 4_000))]
    assert chisquare([sizes.count(n) for n in (1, 4, 7)], [1_000, 1_000, 2_000]).pvalue > 0.001


@pytest.mark.parametrize("numbers", [0, -1, 2.5, float("nan"), True, "20", None, 10**30])
def test_impossible_numbers_are_refused(numbers: Any) -> None:
    with pytest.raises(ValueError, match="numbers = "):
        Counting(numbers, [[1, 1]])


@pytest.mark.parametrize("lengths", [[], [[21, 1]], [[0, 1]], [[4, 0]], [[4, 1], [4, 1]], [4, 5], 4, [[4.0, 1]]])
def test_impossible_training_lengths_are_refused(lengths: Any) -> None:
    with pytest.raises(ValueError, match="length"):
        Counting(20, lengths)


@pytest.mark.parametrize("length", [0, 21, 5.0, float("nan"), "5", None, True])
def test_impossible_test_lengths_are_refused(length: Any) -> None:
    with pytest.raises(ValueError, match="length = .*from 1 to 20"):
        TASK.test(generator(), 5, length)


def test_empty_sets_are_refused() -> None:
    for ask in (lambda: TASK.training(generator(), 0), lambda: TASK.test(generator(), 0, 5)):
        with pytest.raises(ValueError, match="n = 0"):
            ask()
