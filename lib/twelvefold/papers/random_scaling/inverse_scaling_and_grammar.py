"""Result 6: where the probability of success might fall while the successes improve, and two other kinds of
populations read by the same functions: grammar runs over mixtures of data, and a language model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.core.claims import TRAINING_RUN, Claim, Estimate, above, below
from twelvefold.core.distributions import Statistic, bootstrap, dip_test, emptier_middle
from twelvefold.core.reporting import count_cells, paired, summary_row
from twelvefold.core.statistics import BCA_FROM, StatisticsError
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling.decomposition import SUCCESS, slope_of_probability, slope_of_success_mean
from twelvefold.papers.random_scaling.metrics import plotting
from twelvefold.papers.random_scaling.metrics.run_rows import (
    GRAMMAR,
    LANGUAGE,
    SIZES,
    rows_of_kind,
    scores,
    share_label,
)
from twelvefold.papers.random_scaling.mirage import third_counts
from twelvefold.papers.random_scaling.populations import MASTERED
from twelvefold.papers.random_scaling.reporting import LEAST_RUNS, PAPER, scales_of, setting
from twelvefold.tasks.rule_following import LEARNED

FIRST, MIXED = 0.0, 0.5  # shares of centre-embedded declaratives that the claims about grammar compare
CHANCE = 0.25  # accuracy of guessing among four answers
_MARKS = "left; triangles failed, circles succeeded, side by side in the order of the scores; dashed: success above .2"
_MEANS = "right; Student t below 20 successes, BCa bootstrap from 20"
_INVERSE = "P(success) falls while the mean of successes rises (abstracts of versions 1 to 4)"
_SIZES = "of the position table at quick and gpu, in layers at paper"
_GRAMMAR = "grammatical generalisation is bimodal over runs (abstract of version 5)"
_MMLU = "histograms over 80 runs called roughly bimodal; reviewers doubt it (public reviews)"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "probability-falls", f"Along the sizes ({_SIZES}) the probability of success falls (slope per size).",
        "direction", f"{PAPER}, Figure 6", below(0.0), TRAINING_RUN, paper_says=_INVERSE,
    ),
    Claim(
        "success-mean-rises", "Along the same sizes the mean exact match of the successful runs rises (slope per "
        "size).", "direction", f"{PAPER}, Figure 6", above(0.0), TRAINING_RUN, paper_says=_INVERSE,
    ),
    Claim(
        "grammar-probability-rises",
        f"More grammar runs answer over {SUCCESS:.0%} of new questions by the hierarchical rule when half of the "
        "copied sentences are centre-embedded than when none is (paired difference of the shares of runs).",
        "direction", f"{PAPER}, grammatical generalisation", above(0.0), TRAINING_RUN,
        paper_says="the mixture of data moves the distribution (reading notes)",
    ),
    Claim(
        "grammar-low-third", "Half of the copied sentences centre-embedded: more grammar runs end in the lower third "
        "of the hierarchical share than in the middle third.", "direction", f"{PAPER}, grammatical generalisation",
        above(0.0), TRAINING_RUN, paper_says=_GRAMMAR,
    ),
    Claim(
        "grammar-high-third", "Half of the copied sentences centre-embedded: more grammar runs end in the upper third "
        "of the hierarchical share than in the middle third.", "direction", f"{PAPER}, grammatical generalisation",
        above(0.0), TRAINING_RUN, paper_says=_GRAMMAR,
    ),
    Claim(
        "mmlu-low-third", "Between chance and 1, more language models have an MMLU accuracy in the lower third than in "
        "the middle third, at the larger share of questions.", "full", f"{PAPER}, Figure 8", above(0.0), TRAINING_RUN,
        paper_says=_MMLU,
    ),
    Claim(
        "mmlu-high-third", "Between chance and 1, more language models have an MMLU accuracy in the upper third than "
        "in the middle third, at the larger share of questions.", "full", f"{PAPER}, Figure 8", above(0.0),
        TRAINING_RUN, paper_says=_MMLU,
    ),
)  # fmt: skip


def passes(rows: pd.DataFrame, label: str) -> bool:
    """Whether every run of a size continues more than `MASTERED` of the sequences drawn as in training."""
    return bool((scores(rows, label, "in_distribution") > MASTERED).all())


def learned_scores(rows: pd.DataFrame, label: str) -> np.ndarray:
    """Scores of the grammar runs of a share that learned their task: in-distribution accuracy from `LEARNED` on."""
    return scores(rows, label)[scores(rows, label, "in_distribution") >= LEARNED]


def _grammar_setting(study: Study, rows: pd.DataFrame) -> str:
    assert study.scale_values is not None  # a study has its scale before it has runs
    s = study.scale_values.grammar
    return (
        f"Question formation; own transformers of width {s['width']} with {s['layers']} layers, {s['steps']} updates. "
        f"{rows['replicate'].nunique()} training runs a share, each with its own initial weights and data order."
    )


def _settings(study: Study, runs: pd.DataFrame) -> str:
    words = [f"Sizes: {setting(study, rows_of_kind(runs, SIZES))}"]
    rows = rows_of_kind(runs, GRAMMAR)
    return " ".join(words if rows.empty else [*words, f"Grammar: {_grammar_setting(study, rows)}"])


def sizes_figure(study: Study, runs: pd.DataFrame) -> None:
    """Runs, probability of success and mean of successes along the sizes."""
    rows = rows_of_kind(runs, SIZES)
    caption = (
        f"Exact match of each run beyond the training lengths ({_MARKS}), share of successful runs with its 95 % "
        f"Wilson interval (middle), and mean of the successful runs with its 95 % interval ({_MEANS}), by size. "
        f"Hollow: not every run masters what it was trained on. {setting(study, rows)}"
    )
    alt = "Three panels over sizes: single runs, probability of success, mean of successes."
    gates = {label: passes(rows, label) for label in scales_of(rows)}
    study.figure(plotting.parts_figure(rows, gates, "exact match"), "sizes", caption, alt)


def grammar_figure(study: Study, runs: pd.DataFrame) -> None:
    """The same for grammar populations, along the share of centre-embedded sentences among the copied ones."""
    rows = rows_of_kind(runs, GRAMMAR)
    if rows.empty:
        return
    caption = (
        f"Share of out-of-distribution questions that a run answers by the hierarchical rule ({_MARKS}), share of "
        f"successful runs with its 95 % Wilson interval (middle), mean of the successful runs with its 95 % interval "
        f"({_MEANS}), by the share of centre-embedded sentences among the copied ones. Hollow: not every run has "
        f"learned its task. {_grammar_setting(study, rows)}"
    )
    alt = "Three panels over shares of the data: single runs, probability of success, mean of successes."
    gates = {label: len(learned_scores(rows, label)) == len(scores(rows, label)) for label in scales_of(rows)}
    study.figure(plotting.parts_figure(rows, gates, "hierarchical share"), "grammar", caption, alt)


def language_figure(study: Study, runs: pd.DataFrame) -> None:
    """Histograms over language models of MMLU accuracy and of the loss on web text, by share of questions."""
    rows = rows_of_kind(runs, LANGUAGE)
    if rows.empty:
        return
    caption = (
        "Language models by accuracy on MMLU (top; dashed: chance) and by loss on held-out web text (bottom, the "
        f"control), a column per share of questions in the data. {rows['replicate'].nunique()} training runs a share, "
        "each with its own new weights and order of the data."
    )
    alt = "Histograms of accuracies above histograms of losses, one column per share."
    study.figure(plotting.language_figure(rows, CHANCE), "language_model", caption, alt)


def parts_table(study: Study, runs: pd.DataFrame) -> None:
    """The mean score in its parts, for every size and every share."""
    rows: list[dict[str, object]] = []
    for kind in (SIZES, GRAMMAR):
        part = rows_of_kind(runs, kind)
        for label in scales_of(part):
            values = scores(part, label)
            gate = scores(part, label, "in_distribution")
            row: dict[str, object] = {"population": kind, "scale": label, "runs": len(values)}
            row |= count_cells("mastered", gate > MASTERED if kind == SIZES else gate >= LEARNED)
            row |= summary_row({}, [("p_success", values > SUCCESS)])
            row |= _mean_cells(values[values > SUCCESS])
            rows.append(row | summary_row({}, [("mean", values)]))
    frame = pd.DataFrame(rows)
    caption = (
        "Runs that mastered what they were trained on (in-distribution exact match above .99, or accuracy from .97 on "
        f"for grammar), share of runs with a score above {SUCCESS:g}, mean score of these and of all runs; standard "
        f"errors over runs. {_settings(study, runs)}"
    )
    study.table(frame, "parts", caption, "same machine", "no run succeeds." if frame.isna().any(axis=None) else "")


def _mean_cells(values: np.ndarray) -> dict[str, object]:
    name = "mean_of_successes"
    return summary_row({}, [(name, values)]) if len(values) else {name: np.nan, f"{name}_se": np.nan}


def thirds_table(study: Study, runs: pd.DataFrame) -> None:
    """Runs in the thirds of the score, with the dip test, for every population."""
    rows: list[dict[str, object]] = []
    for kind in (SIZES, GRAMMAR, LANGUAGE):
        part = rows_of_kind(runs, kind)
        low = CHANCE if kind == LANGUAGE else 0.0
        for label in scales_of(part):
            values = np.maximum(scores(part, label), low)
            row: dict[str, object] = {"population": kind, "scale": label, "runs": len(values)}
            row |= dict(zip(("lower_third", "middle_third", "upper_third"), third_counts(values, low, 1.0),
                            strict=True))  # fmt: skip
            tested = dip_test(values) if len(values) >= 4 else (np.nan, np.nan)
            rows.append(row | dict(zip(("dip", "p_value"), tested, strict=True)))
    frame = pd.DataFrame(rows)
    caption = (
        "Number of runs in each third of 0 to 1 (of chance to 1 for the language model), and Hartigan's dip with its "
        f"p-value (small: against one mode). {_settings(study, runs)}"
    )
    study.table(frame, "thirds", caption, "same machine", "too few runs." if frame.isna().any(axis=None) else "")


def slope_of(rows: pd.DataFrame, statistic: Statistic, level: float) -> Estimate | None:
    """Slope of a part of the mean along the sizes that all their runs have mastered; None where it has no interval.

    Bootstrap over replicates, which keeps the runs of a replicate together: they share the draws of their data.
    """
    labels = [label for label in scales_of(rows) if passes(rows, label)]
    table = [scores(rows, label) for label in labels]
    if len(table) < 2:
        return None
    runs = np.stack(table, axis=1)  # [R, m]
    try:
        return bootstrap([runs], statistic, unit=TRAINING_RUN, level=level, resolution=1 / len(runs))
    except StatisticsError:  # too few runs, or too few resamples with a success at two sizes
        return None


def _thirds(study: Study, ids: tuple[str, str], values: np.ndarray, low: float, missing: str) -> None:
    """Decide the two claims about the outer thirds of [low, 1] for scores `[R]`."""
    tested = len(values) >= LEAST_RUNS
    pair: Any = (None, None)
    if tested:
        pair = emptier_middle(np.maximum(values, low), unit=TRAINING_RUN, level=study.level, low=low, high=1.0)
    for id, estimate in zip(ids, pair, strict=True):
        study.decide(id, estimate, "" if tested else missing)


def _grammar_difference(study: Study, rows: pd.DataFrame) -> Estimate | None:
    """Share of successful runs with mixed data minus without centre-embedding, over replicates that learned in both."""
    pair = [share_label(share) for share in (MIXED, FIRST)]
    values, gates = ([scores(rows, label, column) for label in pair] for column in ("score", "in_distribution"))
    if len(values[0]) != len(values[1]):
        return None
    learned = np.logical_and(*(gate >= LEARNED for gate in gates))
    if learned.sum() < BCA_FROM:
        return None
    mixed, first = (value[learned] > SUCCESS for value in values)
    return paired(study, mixed, first, 1 / float(learned.sum()))


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs."""
    sizes, grammar, language = (rows_of_kind(runs, kind) for kind in (SIZES, GRAMMAR, LANGUAGE))
    too_few = f"needs two sizes that all of {BCA_FROM} or more runs master, with several successes"
    for id, statistic in (("probability-falls", slope_of_probability), ("success-mean-rises", slope_of_success_mean)):
        estimate = slope_of(sizes, statistic, study.level)
        study.decide(id, estimate, too_few if estimate is None else "")
    difference = _grammar_difference(study, grammar)
    missing = f"needs {BCA_FROM} runs at the shares 0 and {MIXED:g} that learned their task"
    study.decide("grammar-probability-rises", difference, missing if difference is None else "")
    _thirds(study, ("grammar-low-third", "grammar-high-third"), learned_scores(grammar, share_label(MIXED)), 0.0,
            f"needs {LEAST_RUNS} runs that learned their task")
    largest = scales_of(language)[-1] if len(language) else ""
    _thirds(study, ("mmlu-low-third", "mmlu-high-third"), scores(language, largest), CHANCE,
            f"needs {LEAST_RUNS} language models; preset paper trains them")


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    sizes_figure, grammar_figure, language_figure, parts_table, thirds_table, decisions,
)  # fmt: skip
