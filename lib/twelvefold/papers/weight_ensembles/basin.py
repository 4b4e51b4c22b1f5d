"""Result 5 (a check that the method rests on): averages work inside one basin, that is from one initialisation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from twelvefold.core.claims import TRAINING_RUN, Claim, above, below
from twelvefold.core.reporting import mean_of, paired, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.weight_ensembles import plotting
from twelvefold.papers.weight_ensembles.reporting import PAPER, resolution, setting

STABLE = 0.02  # the mark below which Frankle et al. (2020) call two networks linearly connected
_SETTING = f"{PAPER}, setting: all ingredients are fine-tuned from one initialisation; check added here"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "barrier-needs-shared-start-id",
        "The accuracy barrier on the segment between two ingredients is larger for different than for one shared start "
        "(ID).",
        "mechanism", _SETTING, above(0.0), TRAINING_RUN, paper_says="ingredients share their initialisation",
    ),
    Claim(
        "barrier-needs-shared-start-ood",
        "The accuracy barrier on the segment between two ingredients is larger for different than for one shared start "
        "(OOD).",
        "mechanism", _SETTING, above(0.0), TRAINING_RUN, paper_says="ingredients share their initialisation",
    ),
    Claim(
        "no-barrier-inside-basin",
        f"Ingredients of one shared start are linearly connected: their mean ID barrier is below {STABLE}.",
        "mechanism", f"{_SETTING}; mark of Frankle et al. 2020", below(STABLE), TRAINING_RUN, paper_says="not stated",
    ),
    Claim(
        "midpoint-gains-inside-basin",
        "Inside the basin, the midpoint of two ingredients is more accurate (ID) than the two are on average.",
        "mechanism", _SETTING, above(0.0), TRAINING_RUN, paper_says="averages improve accuracy (abstract)",
    ),
)  # fmt: skip


def _segments(runs: pd.DataFrame, initialisation: str, column: str) -> pd.DataFrame:
    part = runs[runs["initialisation"] == initialisation]
    return part.pivot_table(index=["replicate", "pair"], columns="alpha", values=column, sort=True)


def barriers(runs: pd.DataFrame, initialisation: str, column: str = "id") -> np.ndarray:
    """Barrier per replicate `[S]`, mean over its pairs: max over alpha of (1 - alpha) acc(0) + alpha acc(1) -
    acc(alpha).

    Never negative, since the end points lie on their own chord.
    """
    table = _segments(runs, initialisation, column)
    accuracy, alpha = table.to_numpy(), table.columns.to_numpy(dtype=float)
    chord = accuracy[:, :1] * (1 - alpha) + accuracy[:, -1:] * alpha
    heights = pd.Series((chord - accuracy).max(axis=1), index=table.index)
    return heights.groupby("replicate").mean().to_numpy()


def midpoint_gains(runs: pd.DataFrame, initialisation: str, column: str = "id") -> np.ndarray:
    """Accuracy at alpha = 1/2 minus the mean of the ends, per replicate `[S]` (mean over its pairs)."""
    table = _segments(runs, initialisation, column)
    middle = table.iloc[:, table.shape[1] // 2]
    gains = middle - (table.iloc[:, 0] + table.iloc[:, -1]) / 2
    return gains.groupby("replicate").mean().to_numpy()


def segments_figure(study: Study, runs: pd.DataFrame) -> None:
    """Accuracy along the segments of both arms."""
    caption = (
        "Test accuracy along the segment from one ingredient (alpha = 0) to another (alpha = 1), ID (left) and OOD "
        "(right): "
        "mean over training runs with its 95 % interval (band), thin lines for single pairs of the first run. Both "
        "arms "
        f"use the same hyperparameters, data and batches. {setting(runs, study)}"
    )
    alt = "Two panels with two curves each: accuracy along the segment for a shared and for different initialisations."
    study.figure(plotting.segments_figure(runs), "segments", caption, alt)


def barriers_table(study: Study, runs: pd.DataFrame) -> None:
    """Barrier and gain at the midpoint of both arms."""
    rows = []
    for arm in ("shared", "different"):
        numbers = [(f"{column}_barrier", barriers(runs, arm, column)) for column in ("id", "ood")]
        numbers += [(f"{column}_midpoint_gain", midpoint_gains(runs, arm, column)) for column in ("id", "ood")]
        rows.append(summary_row({"initialisation": arm}, numbers))
    caption = (
        "Barrier (largest drop below the chord) and gain at the midpoint, averaged over the pairs of a training run; "
        "means "
        f"and standard errors over training runs. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "barriers", caption, "summary")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs."""
    step = resolution(runs)
    for column in ("id", "ood"):
        first, second = (barriers(runs, arm, column) for arm in ("different", "shared"))
        study.decide(f"barrier-needs-shared-start-{column}", paired(study, first, second, step))
    study.decide("no-barrier-inside-basin", mean_of(study, barriers(runs, "shared"), step))
    study.decide("midpoint-gains-inside-basin", mean_of(study, midpoint_gains(runs, "shared"), step))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (segments_figure, barriers_table, decisions)
