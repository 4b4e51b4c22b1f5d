"""What 03 and 04 read from the rows of an axis, and the estimators of a mode that 03 compares.

A scale enters only when every run has mastered what it was trained on (`reporting.compared`), so any number of scales
can be left, also none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from twelvefold.core.claims import TRAINING_RUN, Estimate
from twelvefold.core.distributions import bootstrap, modes_of_rows
from twelvefold.core.statistics import BCA_FROM
from twelvefold.papers.random_scaling.decomposition import SUCCESS, largest_probability_step
from twelvefold.papers.random_scaling.populations import runs_of
from twelvefold.papers.random_scaling.reporting import AS_TRAINED, by_scale, mastered, scales_of

LEAST_SCALES = 3  # two scales have one step: nothing that could be called a curve
LEAST_SUCCESSES = 5  # of a scale whose mean of successes is compared
TOO_FEW = f"fewer than {LEAST_SCALES} compared scales or {BCA_FROM} runs"
COLUMNS = ["scale", "number", "replicate", "length", "exact"]
Modes = Callable[[np.ndarray], np.ndarray]  # from samples [B, n] to their modes [B]


def curve_rows(
    points: Mapping[str, Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]], length: int
) -> pd.DataFrame:
    """Tidy exact match of every run at one test length and on sequences drawn as in training (length 0)."""
    rows = runs_of(points, results)
    return rows.loc[rows["length"].isin([AS_TRAINED, length]), COLUMNS].reset_index(drop=True)


def score_length(runs: pd.DataFrame) -> int:
    """The one test length of the rows of `curve_rows`; ValueError when there are several or none."""
    lengths = sorted(set(runs["length"]) - {AS_TRAINED})
    if len(lengths) != 1:
        raise ValueError(f"runs have the test lengths {lengths}; one is needed")
    return int(lengths[0])


def compared_labels(runs: pd.DataFrame) -> list[str]:
    """Labels of the scales that every run has mastered, in the order of the axis; may be empty."""
    return [label for label in scales_of(runs) if mastered(runs, label)]


def compared_scores(runs: pd.DataFrame) -> np.ndarray:
    """Exact match out of distribution at the compared scales `[m, R]`, replicates paired; m may be 0."""
    labels = compared_labels(runs)
    if not labels:
        return np.empty((0, runs["replicate"].nunique()))
    return by_scale(runs[runs["scale"].isin(labels)], score_length(runs))


def left_out(runs: pd.DataFrame) -> str:
    """A sentence for captions: which scales are not compared, if any."""
    names = [label for label in scales_of(runs) if label not in compared_labels(runs)]
    if not names:
        return "Every run of every scale masters sequences drawn as in training."
    return f"Not compared, since some run does not master sequences drawn as in training: {', '.join(names)}."


def curve_estimate(
    scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], level: float, resolution: float = 0.0
) -> Estimate | None:
    """Estimate a statistic of scaling curves by resampling replicates, each with its runs at all scales.

    Args:
        scores: `[m, R]`, replicates paired over scales.
        statistic: from resamples `[B, R, m]` to `[B]`.
        level, resolution: as in `core.distributions.bootstrap`.

    Returns:
        None for fewer than three scales or fewer than 20 runs (`TOO_FEW`).
    """
    if len(scores) < LEAST_SCALES or scores.shape[1] < BCA_FROM:
        return None
    return bootstrap(
        [scores.T], lambda groups: statistic(groups[0]), unit=TRAINING_RUN, level=level, resolution=resolution
    )


def fullest_bin(rows: ArrayLike, bins: int) -> np.ndarray:
    """Centre of the fullest of `bins` equal bins of [0, 1] for each sample, `[B, n]` -> `[B]`; the lowest of equals.

    Raises:
        ValueError: fewer than two bins, no `[B, n]` with a value, or values outside 0 to 1.
    """
    samples = np.asarray(rows, dtype=np.float64)
    if samples.ndim != 2 or samples.size == 0 or not ((samples >= 0) & (samples <= 1)).all():
        raise ValueError(f"rows has the shape {samples.shape}; [B, n] with values from 0 to 1 is needed")
    if bins < 2:
        raise ValueError(f"bins = {bins!r}; a whole number of at least 2 is needed")
    numbers = np.minimum((samples * bins).astype(np.int64), bins - 1)  # 1 belongs to the last bin
    flat = (numbers + bins * np.arange(len(samples))[:, None]).ravel()
    counts = np.bincount(flat, minlength=bins * len(samples)).reshape(-1, bins)
    return (counts.argmax(axis=1) + 0.5) / bins


DECIDED = "kernels of width 0.05"
# a range far beyond [0, 1] leaves nothing to reflect
MODES: dict[str, Modes] = {
    DECIDED: modes_of_rows,
    "kernels of width 0.025": partial(modes_of_rows, bandwidth=0.025),
    "kernels of width 0.1": partial(modes_of_rows, bandwidth=0.1),
    "kernels of width 0.05, not reflected": partial(modes_of_rows, low=-1.0, high=2.0, grid=601),
    "fullest of 20 bins": partial(fullest_bin, bins=20),
    "fullest of 2 bins": partial(fullest_bin, bins=2),
}


def steps_difference(scores: np.ndarray, modes: Modes = modes_of_rows) -> np.ndarray:
    """Largest step of the mode minus largest step of P(success) between adjacent scales, `[B, R, m]` -> `[B]`.

    Args:
        scores: B resamples of paired runs at m >= 2 scales, from 0 to 1.
        modes: the estimator of the mode.
    """
    located = np.stack([modes(scores[..., k]) for k in range(scores.shape[-1])], axis=-1)  # [B, m]
    return np.abs(np.diff(located, axis=-1)).max(axis=-1) - largest_probability_step([scores])


def successful(scores: np.ndarray) -> list[np.ndarray]:
    """Scores of the successful runs of the first and the last scale that have at least five of them; may be empty.

    With one such scale the list has one entry.
    """
    groups = [row[row > SUCCESS] for row in scores if (row > SUCCESS).sum() >= LEAST_SUCCESSES]
    return [groups[0], groups[-1]] if len(groups) > 1 else groups
