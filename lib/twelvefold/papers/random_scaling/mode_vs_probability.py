"""Result 3: along a scale axis the mode of the scores jumps where P(success) and the mean of successes move slowly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import DETERMINISTIC, TRAINING_RUN, Claim, Estimate, above, below, equals
from twelvefold.core.comparisons import independent_difference
from twelvefold.core.distributions import bootstrap, modes_of_rows
from twelvefold.core.reporting import FIGURE_LEVEL, band_of, count_cells, mean_and_error, paired
from twelvefold.core.statistics import BCA_FROM
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling.curves import plotting
from twelvefold.papers.random_scaling.curves.measures import (
    DECIDED,
    LEAST_SUCCESSES,
    MODES,
    TOO_FEW,
    compared_labels,
    compared_scores,
    curve_estimate,
    left_out,
    score_length,
    steps_difference,
    successful,
)
from twelvefold.papers.random_scaling.decomposition import SUCCESS, decomposition
from twelvefold.papers.random_scaling.reporting import PAPER, per_run, scales_of, setting
from twelvefold.papers.random_scaling.scaling_curves import breakthroughness, linearity

_FIGURE = f"{PAPER}, Figure 3"
_READ = "(public reading notes on version 5, and reviews)"
USUAL = 3  # runs behind an average in usual practice

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "mode-jumps-more",
        "Between neighbouring scales the mode of exact match makes a larger step than P(success): largest step of the "
        "one minus largest step of the other.",
        "direction", _FIGURE, above(0.0), TRAINING_RUN,
        paper_says=f"the mode jumps, P(success) and the mean of successes change gradually {_READ}",
    ),
    Claim(
        "probability-rises",
        "P(success) is higher at the last compared scale than at the first, in runs paired by replicate.",
        "direction", _FIGURE, above(0.0), TRAINING_RUN,
        paper_says=f"P(success) rises gradually with scale {_READ}",
    ),
    Claim(
        "onset-before-majority",
        "At the first compared scale at which any run succeeds, fewer than half of the runs do.",
        "direction", f"{PAPER}, abstract of version 5", below(0.5), TRAINING_RUN,
        paper_says="bimodality appears at a capacity threshold, well before most seeds succeed (abstract of version 5)",
    ),
    Claim(
        "success-mean-rises",
        "The mean score of the successful runs is higher at the last compared scale than at the first one "
        f"(scales with at least {LEAST_SUCCESSES} successes).",
        "direction", _FIGURE, above(0.0), TRAINING_RUN,
        paper_says=f"the mean of successful runs rises gradually with scale {_READ}",
    ),
    Claim(
        "parts-make-the-mean",
        "P(success) and the means of successes and of failures give back the mean score at every scale: largest "
        "absolute error, rounded to twelve decimals.",
        "mechanism", "identity of the decomposition", equals(0.0), DETERMINISTIC,
    ),
)  # fmt: skip


def _scores(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    """Exact match of every run `[R]` by scale, compared or not."""
    return {label: per_run(runs, label, score_length(runs)) for label in scales_of(runs)}


def _axis_name(study: Study) -> str:
    assert study.scale_values is not None  # a study has its scale before it has runs
    return str(study.scale_values.axis_name)


def _mode_band(scores: np.ndarray) -> tuple[float, float, float]:
    """The mode with a 95 % bootstrap interval; NaN ends below 20 runs."""
    if len(scores) < BCA_FROM:
        return float(modes_of_rows(scores[None])[0]), float("nan"), float("nan")
    made = bootstrap([scores], lambda groups: modes_of_rows(groups[0]), unit=TRAINING_RUN, level=FIGURE_LEVEL)
    return made.value, made.low, made.high


def _bands(scores: np.ndarray) -> dict[str, tuple[float, float, float]]:
    """Value and ends of the 95 % interval of each part at one scale `[R]`."""
    succeed = scores > SUCCESS
    share = statistics.share(int(succeed.sum()), len(scores), unit=TRAINING_RUN, level=FIGURE_LEVEL)
    none = (float("nan"),) * 3
    return {
        "mode": _mode_band(scores), "mean": band_of(scores), "P(success)": (share.value, share.low, share.high),
        "mean of successes": band_of(scores[succeed]) if succeed.any() else none,
    }  # fmt: skip


def parts_figure(study: Study, runs: pd.DataFrame) -> None:
    """Mode, mean, P(success) and mean of successes against the scale."""
    rows, compared = [], compared_labels(runs)
    for number, (label, scores) in enumerate(_scores(runs).items()):
        for part, (value, low, high) in _bands(scores).items():
            about = {"part": part, "number": number, "compared": label in compared}
            rows.append(about | {"value": value, "low": low, "high": high})
    caption = (
        f"Exact match at length {score_length(runs)} over training runs, per scale: its mode (Gaussian kernels of "
        f"width 0.05), its mean, the share of runs above {SUCCESS} and the mean of these. Bands: 95 % intervals over "
        "training runs (percentile bootstrap for the mode, none below 20 runs; Wilson for P(success); BCa for means, "
        f"Student t below 20 values). Hollow: not compared. {left_out(runs)} {setting(study, runs)}"
    )
    alt = "Four panels over the same scales: mode, mean, probability of success, and mean of the successful runs."
    fig = plotting.parts_figure(pd.DataFrame(rows), scales_of(runs), _axis_name(study))
    study.figure(fig, "parts", caption, alt)


def histograms_figure(study: Study, runs: pd.DataFrame) -> None:
    """Histogram over runs at every scale, with the kernel density whose highest point is the mode."""
    caption = (
        f"Number of runs by exact match at length {score_length(runs)}, one panel per {_axis_name(study)}; hatched: "
        f"failed, at most {SUCCESS}. Line: density by Gaussian kernels of width 0.05, reflected at 0 and 1, in runs "
        f"per bin; triangle: its highest point, the mode. {left_out(runs)} {setting(study, runs)}"
    )
    alt = "One histogram over runs per scale, with its density and its mode."
    fig = plotting.histograms_figure(_scores(runs), compared_labels(runs), _axis_name(study))
    study.figure(fig, "histograms", caption, alt)


def decomposition_table(study: Study, runs: pd.DataFrame) -> None:
    """Every scale's mean score and its parts, with standard errors."""
    rows, compared = [], compared_labels(runs)
    for label, scores in _scores(runs).items():
        succeed = scores > SUCCESS
        known = "yes" if label in compared else "no"
        row: dict[str, object] = {"scale": label, "compared": known, "runs": len(scores)}
        row |= count_cells("successes", succeed)
        groups = {"P": succeed, "mean_of_successes": scores[succeed], "mean_of_failures": scores[~succeed],
                  "mean": scores}  # fmt: skip
        for name, values in groups.items():
            row[name], row[f"{name}_se"] = mean_and_error(values) if len(values) else (float("nan"),) * 2
        rows.append(row)
    caption = (
        f"Exact match at length {score_length(runs)}: mean = P mean_of_successes + (1 - P) mean_of_failures; standard "
        f"errors over training runs. {left_out(runs)} {setting(study, runs)}"
    )
    frame = pd.DataFrame(rows)
    empty = "no such run." if frame.isna().any(axis=None) else ""
    study.table(frame, "decomposition", caption, "same machine", empty)


def _estimator_row(name: str, scores: dict[str, np.ndarray], compared: np.ndarray) -> dict[str, object]:
    """Modes at every scale by one estimator, and the difference of steps over the compared scales with its interval."""
    modes = MODES[name]
    row: dict[str, object] = {"estimator": name} | {
        f"mode at {label}": float(modes(values[None])[0]) for label, values in scores.items()
    }
    made = curve_estimate(compared, partial(steps_difference, modes=modes), FIGURE_LEVEL, 1 / compared.shape[1])
    columns = {"steps_difference": "value", "low": "low", "high": "high"}
    return row | {column: float("nan") if made is None else getattr(made, part) for column, part in columns.items()}


def estimators_table(study: Study, runs: pd.DataFrame) -> None:
    """The mode by several estimators, and what each says about the steps."""
    scores, compared = _scores(runs), compared_scores(runs)
    frame = pd.DataFrame([_estimator_row(name, scores, compared) for name in MODES])
    caption = (
        f"The mode of exact match at length {score_length(runs)} by scale and estimator (of a bin: its centre), and "
        "the largest step of the mode minus the largest step of P(success) over the compared scales with its 95 % "
        f"interval (percentile bootstrap of replicates). Claims use {DECIDED}. {left_out(runs)} {setting(study, runs)}"
    )
    empty = f"{TOO_FEW}." if frame.isna().any(axis=None) else ""
    study.table(frame, "estimators", caption, "same machine", empty)


def practice_table(study: Study, runs: pd.DataFrame) -> None:
    """Scaling curves as they are usually drawn: single runs, averages of three, and the average of all."""
    labels, scores = compared_labels(runs), compared_scores(runs)
    total = scores.shape[1]
    groups = {f"run {r}": [r] for r in range(min(USUAL, total))}
    groups |= {f"average of runs {r} to {r + USUAL - 1}": list(range(r, r + USUAL))
               for r in range(0, min(3 * USUAL, total - USUAL + 1), USUAL)}  # fmt: skip
    groups["average of all"] = list(range(total))
    rows = []
    for name, chosen in groups.items():
        curve = scores[:, chosen].mean(axis=1) if len(labels) else np.empty(0)
        row: dict[str, object] = {"curve": name} | dict(zip(labels, map(float, curve), strict=True))
        several = len(curve) > 1
        row["largest_step"] = float(np.abs(np.diff(curve)).max()) if several else float("nan")
        row["B"] = float(breakthroughness(curve)) if several else float("nan")
        row["L"] = float(linearity(curve)) if several else float("nan")
        rows.append(row)
    frame = pd.DataFrame(rows)
    caption = (
        f"Exact match at length {score_length(runs)} over the compared scales, of the first runs alone, of averages of "
        f"{USUAL} and of all, with the largest step, breakthroughness B and linearity L (both explained in "
        f"`04_lucky_curves`). {left_out(runs)} {setting(study, runs)}"
    )
    empty = "fewer than two compared scales." if frame.isna().any(axis=None) else ""
    study.table(frame, "practice", caption, "same machine", empty)


def identity_error(scores: np.ndarray) -> float:
    """|P success_mean + (1 - P) failure_mean - mean| of one scale `[R]`; a term of weight 0 counts 0."""
    parts = decomposition(scores)
    terms = [weight * mean for weight, mean in ((parts.p, parts.success_mean), (1 - parts.p, parts.failure_mean))
             if weight > 0]  # fmt: skip
    return abs(sum(terms) - parts.mean)


def _rise(study: Study, scores: np.ndarray) -> Estimate | None:
    """P(success) at the last minus at the first scale, paired by replicate."""
    if len(scores) < 2:
        return None
    return paired(study, scores[-1] > SUCCESS, scores[0] > SUCCESS, 1 / scores.shape[1])


def _onset(study: Study, scores: np.ndarray) -> tuple[Estimate | None, str]:
    """P(success) at the first scale with a success, and what to know about it."""
    counts = [int((row > SUCCESS).sum()) for row in scores]
    at = next((k for k, count in enumerate(counts) if count), None)
    if at is None:
        return None, "no run succeeds at a compared scale"
    note = "" if at else "the first compared scale has successes already: the onset lies there or before it"
    return statistics.share(counts[at], scores.shape[1], unit=TRAINING_RUN, level=study.level), note


def _success_rise(study: Study, scores: np.ndarray, step: float) -> Estimate | None:
    groups = successful(scores)
    if len(groups) < 2:
        return None
    # the successes of two scales are different sets of runs, so there are no pairs to take differences of
    return independent_difference(groups[1], groups[0], unit=TRAINING_RUN, level=study.level, resolution=step)


def _unless(estimate: Estimate | None, reason: str) -> str:
    """The reason why there is no estimate, where there is none."""
    return reason if estimate is None else ""


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over the compared scales; the identity at every scale."""
    assert study.scale_values is not None  # a study has its scale before it has runs
    scores = compared_scores(runs)
    steps = curve_estimate(scores, steps_difference, study.level, 1 / scores.shape[1])
    study.decide("mode-jumps-more", steps, _unless(steps, TOO_FEW))
    rise = _rise(study, scores)
    study.decide("probability-rises", rise, _unless(rise, "fewer than two compared scales or two runs"))
    study.decide("onset-before-majority", *_onset(study, scores))
    better = _success_rise(study, scores, 1 / study.scale_values.prompts)
    study.decide("success-mean-rises", better,
                 _unless(better, f"fewer than two compared scales with {LEAST_SUCCESSES} successes"))  # fmt: skip
    errors = [identity_error(values) for values in _scores(runs).values()]
    study.decide("parts-make-the-mean", statistics.exact(round(max(errors), 12), len(errors)))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    parts_figure, histograms_figure, decomposition_table, estimators_table, practice_table, decisions,
)  # fmt: skip
