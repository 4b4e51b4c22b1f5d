"""How far the shapes of scaling curves lie apart: curves of single runs against curves of averages of runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from twelvefold.core.seeds import numpy_generator
from twelvefold.papers.random_scaling.scaling_curves import PAIRINGS, breakthroughness, improvement, linearity

CURVES = 400  # averaged curves: the percentiles of their shapes are then known to a few per cent
ENDS = (0.1, 0.9)  # percentiles between which a spread is measured
FEW, MANY = 3, 16  # runs behind an average: as in usual practice, and as in the claims
LOW_CLIP = 10.0  # B again with another bound, which says how much hangs on the one that is used
_SEED = 20_250_224  # fixed: the statistics of a study are pure functions of its rows
Shape = Callable[[np.ndarray], np.ndarray]  # from curves [..., m] to one number per curve [...]
SHAPES: dict[str, Shape] = {
    "B": breakthroughness, "L": linearity, "B_clipped": partial(breakthroughness, clip=LOW_CLIP),
}  # fmt: skip


def averaged_curves(
    scores: ArrayLike, of: int, pairing: str = "same", draws: int = CURVES, seed: int = _SEED
) -> np.ndarray:
    """Scaling curves of averages of `of` runs that are drawn WITH replacement.

    An average of `of` fresh runs is wanted. Drawn without replacement from R runs it would vary less than that, by the
    factor 1 - of / R in its variance (16 of 24 runs: one third); with replacement by 1 - 1 / R.

    Args:
        scores: `[..., R, m]`, replicates paired over scales.
        of: runs behind an average, at least 1.
        pairing: "same" (an average takes the same replicates at every scale) or "independent" (others at each).
        draws: number of curves D.
        seed: of the draws, which are the same for all leading dimensions.

    Returns:
        Curves `[..., D, m]`.

    Raises:
        ValueError: no run or fewer than two scales, of or draws below 1, or an unknown pairing.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim < 2 or array.size == 0 or array.shape[-1] < 2:
        raise ValueError(f"scores has the shape {array.shape}; [..., R, m] with m >= 2 scales is needed")
    for name, value in (("of", of), ("draws", draws)):
        if value < 1:
            raise ValueError(f"{name} = {value!r}; a whole number of at least 1 is needed")
    if pairing not in PAIRINGS:
        raise ValueError(f"pairing = {pairing!r}; accepted are {', '.join(PAIRINGS)}")
    runs, scales = array.shape[-2:]
    drawn = 1 if pairing == "same" else scales
    weights = numpy_generator(seed, 0, "averaged curves").multinomial(of, np.full(runs, 1 / runs), (drawn, draws)) / of
    # at scale k: [..., R] @ [R, D], the weights of replicate r in average d
    return np.stack([array[..., k] @ weights[k % drawn].T for k in range(scales)], axis=-1)


def spread(curves: np.ndarray, shape: Shape) -> np.ndarray:
    """90th minus 10th percentile of the shape of curves `[..., curves, m]` -> `[...]`."""
    low, high = np.quantile(shape(curves), ENDS, axis=-1)
    return high - low


def spread_difference(
    scores: np.ndarray, shape: Shape, more: int = MANY, fewer: int = 1, pairing: str = "same"
) -> np.ndarray:
    """Spread over curves of averages of `fewer` runs minus spread over curves of averages of `more` runs.

    Args:
        scores: `[..., R, m]`, replicates paired over scales.
        shape: `breakthroughness` or `linearity`, or another number of a curve.
        more, fewer: runs behind an average; 1 with pairing "same" stands for all R single-run curves.
        pairing: as in `averaged_curves`.

    Returns:
        `[...]`.
    """
    single = fewer == 1 and pairing == "same"
    first = scores if single else averaged_curves(scores, fewer, pairing)
    return spread(first, shape) - spread(averaged_curves(scores, more, pairing), shape)


def luckiest(curves: np.ndarray, shape: Shape) -> int:
    """Number of the curve `[n, m]` with the largest shape; of equal ones that with the largest improvement.

    Curves at the bound of B are equal in B, so that ties are common; of curves that tie in both, the first.
    """
    values, gains = shape(curves).round(9), improvement(curves).round(9)  # a rounding error breaks no tie
    return int(np.lexsort((-gains, -values))[0])
