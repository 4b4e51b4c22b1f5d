"""The five results end to end at tiny scale: sweeps, rows, reports; and the numbers that they derive from the rows."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.reporting import band_of, mean_and_error, rows_of
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.nn.functional_population import member
from twelvefold.papers.weight_ensembles import (
    basin,
    diversity,
    dynamics,
    experiments,
    mds,
    plotting,
    selection,
    training,
)
from twelvefold.papers.weight_ensembles.evaluation import Bench
from twelvefold.papers.weight_ensembles.images import Labelled, Task
from twelvefold.papers.weight_ensembles.populations import SCALES, population_points
from twelvefold.papers.weight_ensembles.recipes import FORCED, SELECTIONS
from twelvefold.papers.weight_ensembles.reporting import per_replicate

TINY = {**SCALES["quick"], "size": 7, "members": 6, "replicates": 5, "steps": 20, "batch": 8}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of its own, with its own cache and results; populations are shared by the tests of this module."""
    root = tmp_path_factory.mktemp("project")
    (root / "pyproject.toml").write_text("[project]\nname = 'toy'\n")
    (root / "lib").mkdir()
    (root / "notebooks" / "weight_ensembles").mkdir(parents=True)
    for name in ("01_selection", "02_dynamics", "03_diversity", "04_mds", "05_basin"):
        (root / "notebooks" / "weight_ensembles" / f"{name}.py").write_text("# %%\n")
    before, folder, pretraining = dict(os.environ), os.getcwd(), dict(training.PRETRAINING)
    training.PRETRAINING["steps"] = 30
    os.environ |= {
        "TWELVEFOLD_CACHE": str(root / "cache"),
        "TWELVEFOLD_OUT": str(root / "out"),
        "TWELVEFOLD_BATCH": "1",
    }
    os.chdir(root)
    yield root
    training.PRETRAINING.update(pretraining)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(before)


def scale_of(**more) -> SimpleNamespace:
    return SimpleNamespace(**TINY, **more)


def report(name, module, fn, extra, regimes=(None,), frame=experiments.tidy):
    study = Study(f"weight_ensembles/{name}", "quick", 10_000, "cpu")
    scale = study.scale(quick=TINY, gpu=TINY, paper=TINY)
    study.declare(module.CLAIMS)
    populations = [point for regime in regimes for point in population_points(scale, study.seed, regime)]
    points = [{"ingredients": point, **extra} for point in populations]
    runs = study.runs(frame(points, sweep(fn, points)))
    for write in module.REPORT:
        write(study, runs)
    study.done()
    return study, runs


PAIRS = {"pairs": 10, "shown": 5, "set_size": 3}
CASES = {
    "01_selection": (selection, experiments.selection_runs, {}, (None, "mild"), experiments.tidy),
    "02_dynamics": (dynamics, experiments.dynamics_runs, {"largest": 4}, (None,), experiments.tidy),
    "03_diversity": (
        diversity,
        experiments.pair_runs,
        {"pairs": 10, "shown": 5, "set_size": 3},
        (None,),
        experiments.tidy,
    ),
    "04_mds": (mds, experiments.mds_runs, {"copies": 2, "path_size": 3}, (None,), mds.frame),
    "05_basin": (basin, experiments.basin_runs, {"pairs": 2, "points": 3}, (None,), experiments.tidy),
}


@pytest.mark.parametrize("name", CASES)
def test_a_result_runs_reports_and_replays_to_the_same_bytes(project, name):
    module = CASES[name][0]
    study, runs = report(name, *CASES[name])
    folder = project / "out" / "weight_ensembles" / name
    written = json.loads((folder / "study.json").read_text())
    assert [claim["id"] for claim in written["claims"]] == [claim.id for claim in module.CLAIMS]
    assert all(claim["estimate"] is None or claim["estimate"]["n"] == 5 for claim in written["claims"])
    assert written["figures"] and written["tables"]
    assert all("MNIST stand-in" in shown["caption"] for shown in written["figures"] + written["tables"])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    replayed = Study.replay(folder)
    replayed.declare(module.CLAIMS)
    for write in module.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_selection_rows_hold_every_method_once_and_its_own_accuracy(project):
    study, runs = report("01_selection", *CASES["01_selection"])
    part = rows_of(runs, regime="heterogeneous", replicate=0)
    assert set(SELECTIONS) < set(part["method"]) and part["method"].is_unique
    bench = experiments.bench_of(population_points(study.scale_values, 10_000)[0])
    value = part.set_index("method")
    assert value.loc["uniform", "id"] == pytest.approx(float(bench.test(bench.weights.mean(0)[None])[0]), abs=1e-6)
    assert value.loc["mean individual", "ood"] == pytest.approx(
        float(bench.test(bench.weights, "ood").mean()), abs=1e-6
    )
    assert value.loc["best single", "validation"] == pytest.approx(float(bench.individual.max()), abs=1e-6)
    images = bench.task.tests["id"].inputs
    logits = sum(member(bench.model, row)(images).softmax(-1) for row in bench.weights)
    right = (logits.argmax(-1) == bench.task.tests["id"].labels).double().mean()
    assert value.loc["prediction ensemble", "id"] == pytest.approx(float(right), abs=1e-6)
    assert value.loc["forced random", "members"] == value.loc["greedy", "members"]
    with pytest.raises(KeyError, match="known are"):
        bench.test(bench.weights, "fog")
    with pytest.raises(ValueError, match="known are"):
        bench.pairwise("d_X")


def test_the_prediction_ensemble_averages_probabilities_not_logits():
    weights = torch.tensor(
        [[0.0, 0.0, 10.0, 0.0], [0.0, 0.0, 0.0, 3.0], [0.0, 0.0, 0.0, 3.0]]
    )  # two weights, two biases
    images = Labelled(torch.zeros(1, 1), torch.tensor([1]), torch.tensor([0]))
    task = Task(None, images, images, {"id": images}, classes=2)
    bench = Bench(torch.nn.Linear(1, 2), task, weights[:1], weights, torch.device("cpu"))
    assert bench.ensembles() == {"validation": 1.0, "id": 1.0}  # the mean of the logits would say class 0
    assert bench.individual_means()["id"] == pytest.approx(2 / 3)
    assert bench.individual.tolist() == [0.0, 1.0, 1.0]


def test_the_gpu_presets_network_runs_through_every_experiment(project):
    small = {
        **vars(scale_of()),
        **{key: SCALES["gpu"][key] for key in ("architecture", "regime")},
        "members": 4,
        "steps": 3,
    }
    point = population_points(SimpleNamespace(**small), 10_000)[0]
    assert experiments.selection_runs(point)["columns"]["blur"]
    assert experiments.dynamics_runs(point, 2)["columns"]["ood"]
    assert experiments.pair_runs(point, 4, 2, 2)["columns"]["kind"]
    assert experiments.mds_runs(point, 2, 2)["summary"]["d_E_stress"] >= 0
    assert experiments.basin_runs(point, 1, 3)["columns"]["alpha"] == [0.0, 0.5, 1.0] * 2


def test_points_are_the_same_in_every_notebook(project):
    points = population_points(scale_of(), 10_000)
    assert points == population_points(scale_of(extra=1), 10_000)
    assert [point["replicate"] for point in points] == list(range(5))
    assert population_points(scale_of(), 10_000, "mild")[0]["regime"] == "mild"


def test_area_is_the_mean_height():
    rows = [
        {"replicate": replicate, "method": "x", "members": size, "id": 0.5 + 0.1 * size * (replicate + 1)}
        for replicate in range(2)
        for size in range(1, 5)
    ]
    np.testing.assert_allclose(dynamics.area(pd.DataFrame(rows), "id", "x"), [0.75, 1.0])


def test_barrier_and_midpoint_by_hand():
    heights = {0: [0.8, 0.5, 0.6], 1: [0.8, 0.9, 0.8]}  # chord 0.7: barrier 0.2; above its chord: barrier 0
    rows = [
        {"replicate": 0, "initialisation": "shared", "pair": pair, "alpha": alpha, "id": height}
        for pair, values in heights.items()
        for alpha, height in zip((0.0, 0.5, 1.0), values, strict=True)
    ]
    assert basin.barriers(pd.DataFrame(rows), "shared")[0] == pytest.approx(0.1)
    assert basin.midpoint_gains(pd.DataFrame(rows), "shared")[0] == pytest.approx((-0.2 + 0.1) / 2)


def test_pair_gain_is_accuracy_of_the_average_minus_mean_accuracy(project):
    point = population_points(scale_of(), 10_000)[0]
    columns = pd.DataFrame(experiments.pair_runs(point, None, 15, 3)["columns"])
    bench = experiments.bench_of(point)
    pairs = rows_of(columns, kind="pair").reset_index(drop=True)
    assert len(pairs) == 15
    single = bench.test(bench.weights)
    row, first, second = 7, *np.stack(np.triu_indices(6, 1), 1)[7]
    middle = bench.test(((bench.weights[first] + bench.weights[second]) / 2)[None])[0]
    assert pairs.loc[row, "id_gain"] == pytest.approx(float(middle - (single[first] + single[second]) / 2), abs=2e-6)
    assert pairs.loc[row, "d_E"] == pytest.approx(
        float((bench.weights[first] - bench.weights[second]).norm()), abs=1e-3
    )
    choices = rows_of(columns, kind="choice").set_index("rule")
    assert choices.loc["most diverse", "d_D"] == pairs["d_D"].max()
    assert choices.loc["best on validation", "validation"] == pairs["validation"].max()


def test_basin_refuses_too_many_pairs(project):
    with pytest.raises(ValueError, match="accepted are 1 to 3"):
        experiments.basin_runs(population_points(scale_of(), 10_000)[0], 4, 3)


def test_every_method_has_a_style_of_its_own():
    names = [*SELECTIONS, *(f"forced {rule}" for rule in FORCED), "uniform", "best single", "prediction ensemble"]
    assert {plotting.style_of(name).color for name in names} == {style.color for style in plotting.STYLES.values()}
    assert len({style.color for style in plotting.STYLES.values()}) == len(plotting.STYLES)
    with pytest.raises(KeyError):
        plotting.style_of("magic")


def test_small_numbers_of_replicates_are_drawn_but_not_claimed():
    assert band_of(np.array([0.5])) == (0.5, 0.5, 0.5) and mean_and_error(np.array([0.5])) == (0.5, 0.0)
    runs = pd.DataFrame({"replicate": [1, 0, 0], "x": [3.0, 1.0, 2.0], "method": ["a"] * 3})
    np.testing.assert_array_equal(per_replicate(runs, "x", method="a"), [1.5, 3.0])
    with pytest.raises(KeyError, match="no row"):
        per_replicate(runs, "x", method="b")
