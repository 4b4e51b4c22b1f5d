"""Populations on grammar mixes: members are what they would be alone, and scores agree with slow references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.exact_match import exact_match
from twelvefold.nn.transformer import Weights, forward, initial_weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.tasks.grammar_populations import (
    BOTH,
    HIERARCHICAL,
    LINEAR,
    NEITHER,
    answers,
    grammar_population,
    id_set,
    ids,
    mix_of,
    ood_set,
    orders,
    rules_followed,
    sweep_populations,
    vocabulary_of,
)
from twelvefold.tasks.items import Items
from twelvefold.tasks.kept_weights import kept_weights
from twelvefold.tasks.vocabulary import EOS_ID

POINT: dict[str, Any] = {
    "task": "question", "seed": 10_100, "items": 200, "batch": 8,
    "mixes": [{"center_embedded": 0.0, "longest": 23}, {"center_embedded": 1.0, "longest": 23}],
    "members": [[0, 0, 0], [1, 0, 0], [1, 3, 5]],
    "architecture": {"width": 16, "layers": 1, "heads": 2, "feedforward": 32, "dropout": 0.1},
    "recipe": {"steps": 30, "learning_rate": 3e-3, "warmup": 3}, "record_at": [0, 15, 30],
    "ood_items": 40, "id_items": 20, "kept": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def population() -> dict[str, Any]:
    return grammar_population(**POINT)


@pytest.fixture(scope="module")
def trained() -> tuple[TransformerConfig, Weights]:
    """Two networks trained until they answer in-distribution questions."""
    point = POINT | {
        "mixes": [{"longest": 19, "lexicon": "small", "questions": 0.9, "center_embedded": 0.0}],
        "members": [[0, 0, 0], [0, 1, 1]],
        "items": 4_000, "batch": 16, "architecture": POINT["architecture"] | {"width": 32, "dropout": 0.0},
        "recipe": {"steps": 400, "learning_rate": 1e-2, "warmup": 20}, "record_at": [400], "kept": 2,
    }  # fmt: skip
    result = grammar_population(**point)
    config = TransformerConfig(vocabulary=vocabulary_of("question", "small").size, **point["architecture"])
    return config, kept_weights(result)


def test_a_member_is_what_it_is_alone(population: dict[str, Any]) -> None:
    alone = grammar_population(**POINT | {"mixes": POINT["mixes"][1:], "members": [[0, 3, 5]], "kept": 1})
    for name in ("loss", "ood", "id", "exact"):
        assert torch.equal(alone[name][0], population[name][2]), name
    for name, weight in kept_weights(alone).items():
        assert torch.equal(weight[0], kept_weights(population)[name][2]), name


def test_shapes_and_first_record(population: dict[str, Any]) -> None:
    assert population["ood"].shape == (3, 3, 40) and population["id"].shape == (3, 3, 20)
    assert population["loss"].shape == (3, 3) and bool((population["loss"][:, 0] == 0).all())
    # before training, members 0 and 1 are one network: they share their initial weights
    assert torch.equal(population["ood"][0, 0], population["ood"][1, 0])
    embedding = kept_weights(population)["embedding"]
    assert not torch.equal(embedding[0], embedding[1])


def test_questions_tell_both_rules_apart() -> None:
    ood = ood_set("question", "full", None, 60, 10_100)
    given = torch.stack([ids(ood.hierarchical), ids(ood.linear), torch.full((60,), 1)])
    codes = rules_followed(given, ood)
    assert [int(row.unique()) for row in codes] == [HIERARCHICAL, LINEAR, NEITHER]
    same = id_set(mix_of("question", {}), 30, 10_100)
    assert int(rules_followed(ids(same.hierarchical)[None], same).unique()) == BOTH


def greedy(config: TransformerConfig, weights: Weights, prompt: list[int], limit: int) -> list[int]:
    """Decode token by token, with the whole sequence passed through the network each time."""
    sequence = list(prompt)
    while len(sequence) < limit and sequence[-1] != EOS_ID:
        logits = forward(config, weights, torch.tensor([sequence]))
        sequence.append(int(logits[0, 0, -1].argmax()))
    return sequence


def member(weights: Weights, number: int) -> Weights:
    return {name: weight[number : number + 1] for name, weight in weights.items()}


def test_teacher_forced_and_greedy_scores_agree_on_100_items(trained: tuple[TransformerConfig, Weights]) -> None:
    config, weights = trained
    items = id_set(mix_of("question", {"longest": 19, "lexicon": "small", "center_embedded": 0.0}), 100, 10_101)
    forced = exact_match(config, weights, ids(items.tokens), ids(items.query) + 1, ids(items.lengths))
    for number in range(2):
        decoded = []
        for row, length, query in zip(items.tokens, items.lengths, items.query, strict=True):
            truth = row[:length].tolist()
            decoded.append(greedy(config, member(weights, number), truth[: query + 1], int(length)) == truth)
        assert forced[number].tolist() == decoded
    assert 0 < int(forced.sum()) < forced.numel(), "both outcomes must occur, or the test says nothing"


def test_answers_are_the_best_choice_at_the_query(trained: tuple[TransformerConfig, Weights]) -> None:
    config, weights = trained
    items = ood_set("question", "small", 23, 30, 10_102)
    given = answers(config, weights, items)
    for row in range(len(items)):
        logits = forward(config, weights, ids(items.tokens)[row : row + 1, : items.query[row] + 1])[:, 0, -1]  # [P, V]
        options = ids(items.choices)[row]
        assert given[:, row].tolist() == options[logits[:, options].argmax(1)].tolist()


def test_every_epoch_is_a_permutation_of_its_own() -> None:
    first, second = orders(1, [0, 4], 0, 50), orders(1, [0, 4], 1, 50)
    for order in (*first, *second):
        assert sorted(order.tolist()) == list(range(50))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first, second)
    assert torch.equal(first[1], orders(1, [4], 0, 50)[0])


def test_items_keep_their_order_of_ids() -> None:
    config = TransformerConfig(vocabulary=vocabulary_of("question", "full").size, **POINT["architecture"])
    weights = initial_weights(config, [torch_generator(1, 0, "initial weights")])
    items: Items = ood_set("question", "full", None, 25, 10_103)
    shuffled = np.random.default_rng(0).permutation(25)
    before: Tensor = answers(config, weights, items)
    assert torch.equal(before[:, shuffled], answers(config, weights, items.take(shuffled)))


@pytest.mark.parametrize("shard", [1, 2, 3, 9])
def test_shards_are_the_population(
    shard: int, population: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path))
    (result,) = sweep_populations([POINT | {"kept": 2}], shard)
    for name in ("ood", "id", "exact", "loss"):
        np.testing.assert_array_equal(result[name], population[name].numpy())
    for name, weight in kept_weights(result).items():
        assert torch.equal(weight, kept_weights(population)[name][:2])
    assert len(list(tmp_path.rglob("*.npz"))) == -(-3 // shard)


def test_unknown_tasks_are_refused() -> None:
    for ask in (lambda: vocabulary_of("sums", "full"), lambda: ood_set("sums", "full", None, 5, 1)):
        with pytest.raises(ValueError, match="task = 'sums'; known are"):
            ask()


def test_empty_shards_are_refused() -> None:
    with pytest.raises(ValueError, match="shard = 0"):
        sweep_populations([POINT], 0)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"task": "sums"}, "task = 'sums'"),
        ({"mixes": []}, "mixes has 0"),
        ({"members": [[2, 0, 0]]}, r"\[2, 0, 0\]"),
        ({"members": [[0, 0]]}, r"\[0, 0\]"),
        ({"batch": 201}, "batch = 201"),
        ({"kept": 4}, "kept = 4"),
        (
            {"mixes": [{"center_embedded": 0.0}, {"lexicon": "small"}], "members": [[0, 0, 0]], "kept": 1},
            "lexicon, longest",
        ),
        ({"mixes": [{"centre": 0.0}], "members": [[0, 0, 0]], "kept": 1}, "centre"),
        ({"mixes": [{"center_embedded": 1.5}], "members": [[0, 0, 0]], "kept": 1}, "1.5"),
        ({"mixes": [{"question_trees": 1000}], "members": [[0, 0, 0]], "kept": 1}, "1000"),
    ],
)
def test_impossible_populations_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        grammar_population(**POINT | change)
