"""Addition with hints: sums of Python's integers read from the words, hints in a run of neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from twelvefold.tasks.examples import Examples
from twelvefold.tasks.hinted_addition import HintedAddition, added

TASK = HintedAddition(10, 12, [[1, 1], [3, 1], [5, 2]])


class Sum(NamedTuple):
    x: str
    y: str
    total: str
    hints: list[int]  # of the total's places, least significant first


def generator(seed: int = 10_000) -> np.random.Generator:
    return np.random.default_rng(seed)


def pairs(words: list[str]) -> tuple[list[int], list[str]]:
    """Numbers of the hints, and digits, of `h5 3 h4 0 ...`."""
    assert len(words) % 2 == 0 and all(hint.startswith("h") for hint in words[::2])
    return [int(hint[1:]) for hint in words[::2]], words[1::2]


def parsed(task: HintedAddition, examples: Examples) -> list[Sum]:
    """The sums in sequences that are what the task says, read from their words."""
    sums = []
    for row, first, length in zip(*(part.tolist() for part in examples), strict=True):
        words = [task.words()[token] for token in row]
        assert set(words[length:]) <= {"<pad>"} and "<pad>" not in words[:length]
        assert (words[0], words[first - 1], words[length - 1]) == ("<sos>", ">", "<eos>")
        plus = words.index("+")
        left, x = pairs(words[1:plus])
        right, y = pairs(words[plus + 1 : first - 1])
        hints, reverse = pairs(words[first : length - 1])
        assert left == right == hints[: len(x)][::-1] and len(x) == len(y)
        assert hints == list(range(hints[0], hints[0] + len(hints))) and hints[-1] < task.hints
        assert x[0] != "0" and y[0] != "0" and reverse[-1] != "0"
        sums.append(Sum("".join(x), "".join(y), "".join(reversed(reverse)), hints))
    return sums


def check(task: HintedAddition, sums: list[Sum]) -> None:
    for one in sums:
        assert int(one.total, task.base) == int(one.x, task.base) + int(one.y, task.base), one


@pytest.mark.parametrize("base", [2, 3, 10])
@given(data=st.data())
def test_sums_are_those_of_integers(base: int, data: st.DataObject) -> None:
    hints = data.draw(st.integers(2, 14), label="hints")
    lengths = data.draw(st.lists(st.integers(1, hints - 1), min_size=1, max_size=3, unique=True), label="lengths")
    task = HintedAddition(base, hints, [[length, 1] for length in lengths])
    assert len(task.words()) == task.vocabulary == 5 + base + hints == len(set(task.words()))
    examples = task.training(generator(data.draw(st.integers(0, 99))), 9)
    sums = parsed(task, examples)
    check(task, sums)
    assert {len(one.x) for one in sums} <= set(lengths)
    assert examples.tokens.shape == (9, task.longest_training) == (9, task.tokens_at(max(lengths)))
    assert examples.tokens.max() < task.vocabulary
    longest = parsed(task, task.test(generator(), 5, hints - 1))
    check(task, longest)
    assert all(one.hints[0] == 0 and len(one.x) == hints - 1 for one in longest)  # no other run fits


def test_a_last_carry_lengthens_the_sum() -> None:
    sums = parsed(TASK, TASK.test(generator(), 300, 1))
    assert {(len(one.total), int(one.x) + int(one.y) > 9) for one in sums} == {(1, False), (2, True)}
    examples = TASK.test(generator(), 300, 4)
    long = np.array([len(one.total) == 5 for one in parsed(TASK, examples)])
    assert set(examples.lengths[long]) == {TASK.tokens_at(4)}
    assert set(examples.lengths[~long]) == {TASK.tokens_at(4) - 2}
    assert 0 < long.sum() < 300


class Highest:
    """A generator whose draws are all as large as they can be."""

    def random(self, shape: Any) -> np.ndarray:
        return np.full(shape, np.nextafter(1.0, 0.0))


class Lowest:
    def random(self, shape: Any) -> np.ndarray:
        return np.zeros(shape)


@pytest.mark.parametrize("base", [2, 10])
@pytest.mark.parametrize("length", [1, 6, 11])
def test_extreme_draws_are_all_nines_with_the_last_hints_and_a_power(base: int, length: int) -> None:
    task = HintedAddition(base, 12, [[1, 1]])
    high, low = (parsed(task, task.test(draws, 2, length))[0] for draws in (Highest(), Lowest()))  # type: ignore[arg-type]
    check(task, [high, low])
    assert high.x == high.y == str(base - 1) * length and len(high.total) == length + 1 and high.hints[-1] == 11
    assert low.x == low.y == "1" + "0" * (length - 1) and low.hints[0] == 0


def test_starts_of_hints_and_digits_are_equally_likely() -> None:
    sums = parsed(TASK, TASK.test(generator(), 2_700, 3))
    assert chisquare([sum(one.hints[0] == first for one in sums) for first in range(9)]).pvalue > 0.001
    for number in ("x", "y"):
        leading, last = ([getattr(one, number)[place] for one in sums] for place in (0, -1))
        assert chisquare([leading.count(str(digit)) for digit in range(1, 10)]).pvalue > 0.001
        assert chisquare([last.count(str(digit)) for digit in range(10)]).pvalue > 0.001


def test_lengths_occur_as_often_as_said() -> None:
    sizes = [len(one.x) for one in parsed(TASK, TASK.training(generator(), 4_000))]
    assert chisquare([sizes.count(n) for n in (1, 3, 5)], [1_000, 1_000, 2_000]).pvalue > 0.001


@given(st.sampled_from([2, 3, 10, 36]), st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), min_size=1))
def test_digits_of_sums(base: int, numbers: list[tuple[int, int]]) -> None:
    places = 41
    digits = np.array([[[one[i] // base**k % base for k in range(places)] for one in numbers] for i in (0, 1)])
    total = added(digits, base)
    assert total.shape == (len(numbers), places + 1)
    assert [sum(int(digit) * base**k for k, digit in enumerate(row)) for row in total] == [x + y for x, y in numbers]


@pytest.mark.parametrize(
    ("digits", "base", "named"),
    [
        (np.zeros((2, 3)), 10, r"shape \(2, 3\)"), (np.zeros((3, 1, 1), dtype=int), 10, r"shape \(3, 1, 1\)"),
        (np.full((2, 1, 1), 10), 10, "from 10 to 10; 0 to 9"), (np.full((2, 1, 1), -1), 10, "from -1"),
        (np.full((2, 1, 1), np.nan), 10, "float64"), (np.zeros((2, 1, 1), dtype=int), 1, "base = 1"),
    ],
)  # fmt: skip
def test_impossible_digits_are_refused(digits: np.ndarray, base: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        added(digits, base)


@pytest.mark.parametrize("name", ["base", "hints"])
@pytest.mark.parametrize("value", [1, 0, -3, 10.0, float("nan"), True, "10", None, 10**30])
def test_impossible_settings_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} = .*from 2 to"):
        HintedAddition(**{"base": 10, "hints": 12, "lengths": [[1, 1]]} | {name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("lengths", [[], [[12, 1]], [[0, 1]], [[4, 0]], [[4, 1], [4, 1]], [4, 5], 4, [[4.0, 1]]])
def test_impossible_training_lengths_are_refused(lengths: Any) -> None:
    with pytest.raises(ValueError, match="length"):
        HintedAddition(10, 12, lengths)


@pytest.mark.parametrize("length", [0, 12, 5.0, float("nan"), "5", None, True])
def test_impossible_test_lengths_are_refused(length: Any) -> None:
    with pytest.raises(ValueError, match="length = .*from 1 to 11"):
        TASK.test(generator(), 5, length)


def test_empty_sets_are_refused() -> None:
    for ask in (lambda: TASK.training(generator(), 0), lambda: TASK.test(generator(), 0, 5)):
        with pytest.raises(ValueError, match="n = 0"):
            ask()
