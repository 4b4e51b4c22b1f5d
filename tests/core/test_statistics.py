"""Intervals against scipy, statsmodels, tables of Student's t, and small simulations of their coverage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from twelvefold.core import statistics
from twelvefold.core.claims import ClaimError
from twelvefold.core.statistics import StatisticsError, difference, exact, hierarchical_mean, mean, share

UNIT: dict[str, Any] = {"unit": "training run", "level": 0.95}


def sample(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=n)


def test_student_t_by_hand() -> None:
    # 1, 2, 3: mean 2, standard error 1 / sqrt(3); t(0.975, 2) = 4.302653 (tables)
    estimate = mean([1, 2, 3], **UNIT)
    assert (estimate.value, estimate.n, estimate.method) == (2, 3, "Student t")
    assert estimate.high - 2 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert 2 - estimate.low == pytest.approx(estimate.high - 2)


def test_below_twenty_is_scipys_t_interval() -> None:
    values = sample(19)
    oracle = stats.ttest_1samp(values, 0).confidence_interval(0.99)
    estimate = mean(values, unit="data draw", level=0.99)
    assert (estimate.low, estimate.high) == pytest.approx((oracle.low, oracle.high))


def test_from_twenty_on_is_scipys_bca() -> None:
    values = sample(20)
    oracle = stats.bootstrap((values,), np.mean, n_resamples=99_999, method="BCa", rng=3).confidence_interval
    estimate = mean(values, **UNIT)
    assert estimate.method == "BCa bootstrap"
    assert (estimate.low, estimate.high) == pytest.approx((oracle.low, oracle.high), abs=0.02)


def test_bca_ends_are_about_equally_likely_on_skewed_data() -> None:
    estimate = mean(sample(40), **UNIT)
    assert estimate.high - estimate.value > estimate.value - estimate.low  # a symmetric interval would miss the skew


@pytest.mark.parametrize("n", [6, 25])
def test_the_same_data_give_the_same_interval(n: int) -> None:
    assert mean(sample(n), **UNIT) == mean(sample(n), **UNIT)
    groups = [sample(9, seed) for seed in range(n)]
    assert hierarchical_mean(groups, **UNIT) == hierarchical_mean(groups, **UNIT)


def test_estimates_leave_the_global_generator_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    mean(sample(30), **UNIT)
    hierarchical_mean([sample(5), sample(6)], **UNIT)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]


def test_identical_values_are_widened_by_the_resolution() -> None:
    estimate = mean([0.25] * 6, **UNIT, resolution=0.01)
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((0.24, 0.25, 0.26))
    assert mean([0.25] * 30, **UNIT).low == mean([0.25] * 30, **UNIT).high == 0.25


def test_rounding_errors_are_not_a_spread() -> None:
    a, b = np.array([0.3, 0.4, 0.7, 0.1]), np.array([0.1, 0.2, 0.5, -0.1])
    estimate = difference(a, b, **UNIT, resolution=0.05)
    assert (estimate.low, estimate.high) == pytest.approx((0.15, 0.25))


def test_difference_is_paired() -> None:
    a, b = sample(8, 2), sample(8, 3)
    oracle = stats.ttest_rel(a, b).confidence_interval(0.95)
    estimate = difference(a, b, **UNIT)
    assert (estimate.low, estimate.high) == pytest.approx((oracle.low, oracle.high))
    assert estimate.value == pytest.approx(a.mean() - b.mean())
    assert estimate.method == "paired, Student t"


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.99]))
def test_share_is_wilsons_interval(counts: tuple[int, int], level: float) -> None:
    estimate = share(*counts, unit="test item", level=level)
    low, high = proportion_confint(*counts, alpha=1 - level, method="wilson")
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-9)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_exact_is_a_point() -> None:
    estimate = exact(0, 24)
    assert (estimate.low, estimate.value, estimate.high) == (0, 0, 0)
    assert (estimate.level, estimate.n, estimate.unit) == (1, 24, "deterministic")


@given(st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=12), st.floats(0.6, 0.98))
def test_a_higher_level_gives_a_wider_interval_around_the_mean(values: list[float], level: float) -> None:
    narrow, wide = (mean(values, unit="data draw", level=x) for x in (level, level + 0.01))
    assert wide.low <= narrow.low <= narrow.value <= narrow.high <= wide.high


def coverage(interval: Any, truth: float, trials: int) -> float:
    hits = [estimate.low <= truth <= estimate.high for estimate in (interval(seed) for seed in range(trials))]
    return sum(hits) / trials


def test_t_and_bca_cover_at_their_level() -> None:
    level = {"unit": "data draw", "level": 0.9}
    normal = coverage(lambda seed: mean(np.random.default_rng(seed).normal(size=6), **level), 0, 400)
    assert abs(normal - 0.9) < 0.05  # 3 standard errors of a share over 400 trials


def test_bca_covers_at_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_RESAMPLES", 999)
    level = {"unit": "data draw", "level": 0.9}
    assert coverage(lambda seed: mean(np.random.default_rng(seed).normal(size=24), **level), 0, 200) > 0.83


def nested(seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(generator.normal(), 1, size=20) for _ in range(6)]


def test_the_hierarchical_interval_covers_with_few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_HIERARCHICAL_RESAMPLES", 199)
    level = {"unit": "training run", "level": 0.9}
    assert coverage(lambda seed: hierarchical_mean(nested(seed), **level), 0, 150) > 0.82


def test_hierarchical_mean_counts_runs_and_weights_them_equally() -> None:
    estimate = hierarchical_mean([[0.0], [1.0, 1.0, 1.0]], **UNIT)
    assert (estimate.value, estimate.n) == (0.5, 2)


@pytest.mark.parametrize("n", [3, 10])
def test_many_items_leave_the_spread_between_runs(n: int) -> None:
    # with constant items inside each run the interval is Student's t over the run means
    values = sample(n)
    groups = [np.full(50, value) for value in values]
    ours, oracle = hierarchical_mean(groups, **UNIT), mean(values, **UNIT)
    assert ours.high - ours.low == pytest.approx(oracle.high - oracle.low, rel=0.06)


def test_items_widen_the_hierarchical_interval() -> None:
    generator = np.random.default_rng(5)
    groups = [np.array([0.5 + shift, 0.5 - shift]) + generator.normal(0, 0.01) for shift in (0.4,) * 25]
    means = [group.mean() for group in groups]
    wide, narrow = hierarchical_mean(groups, **UNIT), mean(means, **UNIT)
    assert wide.method == "hierarchical bootstrap"
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_identical_items_are_widened() -> None:
    estimate = hierarchical_mean([[1.0, 1.0], [1.0]], **UNIT, resolution=0.1)
    assert (estimate.low, estimate.high) == pytest.approx((0.9, 1.1))


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        ([1.0], {}, "not tested"), ([], {}, "shape"), ([[1.0, 2.0]], {}, "shape"),
        ([1.0, math.nan], {}, r"values\[1\]"),
        ([1.0, math.inf], {}, "finite"), ([1.0, 2.0], {"unit": "seed"}, "unit = 'seed'"),
        ([1.0, 2.0], {"unit": "deterministic"}, "exact"), ([1.0, 2.0], {"level": 95}, "level = 95"),
        ([1.0, 2.0], {"level": math.nan}, "level"), ([1.0, 2.0], {"resolution": -1}, "resolution"),
        ([1.0, 2.0], {"resolution": math.nan}, "resolution"),
    ],
)
def test_bad_input_to_a_mean(values: list[float], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        mean(values, **(UNIT | changes))


def test_bad_input_to_the_others() -> None:
    with pytest.raises(StatisticsError, match="a has 2 values and b has 3"):
        difference([1, 2], [1, 2, 3], **UNIT)
    with pytest.raises(StatisticsError, match=r"groups\[1\]"):
        hierarchical_mean([[1.0], []], **UNIT)
    with pytest.raises(StatisticsError, match="holds 1 run"):
        hierarchical_mean([[1.0, 2.0]], **UNIT)
    with pytest.raises(ClaimError, match="n = 0"):
        exact(1, 0)
    with pytest.raises(ClaimError, match="nan"):
        exact(math.nan, 3)


@pytest.mark.parametrize("counts", [(3, 2), (-1, 2), (0, 0), (1.0, 2), (True, 2), (1, 2.5)])
def test_bad_counts_of_a_share(counts: tuple[Any, Any]) -> None:
    with pytest.raises(StatisticsError, match="needed"):
        share(*counts, **UNIT)
