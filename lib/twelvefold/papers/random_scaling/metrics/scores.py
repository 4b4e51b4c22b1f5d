"""The scores of a run on a continuous scale, and how far the runs of two scales lie apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from twelvefold.core.claims import TRAINING_RUN, Estimate
from twelvefold.core.distributions import bootstrap, permutation_null, wasserstein2_rows
from twelvefold.core.statistics import BCA_FROM, identical
from twelvefold.papers.random_scaling.reporting import per_run

SCORES: dict[str, str] = {
    "exact": "exact match", "sequence_loss": "sequence loss", "worst": "probability of the worst token",
    "worst_log": "log-probability of the worst token", "margin": "smallest lead of a logit",
}  # fmt: skip
ENDS = {"exact": (0.0, 1.0), "worst": (0.0, 1.0)}  # of scores that have a lowest and a highest value
NULL = 0.95  # quantile of the permuted distances which a distance has to exceed


def score(runs: pd.DataFrame, scale: str, length: int, name: str) -> NDArray[np.float64]:
    """One of `SCORES` of each run `[R]` of a scale at a test length, in the order of replicates.

    Raises:
        KeyError: an unknown score, or no such row.
    """
    if name not in SCORES:
        raise KeyError(f"name = {name!r}; known scores are {', '.join(SCORES)}")
    return per_run(runs, scale, length, name)


def ends_of(name: str, values: NDArray[np.float64]) -> tuple[float, float]:
    """The interval that is cut into thirds: the possible values of a score, or else the range of those at hand."""
    return ENDS.get(name, (float(values.min()), float(values.max())))


def by_content(runs: pd.DataFrame, scale: str, length: int) -> NDArray[np.bool_]:
    """Whether each run `[R]` of a scale answers most swapped sequences by content, in the order of replicates."""
    return per_run(runs, scale, length, "content") > 0.5


class Distance(NamedTuple):
    """How far the runs of two scales lie apart: W2 with its interval, and the quantile `NULL` of permuted runs."""

    distance: Estimate
    null: float

    @property
    def excess(self) -> Estimate:
        """The distance minus the quantile, which counts as known."""
        d = self.distance
        value, low, high = (end - self.null for end in (d.value, d.low, d.high))
        return Estimate(value, low, high, d.level, d.n, d.unit, d.method)


def distance(first: ArrayLike, second: ArrayLike, level: float) -> Distance | None:
    """2-Wasserstein distance of the runs of two scales, `[R]` each, paired by replicate.

    The interval is a basic bootstrap that draws replicates, so that runs with common draws stay together. The null
    permutes the pooled runs as if they were independent; if runs of one replicate are alike, it is too wide, which
    speaks against the claim.

    Returns:
        None below 20 replicates, or where all values are the same.

    Raises:
        ValueError: unequal numbers of runs.
    """
    pairs = np.stack([np.asarray(first, dtype=float), np.asarray(second, dtype=float)], axis=1)  # [R, 2]
    if len(pairs) < BCA_FROM or identical(pairs.ravel()):
        return None
    null = float(np.quantile(permutation_null(pairs[:, 0], pairs[:, 1]), NULL))
    made = bootstrap([pairs], lambda samples: wasserstein2_rows(samples[0][..., 0], samples[0][..., 1]),
                     unit=TRAINING_RUN, level=level, resolution=1 / len(pairs), method="basic")  # fmt: skip
    return Distance(made, null)
