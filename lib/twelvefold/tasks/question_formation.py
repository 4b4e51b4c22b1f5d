"""Question formation: from `my bakers do laugh .` to `do my bakers laugh ?`, with copied declaratives beside.

Source: McCoy, Frank and Linzen 2020; mixes after Qin et al. 2024, arXiv 2412.04619. Two rules fit the training
questions: move the main clause's auxiliary (hierarchical) or the first auxiliary (linear). Only sentences with a
relative clause on the subject tell them apart. Those occur in training as copied declaratives, never as questions.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

from twelvefold.tasks.items import COPY, NO_ANSWER, TRANSFORM, Items
from twelvefold.tasks.question_templates import (
    CENTER_EMBEDDED,
    DECL_TEMPLATES,
    FIRST_AUXILIARIES,
    IS_QUESTION,
    LENGTHS,
    MAIN_AUXILIARIES,
    NUMBERS,
    OOD_TEMPLATES,
    QUEST_TEMPLATES,
    SUBJECTS_OF_TREES,
    TEMPLATE_OF_TREE,
    TEMPLATES,
    TREES,
    WEIGHTS,
    QuestionMix,
    declarative_kinds,
    kept_trees,
    short_enough,
    tree_name,
)
from twelvefold.tasks.sentence_templates import (
    FRAME,
    draw_kinds,
    draw_trees,
    draw_word_codes,
    find_lexicon,
    form_tables,
    letters_of,
    uniform_numbers,
    words_of,
)
from twelvefold.tasks.vocabulary import EOS_ID, SOS_ID, Vocabulary

__all__ = [
    "DECL_TEMPLATES",
    "OOD_TEMPLATES",
    "QUEST_TEMPLATES",
    "QuestionMix",
    "hierarchical_rule",
    "id_questions",
    "kept_trees",
    "linear_rule",
    "ood_questions",
    "training_items",
    "tree_name",
    "vocabulary",
]


@cache
def vocabulary(lexicon: str = "full") -> Vocabulary:
    """Return the vocabulary of a lexicon: marks, task words, auxiliaries, then the words of each class."""
    words = find_lexicon(lexicon)
    return Vocabulary(
        (
            *(".", "?", "quest", "decl"),
            *(form for pair in words.auxiliaries for form in pair),
            *words.determiners,
            *(form for noun in words.nouns for form in noun),
            *(verb[1] for verb in words.intransitive + words.transitive),
            *words.prepositions,
            *words.relativisers,
        )
    )


def _items(
    tree: NDArray[np.intp], questions: NDArray[np.bool_], codes: NDArray[np.uint32], lexicon: str, width: int
) -> Items:
    """Items of the given trees; `questions [N]` says which are transformed, `codes [N, words]` choose the words."""
    known = vocabulary(lexicon)
    forms = form_tables(find_lexicon(lexicon), known, "DNAPRIT", verb_forms=(1, 1))
    stop, mark, quest, decl = (known.id(word) for word in (".", "?", "quest", "decl"))
    count, length = len(tree), LENGTHS[tree]
    tokens = np.zeros((count, width), dtype=np.int16)
    rules = np.full((2, count), NO_ANSWER, dtype=np.int16)
    for index in np.unique(TEMPLATE_OF_TREE[tree]):
        rows, template = np.flatnonzero(TEMPLATE_OF_TREE[tree] == index), TEMPLATES[index]
        words = words_of(template, NUMBERS[tree[rows]], codes[rows], forms)
        asked, main, first = questions[rows, None], template.main, template.name.index("A")
        fronted = np.concatenate([words[:, [main]], words[:, :main], words[:, main + 1 :]], axis=1)
        ends = [np.where(asked, quest, decl), np.where(asked, fronted, words), np.where(asked, mark, stop)]
        edge = np.ones((len(rows), 1), dtype=np.int16)
        whole = np.concatenate([edge * SOS_ID, words, edge * stop, *ends, edge * EOS_ID], axis=1)
        tokens[rows, : whole.shape[1]] = whole
        answers = words[:, [main, first]].T  # hierarchical, linear
        rules[:, rows] = np.where(asked.T, answers, NO_ANSWER)
    choices = np.tile(forms["A"].reshape(1, -1), (count, 1))
    return Items(
        tokens=tokens,
        lengths=(2 * length + FRAME).astype(np.int16),
        query=(length + 2).astype(np.int16),
        choices=choices,
        hierarchical=rules[0],
        linear=rules[1],
        task=np.where(questions, TRANSFORM, COPY).astype(np.int8),
        subject=SUBJECTS_OF_TREES[tree].astype(np.int8),
        tree=tree.astype(np.int16),
        template=TEMPLATE_OF_TREE[tree].astype(np.int16),
    )


def _width(longest: int | None) -> int:
    """Ids of the longest sequence, the same for every mix so that data sets can be stacked."""
    return int((2 * LENGTHS[short_enough(longest)] + FRAME).max())


def training_items(mix: QuestionMix, n: int, seed: int, replicate: int) -> Items:
    """Return n training items of a mix; the order is random, so no shuffle is needed.

    Sets of one seed and replicate are paired: under another share of centre-embedded declaratives the questions stay,
    and so does every declarative whose kind stays; a longer set begins with the shorter one. The number of questions is
    therefore binomial. A sentence may occur twice: dropping duplicates, as the published sets do, would thin out short
    templates and, where few trees are kept, bend the frequencies that the mix is to control.
    """
    asked = uniform_numbers(n, seed, replicate, "training: question or declarative") < mix.questions
    kind_draw = uniform_numbers(n, seed, replicate, "training: kind of declarative")
    tree_draw = uniform_numbers(n, seed, replicate, "training: tree")
    codes = draw_word_codes(n, seed, replicate, "training: words")
    tree = np.empty(n, dtype=np.intp)
    if asked.any():
        tree[asked] = draw_trees(kept_trees(mix)[0], tree_draw[asked], WEIGHTS)
    if not asked.all():
        tree[~asked] = draw_kinds(declarative_kinds(mix), kind_draw[~asked], tree_draw[~asked], WEIGHTS)
    return _items(tree, asked, codes, mix.lexicon, _width(mix.longest))


def id_questions(mix: QuestionMix, n: int, seed: int, replicate: int, trees: str = "all") -> Items:
    """Return n fresh in-distribution questions, independent of the training set of the same seed.

    trees: "all" question trees of the mix's lengths, those "seen" in training, or the "unseen" rest; ValueError where
    there is no unseen tree.
    """
    every = np.flatnonzero(IS_QUESTION & short_enough(mix.longest))
    kept = kept_trees(mix)[0]
    pools = {"all": every, "seen": kept, "unseen": np.setdiff1d(every, kept)}
    if trees not in pools:
        raise ValueError(f"trees = {trees!r}; accepted are 'all', 'seen', 'unseen'")
    if not len(pools[trees]):
        raise ValueError(f"trees = {trees!r}: question_trees = {mix.question_trees!r} leaves no such question tree")
    draw = uniform_numbers(n, seed, replicate, "in-distribution questions: tree")
    codes = draw_word_codes(n, seed, replicate, "in-distribution questions: words")
    tree = draw_trees(pools[trees], draw, WEIGHTS)
    return _items(tree, np.ones(n, dtype=bool), codes, mix.lexicon, _width(mix.longest))


@cache
def _ood_weights() -> NDArray[np.float64]:
    """Chance of each tree, before normalisation, to be the declarative of an out-of-distribution question."""
    weights = np.zeros(len(TREES))
    for index in np.flatnonzero(CENTER_EMBEDDED):
        template, numbers = TREES[index].template, TREES[index].numbers
        gap = template.subject == "object-gap"
        # both auxiliaries have one number; that of an object gap is its own noun's, which is therefore the subject's
        if not gap or numbers[0] == numbers[1]:
            weights[index] = OOD_TEMPLATES.get(template.name, 0) / 2.0 ** (template.nouns - gap)
    return weights


def ood_questions(n: int, seed: int, replicate: int, lexicon: str = "full", longest: int | None = None) -> Items:
    """Return n out-of-distribution questions, on which the two rules always differ.

    Each has a relative clause on the subject and two auxiliaries of one number and opposite polarity, all four ordered
    pairs alike. `tree` and `template` are those of the declarative the question is made from.
    """
    weights = _ood_weights()
    trees = np.flatnonzero((weights > 0) & short_enough(longest))
    if not len(trees):
        raise ValueError(f"longest = {longest!r} leaves no question; the shortest out-of-distribution one has 19 ids")
    tree = draw_trees(trees, uniform_numbers(n, seed, replicate, "out-of-distribution questions: tree"), weights)
    negative = uniform_numbers(n, seed, replicate, "out-of-distribution questions: polarity") < 0.5
    codes = draw_word_codes(n, seed, replicate, "out-of-distribution questions: words")
    # a code in the lower half names the affirmative form, one in the upper half the negative form
    codes[np.arange(n), FIRST_AUXILIARIES[tree]] = negative * 2**31
    codes[np.arange(n), MAIN_AUXILIARIES[tree]] = ~negative * 2**31
    return _items(tree, np.ones(n, dtype=bool), codes, lexicon, _width(longest))


def _front(words: list[str], place: int) -> list[str]:
    return [words[place], *words[:place], *words[place + 1 :], "?"]


def _without_stop(words: list[str]) -> list[str]:
    return list(words[:-1]) if words and words[-1] == "." else list(words)


# What may stand before the main clause's auxiliary: determiner, noun, then nothing, a preposition with its noun, or a
# relative clause with the subject (A I, A T DN) or the object (DN A T) missing.
_SUBJECT_PHRASE = re.compile(r"DN(PDN|RA(I|TDN)|RDNAT)?(?=A)")


def hierarchical_rule(words: list[str]) -> list[str]:
    """Return the question that moving the main clause's auxiliary gives, as words with the `?`.

    words: a declarative, with or without its full stop. It is parsed here from its words alone, apart from what the
    generator knows. ValueError for an unknown word or where there is no subject followed by an auxiliary.
    """
    words = _without_stop(words)
    phrase = _SUBJECT_PHRASE.match(letters_of(words, verb_form=1))
    if phrase is None:
        raise ValueError(f"words = {' '.join(words)!r}; needed is a subject, then the main clause's auxiliary")
    return _front(words, phrase.end())


def linear_rule(words: list[str]) -> list[str]:
    """Return the question that moving the first auxiliary gives; the rest is as in `hierarchical_rule`."""
    words = _without_stop(words)
    place = letters_of(words, verb_form=1).find("A")
    if place < 0:
        raise ValueError(f"words = {' '.join(words)!r}; needed is a sentence with an auxiliary")
    return _front(words, place)
