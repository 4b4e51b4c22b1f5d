"""What the five results share when they read rows of runs.csv and write captions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from twelvefold.core.reporting import rows_of
from twelvefold.core.study import Study

PAPER = "Rojas and Alvarez-Melis 2024 (arXiv 2409.02347)"
SUMMARY = "according to a third-party summary (sciencestack.ai); the paper's tables could not be read"


def per_replicate(runs: pd.DataFrame, column: str, **where: object) -> np.ndarray:
    """One number per replicate `[S]`, in the order of replicates: the mean of `column` over the rows that match."""
    return rows_of(runs, **where).groupby("replicate", sort=True)[column].mean().to_numpy(dtype=float)


def main_regime(runs: pd.DataFrame) -> str:
    """The regime of the first row: the one that claims are about."""
    return str(runs["regime"].iloc[0])


def resolution(runs: pd.DataFrame) -> float:
    """Smallest step of a test accuracy, 1 / number of test images."""
    return 1.0 / float(runs["test_images"].min())


def setting(runs: pd.DataFrame, study: Study) -> str:
    """What a caption must say about the data: stand-in or the paper's own, and over how many replicates."""
    name = getattr(study.scale_values, "data", "mnist5k")
    source = "OfficeHome" if name == "officehome" else "MNIST stand-in (rotated digits), not the paper's OfficeHome"
    return (
        f"{source}; {runs['replicate'].nunique()} training runs, each with its own split, pretraining and population."
    )
