"""What the results share when they read rows of runs.csv and write captions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from twelvefold.core.reporting import rows_of
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling.populations import MASTERED

PAPER = "Zhao, Qin, Alvarez-Melis, Kakade and Saphra 2025 (arXiv 2502.17356)"
LEAST_RUNS = 32  # below, the dip test sees a second mode too rarely
AS_TRAINED = 0  # the length of sequences drawn as in training


def _labels(runs: pd.DataFrame) -> pd.Series:
    """The scales as texts; labels that look like numbers come back from runs.csv as such."""
    return runs["scale"].astype(str)


def scales_of(runs: pd.DataFrame) -> list[str]:
    """Labels of the scales in the order of the axis."""
    first = runs.drop_duplicates("scale").sort_values("number", kind="stable")
    return _labels(first).tolist()


def per_run(runs: pd.DataFrame, scale: str, length: int, column: str = "exact") -> np.ndarray:
    """One value per run `[R]` of a scale at a test length, in the order of replicates.

    Raises:
        KeyError: no such row. ValueError: a replicate has several.
    """
    rows = rows_of(runs.assign(scale=_labels(runs)), scale=scale, length=length).sort_values("replicate")
    if not rows["replicate"].is_unique:
        raise ValueError(f"scale = {scale!r}, length = {length}: a replicate has several rows")
    return rows[column].to_numpy()


def by_scale(runs: pd.DataFrame, length: int, column: str = "exact") -> np.ndarray:
    """One value per scale and run `[m, R]`, scales in the order of the axis, replicates paired.

    Raises:
        ValueError: scales have different numbers of runs.
    """
    rows = [per_run(runs, scale, length, column) for scale in scales_of(runs)]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"scales have {[len(row) for row in rows]} runs; equally many are needed")
    return np.stack(rows)


def mastered(runs: pd.DataFrame, scale: str) -> bool:
    """Whether every run of a scale continues more than `MASTERED` of the sequences drawn as in training."""
    return bool((per_run(runs, scale, AS_TRAINED) > MASTERED).all())


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of the scales that every run has mastered; only these may be compared."""
    return runs[_labels(runs).isin([scale for scale in scales_of(runs) if mastered(runs, scale)])]


def setting(study: Study, runs: pd.DataFrame) -> str:
    """What a caption must say about task, network and number of training runs."""
    s = study.scale_values
    assert s is not None  # a study has its scale before it has runs
    shape = "attention-only transformers" if s.feedforward == 0 else "transformers"
    words = {"copying": "Copying strings of different letters (our task)", "counting": "Counting",
             "addition": "Addition with index hints"}[s.task]  # fmt: skip
    return (
        f"{words}; own {shape} of width {s.width} with {s.layers} layers unless the scale says otherwise, {s.steps} "
        f"updates. {runs['replicate'].nunique()} training runs a scale, each with its own initial weights and data."
    )
