"""Breakthroughness, linearity and random curves: values by hand, invariants, and draws with known means."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twelvefold.papers.random_scaling.scaling_curves import (
    breakthroughness,
    improvement,
    linearity,
    mean_curves,
    random_curves,
)

CURVE = st.lists(st.integers(0, 20), min_size=2, max_size=7).map(lambda steps: np.array(steps) / 20)
SCORES = np.arange(12.0).reshape(3, 4) / 12  # scale k holds k/3 + 0, 1/12, 2/12, 3/12


def test_by_hand() -> None:
    jump, line = [0, 0, 0, 1], [0, 1 / 3, 2 / 3, 1]
    assert linearity(jump) == pytest.approx(np.sqrt(3)) and breakthroughness(jump) == 100
    assert breakthroughness(jump, clip=7) == 7
    assert breakthroughness([0, 0.001, 0.002, 1]) == 100 and breakthroughness([1, 0.002, 0.001, 0]) == -100
    np.testing.assert_allclose([linearity(line), breakthroughness(line)], 3)
    # steps .1 .2 .4: squares .01 .04 .16, mean .07, median .04
    bent = [0, 0.1, 0.3, 0.7]
    np.testing.assert_allclose([linearity(bent), breakthroughness(bent)], [0.7 / np.sqrt(0.07), 0.7 / 0.2])
    # the maximum comes first: steps -.6 .2, squares .36 .04, mean and median .2
    np.testing.assert_allclose([improvement([0.8, 0.2, 0.4]), linearity([0.8, 0.2, 0.4])], [-0.6, -0.6 / np.sqrt(0.2)])


def test_leading_axes_are_kept() -> None:
    curves = np.random.default_rng(1).random((2, 3, 5))
    for function in (improvement, linearity, breakthroughness):
        values = function(curves)
        assert values.shape == (2, 3)
        assert values[1, 2] == function(curves[1, 2])


@pytest.mark.parametrize("constant", [[0.0] * 4, [0.3] * 4, [0.3, 0.1 + 0.2, 0.3, 0.1 + 0.2]])
def test_constant_curves_have_zeros(constant: list[float]) -> None:
    assert improvement(constant) == linearity(constant) == breakthroughness(constant) == 0


@given(CURVE)
def test_bounds_and_symmetry(curve: np.ndarray) -> None:
    assert abs(linearity(curve)) <= len(curve) - 1 + 1e-9
    assert abs(breakthroughness(curve)) <= 100
    assert abs(improvement(curve)) == pytest.approx(np.ptp(curve))
    np.testing.assert_allclose(linearity(3 * curve + 5), linearity(curve), atol=1e-9)  # no units, no origin
    if (curve == curve.max()).sum() == (curve == curve.min()).sum() == 1:  # then the sign does not hang on a tie
        for function in (improvement, linearity, breakthroughness):
            np.testing.assert_allclose(function(curve[::-1]), -function(curve), atol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_three_scales_cannot_tell_a_breakthrough_from_a_line(curve: list[float]) -> None:
    np.testing.assert_allclose(breakthroughness(curve), linearity(curve))


@pytest.mark.parametrize("curves", [0.5, [0.5], [0.5, np.nan], np.ones((0,))])
def test_shapes_refuse(curves: object) -> None:
    for function in (improvement, linearity, breakthroughness):
        with pytest.raises(ValueError, match="curves has the shape"):
            function(curves)


def test_breakthroughness_refuses_a_clip() -> None:
    with pytest.raises(ValueError, match="clip = 0"):
        breakthroughness([0, 1], clip=0)


def test_the_same_replicate_at_every_scale() -> None:
    np.testing.assert_array_equal(random_curves(SCORES, seed=10_000, draws=1), SCORES.T)
    np.testing.assert_array_equal(random_curves(list(SCORES), seed=10_001, draws=9, pairing="same"), SCORES.T)


def test_independent_curves_take_any_run_of_each_scale() -> None:
    scores = [np.array([0.0, 1.0]), np.array([0.0, 0.5, 1.0])]
    curves = random_curves(scores, seed=10_000, draws=3000, pairing="independent")
    assert curves.shape == (3000, 2)
    pairs, counts = np.unique(curves, axis=0, return_counts=True)
    assert len(pairs) == 6 and np.all(np.abs(counts / 3000 - 1 / 6) < 0.03)  # all pairs, equally often


def test_mean_curves_draw_without_replacement() -> None:
    whole = mean_curves(SCORES, of=4, draws=5, seed=10_000)
    np.testing.assert_allclose(whole, np.tile(SCORES.mean(axis=1), (5, 1)))
    pairs = mean_curves(SCORES, of=2, draws=4000, seed=10_000)
    # of 4 values with distances of 1/12, 6 pairs: sums 1 2 3 3 4 5, never a value with itself
    sums = np.round((pairs[:, 1] - SCORES[1, 0]) * 24)
    np.testing.assert_allclose(np.bincount(sums.astype(int))[1:] / 4000, np.array([1, 1, 2, 1, 1]) / 6, atol=0.03)
    assert abs(np.corrcoef(pairs[:, 0], pairs[:, 2])[0, 1]) < 0.06  # each scale draws by itself


def test_means_of_sixteen_are_the_default() -> None:
    scores = np.random.default_rng(2).random((3, 40))
    curves = mean_curves(scores, draws=2000, seed=10_000)
    error = np.sqrt(scores.var(axis=1, ddof=1) / 16 * (1 - 16 / 40))  # finite population
    np.testing.assert_allclose(curves.std(axis=0), error, rtol=0.1)
    np.testing.assert_array_equal(curves, mean_curves(list(scores), of=16, draws=2000, seed=10_000))
    assert not np.array_equal(curves, mean_curves(scores, draws=2000, seed=10_001))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scores": [[0.5, 1.0]]}, "1 scale"), ({"scores": [[0.5], [np.nan]]}, r"scores\[1\]\[0\]"),
        ({"scores": [[0.5], []]}, r"scores\[1\]"), ({"scores": [[0.5], [0.5, 1]]}, r"\[1, 2\] runs"),
        ({"draws": 0}, "draws = 0"), ({"draws": 2.0}, "draws = 2.0"), ({"pairing": "twins"}, "same, independent"),
        ({"seed": -1, "pairing": "independent"}, "seed = -1"),
    ],
)  # fmt: skip
def test_random_curves_refuse(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        random_curves(**{"scores": SCORES, "seed": 10_000, "draws": 3, **arguments})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"of": 5}, "of = 5; a whole number from 1 to 4"), ({"of": 0}, "of = 0"), ({"draws": 0}, "draws = 0"),
     ({"scores": SCORES[:1]}, "1 scale"), ({"scores": [[0.5], [0.5, 1]], "of": 2}, "from 1 to 1"),
     ({"seed": -1}, "seed = -1")],
)  # fmt: skip
def test_mean_curves_refuse(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mean_curves(**{"scores": SCORES, "of": 2, "seed": 10_000, "draws": 3, **arguments})
