"""Estimates that compare two groups or two columns: independent means, shares, and rank correlation.

Beside `statistics`, which knows means, paired differences and shares.
"""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .claims import Estimate
from .statistics import (
    BCA_FROM,
    RNG_ARGUMENT,
    StatisticsError,
    check_resolution,
    check_unit_level,
    identical,
    vector,
)

_RESAMPLES = 9_999
_SEED = 20_241_205


def _group(name: str, values: ArrayLike) -> np.ndarray:
    array = vector(name, values)
    if array.size < 2:
        raise StatisticsError(f"{name} has {array.size} value; at least 2 are needed.")
    return array


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
    check_unit_level(unit, level)
    check_resolution(resolution)
    first, second = _group("a", a), _group("b", b)
    value, count = float(first.mean() - second.mean()), first.size + second.size
    if identical(first) and identical(second):
        method = "identical values, widened by the resolution"
        return Estimate(value, value - resolution, value + resolution, level, count, unit, method)
    if min(first.size, second.size) < BCA_FROM:
        interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval(level)
        return Estimate(value, float(interval.low), float(interval.high), level, count, unit, "Welch t")
    result = stats.bootstrap(
        (first, second), lambda x, y, axis: x.mean(axis) - y.mean(axis), confidence_level=level,
        n_resamples=_RESAMPLES, method="BCa", vectorized=True, **{RNG_ARGUMENT: np.random.default_rng(_SEED)},
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

    check_unit_level(unit, level)
    for name, count, size in (("a", successes_a, n_a), ("b", successes_b, n_b)):
        whole = all(isinstance(number, Integral) for number in (count, size))
        if not whole or size < 1 or not 0 <= count <= size:
            raise StatisticsError(f"successes_{name} = {count}, n_{name} = {size}; whole numbers are needed with "
                                  "0 <= successes <= n and n >= 1.")
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
        StatisticsError: unequal lengths, fewer than 4 units, or a column without variation, or a
            perfect correlation (for which there is no interval).
    """
    check_unit_level(unit, level)
    first, second = _group("x", x), _group("y", y)
    if first.size != second.size or first.size < 4:
        raise StatisticsError(f"x has {first.size} and y {second.size} values; equally many, at least 4, are needed.")
    if identical(first) or identical(second):
        raise StatisticsError("x or y does not vary: a correlation does not exist; decide(id, None) says not tested.")
    result = stats.pearsonr(stats.rankdata(first), stats.rankdata(second))
    value = float(result.statistic)
    if abs(value) > 1 - 1e-12:  # an estimate of width zero cannot decide a claim
        raise StatisticsError(f"x and y have the rank correlation {value:.0f}, for which Fisher's interval has no "
                              "width; decide(id, None) says not tested.")  # fmt: skip
    low, high = result.confidence_interval(level)
    return Estimate(value, float(low), float(high), level, first.size, unit, "Spearman, Fisher interval")
