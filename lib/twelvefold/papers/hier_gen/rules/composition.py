"""What the generated data are made of, beside what is known of the published data."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twelvefold.core.reporting import rows_of
from twelvefold.tasks import question_formation as questions
from twelvefold.tasks import tense_inflection as tenses
from twelvefold.tasks.items import SUBJECTS
from twelvefold.tasks.sentence_templates import parse_template

QUESTION, TENSE = "question formation", "tense inflection"
Published = dict[tuple[str, str], int]
Share = tuple[str, str, NDArray[np.float64], float]  # task, quantity, value per draw [R], published value


def published_templates() -> Published:
    """Published count of every (task word, template) among 11,000 in-distribution items of question formation."""
    counts = {("quest", name): count for name, count in questions.QUEST_TEMPLATES.items()}
    return counts | {("decl", name): count for name, count in questions.DECL_TEMPLATES.items()}


def generated_templates(runs: pd.DataFrame) -> tuple[NDArray[np.float64], list[tuple[str, str]]]:
    """Counts `[R, K]` of the templates found in every draw's training items; the K classes, published ones first."""
    found = rows_of(runs, kind="template: training", task=QUESTION)
    table = found.pivot_table(index="replicate", columns=["data", "name"], values="value", fill_value=0, sort=True)
    classes = list(published_templates())
    classes += [column for column in table.columns if column not in classes]
    return table.reindex(columns=pd.MultiIndex.from_tuples(classes), fill_value=0).to_numpy(dtype=float), classes


def _per_draw(
    runs: pd.DataFrame, task: str, data: str, mark: str, wanted: Callable[[str], bool]
) -> NDArray[np.float64]:
    """Share `[R]` of templates that are `wanted`, among the items with this task word."""
    part = rows_of(runs, kind=f"template: {data}", task=task, data=mark)
    hit = part["value"].where(part["name"].map(wanted), 0.0)
    return (hit.groupby(part["replicate"]).sum() / part["value"].groupby(part["replicate"]).sum()).to_numpy()


def _published_share(counts: Mapping[str, int], wanted: Callable[[str], bool]) -> float:
    return sum(count for name, count in counts.items() if wanted(name)) / sum(counts.values())


def _has_subject(*kinds: str) -> Callable[[str], bool]:
    return lambda name: parse_template(name).subject in kinds


def _has_auxiliaries(number: int) -> Callable[[str], bool]:
    return lambda name: name.count("A") == number


def _task_word_share(runs: pd.DataFrame, task: str, mark: str) -> NDArray[np.float64]:
    part = rows_of(runs, kind="template: training", task=task)
    hit = part["value"].where(part["data"] == mark, 0.0)
    return (hit.groupby(part["replicate"]).sum() / part["value"].groupby(part["replicate"]).sum()).to_numpy()


def question_shares(runs: pd.DataFrame) -> list[Share]:
    """Shares and lengths of question formation."""
    groups = {"quest": questions.QUEST_TEMPLATES, "decl": questions.DECL_TEMPLATES}
    total, count = sum(published_templates().values()), sum(questions.QUEST_TEMPLATES.values())
    shares = [(QUESTION, "questions among items", _task_word_share(runs, QUESTION, "quest"), count / total)]
    cases = [(f"subject: {kind}", _has_subject(kind)) for kind in SUBJECTS]
    cases += [(f"auxiliaries: {number}", _has_auxiliaries(number)) for number in (1, 2, 3)]
    for mark, counts in groups.items():
        for quantity, wanted in cases:
            values = _per_draw(runs, QUESTION, "training", mark, wanted)
            shares.append((QUESTION, f"{mark}, {quantity}", values, _published_share(counts, wanted)))
    for kind in ("subject-gap", "object-gap"):
        wanted = _has_subject(kind)
        values = _per_draw(runs, QUESTION, "OOD", "quest", wanted)
        shares.append((QUESTION, f"OOD, subject: {kind}", values, _published_share(questions.OOD_TEMPLATES, wanted)))
    spans = [(2 * len(name) + 3, count) for (_, name), count in published_templates().items()]
    mean = sum(length * count for length, count in spans) / total
    published = {"shortest": min(spans)[0], "mean": mean, "longest": max(spans)[0]}
    for name, value in published.items():
        values = rows_of(runs, kind="length", task=QUESTION, name=name)["value"].to_numpy(dtype=float)
        shares.append((QUESTION, f"words and marks in a sequence, {name}", values, float(value)))
    return shares


def tense_shares(runs: pd.DataFrame) -> list[Share]:
    """Shares of tense inflection."""
    natural, total = tenses.TenseMix(), sum(tenses.OOD_SUBJECTS.values())
    present = {("plain",): natural.plain, ("pp",): natural.pp, ("subject-gap", "object-gap"): natural.rc}
    shares = [(TENSE, "PAST among items", _task_word_share(runs, TENSE, "PAST"), natural.past)]
    for kinds, share in present.items():
        values = _per_draw(runs, TENSE, "training", "PRESENT", _has_subject(*kinds))
        shares.append((TENSE, f"PRESENT, subject: {' or '.join(kinds)}", values, share))
    for kind, number in tenses.OOD_SUBJECTS.items():
        values = _per_draw(runs, TENSE, "OOD", "PRESENT", _has_subject(kind))
        shares.append((TENSE, f"OOD, subject: {kind}", values, number / total))
    return shares
