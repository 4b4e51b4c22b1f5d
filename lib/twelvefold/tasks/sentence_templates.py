"""What the two grammar tasks share: the lexicon, templates of word classes, trees, and words drawn for them.

A template is a text with one letter per word: D determiner, N noun, A auxiliary, P preposition, R relativiser, I and T
intransitive and transitive verb. A tree is a template together with the number of each of its nouns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from twelvefold.core.seeds import numpy_generator
from twelvefold.tasks.items import SUBJECTS
from twelvefold.tasks.vocabulary import Vocabulary

SINGULAR, PLURAL = 0, 1
MOST_NOUNS, MOST_WORDS = 4, 16
# SOS, full stop, task word, end mark and EOS around a sentence that stands there twice.
FRAME = 5


@dataclass(frozen=True)
class Lexicon:
    """Words of each class; every word of a class is equally likely.

    nouns: (singular, plural). intransitive, transitive: (present singular, present plural, past); the plural is the
    form that follows an auxiliary. auxiliaries: (singular, plural), affirmative before negative.
    """

    determiners: tuple[str, ...]
    nouns: tuple[tuple[str, str], ...]
    intransitive: tuple[tuple[str, str, str], ...]
    transitive: tuple[tuple[str, str, str], ...]
    prepositions: tuple[str, ...]
    relativisers: tuple[str, ...]
    auxiliaries: tuple[tuple[str, str], tuple[str, str]] = (("does", "do"), ("doesn't", "don't"))

    def first(self, nouns: int, verbs: int, prepositions: int, determiners: int) -> Lexicon:
        """Return the lexicon of the first so many words of each class (`verbs`: of either kind)."""
        return Lexicon(
            self.determiners[:determiners],
            self.nouns[:nouns],
            self.intransitive[:verbs],
            self.transitive[:verbs],
            self.prepositions[:prepositions],
            self.relativisers,
            self.auxiliaries,
        )


def _regular(*stems: str) -> tuple[tuple[str, str, str], ...]:
    return tuple((stem + "s", stem, stem + ("d" if stem.endswith("e") else "ed")) for stem in stems)


# Class sizes of the published grammar (6 determiners, 13 nouns, 9 + 9 verbs, 8 prepositions, 2 relativisers) with other
# words. Determiners go with either number; no form of a verb equals another, or its number could not be scored.
_FULL = Lexicon(
    determiners=("the", "my", "our", "your", "his", "their"),
    nouns=tuple(
        (noun, noun + "s")
        for noun in (
            "baker doctor farmer gardener painter pilot sailor singer teacher tailor driver poet lawyer".split()
        )
    ),
    intransitive=_regular("laugh", "dance", "yawn", "arrive", "whistle", "stumble", "wander", "work", "shiver"),
    transitive=_regular("help", "follow", "praise", "greet", "thank", "visit", "notice", "trust", "invite"),
    prepositions=("near", "behind", "beside", "with", "under", "beyond", "opposite", "without"),
    relativisers=("who", "that"),
)
LEXICONS: dict[str, Lexicon] = {
    "full": _FULL,
    "small": _FULL.first(nouns=6, verbs=4, prepositions=4, determiners=3),
}


def find_lexicon(name: str) -> Lexicon:
    """Return a lexicon by its name; ValueError lists the names there are."""
    if name not in LEXICONS:
        raise ValueError(f"lexicon = {name!r}; accepted are {', '.join(map(repr, LEXICONS))}")
    return LEXICONS[name]


@dataclass(frozen=True)
class Template:
    """A sentence as word classes.

    name: one letter per word. noun: for every word the number of the noun it takes its form from (a noun: itself; an
    auxiliary or verb: its subject; -1: none), counted from 0. nouns: how many there are. main: place of the main
    clause's auxiliary, or of its verb where the template has no auxiliaries. subject, object: one of `SUBJECTS`
    (object: "none" after an intransitive verb).
    """

    name: str
    noun: tuple[int, ...]
    nouns: int
    main: int
    subject: str
    object: str

    @property
    def length(self) -> int:
        """Number of words."""
        return len(self.name)

    @property
    def auxiliaries(self) -> int:
        """Number of auxiliaries."""
        return self.name.count("A")


_PHRASE = "DN(?:PDN|RA?(?:I|TDN)|RDNA?T)?"
_SENTENCE = re.compile(f"(?P<subject>{_PHRASE})A?(?:I|T(?P<object>{_PHRASE}))")


def _kind(phrase: str | None) -> str:
    if phrase is None:
        return "none"
    after_noun = phrase[2:4]
    if after_noun.startswith("R"):
        return "object-gap" if after_noun == "RD" else "subject-gap"
    return "pp" if after_noun else "plain"


@cache
def parse_template(name: str) -> Template:
    """Return the template written as one letter per word; ValueError where the letters make no sentence.

    A sentence is NP VP with NP = DN, DN P DN or DN RC; RC = R V, R V DN or R DN V; VP = V or V NP, each V a verb, all
    of them with an auxiliary before it or none.
    """
    parts, auxiliaries = _SENTENCE.fullmatch(name), name.count("A")
    if parts is None or auxiliaries not in (0, name.count("I") + name.count("T")):
        raise ValueError(
            f"template = {name!r}; accepted is NP VP with NP = DN, DNPDN, DNRV, DNRVDN or DNRDNV and VP = V or V NP, "
            "where V is I or T, with an A before it everywhere or nowhere"
        )
    main, noun, nouns = parts.end("subject"), [], 0
    for place, letter in enumerate(name):
        nouns += letter == "N"
        # in either kind of relative clause the subject is the last noun; the main clause's is the first of all
        subject = 0 if main <= place <= main + (auxiliaries > 0) else nouns - 1
        noun.append(subject if letter in "NAIT" else -1)
    return Template(name, tuple(noun), nouns, main, _kind(parts["subject"]), _kind(parts["object"]))


@dataclass(frozen=True)
class Tree:
    """A template with the number (0 singular, 1 plural) of each of its nouns, in the order of the sentence."""

    template: Template
    numbers: tuple[int, ...]

    @property
    def name(self) -> str:
        """The template's letters with `s` or `p` after each noun."""
        marks = iter("sp"[number] for number in self.numbers)
        return "".join(letter + next(marks) if letter == "N" else letter for letter in self.template.name)


def trees_of(templates: Iterable[Template]) -> tuple[Tree, ...]:
    """Return every tree of the templates in turn: each noun singular or plural."""
    return tuple(
        Tree(template, numbers)
        for template in templates
        for numbers in product((SINGULAR, PLURAL), repeat=template.nouns)
    )


def subject_index(template: Template) -> int:
    """Return the index of the template's kind of subject in `SUBJECTS`."""
    return SUBJECTS.index(template.subject)


def number_table(trees: Iterable[Tree]) -> NDArray[np.int8]:
    """Return the numbers of the nouns of each tree, `[trees, MOST_NOUNS]`, filled up with 0."""
    return np.array([tree.numbers + (0,) * (MOST_NOUNS - len(tree.numbers)) for tree in trees], dtype=np.int8)


def draw_word_codes(n: int, seed: int, replicate: int, purpose: str) -> NDArray[np.uint32]:
    """Return random codes `[n, MOST_WORDS]`, uniform over 32 bits; `words_of` turns each into a word of its class.

    Codes are drawn before it is known which class they will name, row by row: an item keeps its words when others
    change their template, and a longer data set begins with the shorter one.
    """
    generator = numpy_generator(seed, replicate, purpose)
    return generator.integers(0, 2**32, size=(n, MOST_WORDS), dtype=np.uint32)


def words_of(
    template: Template,
    numbers: NDArray[np.int8],
    codes: NDArray[np.uint32],
    forms: dict[str, NDArray[np.int16]],
) -> NDArray[np.int16]:
    """Return the word ids `[n, words]` of n sentences of one template.

    numbers: `[n, MOST_NOUNS]` of the nouns. codes: `[n, at least words]` from `draw_word_codes`. forms: for each letter
    the ids `[words of the class, 2]` of singular and plural.
    """
    words = np.empty((len(codes), template.length), dtype=np.int16)
    for place, (letter, noun) in enumerate(zip(template.name, template.noun, strict=True)):
        table = forms[letter]
        # a 32-bit code times the size of the class, shifted: uniform up to 2^-32
        chosen = (codes[:, place].astype(np.uint64) * np.uint64(len(table))) >> np.uint64(32)
        words[:, place] = table[chosen.astype(np.intp), 0 if noun < 0 else numbers[:, noun]]
    return words


def _classes(lexicon: Lexicon, verb_forms: tuple[int, int]) -> dict[str, list[tuple[str, str]]]:
    """The words of each class by its letter, as (singular, plural)."""
    singular, plural = verb_forms
    return {
        "D": [(word, word) for word in lexicon.determiners],
        "N": list(lexicon.nouns),
        "A": list(lexicon.auxiliaries),
        "P": [(word, word) for word in lexicon.prepositions],
        "R": [(word, word) for word in lexicon.relativisers],
        "I": [(verb[singular], verb[plural]) for verb in lexicon.intransitive],
        "T": [(verb[singular], verb[plural]) for verb in lexicon.transitive],
    }


def form_tables(
    lexicon: Lexicon, vocabulary: Vocabulary, letters: str, verb_forms: tuple[int, int]
) -> dict[str, NDArray[np.int16]]:
    """Return the ids `[words, 2]` (singular, plural) of the classes named by `letters`.

    verb_forms: which of the three forms of a verb (present singular, present plural, past) stands after a singular and
    after a plural subject: (1, 1) behind auxiliaries, (0, 1) in the present, (2, 2) in the past.
    """
    classes = _classes(lexicon, verb_forms)
    return {
        letter: np.array([[vocabulary.id(form) for form in pair] for pair in classes[letter]], dtype=np.int16)
        for letter in letters
    }


@cache
def _letter_of_word(verb_form: int) -> dict[str, str]:
    classes = _classes(LEXICONS["full"], (verb_form, verb_form))
    return {form: letter for letter, pairs in classes.items() for pair in pairs for form in pair}


def letters_of(words: Iterable[str], verb_form: int) -> str:
    """Return one letter per word of the full lexicon, for parsers; verbs are known in one form only.

    verb_form: 0 present singular, 1 present plural, 2 past. ValueError names a word that the lexicon does not have.
    """
    known, words = _letter_of_word(verb_form), list(words)
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ValueError(
            f"words holds {unknown[0]!r}; accepted are words of the lexicon in the form the rule starts from"
        )
    return "".join(known[word] for word in words)


def draw_trees(trees: NDArray[np.intp], uniform: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return one of `trees` for each uniform number, by inversion of the cumulative `weights` (one per tree index)."""
    bounds = np.cumsum(weights[trees])
    return trees[np.searchsorted(bounds[:-1] / bounds[-1], uniform, side="right")]


def draw_kinds(
    kinds: Sequence[tuple[float, NDArray[np.intp]]],
    kind_draw: NDArray[np.float64],
    tree_draw: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.intp]:
    """Return a tree for each pair of uniform numbers: the first picks one of the kinds `(share, trees)` by its share,
    the second one of the kind's trees by `weights`."""
    kind = draw_trees(np.arange(len(kinds)), kind_draw, np.array([share for share, _ in kinds]))
    tree = np.empty(len(kind), dtype=np.intp)
    for index, (_, trees) in enumerate(kinds):
        tree[kind == index] = draw_trees(trees, tree_draw[kind == index], weights)
    return tree


def uniform_numbers(n: int, seed: int, replicate: int, purpose: str) -> NDArray[np.float64]:
    """Return n uniform numbers of one purpose; ValueError where n is not a whole number from 1."""
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise ValueError(f"n = {n!r}; accepted are whole numbers from 1")
    return numpy_generator(seed, replicate, purpose).random(int(n))
