"""Result 1 (Table 1 of the paper): the two tasks, the two rules, and data that fit both or tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from twelvefold.core import statistics
from twelvefold.core.claims import DETERMINISTIC, Claim, below, equals
from twelvefold.core.reporting import rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.hier_gen.reporting import PAPER
from twelvefold.papers.hier_gen.rules import plotting
from twelvefold.papers.hier_gen.rules.composition import (
    QUESTION,
    TENSE,
    Published,
    generated_templates,
    published_templates,
    question_shares,
    tense_shares,
)
from twelvefold.tasks import question_formation as questions
from twelvefold.tasks import tense_inflection as tenses
from twelvefold.tasks.question_templates import DECLARATIVE_TREES, QUESTION_TREES

CLOSE = 0.02  # total variation distance below which the generated templates count as the published ones
DOCTORED = ("quest", "DNATDNPDN")  # the published count that is halved to see whether the checks can fail
_DRAW = "data draw"
_SAYS = "a third-party review says that both rules fit the training set; the table itself could not be read"


def _rule_claim(task: str, rule: str, data: str, value: float) -> Claim:
    short = {QUESTION: "qf", TENSE: "ti"}[task]
    where = {"ID": "in-distribution", "OOD": "out-of-distribution"}[data]
    return Claim(
        f"{short}-{rule}-{data.lower()}",
        f"{task.capitalize()}: the {rule} rule gives the tested word of {'every' if value else 'no'} {where} item.",
        "mechanism", f"{PAPER}, Table 1", equals(value), DETERMINISTIC, paper_says=_SAYS,
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    *(
        _rule_claim(task, rule, data, float((rule, data) != ("linear", "OOD")))
        for task in (QUESTION, TENSE)
        for data in ("ID", "OOD")
        for rule in ("hierarchical", "linear")
    ),
    Claim(
        "templates-as-published",
        f"Generated training items have the published template frequencies: total variation distance below {CLOSE}.",
        "mechanism", "counts in the data sets published with McCoy et al. 2020, which the paper trains on",
        below(CLOSE), _DRAW, paper_says="the paper trains on these data sets; the mark is ours",
    ),
)  # fmt: skip


def doctored(published: Published) -> Published:
    """The published counts with one of them halved: a wrong table, which the checks must notice."""
    return published | {DOCTORED: published[DOCTORED] // 2}


def distances(counts: NDArray[np.float64], classes: Sequence[tuple[str, str]], published: Published) -> np.ndarray:
    """Total variation distance of every draw `[R]`: TV = 1/2 sum_k |p_k - q_k|, over all classes found or published."""
    wanted = np.array([published.get(name, 0) for name in classes], dtype=float)
    return 0.5 * np.abs(counts / counts.sum(1, keepdims=True) - wanted / wanted.sum()).sum(1)


def distance_by_chance(published: Published, items: int) -> float:
    """Mean total variation distance of `items` independent draws from the published frequencies themselves.

    From the normal approximation of each class: E|p_k - q_k| = sqrt(2 q_k (1 - q_k) / (pi items)).
    """
    share = np.array(list(published.values())) / sum(published.values())
    return float(0.5 * np.sqrt(2 * share * (1 - share) / (np.pi * items)).sum())


def chi_square(counts: NDArray[np.float64], published: Published) -> tuple[float, float]:
    """Statistic and p of Pearson's test (scipy) of counts `[K]` against the frequencies of the K published classes."""
    wanted = np.array(list(published.values()), dtype=float)
    result = stats.chisquare(counts, wanted / wanted.sum() * counts.sum())
    return float(result.statistic), float(result.pvalue)


def examples_table(study: Study, runs: pd.DataFrame) -> None:
    """Table 1 from our own sentences: what each rule answers."""
    found = runs[runs["kind"].str.startswith("example: ")]
    rows = []
    for (task, name), part in found.groupby(["task", "name"], sort=False):
        text = dict(zip(part["kind"].str.removeprefix("example: "), part["text"], strict=True))
        both, copied = text["hierarchical"] == text["linear"], text["input"] == text["output"]
        follow = "neither: a copy" if copied else "both rules" if both else "hierarchical rule"
        rows.append({
            "task": task, "item": name, "input": f"{text['input']} {text['task']}", "output_follows": follow,
            "hierarchical_rule": text["hierarchical"], "linear_rule": text["linear"],
        })  # fmt: skip
    caption = (
        "The two tasks and what each rule answers, on sentences of our own lexicon (from the first draw, the first of "
        "a chosen template on which the rules agree, or differ). "
        "The network reads the input and continues; in a copied item the output repeats the input, and the last two "
        "columns say what the rules would have made of it. OOD: out-of-distribution test items."
    )
    study.table(pd.DataFrame(rows), "examples", caption, 0.0)


def rules_figure(study: Study, runs: pd.DataFrame) -> None:
    """Movements and agreements of both rules on an ambiguous and an out-of-distribution sentence of each task."""
    shown = runs[runs["kind"] == "example: input"]
    sentences = [
        (task, name, str(rows_of(shown, task=task, name=name)["text"].iloc[0]).split())
        for task in (QUESTION, TENSE)
        for name in ("ambiguous", "OOD, object-gap")
    ]
    caption = (
        "What each rule uses, on one ambiguous and one out-of-distribution (OOD) sentence of each task; relative "
        "clauses are in brackets. Question formation: the hierarchical rule (above, solid) fronts the auxiliary of the "
        "main clause, the linear rule (below, dashed) the first one. Tense inflection: the main verb agrees with the "
        "head noun of the subject (above) or with the last noun before it (below). Sentences of the first draw."
    )
    alt = (
        "Four sentences with arcs: in the ambiguous ones both rules give the same answer, in the out-of-distribution "
        "ones the arcs start from different words and the answers differ."
    )
    study.figure(plotting.rules_figure(sentences), "rules", caption, alt)


def rules_table(study: Study, runs: pd.DataFrame) -> None:
    """On how many items each rule is right."""
    measures = {"tested word": "tested_word_right", "whole sentence": "whole_sentence_right",
                "as recorded": "as_recorded"}  # fmt: skip
    rows = []
    for key, part in runs[runs["kind"].str.startswith("rule: ")].groupby(["task", "data", "name"], sort=False):
        totals = part.groupby("kind")["value"].sum()
        cases = int(part[part["kind"] == "rule: tested word"]["cases"].sum())
        counts = {column: int(totals[f"rule: {measure}"]) for measure, column in measures.items()}
        rows.append(dict(zip(("task", "items", "rule"), key, strict=True)) | {"cases": cases} | counts)
    caption = (
        "The two rules, read off the words of the input alone, against fresh in-distribution (ID) items and the "
        "out-of-distribution (OOD) set, over all draws: on how many items the tested word (first word of the question; "
        "main verb) and the whole output are right, and on how many the rule's word is the one that the generator "
        "recorded for this rule."
    )
    study.table(pd.DataFrame(rows), "rules_right", caption, 0.0)


def templates_figure(study: Study, runs: pd.DataFrame) -> None:
    """Published against generated template frequencies."""
    counts, classes = generated_templates(runs)
    caption = (
        "Frequency of the 42 templates of question formation, per 11,000 training items (logarithmic axis): published "
        "(grey bars) and generated (dots: mean over draws; lines: smallest to largest draw). "
        f"{len(counts)} draws of {int(counts[0].sum())} items. D determiner, N noun, A auxiliary, P preposition, R "
        "relativiser, I and T intransitive and transitive verb; RC: relative clause."
    )
    alt = "Three panels of dots on a logarithmic axis, one row per template; every dot lies on its grey published mark."
    study.figure(plotting.templates_figure(counts, classes, published_templates()), "templates", caption, alt)


def frequencies_table(study: Study, runs: pd.DataFrame) -> None:
    """Distance and chi-square of the generated templates, against the published counts and against a wrong table."""
    counts, classes = generated_templates(runs)
    published, rows = published_templates(), []
    for name, table in (("published counts", published), ("one of them halved", doctored(published))):
        distance = distances(counts, classes, table)
        statistic, p = chi_square(counts[:, : len(published)].sum(0), table)
        rows.append({
            "compared_with": name, "total_variation": distance.mean(), "largest": distance.max(),
            "total_variation_by_chance": distance_by_chance(table, int(counts[0].sum())), "chi_square": statistic,
            "degrees_of_freedom": len(table) - 1, "p": p,
            "items_of_other_templates": int(counts[:, len(published) :].sum()),
        })  # fmt: skip
    caption = (
        f"Generated against published template frequencies of question formation: {len(counts)} draws of "
        f"{int(counts[0].sum())} items. Total variation distance: mean and largest over draws, and what independent "
        "draws from the very same frequencies would give on average. Pearson's chi-square and its p: all draws "
        "together. "
        f"Second row: the published count of {' '.join(DOCTORED)} was halved, so both checks must fail."
    )
    study.table(pd.DataFrame(rows), "frequencies", caption, 1e-6)


def shares_table(study: Study, runs: pd.DataFrame) -> None:
    """What the data are made of, beside the published data."""
    rows = [
        {"task": task, "quantity": quantity, "published": value, "generated": values.mean(),
         "generated_se": float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0}
        for task, quantity, values, value in question_shares(runs) + tense_shares(runs)
    ]  # fmt: skip
    trees = f"{len(QUESTION_TREES)} question trees and {len(DECLARATIVE_TREES)} declarative trees"
    caption = (
        "What the generated data are made of, beside the published data: shares within the named group, read off the "
        "words; mean and standard error over draws. Published: from the counts of the published data sets. Vocabulary: "
        f"{len(questions.vocabulary().words)} words and marks in question formation ({trees}), "
        f"{len(tenses.vocabulary().words)} in tense inflection ({len(tenses.TREES)} trees). A tree is a template with "
        "the number of every noun."
    )
    study.table(pd.DataFrame(rows), "shares", caption, "summary")


def _agreement(runs: pd.DataFrame, task: str, data: str, order: str, rule: str) -> NDArray[np.float64]:
    part = rows_of(runs, kind=f"n-gram: {rule}", task=task, data=data, name=order).sort_values("replicate")
    return (part["value"] / part["cases"]).to_numpy(dtype=float)


def ngram_table(study: Study, runs: pd.DataFrame) -> None:
    """What n-gram models answer at the tested word."""
    rows = []
    orders = sorted(set(runs[runs["kind"] == "n-gram: answers"]["name"]), key=int)
    for task in (QUESTION, TENSE):
        for order in orders:
            given = rows_of(runs, kind="n-gram: answers", task=task, data="OOD", name=order)
            numbers = {
                "id_accuracy": _agreement(runs, task, "ID", order, "hierarchical"),
                "ood_hierarchical": _agreement(runs, task, "OOD", order, "hierarchical"),
                "ood_linear": _agreement(runs, task, "OOD", order, "linear"),
                "object_gap_hierarchical": _agreement(runs, task, "OOD, object-gap", order, "hierarchical"),
            }
            rows.append(summary_row(
                {"task": task, "n": int(order), "sees": int(order) - 1},
                [("distinct_answers", given["value"].to_numpy(dtype=float)), *numbers.items()],
            ))  # fmt: skip
    caption = (
        "What back-off n-gram models answer at the tested word: how many different words they give on the OOD set, ID "
        "accuracy, and agreement with either rule on OOD items (object gaps also apart). `sees`: words the model looks "
        f"back, the task word included. Means and standard errors over {runs['replicate'].nunique()} draws, each with "
        "a model of its own."
    )
    study.table(pd.DataFrame(rows), "ngram", caption, "summary")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim."""
    for claim in CLAIMS[:-1]:
        short, rule, data = claim.id.split("-")
        task = {"qf": QUESTION, "ti": TENSE}[short]
        part = rows_of(runs, kind="rule: tested word", task=task, data=data.upper(), name=rule)
        cases = int(part["cases"].sum())
        study.decide(claim.id, statistics.exact(float(part["value"].sum()) / cases, cases))
    counts, classes = generated_templates(runs)
    distance = distances(counts, classes, published_templates())
    estimate = None
    if len(distance) > 1:
        estimate = statistics.mean(distance, unit=_DRAW, level=study.level, resolution=1 / counts[0].sum())
    study.decide("templates-as-published", estimate)


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    examples_table, rules_figure, rules_table, templates_figure, frequencies_table, shares_table, ngram_table,
    decisions,
)  # fmt: skip


def frame(points: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of all draws: replicate, then the columns of `data_draw`."""
    parts = [
        pd.DataFrame(result["columns"]).assign(replicate=point["replicate"])
        for point, result in zip(points, results, strict=True)
    ]
    rows = pd.concat(parts, ignore_index=True)
    return rows[["replicate", *parts[0].columns.drop("replicate")]]
