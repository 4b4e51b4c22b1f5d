"""Scaling curves drawn from populations of runs, and two scores of their shape: breakthroughness and linearity.

The scores are those of BIG-bench (Srivastava et al. 2022, arXiv 2206.04615), which the paper uses to rank the curves of
single seeds. With y_1 ... y_m the scores at rising scales and d_i = y_{i+1} - y_i:

    I = sign(argmax y - argmin y) (max y - min y),   L = I / sqrt(mean d_i^2),   B = I / sqrt(median d_i^2).

With three scales B equals L, since the median of two squares is their mean: at least four scales tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike

from twelvefold.core.seeds import numpy_generator
from twelvefold.core.statistics import vector

CLIP = 100.0  # B is unbounded where more than half of the steps are 0
PAIRINGS = ("same", "independent")
_ROUNDING = 1e-12  # a smaller range, relative to the largest value, is a constant curve


def _curves(curves: ArrayLike) -> np.ndarray:
    array = np.asarray(curves, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] < 2 or not np.isfinite(array).all():
        raise ValueError(f"curves has the shape {array.shape}; finite scores [..., m] at m >= 2 scales are needed")
    return array


def improvement(curves: ArrayLike) -> np.ndarray:
    """Signed improvement I of each curve, `[..., m]` -> `[...]`: the range, negative where the maximum comes first.

    Of several equal extremes the first one counts. A constant curve has I = 0.

    Raises:
        ValueError: fewer than two scales, or a score that is not finite.
    """
    y = _curves(curves)
    size = np.ptp(y, axis=-1)
    size = np.where(size <= _ROUNDING * np.maximum(1.0, np.abs(y).max(axis=-1)), 0.0, size)
    return np.asarray(np.sign(y.argmax(axis=-1) - y.argmin(axis=-1)) * size)


def linearity(curves: ArrayLike) -> np.ndarray:
    """Linearity L = I / sqrt(mean d^2) of each curve, `[..., m]` -> `[...]`; 0 for a constant curve.

    |L| <= m - 1, reached by a straight line only. Errors as `improvement`.
    """
    gain = improvement(curves)
    step = np.sqrt((np.diff(_curves(curves), axis=-1) ** 2).mean(axis=-1))
    return np.divide(gain, step, out=np.zeros_like(gain), where=gain != 0)


def breakthroughness(curves: ArrayLike, clip: float = CLIP) -> np.ndarray:
    """Breakthroughness B = I / sqrt(median d^2) of each curve, `[..., m]` -> `[...]`, between -clip and clip.

    Large where one step makes the improvement; 0 for a constant curve. With three scales it equals `linearity`.

    Args:
        curves: scores at rising scales.
        clip: the largest |B|, above 0; taken where more than half of the steps are 0.

    Raises:
        ValueError: as `improvement`, and a clip that is not above 0.
    """
    if not clip > 0:
        raise ValueError(f"clip = {clip!r}; a number above 0 is needed")
    gain = improvement(curves)
    step = np.sqrt(np.median(np.diff(_curves(curves), axis=-1) ** 2, axis=-1))
    # |I| <= clip * step without a division: the median step can be 0
    return np.divide(gain, step, out=np.asarray(np.sign(gain) * clip), where=np.abs(gain) < clip * step)


def _scales(scores: Sequence[ArrayLike] | np.ndarray) -> list[np.ndarray]:
    scales = [vector(f"scores[{k}]", runs) for k, runs in enumerate(scores)]
    if len(scales) < 2:
        raise ValueError(f"scores holds {len(scales)} scale(s); at least 2 are needed for a curve")
    return scales


def _check_count(name: str, value: int, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1 or (most is not None and value > most):
        accepted = "at least 1" if most is None else f"from 1 to {most}"
        raise ValueError(f"{name} = {value!r}; a whole number {accepted} is needed")


def random_curves(
    scores: Sequence[ArrayLike] | np.ndarray, seed: int, draws: int, pairing: str = "same"
) -> np.ndarray:
    """Scaling curves of single runs: one run per scale.

    Pairing "same" joins the runs of one replicate number, all R of them (seed and draws play no part); "independent"
    draws a run of each scale at random. Networks of different size share no initial weights: either is arbitrary.

    Args:
        scores: one vector `[R_k]` per scale, or `[m, R]`.
        seed: base seed of the draws.
        draws: number of independently drawn curves.
        pairing: "same" or "independent".

    Returns:
        Curves `[R, m]` or `[draws, m]`.

    Raises:
        ValueError: fewer than two scales, a score that is not finite, an unknown pairing, unequal numbers of runs for
            "same", or draws below 1.
    """
    scales = _scales(scores)
    if pairing not in PAIRINGS:
        raise ValueError(f"pairing = {pairing!r}; accepted are {', '.join(PAIRINGS)}")
    _check_count("draws", draws)
    if pairing == "same":
        if len({runs.size for runs in scales}) > 1:
            sizes = [runs.size for runs in scales]
            raise ValueError(f"scores has {sizes} runs a scale; pairing 'same' needs equally many")
        return np.stack(scales, axis=1)
    generator = numpy_generator(seed, 0, "independent scaling curves")
    return np.stack([runs[generator.integers(runs.size, size=draws)] for runs in scales], axis=1)


def mean_curves(
    scores: Sequence[ArrayLike] | np.ndarray, of: int = 16, *, draws: int, seed: int
) -> np.ndarray:
    """Scaling curves of means: at each scale the mean of `of` runs drawn without replacement.

    Args:
        scores: one vector `[R_k]` per scale, or `[m, R]`.
        of: runs behind a mean, at most the runs of any scale.
        draws: number of curves.
        seed: base seed of the draws.

    Returns:
        Curves `[draws, m]`.

    Raises:
        ValueError: fewer than two scales, a score that is not finite, draws below 1, or `of` outside its range.
    """
    scales = _scales(scores)
    _check_count("of", of, most=min(runs.size for runs in scales))
    _check_count("draws", draws)
    generator = numpy_generator(seed, 0, "scaling curves of means")
    # the positions of the smallest of R independent uniforms are a draw without replacement
    chosen = [generator.random((draws, runs.size)).argsort(axis=1)[:, :of] for runs in scales]
    return np.stack([runs[rows].mean(axis=1) for runs, rows in zip(scales, chosen, strict=True)], axis=1)
