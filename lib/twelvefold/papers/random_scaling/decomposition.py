"""The mean score of a scale as a mixture of successes and failures, and how its parts change from scale to scale.

E[score] = P(success) E[score | success] + (1 - P(success)) E[score | failure] (the paper's figure 3). The step and
slope statistics take resamples of all scales at once, as `core.distributions.bootstrap` hands them over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from twelvefold.core.distributions import mode_of, modes_of_rows
from twelvefold.core.statistics import vector

SUCCESS = 0.2  # a run succeeds with an exact match above this share (the paper's threshold)


class Decomposition(NamedTuple):
    """P(success), the means of successful and of failed runs (NaN where there are none), the mean and the mode."""

    p: float
    success_mean: float
    failure_mean: float
    mean: float
    mode: float


def _scores(scores: ArrayLike) -> np.ndarray:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] == 0 or not np.isfinite(array).all():
        raise ValueError(f"scores has the shape {array.shape}; finite scores [..., R] of at least one run are needed")
    return array


def _mean_where(scores: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    count = chosen.sum(axis=-1)
    total = np.where(chosen, scores, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def success_probability(scores: ArrayLike) -> np.ndarray:
    """Share of the runs with a score above `SUCCESS`: `[..., R]` -> `[...]`.

    Raises:
        ValueError: no run, or a score that is not finite.
    """
    return (_scores(scores) > SUCCESS).mean(axis=-1)


def mean_of_successes(scores: ArrayLike) -> np.ndarray:
    """Mean score of the runs above `SUCCESS`: `[..., R]` -> `[...]`, NaN where no run succeeds.

    Raises:
        ValueError: no run, or a score that is not finite.
    """
    array = _scores(scores)
    return _mean_where(array, array > SUCCESS)


def decomposition(scores: ArrayLike) -> Decomposition:
    """Decompose the mean score of the runs of one scale, `[R]` from 0 to 1.

    mean = p * success_mean + (1 - p) * failure_mean, where a term of weight 0 counts 0.

    Raises:
        ValueError: no run, or a score that is not finite or outside 0 to 1.
    """
    array = vector("scores", scores)
    succeeds = array > SUCCESS
    success_mean, failure_mean = (float(_mean_where(array, chosen)) for chosen in (succeeds, ~succeeds))
    return Decomposition(float(succeeds.mean()), success_mean, failure_mean, float(array.mean()), mode_of(array))


def _scales(groups: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Resamples as one array `[B, R_k]` per scale; runs paired over scales come as one array `[B, R, m]`."""
    arrays = [np.asarray(group, dtype=np.float64) for group in groups]
    if len(arrays) == 1 and arrays[0].ndim == 3:
        arrays = list(np.moveaxis(arrays[0], -1, 0))
    shapes = [array.shape for array in arrays]
    if len(arrays) < 2 or any(len(shape) != 2 for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"groups has the shapes {shapes}; [B, R_k] for each of at least 2 scales, or one array "
                         "[B, R, m] of paired runs, is needed")  # fmt: skip
    return arrays


def _largest_step(values: Sequence[np.ndarray]) -> np.ndarray:
    return np.abs(np.diff(np.stack(values, axis=-1), axis=-1)).max(axis=-1)


def largest_mode_step(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Largest |difference| of the mode between adjacent scales, `[B]`.

    Args:
        groups: scores of B resamples in the order of the scales: `[B, R_k]` for each, or one array `[B, R, m]`.

    Raises:
        ValueError: other shapes, fewer than two scales, or scores outside 0 to 1.
    """
    return _largest_step([modes_of_rows(scores) for scores in _scales(groups)])


def largest_probability_step(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Largest |difference| of P(success) between adjacent scales, `[B]`.

    Arguments and errors as `largest_mode_step`; scores may have any range.
    """
    return _largest_step([success_probability(scores) for scores in _scales(groups)])


def _slope(values: Sequence[np.ndarray]) -> np.ndarray:
    y = np.stack(values, axis=-1)  # [B, m]
    known = np.isfinite(y)
    number = np.arange(y.shape[-1])
    centre = (known * number).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    x = known * (number - centre[:, None])
    # least squares: sum (x - mean x) y / sum (x - mean x)^2 over the scales with a value
    squares = (x**2).sum(axis=-1)
    return np.divide((x * np.where(known, y, 0.0)).sum(axis=-1), squares, out=np.full(len(y), np.nan),
                     where=squares > 0)  # fmt: skip


def slope_of_probability(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Least-squares slope of P(success) per scale, against the scale's number 0 ... m - 1, `[B]`.

    Arguments and errors as `largest_mode_step`; scores may have any range.
    """
    return _slope([success_probability(scores) for scores in _scales(groups)])


def slope_of_success_mean(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Least-squares slope of the mean of successes per scale, against the scale's number 0 ... m - 1, `[B]`.

    Scales without a success in a resample are left out of it; NaN where fewer than two are left. Arguments and errors
    as `largest_mode_step`; scores may have any range.
    """
    return _slope([mean_of_successes(scores) for scores in _scales(groups)])
