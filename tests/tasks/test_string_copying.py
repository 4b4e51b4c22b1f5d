"""Copying strings: an independent reading of the words, and the sequences on which two rules disagree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.transformer import forward, initial_weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.tasks import string_copying
from twelvefold.tasks.examples import Examples
from twelvefold.tasks.string_copying import StringCopying, Swapped, rule_shares, swapped

TASK = StringCopying(12, [[4, 1], [5, 10], [6, 10]])


def generator(seed: int = 10_000) -> np.random.Generator:
    return np.random.default_rng(seed)


def parsed(task: StringCopying, examples: Examples) -> list[list[str]]:
    """The strings of sequences that are what the task says, read from their words."""
    strings = []
    for row, first, length in zip(*(part.tolist() for part in examples), strict=True):
        words = [task.words()[token] for token in row]
        assert words[length:] == ["<pad>"] * (len(words) - length)
        inner = " ".join(words[:length]).removeprefix("<sos> ").removesuffix(" <eos>")
        prompt, copy = (half.split() for half in inner.split(" > "))
        assert prompt == copy and len(set(prompt)) == len(prompt)
        assert length == len(prompt) + len(copy) + 3 and words[first - 1] == ">" and words[length - 1] == "<eos>"
        assert not set(prompt) & {"<pad>", "<sos>", "<eos>", ">"}
        strings.append(prompt)
    return strings


@given(st.data())
def test_sequences_are_copies_of_different_symbols(data: st.DataObject) -> None:
    alphabet = data.draw(st.integers(1, 40), label="alphabet")
    lengths = data.draw(st.lists(st.integers(1, alphabet), min_size=1, max_size=3, unique=True), label="lengths")
    task = StringCopying(alphabet, [[length, number + 1] for number, length in enumerate(lengths)])
    assert len(task.words()) == task.vocabulary == alphabet + 4 == len(set(task.words()))
    examples = task.training(generator(data.draw(st.integers(0, 99))), 9)
    assert {len(string) for string in parsed(task, examples)} <= set(lengths)
    assert examples.tokens.shape == (9, task.longest_training) == (9, task.tokens_at(max(lengths)))
    test = task.test(generator(), 5, alphabet)
    assert [len(string) for string in parsed(task, test)] == [alphabet] * 5
    assert test.tokens.shape == (5, 2 * alphabet + 3) and test.tokens.all()


def test_lengths_and_symbols_occur_as_often_as_said() -> None:
    strings = parsed(TASK, TASK.training(generator(), 6_300))
    sizes = [len(string) for string in strings]
    assert chisquare([sizes.count(n) for n in (4, 5, 6)], [300, 3_000, 3_000]).pvalue > 0.001
    for place in range(4):
        letters = [string[place] for string in strings]
        assert chisquare([letters.count(letter) for letter in "abcdefghijkl"]).pvalue > 0.001


def test_draws_depend_on_the_generator_alone() -> None:
    first, same, other = (TASK.training(generator(seed), 20) for seed in (1, 1, 2))
    assert np.array_equal(first.tokens, same.tokens) and not np.array_equal(first.tokens, other.tokens)


@pytest.mark.parametrize("neighbour", [False, True])
def test_swapped_sequences_by_hand(neighbour: bool) -> None:
    cases, length, seen = swapped(TASK, generator(), 600, 6, neighbour), 6, set()
    original = TASK.test(generator(), 600, 6).tokens
    for row, true, at, content, position in zip(cases.tokens.tolist(), original.tolist(), *map(np.ndarray.tolist,
                                                cases[1:]), strict=True):  # fmt: skip
        string, copy = row[1 : length + 1], row[length + 2 : 2 * length + 2]
        assert [place for place in range(len(row)) if row[place] != true[place]] == [at]
        j = at - (length + 2)  # from 0
        k = string.index(copy[j])
        assert content == string[k + 1] and position == string[j + 1] and content != position
        assert row[at - length + 1 - 1] == position, "the place rule looks n places back"
        assert true[at + 1] == position, "the true copy goes on"
        seen.add((j, k))
        if neighbour:  # with one place less where the current token stands n places back, the answer is that by content
            assert row[at - length] == row[at] and row[at - (length - 1)] == content
    places = range(length - 1)
    assert seen == {(j, k) for j in places for k in places if (k == j + 1 if neighbour else k not in (j, j + 1))}


def fake(answers: Any) -> Any:
    """A stand-in for `forward` that is certain of the token that `answers(row, at)` names."""

    def network(config: TransformerConfig, weights: dict[str, Tensor], tokens: Tensor, *, starts: Tensor | None,
                at: Tensor) -> Tensor:  # fmt: skip
        given = torch.tensor([answers(row, place) for row, place in zip(tokens.tolist(), at.tolist(), strict=True)])
        logits = torch.nn.functional.one_hot(given, config.vocabulary).float()
        return torch.stack([logits] * len(weights["embedding"]))

    return network


def by_content(row: list[int], at: int) -> int:
    return row[row.index(row[at]) + 1]


def by_position(row: list[int], at: int) -> int:
    return row[at - (row.index(3) - 1)]  # the separator stands behind the string


def by_neither(row: list[int], at: int) -> int:
    return 0


@pytest.mark.parametrize(("rule", "shares"), [(by_content, (1, 0)), (by_position, (0, 1)), (by_neither, (0, 0))])
@pytest.mark.parametrize("length", [4, 7, 12])
def test_networks_that_follow_a_rule_are_found(
    rule: Any, shares: tuple[int, int], length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(string_copying, "forward", fake(rule))
    config = TransformerConfig(TASK.vocabulary, 4, 1, 1, 0)
    found = rule_shares(config, {"embedding": torch.zeros(3, 16, 4)}, swapped(TASK, generator(), 50, length))
    assert [share.tolist() for share in found] == [[shares[0]] * 3, [shares[1]] * 3]


CONFIG = TransformerConfig(TASK.vocabulary, 12, 1, 1, 0, positions="learned", longest=18, embedding_std=1.0)


def test_shares_are_those_of_the_best_token_of_each_network() -> None:
    weights = initial_weights(CONFIG, [torch_generator(10_000, r, "initial weights") for r in range(3)])
    cases = swapped(TASK, generator(), 80, 6)
    starts = torch.randint(5, (80,), generator=torch_generator(10_000, 0, "starts"))  # 14 inputs in 18 rows
    found = rule_shares(CONFIG, weights, cases, starts)
    for member in range(3):
        own, right = {name: weight[member : member + 1] for name, weight in weights.items()}, [0, 0]
        for row in range(80):
            at = int(cases.at[row])
            prefix = torch.from_numpy(cases.tokens[row : row + 1, : at + 1])
            best = int(forward(CONFIG, own, prefix, starts=starts[row : row + 1])[0, 0, -1].argmax())
            right[0] += best == cases.content[row]
            right[1] += best == cases.position[row]
        assert [float(share[member]) for share in found] == [count / 80 for count in right]
    assert float(torch.stack(found).sum()) > 0


def test_the_last_row_of_the_position_table_is_used() -> None:
    tight = replace(CONFIG, longest=14)  # 15 tokens, the last of which is never read
    weights = initial_weights(tight, [torch_generator(10_000, 0, "initial weights")])
    rule_shares(tight, weights, swapped(TASK, generator(), 5, 6), torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize("alphabet", [0, -1, 2.5, float("nan"), True, "12", None, 10**30])
def test_impossible_alphabets_are_refused(alphabet: Any) -> None:
    with pytest.raises(ValueError, match="alphabet = "):
        StringCopying(alphabet, [[1, 1]])


@pytest.mark.parametrize("lengths", [[], [[13, 1]], [[0, 1]], [[4, 0]], [[4, 1], [4, 1]], [4, 5], 4, [[4.0, 1]]])
def test_impossible_training_lengths_are_refused(lengths: Any) -> None:
    with pytest.raises(ValueError, match="length"):
        StringCopying(12, lengths)


@pytest.mark.parametrize("length", [0, 13, 5.0, float("nan"), "5", None, True])
def test_impossible_test_lengths_are_refused(length: Any) -> None:
    for ask in (lambda: TASK.test(generator(), 5, length), lambda: swapped(TASK, generator(), 5, length)):
        with pytest.raises(ValueError, match="length = "):
            ask()
    with pytest.raises(ValueError, match="length = 3; a whole number from 4 to 12"):
        swapped(TASK, generator(), 5, 3)


def test_empty_sets_are_refused() -> None:
    for ask in (lambda: TASK.training(generator(), 0), lambda: TASK.test(generator(), 0, 5),
                lambda: swapped(TASK, generator(), 0, 5)):  # fmt: skip
        with pytest.raises(ValueError, match="n = 0"):
            ask()


def test_cases_that_do_not_fit_the_network_are_refused() -> None:
    weights = initial_weights(CONFIG, [torch_generator(10_000, 0, "initial weights")])
    cases: Swapped = swapped(TASK, generator(), 5, 6)
    with pytest.raises(ValueError, match="starts has shape"):
        rule_shares(CONFIG, weights, cases, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="vocabulary"):
        rule_shares(CONFIG, weights, cases._replace(tokens=cases.tokens + 10))
    with pytest.raises(ValueError, match="at has shape"):
        rule_shares(CONFIG, weights, cases._replace(at=cases.at[:3]))


def test_settings_from_json_and_numpy_make_equal_tasks() -> None:
    assert StringCopying(np.int64(12), [[5, 1]]) == StringCopying(12, ((5, 1),))  # type: ignore[arg-type]
    assert hash(StringCopying(12, [[5, 1]])) == hash(StringCopying(12, ((5, 1),)))
