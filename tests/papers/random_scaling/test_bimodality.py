"""Notebook 02: verdicts on made runs for every outcome, measures with known answers, one network on one string."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from twelvefold.core.statistics import StatisticsError
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling import bimodality
from twelvefold.papers.random_scaling.bimodal import inspection, measures, plotting
from twelvefold.papers.random_scaling.populations import SCALES, population_point
from twelvefold.tasks.prompt_populations import prompt_population

SCALE = SCALES["quick"]
pytestmark = pytest.mark.filterwarnings("error:constrained_layout")  # a figure that does not fit
LENGTHS = {"copying": (7, 8), "counting": (15, 20), "addition": (3, 4)}


def made(exact, task="copying", trained=1.0, content=None):
    """Rows of one task: exact match `[R]` at the first new length, half of it at the second, `trained` as trained."""
    frames, exact = [], np.asarray(exact, dtype=float)
    share = np.where(exact > 0.2, 0.97, 0.01) if content is None else np.asarray(content)
    for length, scores in zip((0, *LENGTHS[task]), (trained + 0 * exact, exact, exact / 2), strict=True):
        loss = 20 * (1.001 - scores) + 0.01 * np.arange(len(exact))
        frames.append(pd.DataFrame({
            "scale": task, "number": list(LENGTHS).index(task), "replicate": np.arange(len(exact)), "length": length,
            "exact": scores, "sequence_loss": loss, "worst": np.exp(-loss), "worst_log": -loss, "margin": 1 - loss,
            "content": share if task == "copying" else np.nan, "position": 1 - share if task == "copying" else np.nan,
        }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def two_groups(n, upper):
    """n scores: exact 0s, and `upper` ones from 0.8 on."""
    return np.where(np.arange(n) < n - upper, 0.0, 0.8 + 0.15 * np.arange(n) / n)


def spread(n):
    """One group that thins out from 0."""
    return 0.75 * np.linspace(0, 1, n) ** 2


def all_tasks(copying, counting=None, addition=None):
    counting = made(spread(32), "counting") if counting is None else counting
    addition = made(spread(16) / 5, "addition") if addition is None else addition
    return pd.concat([copying, counting, addition], ignore_index=True)


def reported(runs, report=bimodality.REPORT):
    study = Study("random_scaling/02_bimodality", "quick", 10_000, "cpu")
    study.scale(**SCALES)
    study.declare(bimodality.CLAIMS)
    runs = study.runs(runs)
    for write in report:
        write(study, runs)
    study.done(seeds=range(32))
    return {claim["id"]: claim for claim in json.loads((study.folder / "study.json").read_text())["claims"]}, study


def decided(runs):
    """The claims alone, without tables and figures."""
    return reported(runs, (bimodality.decisions,))[0]


def verdicts(claims):
    return [claim["verdict"] for claim in claims.values()]


def test_two_groups_hold_and_a_spread_does_not_and_all_can_be_replayed(project):
    claims, study = reported(all_tasks(made(two_groups(32, 15))))
    assert list(claims) == [
        "some-runs-succeed", "low-third-over-middle", "high-third-over-middle", "mastered-in-distribution",
        "mechanism-tells-success", "counting-low-third-over-middle", "counting-high-third-over-middle",
        "addition-low-third-over-middle", "addition-high-third-over-middle",
    ]  # fmt: skip
    assert verdicts(claims) == ["holds"] * 5 + ["undecided"] * 2 + ["not tested"] * 2
    assert claims["some-runs-succeed"]["estimate"]["value"] == pytest.approx(15 / 32)
    assert claims["low-third-over-middle"]["estimate"]["value"] == pytest.approx(17 / 32)
    assert claims["high-third-over-middle"]["estimate"]["value"] == pytest.approx(15 / 32)
    assert claims["mechanism-tells-success"]["estimate"]["value"] == pytest.approx(0.96)
    counts = np.bincount(np.minimum((3 * spread(32)).astype(int), 2), minlength=3)
    for third, name in ((0, "low"), (2, "high")):
        found = claims[f"counting-{name}-third-over-middle"]["estimate"]["value"]
        assert found == pytest.approx((counts[third] - counts[1]) / 32)
    assert "16 runs; 32" in claims["addition-high-third-over-middle"]["note"]
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    replayed = Study.replay(study.folder)
    replayed.declare(bimodality.CLAIMS)
    for write in bimodality.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in study.folder.iterdir()} == before
    assert sum(path.stat().st_size for path in study.folder.iterdir()) < 400_000


def test_a_whole_lower_mode_fails_the_upper_third(project):
    """A third of the runs in the middle, none above: more in the middle than in the highest third, surely."""
    claims = decided(all_tasks(made(np.repeat([0.0, 0.5], 16) + 1e-3 * np.arange(32))))
    assert verdicts(claims)[1:3] == ["undecided", "fails"]


@pytest.mark.parametrize("scores", [np.zeros(32), np.full(32, 0.9)])
def test_runs_that_do_not_differ_have_no_thirds(project, scores):
    claims, study = reported(all_tasks(made(scores)))
    untested = "not tested"  # 32 runs are too few to say that all but 5 % fail
    assert verdicts(claims) == [
        "undecided", untested, untested, "holds", untested, "undecided", "undecided", untested, untested,
    ]  # fmt: skip
    assert claims["high-third-over-middle"]["note"] == "the runs do not differ"
    assert "fewer than 5" in claims["mechanism-tells-success"]["note"]
    populations = pd.read_csv(study.folder / "populations.csv", dtype={"length": str}).set_index(["task", "length"])
    assert np.isnan(populations.loc[("copying", "7"), "mean_of_successes"]) == (scores[0] == 0)


def test_one_run_that_has_not_mastered_its_training_stops_the_judgement(project):
    copying = made(two_groups(32, 15))
    copying.loc[(copying["length"] == 0) & (copying["replicate"] == 3), "exact"] = 0.98
    claims = decided(all_tasks(copying, made(two_groups(32, 15), "counting", trained=0.97)))
    assert verdicts(claims) == ["not tested"] * 3 + ["holds"] + ["not tested"] * 5
    assert "has learned its training task" in claims["some-runs-succeed"]["note"]


def test_fewer_than_32_runs_are_not_judged_and_the_other_tasks_may_hold(project):
    claims = decided(all_tasks(
        made(two_groups(24, 12)), made(two_groups(32, 15), "counting"), made(two_groups(32, 15), "addition")
    ))  # fmt: skip
    assert verdicts(claims) == ["holds", "not tested", "not tested"] + ["holds"] * 6


def test_groups_without_the_mechanism_fail_it(project):
    content = np.tile([0.1, 0.4], 16)
    claims, study = reported(all_tasks(made(two_groups(32, 16), content=content)))
    assert claims["mechanism-tells-success"]["verdict"] == "fails"
    table = pd.read_csv(study.folder / "mechanism.csv").set_index("content_share")
    assert table["runs"].tolist() == [0, 32, 0] and table.loc["0.1 to 0.9", "successes"] == 16


def test_the_table_of_dips_tells_two_groups_from_a_spread(project):
    _, study = reported(all_tasks(made(two_groups(32, 15))), (bimodality.dips_table, bimodality.decisions))
    dips = pd.read_csv(study.folder / "dips.csv", dtype={"length": str}).set_index(["task", "length", "score"])
    assert len(dips) == 3 * (1 + 2 * 5) and set(dips["runs"]) == {16, 32}
    assert dips.loc[("copying", "7", "exact match"), "p_value"] < 0.001
    assert dips.loc[("counting", "15", "exact match"), "p_value"] > 0.2
    assert (dips["dip_low"] <= dips["dip_high"]).all()


def test_resampled_dips_by_hand_and_refusals():
    np.testing.assert_array_equal(measures.bootstrap_dips([0.5] * 6, 20), np.zeros(20))
    values = np.repeat([0.0, 1.0], 20) + 1e-3 * np.arange(40)
    found = measures.bootstrap_dips(values, 200)
    assert found.shape == (200,) and 0.1 < np.median(found) <= 0.25
    np.testing.assert_array_equal(found, measures.bootstrap_dips(values[::-1], 200))
    for wrong in ({"values": [0.1, 0.2, 0.3]}, {"values": [0.1] * 4, "draws": 0}):
        with pytest.raises(StatisticsError, match="at least 4 and 1"):
            measures.bootstrap_dips(**wrong)


def test_scores_rules_and_lengths_are_read_from_the_rows():
    runs = all_tasks(made([0.1, 0.9, 0.5, 0.0], content=[0.2, 0.6, 0.5, 0.0]))
    assert measures.lengths_of(runs, "counting") == [15, 20]
    assert measures.rules_of(runs).tolist() == ["by position", "by content", "by position", "by position"]
    shuffled = runs.sample(frac=1, random_state=1)
    loss = measures.score_over_runs(shuffled, "copying", 7, "loss")
    np.testing.assert_allclose(loss, 20 * (1.001 - np.array([0.1, 0.9, 0.5, 0.0])) + 0.01 * np.arange(4))
    np.testing.assert_allclose(measures.score_over_runs(shuffled, "copying", 7, "log loss"), np.log(loss))
    with pytest.raises(KeyError, match="score = 'accuracy'"):
        measures.score_over_runs(runs, "copying", 7, "accuracy")
    with pytest.raises(KeyError, match="no row"):
        measures.lengths_of(runs, "sorting")
    assert inspection.representatives(runs, "copying", 7) == (3, 1)


@pytest.mark.parametrize("preset", SCALES)
def test_every_preset_describes_three_populations(preset):
    scale = SimpleNamespace(**SCALES[preset])
    points = measures.bimodal_points(scale, 10_000)
    assert [point["task"] for point in points.values()] == list(points) == list(LENGTHS)
    assert len(points["copying"]["members"]) == scale.main_runs >= bimodality.LEAST_RUNS
    for task, point in points.items():
        assert measures.score_length(scale, task) in point["test_lengths"]


@pytest.fixture(scope="module")
def population():
    """Three networks that have hardly begun to learn."""
    changes = {"steps": 3, "runs": 3, "layers": 2, "heads": 2, "width": 8, "prompts": 2}
    point = population_point(SimpleNamespace(**SCALE), 10_000, **changes)
    return point, prompt_population(**point)


def test_a_look_names_what_is_read_wanted_and_written(population):
    point, result = population
    look = inspection.look_into(point, result, 1, "abc defg")
    assert look.words == ["<sos>", *"abcdefg", ">", *"abcdefg"] and look.maps.shape == (2, 2, 16, 16)
    np.testing.assert_allclose(look.maps.sum(-1), 1, atol=1e-5)
    assert [look.words[key] for key in look.far] == list("abcdefg")  # at each place the letter that is wanted next
    assert [look.words[key] for key in look.near] == [*"bcdefg", ">"]  # six places back
    assert len(look.predicted) == 8 and 1 <= len(look.written) <= 10
    if look.predicted[0] != "a":  # what it writes first is what it predicts first
        assert look.written[0] == look.predicted[0]
    assert "<eos>" not in inspection.as_written(look)
    figure = plotting.attention_figure({"one": look, "two": look})
    assert len(figure.axes) == 2 * 4 + 1
    plotting.plt.close(figure)


@pytest.mark.parametrize(("string", "message"), [
    ("", "different letters from a to l"), ("aba", "different letters"), ("xyz", "string = 'xyz'"),
    ("abcdefghijklm", "different letters"),
])  # fmt: skip
def test_strings_that_cannot_be_copied_are_refused(population, string, message):
    with pytest.raises(ValueError, match=message):
        inspection.look_into(*population, 0, string)


def test_a_string_beyond_the_table_and_another_task_are_refused(population):
    point, result = population
    short = {**point, "architecture": {**point["architecture"], "longest": 14}}
    with pytest.raises(ValueError, match="has 6 letters; the position table has room for 5"):
        inspection.look_into(short, result, 0, "abcdef")
    counting = {**point, "task": "counting", "settings": {"numbers": 9, "lengths": [[2, 1]]}}
    with pytest.raises(ValueError, match="only 'copying'"):
        inspection.look_into(counting, result, 0, "abc")


def test_the_explored_histogram_has_the_chosen_bins():
    scores, rules = two_groups(32, 15), np.where(two_groups(32, 15) > 0.5, "by content", "by position")
    for task in ("copying", "counting"):
        figure = plotting.one_histogram(task, 7, scores, rules, 10)
        bars = figure.axes[0].patches
        assert [bar.get_height() for bar in bars] == [17, 5, 10]  # without the empty bins
        np.testing.assert_allclose([bar.get_x() for bar in bars], [0.0, 0.8, 0.9], atol=1e-9)
        plotting.plt.close(figure)
