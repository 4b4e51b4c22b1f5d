"""Notebook 04: the sweeps at tiny sizes, the report from rows alone, and what is decided when nothing converges."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.ot.discrepancy import energy_distance
from twelvefold.papers.ddeq import gradient_check
from twelvefold.papers.ddeq.gradient_problems import FAMILIES, draw_problem
from twelvefold.papers.ddeq.gradient_study import example_slopes, flow_runs, gradient_runs
from twelvefold.papers.ddeq.network import NetworkConfig

NETWORK = {"width": 4, "narrow": 3, "heads": 2, "hidden": 6}
SMALL = {
    "families": ["as drawn", "doubled", "repelling"], "network": NETWORK, "particles": 3, "points": 5,
    "flow_steps": [0, 5], "step_size": 1.0, "polish": 120, "applications": [1, 2, 5, 10], "backward": 150,
    "truncated": 20, "directions": 3, "difference": 1e-4, "solves": 60,
}  # fmt: skip
LARGE = {
    **{name: SMALL[name] for name in ("step_size", "polish", "applications", "backward", "truncated")},
    "families": ["as drawn"], "network": {**NETWORK, "width": 8}, "particles": 4, "points": 6, "flow_steps": [5, 8],
}  # fmt: skip
SCALE = {"small": SMALL, "large": LARGE, "decay": 0.9}
FLOW = {"seed": 10_000, "replicates": [0, 1], "family": "as drawn", "network": NETWORK, "particles": 3, "points": 5,
        "steps": 12, "step_size": 1.0, "every": 4}  # fmt: skip
REPLICATES = list(range(5))


@pytest.fixture(scope="module")
def results():
    """Small networks, two chunks of large ones, and two flows."""
    small = [gradient_runs(10_000, REPLICATES, **SMALL)]
    large = [gradient_runs(10_000, part, **LARGE) for part in ([0, 1], [2])]
    return small, large, {name: flow_runs(**FLOW, decay=decay) for name, decay in (("constant", 1), ("decaying", 0.9))}


def reported(runs, scale=SCALE):
    study = Study("ddeq/04_gradient_check", "quick", 10_000, "cpu")
    study.dtype = "float64"
    study.scale(quick=scale, gpu=scale, paper=scale)
    study.declare(gradient_check.CLAIMS)
    runs = study.runs(runs)
    for write in gradient_check.REPORT:
        write(study, runs)
    study.done()
    return json.loads((study.folder / "study.json").read_text()), study


def verdicts(written):
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def replayed(study):
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    again = Study.replay(study.folder)
    again.declare(gradient_check.CLAIMS)
    for write in gradient_check.REPORT:
        write(again, again.runs())
    again.done()
    return before, {path.name: path.read_bytes() for path in study.folder.iterdir()}


def test_small_networks_decide_every_claim_and_replay_to_the_same_bytes(project, results):
    small, _, flows = results
    written, study = reported(gradient_check.rows_of_study(small, [], flows))
    found = verdicts(written)
    assert found["implicit-is-exact"] == found["training-code-is-one-step"] == "holds"
    assert "not tested" not in found.values()
    assert {figure["name"] for figure in written["figures"]} == {"flow", "cosines", "radius"}
    assert {table["name"] for table in written["tables"]} == {"equilibria", "cosines", "checks"}
    before, after = replayed(study)
    assert before == after


def test_large_networks_take_over_the_claims_about_cosines(project, results):
    small, large, flows = results
    runs = gradient_check.rows_of_study(small, large, flows)
    assert gradient_check.main_network(runs) == "large"
    assert gradient_check.stages(runs, "large") == [5, 8, None]
    written, study = reported(runs)
    claims = {claim["id"]: claim for claim in written["claims"]}
    assert claims["equilibria-are-found"]["estimate"]["n"] == 3
    assert claims["implicit-is-exact"]["estimate"]["n"] == len(gradient_check.converged(runs, "small", "as drawn"))
    assert claims["training-code-is-one-step"]["estimate"]["n"] == 15 + 3
    assert pd.read_csv(study.folder / "equilibria.csv")["radius"].isna().tolist() == [False] * 3 + [True]


def test_cosines_are_those_of_converged_replicates(project, results):
    runs = gradient_check.rows_of_study(results[0], [], results[2])
    columns = pd.DataFrame(results[0][0]["columns"])
    at_end = columns[(columns["kind"] == "equilibrium") & (columns["family"] == "as drawn")]
    kept = at_end[at_end["residual"] < 1e-8]["replicate"]
    after_five = columns[(columns["steps"] == 5) & (columns["family"] == "as drawn")].set_index("replicate")
    found = gradient_check.cosines(runs, "cosine_2", "small", "as drawn", 5)
    np.testing.assert_allclose(found, after_five.loc[kept, "cosine_2"], rtol=1e-4)
    implicit = gradient_check.cosines(runs, "cosine_implicit", "small", "as drawn", None)
    np.testing.assert_allclose(implicit, 1, atol=1e-9)


def test_where_nothing_converges_nothing_is_compared(project, results):
    columns = {name: list(values) for name, values in results[0][0]["columns"].items()}
    columns["residual"] = [1.0] * len(columns["residual"])
    written, study = reported(gradient_check.rows_of_study([{"columns": columns}], [], results[2]))
    found = verdicts(written)
    assert found.pop("training-code-is-one-step") == "holds"
    assert found.pop("equilibria-are-found") in ("fails", "undecided")
    assert set(found.values()) == {"not tested"}
    assert [figure["name"] for figure in written["figures"]] == ["flow"]


def test_a_gradient_that_points_elsewhere_fails(project, results):
    columns = {name: list(values) for name, values in results[0][0]["columns"].items()}
    at_end = [kind == "equilibrium" for kind in columns["kind"]]
    for name, height in (("cosine_1", -0.5), ("difference_cosine", 0.9)):
        noise = np.linspace(-1e-3, 1e-3, len(at_end))
        columns[name] = [height + shift if end or name == "cosine_1" else np.nan
                         for end, shift in zip(at_end, noise, strict=True)]  # fmt: skip
    columns["training_difference"] = [1e-3 if end else np.nan for end in at_end]
    found = verdicts(reported(gradient_check.rows_of_study([{"columns": columns}], [], results[2]))[0])
    for id in ("implicit-is-exact", "one-step-points-the-right-way", "truncated-solve-still-points"):
        assert found[id] == "fails"
    assert found["training-code-is-one-step"] == "fails" and found["more-applications-come-closer"] == "holds"


def test_the_sweeps_take_json_points(project):
    (made,) = sweep(flow_runs, [{**FLOW, "decay": 0.9}], dtype="float64")
    (again,) = sweep(gradient_runs, [{**LARGE, "seed": 10_000, "replicates": [0]}], dtype="float64")
    assert made["steps"] == [0, 0, 4, 4, 8, 8, 12, 12]
    assert again["columns"]["kind"] == ["inner", "inner", "equilibrium"] and "radius" not in again["columns"]


def test_a_flow_starts_at_the_discrepancy_of_the_start():
    made = flow_runs(**FLOW, decay=1.0)
    problem = draw_problem(NetworkConfig(**NETWORK), [FAMILIES["as drawn"]], 10_000, [0, 1], particles=3, points=5)
    expected = energy_distance(problem.start, problem.apply()(problem.start))[:, 0]
    torch.testing.assert_close(torch.tensor(made["mmd2"][:2], dtype=torch.float64), expected, atol=1e-12, rtol=0)


def test_more_applications_explore_nearer_slopes():
    sizes = {"seed": 10_000, "network": NETWORK, "particles": 3, "points": 5}
    one, exact, first, radius = example_slopes(1.0, 1, **sizes)
    many, same, last, _ = example_slopes(1.0, 40, **sizes)
    assert torch.equal(exact, same) and first < last and 0 < radius < 1
    torch.testing.assert_close(many, exact, atol=1e-6, rtol=1e-4)
    assert not torch.allclose(one, exact, atol=1e-6, rtol=1e-4)


def test_unknown_names_are_refused():
    with pytest.raises(KeyError, match="attracting"):
        gradient_runs(10_000, [0], **{**SMALL, "families": ["attracting"]})
    with pytest.raises(ValueError, match="divide"):
        gradient_runs(10_000, [0], **{**SMALL, "network": {**NETWORK, "heads": 3}})
