"""Notebook 03: rows and gate, estimators of the mode, steps by hand, and the report for every kind of outcome."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling import mode_vs_probability
from twelvefold.papers.random_scaling.curves import measures, plotting
from twelvefold.papers.random_scaling.decomposition import largest_mode_step, largest_probability_step
from twelvefold.papers.random_scaling.populations import SCALES

LABELS = ("0", "1/4", "3/8", "1/2")


def made(successes, runs=24, means=0.9, missed=(), labels=LABELS):
    """Rows in which the first replicates of each scale succeed near its mean, and the scales `missed` miss the gate."""
    rows = []
    means = [means] * len(successes) if np.isscalar(means) else means
    for number, (label, count, mean) in enumerate(zip(labels, successes, means, strict=False)):
        scores = np.concatenate([np.linspace(mean - 0.02, mean + 0.02, count), np.zeros(runs - count)])
        gate = np.where(np.arange(runs) == 0, 0.98, 1.0) if label in missed else np.ones(runs)
        for length, exact in ((0, gate), (7, scores)):
            rows.append(pd.DataFrame({"scale": label, "number": number, "replicate": range(runs), "length": length,
                                      "exact": exact}))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def reported(runs):
    study = Study("random_scaling/03_mode_vs_probability", "quick", 10_000, "cpu")
    study.scale(**SCALES)
    study.declare(mode_vs_probability.CLAIMS)
    runs = study.runs(runs)
    for write in mode_vs_probability.REPORT:
        write(study, runs)
    study.done(seeds=range(24))
    return json.loads((study.folder / "study.json").read_text()), study


def verdicts(written):
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def estimates(written):
    return {claim["id"]: claim["estimate"] for claim in written["claims"]}


def test_a_mode_that_leaps_while_the_probability_climbs(project):
    written, study = reported(made([4, 10, 18, 23], means=[0.7, 0.75, 0.8, 0.9]))
    assert verdicts(written) == {
        "mode-jumps-more": "holds",  # a resample may leap at another step, but it leaps
        "probability-rises": "holds", "onset-before-majority": "holds", "success-mean-rises": "holds",
        "parts-make-the-mean": "holds",
    }  # fmt: skip
    values = estimates(written)
    assert values["probability-rises"]["value"] == pytest.approx(19 / 24)
    assert values["onset-before-majority"]["value"] == pytest.approx(4 / 24)
    # four successes are too few, so the first mean is that of the second scale
    assert values["success-mean-rises"]["value"] == pytest.approx(0.15) and values["success-mean-rises"]["n"] == 33
    # mode 0 0 .8 .9 to the grid of .005; P rises by 1/3 at most
    assert values["mode-jumps-more"]["value"] == pytest.approx(0.8 - 8 / 24, abs=0.006)
    table = pd.read_csv(study.folder / "decomposition.csv", dtype={"scale": str}).set_index("scale")
    assert table["successes"].tolist() == [4, 10, 18, 23] and table["compared"].tolist() == ["yes"] * 4
    np.testing.assert_allclose(table["P"] * table["mean_of_successes"], table["mean"], atol=1e-9)
    estimators = pd.read_csv(study.folder / "estimators.csv").set_index("estimator")
    assert estimators.loc["fullest of 2 bins", ["mode at 3/8", "steps_difference"]].tolist() == pytest.approx(
        [0.75, 0.5 - 8 / 24]
    )
    assert estimators.loc[measures.DECIDED, "mode at 1/4"] == 0


def test_the_report_is_made_again_from_its_rows(project):
    written, study = reported(made([0, 6, 9, 10], missed=("3/8",)))
    assert written["figures"] and "Not compared" in written["figures"][0]["caption"]
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    replayed = Study.replay(study.folder)
    replayed.declare(mode_vs_probability.CLAIMS)
    for write in mode_vs_probability.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in study.folder.iterdir()} == before


def test_many_runs_tell_a_leap_from_a_climb(project):
    assert verdicts(reported(made([6, 24, 36, 56], runs=60))[0])["mode-jumps-more"] == "holds"
    stays = verdicts(reported(made([0, 12, 18, 24], runs=60))[0])
    assert stays["mode-jumps-more"] == "fails" and stays["success-mean-rises"] == "undecided"


def test_a_step_of_the_probability_is_no_leap_of_the_mode(project):
    written, _ = reported(made([0, 0, 24, 24]))  # P steps by 1, the mode by .9
    assert verdicts(written)["mode-jumps-more"] == "fails"
    assert verdicts(written)["onset-before-majority"] == "fails"


def test_no_run_succeeds(project):
    written, study = reported(made([0, 0, 0, 0]))
    assert verdicts(written) == {
        "mode-jumps-more": "undecided", "probability-rises": "undecided", "onset-before-majority": "not tested",
        "success-mean-rises": "not tested", "parts-make-the-mean": "holds",
    }  # fmt: skip
    assert pd.read_csv(study.folder / "decomposition.csv")["mean_of_successes"].isna().all()


def test_every_run_succeeds(project):
    written, _ = reported(made([24] * 4))
    assert verdicts(written)["onset-before-majority"] == "fails"
    notes = {claim["id"]: claim["note"] for claim in written["claims"]}
    assert "there or before it" in notes["onset-before-majority"]


@pytest.mark.parametrize(("missed", "tested"), [(("1/4",), True), (("0", "1/4"), False), (LABELS, False)])
def test_scales_that_miss_the_gate_enter_no_claim(project, missed, tested):
    written, study = reported(made([0, 24, 9, 10], missed=missed))
    found = estimates(written)
    assert (found["mode-jumps-more"] is not None) == tested
    assert (found["probability-rises"] is not None) == (len(missed) < 3)
    if len(missed) < 3:
        assert found["onset-before-majority"]["value"] == pytest.approx(9 / 24)  # not the 24 of the second scale
    else:
        notes = [claim["note"] for claim in written["claims"] if claim["verdict"] == "not tested"]
        assert len(notes) == 4 and not any("preset" in note for note in notes)
    table = pd.read_csv(study.folder / "decomposition.csv", dtype={"scale": str}).set_index("scale")
    assert (table["compared"] == "no").tolist() == [label in missed for label in LABELS]
    assert (study.folder / "parts.png").stat().st_size > 0


@pytest.mark.parametrize(("successes", "runs"), [([2, 3, 3, 4], 6), ([7], 24), ([1], 2)])
def test_few_runs_or_one_scale_leave_the_steps_untested(project, successes, runs):
    written, _ = reported(made(successes, runs=runs, labels=LABELS if len(successes) > 1 else LABELS[1:]))
    assert verdicts(written)["mode-jumps-more"] == "not tested"
    assert verdicts(written)["parts-make-the-mean"] == "holds"


def test_practice_averages_the_first_runs(project):
    _, study = reported(made([0, 1, 2, 3]))
    table = pd.read_csv(study.folder / "practice.csv").set_index("curve")
    assert table.loc["run 0", "1/4"] > 0.8 and table.loc["run 2", "3/8"] == 0
    assert table.loc["average of runs 0 to 2", "1/2"] == pytest.approx(0.9)
    assert table.loc["average of runs 3 to 5", ["B", "L"]].tolist() == [0, 0]
    assert table.loc["average of all", "1/2"] == pytest.approx(3 * 0.9 / 24)


def test_rows_of_one_length_and_the_gate():
    rows = made([0, 1, 2, 3], missed=("1/4",))
    assert measures.score_length(rows) == 7
    assert measures.compared_labels(rows) == ["0", "3/8", "1/2"] and measures.compared_scores(rows).shape == (3, 24)
    assert measures.compared_scores(made([1], missed=("0",))).shape == (0, 24)
    assert measures.left_out(rows).endswith(": 1/4.") and measures.left_out(made([1])).startswith("Every run")
    with pytest.raises(ValueError, match=r"test lengths \[\]"):
        measures.score_length(rows[rows["length"] == 0])


def test_rows_keep_the_score_length_alone(monkeypatch):
    rows = pd.DataFrame({name: [1, 1, 1] for name in measures.COLUMNS} | {"length": [0, 7, 8], "margin": 0.5})
    monkeypatch.setattr(measures, "runs_of", lambda points, results: rows)
    kept = measures.curve_rows({}, {}, 7)
    assert kept["length"].tolist() == [0, 7] and list(kept.columns) == measures.COLUMNS


def test_the_fullest_bin_by_hand():
    rows = np.array([[0.0, 0.04, 0.5, 1.0], [0.93, 0.99, 1.0, 0.2], [0.1, 0.3, 0.7, 0.9]])
    np.testing.assert_allclose(measures.fullest_bin(rows, 20), [0.025, 0.975, 0.125])
    np.testing.assert_allclose(measures.fullest_bin(rows, 2), [0.25, 0.75, 0.25])  # of equals the lowest
    for bad in (rows[0], rows + 1, np.empty((2, 0))):
        with pytest.raises(ValueError, match="rows has the shape"):
            measures.fullest_bin(bad, 20)
    with pytest.raises(ValueError, match="bins = 1"):
        measures.fullest_bin(rows, 1)


def test_reflection_alone_keeps_the_mode_at_zero():
    """13 of 24 runs at .9: the majority, but not twice the runs at 0, whose peak is doubled."""
    scores = np.array([[0.9] * 13 + [0.0] * 11])
    located = {name: float(modes(scores)[0]) for name, modes in measures.MODES.items()}
    assert located[measures.DECIDED] == 0 and located["fullest of 2 bins"] == 0.75
    assert located["kernels of width 0.05, not reflected"] == pytest.approx(0.9)
    assert measures.MODES[measures.DECIDED](np.array([[0.9] * 17 + [0.0] * 7]))[0] == pytest.approx(0.9)


def test_steps_are_those_of_the_decomposition():
    scores = np.random.default_rng(3).random((5, 24, 4))
    expected = largest_mode_step([scores]) - largest_probability_step([scores])
    np.testing.assert_array_equal(measures.steps_difference(scores), expected)


def test_successful_runs_of_the_first_and_last_scale_with_five():
    scores = np.zeros((4, 8))
    scores[0, :4], scores[1, :5], scores[2, :6] = 0.5, 0.6, 0.7
    first, last = measures.successful(scores)
    assert first.tolist() == [0.6] * 5 and last.tolist() == [0.7] * 6
    assert len(measures.successful(scores[:2])) == 1 and measures.successful(scores[:1]) == []


def test_too_few_scales_or_runs_have_no_estimate():
    scores = np.random.default_rng(4).random((3, 20))
    assert measures.curve_estimate(scores, measures.steps_difference, 0.95).n == 20
    assert measures.curve_estimate(scores[:2], measures.steps_difference, 0.95) is None
    assert measures.curve_estimate(scores[:, :19], measures.steps_difference, 0.95) is None


def test_the_explored_histogram_names_its_mode():
    title = plotting.scale_histogram([0.0] * 5 + [0.9] * 3, "share 1/4", 0.05).axes[0].get_title(loc="left")
    assert title == "share 1/4: mode 0.00, P(success) 0.38"


def test_the_identity_counts_terms_of_weight_zero_as_nothing():
    assert mode_vs_probability.identity_error(np.zeros(3)) == 0
    assert mode_vs_probability.identity_error(np.array([0.1, 0.5, 0.9])) == pytest.approx(0, abs=1e-15)


def test_the_axis_of_every_preset_can_have_a_curve():
    for values in SCALES.values():
        assert len(SimpleNamespace(**values).axis) > measures.LEAST_SCALES
