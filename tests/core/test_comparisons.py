"""Comparisons of groups against statsmodels, hand-computed cases, and small simulations of their coverage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW
from twelvefold.core.comparisons import independent_difference, rank_correlation, share_difference
from twelvefold.core.statistics import StatisticsError

UNIT: dict[str, Any] = {"unit": "training run", "level": 0.95}


def test_small_groups_get_welchs_interval() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 2, 7), rng.normal(0, 1, 11)
    low, high = CompareMeans(DescrStatsW(a), DescrStatsW(b)).tconfint_diff(alpha=0.05, usevar="unequal")
    estimate = independent_difference(a, b, **UNIT)
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert (estimate.n, estimate.method) == (18, "Welch t")


def test_large_groups_get_a_bootstrap_close_to_welch() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(1, 2, 60), rng.normal(0, 1, 40)
    low, high = CompareMeans(DescrStatsW(a), DescrStatsW(b)).tconfint_diff(alpha=0.05, usevar="unequal")
    estimate = independent_difference(a, b, **UNIT)
    assert "BCa" in estimate.method
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.12)
    assert estimate == independent_difference(a, b, **UNIT)


def test_groups_without_spread_are_widened_by_the_resolution() -> None:
    estimate = independent_difference([0.5] * 5, [0.25] * 5, resolution=0.01, **UNIT)
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((0.24, 0.25, 0.26))


def test_the_welch_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        estimate = independent_difference(rng.normal(0, 3, 6), rng.normal(0, 1, 9), **UNIT)
        inside += estimate.low <= 0 <= estimate.high
    assert 0.92 <= inside / 400 <= 0.98


def test_newcombes_interval_of_the_original_paper() -> None:
    # Newcombe 1998 (Statistics in Medicine 17), table II, case (a): 56/70 - 48/80, method 10 (score): 0.0524, 0.3339
    estimate = share_difference(56, 70, 48, 80, **UNIT)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_shares_at_the_end_of_the_scale_keep_an_interval() -> None:
    estimate = share_difference(9, 9, 0, 9, **UNIT)
    assert estimate.value == 1.0 and 0.4 < estimate.low < estimate.high <= 1.0


def test_spearman_and_fishers_interval_by_hand() -> None:
    x = np.arange(10.0)
    y = np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 9.0]) ** 3  # monotone transforms do not matter
    estimate = rank_correlation(x, y, **UNIT)
    r = stats.spearmanr(x, y).statistic
    half = stats.norm.ppf(0.975) / math.sqrt(10 - 3)
    assert estimate.value == pytest.approx(r)
    ends = math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
    assert (estimate.low, estimate.high) == pytest.approx(ends)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: independent_difference([1.0], [1.0, 2.0], **UNIT), "a has"),
        (lambda: independent_difference([1.0, 2.0], [1.0, float("nan")], **UNIT), r"b\[1\] = .*nan"),
        (lambda: share_difference(3, 2, 1, 2, **UNIT), "successes_a = 3"),
        (lambda: share_difference(0, 0, 1, 2, **UNIT), "n_a = 0"),
        (lambda: rank_correlation([1, 2, 3, 4], [1, 2, 3], **UNIT), "4 and y 3"),
        (lambda: rank_correlation([1, 1, 1, 1], [1, 2, 3, 4], **UNIT), "does not vary"),
        (lambda: rank_correlation([1, 2, 3, 4], [4, 3, 2, 1], **UNIT), "no width"),
        (lambda: rank_correlation([1, 2, 3, 4], [4, 3, 1, 2], unit="training run", level=95), "level = 95"),
        (lambda: independent_difference([1, 2], [3, 4], resolution=-1, **UNIT), "resolution = -1"),
        (lambda: share_difference(1.5, 2, 1, 2, **UNIT), "successes_a = 1.5"),
    ],
)
def test_bad_input_is_named(call: Any, named: str) -> None:
    with pytest.raises(StatisticsError, match=named):
        call()
