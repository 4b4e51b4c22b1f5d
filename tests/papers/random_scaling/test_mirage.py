"""The mirage: closed forms against integration and samples, one peak under a power, and the false alarms."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from twelvefold.core.distributions import emptier_middle
from twelvefold.core.seeds import numpy_generator
from twelvefold.papers.random_scaling import mirage


def test_scores_of_three_tokens_by_hand():
    scores = mirage.scores_of([0.5, 0.9], 3)
    np.testing.assert_allclose(scores["exact"], [0.125, 0.729])
    np.testing.assert_allclose(scores["sequence_loss"], [3 * np.log(2), -3 * np.log(0.9)])


@pytest.mark.parametrize(("mode", "concentration", "tokens"), [(0.9, 50, 8), (0.3, 3, 2), (0.0, 10, 5), (1.0, 20, 8)])
def test_the_mean_exact_match_is_the_integral_over_the_density(mode, concentration, tokens):
    alpha, beta = mode * (concentration - 2) + 1, (1 - mode) * (concentration - 2) + 1
    expected, _ = integrate.quad(lambda a: a**tokens * stats.beta.pdf(a, alpha, beta), 0, 1)
    assert mirage.mean_exact(mode, concentration, tokens) == pytest.approx(expected, rel=1e-6)


def test_the_matching_mode_has_the_mean_and_stops_at_the_ends():
    mode = mirage.matching_mode(0.31, 50, 8)
    assert mirage.mean_exact(mode, 50, 8) == pytest.approx(0.31, abs=1e-9)
    assert mirage.matching_mode(0.0, 50, 8) == 0.0 and mirage.matching_mode(1.0, 50, 8) == 1.0


def test_matched_runs_have_the_mean_and_depend_on_the_seed_alone():
    runs = mirage.matched_runs(0.4, 50, 8, 20_000, seed=10_000)
    assert runs["exact"].mean() == pytest.approx(0.4, abs=4 * runs["exact"].std() / np.sqrt(20_000))
    np.testing.assert_allclose(runs["exact"], runs["accuracy"] ** 8)
    pd.testing.assert_frame_equal(runs, mirage.matched_runs(0.4, 50, 8, 20_000, seed=10_000))
    assert not runs.equals(mirage.matched_runs(0.4, 50, 8, 20_000, seed=10_001))


@pytest.mark.parametrize("tokens", [2, 8, 40])
@pytest.mark.parametrize("concentration", [2.5, 10, 100])
@pytest.mark.parametrize("mode", [0.05, 0.5, 0.9, 0.99])
def test_the_power_of_one_peak_has_one_peak(tokens, concentration, mode):
    alpha, beta = mode * (concentration - 2) + 1, (1 - mode) * (concentration - 2) + 1
    accuracy = np.linspace(1e-4, 1 - 1e-4, 20_001)
    # the density of e = a^n is f(a) / (n a^(n - 1)); its logarithm against e, which rises with a
    log_density = stats.beta.logpdf(accuracy, alpha, beta) - (tokens - 1) * np.log(accuracy)
    steps = np.sign(np.diff(log_density))
    assert (np.diff(steps[steps != 0]) <= 0).all()  # rises, then falls: never up again


def test_families_differ_below_the_peak():
    peak, shelf = (mirage.token_accuracies(0.9, 200, 4_000, numpy_generator(10_000, 0, "test"), family)
                   for family in mirage.FAMILIES)  # fmt: skip
    assert (peak < 0.7).mean() < 0.01
    assert (shelf < 0.7).mean() == pytest.approx(mirage.SHELF_SHARE * 0.7 / 0.9, abs=0.03)
    assert ((shelf > 0) & (shelf < 1)).all()


def test_the_criterion_on_counts_is_that_on_values():
    generator = np.random.default_rng(1)
    for values in (generator.random(32), np.r_[np.zeros(14), generator.uniform(0.8, 1, 18)], np.r_[np.zeros(31), 1.0]):
        both = emptier_middle(values, unit=mirage.UNIT, level=0.99, low=0, high=1)
        counts = mirage.third_counts(values, 0.0, 1.0)
        assert mirage.emptier_than_both(*counts, 0.99) == all(estimate.low > 0 for estimate in both)
    assert mirage.emptier_than_both(14, 0, 18, 0.99)
    assert not mirage.emptier_than_both(31, 0, 1, 0.99) and not mirage.emptier_than_both(8, 16, 8, 0.99)


def test_one_peak_raises_no_alarm_and_a_shelf_some():
    frame = mirage.simulated_populations(200, 32, 8, seed=10_000)
    exact, loss = frame.filter(like="exact_"), frame.filter(like="loss_")
    assert (exact.sum(axis=1) == 32).all() and (loss.sum(axis=1) == 32).all()
    passed = [mirage.emptier_than_both(*row, 0.95) for row in exact.to_numpy().tolist()]
    shares = frame.assign(passed=passed).groupby("family")["passed"].mean()
    assert shares[mirage.ONE_PEAK] < 0.02 < 0.05 < shares[mirage.SHELF]
    pd.testing.assert_frame_equal(frame, mirage.simulated_populations(200, 32, 8, seed=10_000))


def test_impossible_arguments_are_named():
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="mode = 1.2"):
        mirage.token_accuracies(1.2, 50, 3, generator)
    with pytest.raises(ValueError, match="concentration = 2"):
        mirage.mean_exact(0.5, 2, 8)
    with pytest.raises(ValueError, match="family = 'flat'"):
        mirage.token_accuracies(0.5, 50, 3, generator, "flat")
    with pytest.raises(ValueError, match="accuracy holds 0 to 0.5"):
        mirage.scores_of([0.0, 0.5], 3)
    with pytest.raises(ValueError, match="tokens = 0"):
        mirage.mean_exact(0.5, 50, 0)
    with pytest.raises(ValueError, match="mean = -0.1"):
        mirage.matched_runs(-0.1, 50, 8, 3, 10_000)
    with pytest.raises(ValueError, match="tokens = 1.5"):
        mirage.simulated_populations(1, 3, 1.5, 10_000)
