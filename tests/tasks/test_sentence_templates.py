"""Lexicons, template parsing, trees and the drawing of words."""

from __future__ import annotations

import numpy as np
import pytest
from twelvefold.tasks.question_templates import DECL_TEMPLATES, DECLARATIVE_TREES, QUESTION_TREES, TREES
from twelvefold.tasks.sentence_templates import (
    LEXICONS,
    draw_kinds,
    draw_trees,
    draw_word_codes,
    find_lexicon,
    form_tables,
    letters_of,
    number_table,
    parse_template,
    trees_of,
    uniform_numbers,
    words_of,
)
from twelvefold.tasks.vocabulary import Vocabulary


@pytest.mark.parametrize(("name", "sizes"), [("full", (6, 13, 9, 9, 8, 2)), ("small", (3, 6, 4, 4, 4, 2))])
def test_class_sizes(name: str, sizes: tuple[int, ...]) -> None:
    lexicon = LEXICONS[name]
    classes = ("determiners", "nouns", "intransitive", "transitive", "prepositions", "relativisers")
    assert tuple(len(getattr(lexicon, each)) for each in classes) == sizes


def test_all_forms_differ_and_no_word_has_two_classes() -> None:
    lexicon = LEXICONS["full"]
    forms = [form for entry in lexicon.nouns + lexicon.intransitive + lexicon.transitive for form in entry]
    forms += [form for pair in lexicon.auxiliaries for form in pair]
    forms += lexicon.determiners + lexicon.prepositions + lexicon.relativisers
    assert len(forms) == len(set(forms)) == 2 * 13 + 3 * 18 + 4 + 6 + 8 + 2


@pytest.mark.parametrize(
    ("name", "noun", "main", "subject", "outer"),
    [
        ("DNAI", (-1, 0, 0, 0), 2, "plain", "none"),
        ("DNPDNATDN", (-1, 0, -1, -1, 1, 0, 0, -1, 2), 5, "pp", "plain"),
        ("DNRAIAI", (-1, 0, -1, 0, 0, 0, 0), 5, "subject-gap", "none"),
        ("DNRATDNAI", (-1, 0, -1, 0, 0, -1, 1, 0, 0), 7, "subject-gap", "none"),
        ("DNRDNATAI", (-1, 0, -1, -1, 1, 1, 1, 0, 0), 7, "object-gap", "none"),
        ("DNATDNRDNAT", (-1, 0, 0, 0, -1, 1, -1, -1, 2, 2, 2), 2, "plain", "object-gap"),
        ("DNRTDNTDNRI", (-1, 0, -1, 0, -1, 1, 0, -1, 2, -1, 2), 6, "subject-gap", "subject-gap"),
    ],
)
def test_parsing_by_hand(name: str, noun: tuple[int, ...], main: int, subject: str, outer: str) -> None:
    template = parse_template(name)
    assert (template.noun, template.main, template.subject, template.object) == (noun, main, subject, outer)
    assert (template.length, template.nouns, template.auxiliaries) == (len(name), max(noun) + 1, name.count("A"))


@pytest.mark.parametrize("name", ["", "DN", "DNA", "DNAT", "DNAIDN", "DNTDNRAI", "DNRAAI", "DNPDNPDNAI", "XNAI"])
def test_texts_that_are_no_sentence_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="template = "):
        parse_template(name)


def test_there_are_102_and_272_trees() -> None:
    assert (len(QUESTION_TREES), len(DECLARATIVE_TREES), len(TREES)) == (102, 272, 374)
    for trees in (QUESTION_TREES, DECLARATIVE_TREES):
        assert len({tree.name for tree in trees}) == len(trees)
    assert {tree.template.name for tree in DECLARATIVE_TREES} == set(DECL_TEMPLATES)
    assert [tree.name for tree in trees_of([parse_template("DNPDNAI")])] == [
        "DNsPDNsAI", "DNsPDNpAI", "DNpPDNsAI", "DNpPDNpAI",
    ]  # fmt: skip


def test_words_are_uniform_in_their_class_and_take_the_number_of_their_noun() -> None:
    vocabulary = Vocabulary(("a", "b", "c", "N", "Ns", "does", "do", "doesn't", "don't", "V"))
    forms = {
        letter: np.array([[vocabulary.id(word) for word in pair] for pair in pairs], dtype=np.int16)
        for letter, pairs in {
            "D": [("a", "a"), ("b", "b"), ("c", "c")],
            "N": [("N", "Ns")],
            "A": [("does", "do"), ("doesn't", "don't")],
            "I": [("V", "V")],
        }.items()
    }
    numbers = np.tile(np.array([[0, 0, 0, 0], [1, 0, 0, 0]], dtype=np.int8), (15_000, 1))
    codes = draw_word_codes(30_000, 10_000, 0, "test words")
    words = words_of(parse_template("DNAI"), numbers, codes, forms)
    shares = np.bincount(words[:, 0], minlength=vocabulary.size)[3:6] / 30_000
    assert abs(shares - 1 / 3).max() < 4 * np.sqrt(2 / 9 / 30_000)
    negative = np.isin(words[:, 2], [vocabulary.id("doesn't"), vocabulary.id("don't")])
    assert abs(negative.mean() - 0.5) < 4 * 0.5 / np.sqrt(30_000)
    assert set(words[::2, 1]) == {vocabulary.id("N")} and set(words[1::2, 1]) == {vocabulary.id("Ns")}
    assert set(words[::2, 2]) == {vocabulary.id("does"), vocabulary.id("doesn't")}


def test_the_largest_code_is_the_last_word() -> None:
    forms = {letter: np.arange(26, dtype=np.int16).reshape(13, 2) for letter in "DNAI"}
    edges = np.array([[0] * 4, [2**32 - 1] * 4], dtype=np.uint32)
    words = words_of(parse_template("DNAI"), np.zeros((2, 4), dtype=np.int8), edges, forms)
    assert words.tolist() == [[0] * 4, [24] * 4]


def test_number_table_is_filled_up_with_zeros() -> None:
    assert number_table(trees_of([parse_template("DNAI")])).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]


def test_trees_are_drawn_by_weight() -> None:
    trees, weights = np.array([1, 3]), np.array([9.0, 1.0, 9.0, 3.0])
    assert draw_trees(trees, np.array([0.0, 0.2499, 0.25, 0.9999]), weights).tolist() == [1, 1, 3, 3]
    kinds = [(0.5, np.array([0])), (0.5, trees)]
    assert draw_kinds(kinds, np.array([0.4, 0.5, 0.5]), np.array([0.9, 0.2, 0.9]), weights).tolist() == [0, 1, 3]


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="'huge'; accepted are 'full', 'small'"):
        find_lexicon("huge")
    with pytest.raises(ValueError, match="'walrus'"):
        letters_of(["the", "walrus"], verb_form=1)
    with pytest.raises(ValueError, match="'laughed'"):
        letters_of(["laughed"], verb_form=1)
    with pytest.raises(ValueError, match="'does'"):
        form_tables(LEXICONS["full"], Vocabulary(("the",)), "A", (1, 1))
    for n in (0, -3, 2.0, True):
        with pytest.raises(ValueError, match="n = "):
            uniform_numbers(n, 10_000, 0, "test")
