"""One draw of both tasks' data: what is counted in it, read off its words.

Templates are found in the words and the rules read words, so that nothing is compared with the generator's own
bookkeeping except where a row says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twelvefold.papers.hier_gen import ngram
from twelvefold.tasks import question_formation as questions
from twelvefold.tasks import tense_inflection as tenses
from twelvefold.tasks.items import COPY, SUBJECTS, TRANSFORM, Items
from twelvefold.tasks.sentence_templates import LEXICONS, PLURAL, SINGULAR, letters_of, parse_template
from twelvefold.tasks.vocabulary import Vocabulary

Words = list[str]
Rule = Callable[[Words], Words]
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A grammar task as this result needs it.

    name: in rows and captions. vocabulary: of the full lexicon. verb_form: the form of verbs in the input (see
    `letters_of`). rules: hierarchical and linear. training, fresh, ood: `(n, seed, replicate)` -> items of the natural
    mix, of fresh in-distribution items that are transformed, and of the out-of-distribution set.
    """

    name: str
    vocabulary: Vocabulary
    verb_form: int
    rules: dict[str, Rule]
    training: Callable[[int, int, int], Items]
    fresh: Callable[[int, int, int], Items]
    ood: Callable[[int, int, int], Items]


def tasks() -> tuple[Task, Task]:
    """Question formation and tense inflection."""
    question_mix, tense_mix = questions.QuestionMix(), tenses.TenseMix()
    return (
        Task(
            "question formation", questions.vocabulary(), 1,
            {"hierarchical": questions.hierarchical_rule, "linear": questions.linear_rule},
            lambda n, seed, r: questions.training_items(question_mix, n, seed, r),
            lambda n, seed, r: questions.id_questions(question_mix, n, seed, r),
            lambda n, seed, r: questions.ood_questions(n, seed, r),
        ),
        Task(
            "tense inflection", tenses.vocabulary(), 2,
            {"hierarchical": tenses.hierarchical_rule, "linear": tenses.linear_rule},
            lambda n, seed, r: tenses.training_items(tense_mix, n, seed, r),
            lambda n, seed, r: tenses.id_items(tense_mix, n, seed, r),
            lambda n, seed, r: tenses.ood_items(n, seed, r),
        ),
    )  # fmt: skip


def sentences(items: Items, vocabulary: Vocabulary) -> Iterator[tuple[Words, str, Words]]:
    """Input with its full stop, task word and output of every item, as words."""
    for tokens, length in zip(items.tokens, items.lengths, strict=True):
        words = vocabulary.decode(tokens[:length]).split()
        stop = words.index(".")
        yield words[: stop + 1], words[stop + 1], words[stop + 2 :]


def template_counts(items: Items, task: Task) -> Counter[tuple[str, str]]:
    """How often each (task word, template) stands there, the template read off the words before the first full stop."""
    known = task.vocabulary
    letters = np.zeros(known.size, dtype="S1")
    for word in known.words:
        try:
            letters[known.id(word)] = letters_of([word], task.verb_form).encode()
        except ValueError:  # marks, task words and verb forms that no input has
            continue
    stops = items.tokens == known.id(".")
    before = np.cumsum(stops, axis=1) == 0
    texts = np.ascontiguousarray(np.where(before, letters[items.tokens], b""))[:, 1:]  # without SOS
    joined = np.ascontiguousarray(texts).view(f"S{texts.shape[1]}")[:, 0]
    marks = items.tokens[np.arange(len(items)), stops.argmax(axis=1) + 1]
    counts: Counter[tuple[str, str]] = Counter()
    for mark in np.unique(marks):
        names, numbers = np.unique(joined[marks == mark], return_counts=True)
        for name, number in zip(names, numbers, strict=True):
            counts[known.decode([mark]), name.decode()] = int(number)
    return counts


def _row(kind: str, task: Task, data: str, name: str, value: float | None, cases: int, text: str = "") -> Row:
    return {"kind": kind, "task": task.name, "data": data, "name": name, "value": value, "cases": cases, "text": text}


def rule_rows(items: Items, task: Task, data: str) -> list[Row]:
    """How many items of a set each rule answers rightly: at the tested word, in the whole sentence; and on how many its
    word is the one that the generator recorded for this rule."""
    rows = []
    for name, rule in task.rules.items():
        right: Counter[str] = Counter()
        recorded = items.hierarchical if name == "hierarchical" else items.linear
        places = items.query - (items.lengths - 5) // 2 - 2  # of the tested word in the output
        for place, label, (given, _, wanted) in zip(places, recorded, sentences(items, task.vocabulary), strict=True):
            answer = rule(given)
            right["tested word"] += answer[place] == wanted[place]
            right["whole sentence"] += answer == wanted
            right["as recorded"] += task.vocabulary.id(answer[place]) == label
        measures = ("tested word", "whole sentence", "as recorded")
        rows += [_row(f"rule: {measure}", task, data, name, right[measure], len(items)) for measure in measures]
    return rows


def ngram_rows(task: Task, training: Items, sets: dict[str, Items], orders: int) -> list[Row]:
    """Agreement of n-gram models of order 1 to `orders` with both rules on test sets, and what the models answer."""
    rows, counts = [], ngram.count_ngrams(ngram.training_sequences(training), orders)
    for order in range(1, orders + 1):
        for data, items in sets.items():
            given, name = ngram.answers(counts[:order], items), f"{order}"
            for rule, wanted in (("hierarchical", items.hierarchical), ("linear", items.linear)):
                rows.append(_row(f"n-gram: {rule}", task, data, name, int((given == wanted).sum()), len(items)))
            distinct = len(np.unique(given))
            rows.append(_row("n-gram: answers", task, data, name, distinct, len(items)))
    return rows


# What each example shows: its name, the set, the kind of subject, copied or not, and a template.
_EXAMPLES = (
    ("ambiguous", "training", "plain", TRANSFORM, "DNATDNRAI"),
    ("copied", "training", "object-gap", COPY, "DNRDNATATDN"),
    ("OOD, subject-gap", "OOD", "subject-gap", TRANSFORM, "DNRATDNAI"),
    ("OOD, object-gap", "OOD", "object-gap", TRANSFORM, "DNRDNATATDN"),
)
_TENSE_EXAMPLES = (
    ("ambiguous", "training", "pp", TRANSFORM, "DNPDNTDN"),
    ("copied", "training", "object-gap", COPY, "DNRDNTTDN"),
    ("OOD, preposition", "OOD", "pp", TRANSFORM, "DNPDNTDN"),
    ("OOD, object-gap", "OOD", "object-gap", TRANSFORM, "DNRDNTTDN"),
)


def tested_place(given: Words, task: Task) -> int:
    """Place of the tested word in the output: the fronted auxiliary, or the main verb."""
    return 0 if task.verb_form == 1 else parse_template(letters_of(given[:-1], task.verb_form)).main


def example_rows(task: Task, sets: dict[str, Items]) -> list[Row]:
    """One item of each kind: input, task word, output and what each rule gives.

    It is the first of its template on which the rules differ, or for "ambiguous" agree; nothing where there is none.
    """
    rows = []
    for name, data, subject, copied, template in _EXAMPLES if task.verb_form == 1 else _TENSE_EXAMPLES:
        items = sets[data]
        some = items.take((items.subject == SUBJECTS.index(subject)) & (items.task == copied))
        for given, mark, wanted in sentences(some, task.vocabulary):
            answers = {rule: apply(given) for rule, apply in task.rules.items()}
            place = tested_place(given, task)
            agree = answers["hierarchical"][place] == answers["linear"][place]
            if letters_of(given[:-1], task.verb_form) == template and agree == (name == "ambiguous"):
                texts = {"input": given, "task": [mark], "output": wanted, **answers}
                rows += [
                    _row(f"example: {key}", task, data, name, None, 1, " ".join(text)) for key, text in texts.items()
                ]
                break
    return rows


def data_draw(seed: int, replicate: int, items: int, tested: int, ngram_items: int, orders: int) -> dict[str, Any]:
    """Draw the data of both tasks once and count what is in them.

    Args:
        seed, replicate: of the draw.
        items: size of each training set.
        tested: size of each in-distribution and out-of-distribution test set.
        ngram_items: the n-gram models learn from so many of the training items.
        orders: largest n of the n-gram models.

    Returns:
        `columns`: kind, task, data, name, value, cases, text; one list each.

    Raises:
        ValueError: a size below 1 or more n-gram items than items.
    """
    if not 1 <= ngram_items <= items:
        raise ValueError(f"ngram_items = {ngram_items}; accepted are 1 to items = {items}")
    rows: list[Row] = []
    for task in tasks():
        training = task.training(items, seed, replicate)
        fresh, ood = task.fresh(tested, seed, replicate), task.ood(tested, seed, replicate)
        sets = {"training": training, "ID": fresh, "OOD": ood}
        for data, drawn in sets.items():
            for (mark, name), count in sorted(template_counts(drawn, task).items()):
                rows.append(_row(f"template: {data}", task, mark, name, count, len(drawn)))
        lengths = training.lengths - 2  # without SOS and EOS
        for name, value in (("shortest", lengths.min()), ("mean", lengths.mean()), ("longest", lengths.max())):
            rows.append(_row("length", task, "training", name, float(value), items))
        rows += rule_rows(fresh, task, "ID") + rule_rows(ood, task, "OOD")
        kinds = {f"OOD, {SUBJECTS[number]}": ood.take(ood.subject == number) for number in np.unique(ood.subject)}
        some = training.take(np.arange(ngram_items))
        rows += ngram_rows(task, some, {"ID": fresh, "OOD": ood} | kinds, orders)
        rows += example_rows(task, sets) if replicate == 0 else []
    return {"columns": {key: [row[key] for row in rows] for key in rows[0]}}


def composed(task: str, subject: str, number: str, other: str, negative: bool) -> Words:
    """A short input sentence of chosen make, from the first words of the full lexicon.

    Args:
        task: "question formation" or "tense inflection".
        subject: one of `SUBJECTS`.
        number: "singular" or "plural", of the head of the subject; other: of the noun inside the subject.
        negative: whether the main clause's auxiliary is negative (a relative clause has the opposite); no effect on
            tense inflection.

    Raises:
        ValueError: a word that is not one of those named.
    """
    for name, value, accepted in (
        ("task", task, [made.name for made in tasks()]), ("subject", subject, SUBJECTS),
        ("number", number, ("singular", "plural")), ("other", other, ("singular", "plural")),
    ):  # fmt: skip
        if value not in accepted:
            raise ValueError(f"{name} = {value!r}; accepted are {', '.join(map(repr, accepted))}")
    lexicon = LEXICONS["full"]
    head, inner = (PLURAL if word == "plural" else SINGULAR for word in (number, other))
    asks = task == "question formation"

    def verb(kind: Sequence[tuple[str, str, str]], entry: int, agrees: int, negated: bool) -> Words:
        return [lexicon.auxiliaries[negated][agrees], kind[entry][1]] if asks else [kind[entry][2]]

    noun = ["my", lexicon.nouns[1][inner]]
    extra = {
        "plain": [],
        "pp": [lexicon.prepositions[0], *noun],
        "subject-gap": ["who", *verb(lexicon.transitive, 0, head, not negative), *noun],
        "object-gap": ["who", *noun, *verb(lexicon.transitive, 0, inner, not negative)],
    }[subject]
    return ["the", lexicon.nouns[0][head], *extra, *verb(lexicon.intransitive, 0, head, negative), "."]
