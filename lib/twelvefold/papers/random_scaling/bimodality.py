"""Result 2: equal recipes that differ in their seed fall into two groups out of distribution, and why."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from twelvefold.core.claims import TRAINING_RUN, Claim, Estimate, above, within
from twelvefold.core.comparisons import independent_difference
from twelvefold.core.distributions import dip_test, emptier_middle
from twelvefold.core.reporting import FIGURE_LEVEL, count_cells, mean_and_error, mean_of
from twelvefold.core.statistics import identical, share
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling.bimodal import plotting
from twelvefold.papers.random_scaling.bimodal.measures import (
    ADDITION,
    COPYING,
    COUNTING,
    SCORES_OVER_RUNS,
    TASKS,
    bootstrap_dips,
    lengths_of,
    rules_of,
    score_length,
    score_over_runs,
)
from twelvefold.papers.random_scaling.decomposition import SUCCESS, decomposition
from twelvefold.papers.random_scaling.populations import MASTERED, PROBES
from twelvefold.papers.random_scaling.reporting import AS_TRAINED, LEAST_RUNS, PAPER, mastered, per_run

LEAST_OF_A_KIND = 5  # successes and failures, each, for a difference between them
_TWO = "at intermediate scales histograms over seeds show two modes (section on Fig. 2)"
_FIGURE = f"{PAPER}, Fig. 2"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "some-runs-succeed", "Of runs that differ in their seed alone, some copy longer strings and some do not: share "
        f"with an exact match above {SUCCESS}.",
        "direction", _FIGURE, within(0.05, 0.95), TRAINING_RUN, paper_says=_TWO,
    ),
    Claim(
        "low-third-over-middle", "Copying: more runs have an exact match in the lowest third of 0 to 1 than in the "
        "middle third (difference of the shares).",
        "direction", _FIGURE, above(0.0), TRAINING_RUN, paper_says=_TWO,
    ),
    Claim(
        "high-third-over-middle", "Copying: more runs have an exact match in the highest third of 0 to 1 than in the "
        "middle third.",
        "direction", _FIGURE, above(0.0), TRAINING_RUN, paper_says=_TWO,
    ),
    Claim(
        "mastered-in-distribution", "On average these runs have learned what they were trained on: mean exact match "
        f"on fresh strings drawn as in training is above {MASTERED}.",
        "mechanism", "control added here", above(MASTERED), TRAINING_RUN,
    ),
    Claim(
        "mechanism-tells-success", "Runs that succeed follow content and runs that fail do not: content share of the "
        "probe, measured at a length of training, of successes minus that of failures.",
        "mechanism", "probe of the rule, added here", above(0.5), TRAINING_RUN,
        paper_says="competing solutions are discussed in version 5",
    ),
    Claim(
        "counting-low-third-over-middle", "Counting: more runs in the lowest third than in the middle third.",
        "direction", _FIGURE, above(0.0), TRAINING_RUN, paper_says=_TWO,
    ),
    Claim(
        "counting-high-third-over-middle", "Counting: more runs in the highest third than in the middle third.",
        "direction", _FIGURE, above(0.0), TRAINING_RUN, paper_says=_TWO,
    ),
    Claim(
        "addition-low-third-over-middle", "Addition: more runs in the lowest third than in the middle third.",
        "direction", _FIGURE, above(0.0), TRAINING_RUN, paper_says=_TWO,
    ),
    Claim(
        "addition-high-third-over-middle", "Addition: more runs in the highest third than in the middle third.",
        "direction", _FIGURE, above(0.0), TRAINING_RUN, paper_says=_TWO,
    ),
)  # fmt: skip


def _networks(study: Study, runs: pd.DataFrame) -> str:
    """What was trained, task by task, for captions."""
    s = study.scale_values
    assert s is not None  # a study has its scale before it has runs
    parts = []
    for task, entry in zip(TASKS, ({}, s.counting, s.addition), strict=True):
        own = vars(s) | dict(entry)
        count = runs.loc[runs["scale"] == task, "replicate"].nunique()
        parts.append(f"{task} {count} (width {own['width']}, layers {own['layers']}, {own['steps']} updates)")
    return f"Training runs, each with its own initial weights and data: {', '.join(parts)}. Copying is our task."


def _scores_at(study: Study, runs: pd.DataFrame, task: str) -> np.ndarray:
    """Exact match of the runs of a task `[R]` at its score length."""
    assert study.scale_values is not None  # a study has its scale before it has runs
    return per_run(runs, task, score_length(study.scale_values, task))


def histograms_figure(study: Study, runs: pd.DataFrame) -> None:
    """Exact match over runs, by task, as trained and at two longer lengths."""
    caption = (
        "Number of runs by exact match, in twentieths. Top: fresh sequences drawn as in training; middle and bottom: "
        "lengths that did not occur. Copying: coloured by the rule that the probe finds at a length of training. "
        f"Dashed: exact match {SUCCESS}, from which on a run succeeds. {_networks(study, runs)}"
    )
    alt = "Nine histograms over training runs: a column per task, a row for the training lengths and for two new ones."
    lengths = {task: [AS_TRAINED, *lengths_of(runs, task)] for task in TASKS}
    scores = {task: [per_run(runs, task, length) for length in own] for task, own in lengths.items()}
    study.figure(plotting.histograms_figure(lengths, scores, rules_of(runs), SUCCESS), "histograms", caption, alt)


def populations_table(study: Study, runs: pd.DataFrame) -> None:
    """Exact match of each task and length: mean, least, successes and their mean."""
    rows = []
    for task in TASKS:
        for length in (AS_TRAINED, *lengths_of(runs, task)):
            scores = per_run(runs, task, length)
            row: dict[str, object] = {"task": task, "length": length or "as trained", "runs": len(scores)}
            row["exact_match"], row["exact_match_se"] = mean_and_error(scores)
            row |= {"least": scores.min(), "largest": scores.max()} | count_cells("successes", scores > SUCCESS)
            rows.append(row | {"mean_of_successes": decomposition(scores).success_mean})
    caption = (
        "Exact match over runs: mean, smallest and largest, number of runs above "
        f"{SUCCESS} and their mean. Only a task that every run has learned (least above {MASTERED} as trained) is "
        f"judged. {_networks(study, runs)}"
    )
    frame = pd.DataFrame(rows)
    empty = "no run succeeds." if frame.isna().any(axis=None) else ""
    study.table(frame, "populations", caption, "same machine", empty)


def _dip_row(values: np.ndarray) -> dict[str, object]:
    dip, p_value = dip_test(values)
    low, high = np.quantile(bootstrap_dips(values), [(1 - FIGURE_LEVEL) / 2, (1 + FIGURE_LEVEL) / 2])
    return {"runs": len(values), "dip": dip, "dip_low": float(low), "dip_high": float(high), "p_value": p_value}


def dips_table(study: Study, runs: pd.DataFrame) -> None:
    """Dip test of every score, task and length, and of the loss in distribution."""
    rows = []
    for task in TASKS:
        kinds = [(AS_TRAINED, "loss")] + [(length, name) for length in lengths_of(runs, task) for name in
                                          SCORES_OVER_RUNS]  # fmt: skip
        for length, name in kinds:
            values = score_over_runs(runs, task, length, name)
            rows.append({"task": task, "length": length or "as trained", "score": name} | _dip_row(values))
    caption = (
        "Hartigan's dip (0 to 0.25) of each score over runs and its p-value: a small one speaks against one mode. "
        "dip_low to dip_high: 95 % of the dips of 1,000 resamples of the runs; resamples repeat values, so that they "
        "lie above the dip of one smooth group. loss: mean negative log-likelihood of a continuation in nats; margin: "
        "mean smallest lead of a true token's logit. A point mass at 0 with a thin tail counts as one mode. "
        f"{_networks(study, runs)}"
    )
    study.table(pd.DataFrame(rows), "dips", caption, "same machine")


def mechanism_figure(study: Study, runs: pd.DataFrame) -> None:
    """The probe drawn on one string, and its result per run against success at the new length."""
    scores, content = _scores_at(study, runs, COPYING), per_run(runs, COPYING, AS_TRAINED, "content")
    caption = (
        "Left: the probe. In a string of training length one letter of the copy is replaced by another letter of the "
        "string (red); a network that follows position goes on as if nothing had happened, one that follows content "
        f"goes on after the replaced letter. Right: share of {PROBES} such cases in which a run goes on by content, "
        "against its exact match on strings of the new length, which no part of the probe has. One mark per run. "
        f"{_networks(study, runs)}"
    )
    alt = "A row of letters with two arrows to the two predicted letters, beside a scatter plot of runs."
    study.figure(plotting.mechanism_figure(content, scores, rules_of(runs), SUCCESS), "mechanism", caption, alt)


def mechanism_table(study: Study, runs: pd.DataFrame) -> None:
    """Runs by what the probe found, and how many of each kind succeed."""
    scores, content = _scores_at(study, runs, COPYING), per_run(runs, COPYING, AS_TRAINED, "content")
    position, rows = per_run(runs, COPYING, AS_TRAINED, "position"), []
    kinds = {"below 0.1": content < 0.1, "0.1 to 0.9": (content >= 0.1) & (content <= 0.9), "above 0.9": content > 0.9}
    for name, chosen in kinds.items():
        row: dict[str, object] = {"content_share": name, "runs": int(chosen.sum())}
        row["successes"] = int((scores[chosen] > SUCCESS).sum())
        for column, values in (("position_share", position), ("exact_match", scores)):
            row[column] = float(values[chosen].mean()) if chosen.any() else float("nan")
        rows.append(row)
    caption = (
        "Copying runs by the share of probe cases in which they go on by content: how many succeed at the new length, "
        f"and the means of the share by position and of the exact match there. {_networks(study, runs)}"
    )
    frame = pd.DataFrame(rows)
    empty = "no such run." if frame.isna().any(axis=None) else ""
    study.table(frame, "mechanism", caption, "same machine", empty)


def _why_not(runs: pd.DataFrame, task: str, scores: np.ndarray) -> str:
    """Why the distribution of a task's runs cannot be judged; empty where it can."""
    if len(scores) < LEAST_RUNS:
        return f"{len(scores)} runs; {LEAST_RUNS} are needed to judge a distribution"
    if not mastered(runs, task):
        return f"not every run has learned its training task (exact match above {MASTERED})"
    return "the runs do not differ" if identical(scores) else ""


def _thirds(study: Study, runs: pd.DataFrame, task: str, ids: dict[int, str]) -> None:
    """Decide claims about the lowest (0) or highest (1) third against the middle one."""
    scores = _scores_at(study, runs, task)
    why = _why_not(runs, task, scores)
    made = None if why else emptier_middle(scores, unit=TRAINING_RUN, level=study.level, low=0.0, high=1.0)
    for which, id in ids.items():
        study.decide(id, made[which] if made else None, why)


def _content_difference(study: Study, runs: pd.DataFrame) -> Estimate | None:
    scores, content = _scores_at(study, runs, COPYING), per_run(runs, COPYING, AS_TRAINED, "content")
    groups = content[scores > SUCCESS], content[scores <= SUCCESS]
    if min(len(group) for group in groups) < LEAST_OF_A_KIND:
        return None
    return independent_difference(*groups, unit=TRAINING_RUN, level=study.level, resolution=1 / PROBES)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs."""
    assert study.scale_values is not None  # a study has its scale before it has runs
    scores = _scores_at(study, runs, COPYING)
    why = "" if mastered(runs, COPYING) else _why_not(runs, COPYING, scores)
    succeed = int((scores > SUCCESS).sum())
    made = None if why else share(succeed, len(scores), unit=TRAINING_RUN, level=study.level)
    study.decide("some-runs-succeed", made, why)
    _thirds(study, runs, COPYING, {0: "low-third-over-middle", 1: "high-third-over-middle"})
    learned, step = per_run(runs, COPYING, AS_TRAINED), 1 / study.scale_values.prompts
    study.decide("mastered-in-distribution", mean_of(study, learned, step))
    difference = None if why else _content_difference(study, runs)
    few = "" if difference else why or f"fewer than {LEAST_OF_A_KIND} successes or failures"
    study.decide("mechanism-tells-success", difference, few)
    for task in (COUNTING, ADDITION):
        _thirds(study, runs, task, {0: f"{task}-low-third-over-middle", 1: f"{task}-high-third-over-middle"})


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    histograms_figure, populations_table, mechanism_figure, mechanism_table, dips_table, decisions,
)  # fmt: skip
