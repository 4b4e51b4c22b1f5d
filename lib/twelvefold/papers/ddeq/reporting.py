"""What the results share when they read rows of runs.csv and write captions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from twelvefold.core.frames import significant
from twelvefold.core.reporting import rows_of
from twelvefold.core.study import Study

PAPER = "Geuter, Bonet, Korba and Alvarez-Melis 2025 (arXiv 2503.01140)"
SOURCES = {
    "mnist5k": "5,000 real MNIST digits, a subset of the paper's 60,000",
    "mnist60k": "MNIST, as in the paper", "modelnet40": "ModelNet40, as in the paper",
}  # fmt: skip
ROUNDING = 1e-5  # residuals and distances below are rounding in float32 (unit 1.2e-7, sizes up to about 20)


def per_run(runs: pd.DataFrame, column: str, **where: object) -> np.ndarray:
    """One number per run `[R]`, in the order of replicates: the mean of `column` over the rows that match."""
    return rows_of(runs, **where).groupby("replicate", sort=True)[column].mean().to_numpy(dtype=float)


def setting(runs: pd.DataFrame, study: Study) -> str:
    """What a caption must say about the data, and over how many runs."""
    source = SOURCES[getattr(study.scale_values, "data", "mnist5k")]
    return f"Point clouds of {source}; {runs['replicate'].nunique()} training runs."


def shortened(value: float) -> float:
    """A number with six significant digits, as rows keep it."""
    return significant(value, 6)
