"""Estimates with intervals, over scipy.

Means and paired differences: Student t below 20 units, BCa bootstrap from 20 on (below about 16 units BCa covers too
rarely). Shares: Wilson. Identical values carry no information about their spread: their common value is widened by
the resolution of the score. Every interval is a pure function of the data: the bootstraps draw from a fixed seed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .claims import DETERMINISTIC, UNITS, Estimate

BCA_FROM = 20
_RESAMPLES = 9_999
_HIERARCHICAL_RESAMPLES = 1_999
_SEED = 20_240_904
# scipy renamed the argument in 1.15
RNG_ARGUMENT = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"


class StatisticsError(ValueError):
    """Data from which no honest interval can be made."""


def check_unit_level(unit: str, level: float) -> None:
    """Refuse an unknown or deterministic unit and a level outside (0.5, 1)."""
    stochastic = [name for name in UNITS if name != DETERMINISTIC]
    if unit not in stochastic:
        accepted = ", ".join(stochastic)
        raise StatisticsError(f"unit = {unit!r}; accepted are {accepted}; for a certain value use exact(value, n).")
    if not 0.5 < level < 1:
        raise StatisticsError(f"level = {level!r}; a confidence level between 0.5 and 1 is needed, e.g. study.level.")


def check_resolution(resolution: float) -> None:
    """Refuse a resolution that is negative or not finite."""
    if not (math.isfinite(resolution) and resolution >= 0):
        raise StatisticsError(
            f"resolution = {resolution!r}; the smallest step of the score is needed, e.g. 1 / n_items, or 0 for none."
        )


def vector(name: str, values: ArrayLike) -> np.ndarray:
    """The values as a vector of at least one finite number; StatisticsError names what is wrong."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise StatisticsError(f"{name} has the shape {array.shape}; a vector [n] with at least one value is needed.")
    if not np.isfinite(array).all():
        where = int(np.flatnonzero(~np.isfinite(array))[0])
        raise StatisticsError(f"{name}[{where}] = {array[where]!r}; every value must be finite.")
    return array


def identical(values: np.ndarray) -> bool:
    """Whether all values are the same up to rounding."""
    # differences of equal scores can leave rounding errors, which are not a spread
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))


def _t_interval(centre: float, standard_error: float, degrees: int, level: float) -> tuple[float, float]:
    low, high = stats.t.interval(level, degrees, loc=centre, scale=standard_error)
    return float(low), float(high)


def _bca_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    result = stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=_RESAMPLES, method="BCa", vectorized=True,
        batch=max(1, 2_000_000 // values.size), **{RNG_ARGUMENT: np.random.default_rng(_SEED)},
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _interval(values: np.ndarray, level: float, resolution: float) -> tuple[float, float, str]:
    if values.size < 2:
        raise StatisticsError(
            "one value has no interval: at least 2 units are needed. Where a preset has one unit only, "
            "decide(id, None) records the claim as not tested."
        )
    centre = float(values.mean())
    if identical(values):
        return centre - resolution, centre + resolution, "identical values, widened by the resolution"
    if values.size < BCA_FROM:
        return *_t_interval(centre, float(stats.sem(values)), values.size - 1, level), "Student t"
    return *_bca_interval(values, level), "BCa bootstrap"


def mean(values: ArrayLike, *, unit: str, level: float, resolution: float = 0.0) -> Estimate:
    """Estimate the mean over units with its interval.

    Args:
        values: one value per unit, [n], n >= 2.
        unit: what one value stands for: training run, data draw, simulated replicate or test item.
        level: confidence level, usually `study.level`.
        resolution: smallest step of the score; the half width of the interval when all values are identical.
            An estimate of width zero cannot decide a claim.

    Raises:
        StatisticsError: fewer than 2 values, a value that is not finite, unknown unit, level outside (0.5, 1).
    """
    check_unit_level(unit, level)
    check_resolution(resolution)
    array = vector("values", values)
    low, high, method = _interval(array, level, resolution)
    return Estimate(float(array.mean()), low, high, level, array.size, unit, method)


def difference(a: ArrayLike, b: ArrayLike, *, unit: str, level: float, resolution: float = 0.0) -> Estimate:
    """Estimate the mean of the paired differences a - b with its interval.

    Args:
        a: one value per unit, [n], n >= 2.
        b: the value of the same unit under the other condition, [n].
        unit, level, resolution: as in `mean`.

    Raises:
        StatisticsError: as `mean`, and when the lengths differ.
    """
    check_unit_level(unit, level)
    check_resolution(resolution)
    first, second = vector("a", a), vector("b", b)
    if first.size != second.size:
        raise StatisticsError(f"a has {first.size} values and b has {second.size}; pairs need equal numbers.")
    values = first - second
    low, high, method = _interval(values, level, resolution)
    return Estimate(float(values.mean()), low, high, level, values.size, unit, f"paired, {method}")


def share(successes: int, n: int, *, unit: str, level: float) -> Estimate:
    """Estimate a share with its Wilson interval.

    Args:
        successes: number of units that succeeded, 0 to n.
        n: number of units, at least 1.
        unit, level: as in `mean`.

    Raises:
        StatisticsError: counts that are not whole numbers with 0 <= successes <= n and n >= 1.
    """
    check_unit_level(unit, level)
    for name, count in (("successes", successes), ("n", n)):
        if isinstance(count, bool | np.bool_) or not isinstance(count, Integral):
            raise StatisticsError(f"{name} = {count!r}; a whole number is needed.")
    if n < 1 or not 0 <= successes <= n:
        raise StatisticsError(f"successes = {successes}, n = {n}; 0 <= successes <= n and n >= 1 are needed.")
    interval = stats.binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), level, int(n), unit, "Wilson")


def exact(value: float, n: int) -> Estimate:
    """Wrap the result of a deterministic check: low = high = value.

    Args:
        value: the value, e.g. the number of mismatches or a largest absolute error.
        n: number of cases checked.

    Raises:
        ClaimError: a value that is not finite or n < 1.
    """
    return Estimate(value, value, value, 1.0, n, DETERMINISTIC, "exact")


def _hierarchical_distribution(groups: list[np.ndarray]) -> np.ndarray:
    items = np.random.default_rng(_SEED + 1)

    def resampled_mean(runs: np.ndarray) -> float:
        # runs are drawn by scipy; inside each drawn run its items are drawn again
        drawn = [groups[run] for run in runs]
        return float(np.mean([group[items.integers(group.size, size=group.size)].mean() for group in drawn]))

    result = stats.bootstrap(
        (np.arange(len(groups)),), resampled_mean, n_resamples=_HIERARCHICAL_RESAMPLES, method="percentile",
        vectorized=False, **{RNG_ARGUMENT: np.random.default_rng(_SEED)},
    )
    return np.asarray(result.bootstrap_distribution)


def hierarchical_mean(groups: Sequence[ArrayLike], *, unit: str, level: float, resolution: float = 0.0) -> Estimate:
    """Estimate the mean over runs of the mean over the items of each run, from a hierarchical bootstrap.

    Runs are drawn with replacement, then items inside each drawn run. From 20 runs on the interval is the percentile
    interval. Below, percentiles cover too rarely: the interval is Student's t with the bootstrap's standard error,
    corrected by sqrt(n / (n - 1)) for the small number of runs. The interval is about new runs; when all runs were
    scored on the same items, it does not speak about other items.

    Args:
        groups: per run the scores of its items, each [items of that run]; at least 2 runs.
        unit, level, resolution: as in `mean`; `n` of the estimate counts the runs.

    Raises:
        StatisticsError: as `mean`.
    """
    check_unit_level(unit, level)
    check_resolution(resolution)
    runs = [vector(f"groups[{index}]", group) for index, group in enumerate(groups)]
    if len(runs) < 2:
        raise StatisticsError(f"groups holds {len(runs)} run(s); at least 2 are needed for an interval over runs.")
    centre = float(np.mean([run.mean() for run in runs]))
    if identical(np.concatenate(runs)):
        method = "identical values, widened by the resolution"
        return Estimate(centre, centre - resolution, centre + resolution, level, len(runs), unit, method)
    draws = _hierarchical_distribution(runs)
    if len(runs) < BCA_FROM:
        error = float(draws.std(ddof=1)) * math.sqrt(len(runs) / (len(runs) - 1))
        low, high = _t_interval(centre, error, len(runs) - 1, level)
        return Estimate(centre, low, high, level, len(runs), unit, "Student t, hierarchical bootstrap error")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(centre, float(low), float(high), level, len(runs), unit, "hierarchical bootstrap")
