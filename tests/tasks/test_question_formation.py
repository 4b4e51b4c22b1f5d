"""Question formation: both rules against the generator's bookkeeping, agreement, template frequencies, pairing."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from twelvefold.tasks import question_formation as qf
from twelvefold.tasks.items import SUBJECTS, Items
from twelvefold.tasks.question_templates import IS_QUESTION, TEMPLATE_OF_TREE, TEMPLATES, TREES, WEIGHTS

from tests.tasks import published
from tests.tasks.english import NOUNS, Sentence, noun_number, split, verb_number

MIX = qf.QuestionMix()
SEED = 10_000
WORDS = qf.vocabulary("full")


def read(items: Items, row: int) -> tuple[list[str], str, list[str]]:
    return split(WORDS.decode(items.tokens[row]), ("quest", "decl"))


def first_words(items: Items, rule) -> list[str]:
    return [rule(read(items, row)[0])[0] for row in range(len(items))]


def named(ids: np.ndarray) -> list[str]:
    return [WORDS.decode([number]) for number in ids]


def template_distance(items: Items, counts: dict[str, int]) -> float:
    """Total variation distance between the template frequencies of items and published counts."""
    drawn = Counter(TEMPLATES[number].name for number in items.template)
    names = set(drawn) | set(counts)
    return sum(abs(drawn[name] / len(items) - counts.get(name, 0) / sum(counts.values())) for name in names) / 2


@pytest.mark.parametrize("lexicon", ["full", "small"])
def test_both_rules_are_right_in_distribution(lexicon: str) -> None:
    items = qf.id_questions(qf.QuestionMix(lexicon=lexicon), 1500, SEED, 0)
    vocabulary = qf.vocabulary(lexicon)
    for row in range(len(items)):
        declarative, task, question = split(vocabulary.decode(items.tokens[row]), ("quest", "decl"))
        assert task == "quest"
        assert qf.hierarchical_rule(declarative) == qf.linear_rule([*declarative, "."]) == question
        assert vocabulary.decode([items.hierarchical[row]]) == vocabulary.decode([items.linear[row]]) == question[0]


def test_only_the_hierarchical_rule_is_right_out_of_distribution() -> None:
    items = qf.ood_questions(2000, SEED, 0)
    for row in range(len(items)):
        declarative, task, question = read(items, row)
        assert task == "quest" and qf.hierarchical_rule(declarative) == question
        assert qf.linear_rule(declarative)[0] != question[0]
    assert first_words(items, qf.hierarchical_rule) == named(items.hierarchical)
    assert first_words(items, qf.linear_rule) == named(items.linear)


def test_out_of_distribution_questions_are_those_of_the_paper() -> None:
    items = qf.ood_questions(20_000, SEED, 0)
    pairs, counts = np.unique(np.stack([items.linear, items.hierarchical]), axis=1, return_counts=True)
    assert {tuple(named(pair)) for pair in pairs.T} == {
        ("does", "doesn't"), ("doesn't", "does"), ("do", "don't"), ("don't", "do"),
    }  # fmt: skip
    assert abs(counts / len(items) - 0.25).max() < 0.015
    assert template_distance(items, published.OOD) < 0.02
    assert (items.lengths - 2).min() == 17 and (items.lengths - 2).max() == 31
    assert abs((items.subject == SUBJECTS.index("object-gap")).mean() - 1 / 3) < 0.015
    for row in range(1000):
        declarative = read(items, row)[0]
        assert sum(word in ("do", "does", "don't", "doesn't") for word in declarative) == 2


def test_copies_are_copies_and_every_item_is_well_formed() -> None:
    items = qf.training_items(MIX, 2000, SEED, 0)
    for row in range(len(items)):
        declarative, task, output = read(items, row)
        assert task == ("quest", "decl")[items.task[row]]
        expected = qf.hierarchical_rule(declarative) if task == "quest" else [*declarative, "."]
        assert output == expected
        assert Sentence(declarative).main == TREES[items.tree[row]].template.main


def test_everything_agrees_by_an_independent_reading() -> None:
    for items in (qf.training_items(MIX, 2000, SEED, 0), qf.ood_questions(1000, SEED, 0)):
        for row in range(len(items)):
            declarative = read(items, row)[0]
            sentence = Sentence(declarative)
            assert all(subject == verb_number(form) for subject, form in sentence.agreements)
            assert sentence.relative_on_subject == (items.subject[row] >= 2)
            numbers = [noun_number(word) for word in declarative if word in NOUNS]
            assert numbers == [("singular", "plural")[number] for number in TREES[items.tree[row]].numbers]


@pytest.mark.parametrize("mix", [MIX, qf.QuestionMix(center_embedded=1.0), qf.QuestionMix(questions=1.0)])
def test_no_training_question_has_a_relative_clause_on_the_subject(mix: qf.QuestionMix) -> None:
    items = qf.training_items(mix, 20_000, SEED, 0)
    asked = items.task == 0
    assert np.array_equal(asked, IS_QUESTION[items.tree])
    assert not {TEMPLATES[number].name for number in items.template[asked]} & set(qf.OOD_TEMPLATES)
    rows = np.flatnonzero(asked)[:1000]
    assert not any(Sentence(read(items, row)[0]).relative_on_subject for row in rows)


def test_template_frequencies_are_the_published_ones() -> None:
    items = qf.training_items(MIX, 100_000, SEED, 0)
    assert template_distance(items.take(items.task == 0), published.QUEST) < 0.02
    assert template_distance(items.take(items.task == 1), published.DECL) < 0.02
    assert abs((items.task == 0).mean() - 4440 / 11_000) < 0.008
    kinds = [(items.subject[items.task == 1] == kind).mean() for kind in range(4)]
    assert np.allclose(kinds, [0.45, 0.24, 0.16, 0.15], atol=0.01)
    lengths = items.lengths - 2
    assert (lengths.min(), lengths.max()) == (11, 35) and abs(lengths.mean() - 22.4) < 0.1


@pytest.mark.parametrize("name", ["DNATDN", "DNATDNRAI"])
def test_a_doctored_frequency_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    doctored = np.where([tree.template.name == name for tree in TREES], 1.5 * WEIGHTS, WEIGHTS)
    monkeypatch.setattr(qf, "WEIGHTS", doctored)
    items = qf.training_items(MIX, 100_000, SEED, 0)
    assert template_distance(items.take(items.task == 0), published.QUEST) > 0.02
    assert template_distance(items.take(items.task == 1), published.DECL) > 0.02


def test_a_doctored_out_of_distribution_frequency_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = qf._ood_weights()
    doctored = np.where([tree.template.name == "DNRAIATDN" for tree in TREES], 2 * weights, weights)
    monkeypatch.setattr(qf, "_ood_weights", lambda: doctored)
    assert template_distance(qf.ood_questions(20_000, SEED, 0), published.OOD) > 0.02


def test_tables_hold_the_published_counts() -> None:
    assert (qf.QUEST_TEMPLATES, qf.DECL_TEMPLATES, qf.OOD_TEMPLATES) == (published.QUEST, published.DECL, published.OOD)
    assert [sum(table.values()) for table in (published.QUEST, published.DECL, published.OOD)] == [4440, 6560, 10_000]


def test_numbers_and_polarity_are_uniform() -> None:
    items = qf.training_items(MIX, 40_000, SEED, 0)
    for name in ("DNATDN", "DNRDNATAI"):
        rows = np.array([TEMPLATES[number].name == name for number in items.template]) & (items.task == 1)
        counts = np.unique(items.tree[rows], return_counts=True)[1] / rows.sum()
        assert len(counts) == 4 and abs(counts - 0.25).max() < 4 * np.sqrt(3 / 16 / rows.sum())
    asked = items.hierarchical[items.task == 0]
    assert abs(np.bincount(asked)[7:11] / len(asked) - 0.25).max() < 0.015


def same(first: Items, second: Items) -> bool:
    return all(np.array_equal(getattr(first, field.name), getattr(second, field.name)) for field in fields(Items))


@pytest.mark.parametrize(
    "make",
    [
        lambda seed, replicate: qf.training_items(MIX, 300, seed, replicate),
        lambda seed, replicate: qf.id_questions(MIX, 300, seed, replicate),
        lambda seed, replicate: qf.ood_questions(300, seed, replicate),
    ],
)
def test_sets_follow_from_their_seed(make) -> None:
    assert same(make(SEED, 0), make(SEED, 0))
    for other in (make(SEED + 1, 0), make(SEED, 1)):
        assert (make(SEED, 0).tokens != other.tokens).any(axis=1).mean() > 0.95


def test_in_distribution_questions_are_not_the_training_questions() -> None:
    # one tree only, so that it takes other words to differ
    mix = qf.QuestionMix(questions=1.0, question_trees=1, tree_draw=1)
    train, fresh = qf.training_items(mix, 300, SEED, 0), qf.id_questions(mix, 300, SEED, 0, trees="seen")
    assert len(set(train.tree) | set(fresh.tree)) == 1
    assert (train.tokens != fresh.tokens).any(axis=1).mean() > 0.95


@pytest.mark.parametrize("gap", [None, 0.5])
def test_mixes_of_one_seed_are_paired(gap: float | None) -> None:
    sets = [qf.training_items(qf.QuestionMix(center_embedded=p, object_gap=gap), 3000, SEED, 0) for p in (0, 0.3, 1)]
    asked = sets[0].task == 0
    for items in sets[1:]:
        assert np.array_equal(items.task == 0, asked)
        assert np.array_equal(items.tokens[asked], sets[0].tokens[asked])
    unchanged = (sets[1].subject < 2) & ~asked
    assert unchanged.sum() > 1000 and np.array_equal(sets[1].tokens[unchanged], sets[0].tokens[unchanged])
    assert same(qf.training_items(MIX, 3000, SEED, 0).take(range(500)), qf.training_items(MIX, 500, SEED, 0))
    kept = qf.training_items(qf.QuestionMix(declarative_trees=10), 3000, SEED, 0)
    assert np.array_equal(kept.tokens[asked], sets[0].tokens[asked])


@st.composite
def mixes(draw) -> qf.QuestionMix:
    fields = {
        "questions": draw(st.sampled_from([0.2, 0.5, 0.9])),
        "center_embedded": draw(st.one_of(st.none(), st.floats(0, 1))),
        "object_gap": draw(st.one_of(st.none(), st.floats(0, 1))),
        "question_trees": draw(st.one_of(st.none(), st.integers(1, 30))),
        "declarative_trees": draw(st.one_of(st.none(), st.integers(3, 60))),
        "tree_draw": draw(st.integers(0, 5)),
        "lexicon": draw(st.sampled_from(["full", "small"])),
        "longest": draw(st.sampled_from([None, 27, 33])),
    }
    try:
        return qf.QuestionMix(**fields)
    except ValueError:  # more trees than the other fields leave; refusals have tests of their own
        reject()


@settings(max_examples=40, deadline=None)
@given(mixes(), st.integers(10_000, 10_050))
def test_invariants_of_every_item(mix: qf.QuestionMix, seed: int) -> None:
    items = qf.training_items(mix, 60, seed, 0)
    vocabulary, rows = qf.vocabulary(mix.lexicon), np.arange(len(items))
    inside = np.arange(items.tokens.shape[1]) < items.lengths[:, None]
    assert items.tokens.dtype == np.int16 and items.tokens.max() < vocabulary.size
    assert (items.tokens[~inside] == 0).all() and (items.tokens[inside] > 0).all()
    assert (items.tokens[:, 0] == 1).all() and (items.tokens[rows, items.lengths - 1] == 2).all()
    assert ((items.tokens == 2).sum(axis=1) == 1).all()
    task = items.tokens[rows, items.query]
    assert np.array_equal(task, np.where(items.task == 0, vocabulary.id("quest"), vocabulary.id("decl")))
    assert mix.longest is None or items.lengths.max() <= mix.longest
    asked = items.task == 0
    answers = items.tokens[rows, items.query + 1]
    assert np.array_equal(items.hierarchical[asked], answers[asked])
    assert np.array_equal(items.hierarchical, items.linear) and (items.hierarchical[~asked] == -1).all()
    assert (items.choices == [vocabulary.id(word) for word in ("does", "do", "doesn't", "don't")]).all()
    assert (items.choices[asked] == items.hierarchical[asked, None]).any(axis=1).all()
    assert np.array_equal(items.template, TEMPLATE_OF_TREE[items.tree])
    assert np.isin(items.tree, np.concatenate(qf.kept_trees(mix))).all()


def test_rules_by_hand() -> None:
    words = "my baker that does laugh doesn't help the poets".split()
    assert " ".join(qf.hierarchical_rule(words)) == "doesn't my baker that does laugh help the poets ?"
    assert " ".join(qf.linear_rule([*words, "."])) == "does my baker that laugh doesn't help the poets ?"
    words = "the poets who my baker does thank don't yawn".split()
    assert qf.hierarchical_rule(words)[0] == "don't" and qf.linear_rule(words)[0] == "does"


@pytest.mark.parametrize("rule", [qf.hierarchical_rule, qf.linear_rule])
def test_rules_refuse_what_they_cannot_read(rule) -> None:
    with pytest.raises(ValueError, match="'unicorn'"):
        rule("the unicorn does yawn".split())
    for words in ([], ["."], "the poet yawn".split()):
        with pytest.raises(ValueError, match="auxiliary"):
            rule(words)


def test_hierarchical_rule_refuses_a_sentence_without_main_auxiliary() -> None:
    with pytest.raises(ValueError, match="main clause's auxiliary"):
        qf.hierarchical_rule("the poet who does yawn yawn".split())


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_impossible_sizes_are_refused(n) -> None:
    for make in (
        lambda: qf.training_items(MIX, n, SEED, 0),
        lambda: qf.id_questions(MIX, n, SEED, 0),
        lambda: qf.ood_questions(n, SEED, 0),
    ):
        with pytest.raises(ValueError, match="n = "):
            make()


def test_ood_questions_refuse_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="longest = 18"):
        qf.ood_questions(5, SEED, 0, longest=18)
    assert qf.ood_questions(50, SEED, 0, longest=19).lengths.max() == 19
    with pytest.raises(ValueError, match="lexicon = 'huge'"):
        qf.ood_questions(5, SEED, 0, lexicon="huge")
    with pytest.raises(ValueError, match="seed"):
        qf.ood_questions(5, -1, 0)
