"""The back-off n-gram model, against cases worked out by hand."""

import numpy as np
import pytest
from twelvefold.papers.hier_gen.ngram import DISCOUNT, answers, count_ngrams, score, training_sequences
from twelvefold.tasks import question_formation as questions
from twelvefold.tasks.vocabulary import SOS_ID

SEQUENCES = [[1, 5, 6, 7, 2], [1, 5, 6, 8, 2], [1, 5, 6, 7, 2], [1, 9, 6, 8, 2]]


def test_scores_by_hand():
    counts = count_ngrams(SEQUENCES, 3)
    assert score(counts, [5, 6], 7) == pytest.approx(2 / 3)  # 5 6 occurs three times, twice before 7
    assert score(counts, [1, 5, 6], 7) == score(counts, [5, 6], 7)  # a trigram sees two ids
    assert score(counts, [9, 6], 7) == pytest.approx(DISCOUNT * 2 / 4)  # 9 6 7 never, 6 7 twice of four
    assert score(counts, [7, 8], 9) == pytest.approx(DISCOUNT**2 * 1 / 20)  # one of twenty ids is a 9
    assert score(counts, [], 6) == pytest.approx(4 / 20)
    assert score(counts, [5, 6], 77) == 0


def test_no_run_of_ids_crosses_from_one_sequence_to_the_next():
    counts = count_ngrams(SEQUENCES, 2)
    assert counts[1][(2, 1)] == 0 and counts[1][(1, 5)] == 3 and counts[1].total() == 16


def test_a_unigram_forgets_its_context():
    counts = count_ngrams(SEQUENCES, 1)
    assert score(counts, [5, 6], 7) == score(counts, [], 7) == pytest.approx(2 / 20)


def test_bad_input():
    with pytest.raises(ValueError, match="order = 0"):
        count_ngrams(SEQUENCES, 0)
    with pytest.raises(ValueError, match="no id"):
        count_ngrams([], 2)


def test_training_sequences_have_no_padding():
    items = questions.training_items(questions.QuestionMix(), 50, 10_000, 0)
    found = training_sequences(items)
    assert [len(sequence) for sequence in found] == items.lengths.tolist()
    assert all(sequence[0] == SOS_ID and 0 not in sequence for sequence in found)


def test_a_trigram_gives_one_constant_answer_to_questions():
    mix = questions.QuestionMix()
    counts = count_ngrams(training_sequences(questions.training_items(mix, 2_000, 10_000, 0)), 3)
    ood = questions.ood_questions(2_000, 10_000, 0)
    given = answers(counts, ood)
    assert len(np.unique(given)) == 1 and given[0] in ood.choices[0]
    behind = {word: counts[2][(*ood.tokens[0, ood.query[0] - 1 : ood.query[0] + 1].tolist(), word)]
              for word in ood.choices[0].tolist()}  # fmt: skip
    assert given[0] == max(behind, key=behind.get)  # the auxiliary seen most often behind ". quest"
    assert 0.2 < (given == ood.hierarchical).mean() < 0.3  # four pairs, each a quarter


def test_a_long_context_sees_the_auxiliary_before_the_last_verb():
    mix = questions.QuestionMix()
    counts = count_ngrams(training_sequences(questions.training_items(mix, 5_000, 10_000, 0)), 5)
    ood = questions.ood_questions(2_000, 10_000, 0)
    short = ood.take(ood.template == questions_template("DNRDNATAI"))
    assert (answers(counts, short) == short.hierarchical).mean() > 0.9
    long = ood.take(ood.template == questions_template("DNRAIATDN"))
    assert (answers(counts, long) == long.hierarchical).mean() < 0.4


def questions_template(name: str) -> int:
    names = [*questions.QUEST_TEMPLATES, *questions.DECL_TEMPLATES]
    return len(questions.QUEST_TEMPLATES) + names[len(questions.QUEST_TEMPLATES) :].index(name)
