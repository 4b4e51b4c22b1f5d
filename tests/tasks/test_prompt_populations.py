"""Populations on prompts: members are what they would be alone, and what is recorded are the scores of `nn`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.sweep import sweep
from twelvefold.nn import transformer_training
from twelvefold.nn.sequence_scores import sequence_scores
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.nn.transformer_training import Batch
from twelvefold.tasks import prompt_populations
from twelvefold.tasks.kept_weights import kept_weights
from twelvefold.tasks.prompt_populations import TASKS, prompt_population, room_of, scores_of, task_of

from tests.nn.transformer_cases import Killed, Mortal
from tests.rounding import same_numbers

STEPS = 70  # more than a block of updates whose data are drawn together
POINT: dict[str, Any] = {
    "task": "copying", "settings": {"alphabet": 6, "lengths": [[3, 1], [4, 2]]}, "members": [0, 1, 5], "seed": 10_100,
    "batch": 3,
    "architecture": {"width": 8, "layers": 1, "heads": 1, "feedforward": 0, "positions": "learned", "longest": 15,
                     "tied_head": False, "embedding_std": 1.0, "initialisation": "fan_in"},
    "recipe": {"steps": STEPS, "learning_rate": 1e-2, "warmup": 3, "decay": "constant"}, "record_at": [0, 40, STEPS],
    "test_lengths": [6, 3], "prompts": 21, "kept": 3,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "copying": POINT["settings"],
    "counting": {"numbers": 9, "lengths": [[1, 1], [3, 1]]},
    "addition": {"base": 3, "hints": 4, "lengths": [[1, 1], [2, 1]]},
}
SCORES = ("exact", "sequence_loss", "worst", "worst_log", "margin")


@pytest.fixture(scope="module")
def population() -> dict[str, Any]:
    return prompt_population(**POINT)


def assert_same(left: dict[str, Any], right: dict[str, Any], rows: Any = slice(None)) -> None:
    """The same bytes (up to rounding after some training, where that cannot be), of the members `rows` on the right."""
    assert left.keys() == right.keys()
    for name in left:
        assert same_numbers(torch.as_tensor(left[name]), torch.as_tensor(right[name])[rows], 1e-3), name


# --- members


def test_a_member_is_what_it_is_alone(population: dict[str, Any]) -> None:
    for row, replicate in enumerate(POINT["members"]):
        alone = prompt_population(**POINT | {"members": [replicate], "kept": 1})
        assert_same(alone, population, slice(row, row + 1))
    assert len(set(population["loss"][:, 2].tolist())) == 3


@pytest.mark.parametrize("task", ["counting", "addition"])
def test_other_tasks_have_members_that_are_what_they_are_alone(task: str) -> None:
    architecture = POINT["architecture"] | {"longest": 30, "feedforward": 8, "dropout": 0.1}
    point = POINT | {"task": task, "settings": SETTINGS[task], "architecture": architecture, "test_lengths": [3]}
    together = prompt_population(**point)
    assert_same(prompt_population(**point | {"members": [1], "kept": 1}), together, slice(1, 2))
    assert bool((together["id_sequence_loss"][:, 2] < together["id_sequence_loss"][:, 0]).all()), "it learns"


def test_the_order_of_members_is_theirs(population: dict[str, Any]) -> None:
    assert_same(prompt_population(**POINT | {"members": [5, 0, 1]}), population, [2, 0, 1])


@pytest.mark.parametrize("at_once", [1, 2])
def test_chunks_do_not_change_results(
    at_once: int, population: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer_training, "members_at_once", lambda *_: at_once)
    assert_same(prompt_population(**POINT), population)


@pytest.mark.parametrize("after", [30, 64, 67, 100])  # within a block, at its end, in the next one, in another chunk
def test_killed_and_resumed_gives_the_same_bytes(
    after: int, population: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer_training, "members_at_once", lambda *_: 2)
    mortal = Mortal(tmp_path / "state.npz", every=0)
    mortal.left = after
    with pytest.raises(Killed):
        prompt_population(**POINT, checkpoint=mortal)
    assert_same(prompt_population(**POINT, checkpoint=Checkpoint(tmp_path / "state.npz")), population)


# --- data


class Asked(Exception):
    """Stands for the training, which is left out."""


def data_of(point: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[int, slice], Batch]:
    """The function that hands batches to the trainer."""
    seen: list[Any] = []

    def train(*given: Any, **_options: Any) -> None:
        seen.append(given[3])
        raise Asked

    monkeypatch.setattr(prompt_populations, "train", train)
    with pytest.raises(Asked):
        prompt_population(**point)
    return seen[0]


def equal(left: Batch, right: Batch) -> bool:
    return all(torch.equal(mine, ours) for mine, ours in zip(left, right, strict=True))


def test_a_batch_depends_on_step_and_member_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data, everyone = data_of(POINT, monkeypatch), slice(0, 3)
    forwards = [data(step, everyone).each(torch.clone) for step in range(140)]
    for step in (139, 64, 63, 5, 0):  # another order, other members beside it, another length of training
        for row in range(3):
            mine = forwards[step].each(lambda part, row=row: part[row : row + 1])  # type: ignore[misc]
            assert equal(mine, data(step, slice(row, row + 1)))
    longer = data_of(POINT | {"recipe": POINT["recipe"] | {"steps": 500}, "members": [5], "kept": 0}, monkeypatch)
    assert equal(longer(100, slice(0, 1)), forwards[100].each(lambda part: part[2:]))
    batches = torch.stack([batch.tokens for batch in forwards]).flatten(0, 1).flatten(1)  # of any update and member
    assert len(batches.unique(dim=0)) == len(batches) == 140 * 3, "all are different"


def test_the_first_updates_do_not_know_how_many_follow(population: dict[str, Any]) -> None:
    shorter = prompt_population(**POINT | {"recipe": POINT["recipe"] | {"steps": 40}, "record_at": [0, 40]})
    for name in ("loss", *SCORES):
        assert torch.equal(shorter[name], population[name][:, :2]), name


@pytest.mark.parametrize("task", TASKS)
def test_counted_tokens_are_those_of_continuations(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = POINT["architecture"] | {"longest": 30}
    point = POINT | {"task": task, "settings": SETTINGS[task], "architecture": architecture, "test_lengths": [2]}
    data, words, lengths = data_of(point, monkeypatch), task_of(task, SETTINGS[task]).words(), set()
    for step in range(0, 70, 7):
        batch = data(step, slice(0, 3))
        assert batch.counted is not None and batch.counted.shape == (3, 3, batch.tokens.shape[2] - 1)
        for row, counted in zip(batch.tokens.flatten(0, 1).tolist(), batch.counted.flatten(0, 1).tolist(), strict=True):
            inner = [words[token] for token in row if token]
            after = inner.index(">")  # the separator predicts the first token of the continuation
            assert counted == [after <= place < len(inner) - 1 for place in range(len(row) - 1)]
            lengths.add(len(inner))
    assert len(lengths) > 1


def test_starts_stay_in_the_table_and_use_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(POINT, monkeypatch)
    starts = torch.stack([data(step, slice(0, 3)).starts for step in range(64)])  # 10 inputs in 15 rows
    assert sorted(starts.unique().tolist()) == [0, 1, 2, 3, 4, 5]
    config = TransformerConfig(vocabulary=10, **POINT["architecture"])
    for tokens, last in ((11, 5), (15, 1), (16, 0)):
        tests = prompt_populations.test_starts(config, 1, 200, 6, tokens)
        assert tests is not None and sorted(tests.unique().tolist()) == list(range(last + 1))
    with pytest.raises(ValueError, match="longest = 15 rows of positions; the longest sequence here needs 16"):
        prompt_populations.test_starts(config, 1, 200, 6, 17)
    rotary = TransformerConfig(vocabulary=10, width=8, layers=1, heads=1, feedforward=0, positions="rotary")
    assert prompt_populations.test_starts(rotary, 1, 200, 6, 99) is None
    free = {"width": 8, "layers": 1, "heads": 1, "feedforward": 0, "positions": "none"}
    assert data_of(POINT | {"architecture": free}, monkeypatch)(0, slice(0, 3)).starts is None


def test_short_test_sequences_start_where_training_sequences_do() -> None:
    task = task_of("copying", POINT["settings"])
    assert [room_of(task, length) for length in (1, 3, 4, 5, 6)] == [11, 11, 11, 13, 15]


def test_the_sets_for_testing_are_the_same_for_all_and_not_the_training_data(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def scores(*given: Any) -> dict[str, torch.Tensor]:
        seen.append(given[2:])
        return scores_of(*given)

    monkeypatch.setattr(prompt_populations, "scores_of", scores)
    monkeypatch.setattr(transformer_training, "members_at_once", lambda *_: 1)
    prompt_population(**POINT)
    assert len(seen) == 3 * 3 * 3  # members, times, two lengths and one set as in training
    for number in range(3):
        for examples, starts in seen[number::3]:
            assert all(np.array_equal(*parts) for parts in zip(examples, seen[number][0], strict=True))
            assert torch.equal(starts, seen[number][1])
    task = task_of("copying", POINT["settings"])
    again = [prompt_populations.test_examples(task, 10_100, 21, length) for length in (6, 3)]
    for number, expected in enumerate([*again, prompt_populations.id_examples(task, 10_100, 21)]):
        assert np.array_equal(seen[number][0].tokens, expected.tokens)
    assert [set(seen[number][0].lengths.tolist()) for number in range(3)] == [{15}, {9}, {9, 11}]
    first = data_of(POINT, monkeypatch)(0, slice(0, 1)).tokens[0, 0].tolist()
    assert first not in seen[2][0].tokens[:3].tolist()


# --- what is handed back


def test_records_are_the_scores_of_the_networks(population: dict[str, Any]) -> None:
    task = task_of("copying", POINT["settings"])
    config = TransformerConfig(vocabulary=task.vocabulary, **POINT["architecture"])
    asked = [("", number, length, prompt_populations.test_examples(task, 10_100, 21, length), tokens)
             for number, (length, tokens) in enumerate([(6, 15), (3, 11)])]  # fmt: skip
    asked.append(("id_", ..., 0, prompt_populations.id_examples(task, 10_100, 21), task.longest_training))
    for prefix, number, length, examples, tokens in asked:
        starts = prompt_populations.test_starts(config, 10_100, 21, length, tokens)
        given = [torch.from_numpy(part) for part in examples]
        scores = sequence_scores(config, kept_weights(population), given[0], given[1], given[2], starts)
        worst = scores.worst.double()
        expected = zip(SCORES, (scores.exact, scores.loss, worst.exp(), worst, scores.margin), strict=True)
        for name, value in expected:
            found = population[prefix + name][:, 2][:, number]  # after the last update
            torch.testing.assert_close(found, value.double().mean(1), atol=1e-7, rtol=1e-6)


def test_shapes_and_first_record(population: dict[str, Any]) -> None:
    for name in SCORES:
        assert population[name].shape == (3, 3, 2) and population["id_" + name].shape == (3, 3)
    assert population["loss"].shape == (3, 3) and not population["loss"][:, 0].any()
    assert {name.split("/")[0] for name in population} == {*SCORES, *("id_" + name for name in SCORES), "loss",
                                                           "weights"}  # fmt: skip
    for name, weight in kept_weights(population).items():
        assert len(weight) == 3, name
        assert torch.equal(kept_weights(prompt_population(**POINT | {"kept": 1}))[name], weight[:1])
    assert all(len(weight) == 0 for weight in kept_weights(prompt_population(**POINT | {"kept": 0})).values())


def test_a_point_is_computed_once(
    population: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path))
    (first,) = sweep(prompt_population, [POINT])
    assert_same(first, population)

    def train(*_given: Any, **_options: Any) -> None:
        raise Asked

    monkeypatch.setattr(prompt_populations, "train", train)
    (second,) = sweep(prompt_population, [json.loads(json.dumps(POINT))])
    assert_same(second, first)
    assert len(list(tmp_path.rglob("*.npz"))) == 1


# --- bad input


def test_tasks_are_found_by_name() -> None:
    assert set(TASKS) == set(SETTINGS)
    assert [type(task_of(task, SETTINGS[task])).__name__ for task in TASKS] == ["StringCopying", "Counting",
                                                                                "HintedAddition"]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"task": "sums"}, "task = 'sums'; known are"),
        ({"settings": {"alphabet": 6}}, "lengths"),
        ({"settings": {"alphabet": 6, "lengths": [[3, 1]], "base": 2}}, "base"),
        ({"settings": 6}, "settings = 6"),
        ({"settings": {"alphabet": 6, "lengths": [[7, 1]]}}, "length = 7"),
        ({"settings": {"alphabet": 6.0, "lengths": [[3, 1]]}}, "alphabet = 6.0"),
        ({"members": []}, r"members = \[\]"),
        ({"members": 3}, "members = 3"),
        ({"members": [0, -1, 2]}, "-1"),
        ({"members": [0, 1.5, 2]}, "1.5"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": float("nan")}, "seed = nan"),
        ({"batch": 0}, "batch = 0"),
        ({"batch": float("nan")}, "batch = nan"),
        ({"batch": 3.0}, "batch = 3.0"),
        ({"prompts": 0}, "prompts = 0"),
        ({"prompts": "21"}, "prompts = '21'"),
        ({"kept": 4}, "kept = 4; a whole number from 0 to 3"),
        ({"kept": -1}, "kept = -1"),
        ({"kept": 1.0}, "kept = 1.0"),
        ({"test_lengths": []}, r"test_lengths = \[\]"),
        ({"test_lengths": 6}, "test_lengths = 6"),
        ({"test_lengths": "6"}, "test_lengths = '6'"),
        ({"test_lengths": [7]}, "length = 7"),
        ({"test_lengths": [5.0]}, "length = 5.0"),
        ({"test_lengths": ["5"]}, "length = '5'"),
        ({"record_at": [71]}, "record_at"),
        ({"architecture": POINT["architecture"] | {"longest": 13}}, "longest = 13 rows .* needs 14"),
        ({"architecture": POINT["architecture"] | {"longest": 9}, "test_lengths": [3]}, "longest = 9 rows .* needs 10"),
        ({"architecture": POINT["architecture"] | {"width": 0}}, "width = 0"),
        ({"architecture": POINT["architecture"] | {"dropout": float("nan")}}, "dropout = nan"),
        ({"recipe": POINT["recipe"] | {"learning_rate": float("nan")}}, "learning_rate = nan"),
    ],
)
def test_impossible_populations_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        prompt_population(**POINT | change)
