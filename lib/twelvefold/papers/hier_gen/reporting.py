"""Small helpers with which the six results turn rows of runs.csv into numbers per training run and estimates."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from twelvefold.core import statistics
from twelvefold.core.claims import TRAINING_RUN, Estimate
from twelvefold.core.study import Study
from twelvefold.tasks.rule_following import LEARNED
from twelvefold.tasks.sentence_templates import FRAME

FIGURE_LEVEL = 0.95  # of the intervals drawn; claims use study.level
PAPER = "Qin, Saphra and Alvarez-Melis 2025 (arXiv 2412.04619)"


def rows_of(runs: pd.DataFrame, **where: object) -> pd.DataFrame:
    """The rows whose columns have the given values; KeyError when there are none."""
    chosen = runs
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    if chosen.empty:
        raise KeyError(f"runs hold no row with {where}")
    return chosen


def last_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last checkpoint, one per run, with a column `learned`: ID accuracy of at least `LEARNED`."""
    last = runs[runs["step"] == runs["step"].max()]
    return last.assign(learned=last["id_accuracy"] >= LEARNED).reset_index(drop=True)


def per_replicate(frame: pd.DataFrame, column: str, **where: object) -> np.ndarray:
    """One value per replicate `[R]`, in the order of replicates, from a frame with one row per run (`per_run`,
    `last_rows`); KeyError when no row matches, ValueError when a replicate has several."""
    rows = rows_of(frame, **where).sort_values("replicate")
    if not rows["replicate"].is_unique:
        raise ValueError(f"where = {where}: a replicate has several rows; add what tells them apart")
    return rows[column].to_numpy()


def per_share(frame: pd.DataFrame, share: float, column: str) -> np.ndarray:
    """`per_replicate` for the runs whose data hold this share of centre-embedded declaratives."""
    return per_replicate(frame, column, share=share)


def resolution(study: Study) -> float:
    """Smallest step of a rule-following share, 1 / number of out-of-distribution items."""
    assert study.scale_values is not None  # a study has its scale before it has runs
    return 1.0 / float(study.scale_values.ood_items)


def paired(study: Study, first: ArrayLike, second: ArrayLike, step: float) -> Estimate | None:
    """Interval of the mean paired difference over runs at the level of the claims; None for fewer than two pairs."""
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
    spread = float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else 0.0
    return float(array.mean()), spread


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


def setting(runs: pd.DataFrame, study: Study, task: str = "Question formation") -> str:
    """What a caption must say about task, network, data and number of training runs."""
    scale = study.scale_values
    assert scale is not None
    words = "" if scale.longest is None else f", sentences of at most {(scale.longest - FRAME) // 2} words"
    count = runs["replicate"].nunique()
    layers = "one layer" if scale.layers == 1 else f"{scale.layers} layers"
    own = "initial weights, dropout and data order" if scale.dropout else "initial weights and data order"
    return (
        f"{task}{words}; own transformers of width {scale.width} with {layers}, {scale.steps} updates. "
        f"{count} training runs a condition, each with its own {own}."
    )
