"""Notebook 01: ways of training that must agree, their rows, and verdicts on made rows."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling import population_engine
from twelvefold.papers.random_scaling.bimodal import engine, plotting
from twelvefold.tasks.examples import Examples
from twelvefold.tasks.prompt_populations import prompt_population, task_of

SCALE = {
    "members": 4, "width": 8, "layers": 1, "heads": 1, "networks": {"attention only": 0, "full block": 12},
    "settings": {"alphabet": 6, "lengths": [[2, 1], [3, 1]]}, "batch": 3, "updates": 5, "compared": 3,
    "learning_rate": 1e-3, "epsilon": 1e-6, "decoded_settings": {"alphabet": 6, "lengths": [[1, 1]]},
    "decoded_length": 1, "decoded_updates": 150, "decoded_rate": 1e-2, "prompts": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    """Points of a small scale and their results; the decoded rows."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    scale = SimpleNamespace(**SCALE)
    points, decoded = engine.engine_points(scale, 10_000), engine.decoded_point(scale, 10_000)
    results = [engine.train_by_way(**point) for point in points]
    rows = engine.decoded_rows(decoded, prompt_population(**decoded))
    torch.set_num_threads(threads)
    return points, results, rows


def rows_of(trained):
    points, results, decoded = trained
    return pd.concat([engine.engine_rows(list(SCALE["networks"]), points, results), decoded], ignore_index=True)


def reported(runs, report=population_engine.REPORT):
    study = Study("random_scaling/01_population_engine", "quick", 10_000, "cpu")
    study.scale(quick=SCALE, gpu=SCALE, paper=SCALE)
    study.declare(population_engine.CLAIMS)
    runs = study.runs(runs)
    for write in report:
        write(study, runs)
    study.done(seeds=range(4))
    return {claim["id"]: claim for claim in json.loads((study.folder / "study.json").read_text())["claims"]}, study


def test_the_real_rows_hold_and_can_be_replayed(project, trained):
    claims, study = reported(rows_of(trained))
    assert {id: claim["verdict"] for id, claim in claims.items()} == dict.fromkeys(claims, "holds")
    cases = {id: claim["estimate"]["n"] for id, claim in claims.items()}
    assert cases == {
        "alone-equals-population": 8, "chunks-equal-whole": 16, "order-does-not-matter": 8,
        "independent-implementation": 8, "vmap-agrees": 8, "teacher-forcing-is-greedy": 80,
    }  # fmt: skip
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    replayed = Study.replay(study.folder)
    replayed.declare(population_engine.CLAIMS)
    for write in population_engine.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in study.folder.iterdir()} == before


@pytest.mark.parametrize(("way", "column", "failing"), [
    ("alone", "loss_difference", "alone-equals-population"),
    ("alone", "weight_difference", "alone-equals-population"),
    ("chunks of 3", "weight_difference", "chunks-equal-whole"),
    ("chunks of 1", "loss_difference", "chunks-equal-whole"),
    ("reversed", "loss_difference", "order-does-not-matter"),
    ("torch.nn modules", "relative_difference", "independent-implementation"),
    ("torch.func.vmap", "relative_difference", "vmap-agrees"),
    ("decoded", "disagreements", "teacher-forcing-is-greedy"),
])  # fmt: skip
def test_one_difference_fails_its_claim_alone(project, trained, way, column, failing):
    runs = rows_of(trained)
    last = runs[(runs["way"] == way) & runs[column].notna()].index[-1]
    runs.loc[last, column] = 1
    claims, _ = reported(runs, (population_engine.decisions,))
    assert {id for id, claim in claims.items() if claim["verdict"] == "fails"} == {failing}
    assert claims[failing]["estimate"]["value"] == 1


def test_on_cuda_what_is_promised_for_a_cpu_is_not_tested(project, trained):
    ways = {point["way"] for point in engine.engine_points(SimpleNamespace(**SCALE), 10_000, "cuda")}
    assert ways == {"together", "torch.nn modules", "torch.func.vmap"}
    runs = rows_of(trained)
    claims, _ = reported(runs[~runs["way"].isin(engine.EXACT_WAYS)].reset_index(drop=True))
    untested = {id for id, claim in claims.items() if claim["verdict"] == "not tested"}
    assert untested == {"alone-equals-population", "chunks-equal-whole", "order-does-not-matter"}
    assert "kernels" in claims["alone-equals-population"]["note"]


def test_rows_keep_the_largest_difference_since_the_row_before():
    """Losses 1 of two members; the second way is off by 1/4 at update 5 of 8, which is shown in the row of update 6."""
    whole = {"loss": torch.ones(2, 8), "weights": torch.zeros(2, 3)}
    other = {"loss": torch.ones(2, 8), "weights": torch.tensor([[0.0, -2.0, 1.0], [0.0, 0.0, 0.0]])}
    other["loss"][1, 4] = 1.25
    points = [{"way": way, "members": [0, 1], "updates": 8} for way in ("together", "alone")]
    frame = engine.engine_rows(["n"], points, [whole, other])
    alone = frame[frame["way"] == "alone"].set_index(["member", "update"])
    assert sorted(set(frame["update"])) == [1, 2, 3, 4, 6, 8]
    assert alone["loss_difference"].sum() == alone.loc[(1, 6), "loss_difference"] == 0.25
    assert alone.loc[(1, 6), "relative_difference"] == pytest.approx(0.2)
    assert alone["weight_difference"].dropna().to_dict() == {(0, 8): 2.0, (1, 8): 0.0}


def test_every_member_and_way_has_its_own_data(trained):
    points, results, _ = trained
    first = {point["way"]: result for point, result in zip(points[:7], results[:7], strict=True)}
    assert first["together"]["loss"].shape == (4, 5) and first["torch.nn modules"]["loss"].shape == (4, 3)
    assert len(set(first["together"]["loss"][:, 0].tolist())) == 4
    task = task_of("copying", SCALE["settings"])
    config = engine.TransformerConfig(task.vocabulary, **points[0]["architecture"])
    whole = engine.drawn_batches(task, config, 10_000, [0, 1, 2], 3, 5)(4, slice(0, 3))
    single = engine.drawn_batches(task, config, 10_000, [2], 3, 5)(4, slice(0, 1))
    for part, own in zip(whole, single, strict=True):
        assert torch.equal(part[2], own[0])


def test_decoding_finds_what_teacher_forcing_finds_on_networks_that_are_sometimes_right(trained):
    rows = trained[2]
    assert (rows["disagreements"] == 0).all() and (rows["exact"] == rows["greedy"]).all()
    assert 0 < rows["exact"].sum() < rows["prompts"].sum()


def test_arguments_that_do_not_fit(trained):
    point = trained[0][0]
    with pytest.raises(ValueError, match="way = 'backwards'; known are"):
        engine.train_by_way(**{**point, "way": "backwards"})
    with pytest.raises(ValueError, match="members = 0, updates = 3"):
        engine.alone_and_together(point, 0, 3)
    ragged = Examples(np.ones((2, 5), dtype=np.int64), np.array([2, 3]), np.array([5, 5]))
    with pytest.raises(ValueError, match=r"prompts of \[2, 3\]"):
        engine.both_matches(None, {}, ragged, None)


def test_the_explored_network_is_the_same_alone_and_among_others(trained):
    alone, together = engine.alone_and_together(trained[0][0], 3, 4)
    assert alone.shape == (4,) and torch.equal(alone, together)
    figure = plotting.two_curves(alone, together)
    assert figure.axes[0].get_title(loc="left") == "largest difference 0"
    plotting.plt.close(figure)
