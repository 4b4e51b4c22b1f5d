"""What notebook 02 trains, and its numbers per task and score."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from twelvefold.core.reporting import rows_of
from twelvefold.core.statistics import StatisticsError, vector
from twelvefold.papers.random_scaling.populations import main_point, population_point
from twelvefold.papers.random_scaling.reporting import AS_TRAINED, per_run

COPYING, COUNTING, ADDITION = TASKS = ("copying", "counting", "addition")
RULES = ("by position", "by content")
HALF = 0.5  # content share from which on a run counts as one that follows content
_SEED = 20_250_224

SCORES_OVER_RUNS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "exact match": lambda rows: rows["exact"],
    "loss": lambda rows: rows["sequence_loss"],
    "log loss": lambda rows: np.log(rows["sequence_loss"].clip(lower=1e-6)),
    "log probability of the worst token": lambda rows: rows["worst_log"],
    "margin": lambda rows: rows["margin"],
}


def bimodal_points(scale: SimpleNamespace, seed: int) -> dict[str, dict[str, Any]]:
    """The main population of copying, and those of counting and of addition, by task."""
    return {
        COPYING: main_point(scale, seed),
        COUNTING: population_point(scale, seed, **scale.counting),
        ADDITION: population_point(scale, seed, **scale.addition),
    }


def score_length(scale: SimpleNamespace, task: str) -> int:
    """The test length at which the runs of a task are judged."""
    own = {COUNTING: scale.counting, ADDITION: scale.addition}.get(task, {})
    return int(own.get("score_length", scale.score_length))


def rules_of(runs: pd.DataFrame) -> np.ndarray:
    """Which of `RULES` each copying run follows `[R]`, in the order of replicates: what the probe found more often."""
    content = per_run(runs, COPYING, AS_TRAINED, "content")
    return np.where(content > HALF, RULES[1], RULES[0])


def bootstrap_dips(values: ArrayLike, draws: int = 1000) -> np.ndarray:
    """Dip statistics of resamples of a sample `[n]`, n >= 4, `[draws]`; a pure function of the data.

    Resampled values repeat, which makes more clusters than the data have: the dips of resamples are larger on average.

    Raises:
        StatisticsError: fewer than 4 values, one that is not finite, or no draw.
    """
    from diptest import dipstat  # optional: everything else works without it

    sample = np.sort(vector("values", values))
    if sample.size < 4 or draws < 1:
        raise StatisticsError(f"values has {sample.size} number(s), draws = {draws}; at least 4 and 1 are needed.")
    index = np.random.default_rng(_SEED).integers(sample.size, size=(draws, sample.size))
    return np.array([dipstat(row) for row in sample[index]])


def score_over_runs(runs: pd.DataFrame, task: str, length: int, score: str) -> np.ndarray:
    """One of `SCORES_OVER_RUNS` per run `[R]`; KeyError for an unknown score or rows that are not there."""
    if score not in SCORES_OVER_RUNS:
        raise KeyError(f"score = {score!r}; known are {list(SCORES_OVER_RUNS)}")
    rows = rows_of(runs, scale=task, length=length).sort_values("replicate")
    return SCORES_OVER_RUNS[score](rows).to_numpy(dtype=float)


def lengths_of(runs: pd.DataFrame, task: str) -> list[int]:
    """Test lengths of a task, shortest first, without that of sequences drawn as in training."""
    return sorted(int(length) for length in rows_of(runs, scale=task)["length"].unique() if length != AS_TRAINED)
