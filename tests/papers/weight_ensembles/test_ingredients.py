"""Training of the ingredients: hyperparameters, batches, chunks, checkpoints, monitoring."""

import dataclasses

import pytest
import torch
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.nn import functional_population as fp
from twelvefold.nn import population_training as pt
from twelvefold.papers.weight_ensembles import models, training
from twelvefold.papers.weight_ensembles.images import Labelled, Task
from twelvefold.papers.weight_ensembles.populations import SCALES, load_task, population

CPU = torch.device("cpu")


def toy_images(count: int, seed: int) -> Labelled:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    inputs = torch.rand(count, 1, 8, 8, generator=generator) * 0.5
    inputs[:, 0, 0, :3] += torch.nn.functional.one_hot(labels, 3)
    return Labelled(inputs, labels, torch.arange(count) % 4)


@pytest.fixture(scope="module")
def task() -> Task:
    tests = {"id": toy_images(40, 3), "ood": toy_images(40, 4)}
    return Task(toy_images(60, 0), toy_images(48, 1), toy_images(40, 2), tests, classes=3)


def ingredients(task, members, architecture="mlp", steps=60, regime="heterogeneous", **options):
    drawn = training.draw_members(10_000, 0, members, steps, 4, regime)
    model, initial = training.initial_weights(task, architecture, 10_000, 0, members, "shared", CPU)
    return model, initial, drawn, training.fine_tune(model, initial, task, drawn, regime, 8, 10_000, 0, CPU, **options)


def test_hyperparameters_of_a_member_do_not_depend_on_the_number_of_members():
    few, many = (training.draw_members(10_000, 3, members, 200, 4, "heterogeneous") for members in (3, 24))
    for name in ("learning_rate", "weight_decay", "dropout", "steps", "domain_weights"):
        assert torch.equal(getattr(few, name), getattr(many, name)[:3])
    assert set(many.learning_rate.tolist()) == set(torch.tensor([5e-4, 1e-3, 2e-3]).tolist())
    assert many.steps.min() >= 120 and many.steps.max() <= 200
    torch.testing.assert_close(many.domain_weights.sum(1), torch.ones(24))


@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_members_learn_and_differ(task, architecture):
    model, initial, drawn, weights = ingredients(task, 5, architecture)
    assert weights.shape == (5, initial.shape[1])
    right = fp.correctness(model, weights, task.tests["id"].inputs, task.tests["id"].labels).double().mean(1)
    assert right.min() > 0.5
    assert (torch.pdist(weights) > 1e-2).all()


@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_a_member_is_the_same_alone_in_chunks_and_among_others(task, architecture, monkeypatch):
    model, initial, drawn, weights = ingredients(task, 4, architecture)
    monkeypatch.setattr(training, "training_chunk", lambda *arguments: 1)
    chunked = ingredients(task, 4, architecture)[3]
    assert (chunked - weights).abs().max() < 1e-5


def test_a_member_equals_torchs_adamw_on_its_own_batches(task):
    model, initial, drawn, weights = ingredients(task, 3)
    for index in range(3):
        rows = slice(index, index + 1)
        batches = training.MemberBatches(
            task.training, drawn.domain_weights[rows], drawn.dropout[rows], 0.5, 8, seed=10_000, replicate=0,
            stage="fine-tuning", first=index, mask_shape=(1, 8, 8), augmented=False, device=CPU,
        )  # fmt: skip
        alone = fp.member(model, initial[0])
        optimiser = torch.optim.AdamW(
            alone.parameters(), lr=float(drawn.learning_rate[index]), weight_decay=float(drawn.weight_decay[index])
        )
        for step in range(int(drawn.steps[index])):
            inputs, labels, mask = batches(step)
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(alone(inputs[0], None if mask is None else mask[0]), labels[0]).backward()
            optimiser.step()
        assert (fp.weights_of([alone])[0] - weights[index]).abs().max() < 1e-5


def test_batches_come_from_the_members_own_part_with_its_domain_weights(task):
    drawn_weights = torch.tensor([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    batches = training.MemberBatches(
        task.training, drawn_weights, torch.tensor([0.5, 0.0]), 0.5, 400, seed=10_000, replicate=0, stage="x", first=0,
        mask_shape=(1, 8, 8), augmented=False, device=CPU,
    )  # fmt: skip
    inputs, labels, mask = batches(70)
    assert inputs.shape == (2, 400, 1, 8, 8) and labels.shape == (2, 400)
    known = task.training.inputs.flatten(1)
    places = [{int((known == image).all(1).nonzero()[0, 0]) for image in inputs[i].flatten(1)} for i in range(2)]
    assert {int(task.training.domains[place]) for place in places[0]} == {0}
    assert len(places[1]) <= 24
    assert set(mask[0].unique().tolist()) == {0.0, 2.0} and mask[0].mean() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(mask[1], torch.ones_like(mask[1]))


def test_a_killed_training_goes_on_from_its_checkpoint_in_the_same_bits(task, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "training_chunk", lambda *arguments: 2)
    whole = ingredients(task, 5)[3]
    checkpoint, calls = Checkpoint(tmp_path / "state", every=0.0), []
    step = pt.adam_step

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 90:  # somewhere in the second chunk
            raise KeyboardInterrupt
        step(*arguments)

    model, initial = training.initial_weights(task, "mlp", 10_000, 0, 5, "shared", CPU)
    monkeypatch.setattr(pt, "adam_step", killed)
    with pytest.raises(KeyboardInterrupt):
        drawn = training.draw_members(10_000, 0, 5, 60, 4, "heterogeneous")
        training.fine_tune(model, initial, task, drawn, "heterogeneous", 8, 10_000, 0, CPU, checkpoint)
    resumed = training.fine_tune(
        model, initial, task, drawn, "heterogeneous", 8, 10_000, 0, CPU, Checkpoint(tmp_path / "state")
    )
    assert torch.equal(resumed, whole)


def test_the_best_validation_checkpoint_of_each_member_is_kept(task):
    model, generator = models.MLP((1, 8, 8), 3).eval(), torch.Generator().manual_seed(5)
    states = [torch.randn(8, fp.layout_of(model).total, generator=generator) for _ in range(4)]
    images = task.validation
    run = training._ChunkRun(model, pt.TrainingState.fresh(states[0]), 5, images)
    for step, weights in zip((5, 10, 12, 15), states, strict=True):
        run.observe(pt.TrainingState(weights, weights, weights, step))
    watched = [states[index] for index in (0, 1, 3)]  # step 12 is not a multiple of 5
    values = torch.stack([fp.correctness(model, rows, images.inputs, images.labels).sum(1) for rows in watched])
    best = values.max(0)
    assert len(best.indices.unique()) > 1  # members have their best at different steps
    for member in range(8):
        first = int((values[:, member] == best.values[member]).nonzero()[0, 0])
        assert torch.equal(run.result()[member], watched[first][member])


def test_regimes_with_a_monitor_never_end_below_their_last_step_on_validation(task, monkeypatch):
    rule = training.Regime((3e-2,), (0.0,), (-4, -4), (1.0, 1.0), (1.0, 1.0), 1.0, "l2", monitor=5)
    monkeypatch.setitem(training.REGIMES, "watched", rule)
    monkeypatch.setitem(training.REGIMES, "last", dataclasses.replace(rule, monitor=0))
    model, _, _, best = ingredients(task, 3, regime="watched")
    last = ingredients(task, 3, regime="last")[3]
    right = [
        fp.correctness(model, rows, task.validation.inputs, task.validation.labels).sum(1) for rows in (best, last)
    ]
    assert (right[0] >= right[1]).all()


def test_different_initialisations_share_only_the_first(task):
    _, shared = training.initial_weights(task, "mlp", 10_000, 0, 3, "shared", CPU)
    _, different = training.initial_weights(task, "mlp", 10_000, 0, 3, "different", CPU)
    assert shared.shape[0] == 1 and different.shape[0] == 3
    assert (shared[0] - different[0]).abs().max() < 1e-5
    assert (different[0] - different[1]).abs().max() > 0.05


def test_building_a_network_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    models.build("cnn", (1, 8, 8), 3, torch.Generator().manual_seed(1))
    assert torch.equal(torch.rand(3), expected)


def test_population_of_the_stand_in_is_reproducible():
    point = {
        "seed": 10_000, "replicate": 0, "data": "mnist5k", "architecture": "cnn", "size": 7, "members": 2, "steps": 4,
        "batch": 4, "regime": "mild", "initialisation": "shared",
    }  # fmt: skip
    one, other = population(**point), population(**point)
    assert torch.equal(one["weights"], other["weights"]) and one["weights"].shape[0] == 2
    assert {len(set(scale)) for scale in SCALES.values()} == {8}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: training.regime_of("wild"), ValueError, "known are"),
        (lambda: training.draw_members(0, 0, 0, 5, 4, "mild"), ValueError, "members is 0"),
        (lambda: models.build("vit", (1, 8, 8), 3, torch.Generator()), ValueError, "known are"),
        (lambda: load_task("cifar", 0, 0, 28), ValueError, "known are"),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_unknown_initialisation_is_named(task):
    with pytest.raises(ValueError, match="known are"):
        training.initial_weights(task, "mlp", 10_000, 0, 2, "random", CPU)
    with pytest.raises(ValueError, match="one set of weights"):
        training.initial_weights(task, "resnet50", 10_000, 0, 2, "different", CPU)


@pytest.mark.parametrize("size", [(4, 6), (7, 7), (28, 28)])
def test_halving_is_max_pooling(size):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    ours, theirs = models.halve(images), torch.nn.functional.max_pool2d(images, 2)
    assert torch.equal(ours, theirs)
    gradients = [torch.autograd.grad(made.square().sum(), images)[0] for made in (ours, theirs)]
    assert torch.equal(*gradients)
