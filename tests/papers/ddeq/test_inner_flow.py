"""Notebook 01: rows, report and verdicts, from the sweeps at tiny size and from rows with known answers."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.ddeq import inner_flow
from twelvefold.papers.ddeq.inner_solves import ITERATION, SOLVERS, inner_checks, inner_solves
from twelvefold.papers.ddeq.populations import SCALES, ddeq_points

AT = [0, 3, 6]
TINY = {
    **SCALES["quick"], "train": 8, "test": 6, "points": 5, "particles": 3, "checkpoints": AT, "clouds": 3, "probes": 1,
    "network": {"width": 8, "heads": 2, "hidden": 8, "narrow": 4, "pooling": "mean"},
    "solver": {"steps": 1, "step_size": 5.0},
    "recipe": SCALES["quick"]["recipe"] | {"steps": 2, "batch": 4, "warmup": 0, "record_at": [2]},
}  # fmt: skip
# log residual at the end, by arm, in which every claim about trained networks holds
TABLES = [inner_flow.ends_table, inner_flow.networks_table, inner_flow.decisions]
TOWARDS_PAPER = dict(zip(SOLVERS, (-10.0, -8.0, -11.0, -5.0, -3.0, 0.0, -1.0), strict=True))


def reported(rows, writers=inner_flow.REPORT, **changes):
    study = Study("ddeq/01_inner_flow", "quick", 10_000, "cpu")
    scale = study.scale(quick=TINY | changes, gpu=TINY, paper=TINY)
    study.declare(inner_flow.CLAIMS)
    runs = study.runs(rows(scale) if callable(rows) else rows)
    for write in writers:
        write(study, runs)
    study.done(seeds=range(5))
    return json.loads((study.folder / "study.json").read_text()), study.folder, runs


def computed(scale):
    training = ddeq_points(scale, 10_000)
    points = inner_flow.solve_points(training, scale.checkpoints, scale.clouds)
    checks = inner_flow.check_points(points, scale.probes, scale.checkpoints[-1])
    return inner_flow.tidy(points, sweep(inner_solves, points), sweep(inner_checks, checks))


def made(ends, untrained=(0.0, -1.0), falling=0.99, error=1e-12, runs=5, clouds=4):
    """Rows from results as the sweeps return them: log residuals that start at 0 and end at `ends`, with a small
    scatter over runs; `untrained`: the ends of iteration and of every other solver."""
    points, solved, checked = [], [], []
    training = [{"solver": {"step_size": 5.0}, "sizes": {"width": 8}, "members": list(range(runs))}]
    for point in inner_flow.solve_points(training, AT, clouds):
        labels = [arm["label"] for arm in point["arms"]]
        if point["weights"] == "trained":
            last = np.array([ends[label] for label in labels])
        else:
            last = np.array([untrained[label != ITERATION] for label in labels])
        scatter = 1e-2 * np.random.default_rng(len(labels)).random((len(labels), runs, clouds))
        logs = np.stack([np.zeros_like(scatter), last[:, None, None] / 2 + scatter, last[:, None, None] + scatter], 2)
        shape = (len(labels), runs)
        ones = np.ones((*shape, clouds))
        shares = np.clip(np.full(shape, falling) + 1e-3 * scatter[..., 0], 0, 1)
        solved.append({"residual": np.exp(logs), "falling": shares, "by_rows": ones, "matched": ones / 2,
                       "spread": 2 * ones})  # fmt: skip
        checked.append({"radius": np.tile([0.2, 0.3, 0.7], (runs, 1)), "witness_error": np.full((runs, 3), error)})
        points.append(point)
    return inner_flow.tidy(points, solved, checked)


def verdicts(written):
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def test_the_study_runs_from_training_to_verdicts_and_replays_to_the_same_bytes(project):
    written, folder, runs = reported(computed)
    assert set(verdicts(written)) == {claim.id for claim in inner_flow.CLAIMS}
    assert all(claim["estimate"]["n"] == 5 for claim in written["claims"])
    assert len(runs) == 5 * (5 + 7) * (len(AT) + 1) + 2 * 5
    assert all("5,000 real MNIST digits" in part["caption"] for part in written["figures"] + written["tables"])
    assert verdicts(written)["witness-form-is-the-gradient"] == "holds"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    replayed = Study.replay(folder)
    replayed.declare(inner_flow.CLAIMS)
    for write in inner_flow.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_every_claim_can_hold(project):
    written, folder, _ = reported(made(TOWARDS_PAPER), TABLES)
    assert set(verdicts(written).values()) == {"holds"}
    estimates = {claim["id"]: claim["estimate"]["value"] for claim in written["claims"]}
    assert estimates["flow-beats-iteration-trained"] == pytest.approx(10, abs=0.02)
    assert estimates["flow-beats-iteration-untrained"] == pytest.approx(1, abs=0.02)
    assert estimates["flow-beats-anderson-trained"] == pytest.approx(9, abs=0.02)
    assert estimates["gradient-through-f-matters"] == pytest.approx(7, abs=0.02)
    assert estimates["decaying-step-beats-constant"] == pytest.approx(1, abs=0.02)
    assert estimates["flow-reaches-tolerance"] == pytest.approx(-10, abs=0.02)
    table = pd.read_csv(folder / "ends.csv")
    assert table["reached"].tolist() == [0] * 5 + [1, 0, 1, 0, 0, 0, 0]
    networks = pd.read_csv(folder / "networks.csv")
    assert networks["radius"].tolist() == [0.3, 0.3] and networks["largest_radius"].tolist() == [0.7, 0.7]


def test_every_claim_can_fail(project):
    opposite = dict(zip(SOLVERS, (-1.0, -8.0, 0.0, -5.0, -3.0, -9.0, -9.0), strict=True))
    written, _, _ = reported(made(opposite, untrained=(-9.0, -1.0), falling=0.8, error=1e-3), [inner_flow.decisions])
    assert set(verdicts(written).values()) == {"fails"}


def test_fewer_than_five_runs_decide_nothing_about_the_method(project):
    written, _, _ = reported(made(TOWARDS_PAPER, runs=3), [inner_flow.decisions], runs=3)
    found = verdicts(written)
    assert found.pop("witness-form-is-the-gradient") == "holds" and set(found.values()) == {"not tested"}


def test_a_residual_of_zero_or_below_counts_as_rounding():
    residual = np.array([[1.0, 4.0], [0.0, -1e-7], [1e-5, 1e-30]])
    rows = inner_flow._path_rows({}, AT, residual)
    floor = math.log(inner_flow.ROUNDING)
    assert [row["log_residual"] for row in rows] == pytest.approx([math.log(2), floor, floor], rel=1e-5)
    assert rows[1]["log_relative"] == pytest.approx(floor - math.log(2), rel=1e-5)
    assert [row["reached"] for row in rows] == [0.0, 1.0, 1.0] and rows[0]["residual"] == 2.5


def test_rows_are_small_and_untrained_networks_have_the_arms_of_their_claims():
    rows = made(TOWARDS_PAPER)
    arms = rows[rows["kind"] == inner_flow.END].groupby("weights")["arm"].unique()
    assert tuple(arms["trained"]) == SOLVERS and tuple(arms["untrained"]) == inner_flow.ON_UNTRAINED
    numbers = rows.select_dtypes("float").to_numpy().ravel()
    assert all(float(f"{number:.6g}") == number for number in numbers[np.isfinite(numbers)])
    with pytest.raises(KeyError, match="no row"):
        inner_flow.at_the_end(rows, "residual", "trained", "no solver")


@pytest.mark.parametrize("preset", ["gpu", "paper"])
def test_the_networks_of_the_larger_presets_run_through_the_sweeps(project, preset):
    scale = SCALES[preset]
    sizes = scale["network"] | {"width": 32, "hidden": 16, "dropout": 0.1}
    training = {
        "kind": "ddeq", "sizes": sizes, "solver": scale["solver"] | {"steps": 1}, "particle_count": 4, "seed": 10_000,
        "recipe": scale["recipe"] | {"steps": 2, "batch": 4, "warmup": 0, "record_at": [2]}, "members": [0, 1],
        "data": {"name": "mnist5k", "train": 8, "test": 4, "points": None},
    }  # fmt: skip
    points = inner_flow.solve_points([training], AT, 2)
    checks = inner_flow.check_points(points, 1, 6)
    rows = inner_flow.tidy(points, sweep(inner_solves, points), sweep(inner_checks, checks))
    trained = rows[(rows["weights"] == "trained") & (rows["kind"] == inner_flow.NETWORK)]
    assert len(trained) == 2 and float(trained["witness_error"].max()) < 1e-8
