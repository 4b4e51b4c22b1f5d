"""Notebook 05: distances with known answers, the rows of the study, and verdicts on made runs."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling import continuous_metric, mirage
from twelvefold.papers.random_scaling.metrics import plotting
from twelvefold.papers.random_scaling.metrics.scores import SCORES, by_content, distance, ends_of, score
from twelvefold.papers.random_scaling.populations import SCALES

NAME = "random_scaling/05_continuous_metric"
SCALE = {**SCALES["quick"], "mirage_concentration": 50.0, "mirage_populations": 150}


def made(shares, runs=24, main_runs=32, mastered=1.0, between=False):
    """Rows as of `runs_of`: at each scale a share of the runs succeeds; with `between`, scores fill the range."""
    generator, frames = np.random.default_rng(3), []
    for number, (label, p) in enumerate(shares.items()):
        n = main_runs if label == "1/2" else runs
        content = (np.arange(n) < p * n).astype(float)
        for length in (0, 7, 8):
            exact = np.full(n, mastered) if length == 0 else content * generator.uniform(0.75, 1, n)
            loss = np.where(content > 0, generator.uniform(0.1, 3, n), generator.uniform(90, 120, n))
            if between:
                loss = generator.normal(60, 15, n)
            loss = loss if length else generator.gamma(4, 1e-4, n)
            worst = np.exp(-loss / 6) if length else 1 - loss
            frames.append(pd.DataFrame({
                "scale": label, "number": number, "replicate": np.arange(n), "length": length, "exact": exact,
                "sequence_loss": loss, "worst": worst, "worst_log": -loss / 6, "margin": 9 - loss / 5,
                "content": content, "position": 1 - content,
            }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


HALVES = {"0": 0.0, "1/4": 0.75, "3/8": 0.75, "1/2": 0.5}


def reported(frame, **changes):
    study, scale = Study(NAME, "quick", 10_000, "cpu"), SCALE | changes
    values = study.scale(quick=scale, gpu=scale, paper=scale)
    study.declare(continuous_metric.CLAIMS)
    runs = study.runs(continuous_metric.rows_of_study(frame, values, 10_000))
    for write in continuous_metric.REPORT:
        write(study, runs)
    study.done(seeds=range(32))
    return json.loads((study.folder / "study.json").read_text()), study


def verdicts(written):
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def test_two_groups_and_an_onset_get_the_verdicts_they_were_made_for(project):
    written, study = reported(made(HALVES))
    assert set(verdicts(written).values()) == {"holds"} and len(verdicts(written)) == 5
    dips = pd.read_csv(study.folder / "dips.csv").set_index(["sequences", "score"])
    thirds = dips.loc[("length 7", "sequence loss"), ["lower_third", "middle_third", "upper_third"]]
    assert thirds.tolist() == [16, 0, 16]
    assert dips.loc[("length 7", "sequence loss"), "p_value"] < 0.01 < dips.loc[
        ("as in training", "sequence loss"), "p_value"]  # fmt: skip
    assert dips.loc[("as in training", "exact match"), "upper_third"] == 32
    distances = pd.read_csv(study.folder / "distances.csv")
    assert distances["step"].tolist() == ["0 → 1/4", "1/4 → 3/8", "3/8 → 1/2"] * 3
    assert distances.loc[0, "excess"] == pytest.approx(distances.loc[0, "distance"] - distances.loc[0, "null"])
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    replayed = Study.replay(study.folder)
    replayed.declare(continuous_metric.CLAIMS)
    for write in continuous_metric.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in study.folder.iterdir()} == before


def test_one_broad_group_on_the_continuous_score_fails_whatever_exact_match_shows(project):
    written, _ = reported(made(HALVES, between=True))
    assert "holds" not in [verdicts(written)[f"{part}-third-of-loss"] for part in ("low", "high")]
    assert verdicts(written)["distance-beats-permutation"] == "holds"  # of exact match


def test_equal_scales_do_not_beat_the_permutation(project):
    written, _ = reported(made(dict.fromkeys(HALVES, 0.5)))
    assert verdicts(written)["distance-beats-permutation"] == "fails"
    assert verdicts(written)["worst-token-distance-beats-permutation"] == "fails"


def test_runs_that_do_not_master_their_training_are_not_compared(project):
    written, study = reported(made(HALVES, mastered=0.98))
    found = verdicts(written)
    assert found.pop("mirage-stays-unimodal") == "holds" and set(found.values()) == {"not tested"}
    assert not (study.folder / "distances.csv").exists() and not (study.folder / "distances.png").exists()


def test_few_runs_all_failing_leave_the_claims_untested(project):
    written, study = reported(made(dict.fromkeys(HALVES, 0.0), runs=6, main_runs=8), runs=6, main_runs=8)
    found = verdicts(written)
    assert found.pop("mirage-stays-unimodal") == "holds" and set(found.values()) == {"not tested"}
    notes = {claim["id"]: claim["note"] for claim in written["claims"]}
    assert notes["low-third-of-loss"] == "fewer than 32 runs"
    assert pd.read_csv(study.folder / "distances.csv")["distance"].isna().all()


def test_one_scale_alone_has_no_distance(project):
    written, study = reported(made({"1/2": 1.0}))
    assert verdicts(written)["distance-beats-permutation"] == "not tested"
    assert verdicts(written)["high-third-of-loss"] != "holds"  # all succeed: one group
    assert not (study.folder / "distances.csv").exists()


def test_rows_keep_what_is_compared_and_tell_kinds_apart():
    scale = SimpleNamespace(**SCALE)
    rows = continuous_metric.rows_of_study(made(HALVES), scale, 10_000)
    trained = continuous_metric.rows_of_kind(rows, continuous_metric.TRAINED)
    assert sorted(trained.loc[trained["scale"] != "1/2", "length"].unique()) == [0, 7]
    assert sorted(trained.loc[trained["scale"] == "1/2", "length"].unique()) == [0, 7, 8]
    assert trained.loc[trained["scale"] == "0", "sequence_loss"].isna().all() and "family" not in trained
    matched = continuous_metric.rows_of_kind(rows, continuous_metric.MATCHED)
    assert len(matched) == 32 and set(matched.columns) == {"replicate", "exact", "sequence_loss", "accuracy"}
    simulated = continuous_metric.rows_of_kind(rows, continuous_metric.POPULATION)
    assert simulated.groupby("family").size().to_dict() == dict.fromkeys(mirage.FAMILIES, 150)


def test_a_distance_is_that_of_sorted_runs_and_its_excess_what_lies_above_permuted_ones():
    first, second = np.zeros(24), np.r_[np.zeros(12), np.ones(12)]
    found = distance(first, second, 0.95)
    assert found.distance.value == pytest.approx(np.sqrt(0.5)) and found.distance.n == 24
    assert found.excess.value == pytest.approx(found.distance.value - found.null)
    assert found.excess.high - found.excess.low == pytest.approx(found.distance.high - found.distance.low)
    assert 0 < found.null < found.distance.value
    assert distance(first[:19], second[:19], 0.95) is None and distance(first, first, 0.95) is None
    with pytest.raises(ValueError, match="same shape"):
        distance(first, second[:20], 0.95)


def test_equal_distributions_seldom_beat_the_permutation():
    generator = np.random.default_rng(5)
    found = [distance(*(generator.random((2, 24)) < 0.5).astype(float), 0.95) for _ in range(60)]
    assert np.mean([made.excess.low > 0 for made in found]) <= 0.05


def test_scores_are_read_in_the_order_of_replicates():
    frame = made({"1/2": 0.5}).sample(frac=1.0, random_state=1)
    content = by_content(frame, "1/2", 7)
    assert content.tolist() == [True] * 16 + [False] * 16
    assert score(frame, "1/2", 7, "exact")[content].min() > 0.7 > score(frame, "1/2", 7, "exact")[~content].max()
    assert ends_of("exact", np.array([0.2, 0.3])) == (0.0, 1.0)
    assert ends_of("margin", np.array([-2.0, 3.0])) == (-2.0, 3.0)
    with pytest.raises(KeyError, match="log_loss"):
        score(frame, "1/2", 7, "log_loss")
    with pytest.raises(KeyError, match="length"):
        score(frame, "1/2", 9, "exact")


def test_explored_pictures_are_drawn_for_every_choice():
    frame = made({"1/2": 0.5})
    for name in SCORES:
        for length in (0, 7, 8):
            assert plotting.score_figure(frame, "1/2", length, name).axes
    assert len(plotting.power_figure(np.linspace(0.5, 0.99, 50), 1).axes) == 3
