"""Notebook 03: sweeps, rows and report at tiny scale, the report for made rows, and the presets' own options."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.ddeq import completion_mnist
from twelvefold.papers.ddeq.completion import train_completion
from twelvefold.papers.ddeq.completion_clouds import SCORES
from twelvefold.papers.ddeq.completion_populations import (
    DDEQ,
    ONE_APPLICATION,
    PCN,
    SCALES,
    scoring_points,
    training_points,
)
from twelvefold.papers.ddeq.completion_scores import COPY, MORE, START, evaluate_completion, held_out
from twelvefold.papers.ddeq.plots.completion_mnist import LOOKS

SEED = 10_000
SMALL = {
    "train": 40, "test": 8, "observed": 12, "points": 16, "test_points": 20, "shown": 3,
    "network": {"width": 8, "narrow": 4, "heads": 2, "hidden": 8, "pooling": "mean"},
    "pcn": {"dense": 8, "latent": 8, "point_widths": [8, 8], "shared_width": 8, "decoder": [8], "folding": [8, 8],
            "grid": 2},
}  # fmt: skip


def tiny(preset="quick", **changes):
    """The values of a preset with networks, clouds and trainings of the smallest kind, its own options kept."""
    scale = {**SCALES[preset], **SMALL, **changes}
    for name in ("recipe", "pcn_recipe"):
        scale[name] = scale[name] | {"steps": 2, "batch": 4, "warmup": 0}
    return scale


def computed(scale, seed=SEED):
    points = scoring_points(scale, seed)
    results = sweep(evaluate_completion, points)
    return completion_mnist.frame(scale, points, results, held_out(points[0]["data"], seed, [0]))


def started():
    study = Study("ddeq/03_completion_mnist", "quick", SEED, "cpu")
    scale = study.scale(quick=tiny(), gpu=tiny(), paper=tiny())
    study.declare(completion_mnist.CLAIMS)
    return study, scale


def reported(study, runs):
    rows = study.runs(runs)
    for write in completion_mnist.REPORT:
        write(study, rows)
    study.done(seeds=range(5))
    return json.loads((study.folder / "study.json").read_text())


def test_a_tiny_study_runs_reports_and_replays_to_the_same_bytes(project):
    study, scale = started()
    written = reported(study, computed(scale))
    assert [claim["estimate"]["n"] for claim in written["claims"]] == [5, 5, 5, 5, 5, 1]
    assert written["claims"][-1]["verdict"] == "holds"
    assert written["claims"][-1]["estimate"]["value"] == 1_185_008 / 5_813_634
    captions = [shown["caption"] for shown in written["figures"] + written["tables"][:1]]
    assert all("5,000 real MNIST digits, a subset of the paper's 60,000; 5 training runs." in text for text in captions)
    table = pd.read_csv(study.folder / "scores.csv").set_index("arm")
    assert list(table.index) == list(completion_mnist.ARMS)
    assert table["precision"].isna().sum() == 2 and table["energy"].notna().all()
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    replayed = Study.replay(study.folder)
    replayed.declare(completion_mnist.CLAIMS)
    for write in completion_mnist.REPORT:
        write(replayed, replayed.runs())
    replayed.done()
    assert {path.name: path.read_bytes() for path in study.folder.iterdir()} == before


def test_rows_are_the_scores_and_the_drawn_points(project):
    scale = SimpleNamespace(**tiny())
    rows = computed(scale)
    scored = rows[rows["kind"] == "score"]
    assert len(scored) == 5 * len(completion_mnist.ARMS)
    point = {**training_points(scale, SEED, PCN)[0]}
    own = {name: point[name] for name in ("data", "seed", "members")}
    direct = evaluate_completion(PCN, point, **own)
    found = scored[scored["arm"] == PCN].sort_values("replicate")
    np.testing.assert_allclose(found["energy"].to_numpy(float), direct["made/energy"].numpy(), rtol=1e-5)
    drawn = rows[rows["kind"] == "point"]
    assert set(drawn["cloud"]) == {0, 1, 2}
    test = held_out(point["data"], SEED, [0])
    for part, mask in (("observed", test.observed_mask), ("deleted", test.deleted)):
        assert (drawn["part"] == part).sum() == int(mask[0, :3].sum())
    assert (drawn["arm"] == DDEQ).sum() == (drawn["arm"] == START).sum() == int(test.free[0, :3].sum())
    assert (drawn["arm"] == PCN).sum() == 3 * 8 and (drawn["part"] == "centre").sum() == 6


MADE = {DDEQ: (0.05, 0.4, 0.3), ONE_APPLICATION: (0.06, 0.4, 0.3), PCN: (0.049, 0.5, 0.2), COPY: (0.09, 0.35, 0.6),
        MORE: (0.08, 0.3, 0.5), START: (0.1, 0.5, 0.4)}  # fmt: skip
VERDICTS = ["holds", "fails", "holds", "holds", "holds", "holds"]


def made_rows(scale, values):
    """Rows of five runs with given scores, alike up to a little noise, and one drawn point of every part."""
    draws = np.random.default_rng(3)
    scored = [{"kind": "score", "arm": arm, "replicate": replicate, "precision": 0.2} | {
        name: value + 1e-4 * draws.standard_normal()
        for name, value in zip(SCORES[:3], values.get(arm, (1.0, 1.0, 1.0)), strict=True)
    } for arm in completion_mnist.ARMS for replicate in range(5)]  # fmt: skip
    drawn = [{"kind": "point", "arm": None, "part": part, "cloud": 0, "x": 0.0, "y": 0.1}
             for part in ("kept", "deleted", "centre", "observed")]  # fmt: skip
    return pd.concat([pd.DataFrame(scored), pd.DataFrame(drawn), completion_mnist.counted(scale)], ignore_index=True)


@pytest.mark.parametrize(("changes", "verdicts"), [
    ({}, VERDICTS),
    ({PCN: (0.04, 0.5, 0.2)}, [*VERDICTS[:3], "fails", *VERDICTS[4:]]),
    ({ONE_APPLICATION: (0.045, 0.4, 0.3)}, [*VERDICTS[:4], "fails", "holds"]),
    ({MORE: (0.04, 0.5, 0.5)}, ["fails", "holds", *VERDICTS[2:]]),
    ({START: (0.1, 0.5, 0.2)}, [*VERDICTS[:2], "fails", *VERDICTS[3:]]),
])  # fmt: skip
def test_claims_are_decided_by_the_rows_they_name(project, changes, verdicts):
    study, scale = started()
    written = reported(study, made_rows(scale, MADE | changes))
    assert [claim["verdict"] for claim in written["claims"]] == verdicts


def test_one_run_draws_but_decides_nothing_by_chance(project):
    study, _ = started()
    written = reported(study, computed(SimpleNamespace(**tiny(runs=1, shard=1))))
    assert [claim["verdict"] for claim in written["claims"]] == ["not tested"] * 5 + ["holds"]


def test_shards_of_members_make_the_same_rows(project):
    whole, parts = (computed(SimpleNamespace(**tiny(runs=3, shard=shard))) for shard in (3, 2))
    order = ["kind", "arm", "replicate", "part", "cloud", "x", "y"]
    whole, parts = (rows.sort_values(order, ignore_index=True) for rows in (whole, parts))
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("preset", ["gpu", "paper"])
def test_options_of_the_large_presets_run(project, preset):
    network = SCALES[preset]["network"] | {"width": 8, "narrow": 4, "heads": 8, "hidden": 8}
    # all points where the preset says so, and its digits replaced by those at hand
    seen = {name: SCALES[preset][name] for name in ("observed", "points", "test_points")}
    scale = SimpleNamespace(**tiny(preset, **seen, data="mnist5k", runs=1, shard=1, train=8, test=2, shown=1,
                                   network=network, solver=SCALES[preset]["solver"] | {"steps": 2}))  # fmt: skip
    if scale.recipe["late"] is not None:
        scale.recipe = scale.recipe | {"late": {"from_epoch": 1, "steps": 3, "step_size": 1.0}, "steps": 3}
    rows = computed(scale)
    scored = rows[rows["kind"] == "score"].set_index("arm")
    assert np.isfinite(scored[["energy", "chamfer", "coverage"]].to_numpy(float)).all()
    if preset == "paper":  # all points are seen: there are no further ones
        assert scored.loc[COPY, "energy"] == scored.loc[MORE, "energy"]


def test_arms_differ_in_what_they_should():
    scale = SimpleNamespace(**SCALES["paper"])
    (ddeq, *_), (one, *_) = (training_points(scale, 3, arm) for arm in (DDEQ, ONE_APPLICATION))
    assert one["solver"]["steps"] == 0 and one["recipe"]["late"] is None and ddeq["recipe"]["late"] is not None
    assert {name for name in ddeq if ddeq[name] != one[name]} == {"solver", "recipe"}
    assert len(training_points(scale, 3, PCN)) == 5 and len(scoring_points(scale, 3)) == 35
    assert [point["shown"] for point in scoring_points(scale, 3)[:5]] == [8, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="trained are"):
        training_points(scale, 3, COPY)


def test_every_arm_has_a_look_of_its_own():
    assert set(LOOKS) == set(completion_mnist.ARMS)
    assert len({style.color for style in LOOKS.values()}) == len({style.marker for style in LOOKS.values()}) == 8


def test_training_is_a_function_of_its_point(project):
    point = training_points(SimpleNamespace(**tiny(runs=2, shard=2)), SEED, DDEQ)[0]
    first, second = (train_completion(**point) for _ in range(2))
    assert all(bool((first[name] == second[name]).all()) for name in first)
