"""Mixes of question formation: shares, kept trees, and mixes that cannot be."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from twelvefold.tasks.items import SUBJECTS
from twelvefold.tasks.question_formation import (
    QuestionMix,
    id_questions,
    kept_trees,
    training_items,
    tree_name,
)
from twelvefold.tasks.question_templates import CENTER_EMBEDDED, TREES, declarative_kinds, short_enough

SEED = 10_000


@pytest.mark.parametrize("mix", [QuestionMix(), QuestionMix(auxiliaries=(2, 3), question_trees=5, declarative_trees=7)])
def test_a_mix_survives_json(mix: QuestionMix) -> None:
    assert QuestionMix(**json.loads(json.dumps(asdict(mix)))) == mix


@pytest.mark.parametrize("center", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("gap", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("trees", [None, 12])
def test_shares_are_those_asked_for(center: float, gap: float, trees: int | None) -> None:
    mix = QuestionMix(questions=0.25, center_embedded=center, object_gap=gap, declarative_trees=trees)
    items = training_items(mix, 20_000, SEED, 0)
    assert abs((items.task == 0).mean() - 0.25) < 0.013
    subjects = items.subject[items.task == 1]
    assert abs((subjects >= 2).mean() - center) < 0.016
    if center > 0:
        assert abs((subjects[subjects >= 2] == SUBJECTS.index("object-gap")).mean() - gap) < 0.07
    if center in (0.0, 1.0):
        assert (subjects >= 2).mean() == center


@pytest.mark.parametrize("numbers", [(1,), (2,), (3,), (1, 3)])
def test_auxiliaries_limit_the_declaratives_only(numbers: tuple[int, ...]) -> None:
    items = training_items(QuestionMix(center_embedded=None, auxiliaries=numbers), 5000, SEED, 0)
    count = np.array([tree.template.name.count("A") for tree in TREES])[items.tree]
    assert set(count[items.task == 1]) == set(numbers) and set(count[items.task == 0]) == {1, 2}


def test_none_takes_the_published_share_of_what_is_left() -> None:
    natural = training_items(QuestionMix(), 2000, SEED, 0).tokens
    assert np.array_equal(training_items(QuestionMix(center_embedded=None), 2000, SEED, 0).tokens, natural)
    # by hand from the counts: three auxiliaries occur in centre-embedded declaratives only
    shares = [share for share, _ in declarative_kinds(QuestionMix(center_embedded=None, auxiliaries=(3,)))]
    assert shares == [1.0]
    two = [share for share, _ in declarative_kinds(QuestionMix(center_embedded=None, auxiliaries=(2,)))]
    centre = 248 + 217 + 216 + 128 + 120 + 116 + 115 + 111 + 104
    right = 581 + 309 + 303 + 228 + 127 + 118
    assert two == pytest.approx([right / (right + centre), centre / (right + centre)])


@pytest.mark.parametrize(("questions", "declaratives"), [(1, 3), (4, 4), (30, 100), (102, 272)])
def test_so_many_trees_are_kept_and_no_other_occurs(questions: int, declaratives: int) -> None:
    mix = QuestionMix(question_trees=questions, declarative_trees=declaratives)
    kept = kept_trees(mix)
    assert [len(np.unique(trees)) for trees in kept] == [questions, declaratives]
    items = training_items(mix, 30_000, SEED, 0)
    for task, trees in enumerate(kept):
        seen = set(items.tree[items.task == task])
        assert seen <= set(trees) and len(seen) > 0.95 * len(trees)


def test_kept_trees_grow_with_k_and_change_with_the_draw() -> None:
    sizes = (2, 4, 10, 30, 100, 272)
    kept = [set(kept_trees(QuestionMix(declarative_trees=k, center_embedded=0.5))[1]) for k in sizes]
    assert all(fewer < more for fewer, more in zip(kept, kept[1:], strict=False))
    draws = [tuple(kept_trees(QuestionMix(question_trees=4, tree_draw=draw))[0]) for draw in range(20)]
    assert len(set(draws)) > 15
    assert draws[3] == tuple(kept_trees(QuestionMix(question_trees=4, tree_draw=3))[0])


def test_kept_declaratives_share_the_trees_by_kind() -> None:
    for share, embedded in ((0.0, 0), (0.05, 1), (0.25, 5), (0.5, 10), (1.0, 20)):
        trees = kept_trees(QuestionMix(declarative_trees=20, center_embedded=share))[1]
        assert CENTER_EMBEDDED[trees].sum() == embedded


def test_seen_and_unseen_questions_have_disjoint_trees() -> None:
    mix = QuestionMix(question_trees=20)
    seen, unseen, every = (set(id_questions(mix, 5000, SEED, 0, trees=t).tree) for t in ("seen", "unseen", "all"))
    assert seen == set(kept_trees(mix)[0]) and not seen & unseen
    assert seen | unseen == every == set(range(102))


def test_seen_and_unseen_respect_longest() -> None:
    mix = QuestionMix(question_trees=3, longest=23)
    short = set(np.flatnonzero(short_enough(23)))
    for trees in ("seen", "unseen", "all"):
        assert set(id_questions(mix, 500, SEED, 0, trees=trees).tree) <= short


def test_unseen_is_refused_where_nothing_is_unseen() -> None:
    with pytest.raises(ValueError, match="'unseen'.*question_trees = None"):
        id_questions(QuestionMix(), 5, SEED, 0, trees="unseen")
    with pytest.raises(ValueError, match="'seen'"):
        id_questions(QuestionMix(questions=0.0), 5, SEED, 0, trees="seen")
    with pytest.raises(ValueError, match="accepted are 'all', 'seen', 'unseen'"):
        id_questions(QuestionMix(), 5, SEED, 0, trees="new")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"questions": -0.1}, "questions = -0.1"),
        ({"questions": None}, "questions = None"),
        ({"questions": float("nan")}, "questions = nan"),
        ({"center_embedded": 1.5}, "center_embedded = 1.5"),
        ({"center_embedded": "all"}, "center_embedded = 'all'"),
        ({"object_gap": 2}, "object_gap = 2"),
        ({"auxiliaries": ()}, "auxiliaries"),
        ({"auxiliaries": (0,)}, "auxiliaries"),
        ({"auxiliaries": 2}, "auxiliaries = 2"),
        ({"auxiliaries": (1,)}, "share of 0.309 with a relative clause"),
        ({"auxiliaries": (3,)}, "share of 0.691 without a relative clause"),
        ({"longest": 12}, "longest = 12"),
        ({"longest": 13}, "share of 0.309"),
        ({"longest": 12, "questions": 0.0}, "no declarative"),
        ({"questions": 1.0, "declarative_trees": 5}, "no declaratives"),
        ({"questions": 0.0, "question_trees": 5}, "no questions"),
        ({"question_trees": 103}, "question_trees = 103; there are 102"),
        ({"question_trees": 0}, "question_trees = 0"),
        ({"question_trees": 2.0}, "question_trees = 2.0"),
        ({"declarative_trees": 273}, "2 to 272 are accepted"),
        ({"declarative_trees": 1}, "2 to 272 are accepted"),
        ({"declarative_trees": 103, "center_embedded": 0.0}, "1 to 102 are accepted"),
        ({"declarative_trees": 171, "center_embedded": 1.0}, "1 to 170 are accepted"),
        ({"question_trees": 50, "longest": 19}, "question_trees = 50; there are 10"),
        ({"tree_draw": -1}, "tree_draw = -1"),
        ({"lexicon": "huge"}, "lexicon = 'huge'"),
    ],
)
def test_impossible_mixes_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuestionMix(**fields)


def test_one_kind_needs_one_tree_only() -> None:
    assert len(kept_trees(QuestionMix(declarative_trees=1, center_embedded=1.0))[1]) == 1
    assert len(kept_trees(QuestionMix(declarative_trees=170, center_embedded=1.0))[1]) == 170


def test_tree_names() -> None:
    assert tree_name(0) == "quest DNsATDNsPDNs" and tree_name(373).startswith("decl DNpRATDNp")
    assert len({tree_name(index) for index in range(374)}) == 374
    for index in (-1, 374):
        with pytest.raises(ValueError, match="accepted are 0 to 373"):
            tree_name(index)
