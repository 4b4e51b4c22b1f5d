"""The decomposition of a mean score, and steps and slopes over scales: identities, hand values, polyfit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twelvefold.core.distributions import bootstrap, mode_of
from twelvefold.papers.random_scaling.decomposition import (
    SUCCESS,
    decomposition,
    largest_mode_step,
    largest_probability_step,
    mean_of_successes,
    slope_of_probability,
    slope_of_success_mean,
    success_probability,
)

STEPS = (largest_mode_step, largest_probability_step, slope_of_probability, slope_of_success_mean)


def resamples(seed: int = 1, scales: int = 4) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.beta(0.3, 0.6, (5, 6 + k)) for k in range(scales)]


def test_by_hand() -> None:
    scores = [0.0, 0.0, 0.1, SUCCESS, 0.5, 0.7]  # the threshold itself is no success
    assert success_probability(scores) == pytest.approx(1 / 3) and mean_of_successes(scores) == pytest.approx(0.6)
    parts = decomposition(scores)
    assert parts == pytest.approx((1 / 3, 0.6, 0.075, 0.25, parts.mode)) and parts.mode == mode_of(scores)


def test_a_side_without_runs_has_no_mean() -> None:
    failures, successes = decomposition([0.0, 0.1]), decomposition([0.5, 1.0])
    assert (failures.p, failures.failure_mean) == (0, pytest.approx(0.05)) and np.isnan(failures.success_mean)
    assert (successes.p, successes.success_mean) == (1, 0.75) and np.isnan(successes.failure_mean)
    assert np.isnan(mean_of_successes([0.0, 0.1]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_parts_make_the_mean(scores: list[float]) -> None:
    parts = decomposition(scores)
    terms = (parts.p * parts.success_mean, (1 - parts.p) * parts.failure_mean)
    weights = (parts.p, 1 - parts.p)
    total = sum(term for term, weight in zip(terms, weights, strict=True) if weight > 0)
    assert total == pytest.approx(parts.mean, abs=1e-12)


def test_leading_axes_are_kept() -> None:
    scores = resamples()[0]
    np.testing.assert_array_equal(success_probability(scores), [success_probability(row) for row in scores])
    np.testing.assert_array_equal(mean_of_successes(scores), [mean_of_successes(row) for row in scores])


def test_steps_by_hand() -> None:
    scales = [np.array([[0.0, 0.0, 0.0, 0.9]]), np.array([[0.0, 0.0, 0.9, 0.9]]), np.array([[0.5, 0.5, 0.5, 0.0]])]
    assert largest_probability_step(scales) == pytest.approx([0.25])
    assert largest_mode_step(scales) == pytest.approx([0.5])  # modes 0, 0 (at the end, twice as high), .5
    assert largest_mode_step(scales[::-1]) == pytest.approx([0.5])
    assert slope_of_probability(scales) == pytest.approx([0.25])
    assert slope_of_success_mean(scales) == pytest.approx([-0.2])  # .9 .9 .5


def test_each_resample_by_itself() -> None:
    groups = resamples()
    for statistic in STEPS:
        values = statistic(groups)
        assert values.shape == (5,)
        for row in range(5):
            np.testing.assert_array_equal(values[row], statistic([group[row : row + 1] for group in groups])[0])


def test_slopes_are_polyfits_over_the_scales_with_a_success() -> None:
    groups = resamples(3)
    groups[1][0] = 0.1  # no success at the second scale of the first resample
    for row in range(5):
        p = [success_probability(group[row]) for group in groups]
        means = np.array([mean_of_successes(group[row]) for group in groups])
        known = np.flatnonzero(np.isfinite(means))
        assert slope_of_probability(groups)[row] == pytest.approx(np.polyfit(range(4), p, 1)[0])
        assert slope_of_success_mean(groups)[row] == pytest.approx(np.polyfit(known, means[known], 1)[0])
    assert len(known) > 1


def test_one_scale_with_a_success_has_no_slope() -> None:
    failed, mixed = np.zeros((2, 3)), np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    assert np.isnan(slope_of_success_mean([failed, mixed])).all()
    assert slope_of_success_mean([mixed, mixed])[0] == 0


def test_paired_runs_come_as_one_array() -> None:
    paired = np.random.default_rng(4).random((5, 6, 3))  # [B, R, m]
    for statistic in STEPS:
        np.testing.assert_array_equal(statistic([paired]), statistic([paired[..., k] for k in range(3)]))


@pytest.mark.parametrize("statistic", STEPS)
def test_the_bootstrap_takes_them(statistic) -> None:
    scores = np.random.default_rng(5).beta(0.5, [1.0, 0.5, 0.3], (40, 3))
    apart = bootstrap(list(scores.T), statistic, unit="training run", level=0.95, draws=99)
    together = bootstrap([scores], statistic, unit="training run", level=0.95, draws=99)
    assert (apart.n, together.n) == (120, 40) and apart.value == together.value
    assert apart.low <= apart.value <= apart.high


@pytest.mark.parametrize("scores", [0.5, [], [0.5, np.nan], np.ones((2, 0))])
def test_shares_and_means_refuse(scores: object) -> None:
    for function in (success_probability, mean_of_successes):
        with pytest.raises(ValueError, match="scores has the shape"):
            function(scores)


@pytest.mark.parametrize(
    ("scores", "words"), [([], "shape"), ([0.5, 1.2], "1.2"), ([np.nan], "finite"), ([[0.5]], "shape")]
)
def test_decomposition_refuses(scores: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decomposition(scores)


@pytest.mark.parametrize(
    "groups",
    [[], [np.ones((2, 3))], [np.ones(3), np.ones(3)], [np.ones((2, 3)), np.ones((1, 3))], [np.ones((2, 3, 1))]],
)
def test_steps_refuse_shapes(groups: list) -> None:
    for statistic in STEPS:
        with pytest.raises(ValueError, match="groups has the shapes"):
            statistic(groups)


def test_a_mode_needs_scores_from_0_to_1() -> None:
    with pytest.raises(ValueError, match="1.5"):
        largest_mode_step([np.full((1, 2), 1.5), np.zeros((1, 2))])
