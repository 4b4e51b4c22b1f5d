"""Templates of question formation with their published counts, and the trees they make.

The counts are those of the 11,000 in-distribution and 10,000 out-of-distribution sentences that McCoy, Frank and Linzen
(2020) published and Qin et al. (2024, arXiv 2412.04619) train on. The published data do not follow the rule weights of
their grammar, so templates are drawn by these counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from twelvefold.core.seeds import numpy_generator
from twelvefold.tasks.items import SUBJECTS
from twelvefold.tasks.sentence_templates import (
    FRAME,
    Template,
    Tree,
    find_lexicon,
    number_table,
    parse_template,
    subject_index,
    trees_of,
)

QUEST_TEMPLATES: dict[str, int] = {
    "DNATDNPDN": 915,
    "DNATDN": 858,
    "DNATDNRAI": 573,
    "DNPDNATDN": 352,
    "DNPDNATDNPDN": 350,
    "DNPDNAI": 348,
    "DNATDNRATDN": 286,
    "DNATDNRDNAT": 268,
    "DNPDNATDNRAI": 226,
    "DNPDNATDNRATDN": 117,
    "DNPDNATDNRDNAT": 117,
    "DNAI": 30,
}
DECL_TEMPLATES: dict[str, int] = {
    # no relative clause on the subject
    "DNATDNPDN": 897,
    "DNATDN": 850,
    "DNATDNRAI": 581,
    "DNPDNAI": 373,
    "DNPDNATDNPDN": 372,
    "DNPDNATDN": 341,
    "DNATDNRATDN": 309,
    "DNATDNRDNAT": 303,
    "DNPDNATDNRAI": 228,
    "DNPDNATDNRATDN": 127,
    "DNPDNATDNRDNAT": 118,
    "DNAI": 35,
    # a relative clause on the subject: centre-embedded
    "DNRDNATATDNPDN": 248,
    "DNRDNATATDN": 217,
    "DNRDNATAI": 216,
    "DNRDNATATDNRAI": 152,
    "DNRAIATDNPDN": 128,
    "DNRAIATDN": 120,
    "DNRATDNATDN": 116,
    "DNRATDNAI": 115,
    "DNRATDNATDNPDN": 111,
    "DNRAIAI": 104,
    "DNRDNATATDNRATDN": 86,
    "DNRATDNATDNRAI": 83,
    "DNRAIATDNRAI": 81,
    "DNRDNATATDNRDNAT": 79,
    "DNRATDNATDNRDNAT": 49,
    "DNRAIATDNRDNAT": 42,
    "DNRAIATDNRATDN": 41,
    "DNRATDNATDNRATDN": 38,
}
OOD_TEMPLATES: dict[str, int] = {
    "DNRATDNAI": 2053,
    "DNRDNATAI": 1985,
    "DNRAIAI": 1883,
    "DNRATDNATDN": 708,
    "DNRATDNATDNPDN": 702,
    "DNRDNATATDNPDN": 690,
    "DNRAIATDNPDN": 685,
    "DNRDNATATDN": 658,
    "DNRAIATDN": 636,
}

# Index of a template: those of questions first, then those of declaratives (out-of-distribution questions have the
# index of the declarative they are made from). The trees are numbered in the same order: 102, then 272.
TEMPLATES: tuple[Template, ...] = tuple(parse_template(name) for name in (*QUEST_TEMPLATES, *DECL_TEMPLATES))
QUESTION_TEMPLATE_COUNT = len(QUEST_TEMPLATES)
TEMPLATE_COUNTS: tuple[int, ...] = (*QUEST_TEMPLATES.values(), *DECL_TEMPLATES.values())
QUESTION_TREES: tuple[Tree, ...] = trees_of(TEMPLATES[:QUESTION_TEMPLATE_COUNT])
DECLARATIVE_TREES: tuple[Tree, ...] = trees_of(TEMPLATES[QUESTION_TEMPLATE_COUNT:])
TREES: tuple[Tree, ...] = QUESTION_TREES + DECLARATIVE_TREES

NATURAL_QUESTIONS = sum(QUEST_TEMPLATES.values()) / sum(TEMPLATE_COUNTS)
NATURAL_CENTER_EMBEDDED = sum(
    count for name, count in DECL_TEMPLATES.items() if parse_template(name).subject.endswith("gap")
) / sum(DECL_TEMPLATES.values())

NUMBERS = number_table(TREES)  # [trees, nouns]
TEMPLATE_OF_TREE = np.repeat(np.arange(len(TEMPLATES)), [2**template.nouns for template in TEMPLATES])
# Chance of each tree before normalisation: the count of its template, every noun singular or plural alike.
WEIGHTS = np.array(TEMPLATE_COUNTS)[TEMPLATE_OF_TREE] / 2.0 ** np.array([len(tree.numbers) for tree in TREES])
LENGTHS = np.array([tree.template.length for tree in TREES])
FIRST_AUXILIARIES = np.array([tree.template.name.index("A") for tree in TREES])
MAIN_AUXILIARIES = np.array([tree.template.main for tree in TREES])
AUXILIARIES_OF_TREES = np.array([tree.template.auxiliaries for tree in TREES])
SUBJECTS_OF_TREES = np.array([subject_index(tree.template) for tree in TREES])
IS_QUESTION = np.arange(len(TREES)) < len(QUESTION_TREES)
OBJECT_GAP = SUBJECTS_OF_TREES == SUBJECTS.index("object-gap")
CENTER_EMBEDDED = OBJECT_GAP | (SUBJECTS_OF_TREES == SUBJECTS.index("subject-gap"))


@dataclass(frozen=True)
class QuestionMix:
    """What a training set of question formation is made of.

    questions: share of questions among all items. center_embedded: share of declaratives with a relative clause on the
    subject; None = what the published counts give among the declaratives that the other fields leave. object_gap: share
    of object-gap clauses among those; None = as published. auxiliaries: numbers of auxiliaries (of 1, 2, 3) kept in
    declaratives; None = all. question_trees, declarative_trees: how many distinct trees are kept; None = all.
    tree_draw: which random order the kept trees are the first of. lexicon: a name in `LEXICONS`. longest: templates
    whose whole sequence has more ids than this are dropped.

    Raises ValueError for a mix that no data set can have.
    """

    questions: float = NATURAL_QUESTIONS
    center_embedded: float | None = NATURAL_CENTER_EMBEDDED
    object_gap: float | None = None
    auxiliaries: tuple[int, ...] | None = None
    question_trees: int | None = None
    declarative_trees: int | None = None
    tree_draw: int = 0
    lexicon: str = "full"
    longest: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.auxiliaries, list):  # as it comes out of JSON
            object.__setattr__(self, "auxiliaries", tuple(self.auxiliaries))
        _check(self)


def _check(mix: QuestionMix) -> None:
    for name in ("questions", "center_embedded", "object_gap"):
        share = getattr(mix, name)
        if (share is not None or name == "questions") and not (isinstance(share, int | float) and 0 <= share <= 1):
            raise ValueError(f"{name} = {share!r}; accepted are shares from 0 to 1")
    numbers = mix.auxiliaries
    if numbers is not None and not (isinstance(numbers, tuple) and numbers and {1, 2, 3}.issuperset(numbers)):
        raise ValueError(f"auxiliaries = {numbers!r}; accepted are some of 1, 2, 3, as a tuple")
    if not isinstance(mix.tree_draw, Integral) or mix.tree_draw < 0:
        raise ValueError(f"tree_draw = {mix.tree_draw!r}; accepted are whole numbers from 0")
    for name, task, absent in (("question_trees", "questions", 0), ("declarative_trees", "declaratives", 1)):
        kept = getattr(mix, name)
        if kept is not None and (not isinstance(kept, Integral) or kept < 1):
            raise ValueError(f"{name} = {kept!r}; accepted are whole numbers from 1")
        if kept is not None and mix.questions == absent:
            raise ValueError(f"{name} = {kept!r} with questions = {mix.questions!r}; such a mix has no {task}")
    find_lexicon(mix.lexicon)
    kept_trees(mix)


def short_enough(longest: int | None) -> NDArray[np.bool_]:
    """Mask over `TREES`: whole sequence of at most so many ids."""
    return np.ones(len(TREES), dtype=bool) if longest is None else 2 * LENGTHS + FRAME <= longest


def _kept_questions(mix: QuestionMix) -> NDArray[np.intp]:
    """Trees of the training questions: the first so many of one random order."""
    trees = np.flatnonzero(IS_QUESTION & short_enough(mix.longest))
    if not len(trees):
        raise ValueError(f"longest = {mix.longest!r} leaves no question; the shortest sequence has 13 ids")
    if mix.question_trees is None:
        return trees
    if mix.question_trees > len(trees):
        raise ValueError(f"question_trees = {mix.question_trees}; there are {len(trees)} question trees in this mix")
    order = numpy_generator(mix.tree_draw, 0, "order of question trees").permutation(len(QUESTION_TREES))
    return np.sort(order[np.isin(order, trees)][: mix.question_trees])


def _kinds(mix: QuestionMix, trees: NDArray[np.intp]) -> list[tuple[str, float, NDArray[np.intp]]]:
    """The kinds of declaratives whose shares the mix fixes: name, share, those of `trees` that are of the kind."""
    embedded, gap = CENTER_EMBEDDED[trees], OBJECT_GAP[trees]
    center = mix.center_embedded
    if center is None:
        center = float(WEIGHTS[trees][embedded].sum() / WEIGHTS[trees].sum())
    kinds = [("without a relative clause on the subject", 1 - center, trees[~embedded])]
    if mix.object_gap is None:
        kinds.append(("with a relative clause on the subject", center, trees[embedded]))
    else:
        kinds.append(("with an object-gap clause on the subject", center * mix.object_gap, trees[gap]))
        kinds.append(
            ("with a subject-gap clause on the subject", center * (1 - mix.object_gap), trees[embedded & ~gap])
        )
    return [kind for kind in kinds if kind[1] > 0]


def declarative_kinds(mix: QuestionMix) -> list[tuple[float, NDArray[np.intp]]]:
    """Return the share and the kept trees of each kind of training declaratives; nothing for a mix without any.

    With `declarative_trees`, each kind keeps as many as its share asks for, the first of one random order.
    """
    if mix.questions == 1:
        return []
    wanted = short_enough(mix.longest) & ~IS_QUESTION
    if mix.auxiliaries is not None:
        wanted &= np.isin(AUXILIARIES_OF_TREES, mix.auxiliaries)
    if not wanted.any():
        raise ValueError(f"auxiliaries = {mix.auxiliaries!r} and longest = {mix.longest!r} leave no declarative")
    kinds = _kinds(mix, np.flatnonzero(wanted))
    for name, share, trees in kinds:
        if not len(trees):
            raise ValueError(
                f"center_embedded = {mix.center_embedded!r} and object_gap = {mix.object_gap!r} ask for a share of "
                f"{share:.3g} {name}; auxiliaries = {mix.auxiliaries!r} and longest = {mix.longest!r} leave none "
                "(None as the share takes what they leave)"
            )
    available = [len(trees) for _, _, trees in kinds]
    if mix.declarative_trees is not None:
        available = _shared_out(mix.declarative_trees, [share for _, share, _ in kinds], available)
    order = numpy_generator(mix.tree_draw, 0, "order of declarative trees").permutation(len(TREES))
    return [
        (share, np.sort(order[np.isin(order, trees)][:kept]))
        for (_, share, trees), kept in zip(kinds, available, strict=True)
    ]


def _shared_out(total: int, shares: list[float], available: list[int]) -> list[int]:
    """How many of `total` trees each kind gets: one each, then by Webster's divisors, so that more trees never take one
    away that fewer had."""
    if not len(shares) <= total <= sum(available):
        raise ValueError(
            f"declarative_trees = {total}; this mix has {len(shares)} kinds of declaratives with {sum(available)} "
            f"trees together, so {len(shares)} to {sum(available)} are accepted"
        )
    kept = [1] * len(shares)
    while sum(kept) < total:
        claims = [share / (2 * n + 1) for share, n in zip(shares, kept, strict=True)]
        open_kinds = [n < most for n, most in zip(kept, available, strict=True)]
        kept[int(np.argmax(np.where(open_kinds, claims, -1.0)))] += 1
    return kept


def kept_trees(mix: QuestionMix) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the trees that training questions and training declaratives are made of, each sorted.

    With a larger K the kept trees of a smaller one stay. An empty array stands for a task the mix does not have.
    """
    none = [np.empty(0, dtype=np.intp)]
    declaratives = np.sort(np.concatenate(none + [trees for _, trees in declarative_kinds(mix)]))
    return (_kept_questions(mix) if mix.questions > 0 else none[0]), declaratives


def tree_name(index: int) -> str:
    """Return a readable name of a tree: its task and its letters with `s` or `p` after each noun."""
    if not 0 <= index < len(TREES):
        raise ValueError(f"index = {index!r}; accepted are 0 to {len(TREES) - 1}")
    return f"{'quest' if index < len(QUESTION_TREES) else 'decl'} {TREES[index].name}"
