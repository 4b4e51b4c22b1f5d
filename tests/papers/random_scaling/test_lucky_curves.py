"""Notebook 04: averages and spreads with known answers, and the report for every kind of outcome."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling import lucky_curves
from twelvefold.papers.random_scaling.curves import plotting, spreads
from twelvefold.papers.random_scaling.populations import SCALES
from twelvefold.papers.random_scaling.scaling_curves import breakthroughness, linearity

STUDY = SimpleNamespace(scale_values=SimpleNamespace(prompts=256))
LABELS = ("0", "1/4", "3/8", "1/2", "5/8", "3/4")


def rows_of(scores, missed=()):
    """Rows of runs.csv with the scores `[m, R]` at length 7; the scales `missed` miss the gate."""
    frames = []
    for number, (label, values) in enumerate(zip(LABELS, scores, strict=False)):
        gate = np.full(len(values), 0.9 if label in missed else 1.0)
        for length, exact in ((0, gate), (7, values)):
            frames.append(pd.DataFrame({"scale": label, "number": number, "replicate": range(len(values)),
                                        "length": length, "exact": exact}))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def mixture(runs=32, shares=(0.1, 0.3, 0.5, 0.7, 0.9)):
    """Scores `[m, R]` of runs that succeed by independent coins with an even climb of P."""
    draws = np.random.default_rng(8)
    coins = draws.random((len(shares), runs)) < np.array(shares)[:, None]
    return np.where(coins, draws.uniform(0.85, 0.95, coins.shape), 0.0)


def agreeing(runs=32):
    """Scores of runs that all climb by equal steps, up to a little noise."""
    draws = np.random.default_rng(9)
    return np.linspace(0.1, 0.9, 5)[:, None] + draws.uniform(-0.001, 0.001, (5, runs))


def reported(runs):
    study = Study("random_scaling/04_lucky_curves", "quick", 10_000, "cpu")
    study.scale(**SCALES)
    study.declare(lucky_curves.CLAIMS)
    runs = study.runs(runs)
    for write in lucky_curves.REPORT:
        write(study, runs)
    study.done(seeds=range(24))
    return json.loads((study.folder / "study.json").read_text()), study


def verdicts(written):
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def test_curves_of_coins_differ_more_than_their_averages_in_b(project):
    written, study = reported(rows_of(mixture()))
    assert verdicts(written)["breakthroughness-spread"] == "holds"
    # L of coins is confined to low values, so that averages, which can be linear, spread as far
    assert verdicts(written)["linearity-spread"] == "undecided"
    table = pd.read_csv(study.folder / "spreads.csv")
    single = table[(table["runs_averaged"] == 1) & (table["replicates"] == "same")].iloc[0]
    b = breakthroughness(mixture().T)
    assert single["B_spread"] == pytest.approx(np.quantile(b, 0.9) - np.quantile(b, 0.1))
    assert single["curves"] == 32 and len(table) == 8
    pairing = pd.read_csv(study.folder / "pairing.csv")
    assert len(pairing) == 4 and (pairing["correlation"].abs() < 0.5).all()
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    replayed = Study.replay(study.folder)
    replayed.declare(lucky_curves.CLAIMS)
    for write in lucky_curves.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in study.folder.iterdir()} == before


def test_curves_that_agree_do_not_spread():
    for claim in lucky_curves.CLAIMS:
        estimate = lucky_curves.difference(STUDY, agreeing(), claim.id, 0.95)
        assert abs(estimate.value) < 0.1 and estimate.high < 0.1  # noise of a thousandth makes no spread worth the name


def test_other_pairings_and_bounds_are_other_differences():
    decided = lucky_curves.difference(STUDY, mixture(), "breakthroughness-spread", 0.95)
    clipped = lucky_curves.difference(STUDY, mixture(), "breakthroughness-spread", 0.95, clipped=True)
    other = lucky_curves.difference(STUDY, mixture(), "breakthroughness-spread", 0.95, pairing="independent")
    assert clipped.high <= 20 < decided.value and other.value != decided.value


@pytest.mark.parametrize("scores", [np.zeros((4, 24)), np.linspace(0, 0.9, 4)[:, None] * np.ones(24)])
def test_equal_replicates_leave_the_claims_untested(project, scores):
    written, study = reported(rows_of(scores))
    assert set(verdicts(written).values()) == {"not tested"}
    assert {claim["note"] for claim in written["claims"]} == {"every replicate has the same curve"}
    assert (study.folder / "shapes.png").exists()


def test_three_compared_scales_are_said_to_have_one_shape(project):
    written, study = reported(rows_of(mixture(shares=(0.1, 0.4, 0.6, 0.9)), missed=("1/4",)))
    assert all("B equals L" in claim["note"] for claim in written["claims"])
    assert all("With three scales B equals L." in figure["caption"] for figure in written["figures"])
    table = pd.read_csv(study.folder / "spreads.csv")
    np.testing.assert_allclose(table["B_spread"], table["L_spread"])


@pytest.mark.parametrize("missed", [LABELS[:2], LABELS])
def test_two_scales_or_none_make_no_curve(project, missed):
    written, study = reported(rows_of(mixture(shares=(0.1, 0.4, 0.6, 0.9)), missed=missed))
    assert set(verdicts(written).values()) == {"not tested"} and not written["figures"]
    assert pd.read_csv(study.folder / "variants.csv")["value"].isna().all()


def test_few_runs_are_drawn_but_not_tested(project):
    written, _ = reported(rows_of(mixture(runs=6)))
    assert set(verdicts(written).values()) == {"not tested"} and len(written["figures"]) == 2


def test_averages_are_means_of_runs_drawn_with_replacement():
    scores = np.random.default_rng(1).random((12, 3))
    curves = spreads.averaged_curves(scores, of=4, draws=4000)
    assert curves.shape == (4000, 3)
    np.testing.assert_allclose(curves.mean(axis=0), scores.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(curves.var(axis=0), scores.var(axis=0) / 4, rtol=0.1)
    # the same replicates at every scale: equal columns give equal averages; others at each do not
    equal = np.tile(scores[:, :1], (1, 3))
    same, other = (spreads.averaged_curves(equal, 4, pairing, draws=50) for pairing in ("same", "independent"))
    assert np.ptp(same, axis=1).max() < 1e-12 and np.ptp(other, axis=1).min() > 0
    # leading dimensions are resamples, and each is as it would be alone
    stacked = spreads.averaged_curves(np.stack([scores, scores[::-1]]), 4)
    np.testing.assert_allclose(stacked[1], spreads.averaged_curves(scores[::-1], 4), atol=1e-12)
    one = spreads.averaged_curves(scores, of=1, draws=30)
    assert {tuple(curve) for curve in one.round(9)} <= {tuple(curve) for curve in scores.round(9)}


def test_averages_refuse():
    scores = np.ones((4, 3))
    for bad in (np.ones(3), np.ones((4, 1)), np.ones((0, 3))):
        with pytest.raises(ValueError, match="scores has the shape"):
            spreads.averaged_curves(bad, 2)
    with pytest.raises(ValueError, match="of = 0"):
        spreads.averaged_curves(scores, 0)
    with pytest.raises(ValueError, match="draws = 0"):
        spreads.averaged_curves(scores, 2, draws=0)
    with pytest.raises(ValueError, match="pairing = 'random'"):
        spreads.averaged_curves(scores, 2, "random")


def test_a_spread_is_from_the_10th_to_the_90th_percentile():
    curves = np.stack([np.zeros(11), np.arange(11.0)], axis=1)  # improvement 0 ... 10
    assert spreads.spread(curves, lambda y: y[..., -1]) == pytest.approx(8)
    scores = np.random.default_rng(2).random((3, 20, 4))
    found = spreads.spread_difference(scores, linearity)
    averages = spreads.averaged_curves(scores, 16)
    np.testing.assert_allclose(found, spreads.spread(scores, linearity) - spreads.spread(averages, linearity))


def test_the_luckiest_of_equal_curves_improves_most():
    curves = np.array([[0, 0, 0, 0.5], [0, 0, 0, 0.9], [0, 0.3, 0.6, 0.9], [0.9, 0, 0, 0]])
    assert spreads.luckiest(curves, breakthroughness) == 1 and spreads.luckiest(curves, linearity) == 2
    assert lucky_curves.ranked(curves, "B") == [1, 0, 2, 3]
    assert lucky_curves.ranked(curves, "L") == [2, 1, 0, 3]
    assert lucky_curves.title_of(2, curves[2]) == "replicate 2: B = 3, L = 3.00"


def test_the_explored_drawing_names_both_replicates():
    curves = mixture().T
    fig = plotting.two_curves(curves, [(0, "first"), (5, "second")], LABELS[:5], "share")
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["first", "second"]
