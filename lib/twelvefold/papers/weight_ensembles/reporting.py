"""Small helpers with which the five results turn rows of runs.csv into numbers per replicate and estimates."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import TRAINING_RUN, Estimate
from twelvefold.core.study import Study

FIGURE_LEVEL = 0.95  # of the intervals drawn; claims use study.level
PAPER = "Rojas and Alvarez-Melis 2024 (arXiv 2409.02347)"
SUMMARY = "according to a third-party summary (sciencestack.ai); the paper's tables could not be read"


def rows_of(runs: pd.DataFrame, **where: object) -> pd.DataFrame:
    """The rows whose columns have the given values; KeyError when there are none."""
    chosen = runs
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    if chosen.empty:
        raise KeyError(f"runs hold no row with {where}")
    return chosen


def per_replicate(runs: pd.DataFrame, column: str, **where: object) -> np.ndarray:
    """One number per replicate `[S]`, in the order of replicates: the mean of `column` over the rows that match."""
    return rows_of(runs, **where).groupby("replicate", sort=True)[column].mean().to_numpy(dtype=float)


def main_regime(runs: pd.DataFrame) -> str:
    """The regime of the first row: the one that claims are about."""
    return str(runs["regime"].iloc[0])


def resolution(runs: pd.DataFrame) -> float:
    """Smallest step of a test accuracy, 1 / number of test images."""
    return 1.0 / float(runs["test_images"].min())


def paired(study: Study, first: np.ndarray, second: np.ndarray, step: float) -> Estimate | None:
    """Interval of the mean paired difference over replicates at the level of the claims; None for fewer than two."""
    if len(first) < 2:
        return None
    return statistics.difference(first, second, unit=TRAINING_RUN, level=study.level, resolution=step)


def mean_of(study: Study, values: np.ndarray, step: float) -> Estimate | None:
    """Interval of the mean over replicates at the level of the claims; None for fewer than two."""
    if len(values) < 2:
        return None
    return statistics.mean(values, unit=TRAINING_RUN, level=study.level, resolution=step)


def band_of(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % interval, for drawing; a single value is its own interval."""
    if len(values) < 2:
        return float(values[0]), float(values[0]), float(values[0])
    made = statistics.mean(values, unit=TRAINING_RUN, level=FIGURE_LEVEL)
    return made.value, made.low, made.high


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of the mean (0 for a single value)."""
    spread = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return float(np.mean(values)), spread


def summary_row(labels: dict[str, object], numbers: Iterable[tuple[str, np.ndarray]]) -> dict[str, object]:
    """A table row: labels, then for every named vector its mean `x` and standard error `x_se`."""
    row = dict(labels)
    for name, values in numbers:
        row[name], row[f"{name}_se"] = mean_and_error(values)
    return row


def setting(runs: pd.DataFrame, study: Study) -> str:
    """What a caption must say about the data: stand-in or the paper's own, and over how many replicates."""
    name = getattr(study.scale_values, "data", "mnist5k")
    source = "OfficeHome" if name == "officehome" else "MNIST stand-in (rotated digits), not the paper's OfficeHome"
    return (
        f"{source}; {runs['replicate'].nunique()} training runs, each with its own split, pretraining and population."
    )
