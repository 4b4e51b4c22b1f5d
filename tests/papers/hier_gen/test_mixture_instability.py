"""Result 3: rows with known answers give the right contrasts and verdicts; a small study reports and replays."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.study import Study
from twelvefold.papers.hier_gen import mixture_instability as result
from twelvefold.papers.hier_gen.mixture_instability import CONTRASTS, INTERIOR, arm, by_share, contrast, summaries
from twelvefold.papers.hier_gen.shares import plotting
from twelvefold.tasks.grammar_populations import grammar_population
from twelvefold.tasks.grammar_shares import SCALES, share_points, share_runs

TINY = {
    **SCALES["quick"], "items": 64, "width": 8, "layers": 1, "heads": 2, "steps": 6, "records": 4, "ood_items": 40,
    "id_items": 20, "runs": 5, "longest": 23, "shares": [0.0, 0.2, 0.5, 1.0],
}  # fmt: skip
NAME = "hier_gen/03_mixture_instability"


def made_up(swing: dict[float, float], finals: dict[float, list[float]], weak: tuple = ()) -> pd.DataFrame:
    """Runs that end at `finals`; in the window of steps 40 to 120 a curve goes final, final + swing, final, ..., so
    that its variation is its swing (a little more for later replicates). Before, all move wildly."""
    rows = []
    for share, values in finals.items():
        for replicate, final in enumerate(values):
            for number, step in enumerate(range(0, 121, 20)):
                up = swing[share] * (1 + 0.1 * replicate) * (number % 2) if step >= 40 else 5.0 * number
                rows.append({
                    "share": share, "replicate": replicate, "step": step, "hierarchical": final + up,
                    "linear": 1 - final, "loss": 1.0, "id_accuracy": 0.5 if (share, replicate) in weak else 1.0,
                    "hierarchical_subject_gap": final, "hierarchical_object_gap": final,
                })  # fmt: skip
    return pd.DataFrame(rows)


def inverted_u(weak: tuple = ()) -> pd.DataFrame:
    swing = {0.0: 0.01, 0.2: 0.2, 0.5: 0.4, 1.0: 0.05}
    wide, other = [0.0, 0.2, 0.5, 0.8, 1.0], [0.5, 0.1, 1.0, 0.9, 0.4]  # both have the median 0.5
    return made_up(swing, {0.0: [0.0, 0.01, 0.0, 0.02, 0.0], 0.2: wide, 0.5: other, 1.0: [0.9] * 5}, weak)


def report(frame: pd.DataFrame, scale: dict = TINY) -> dict:
    study = Study(NAME, "quick", 10_000, "cpu")
    study.scale(quick=scale, gpu=scale, paper=scale)
    study.declare(result.CLAIMS)
    runs = study.runs(frame)
    for write in result.REPORT:
        write(study, runs)
    study.done()
    return json.loads((study.folder / "study.json").read_text()) | {"folder": study.folder}


def test_an_inverted_u_is_found(project):
    claims = {claim["id"]: claim for claim in report(inverted_u())["claims"]}
    assert {claim["verdict"] for claim in claims.values()} == {"holds"}
    factor = 1.2  # mean of 1, 1.1, ..., 1.4
    wanted = {"mixtures-less-stable-than-right-branching": 0.29 * factor,
              "mixtures-less-stable-than-embedded": 0.25 * factor,
              "embedded-less-stable-than-right-branching": 0.04 * factor,
              "mixtures-split-seeds": 0.3 - 0.006}  # fmt: skip
    assert {name: claim["estimate"]["value"] for name, claim in claims.items()} == pytest.approx(wanted)


def test_a_plain_rise_is_no_inverted_u(project):
    finals = {share: [0.1, 0.2, 0.3, 0.2, 0.1] for share in (0.0, 0.5, 1.0)}
    claims = report(made_up({0.0: 0.01, 0.5: 0.1, 1.0: 0.3}, finals))["claims"]
    assert [claim["verdict"] for claim in claims] == ["holds", "fails", "holds", "undecided"]


def test_the_first_third_does_not_count():
    frame = summaries(inverted_u())
    assert frame.loc[frame["share"] == 0.0, "variation"].to_numpy() == pytest.approx(0.01 * (1 + 0.1 * np.arange(5)))


def test_the_interior_is_the_mean_over_all_shares_between():
    table = pd.DataFrame({0.0: [0.0, 0.0], 0.2: [1.0, 2.0], 0.5: [3.0, np.nan], 1.0: [9.0, 9.0]})
    assert arm(table, INTERIOR).tolist() == [2.0, 2.0] and arm(table, 1.0).tolist() == [9.0, 9.0]
    assert arm(table, 0.7).isna().all()
    assert arm(table[[0.0, 1.0]], INTERIOR).isna().all()


def test_without_a_mixed_share_its_claims_are_not_tested(project):
    frame = inverted_u()
    written = report(frame[frame["share"].isin([0.0, 1.0])])
    verdicts = [claim["verdict"] for claim in written["claims"]]
    assert verdicts == ["not tested", "not tested", "holds", "not tested"]


def test_the_gate_takes_runs_out_of_means_and_medians(project):
    frame = summaries(inverted_u(weak=((0.0, 0), (0.2, 1), (0.5, 1), (0.2, 2))))
    # replicate 0 lacks its end, replicate 1 its interior, replicate 2 has one of two interior shares left
    values = contrast(frame, "mixtures-less-stable-than-right-branching", gated=True)
    np.testing.assert_allclose(values, [0.39 * 1.2, 0.29 * 1.3, 0.29 * 1.4])
    deviation = by_share(frame, "deviation", gated=True)
    np.testing.assert_allclose(deviation[0.2], [0.8, np.nan, np.nan, 0.0, 0.2])  # median of 0, .8 and 1
    written = report(inverted_u(weak=(*((1.0, replicate) for replicate in range(5)), (0.2, 0))))
    table = pd.read_csv(written["folder"] / "shares.csv").set_index("share")
    assert table["learned_runs"].tolist() == [5, 4, 5, 0] and np.isnan(table.loc[1.0, "learned_variation"])
    assert table.loc[0.2, "variation"] == pytest.approx(0.2 * 1.2)  # swings grow by a tenth per replicate
    assert table.loc[0.2, "learned_variation"] == pytest.approx(0.2 * 1.25)
    contrasts = pd.read_csv(written["folder"] / "contrasts.csv")
    gated = contrasts[contrasts["runs"] == "learned"]
    assert gated["pairs"].tolist() == [5, 0, 0, 5] and len(contrasts) == 2 * len(CONTRASTS)
    captions = {table["name"]: table["caption"] for table in written["tables"]}
    assert all("Empty cells:" in caption for caption in captions.values())


def test_spread_is_the_standard_deviation_with_its_jackknife_error():
    values = np.random.default_rng(0).normal(size=400)
    spread, error = result.spread_and_error(values)
    assert spread == pytest.approx(values.std(ddof=1)) and error == pytest.approx(1 / np.sqrt(800), rel=0.15)
    assert result.spread_and_error(np.array([0.1, 0.9])) == (0.0, 0.0)


def test_classes_follow_the_threshold():
    runs = made_up({0.0: 0.1}, {0.0: [0.0, 0.5, 0.9, 0.05]}, weak=((0.0, 3),))
    assert result.classes(runs, 0.0, stable=0.5).tolist() == ["linear", "neither", "hierarchical", "not learned"]
    assert result.classes(runs, 0.0, stable=0.105).tolist() == ["linear", "unstable", "unstable", "not learned"]
    figure = plotting.classes_figure(runs, result.classes(runs, 0.0, stable=0.105), 0.0, 0.105)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["linear (1)", "unstable (2)", "not learned (1)"]


def test_a_small_study_reports_and_replays_to_the_same_bytes(project):
    torch.set_num_threads(1)
    points = share_points(SimpleNamespace(**TINY), 10_000)
    results = [
        {name: value.numpy() for name, value in grammar_population(**point).items() if torch.is_tensor(value)}
        for point in points
    ]
    folder = report(share_runs(points, results))["folder"]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"variation.png", "trajectories.png", "finals.png", "shares.csv", "contrasts.csv"} < set(before)
    replayed = Study.replay(folder)
    replayed.declare(result.CLAIMS)
    for write in result.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_many_shares_make_rows_of_panels_and_hide_what_is_left():
    finals = {share: [0.1, 0.4] for share in (0.0, 0.1, 0.2, 0.5, 0.7, 1.0)}
    figure = plotting.panels_figure(made_up(dict.fromkeys(finals, 0.1), finals))
    assert len(figure.axes) == 10 and sum(ax.get_visible() for ax in figure.axes) == 6
