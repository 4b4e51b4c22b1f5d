"""From rows of runs.csv to numbers per training run, estimates over training runs, and rows of tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from . import statistics
from .claims import TRAINING_RUN, Estimate

if TYPE_CHECKING:
    from .study import Study

FIGURE_LEVEL = 0.95  # of the intervals drawn; claims use study.level


def rows_of(runs: pd.DataFrame, **where: object) -> pd.DataFrame:
    """The rows whose columns have the given values; KeyError when there are none."""
    chosen = runs
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    if chosen.empty:
        raise KeyError(f"runs hold no row with {where}")
    return chosen


def paired(study: Study, first: ArrayLike, second: ArrayLike, step: float) -> Estimate | None:
    """Interval of the mean paired difference over runs at the level of the claims; None for fewer than two pairs.

    step: smallest step of the score.
    """
    if len(np.asarray(first)) < 2:
        return None
    return statistics.difference(first, second, unit=TRAINING_RUN, level=study.level, resolution=step)


def mean_of(study: Study, values: ArrayLike, step: float) -> Estimate | None:
    """Interval of the mean over runs at the level of the claims; None for fewer than two."""
    if len(np.asarray(values)) < 2:
        return None
    return statistics.mean(values, unit=TRAINING_RUN, level=study.level, resolution=step)


def band_of(values: ArrayLike) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % interval, for drawing; a single value is its own interval."""
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return float(array[0]), float(array[0]), float(array[0])
    made = statistics.mean(array, unit=TRAINING_RUN, level=FIGURE_LEVEL)
    return made.value, made.low, made.high


def mean_and_error(values: ArrayLike) -> tuple[float, float]:
    """Mean and standard error of the mean (0 for a single value); ValueError for none."""
    array = np.asarray(values, dtype=float)
    if not len(array):
        raise ValueError("values is empty; at least one is needed")
    spread = float(np.std(array, ddof=1) / np.sqrt(len(array))) if len(array) > 1 else 0.0
    return float(np.mean(array)), spread


def summary_row(labels: dict[str, object], numbers: Iterable[tuple[str, ArrayLike]]) -> dict[str, object]:
    """A table row: labels, then for every named vector its mean `x` and standard error `x_se`."""
    row = dict(labels)
    for name, values in numbers:
        row[name], row[f"{name}_se"] = mean_and_error(values)
    return row


def count_cells(name: str, happened: ArrayLike) -> dict[str, object]:
    """Cells of a table row for a number of runs: the count `name` and its binomial standard error `name_se`.

    A count differs between machines as a mean does, so that it needs an error for the tolerance of its table.
    """
    array = np.asarray(happened, dtype=bool)
    share = float(array.mean()) if len(array) else 0.0
    return {name: int(array.sum()), f"{name}_se": float(np.sqrt(len(array) * share * (1 - share)))}
