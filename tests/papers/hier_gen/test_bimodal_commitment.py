"""Notebook 04: measures with known answers, verdicts on made runs, and the report of a smoke study."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from twelvefold.core.study import Study
from twelvefold.papers.hier_gen import bimodal_commitment
from twelvefold.papers.hier_gen.seeds import measures, plotting
from twelvefold.tasks.grammar_populations import BOTH, HIERARCHICAL, LINEAR
from twelvefold.tasks.grammar_shares import SCALES, share_points

SCALE = {**SCALES["quick"], "shares": [0.0, 0.5, 1.0], "runs": 8, "ood_items": 100, "dropout": 0.1,
         "split_share": 0.5, "split_runs": 6}  # fmt: skip
STEPS = np.arange(0, 13)
INIT = [0.1, 0.11, 0.12, 0.5, 0.51, 0.52]  # deviations .21 .20 .19 twice from the median .31


def run(arm, share, replicate, final, swing, accuracy=1.0):
    """Rows of one run, whose curve alternates between final and final - swing: its total variation is |swing|."""
    curve = np.where((STEPS[-1] - STEPS) % 2 == 0, final, final - swing)
    return pd.DataFrame({
        "arm": arm, "share": share, "replicate": replicate, "step": STEPS, "hierarchical": curve,
        "hierarchical_subject_gap": curve, "hierarchical_object_gap": curve / 2, "id_accuracy": accuracy,
    })  # fmt: skip


def made(stable_at_rules=True):
    """Runs on mixed data, half of them stable, and both arms of the split: wide over weights, none over orders."""
    rows, other = [], np.random.default_rng(1)
    for share in (0.5, 1.0):
        for replicate in range(16):
            stable, jitter = replicate < 8, 0.01 * other.random()
            at_rule = stable == stable_at_rules
            final = (replicate % 2) * 0.9 + 0.05 if at_rule else 0.5 + 0.01 * replicate
            rows.append(run("mixed", share, replicate, final - jitter, 0.005 + jitter if stable else 0.25 + jitter))
    for number in range(1, 7):
        rows.append(run("init", 0.5, number, INIT[number - 1], 0.02))
        rows.append(run("order", 0.5, number, 0.4, 0.02))
    return pd.concat(rows, ignore_index=True)


def reported(runs):
    study = Study("hier_gen/04_bimodal_commitment", "quick", 10_000, "cpu")
    study.scale(quick=SCALE, gpu=SCALE, paper=SCALE)
    study.declare(bimodal_commitment.CLAIMS)
    runs = study.runs(runs)
    for write in bimodal_commitment.REPORT:
        write(study, runs)
    study.done(seeds=range(16))
    return json.loads((study.folder / "study.json").read_text()), study


def verdicts(written):
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def test_made_runs_get_the_verdicts_they_were_made_for(project):
    written, study = reported(made())
    assert verdicts(written) == {
        "stable-runs-sit-at-a-rule": "holds", "stable-half-more-committed": "holds",
        "initial-weights-alone-differ": "holds", "data-order-alone-differs": "fails",
        "initial-weights-outweigh-order": "holds",
    }  # fmt: skip
    values = {claim["id"]: claim["estimate"] for claim in written["claims"]}
    assert values["stable-half-more-committed"]["value"] == 1.0 and values["stable-half-more-committed"]["n"] == 16
    assert values["initial-weights-alone-differ"]["value"] == pytest.approx(0.2)
    assert values["data-order-alone-differs"]["value"] == 0.0
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    replayed = Study.replay(study.folder)
    replayed.declare(bimodal_commitment.CLAIMS)
    for write in bimodal_commitment.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in study.folder.iterdir()} == before


def test_the_claims_count_one_share_because_runs_of_a_replicate_are_alike_at_all(project):
    runs = made()
    alone, both = reported(runs[runs["share"] == 0.5])[0], reported(runs)[0]
    assert [claim["estimate"] for claim in alone["claims"]] == [claim["estimate"] for claim in both["claims"]]


def test_the_other_way_round_the_claims_about_stability_fail(project):
    written, _ = reported(made(stable_at_rules=False))
    assert verdicts(written)["stable-runs-sit-at-a-rule"] == "fails"
    assert verdicts(written)["stable-half-more-committed"] == "fails"


def test_runs_that_do_not_differ_or_learn_leave_the_correlation_untested(project):
    arms = [(arm, number) for arm in ("mixed", "init", "order") for number in range(6)]
    frames = [run(arm, 0.5, number, 0.0, 0.0, accuracy=0.5) for arm, number in arms]
    written, study = reported(pd.concat(frames, ignore_index=True))
    assert verdicts(written)["stable-runs-sit-at-a-rule"] == "not tested"
    classes = pd.read_csv(study.folder / "classes.csv")
    assert (classes["not learned"] == 6).all() and (classes["linear"] == 0).all()
    split = pd.read_csv(study.folder / "split.csv").set_index(["varies", "runs_taken"])
    assert split.loc[("data order", "learned"), "runs"] == 0
    assert np.isnan(split.loc[("data order", "learned"), "deviation"])
    assert split.loc[("data order", "all"), "deviation"] == 0


def test_tables_count_classes_and_split_the_variance(project):
    _, study = reported(made())
    classes = pd.read_csv(study.folder / "classes.csv").set_index("threshold")
    names = ["linear", "hierarchical", "neither", "unstable", "not learned"]
    assert classes.loc[0.02, names].tolist() == [8, 8, 0, 16, 0]
    split = pd.read_csv(study.folder / "split.csv").set_index(["varies", "runs_taken"])
    assert split.loc[("initial weights and dropout", "all"), "variance"] == pytest.approx(np.var(INIT, ddof=1))
    assert split.loc[("both", "all"), "runs"] == 16  # the mixed runs at the share of the split alone
    dip = pd.read_csv(study.folder / "dip.csv").set_index("runs_taken")
    assert dip.loc["lower half of total variation", "committed"] == 16
    variants = pd.read_csv(study.folder / "variants.csv").set_index("runs_taken")
    assert variants.loc["ranks and halves within each share", "difference_of_shares"] == 1.0
    # curves of half the height do not reach the hierarchical rule
    assert variants.loc["all shares pooled, object gaps", "difference_of_shares"] < 1.0
    written = json.loads((study.folder / "study.json").read_text())
    captions = {entry["name"]: entry["caption"] for entry in written["figures"]}
    assert "own initial weights, dropout and data order" in captions["commitment"]
    assert "own initial weights" not in captions["split"] and "6 training runs in each" in captions["split"]


def test_halves_leave_out_the_middle_run_and_order_by_total_variation():
    frame = pd.DataFrame({"variation": [0.3, 0.1, 0.2, 0.5, 0.4], "final": [0.0, 0.1, 0.2, 0.3, 0.9]})
    lower, higher = measures.halves(frame)
    assert lower["variation"].tolist() == [0.1, 0.2] and higher["variation"].tolist() == [0.4, 0.5]
    assert measures.committed(frame).tolist() == [True, True, False, False, True]
    assert measures.commitment_difference([(frame[:0], frame[:0])], 0.95) is None
    assert measures.commitment_difference([(frame[:4], frame[:4])], 0.95) is None  # too few for a fair interval
    assert measures.commitment_difference([(frame, frame)], 0.95) is not None
    assert measures.correlation_of(frame.assign(distance=0.0), 0.95) is None


def test_the_variance_has_its_jackknife_error_and_deviations_are_from_the_median():
    values = np.array([0.1, 0.4, 0.45, 0.9])
    variance, error = measures.variance_and_error(values)
    left_out = np.array([np.var(np.delete(values, i), ddof=1) for i in range(4)])
    assert variance == pytest.approx(np.var(values, ddof=1))
    assert error == pytest.approx(np.sqrt(3 / 4 * ((left_out - left_out.mean()) ** 2).sum()))
    assert np.isnan(measures.variance_and_error([0.1, 0.2])).all()
    frame = pd.DataFrame({"arm": ["init"] * 3 + ["order"], "final": [0.0, 0.2, 0.9, 0.5]})
    np.testing.assert_allclose(measures.deviations(frame, "init"), [0.2, 0.0, 0.7])
    assert measures.deviations(frame, "mixed").size == 0


def test_the_dip_tells_two_modes_from_one():
    draws = np.random.default_rng(2)
    two = np.concatenate([draws.normal(0.1, 0.02, 60), draws.normal(0.9, 0.02, 60)])
    assert measures.dip_of(two)[1] < 0.01 < 0.1 < measures.dip_of(draws.normal(0.5, 0.1, 120))[1]
    assert np.isnan(measures.dip_of([0.1, 0.9, 0.5])).all()


def test_the_arms_share_one_draw_and_vary_the_other():
    point = measures.split_point(SimpleNamespace(**SCALE), 10_000)
    assert point["members"] == [[0, i, 0] for i in range(1, 7)] + [[0, 0, o] for o in range(1, 7)]
    assert point["mixes"] == [{"center_embedded": 0.5, "lexicon": "full", "longest": SCALE["longest"]}]
    with pytest.raises(ValueError, match="split_runs = 1"):
        measures.split_point(SimpleNamespace(**{**SCALE, "split_runs": 1}), 10_000)


def results_of(point):
    """What `grammar_population` could have returned: member number m follows the hierarchical rule on m items."""
    members, times = len(point["members"]), len(point["record_at"])
    ood = np.full((members, times, point["ood_items"]), LINEAR, dtype=np.uint8)
    for member in range(members):
        ood[member, :, : member + 1] = HIERARCHICAL
    return {"ood": ood, "id": np.full((members, times, point["id_items"]), BOTH), "loss": np.zeros((members, times)),
            "exact": np.zeros((members, times))}  # fmt: skip


def test_rows_name_arm_share_and_replicate():
    scale = SimpleNamespace(**SCALE)
    points, split = share_points(scale, 10_000, [0.5, 1.0]), measures.split_point(scale, 10_000)
    frame = measures.seed_runs(points, [results_of(point) for point in points], split, results_of(split))
    assert frame.groupby(["arm", "share"])["replicate"].unique().map(list).to_dict() == {
        ("init", 0.5): [1, 2, 3, 4, 5, 6], ("mixed", 0.5): list(range(8)), ("mixed", 1.0): list(range(8)),
        ("order", 0.5): [1, 2, 3, 4, 5, 6],
    }  # fmt: skip
    last = frame[frame["step"] == frame["step"].max()].set_index(["arm", "share", "replicate"])["hierarchical"]
    assert last[("init", 0.5, 3)] == pytest.approx(0.03) and last[("order", 0.5, 1)] == pytest.approx(0.07)
    assert last[("mixed", 1.0, 0)] == pytest.approx(0.01)


def test_the_explored_histogram_counts_stable_runs():
    frame = measures.mixed_data(measures.summaries(made()))
    assert plotting.stable_histogram(frame, 0.02).axes[0].get_title(loc="left") == "16 of 32 runs are stable"
    assert plotting.stable_histogram(frame, 0.0).axes[0].get_title(loc="left") == "0 of 32 runs are stable"
