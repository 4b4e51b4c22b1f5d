"""Training and scoring of classifiers at tiny scale, and the two results that read them, end to end."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from twelvefold.core.study import Study
from twelvefold.core.sweep import SweepError, sweep
from twelvefold.papers.ddeq import classification_mnist, steps_tradeoff
from twelvefold.papers.ddeq.classification import evaluate_classifiers, final_solver, train_classifiers, trained
from twelvefold.papers.ddeq.cloud_batches import Order, particles, splits, stacked
from twelvefold.papers.ddeq.populations import (
    DDEQ,
    ONE_APPLICATION,
    SCALES,
    all_points,
    ddeq_points,
    networks,
    score_arm,
    train_populations,
)

RECIPE = {**SCALES["quick"]["recipe"], "steps": 4, "batch": 8, "warmup": 1, "record_at": [2, 4]}
TINY = {
    **SCALES["quick"], "train": 40, "test": 20, "points": 12, "particles": 3, "recipe": RECIPE,
    "network": {"width": 8, "heads": 2, "hidden": 8, "narrow": 4, "pooling": "mean"}, "solver": {"steps": 2},
    "baselines": [
        {"label": "PointNet", "kind": "pointnet", "sizes": {"widths": [4, 8], "head": [8], "transform_head": [4]}},
        {"label": "DeepSets, matched", "kind": "deepsets", "sizes": {"widths": [8], "head": [8]}},
        {"label": "Point Transformer", "kind": "point_transformer",
         "sizes": {"channels": [4, 8], "strides": [1, 2], "neighbours": 4, "head": 8}},
    ],
}  # fmt: skip


def scale_of(**more) -> SimpleNamespace:
    return SimpleNamespace(**(TINY | more))


def test_splits_differ_between_runs_and_do_not_overlap():
    first, second = (splits("mnist5k", 10_000, replicate, 40, 20) for replicate in (0, 1))
    assert len(first[0]) == 40 and len(first[1]) == 20
    assert not torch.equal(first[0].labels, second[0].labels)
    rows = {tuple(cloud.flatten().tolist()) for cloud in first[0].points}
    assert not rows & {tuple(cloud.flatten().tolist()) for cloud in first[1].points}


def test_stacked_clouds_drop_a_mask_that_says_nothing():
    training, test = stacked("mnist5k", 10_000, [0, 1], 10, 5, 12)
    assert training.points.shape == (2, 10, 12, 2) and training.mask is None
    whole, _ = stacked("mnist5k", 10_000, [0], 10, 5, None)
    assert whole.mask is not None and whole.mask.sum(-1).min() >= 46
    chosen = test.rows(torch.tensor([[1, 0], [3, 3]]))
    assert torch.equal(chosen.points[1, 0], test.points[1, 3]) and torch.equal(chosen.labels[0], test.labels[0, [1, 0]])


def test_an_epoch_sees_every_cloud_once():
    order = Order(10_000, [0, 3], 12, 5)
    seen = torch.cat([order(0), order(1)], 1)
    assert all(len(set(row.tolist())) == 10 for row in seen)
    assert not torch.equal(order(2), order(0))
    assert torch.equal(Order(10_000, [3], 12, 5)(1), order(1)[1:])
    with pytest.raises(ValueError, match="batch = 13"):
        Order(0, [0], 12, 13)


def test_particles_belong_to_a_replicate_and_a_purpose():
    one = particles(10_000, [0, 1], "test particles", (2, 3, 4))
    assert torch.equal(one[1:], particles(10_000, [1], "test particles", (2, 3, 4)))
    assert not torch.equal(one, particles(10_000, [0, 1], "particles 0", (2, 3, 4)))


def test_a_member_trains_as_it_would_alone(project):
    scale = scale_of(runs=3)
    (together,) = ddeq_points(scale, 10_000)
    alone = train_classifiers(**{**together, "members": [1]})
    made = train_classifiers(**together)
    for name, weight in trained(made)[0].items():
        # Adam divides by the size of a gradient: rounding of tiny ones shows; another member is 0.1 and more away
        torch.testing.assert_close(trained(alone)[0][name], weight[1:2], atol=2e-3, rtol=0)


def test_scores_are_those_of_a_longer_and_a_shorter_solve(project):
    (point,) = ddeq_points(scale_of(runs=2), 10_000)
    (many,) = sweep(evaluate_classifiers, [{"training": point, "steps": [0, 1, 3]}])
    (few,) = sweep(evaluate_classifiers, [{"training": point, "steps": [3]}])
    assert many["found"].shape == (2, 3, 20) and many["residual"].dtype == np.float32
    np.testing.assert_allclose(many["residual"][:, 2], few["residual"][:, 0], rtol=1e-4)
    assert (many["applied"][:, 2] == few["applied"][:, 0]).mean() > 0.95


def test_the_accuracy_recorded_last_is_the_final_one(project):
    points = all_points(scale_of(runs=2), 10_000)
    results = train_populations(points, "cpu")
    for label, own in points.items():
        (score,) = score_arm(own, "cpu")
        right = score["right"] if "right" in score else score["applied"][:, 0]
        np.testing.assert_allclose(right.mean(-1), results[label][0]["accuracy"][:, -1], atol=1e-6)


def test_shards_train_the_same_members(project):
    whole, parts = (ddeq_points(scale_of(runs=3, shard=shard), 10_000) for shard in (3, 2))
    assert [point["members"] for point in parts] == [[0, 1], [2]]
    joined = np.concatenate([result["accuracy"] for result in sweep(train_classifiers, parts)])
    np.testing.assert_allclose(joined, sweep(train_classifiers, whole)[0]["accuracy"], atol=0.101)


def test_a_late_solver_takes_over_and_step_decay_lowers_the_rate(project):
    late = {"from_epoch": 0, "steps": 3, "step_size": 1.0}
    recipe = {**RECIPE, "late": late, "decay": "step", "factor": 0.2, "every": 1}
    (point,) = ddeq_points(scale_of(runs=1, recipe=recipe), 10_000)
    assert final_solver(point) == {"steps": 3, "step_size": 1.0}
    (direct,) = ddeq_points(scale_of(runs=1, recipe={**recipe, "late": None}, solver={"steps": 3, "step_size": 1.0}),
                            10_000)
    late_weights, direct_weights = (trained(train_classifiers(**one))[0] for one in (point, direct))
    assert all(torch.equal(weight, direct_weights[name]) for name, weight in late_weights.items())
    (control,) = ddeq_points(scale_of(runs=1, recipe=recipe), 10_000, steps=0)
    assert control["recipe"]["late"] is None and control["solver"]["steps"] == 0


def test_dropout_and_padding_train(project):
    network = {**TINY["network"], "dropout": 0.2}
    (point,) = ddeq_points(scale_of(runs=2, network=network, points=None), 10_000)
    assert train_classifiers(**point)["accuracy"].shape == (2, 2)


def test_bad_points_name_what_is_wrong(project):
    (point,) = ddeq_points(scale_of(runs=1), 10_000)
    with pytest.raises(SweepError, match="train = None"):
        sweep(train_classifiers, [{**point, "data": {**point["data"], "train": None}}])
    with pytest.raises(ValueError, match="known are"):
        splits("mnist", 0, 0, 1, 1)
    decaying = {"training": point, "steps": [1, 2], "solver": {"decay": 0.9}}
    with pytest.raises(SweepError, match="constant step size"):
        sweep(evaluate_classifiers, [decaying])


def test_networks_return_weights_and_test_clouds(project):
    scale = scale_of(runs=2)
    points = ddeq_points(scale, 10_000)
    ((config, weights, test),) = networks(points, "cpu")
    assert config.width == 8 and weights["head.weight"].shape == (2, 8, 10) and test.points.shape == (2, 20, 12, 2)


def study_of(name, module, extra=None):
    values = TINY | (extra or {})
    study = Study(f"ddeq/{name}", "quick", 10_000, "cpu")
    scale = study.scale(quick=values, gpu=values, paper=values)
    study.declare(module.CLAIMS)
    return study, scale


def finished(study, module, runs):
    for write in module.REPORT:
        write(study, runs)
    study.done(seeds=range(5))
    again = Study.replay(study.folder)
    again.declare(module.CLAIMS)
    for write in module.REPORT:
        write(again, again.runs())
    return {row.claim.id: row for row in study._verdicts.decisions()}


def test_result_2_is_decided_from_its_rows(project):
    study, scale = study_of("02_classification_mnist", classification_mnist)
    arms = all_points(scale, study.seed)
    scores = {label: score_arm(points, study.device) for label, points in arms.items()}
    runs = study.runs(classification_mnist.tidy(arms, train_populations(arms, study.device), scores))
    made = finished(study, classification_mnist, runs)
    assert made["parameter-counts"].verdict == "holds"
    assert made["non-inferior-in-3d"].verdict == "not tested"
    ddeq, one = (runs[(runs["kind"] == "test") & (runs["arm"] == arm) & (runs["output"] == "F(Z)")]["accuracy"].mean()
                 for arm in (DDEQ, ONE_APPLICATION))
    assert made["equilibrium-worth-its-cost"].estimate.value == pytest.approx(ddeq - one)


def test_result_5_is_decided_from_its_rows(project):
    extra = {"trained_steps": [2, 0], "steps": [0, 1, 2, 4]}
    study, scale = study_of("05_steps_tradeoff", steps_tradeoff, extra)
    arms = {number: ddeq_points(scale, study.seed, steps=number) for number in scale.trained_steps}
    scores = {number: score_arm(points, study.device, steps=scale.steps) for number, points in arms.items()}
    runs = study.runs(steps_tradeoff.tidy(arms, scores, scale.steps))
    assert len(runs) == 2 * 5 * 4
    made = finished(study, steps_tradeoff, runs)
    assert made["accuracy-rises-with-training-steps"].verdict == "not tested"
    rows = runs[runs["trained_steps"] == 2]
    change = (rows[rows["steps"] == 4]["log_residual"].to_numpy() - rows[rows["steps"] == 2]["log_residual"].to_numpy())
    assert made["residual-falls-beyond-training-steps"].estimate.value == pytest.approx(change.mean())


def test_rank_correlations_are_within_runs():
    import pandas as pd

    rows = [{"trained_steps": 2, "replicate": r, "steps": s, "applied": value}
            for r, values in enumerate([[9, 1, 2, 3], [9, 3, 2, 1], [9, 5, 5, 5]]) for s, value in enumerate(values)]
    assert steps_tradeoff.rank_with_steps(pd.DataFrame(rows), "applied", 2).tolist() == [1.0, -1.0, 0.0]
    table = pd.DataFrame([{"trained_steps": n, "replicate": 0, "steps": n, "applied": n} for n in (0, 1, 5)])
    assert steps_tradeoff.rank_with_training(table).tolist() == [1.0]
    assert steps_tradeoff.rank_with_training(table[:2]) is None
