"""Estimates that compare two groups or two columns: independent means, shares, and rank correlation.

Beside `statistics`, which knows means, paired differences and shares.
"""

from __future__ import annotations

import inspect
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .claims import Estimate
from .statistics import BCA_FROM, StatisticsError

_RESAMPLES = 9_999
_SEED = 20_241_205
_RNG_ARGUMENT = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"


def _group(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2 or not np.isfinite(array).all():
        raise StatisticsError(f"{name} has the shape {array.shape}; a vector of at least 2 finite values is needed.")
    return array


def _constant(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))


def independent_difference(
    a: ArrayLike, b: ArrayLike, *, unit: str, level: float, resolution: float = 0.0
) -> Estimate:
    """Estimate mean(a) - mean(b) of two independent groups.

    Welch's t below 20 units in the smaller group, BCa bootstrap of both groups from 20 on; where neither group varies,
    the difference widened by the resolution.

    Args:
        a, b: one value per unit, `[n_a]` and `[n_b]`, at least 2 each.
        unit: what one value stands for.
        level: confidence level, usually `study.level`.
        resolution: smallest step of the score.

    Raises:
        StatisticsError: fewer than 2 values in a group, or a value that is not finite.
    """
    first, second = _group("a", a), _group("b", b)
    value, count = float(first.mean() - second.mean()), first.size + second.size
    if _constant(first) and _constant(second):
        method = "identical values, widened by the resolution"
        return Estimate(value, value - resolution, value + resolution, level, count, unit, method)
    if min(first.size, second.size) < BCA_FROM:
        interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval(level)
        return Estimate(value, float(interval.low), float(interval.high), level, count, unit, "Welch t")
    result = stats.bootstrap(
        (first, second), lambda x, y, axis: x.mean(axis) - y.mean(axis), confidence_level=level,
        n_resamples=_RESAMPLES, method="BCa", vectorized=True, **{_RNG_ARGUMENT: np.random.default_rng(_SEED)},
    )  # fmt: skip
    low, high = result.confidence_interval
    return Estimate(value, float(low), float(high), level, count, unit, "BCa bootstrap of two groups")


def share_difference(successes_a: int, n_a: int, successes_b: int, n_b: int, *, unit: str, level: float) -> Estimate:
    """Estimate the difference of two independent shares, with Newcombe's interval (statsmodels).

    Args:
        successes_a, n_a: successes and units of the first group; successes_b, n_b: of the second.
        unit, level: as in `independent_difference`.

    Raises:
        StatisticsError: an empty group or impossible counts.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    for name, count, size in (("a", successes_a, n_a), ("b", successes_b, n_b)):
        if size < 1 or not 0 <= count <= size:
            raise StatisticsError(f"successes_{name} = {count}, n_{name} = {size}; 0 <= successes <= n, n >= 1 needed.")
    low, high = confint_proportions_2indep(
        successes_a, n_a, successes_b, n_b, method="newcomb", compare="diff", alpha=1 - level
    )
    value = successes_a / n_a - successes_b / n_b
    return Estimate(value, float(low), float(high), level, n_a + n_b, unit, "Newcombe, two independent shares")


def rank_correlation(x: ArrayLike, y: ArrayLike, *, unit: str, level: float) -> Estimate:
    """Estimate Spearman's correlation of two columns, with Fisher's interval on the ranks (scipy).

    Args:
        x, y: one value per unit, `[n]`, n >= 4.
        unit, level: as in `independent_difference`.

    Raises:
        StatisticsError: unequal lengths, fewer than 4 units, or a column without variation (no correlation exists).
    """
    first, second = _group("x", x), _group("y", y)
    if first.size != second.size or first.size < 4:
        raise StatisticsError(f"x has {first.size} and y {second.size} values; equally many, at least 4, are needed.")
    if _constant(first) or _constant(second):
        raise StatisticsError("x or y does not vary: a correlation does not exist; decide(id, None) says not tested.")
    result = stats.pearsonr(stats.rankdata(first), stats.rankdata(second))
    low, high = result.confidence_interval(level)
    value = float(result.statistic)
    # at |r| = 1 Fisher's interval has no width
    low, high = (low, high) if math.isfinite(low) and math.isfinite(high) else (value, value)
    return Estimate(value, float(low), float(high), level, first.size, unit, "Spearman, Fisher interval")
