"""Notebook 01: the sweeps at tiny sizes, the report from rows alone, and what fails when the iteration is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.ot.polytope import alternating_projections, dykstra, project_polytope
from twelvefold.ot.transport_plan import unit_columns
from twelvefold.papers.s2t2 import sparse_sinkhorn
from twelvefold.papers.s2t2.projections import (
    drawn_scores,
    error_runs,
    iterate_runs,
    single_problem,
    support_runs,
)
from twelvefold.papers.s2t2.relabelling_study import relabelling_runs

SMALL = {"sources": 20, "targets": 6}
ERRORS = {"seed": 10_000, "replicates": list(range(140)), **SMALL, "scales": [0.1], "iterations": [1, 5, 100]}
SUPPORTS = {"seed": 10_000, "replicates": [0, 1, 2], **SMALL, "scales": [0.01, 1.0, 10.0, 100.0, 1000.0],
            "tolerance": 1e-8, "iterations": 3000}  # fmt: skip
ITERATES = {"seed": 10_000, **SMALL, "scale": 0.5, "iterations": [0, 1, 50]}
RELABELLING = {
    "sources": 4, "targets": 2, "texts": 8, "held_out": 3, "length": 6, "width": 8, "layers": 1, "source_steps": 3,
    "source_rate": 0.01, "steps": 2, "rate": 0.05, "batch": 2, "starts": 2,
    "kinds": ["sparse_sinkhorn", "column_softmax"],
}  # fmt: skip
SCALE = {"small": SMALL, "large": {"sources": 12, "targets": 3}, "relabelling": RELABELLING}


@pytest.fixture(scope="module")
def results() -> tuple[Any, ...]:
    """Small and large matrices, iterates, and training runs of a source model that has hardly learnt."""
    large = {"seed": 10_000, "replicates": [0], "sources": 12, "targets": 3, "peer": False, "dtype": "float32"}
    errors = {"small": [error_runs(**ERRORS)],
              "large": [error_runs(**large, scales=[0.1], iterations=[1, 5], reference=50)]}  # fmt: skip
    supports = {"small": [support_runs(**SUPPORTS)],
                "large": [support_runs(**large, scales=[0.1, 1.0], tolerance=1e-4, iterations=99)]}  # fmt: skip
    trained = [relabelling_runs(10_000, r, **RELABELLING) for r in range(5)]
    return errors, supports, iterate_runs(**ITERATES), trained


def reported(runs: pd.DataFrame) -> tuple[dict[str, Any], Study]:
    study = Study("s2t2/01_sparse_sinkhorn", "quick", 10_000, "cpu")
    study.scale(quick=SCALE, gpu=SCALE, paper=SCALE)
    study.declare(sparse_sinkhorn.CLAIMS)
    runs = study.runs(runs)
    for write in sparse_sinkhorn.REPORT:
        write(study, runs)
    study.done()
    return json.loads((study.folder / "study.json").read_text()), study


def verdicts(written: dict[str, Any]) -> dict[str, str]:
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def test_every_claim_is_decided_and_rows_alone_give_the_same_bytes(project: Path, results: tuple[Any, ...]) -> None:
    written, study = reported(sparse_sinkhorn.rows_of_study(*results))
    found = verdicts(written)
    about_matrices = ("solution-is-pots", "dykstra-converges", "alternation-goes-elsewhere", "support-of-a-vertex")
    assert {found[id] for id in about_matrices} == {"holds"} and "not tested" not in found.values()
    assert {figure["name"] for figure in written["figures"]} == {
        "iterates", "errors_small", "errors_large", "support_small", "support_large", "plans",
    }  # fmt: skip
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    again = Study.replay(study.folder)
    again.declare(sparse_sinkhorn.CLAIMS)
    for write in sparse_sinkhorn.REPORT:
        write(again, again.runs())
    again.done()
    assert before == {path.name: path.read_bytes() for path in study.folder.iterdir()}


def test_a_wrong_iteration_and_a_plan_that_is_not_learnt_fail(project: Path, results: tuple[Any, ...]) -> None:
    runs = sparse_sinkhorn.rows_of_study(*results)
    error, support, learnt = (runs["what"] == what for what in ("error", "support", "relabelling"))
    runs.loc[error, "dykstra"] = runs.loc[error, "alternation"]
    runs.loc[error, "peer"] = 1e-3
    runs.loc[support, "support"] = 60.0
    runs.loc[learnt, "recovered"] = 0.0
    runs.loc[learnt, "bits"] = runs.loc[learnt, "right_bits"] + np.linspace(0.5, 0.6, int(learnt.sum()))
    assert set(verdicts(reported(runs)[0]).values()) == {"fails"}


def test_errors_are_those_of_the_solvers() -> None:
    made = pd.DataFrame(error_runs(**{**ERRORS, "replicates": [3]})["columns"])
    mu, nu = unit_columns(20, 6, dtype=torch.float64)
    scores = 0.1 * drawn_scores(10_000, [3], 20, 6, torch.float64)
    exact = project_polytope(scores, mu, nu, iterations=2_000).plan
    for steps, row in made.set_index("iterations").iterrows():
        plans = {"dual": project_polytope(scores, mu, nu, iterations=steps).plan,
                 "dykstra": dykstra(scores, mu, nu, iterations=steps),
                 "alternation": alternating_projections(scores, mu, nu, iterations=steps)}  # fmt: skip
        for name, plan in plans.items():
            assert row[name] == pytest.approx(float((plan - exact).abs().max()), abs=1e-11)
            assert row[f"rows_{name}"] == pytest.approx(float((plan.sum(-1) - mu).abs().sum() / 6), abs=1e-11)
    assert made["peer"].max() < 1e-6


def test_large_scores_give_the_plan_of_the_linear_programme() -> None:
    made = pd.DataFrame(support_runs(**SUPPORTS)["columns"])
    last = made[made["scale"] == 1000]
    assert (last["peer"] < 1e-6).all() and (last["support"] <= 25).all()
    assert (made[made["scale"] == 0.01]["support"] > 60).all() and (made["marginal_error"] < 1e-8).all()


def test_iterates_start_at_the_scores() -> None:
    made = pd.DataFrame(iterate_runs(**ITERATES)["columns"])
    first = made[made["iterations"] == 0].pivot(index="row", columns="column", values="value").to_numpy()
    np.testing.assert_allclose(first, 0.5 * drawn_scores(10_000, [0], 20, 6, torch.float64)[0].numpy())
    last = made[made["iterations"] == 50].pivot(index="row", columns="column", values="value")
    np.testing.assert_allclose(last.sum(axis=0), 1)


def test_exploring_shows_the_exact_plan() -> None:
    scores, plans = single_problem(8, 4, 0.5, 3, seed=10_000)
    mu, nu = unit_columns(8, 4, dtype=torch.float64)
    torch.testing.assert_close(plans["exact"].sum(1), mu)
    assert set(plans) == {"exact", "dual", "dykstra", "alternation"} and scores.shape == plans["dual"].shape == (8, 4)


def test_the_best_start_is_kept() -> None:
    one = relabelling_runs(10_000, 0, **{**RELABELLING, "starts": 1})
    again = relabelling_runs(10_000, 0, **{**RELABELLING, "starts": 1})
    assert one == again
    four = relabelling_runs(10_000, 0, **{**RELABELLING, "starts": 4})
    assert four["plans"] != one["plans"] and four["classes"] == one["classes"]
    assert four["columns"]["right_bits"] == one["columns"]["right_bits"]


def test_a_training_run_is_described_in_full() -> None:
    made = relabelling_runs(10_000, 1, **RELABELLING)
    columns = pd.DataFrame(made["columns"])
    assert list(columns["kind"]) == RELABELLING["kinds"]
    softmax = np.array(made["plans"]["column_softmax"])
    np.testing.assert_allclose(softmax.sum(0), 1, rtol=1e-5)
    right = sum(softmax[s, c] for s, c in enumerate(made["classes"])) / softmax.sum()
    assert columns["right_mass"][1] == pytest.approx(right, rel=1e-5)
    assert columns["support"][1] == 4 and (columns["bits"] > 0).all()


def test_the_sweeps_take_json_points(project: Path) -> None:
    (made,) = sweep(error_runs, [{**ERRORS, "replicates": [0]}], dtype="float64")
    (again,) = sweep(relabelling_runs, [{"seed": 10_000, "replicate": 0, **RELABELLING}], dtype="float32")
    assert made["columns"]["iterations"] == [1, 5, 100] and len(again["classes"]) == 4


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind = 'dense'"):
        relabelling_runs(10_000, 0, **{**RELABELLING, "kinds": ["dense"]})
