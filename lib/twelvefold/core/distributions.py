"""How a score is distributed over runs: modes, distances between samples, tests of one mode, a general bootstrap.

Beside `statistics` and `comparisons`, which know means, shares and correlations. Everything is a pure function of the
data: the generators have fixed seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from .claims import Estimate
from .statistics import BCA_FROM, StatisticsError, check_resolution, check_unit_level, mean, vector

METHODS = ("percentile", "basic")
Statistic = Callable[[list[np.ndarray]], np.ndarray]
_SEED = 20_250_224
_KERNEL_ROWS = 8_192  # distinct values whose kernels are held at once, 13 MB at 201 grid points
_BLOCK = 2_000_000  # resampled numbers held at once, 16 MB
_TIE = 1e-9  # peaks whose heights differ relatively by less are equally high: sums of kernels round


class Dip(NamedTuple):
    """The dip statistic of a sample (0 to 1/4) and its p-value against one mode."""

    statistic: float
    p_value: float


def dip_test(values: ArrayLike) -> Dip:
    """Test a sample `[n]`, n >= 4, against one mode with the dip of Hartigan and Hartigan (1985), by `diptest`.

    Identical values have the dip 0 and the p-value 1. A point mass with a thin tail is one mode for this test.

    Raises:
        StatisticsError: fewer than 4 values, or one that is not finite.
    """
    from diptest import diptest  # optional: the other functions work without it

    sample = vector("values", values)
    if sample.size < 4:
        raise StatisticsError(f"values has {sample.size} number(s); the dip test needs at least 4.")
    statistic, p_value = diptest(sample)
    return Dip(float(statistic), float(p_value))


def _check_ends(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise StatisticsError(f"low = {low!r}, high = {high!r}; two finite numbers with low < high are needed.")


def _check_grid(low: float, high: float, bandwidth: float, grid: int) -> None:
    _check_ends(low, high)
    if not 0 < bandwidth <= (high - low) / 8:  # so that images beyond the first reflection weigh less than exp(-32)
        raise StatisticsError(f"bandwidth = {bandwidth!r}; above 0 and at most (high - low) / 8 is accepted.")
    if isinstance(grid, bool) or not isinstance(grid, Integral) or (grid - 1) * bandwidth < high - low:
        raise StatisticsError(f"grid = {grid!r}; a whole number of points no further apart than the bandwidth "
                              f"{bandwidth!r} is needed.")  # fmt: skip


def _check_range(name: str, values: np.ndarray, low: float, high: float) -> None:
    outside = values[~((values >= low) & (values <= high))]  # NaN is outside, too
    if outside.size:
        raise StatisticsError(f"{name} holds {float(outside[0])!r}; values from low = {low!r} to high = {high!r} "
                              "are accepted.")  # fmt: skip


def _densities(rows: np.ndarray, points: np.ndarray, bandwidth: float) -> Iterator[np.ndarray]:
    # resamples repeat their values: one kernel per distinct value, summed by a sparse product, in blocks of rows
    low, high, n = points[0], points[-1], rows.shape[1]
    block = max(1, _KERNEL_ROWS // n)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        distinct, index = np.unique(part.ravel(), return_inverse=True)
        images = (distinct, 2 * low - distinct, 2 * high - distinct)  # the sample and its reflections at both ends
        kernel = sum(np.exp(-0.5 * ((image[:, None] - points) / bandwidth) ** 2) for image in images)  # [U, G]
        ends = np.arange(0, part.size + 1, n)
        counts = sparse.csr_matrix((np.ones(part.size), index.ravel(), ends), (len(part), distinct.size))  # [b, U]
        yield counts @ kernel / (n * bandwidth * math.sqrt(2 * math.pi))  # [b, G]


def density_of(
    values: ArrayLike, low: float = 0.0, high: float = 1.0, bandwidth: float = 0.05, grid: int = 201
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the density of a sample on [low, high] with Gaussian kernels that are reflected at both ends.

    Args:
        values: the sample, `[n]`, n >= 1.
        low, high: ends of the range of the score.
        bandwidth: standard deviation of a kernel, in units of the values, at most (high - low) / 8.
        grid: number of equally spaced points G.

    Returns:
        The points `[G]` and the density there `[G]`; it integrates to 1 over [low, high].

    Raises:
        StatisticsError: a value outside [low, high], low >= high, a bandwidth or a grid that is too coarse.
    """
    sample = vector("values", values)
    _check_grid(low, high, bandwidth, grid)
    _check_range("values", sample, low, high)
    points = np.linspace(low, high, grid)
    return points, next(_densities(sample[None], points, bandwidth))[0]


def modes_of_rows(
    values: ArrayLike, low: float = 0.0, high: float = 1.0, bandwidth: float = 0.05, grid: int = 201
) -> np.ndarray:
    """Locate the mode of each of B samples of n values: `[B, n]` -> `[B]`; otherwise as `mode_of`."""
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.size == 0:
        raise StatisticsError(f"values has the shape {rows.shape}; [B, n] with at least one value is needed.")
    _check_grid(low, high, bandwidth, grid)
    _check_range("values", rows, low, high)
    points = np.linspace(low, high, grid)
    peaks = [(d >= (1 - _TIE) * d.max(axis=1, keepdims=True)).argmax(axis=1)
             for d in _densities(rows, points, bandwidth)]  # fmt: skip
    return points[np.concatenate(peaks)]


def mode_of(
    values: ArrayLike, low: float = 0.0, high: float = 1.0, bandwidth: float = 0.05, grid: int = 201
) -> float:
    """Locate the mode of a sample `[n]`: the grid point where `density_of` is highest, the lowest of equal ones.

    A point mass at an end of the range stands twice as high as the same mass inside, since no kernel leaves the range.
    Arguments and errors as `density_of`.
    """
    return float(modes_of_rows(vector("values", values)[None], low, high, bandwidth, grid)[0])


def wasserstein2_rows(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Compute the 2-Wasserstein distance of N pairs of one-dimensional samples, exactly.

    W2^2 is the integral of (F_a^-1(t) - F_b^-1(t))^2 over t in [0, 1]; both quantile functions are constant between
    the levels i/n and j/m. The distance of two samples of one distribution is positive, about n^(-1/2): compare with
    `permutation_null` (distance between adjacent scales: Zhao et al. 2025, arXiv 2502.17356).

    Args:
        a, b: samples `[N, n]` and `[N, m]`, in any order within a row.

    Returns:
        Distances `[N]` in units of the values.

    Raises:
        StatisticsError: not two matrices with equally many rows, an empty sample, or a value that is not finite.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second) or 0 in (first.size, second.size):
        raise StatisticsError(f"a and b have the shapes {first.shape} and {second.shape}; [N, n] and [N, m] with at "
                              "least one value a row are needed.")  # fmt: skip
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise StatisticsError("a or b holds a value that is not finite.")
    n, m = first.shape[1], second.shape[1]
    levels = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # in units of 1 / (n m): whole numbers, no rounding
    width, start = np.diff(levels) / (n * m), levels[:-1]
    # `take` lays rows out one after the other, so a row's sum has the same rounding whatever N is
    gaps = np.sort(first, axis=1).take(start // m, axis=1) - np.sort(second, axis=1).take(start // n, axis=1)
    return np.sqrt((width * gaps**2).sum(axis=1))


def wasserstein2(a: ArrayLike, b: ArrayLike) -> float:
    """Compute the 2-Wasserstein distance of two samples `[n]` and `[m]`; see `wasserstein2_rows`.

    For n = m it is sqrt(mean_i (a_(i) - b_(i))^2) of the sorted samples.
    """
    return float(wasserstein2_rows(vector("a", a)[None], vector("b", b)[None])[0])


def permutation_null(a: ArrayLike, b: ArrayLike, draws: int = 1000, seed: int = _SEED) -> np.ndarray:
    """Distances `[draws]` W2 of two samples of n and m values drawn from the pooled runs without replacement.

    The distribution of the distance if both samples come from one distribution; it needs independent runs.

    Args:
        a, b: one value per run, `[n]` and `[m]`; their order does not matter.
        draws: number of permutations, at least 1.
        seed: of the generator.

    Raises:
        StatisticsError: an empty sample, a value that is not finite, or draws below 1.
    """
    first, second = vector("a", a), vector("b", b)
    _check_draws(draws, 1)
    pool = np.sort(np.concatenate([first, second]))
    rows = np.random.default_rng(seed).permuted(np.tile(pool, (draws, 1)), axis=1)
    return wasserstein2_rows(rows[:, : first.size], rows[:, first.size :])


def thirds(values: ArrayLike, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Say which third of [low, high] holds each value: `[n]` -> whole numbers `[n]` 0, 1 or 2.

    A boundary belongs to the third above it, `high` to the last one. low and high default to the smallest and the
    largest value.

    Raises:
        StatisticsError: a value outside [low, high], or low >= high (also by default, for identical values).
    """
    sample = vector("values", values)
    low, high = float(sample.min() if low is None else low), float(sample.max() if high is None else high)
    _check_ends(low, high)
    _check_range("values", sample, low, high)
    return np.minimum((3 * (sample - low) / (high - low)).astype(np.int64), 2)


def emptier_middle(
    values: ArrayLike, *, unit: str, level: float, low: float | None = None, high: float | None = None
) -> tuple[Estimate, Estimate]:
    """Estimate by how much the lower and the upper third of [low, high] hold more runs than the middle third.

    A density with one mode rises up to the mode and falls after it, so in one outer third, on a side away from the
    mode, it is nowhere higher than anywhere in the middle third. Of three equal parts the middle one therefore cannot
    hold less than BOTH others, also where the mode is a point mass at an end. Two positive differences refute one mode.

    Args:
        values: one value per run, `[n]`, n >= 2.
        unit, level: as in `statistics.mean`.
        low, high: the interval to cut, by default the smallest and the largest value.

    Returns:
        Lower minus middle share and upper minus middle share: means over runs of 1[outer] - 1[middle].

    Raises:
        StatisticsError: as `thirds` and `statistics.mean`.
    """
    third = thirds(values, low, high)
    middle, resolution = (third == 1).astype(float), 1 / third.size
    lower, upper = (mean((third == outer) - middle, unit=unit, level=level, resolution=resolution) for outer in (0, 2))
    return lower, upper


def _check_draws(draws: int, least: int) -> None:
    if isinstance(draws, bool) or not isinstance(draws, Integral) or draws < least:
        raise StatisticsError(f"draws = {draws!r}; a whole number, at least {least}, is needed.")


def _group(name: str, values: ArrayLike) -> np.ndarray:
    group = np.asarray(values, dtype=np.float64)
    if group.ndim == 0 or group.size == 0 or not np.isfinite(group).all():
        raise StatisticsError(f"{name} has the shape {group.shape}; finite values [R, ...], a row per run, are needed.")
    if len(group) < BCA_FROM:
        raise StatisticsError(f"{name} has {len(group)} runs; at least {BCA_FROM} are needed (with fewer, bootstrap "
                              "intervals cover too rarely); decide(id, None) says not tested.")  # fmt: skip
    return group


def _values_of(statistic: Statistic, samples: list[np.ndarray]) -> np.ndarray:
    values, size = np.asarray(statistic(samples), dtype=np.float64), len(samples[0])
    if values.shape != (size,):
        raise StatisticsError(f"statistic returned the shape {values.shape} for {size} samples; [B] is needed.")
    return values


def _resampled(groups: list[np.ndarray], statistic: Statistic, draws: int) -> np.ndarray:
    generator = np.random.default_rng(_SEED)
    block, values = max(1, _BLOCK // sum(group.size for group in groups)), []
    for start in range(0, draws, block):
        shape = min(block, draws - start)
        samples = [group[generator.integers(len(group), size=(shape, len(group)))] for group in groups]
        values.append(_values_of(statistic, samples))
    return np.concatenate(values)


def _ends(values: np.ndarray, level: float) -> tuple[float, float]:
    # a resample without a value may lie anywhere, so it counts as beyond either end; order statistics, no interpolation
    known = np.isfinite(values)
    low = float(np.quantile(np.where(known, values, -np.inf), (1 - level) / 2, method="lower"))
    high = float(np.quantile(np.where(known, values, np.inf), (1 + level) / 2, method="higher"))
    if not math.isfinite(high - low):
        raise StatisticsError(f"statistic has no finite value in {int((~known).sum())} of {values.size} resamples, "
                              f"too many for an interval at level {level!r}; decide(id, None) says not tested.")
    return low, high


def bootstrap(
    groups: Sequence[ArrayLike], statistic: Statistic, *, unit: str, level: float, resolution: float = 0.0,
    method: str = "percentile", draws: int = 1999,
) -> Estimate:  # fmt: skip
    """Estimate a statistic of groups of runs, with an interval from resampling the runs of each group.

    Args:
        groups: independent groups, each `[R_k, ...]` with R_k >= 20 runs. The rows of `[R, K]` stay together, so runs
            that share a seed over K scales are ONE group.
        statistic: from one array `[B, R_k, ...]` per group to `[B]`: a value per resample.
        unit, level, resolution: as in `statistics.mean`; an interval of no width is widened by the resolution.
        method: "percentile", or "basic", [2 t - q_high, 2 t - q_low] around the value t with the quantiles q of the
            resamples, which corrects the upward bias of distances. Neither decides whether a distance is above 0:
            "basic" at level 0.95 says so in a quarter of the samples of equal distributions; see `permutation_null`.
        draws: number of resamples.

    Returns:
        The estimate; n counts the runs of all groups.

    Raises:
        StatisticsError: no group, fewer than 20 runs in one, an unknown method, too few draws for the level, or a
            statistic without a value for the data or for too many resamples.
    """
    check_unit_level(unit, level)
    check_resolution(resolution)
    if method not in METHODS:
        raise StatisticsError(f"method = {method!r}; accepted are {', '.join(METHODS)}.")
    _check_draws(draws, math.ceil(2 / (1 - level) - 1e-6))  # at least one resample is expected beyond either end
    runs = [_group(f"groups[{index}]", group) for index, group in enumerate(groups)]
    if not runs:
        raise StatisticsError("groups is empty; at least one group of runs is needed.")
    value = float(_values_of(statistic, [group[None] for group in runs])[0])
    if not math.isfinite(value):
        raise StatisticsError(f"statistic is {value!r} for the data; decide(id, None) says not tested.")
    low, high = _ends(_resampled(runs, statistic, draws), level)
    how = f"{method} bootstrap of runs"
    if high - low <= 1e-12 * max(1.0, abs(value)):
        low, high = min(low, value) - resolution, max(high, value) + resolution
        how = "identical values, widened by the resolution"
    elif method == "basic":
        low, high = 2 * value - high, 2 * value - low
    return Estimate(value, low, high, level, sum(len(group) for group in runs), unit, how)
