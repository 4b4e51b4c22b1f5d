"""What notebook 04 trains beside the shared populations, and its measures of runs, halves and arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from twelvefold.core.claims import TRAINING_RUN, Estimate
from twelvefold.core.comparisons import rank_correlation, share_difference
from twelvefold.core.distributions import dip_test
from twelvefold.core.statistics import StatisticsError
from twelvefold.tasks.grammar_shares import population_point, share_runs
from twelvefold.tasks.rule_following import HIGH, LOW, per_run, rule_curves

RUN = ("arm", "share", "replicate")  # what names a run
LEAST = 5  # runs in a group: the interval of a difference of shares is too narrow for smaller groups
COLUMNS = ("hierarchical", "hierarchical_subject_gap", "hierarchical_object_gap", "id_accuracy")


def split_point(scale: SimpleNamespace, seed: int) -> dict[str, Any]:
    """The point of `grammar_population` that splits the variance at the share `scale.split_share`.

    Its first `scale.split_runs` members have initial weights 1, 2, ... and data order 0, the others initial weights 0
    and data order 1, 2, ...; the run with both at 0 would belong to both arms and is left out.

    Raises:
        ValueError: `split_runs` below 2.
    """
    if scale.split_runs < 2:
        raise ValueError(f"split_runs = {scale.split_runs!r}; at least 2 runs an arm are needed")
    numbers = range(1, scale.split_runs + 1)
    members = [[0, i, 0] for i in numbers] + [[0, 0, o] for o in numbers]
    return population_point(scale, seed, [{"center_embedded": scale.split_share}], members)


def seed_runs(
    points: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], split: Mapping[str, Any],
    split_result: Mapping[str, Any],
) -> pd.DataFrame:  # fmt: skip
    """Tidy curves of `share_points` (arm "mixed") and of `split_point` (arms "init" and "order").

    Columns: arm, share, replicate (of what varies in the arm), step, `COLUMNS`, with six decimals.
    """
    mixed = share_runs([dict(point) for point in points], [dict(result) for result in results]).assign(arm="mixed")
    arms = rule_curves(split, split_result)
    arms["arm"] = np.where(arms["order"] == 0, "init", "order")
    arms["replicate"] = arms[["initial", "order"]].max(axis=1)
    arms["share"] = split["mixes"][0]["center_embedded"]
    return pd.concat([mixed, arms], ignore_index=True)[[*RUN, "step", *COLUMNS]].round(6)


def summaries(runs: pd.DataFrame, column: str = "hierarchical") -> pd.DataFrame:
    """One row per run: arm, share, replicate and the columns of `per_run`, with `distance` = min(final, 1 - final)."""
    frame = per_run(runs, RUN, column=column)
    return frame.assign(distance=np.minimum(frame["final"], 1 - frame["final"]))


def mixed_data(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the runs on mixed data: own initial weights, dropout and data order."""
    return frame[frame["arm"] == "mixed"].reset_index(drop=True)


def one_mixture(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of `summaries` of the runs that differ in both draws, at the share of the split alone.

    Runs of one replicate have the same draws at every share; only at one share are all runs independent.
    """
    return mixed_data(split_rows(runs))


def committed(frame: pd.DataFrame) -> pd.Series:
    """Whether each run of `summaries` ends at a rule: final below LOW or above HIGH."""
    return (frame["final"] < LOW) | (frame["final"] > HIGH)


def halves(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs with the lower and with the higher total variation; of an odd number the middle one is in neither."""
    ordered, half = frame.sort_values("variation", kind="stable"), len(frame) // 2
    return ordered.iloc[:half], ordered.iloc[len(frame) - half :]


def deviations(frame: pd.DataFrame, arm: str) -> np.ndarray:
    """Absolute deviation `[m]` of each final of an arm from the arm's median (what Brown and Forsythe compare)."""
    finals = frame.loc[frame["arm"] == arm, "final"]
    return (finals - finals.median()).abs().to_numpy(dtype=float)


def variance_and_error(values: ArrayLike) -> tuple[float, float]:
    """Variance over runs and its jackknife standard error; NaN for both with fewer than three runs."""
    array = np.asarray(values, dtype=float)
    if array.size < 3:
        return float("nan"), float("nan")
    left_out = np.array([np.delete(array, i).var(ddof=1) for i in range(array.size)])
    error = np.sqrt((array.size - 1) * left_out.var())
    return float(array.var(ddof=1)), float(error)


def correlation_of(frame: pd.DataFrame, level: float) -> Estimate | None:
    """Spearman correlation of total variation with `distance` over runs; None where it does not exist."""
    try:
        return rank_correlation(frame["variation"], frame["distance"], unit=TRAINING_RUN, level=level)
    except StatisticsError:  # fewer than four runs, or a column without variation
        return None


def commitment_difference(pairs: Sequence[tuple[pd.DataFrame, pd.DataFrame]], level: float) -> Estimate | None:
    """Share of committed runs in the lower halves minus that in the higher ones; None for fewer than `LEAST` a side."""
    lower, higher = (np.concatenate([committed(pair[side]) for pair in pairs]) for side in (0, 1))
    if len(lower) < LEAST:
        return None
    counts = int(lower.sum()), len(lower), int(higher.sum()), len(higher)
    return share_difference(*counts, unit=TRAINING_RUN, level=level)


def dip_of(finals: ArrayLike) -> tuple[float, float]:
    """Hartigan and Hartigan's (1985) dip of a sample and its p-value against one mode; NaN below four values."""
    values = np.asarray(finals, dtype=float)
    return dip_test(values) if values.size >= 4 else (float("nan"), float("nan"))


def split_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of `summaries` at the share of the split: both arms, and the runs that vary in both."""
    frame = summaries(runs)
    return frame[frame["share"] == frame.loc[frame["arm"] == "init", "share"].iloc[0]].reset_index(drop=True)
