"""Tense inflection: both rules against the generator's bookkeeping, ambiguity of training, shares, bad input."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twelvefold.tasks import tense_inflection as ti
from twelvefold.tasks.items import SUBJECTS, Items

from tests.tasks.english import Sentence, split, verb_number

MIX = ti.TenseMix()
SEED = 10_000
WORDS = ti.vocabulary("full")


def read(items: Items, row: int) -> tuple[list[str], str, list[str]]:
    return split(WORDS.decode(items.tokens[row]), ("PRESENT", "PAST"))


def template_distance(items: Items) -> float:
    expected = np.array(list(ti.TENSE_TEMPLATES.values()))
    drawn = np.bincount(items.template, minlength=len(expected))
    return float(abs(drawn / drawn.sum() - expected).sum() / 2)


def test_training_items_that_change_tense_are_ambiguous() -> None:
    items = ti.training_items(MIX, 3000, SEED, 0)
    for row in range(len(items)):
        sentence, task, output = read(items, row)
        assert task == ("PRESENT", "PAST")[items.task[row]]
        if task == "PAST":
            assert output == [*sentence, "."]
        else:
            assert ti.hierarchical_rule(sentence) == ti.linear_rule([*sentence, "."]) == output
    assert np.array_equal(items.hierarchical, items.linear)
    assert (items.hierarchical[items.task == 1] == -1).all()


def test_copied_sentences_are_unrestricted() -> None:
    items = ti.training_items(MIX, 30_000, SEED, 0)
    copied = items.take(items.task == 1)
    assert set(copied.tree) == set(range(272))
    assert template_distance(copied) < 0.02
    differing = 0
    for row in range(1000):
        sentence = read(copied, row)[0]
        differing += ti.hierarchical_rule(sentence) != ti.linear_rule(sentence)
    # a preposition or a noun in the clause (1/3 + 2/9) with another number than the head (1/2)
    assert abs(differing / 1000 - 5 / 18) < 4 * np.sqrt(5 / 18 * 13 / 18 / 1000)


def test_a_doctored_frequency_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    doctored = np.where([tree.template.name == "DNTDN" for tree in ti.TREES], 1.7 * ti._WEIGHTS, ti._WEIGHTS)
    monkeypatch.setattr(ti, "_WEIGHTS", doctored)
    items = ti.training_items(ti.TenseMix(past=1.0), 30_000, SEED, 0)
    assert template_distance(items) > 0.02


@pytest.mark.parametrize("lexicon", ["full", "small"])
def test_in_distribution_items_are_fresh_and_both_rules_are_right(lexicon: str) -> None:
    mix, vocabulary = ti.TenseMix(lexicon=lexicon), ti.vocabulary(lexicon)
    items = ti.id_items(mix, 1000, SEED, 0)
    for row in range(len(items)):
        sentence, task, output = split(vocabulary.decode(items.tokens[row]), ("PRESENT", "PAST"))
        assert task == "PRESENT" and ti.hierarchical_rule(sentence) == ti.linear_rule(sentence) == output
    train = ti.training_items(ti.TenseMix(past=0.0, lexicon=lexicon), 1000, SEED, 0)
    differs = (train.tokens != items.tokens).any(axis=1)
    alike = train.tree == items.tree
    assert differs.mean() > 0.95 and alike.any() and differs[alike].mean() > 0.5


def test_only_the_hierarchical_rule_is_right_out_of_distribution() -> None:
    items = ti.ood_items(2000, SEED, 0)
    for row in range(len(items)):
        sentence, task, output = read(items, row)
        assert task == "PRESENT" and ti.hierarchical_rule(sentence) == output
        linear = ti.linear_rule(sentence)
        main = Sentence(sentence).main
        assert [place for place, word in enumerate(linear) if word != output[place]] == [main]
        assert WORDS.decode([items.hierarchical[row]]) == output[main]
        assert WORDS.decode([items.linear[row]]) == linear[main]


def test_out_of_distribution_shares_are_the_published_ones() -> None:
    items = ti.ood_items(20_000, SEED, 0)
    shares = np.bincount(items.subject, minlength=4) / len(items)
    assert np.allclose(shares, [0, 0.6045, 0.1950, 0.2005], atol=0.014)
    clauses = {ti.TEMPLATES[t].name[:6] for t in np.unique(items.template[items.subject == 2])}
    assert clauses == {"DNRTDN"}
    head = np.array([tree.numbers[0] for tree in ti.TREES])[items.tree]
    assert abs(head.mean() - 0.5) < 0.015


def test_every_verb_agrees_by_an_independent_reading() -> None:
    for items in (ti.training_items(ti.TenseMix(past=0.0), 1500, SEED, 0), ti.ood_items(1000, SEED, 0)):
        for row in range(len(items)):
            sentence = Sentence(read(items, row)[2][:-1])
            assert all(subject == verb_number(form) for subject, form in sentence.agreements)
            assert SUBJECTS[items.subject[row]].endswith("gap") == sentence.relative_on_subject


@pytest.mark.parametrize(
    ("fields", "gap"),
    [
        ({}, 0.25),
        ({"past": 0.1, "plain": 0.1, "pp": 0.045, "rc": 0.855}, 0.25),
        ({"past": 0.0, "plain": 0.05, "pp": 0.05, "rc": 0.9, "object_gap": 0.9}, 0.9),
        ({"past": 0.0, "plain": 0.0, "pp": 0.0, "rc": 1.0, "object_gap": 0.0}, 0.0),
        ({"past": 1.0, "past_subjects": ["pp", "plain"]}, None),
    ],
)
def test_shares_are_those_asked_for(fields: dict, gap: float | None) -> None:
    mix = ti.TenseMix(**fields)
    items = ti.training_items(mix, 20_000, SEED, 0)
    assert abs((items.task == 1).mean() - mix.past) < 0.015
    present = items.take(items.task == 0)
    if gap is not None:
        shares = np.bincount(present.subject, minlength=4) / len(present)
        expected = [mix.plain, mix.pp, mix.rc * (1 - gap), mix.rc * gap]
        assert np.allclose(shares, expected, atol=0.02)
    if mix.past_subjects:
        assert {SUBJECTS[kind] for kind in items.subject[items.task == 1]} == set(mix.past_subjects)


def test_default_shares_are_the_published_ones() -> None:
    assert (MIX.past, round(MIX.plain, 3), round(MIX.pp, 3), round(MIX.rc, 3)) == (0.58816, 0.396, 0.263, 0.340)


def test_a_mix_survives_json() -> None:
    mix = ti.TenseMix(past_subjects=("pp",), longest=25)
    assert ti.TenseMix(**json.loads(json.dumps(asdict(mix)))) == mix


def test_sets_follow_from_their_seed_and_mixes_are_paired() -> None:
    items = ti.training_items(MIX, 1000, SEED, 0)
    assert np.array_equal(items.tokens, ti.training_items(MIX, 1000, SEED, 0).tokens)
    assert np.array_equal(items.tokens[:300], ti.training_items(MIX, 300, SEED, 0).tokens)
    for seed, replicate in ((SEED + 1, 0), (SEED, 1)):
        assert (ti.training_items(MIX, 1000, seed, replicate).tokens != items.tokens).any(axis=1).mean() > 0.95
    other = ti.training_items(ti.TenseMix(plain=0.1, pp=0.1, rc=0.8), 1000, SEED, 0)
    copied = items.task == 1
    assert np.array_equal(other.task, items.task)
    assert np.array_equal(other.tokens[copied], items.tokens[copied])
    assert np.array_equal(ti.ood_items(50, SEED, 0).tokens, ti.ood_items(50, SEED, 0).tokens)


@settings(max_examples=30, deadline=None)
@given(
    past=st.floats(0, 0.9),
    split_at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    gap=st.one_of(st.none(), st.floats(0, 1)),
    lexicon=st.sampled_from(["full", "small"]),
    longest=st.sampled_from([None, 21, 25]),
    seed=st.integers(10_000, 10_050),
)
def test_invariants_of_every_item(past, split_at, gap, lexicon, longest, seed) -> None:
    low, high = sorted(split_at)
    mix = ti.TenseMix(past, low, high - low, 1 - high, gap, None, lexicon, longest)
    items, vocabulary = ti.training_items(mix, 60, seed, 0), ti.vocabulary(lexicon)
    rows = np.arange(len(items))
    inside = np.arange(items.tokens.shape[1]) < items.lengths[:, None]
    assert (items.tokens[~inside] == 0).all() and (items.tokens[inside] > 0).all()
    assert (items.tokens[:, 0] == 1).all() and (items.tokens[rows, items.lengths - 1] == 2).all()
    assert longest is None or items.tokens.shape[1] <= longest
    present = items.task == 0
    answer = items.tokens[rows, items.query + 1]
    assert np.array_equal(items.hierarchical[present], answer[present])
    assert items.choices.shape == (60, 2)
    for row in rows:
        singular, plural = (vocabulary.decode([number]) for number in items.choices[row])
        assert singular == plural + "s"
        if not present[row]:
            assert vocabulary.decode([answer[row]]) in (plural + "d", plural + "ed")
        else:
            assert answer[row] in items.choices[row]


def test_rules_by_hand() -> None:
    words = "my baker near the poets greeted the pilots who our doctor visited".split()
    hierarchical = "my baker near the poets greets the pilots who our doctor visits .".split()
    assert ti.hierarchical_rule(words) == hierarchical
    assert ti.linear_rule([*words, "."]) == [word if word != "greets" else "greet" for word in hierarchical]


def test_rules_refuse_what_they_cannot_read() -> None:
    for rule in (ti.hierarchical_rule, ti.linear_rule):
        with pytest.raises(ValueError, match="'laughs'"):
            rule("the poet laughs".split())
    with pytest.raises(ValueError, match="a noun before the first verb"):
        ti.linear_rule(["laughed"])
    for words in ([], "the poet".split(), "the poet who laughed".split()):
        with pytest.raises(ValueError, match="main verb"):
            ti.hierarchical_rule(words)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"past": 1.2}, "past = 1.2"),
        ({"past": None}, "past = None"),
        ({"plain": -0.2, "pp": 0.6, "rc": 0.6}, "plain = -0.2"),
        ({"plain": 0.5}, "must sum to 1"),
        ({"object_gap": 1.1}, "object_gap = 1.1"),
        ({"past_subjects": ()}, "past_subjects"),
        ({"past_subjects": ("rc",)}, "accepted are some of plain, pp, subject-gap, object-gap"),
        ({"past_subjects": "pp"}, "past_subjects = 'pp'"),
        ({"lexicon": "huge"}, "lexicon = 'huge'"),
        ({"longest": 11}, "longest = 11"),
        ({"longest": 15}, "longest = 15 leaves none"),
        ({"longest": 15, "past": 1.0, "past_subjects": ("object-gap",)}, "no copied sentence"),
    ],
)
def test_impossible_mixes_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ti.TenseMix(**fields)


def test_sets_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="past = 1"):
        ti.id_items(ti.TenseMix(past=1.0), 5, SEED, 0)
    with pytest.raises(ValueError, match="longest = 17"):
        ti.ood_items(5, SEED, 0, longest=17)
    assert ti.ood_items(50, SEED, 0, longest=19).lengths.max() == 19
    for n in (0, 1.5):
        with pytest.raises(ValueError, match="n = "):
            ti.training_items(MIX, n, SEED, 0)


def test_tree_names() -> None:
    assert len(ti.TREES) == len({ti.tree_name(index) for index in range(272)}) == 272
    with pytest.raises(ValueError, match="accepted are 0 to 271"):
        ti.tree_name(272)
