"""Tense inflection: from `my bakers laughed .` to `my bakers laugh .`, with copied past-tense sentences beside.

Source: McCoy, Frank and Linzen 2020; mixes after Qin et al. 2024, arXiv 2412.04619. Two rules fit the training items
that change tense: the main verb agrees with the head of the subject (hierarchical) or with the last noun before it
(linear). They are kept to sentences where both give one form; copied sentences are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from twelvefold.tasks.items import COPY, NO_ANSWER, SUBJECTS, TRANSFORM, Items
from twelvefold.tasks.sentence_templates import (
    FRAME,
    LEXICONS,
    PLURAL,
    SINGULAR,
    draw_kinds,
    draw_trees,
    draw_word_codes,
    find_lexicon,
    form_tables,
    letters_of,
    number_table,
    parse_template,
    subject_index,
    trees_of,
    uniform_numbers,
    words_of,
)
from twelvefold.tasks.vocabulary import EOS_ID, SOS_ID, Vocabulary

Kinds = list[tuple[float, NDArray[np.intp]]]  # share and trees of each kind

# Rule weights of the published grammar: plain, with a preposition and with a relative clause alike; the clause
# intransitive, transitive or with the object missing alike.
_PHRASES = {"DN": 1 / 3, "DNPDN": 1 / 3, "DNRI": 1 / 9, "DNRTDN": 1 / 9, "DNRDNT": 1 / 9}
TENSE_TEMPLATES: dict[str, float] = {
    **{f"{subject}I": weight / 2 for subject, weight in _PHRASES.items()},
    **{f"{s}T{o}": _PHRASES[s] * _PHRASES[o] / 2 for s, o in product(_PHRASES, repeat=2)},
}
TEMPLATES = tuple(parse_template(name) for name in TENSE_TEMPLATES)
TREES = trees_of(TEMPLATES)

# Published sets: 58,816 of 100,000 items keep the past; the others have these subjects.
_PRESENT = {"plain": 16_324, "pp": 10_839, "rc": 14_021}
NATURAL_PAST = 0.58816
# Published out-of-distribution set of 10,000.
OOD_SUBJECTS: dict[str, int] = {"pp": 6045, "subject-gap": 1950, "object-gap": 2005}

_NUMBERS = number_table(TREES)  # [trees, nouns]
_TEMPLATE_OF_TREE = np.repeat(np.arange(len(TEMPLATES)), [2**template.nouns for template in TEMPLATES])
_WEIGHTS = np.array(list(TENSE_TEMPLATES.values()))[_TEMPLATE_OF_TREE] / 2.0 ** np.array(
    [len(t.numbers) for t in TREES]
)
_LENGTHS = np.array([tree.template.length for tree in TREES])
_MAIN = np.array([tree.template.main for tree in TREES])
_SUBJECTS = np.array([subject_index(tree.template) for tree in TREES])
# The last noun before the main verb, and whether its number is that of the head: there both rules give one form.
_NEAREST = np.array([tree.template.name[: tree.template.main].count("N") - 1 for tree in TREES])
_AMBIGUOUS = _NUMBERS[np.arange(len(TREES)), _NEAREST] == _NUMBERS[:, 0]


@dataclass(frozen=True)
class TenseMix:
    """What a training set of tense inflection is made of.

    past: share of copied past-tense sentences. plain, pp, rc: shares of sentences without addition to the subject, with
    a preposition and with a relative clause among those that change tense; they sum to 1. object_gap: share of
    object-gap clauses among those relative clauses; None = by the weights of the grammar (1/4). past_subjects: kinds of
    `SUBJECTS` kept in copied sentences; None = all. lexicon: a name in `LEXICONS`. longest: templates whose whole
    sequence has more ids than this are dropped.

    Raises ValueError for a mix that no data set can have.
    """

    past: float = NATURAL_PAST
    plain: float = _PRESENT["plain"] / sum(_PRESENT.values())
    pp: float = _PRESENT["pp"] / sum(_PRESENT.values())
    rc: float = _PRESENT["rc"] / sum(_PRESENT.values())
    object_gap: float | None = None
    past_subjects: tuple[str, ...] | None = None
    lexicon: str = "full"
    longest: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.past_subjects, list):  # as it comes out of JSON
            object.__setattr__(self, "past_subjects", tuple(self.past_subjects))
        _check(self)


def _check(mix: TenseMix) -> None:
    for name in ("past", "plain", "pp", "rc", "object_gap"):
        share = getattr(mix, name)
        if (share is not None or name != "object_gap") and not (isinstance(share, int | float) and 0 <= share <= 1):
            raise ValueError(f"{name} = {share!r}; accepted are shares from 0 to 1")
    if abs(mix.plain + mix.pp + mix.rc - 1) > 1e-6:
        raise ValueError(f"plain + pp + rc = {mix.plain + mix.pp + mix.rc!r}; these shares must sum to 1")
    kinds = mix.past_subjects
    if kinds is not None and not (isinstance(kinds, tuple) and kinds and set(SUBJECTS).issuperset(kinds)):
        raise ValueError(f"past_subjects = {kinds!r}; accepted are some of {', '.join(SUBJECTS)}, as a tuple")
    find_lexicon(mix.lexicon)
    if mix.past < 1:
        _present_kinds(mix)
    if mix.past > 0:
        _past_trees(mix)


def _short_enough(longest: int | None) -> NDArray[np.bool_]:
    """Mask over `TREES`: whole sequence of at most so many ids."""
    return np.ones(len(TREES), dtype=bool) if longest is None else 2 * _LENGTHS + FRAME <= longest


def _of(*subjects: str) -> NDArray[np.bool_]:
    """Mask over `TREES`: one of these kinds of subject."""
    return np.isin(_SUBJECTS, [SUBJECTS.index(subject) for subject in subjects])


def _past_trees(mix: TenseMix) -> NDArray[np.intp]:
    trees = np.flatnonzero(_short_enough(mix.longest) & _of(*(mix.past_subjects or SUBJECTS)))
    if not len(trees):
        raise ValueError(
            f"past_subjects = {mix.past_subjects!r} and longest = {mix.longest!r} leave no copied sentence"
        )
    return trees


def _present_kinds(mix: TenseMix) -> Kinds:
    """Share and trees of each kind of sentence that changes tense."""
    kinds = [("plain", mix.plain, _of("plain")), ("pp", mix.pp, _of("pp"))]
    if mix.object_gap is None:
        kinds.append(("rc", mix.rc, _of("subject-gap", "object-gap")))
    else:
        kinds.append(("rc, object_gap", mix.rc * mix.object_gap, _of("object-gap")))
        kinds.append(("rc, object_gap", mix.rc * (1 - mix.object_gap), _of("subject-gap")))
    allowed = _AMBIGUOUS & _short_enough(mix.longest)
    for name, share, mask in kinds:
        if share > 0 and not (mask & allowed).any():
            raise ValueError(f"{name}: a share of {share:.3g} is asked for, but longest = {mix.longest!r} leaves none")
    return [(share, np.flatnonzero(mask & allowed)) for _, share, mask in kinds if share > 0]


def tree_name(index: int) -> str:
    """Return a readable name of a tree: its letters with `s` or `p` after each noun."""
    if not 0 <= index < len(TREES):
        raise ValueError(f"index = {index!r}; accepted are 0 to {len(TREES) - 1}")
    return TREES[index].name


@cache
def vocabulary(lexicon: str = "full") -> Vocabulary:
    """Return the vocabulary of a lexicon: the stop, task words, then the words of each class in all their forms."""
    words = find_lexicon(lexicon)
    return Vocabulary(
        (
            *(".", "PRESENT", "PAST"),
            *words.determiners,
            *(form for noun in words.nouns for form in noun),
            *(form for verb in words.intransitive + words.transitive for form in verb),
            *words.prepositions,
            *words.relativisers,
        )
    )


def _items(
    tree: NDArray[np.intp], present: NDArray[np.bool_], codes: NDArray[np.uint32], lexicon: str, longest: int | None
) -> Items:
    """Items of the given trees; `present [N]` says which change tense, `codes [N, words]` choose the words."""
    known, words = vocabulary(lexicon), find_lexicon(lexicon)
    past_forms = form_tables(words, known, "DNPRIT", verb_forms=(2, 2))
    present_forms = form_tables(words, known, "DNPRIT", verb_forms=(0, 1))
    stop, task = known.id("."), np.where(present, known.id("PRESENT"), known.id("PAST"))
    count, length = len(tree), _LENGTHS[tree]
    tokens = np.zeros((count, int((2 * _LENGTHS[_short_enough(longest)] + FRAME).max())), dtype=np.int16)
    choices = np.zeros((count, 2), dtype=np.int16)
    for index in np.unique(_TEMPLATE_OF_TREE[tree]):
        rows, template = np.flatnonzero(_TEMPLATE_OF_TREE[tree] == index), TEMPLATES[index]
        numbers = _NUMBERS[tree[rows]]
        before = words_of(template, numbers, codes[rows], past_forms)
        after = np.where(present[rows, None], words_of(template, numbers, codes[rows], present_forms), before)
        edge = np.ones((len(rows), 1), dtype=np.int16)
        parts = [edge * SOS_ID, before, edge * stop, task[rows, None], after, edge * stop, edge * EOS_ID]
        tokens[rows, : 2 * template.length + FRAME] = np.concatenate(parts, axis=1)
        for number in (SINGULAR, PLURAL):
            alike = np.full_like(numbers, number)
            choices[rows, number] = words_of(template, alike, codes[rows], present_forms)[:, template.main]
    head, nearest = _NUMBERS[tree, 0], _NUMBERS[tree, _NEAREST[tree]]
    return Items(
        tokens=tokens,
        lengths=(2 * length + FRAME).astype(np.int16),
        query=(length + 2 + _MAIN[tree]).astype(np.int16),
        choices=choices,
        hierarchical=np.where(present, choices[np.arange(count), head], NO_ANSWER).astype(np.int16),
        linear=np.where(present, choices[np.arange(count), nearest], NO_ANSWER).astype(np.int16),
        task=np.where(present, TRANSFORM, COPY).astype(np.int8),
        subject=_SUBJECTS[tree].astype(np.int8),
        tree=tree.astype(np.int16),
        template=_TEMPLATE_OF_TREE[tree].astype(np.int16),
    )


def training_items(mix: TenseMix, n: int, seed: int, replicate: int) -> Items:
    """Return n training items of a mix, in random order; those that change tense are ambiguous between the rules.

    Sets of one seed and replicate are paired: under other shares of subjects the copied sentences stay, and a longer
    set begins with the shorter one. A sentence may occur twice: dropping duplicates would thin out short templates.
    """
    present = uniform_numbers(n, seed, replicate, "tense training: present or past") >= mix.past
    kind_draw = uniform_numbers(n, seed, replicate, "tense training: kind of subject")
    tree_draw = uniform_numbers(n, seed, replicate, "tense training: tree")
    codes = draw_word_codes(n, seed, replicate, "tense training: words")
    tree = np.empty(n, dtype=np.intp)
    if present.any():
        tree[present] = draw_kinds(_present_kinds(mix), kind_draw[present], tree_draw[present], _WEIGHTS)
    if not present.all():
        tree[~present] = draw_trees(_past_trees(mix), tree_draw[~present], _WEIGHTS)
    return _items(tree, present, codes, mix.lexicon, mix.longest)


def _tested(kinds: Kinds, n: int, seed: int, replicate: int, purpose: str, lexicon: str, longest: int | None) -> Items:
    """Fresh items that change tense."""
    kind_draw = uniform_numbers(n, seed, replicate, f"{purpose}: kind of subject")
    tree = draw_kinds(kinds, kind_draw, uniform_numbers(n, seed, replicate, f"{purpose}: tree"), _WEIGHTS)
    codes = draw_word_codes(n, seed, replicate, f"{purpose}: words")
    return _items(tree, np.ones(n, dtype=bool), codes, lexicon, longest)


def id_items(mix: TenseMix, n: int, seed: int, replicate: int) -> Items:
    """Return n fresh in-distribution items that change tense, independent of the training set of the same seed.

    ValueError for a mix in which no sentence changes tense.
    """
    if mix.past == 1:
        raise ValueError("past = 1; such a mix has no sentence that changes tense")
    return _tested(_present_kinds(mix), n, seed, replicate, "tense in-distribution", mix.lexicon, mix.longest)


def ood_items(n: int, seed: int, replicate: int, lexicon: str = "full", longest: int | None = None) -> Items:
    """Return n out-of-distribution items, on which the two rules always differ.

    The head of the subject and the last noun before the main verb differ in number. The kinds of subject (preposition,
    transitive subject-gap clause, object-gap clause) have the shares of the published set.
    """
    differing = ~_AMBIGUOUS & _short_enough(longest)
    kinds = [(float(count), np.flatnonzero(differing & _of(name))) for name, count in OOD_SUBJECTS.items()]
    if not all(len(trees) for _, trees in kinds):
        raise ValueError(
            f"longest = {longest!r} leaves a kind of subject without a sentence; at least 19 ids are needed"
        )
    return _tested(kinds, n, seed, replicate, "tense out-of-distribution", lexicon, longest)


# What may stand before the main verb: determiner, noun, then nothing, a preposition with its noun, or a relative clause
# with the subject (I, T DN) or the object (DN T) missing.
_SUBJECT_PHRASE = re.compile(r"DN(PDN|RI|RTDN|RDNT)?(?=[IT])")


@cache
def _noun_numbers() -> dict[str, int]:
    return {form: number for noun in LEXICONS["full"].nouns for number, form in enumerate(noun)}


@cache
def _present_of_past() -> dict[str, tuple[str, str]]:
    verbs = LEXICONS["full"].intransitive + LEXICONS["full"].transitive
    return {past: (singular, plural) for singular, plural, past in verbs}


def _without_stop(words: list[str]) -> tuple[list[str], str]:
    sentence = list(words[:-1]) if words and words[-1] == "." else list(words)
    return sentence, letters_of(sentence, verb_form=2)


def linear_rule(words: list[str]) -> list[str]:
    """Return the sentence in the present where every verb agrees with the last noun before it, as words with the `.`.

    words: a sentence in the past, with or without its full stop. ValueError for an unknown word or where a verb has no
    noun before it.
    """
    sentence, letters = _without_stop(words)
    output, number = [], None
    for word, letter in zip(sentence, letters, strict=True):
        number = _noun_numbers()[word] if letter == "N" else number
        if letter in "IT":
            if number is None:
                raise ValueError(f"words = {' '.join(words)!r}; needed is a noun before the first verb")
            word = _present_of_past()[word][number]
        output.append(word)
    return [*output, "."]


def hierarchical_rule(words: list[str]) -> list[str]:
    """Return the sentence in the present where every verb agrees with its own subject, as words with the `.`.

    The subject of the main verb is the first noun. In a relative clause, of either kind, the subject is the last noun
    before the verb, so that only the main verb can differ from the linear rule. The sentence is parsed here from its
    words alone. ValueError also where there is no subject followed by a verb.
    """
    sentence, letters = _without_stop(words)
    phrase = _SUBJECT_PHRASE.match(letters)
    if phrase is None:
        raise ValueError(f"words = {' '.join(words)!r}; needed is a subject, then the main verb")
    output, main = linear_rule(words), phrase.end()
    output[main] = _present_of_past()[sentence[main]][_noun_numbers()[sentence[1]]]
    return output
