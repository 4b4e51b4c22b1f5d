"""Completion networks: what is cut and seen, entropy, scores, training of populations, and evaluation."""

import math
from dataclasses import replace

import pytest
import torch
from scipy.spatial.distance import cdist
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.batch_norm import Recorder
from twelvefold.nn.stacked import stack
from twelvefold.nn.stacked_training import train
from twelvefold.papers.ddeq import completion, completion_scores
from twelvefold.papers.ddeq.baselines import pcn
from twelvefold.papers.ddeq.cloud_batches import Order, stacked
from twelvefold.papers.ddeq.completion_clouds import (
    SCORES,
    entropy,
    holed,
    holed_members,
    particle_count,
    scores,
)
from twelvefold.papers.ddeq.equilibrium import Solver
from twelvefold.papers.ddeq.flow_embedding import decode
from twelvefold.tasks.cloud_completion import RADIUS
from twelvefold.tasks.point_clouds import clouds_of, mnist_clouds

SEED = 10_000
DATA = {"name": "mnist5k", "train": 40, "test": 6, "observed": 20, "points": 24, "test_points": 30}
NETWORK = {"width": 8, "narrow": 4, "heads": 2, "hidden": 8, "pooling": "mean"}
PCN = {"dense": 8, "latent": 8, "point_widths": [8, 8], "shared_width": 8, "decoder": [8], "folding": [8, 8], "grid": 2}
RECIPE = {"steps": 3, "batch": 4, "learning_rate": 1e-2, "warmup": 1, "decay": "cosine", "clip": 1.0}
EQUILIBRIUM = RECIPE | {"entropy": 1e-6, "late": None}


def point(kind="ddeq", members=(0, 1), steps=2, **changes):
    own = {"sizes": NETWORK, "recipe": EQUILIBRIUM, "solver": {"steps": steps}} if kind == "ddeq" else {
        "sizes": PCN, "recipe": RECIPE | {"alpha_at": [1, 2, 3]}, "solver": None}  # fmt: skip
    return {"kind": kind, "data": DATA, "seed": SEED, "members": list(members), **own, **changes}


def digits(*numbers):
    return mnist_clouds("mnist5k").select(torch.tensor(numbers))


def batch_of(members=(0, 1)):
    training, _ = stacked("mnist5k", SEED, members, 5, 2, None)
    return holed_members(training, SEED, members, "a test", 20, 24)


def network(members=(0, 1)):
    config = completion.architecture("ddeq", NETWORK)
    drawn = [completion.draw_completion(config, torch_generator(SEED, m, "initial weights")) for m in members]
    return config, stack(drawn)


def test_no_observed_point_lies_in_a_hole_and_every_deleted_one_does():
    made = holed(digits(0, 600, 4000), torch.Generator().manual_seed(0), observed=25)
    for cloud in range(3):
        near = cdist(made.truth[cloud].numpy(), made.centres[cloud].numpy()).min(1) <= RADIUS + 1e-6
        assert (made.deleted[cloud].numpy() == (near & made.truth_mask[cloud].numpy())).all()
        seen = made.observed[cloud][made.observed_mask[cloud]]
        assert cdist(seen.numpy(), made.centres[cloud].numpy()).min() > RADIUS
        assert torch.equal(made.particles[cloud][made.fixed[cloud]], seen)
        m = int(made.observed_mask[cloud].sum())
        assert int(made.mask[cloud].sum()) == math.floor(1.275 * m) == particle_count(m)
        outside = made.outside[cloud][made.outside_mask[cloud]]
        assert torch.equal(outside[:m], seen) and len(outside) <= particle_count(25)
    assert made.observed.shape[1] == 25 and made.particles.shape[1] == 31 and (made.free.sum(1) == 6).any()


def test_all_points_are_seen_where_no_number_is_given():
    made = holed(digits(3), torch.Generator().manual_seed(0))
    assert torch.equal(made.observed_mask, made.truth_mask & ~made.deleted)
    assert torch.equal(made.outside, made.observed)


def test_a_cloud_of_which_nothing_is_left_is_refused():
    tiny = clouds_of([torch.tensor([[0.0, 0.0], [0.1, 0.0]])], [0])
    with pytest.raises(ValueError, match="observed"):
        holed(tiny, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="radius"):
        holed(digits(0), torch.Generator().manual_seed(0), radius=0.0)


@pytest.mark.parametrize("bandwidth", [0.5, 1.0])
def test_entropy_is_the_direct_formula(bandwidth):
    points = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mask = torch.tensor([[True, True, False, True, True], [True, True, True, True, True]])
    made = entropy(points, mask, bandwidth)
    for cloud in range(2):
        chosen = points[cloud][mask[cloud]].tolist()
        logs = []
        for i, (x, y) in enumerate(chosen):
            kernels = [math.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * bandwidth**2)) / (2 * math.pi * bandwidth**2)
                       for j, (a, b) in enumerate(chosen) if j != i]  # fmt: skip
            logs.append(math.log(sum(kernels) / len(kernels)))
        assert float(made[cloud]) == pytest.approx(-sum(logs) / len(logs), abs=1e-12)


def test_entropy_pushes_points_apart_and_is_0_for_a_single_one():
    points = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [9.0, 9.0]]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    (gradient,) = torch.autograd.grad(entropy(points, mask).sum(), points)
    assert gradient[0, 1, 0] > 0 and torch.equal(gradient[0, 2], torch.zeros(2)) and gradient.isfinite().all()
    alone = entropy(points, torch.tensor([[True, False, False]]))
    (gradient,) = torch.autograd.grad(alone.sum(), points)
    assert float(alone.detach()) == 0 and torch.equal(gradient, torch.zeros_like(gradient))
    with pytest.raises(ValueError, match="bandwidth"):
        entropy(points, mask, 0.0)
    with pytest.raises(ValueError, match="mask"):
        entropy(points, mask[:, :2])


def test_scores_are_those_of_the_hand():
    batch = holed(digits(0, 600), torch.Generator().manual_seed(0), observed=20, points=30).stacked()
    made = scores(batch.particles, batch.mask, batch.free, batch)
    for cloud in range(2):
        true = batch.truth[0, cloud][batch.truth_mask[0, cloud]].numpy()
        kept = batch.mask[0, cloud]
        apart = cdist(batch.particles[0, cloud][kept].numpy(), true)
        assert float(made["chamfer"][0, cloud]) == pytest.approx(apart.min(1).mean() + apart.min(0).mean(), abs=1e-5)
        free = batch.free[0, cloud][kept].numpy()
        assert float(made["precision"][0, cloud]) == pytest.approx(apart[free].min(1).mean(), abs=1e-5)
        deleted = batch.deleted[0, cloud][batch.truth_mask[0, cloud]].numpy()
        assert float(made["coverage"][0, cloud]) == pytest.approx(apart[:, deleted].min(0).mean(), abs=1e-5)
        within = [cdist(rows, rows).mean() for rows in (batch.particles[0, cloud][kept].numpy(), true)]
        assert float(made["energy"][0, cloud]) == pytest.approx(2 * apart.mean() - sum(within), abs=1e-5)
    assert scores(batch.observed, batch.observed_mask, None, batch)["precision"].isnan().all()
    with pytest.raises(ValueError, match="is needed|are needed"):
        scores(batch.particles[..., :1], batch.mask, None, batch)


@pytest.mark.parametrize("steps", [0, 3])
def test_observed_particles_stay_exactly_and_free_ones_move(steps):
    batch, (config, weights) = batch_of(), network()
    made = completion.completed(config, weights, batch, Solver(steps=steps))
    for particles in (made.found, made.output):
        assert torch.equal(decode(particles, 2)[batch.fixed], batch.particles[batch.fixed])
    assert not torch.isclose(decode(made.output, 2)[batch.free], batch.particles[batch.free]).any(-1).all()
    assert torch.equal(made.found[batch.free], made.flow.particles[batch.free])


def test_the_coupling_layer_receives_no_gradient():
    config, weights = network([0])
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    order = Order(SEED, [0], 40, 4)
    training, _ = stacked("mnist5k", SEED, [0], 40, 6, None)
    batches = completion._batches(training, order, DATA, SEED, [0], "cpu")
    loss = completion._equilibrium_loss(config, batches, lambda step: Solver(steps=1), 1e-6, torch.zeros(1))
    gradients = torch.autograd.grad(loss(leaves, 0).sum(), list(leaves.values()), allow_unused=True)
    moved = {name for name, gradient in zip(leaves, gradients, strict=True)
             if gradient is not None and bool(gradient.any())}  # fmt: skip
    assert moved and not any(name.startswith("embed.") for name in moved)
    assert {"bilinear.weight", "cross.0.in.weight", "out.norm.scale", "x.first.in.weight"} <= moved


def test_the_loss_of_pcn_weighs_the_fine_cloud_stage_by_stage():
    config, batch = completion.architecture("pcn", PCN), batch_of([0])
    weights = stack([completion.draw_completion(config, torch_generator(SEED, 0, "initial weights"))])
    coarse, fine = pcn.complete(config, weights, batch.observed, batch.observed_mask, Recorder())

    def by_hand(cloud):
        values = []
        for made, true, mask in zip(cloud[0], batch.truth[0], batch.truth_mask[0], strict=True):
            apart = cdist(made.numpy(), true[mask].numpy())
            values.append(apart.min(1).mean() + apart.min(0).mean())
        return sum(values) / len(values)

    loss = completion._pcn_loss(config, lambda step: batch, [2, 5, 9])
    for step, alpha in {0: 0.01, 1: 0.01, 2: 0.1, 5: 0.5, 8: 0.5, 9: 1.0}.items():
        assert float(loss(weights, step)) == pytest.approx(by_hand(coarse) + alpha * by_hand(fine), abs=1e-5)


@pytest.mark.parametrize("kind", ["ddeq", "pcn"])
def test_loss_decreases_on_one_small_batch(kind):
    config = completion.architecture(kind, NETWORK if kind == "ddeq" else PCN)
    weights = stack([completion.draw_completion(config, torch_generator(SEED, m, "initial weights")) for m in (0, 1)])
    batch, recipe = batch_of(), EQUILIBRIUM | {"steps": 25, "warmup": 0, "decay": "constant"}
    loss = (
        completion._equilibrium_loss(config, lambda step: batch, lambda step: Solver(steps=2), 1e-6, torch.zeros(2))
        if kind == "ddeq" else completion._pcn_loss(config, lambda step: batch, [0, 0, 0])
    )  # fmt: skip
    with torch.no_grad():
        before = loss(weights, 0)
    made = train(loss, weights, completion._optimiser(recipe, 10))
    with torch.no_grad():
        assert (loss(made.weights, 0) < 0.8 * before).all()


@pytest.mark.parametrize("kind", ["ddeq", "pcn"])
def test_members_train_together_as_alone(kind):
    together = completion.train_completion(**point(kind))
    for member in (0, 1):
        alone = completion.train_completion(**point(kind, [member]))
        assert set(alone) == set(together)
        for name, value in alone.items():
            torch.testing.assert_close(value[0], together[name][member], rtol=0, atol=2e-6)
    assert not torch.equal(together["weight/" + next(iter(together)).split("/")[1]][0],
                           together["weight/" + next(iter(together)).split("/")[1]][1])  # fmt: skip


def test_evaluation_scores_every_output_of_every_arm(project):
    common = {"data": DATA, "seed": SEED, "members": [0, 1]}
    made = completion_scores.evaluate_completion("DDEQ", point(), shown=2, **common)
    assert set(made) == {f"{o}/{n}" for o in ("applied", "found") for n in (*SCORES, "cloud", "mask", "added")}
    assert made["applied/energy"].shape == (2,) and made["applied/cloud"].shape == (2, particle_count(20), 2)
    test = completion_scores.held_out(DATA, SEED, [0, 1])
    assert torch.equal(made["applied/added"], test.free[0, :2])
    one = completion_scores.evaluate_completion("one", point(steps=0), **common)
    start = completion_scores.evaluate_completion(completion_scores.START, None, **common)
    torch.testing.assert_close(one["found/energy"], start["made/energy"])  # without a solver Z* is the start
    other = completion_scores.evaluate_completion("DDEQ", point(), solver={"steps": 0}, **common)
    torch.testing.assert_close(other["found/energy"], start["made/energy"])
    net = completion_scores.evaluate_completion("PCN", point("pcn"), **common)
    assert all(net[f"made/{name}"].isfinite().all() for name in SCORES)
    with pytest.raises(ValueError, match="known are"):
        completion_scores.evaluate_completion("magic", None, **common)


def test_baselines_are_what_they_say():
    test = completion_scores.held_out(DATA, SEED, [0])
    methods = {arm: next(iter(completion_scores._baseline(arm)(test))) for arm in completion_scores.BASELINES}
    assert torch.equal(methods["copy"][1], test.observed)
    assert torch.equal(methods["copy, as many points"][1], test.outside)
    assert torch.equal(methods["Gaussian start"][1], test.particles)
    filled = methods["true points as fill"][1]
    assert torch.equal(filled[test.fixed], test.particles[test.fixed])
    for cloud in range(6):
        true = test.truth[0, cloud][test.deleted[0, cloud]]
        placed = filled[0, cloud][test.free[0, cloud]]
        assert float(torch.cdist(placed, true).amin(1).max()) < 1e-6 or not len(true)
        assert len({tuple(row) for row in placed.tolist()}) == min(len(placed), len(true)) or not len(true)
    empty = replace(test, deleted=torch.zeros_like(test.deleted))
    assert torch.equal(completion_scores.true_fill(empty), test.particles)


def test_a_hole_of_ones_own_is_filled():
    _, weights = network([0])
    made, found, output = completion_scores.fill(point(members=[0]), weights, digits(600), (0.0, 0.5), 0.7, 2)
    assert bool(made.deleted.any()) and found.shape == output.shape == (particle_count(20), 2)
    assert torch.equal(found[made.fixed[0, 0]], made.particles[0, 0][made.fixed[0, 0]])
    start = completion_scores.fill(point(members=[0]), weights, digits(600), (0.0, 0.5), 0.7, 0)[1]
    assert torch.equal(start, made.particles[0, 0])
    with pytest.raises(ValueError, match="no point of the cloud is left"):
        completion_scores.fill(point(members=[0]), weights, digits(600), (0.0, 0.0), 9.0, 2)


def test_late_solver_and_stepwise_rate_begin_where_they_should():
    order = Order(SEED, [0], 40, 4)
    late = {"from_epoch": 2, "steps": 9, "step_size": 1.0}
    chosen = completion._solvers({"steps": 4}, EQUILIBRIUM | {"late": late}, order)
    assert [chosen(step).steps for step in (0, 19, 20)] == [4, 4, 9] and chosen(20).step_size == 1.0
    assert completion_scores.final_solver(point(recipe=EQUILIBRIUM | {"late": late}))["steps"] == 9
    stepwise = RECIPE | {"decay": "step", "factor": 0.5, "every": 2}
    rate = completion._optimiser(stepwise, 10).rate
    assert [rate(step) for step in (0, 19, 20, 40)] == [0.01, 0.01, 0.005, 0.0025]


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="known are"):
        completion.architecture("cnn", {})
    with pytest.raises(ValueError, match="alpha_at"):
        completion.train_completion(**point("pcn", recipe=RECIPE | {"alpha_at": [3, 2, 1]}))
