"""Vocabulary: ids, the way there and back, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twelvefold.tasks import question_formation, tense_inflection
from twelvefold.tasks.vocabulary import EOS, PAD, SOS, Vocabulary

WORDS = ("the", "poet", "laughed", ".")


def test_specials_come_first_and_words_follow_in_order() -> None:
    vocabulary = Vocabulary(WORDS)
    assert [vocabulary.id(word) for word in (PAD, SOS, EOS, *WORDS)] == list(range(7))
    assert vocabulary.size == 7


@given(st.lists(st.sampled_from(WORDS)))
def test_decode_undoes_encode(words: list[str]) -> None:
    vocabulary = Vocabulary(WORDS)
    ids = vocabulary.encode(" ".join(words))
    assert (ids[0], ids[-1], len(ids)) == (1, 2, len(words) + 2)
    assert vocabulary.decode(ids + [0, 0]) == " ".join(words)


def test_an_unknown_word_or_id_is_named() -> None:
    with pytest.raises(ValueError, match="'walked'"):
        Vocabulary(WORDS).encode("the poet walked")
    with pytest.raises(ValueError, match="7; accepted are 0 to 6"):
        Vocabulary(WORDS).decode([1, 7])
    with pytest.raises(ValueError, match="-1"):
        Vocabulary(WORDS).decode([-1])


@pytest.mark.parametrize("words", [(), "the", ("the", "the"), ("the", PAD), ("the", ""), ("two words",), (3,)])
def test_vocabularies_that_cannot_be_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="words"):
        Vocabulary(words)


@pytest.mark.parametrize(("task", "size"), [(question_formation, 71), (tense_inflection, 102)])
def test_sizes_and_the_small_words_are_among_the_full(task, size: int) -> None:
    assert task.vocabulary("full").size == size
    assert set(task.vocabulary("small").words) < set(task.vocabulary("full").words)
    with pytest.raises(ValueError, match="lexicon = 'huge'.*'full', 'small'"):
        task.vocabulary("huge")
