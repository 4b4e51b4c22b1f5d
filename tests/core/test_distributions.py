"""Modes, distances and tests of one mode against scipy, POT and diptest; bootstrap intervals against simulations."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import diptest
import numpy as np
import ot
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from twelvefold.core import distributions
from twelvefold.core.distributions import (
    bootstrap,
    density_of,
    dip_test,
    emptier_middle,
    mode_of,
    modes_of_rows,
    permutation_null,
    thirds,
    wasserstein2,
    wasserstein2_rows,
)
from twelvefold.core.statistics import StatisticsError

UNIT: dict[str, Any] = {"unit": "training run", "level": 0.95}
SAMPLE = st.lists(st.floats(-100, 100), min_size=1, max_size=9).map(np.array)


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- dip ---


def test_dip_is_that_of_diptest() -> None:
    sample = generator().normal(size=50)
    assert dip_test(sample) == diptest.diptest(sample)
    assert dip_test(sample) == dip_test(generator(2).permutation(sample))
    assert dip_test([0.3] * 5) == (0, 1)


def test_dip_grows_with_the_gap_between_two_groups() -> None:
    noise = generator().normal(0, 0.1, 60)
    dips = [dip_test(noise + np.where(np.arange(60) < 30, 0, gap)) for gap in (0, 0.3, 0.6, 1.2)]
    assert np.all(np.diff([dip.statistic for dip in dips]) > 0)
    assert dips[0].p_value > 0.05 and dips[-1].p_value < 1e-3


def test_diptest_is_loaded_by_the_dip_test_alone() -> None:
    code = "import sys, twelvefold.core.distributions as d; d.mode_of([0.5]); assert 'diptest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("values", "words"), [([1, 2, 3], "3 number"), ([1, 2, 3, np.nan], "finite"), ([[1.0]], "shape")]
)
def test_dip_refuses(values: Any, words: str) -> None:
    with pytest.raises(StatisticsError, match=words):
        dip_test(values)


# --- density and mode ---


def scipys_density(sample: np.ndarray, points: np.ndarray, low: float, high: float, bandwidth: float) -> np.ndarray:
    reflected = np.concatenate([sample, 2 * low - sample, 2 * high - sample])
    return 3 * stats.gaussian_kde(reflected, bw_method=bandwidth / reflected.std(ddof=1))(points)


@pytest.mark.parametrize(("low", "high", "bandwidth", "grid"), [(0, 1, 0.05, 201), (-2, 3, 0.6, 77)])
def test_density_is_scipys_on_reflected_data(low: float, high: float, bandwidth: float, grid: int) -> None:
    sample = np.concatenate([[low, low, high], generator().uniform(low, high, 30)])
    points, density = density_of(sample, low, high, bandwidth, grid)
    np.testing.assert_array_equal(points, np.linspace(low, high, grid))
    np.testing.assert_allclose(density, scipys_density(sample, points, low, high, bandwidth), atol=1e-10)
    assert np.trapezoid(density, points) == pytest.approx(1, abs=1e-10)
    assert mode_of(sample, low, high, bandwidth, grid) == points[density.argmax()]


def test_modes_by_hand() -> None:
    assert mode_of([0.3] * 5) == pytest.approx(0.3)
    assert mode_of([0.0] * 6 + [0.7] * 4) == 0 and mode_of([0.0] * 3 + [0.7] * 7) == pytest.approx(0.7)
    assert mode_of([0.0] * 4 + [0.7] * 6) == 0  # the reflection doubles a point mass at an end
    assert mode_of([0.0, 1.0]) == mode_of([1.0, 0.0]) == 0  # of equal peaks the lowest
    assert mode_of([0.8, 0.2, 0.8, 0.2]) == pytest.approx(0.2)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_a_tie_never_depends_on_the_order(percents: list[int]) -> None:
    sample = np.array(percents) / 100
    both = np.concatenate([sample, 1 - sample])  # symmetric: peaks come in pairs of equal height
    assert mode_of(both) == mode_of(both[::-1]) <= 0.5


def test_modes_of_rows_are_the_modes_of_the_rows_over_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.round(generator().beta(0.5, 0.7, (60, 7)), 2)
    expected = [mode_of(row) for row in rows]
    np.testing.assert_array_equal(modes_of_rows(rows), expected)
    monkeypatch.setattr(distributions, "_KERNEL_ROWS", 50)  # seven rows a block, four in the last
    np.testing.assert_array_equal(modes_of_rows(rows), expected)


def test_a_bootstrap_of_the_mode_holds_less_than_200_mb() -> None:
    groups = [generator(k).uniform(size=32) for k in range(4)]
    tracemalloc.start()
    bootstrap(groups, lambda samples: np.ptp([modes_of_rows(sample) for sample in samples], axis=0), **UNIT)
    modes_of_rows(generator().uniform(size=(1999, 32)))  # the costly case: no value occurs twice
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"values": [0.5, 1.01]}, "1.01"), ({"values": [-1e-9]}, "-1e-09"), ({"values": []}, "shape"),
        ({"low": 1.0}, "low = 1.0"), ({"high": np.inf}, "high = inf"), ({"bandwidth": 0.0}, "bandwidth = 0.0"),
        ({"bandwidth": 0.13}, "bandwidth = 0.13"), ({"bandwidth": np.nan}, "bandwidth"), ({"grid": 20}, "grid = 20"),
        ({"grid": 201.0}, "grid = 201.0"),
    ],
)  # fmt: skip
def test_density_and_mode_refuse(arguments: dict[str, Any], words: str) -> None:
    for function in (density_of, mode_of):
        with pytest.raises(StatisticsError, match=words):
            function(**{"values": [0.5], **arguments})


@pytest.mark.parametrize(("values", "words"), [([0.5], "shape"), (np.ones((0, 3)), "shape"), ([[0.5, np.nan]], "nan")])
def test_modes_of_rows_refuses(values: Any, words: str) -> None:
    with pytest.raises(StatisticsError, match=words):
        modes_of_rows(values)


# --- distances ---


@pytest.mark.parametrize(("n", "m"), [(1, 1), (6, 6), (32, 32), (6, 4), (1, 7), (12, 18), (31, 32)])
def test_wasserstein_is_pots(n: int, m: int) -> None:
    a, b = generator(n).normal(size=n), generator(100 + m).exponential(size=m)
    assert wasserstein2(a, b) ** 2 == pytest.approx(ot.emd2_1d(a, b, metric="sqeuclidean"), abs=1e-10)


def test_wasserstein_of_equal_sizes_compares_the_sorted_values() -> None:
    assert wasserstein2([3, 0, 0], [1, 0, 5]) == pytest.approx(np.sqrt((0 + 1 + 4) / 3))
    assert wasserstein2([0, 0], [0, 0, 0, 1]) == pytest.approx(0.5)


def test_rows_are_the_distances_of_their_pairs() -> None:
    a, b = generator(1).normal(size=(5, 6)), generator(2).normal(size=(5, 9))
    np.testing.assert_array_equal(wasserstein2_rows(a, b), [wasserstein2(x, y) for x, y in zip(a, b, strict=True)])


@given(SAMPLE, SAMPLE, SAMPLE, st.floats(-100, 100))
def test_wasserstein_is_a_metric_that_feels_a_shift(a: np.ndarray, b: np.ndarray, c: np.ndarray, shift: float) -> None:
    distance = wasserstein2(a, b)
    assert distance == pytest.approx(wasserstein2(b, a), abs=1e-9)
    assert distance == pytest.approx(wasserstein2(a + shift, b + shift), abs=1e-6)
    assert distance <= wasserstein2(a, c) + wasserstein2(c, b) + 1e-9
    assert wasserstein2(a, np.tile(a, 2)) == pytest.approx(0, abs=1e-9)
    assert wasserstein2(a, a + shift) == pytest.approx(abs(shift), abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [([[1.0]], [1.0], "shapes"), ([[1.0]], [[1.0], [2.0]], "shapes"), (np.ones((2, 0)), np.ones((2, 1)), "shapes"),
     ([[1.0]], [[np.nan]], "finite")],
)  # fmt: skip
def test_wasserstein_of_rows_refuses(a: Any, b: Any, words: str) -> None:
    with pytest.raises(StatisticsError, match=words):
        wasserstein2_rows(a, b)


@pytest.mark.parametrize(
    ("a", "b", "words"), [([], [1.0], "a has"), ([1.0], [np.inf], r"b\[0\]"), ([1.0], [[1.0]], "b has")]
)
def test_wasserstein_refuses(a: Any, b: Any, words: str) -> None:
    with pytest.raises(StatisticsError, match=words):
        wasserstein2(a, b)


def test_the_null_is_drawn_from_the_pool() -> None:
    # of 0, 0, 1, 1 two pairs in six are alike within (distance 1), four are mixed (distance 0)
    null = permutation_null([0.0, 0.0], [1.0, 1.0], draws=3000)
    assert set(null) == {0.0, 1.0} and null.mean() == pytest.approx(1 / 3, abs=0.03)


def test_the_null_is_a_function_of_the_data_and_the_seed() -> None:
    a, b = generator(1).normal(size=7), generator(2).normal(size=9)
    null = permutation_null(a, b, draws=50)
    np.testing.assert_array_equal(null, permutation_null(a[::-1], generator().permutation(b), draws=50))
    assert null.shape == (50,) and not np.array_equal(null, permutation_null(a, b, draws=50, seed=3))


def test_the_null_is_exceeded_as_often_as_it_says() -> None:
    rng = generator(4)
    pairs = [(rng.exponential(size=12), rng.exponential(size=8)) for _ in range(200)]
    exceeded = [wasserstein2(a, b) > np.quantile(permutation_null(a, b, draws=199), 0.9) for a, b in pairs]
    assert np.mean(exceeded) == pytest.approx(0.1, abs=0.05)
    assert wasserstein2(pairs[0][0], pairs[0][1] + 3) > permutation_null(pairs[0][0], pairs[0][1] + 3).max()


@pytest.mark.parametrize("draws", [0, 1.5, True])
def test_the_null_refuses(draws: Any) -> None:
    with pytest.raises(StatisticsError, match="draws ="):
        permutation_null([1.0], [2.0], draws=draws)
    with pytest.raises(StatisticsError, match="a has"):
        permutation_null([], [2.0])


# --- thirds ---


def test_thirds_by_hand() -> None:
    values = [0, 0.99, 1, 1.99, 2, 3]
    np.testing.assert_array_equal(thirds(values), [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(thirds([0, 1 / 3, 2 / 3, 1], low=0, high=1), [0, 1, 2, 2])
    np.testing.assert_array_equal(thirds([0.1, 0.2], low=0, high=0.3), [1, 2])
    np.testing.assert_array_equal(thirds(values, low=-6), [2] * 6)


@pytest.mark.parametrize(
    ("values", "ends", "words"),
    [([1.0, 1.0], {}, "low = 1.0, high = 1.0"), ([0.5], {"low": 0.6, "high": 1}, "0.5"),
     ([2.0], {"low": 0, "high": 1}, "2.0"), ([0.5], {"low": 0, "high": np.inf}, "high = inf"), ([], {}, "shape")],
)  # fmt: skip
def test_thirds_refuses(values: list[float], ends: dict[str, float], words: str) -> None:
    for function in (thirds, lambda v, **e: emptier_middle(v, **UNIT, **e)):
        with pytest.raises(StatisticsError, match=words):
            function(values, **ends)


def test_emptier_middle_by_hand() -> None:
    lower, upper = emptier_middle([0.0] * 12 + [0.5] * 2 + [1.0] * 6, **UNIT)
    assert (lower.value, upper.value) == pytest.approx((0.5, 0.2)) and lower.n == 20
    lower, upper = emptier_middle([0.1] * 5, **UNIT, low=0, high=1)
    assert (lower.low, lower.high, upper.low, upper.high) == pytest.approx((0.8, 1.2, -0.2, 0.2))


def point_mass_and_tail(rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(32) < 0.5, 0, rng.exponential(size=32))


ONE_MODE: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "uniform": lambda rng: rng.random(32),
    "normal": lambda rng: rng.normal(size=32),
    "exponential": lambda rng: rng.exponential(size=32),
    "point mass and tail": point_mass_and_tail,
    "point mass and uniform": lambda rng: np.where(rng.random(32) < 0.5, 0, rng.random(32)),  # just one mode
}


def refuted(values: np.ndarray) -> bool:
    shares = np.bincount(thirds(values), minlength=3)
    if shares[1] >= min(shares[0], shares[2]):  # an interval holds its mean: one low end is not above 0
        return False
    return all(estimate.low > 0 for estimate in emptier_middle(values, **UNIT))


@pytest.mark.parametrize("name", ONE_MODE)
def test_one_mode_is_rarely_refuted(name: str) -> None:
    rng = generator(5)
    assert np.mean([refuted(ONE_MODE[name](rng)) for _ in range(300)]) <= 0.05


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_two_modes_are_nearly_always_refuted(share: float) -> None:
    rng = generator(6)
    draws = [np.where(rng.random(32) < share, 0, 1) + rng.normal(0, 0.08, 32) for _ in range(60)]
    assert np.mean([refuted(draw) for draw in draws]) >= 0.95


# --- bootstrap ---


def mean_difference(samples: list[np.ndarray]) -> np.ndarray:
    return samples[1].mean(axis=1) - samples[0].mean(axis=1)


def distances(samples: list[np.ndarray]) -> np.ndarray:
    return wasserstein2_rows(*samples)


@pytest.mark.parametrize("method", ["percentile", "basic"])
def test_bootstrap_is_scipys(method: str) -> None:
    a, b = generator(1).exponential(size=30), generator(2).exponential(size=40)
    oracle = stats.bootstrap((a, b), lambda x, y, axis: y.mean(axis) - x.mean(axis), n_resamples=99_999,
                             method=method, rng=3).confidence_interval  # fmt: skip
    estimate = bootstrap([a, b], mean_difference, **UNIT, method=method)
    assert (estimate.value, estimate.n) == (pytest.approx(b.mean() - a.mean()), 70)
    assert (estimate.low, estimate.high) == pytest.approx((oracle.low, oracle.high), abs=0.03)
    assert estimate.method == f"{method} bootstrap of runs"


@pytest.mark.parametrize("method", ["percentile", "basic"])
def test_bootstrap_covers(method: str) -> None:
    rng, hits = generator(7), 0
    for _ in range(400):
        groups = [rng.exponential(size=32), 1 + rng.exponential(size=24)]
        estimate = bootstrap(groups, mean_difference, unit="training run", level=0.9, method=method, draws=399)
        hits += estimate.low <= 1 <= estimate.high
    assert 0.85 <= hits / 400 <= 0.94


def test_basic_corrects_the_upward_bias_of_a_distance() -> None:
    rng, above = generator(8), {"percentile": 0, "basic": 0}
    for _ in range(100):
        groups = [rng.normal(size=32), 0.25 + rng.normal(size=32)]
        for method in above:
            above[method] += bootstrap(groups, distances, **UNIT, method=method, draws=199).low > 0.25
    assert above["percentile"] > 50 and above["basic"] < 15


def test_rows_of_a_group_stay_together() -> None:
    runs = generator(9).normal(size=(25, 1)) + [0, 1, 3]  # the differences between columns are the same in every run
    paired = bootstrap([runs], lambda samples: (samples[0][..., 2] - samples[0][..., 0]).mean(axis=1), **UNIT,
                       resolution=0.01)  # fmt: skip
    assert (paired.low, paired.value, paired.high, paired.n) == pytest.approx((2.99, 3, 3.01, 25))
    apart = bootstrap([runs[:, 0], runs[:, 2]], mean_difference, **UNIT)
    assert apart.high - apart.low > 0.5 and apart.n == 50


def test_bootstrap_is_a_function_of_the_data_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [generator(k).normal(size=21) for k in (1, 2)]
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    estimate = bootstrap(groups, mean_difference, **UNIT)
    assert estimate == bootstrap(groups, mean_difference, **UNIT)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]
    monkeypatch.setattr(distributions, "_BLOCK", 42 * 500)  # in four blocks: other draws, all 1999 of them
    sizes: list[int] = []
    bootstrap(groups, lambda samples: [sizes.append(len(samples[1])), mean_difference(samples)][1], **UNIT)  # type: ignore
    assert sizes == [1, 500, 500, 500, 499]


def test_an_interval_of_no_width_is_widened() -> None:
    estimate = bootstrap([np.full(20, 0.3)], lambda samples: samples[0].mean(axis=1), **UNIT, resolution=0.1)
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((0.2, 0.3, 0.4))
    assert "identical" in estimate.method
    outlier = np.array([1.0] + [0.0] * 31)  # the median of nearly every resample is 0
    estimate = bootstrap([outlier], lambda samples: np.median(samples[0], axis=1), **UNIT, resolution=0.1)
    assert (estimate.low, estimate.high) == pytest.approx((-0.1, 0.1))


def test_resamples_without_a_value_count_as_beyond_both_ends() -> None:
    values = generator(3).normal(size=30)

    def holed(samples: list[np.ndarray], lost: int) -> np.ndarray:
        means = samples[0].mean(axis=1)
        return np.where(np.arange(len(means)) < lost, np.nan, means) if len(means) > 1 else means

    whole = bootstrap([values], lambda samples: holed(samples, 0), **UNIT)
    some = bootstrap([values], lambda samples: holed(samples, 20), **UNIT)
    assert some.low < whole.low < whole.high < some.high
    with pytest.raises(StatisticsError, match="in 60 of 1999"):
        bootstrap([values], lambda samples: holed(samples, 60), **UNIT)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"groups": []}, "empty"), ({"groups": [np.ones(19)]}, r"groups\[0\] has 19 runs"), ({"level": 0.4}, "level"),
        ({"groups": [np.ones(20), np.full(20, np.nan)]}, r"groups\[1\]"), ({"groups": [1.0]}, "shape"),
        ({"unit": "seed"}, "unit = 'seed'"), ({"resolution": -1.0}, "resolution"),
        ({"method": "BCa"}, "percentile, basic"), ({"draws": 39}, "at least 40"), ({"draws": 99.0}, "draws = 99.0"),
        ({"statistic": lambda s: s[0]}, "shape"),
        ({"statistic": lambda s: np.full(len(s[0]), np.nan)}, "nan for the data"),
    ],
)  # fmt: skip
def test_bootstrap_refuses(arguments: dict[str, Any], words: str) -> None:
    good = {"groups": [np.arange(20.0)], "statistic": lambda samples: samples[0].mean(axis=1), **UNIT}
    assert bootstrap(**good, draws=40).value == 9.5
    with pytest.raises(StatisticsError, match=words):
        bootstrap(**{**good, **arguments})
