"""The mirage: populations of runs without two solutions, whose scaling curve is sharp because a product is scored.

Schaeffer, Miranda and Koyejo (2023, arXiv 2304.15004) explain sharp curves by the metric: a run with the accuracy a
per token gets all n tokens of an answer right with the probability a^n, which rises steeply where a rises smoothly.
Here a varies over runs with ONE mode. What becomes of it under the power:

- a ~ Beta(alpha, beta) with beta >= 1 gives an exact match a^n with one mode: the slope of its log density against
  log a, alpha - n - (beta - 1) a / (1 - a), falls in a, so it changes its sign at most once.
- The sequence loss is -n log a, n times the loss of a token: a change of unit, which cannot make a mode.
- A peak of a with a broad shelf below it has one mode, too, but a^n presses the shelf against 0: the counterexample.
"""

from __future__ import annotations

from functools import lru_cache
from numbers import Integral

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betaln

from twelvefold.core.distributions import emptier_middle, thirds
from twelvefold.core.seeds import numpy_generator
from twelvefold.core.statistics import vector

ONE_PEAK, SHELF = "one peak", "peak on a shelf"
FAMILIES = (ONE_PEAK, SHELF)
UNIT = "simulated replicate"
CONCENTRATIONS = 5.0, 500.0  # of simulated populations: from runs that differ widely to runs that are almost alike
SHELF_SHARE = 0.5  # of the runs of a population with a shelf
_EDGE = 1e-9  # accuracies keep this distance from 0 and 1


def _check(mode: float, concentration: float) -> None:
    if not 0 <= mode <= 1:
        raise ValueError(f"mode = {mode!r}; a number from 0 to 1 is needed")
    if not 2 < concentration < np.inf:
        raise ValueError(f"concentration = {concentration!r}; a finite number above 2 is needed (2 is uniform)")


def _check_tokens(tokens: int) -> None:
    if isinstance(tokens, bool) or not isinstance(tokens, Integral) or tokens < 1:
        raise ValueError(f"tokens = {tokens!r}; a whole number of at least 1 is needed")


def _shape(mode: float, concentration: float) -> tuple[float, float]:
    """alpha and beta, both at least 1, of the Beta distribution with this mode and alpha + beta = concentration."""
    return mode * (concentration - 2) + 1, (1 - mode) * (concentration - 2) + 1


def token_accuracies(
    mode: float, concentration: float, runs: int, generator: np.random.Generator, family: str = ONE_PEAK
) -> NDArray[np.float64]:
    """Draw the per-token accuracy of each run, `[runs]`; one mode over runs in either family.

    Args:
        mode: the most frequent accuracy, 0 to 1.
        concentration: alpha + beta of the Beta distribution of the peak; larger, runs are more alike.
        runs: number of runs.
        generator: of the draws.
        family: "one peak", or "peak on a shelf": `SHELF_SHARE` of the runs are uniform between 0 and the mode.

    Raises:
        ValueError: a mode outside 0 to 1, a concentration of at most 2, or an unknown family.
    """
    _check(mode, concentration)
    if family not in FAMILIES:
        raise ValueError(f"family = {family!r}; accepted are {', '.join(FAMILIES)}")
    accuracy = generator.beta(*_shape(mode, concentration), size=runs)
    if family == SHELF:
        below, low = generator.random(runs) < SHELF_SHARE, generator.random(runs) * mode
        accuracy = np.where(below, low, accuracy)
    return np.clip(accuracy, _EDGE, 1 - _EDGE)


def scores_of(accuracy: ArrayLike, tokens: int) -> pd.DataFrame:
    """Exact match a^n and sequence loss -n log a (nats) of runs with per-token accuracies a `[R]`, tokens independent.

    Raises:
        ValueError: an accuracy outside (0, 1), or fewer than one token.
    """
    a = vector("accuracy", accuracy)
    if not ((a > 0) & (a < 1)).all():
        raise ValueError(f"accuracy holds {a.min():g} to {a.max():g}; numbers between 0 and 1 are needed")
    _check_tokens(tokens)
    return pd.DataFrame({"exact": a**tokens, "sequence_loss": -tokens * np.log(a)})


def mean_exact(mode: float, concentration: float, tokens: int) -> float:
    """Mean over runs of the exact match, E[a^n] = B(alpha + n, beta) / B(alpha, beta), of one peak.

    Raises:
        ValueError: as `token_accuracies`, or fewer than one token.
    """
    _check(mode, concentration)
    _check_tokens(tokens)
    alpha, beta = _shape(mode, concentration)
    return float(np.exp(betaln(alpha + tokens, beta) - betaln(alpha, beta)))


def matching_mode(mean: float, concentration: float, tokens: int) -> float:
    """The mode of the per-token accuracy at which the mean exact match is `mean`, or the nearest that can be reached.

    Raises:
        ValueError: as `mean_exact`; a mean outside 0 to 1.
    """
    if not 0 <= mean <= 1:
        raise ValueError(f"mean = {mean!r}; a number from 0 to 1 is needed")
    lowest, highest = (mean_exact(end, concentration, tokens) for end in (0.0, 1.0))
    if not lowest < mean < highest:
        return 0.0 if mean <= lowest else 1.0
    return float(brentq(lambda mode: mean_exact(mode, concentration, tokens) - mean, 0.0, 1.0))


def matched_runs(mean: float, concentration: float, tokens: int, runs: int, seed: int) -> pd.DataFrame:
    """Simulated runs without two solutions whose mean exact match is that of given runs, in expectation.

    Args:
        mean: mean exact match to match.
        concentration, tokens: as `mean_exact`.
        runs: number of runs.
        seed: base seed.

    Returns:
        replicate, accuracy (per token), exact, sequence_loss.

    Raises:
        ValueError: as `matching_mode`.
    """
    mode, generator = matching_mode(mean, concentration, tokens), numpy_generator(seed, 0, "mirage")
    accuracy = token_accuracies(mode, concentration, runs, generator)
    return pd.DataFrame({"replicate": np.arange(runs), "accuracy": accuracy}).join(scores_of(accuracy, tokens))


def simulated_populations(populations: int, runs: int, tokens: int, seed: int) -> pd.DataFrame:
    """Count runs in thirds of the score in many simulated populations of both families.

    The most frequent exact match of a population is uniform in 0 to 1, the logarithm of the concentration uniform
    between those of `CONCENTRATIONS`.

    Returns:
        family, replicate; exact_0, exact_1, exact_2: runs in each third of 0 to 1 of the exact
        match; loss_0, loss_1, loss_2: runs in each third of the range of the sequence loss.

    Raises:
        ValueError: fewer than one token.
    """
    rows: list[dict[str, object]] = []
    for family in FAMILIES:
        for replicate in range(populations):
            generator = numpy_generator(seed, replicate, f"simulated population, {family}")
            mode = generator.random() ** (1 / tokens)
            concentration = float(np.exp(generator.uniform(*np.log(CONCENTRATIONS))))
            scores = scores_of(token_accuracies(mode, concentration, runs, generator, family), tokens)
            counts = third_counts(scores["exact"], 0.0, 1.0), third_counts(scores["sequence_loss"])
            cells = {f"{name}_{third}": int(count[third]) for name, count in zip(("exact", "loss"), counts, strict=True)
                     for third in range(3)}  # fmt: skip
            rows.append({"family": family, "replicate": replicate} | cells)
    return pd.DataFrame(rows)


def third_counts(values: ArrayLike, low: float | None = None, high: float | None = None) -> NDArray[np.int64]:
    """Number of values in each third of [low, high], `[3]`; arguments and errors as `core.distributions.thirds`."""
    return np.bincount(thirds(values, low, high), minlength=3)


@lru_cache(maxsize=4096)  # populations share their counts
def emptier_than_both(lower: int, middle: int, upper: int, level: float) -> bool:
    """Whether a population with these numbers of runs in the thirds of its range refutes one mode.

    That is: the intervals of both differences of `core.distributions.emptier_middle` lie above 0.
    """
    if not lower > middle < upper:  # an interval above 0 has its value above 0
        return False
    centres = np.repeat([1 / 6, 1 / 2, 5 / 6], [lower, middle, upper])
    both = emptier_middle(centres, unit=UNIT, level=level, low=0.0, high=1.0)
    return all(difference.low > 0 for difference in both)
