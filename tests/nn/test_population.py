"""Populations as one tensor program, against the same networks one at a time."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from twelvefold.nn import functional_population as fp
from twelvefold.nn import population_training as pt


def perceptron(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).eval()


def convolution(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = (nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(16, 3)).eval()


INPUTS = {perceptron: (5,), convolution: (1, 4, 4)}


@pytest.mark.parametrize("make", [perceptron, convolution])
def test_outputs_equal_those_of_each_module(make):
    modules = [make(seed) for seed in range(3)]
    weights = fp.weights_of(modules)
    inputs = torch.randn(3, 6, *INPUTS[make])
    expected = torch.stack([module(batch) for module, batch in zip(modules, inputs, strict=True)])
    torch.testing.assert_close(fp.forward(modules[0], weights, inputs), expected)
    shared = torch.stack([module(inputs[0]) for module in modules])
    torch.testing.assert_close(fp.predict(modules[0], weights, inputs[0]), shared)
    labels = torch.randint(3, (6,))
    assert torch.equal(fp.correctness(modules[0], weights, inputs[0], labels), shared.argmax(-1) == labels)


def test_member_takes_a_row_back_into_a_module():
    modules = [perceptron(seed) for seed in range(2)]
    alone = fp.member(modules[0], fp.weights_of(modules)[1])
    inputs = torch.randn(4, 5)
    assert torch.equal(alone(inputs), modules[1](inputs))


@given(st.integers(1, 6), st.integers(1, 9), st.integers(200, 4000))
@settings(max_examples=25, deadline=None)
def test_passes_cover_every_cell_once(members, inputs, budget):
    seen = torch.zeros(members, inputs)
    for rows, columns in fp._passes(members, inputs, 300, budget):
        seen[rows, columns] += 1
        assert seen[rows, columns].numel() * 300 <= max(budget, 300)
    assert torch.equal(seen, torch.ones(members, inputs))


def test_predictions_do_not_depend_on_the_passes(monkeypatch):
    weights = fp.weights_of([perceptron(seed) for seed in range(4)])
    inputs = torch.randn(50, 5)
    whole = fp.predict(perceptron(), weights, inputs)
    monkeypatch.setitem(fp.EVALUATION_BYTES, "cpu", 1000)
    torch.testing.assert_close(fp.predict(perceptron(), weights, inputs), whole)


def alone(model: nn.Module, optimiser: torch.optim.Optimizer, batches, index: int, steps: int) -> torch.Tensor:
    for step in range(steps):
        inputs, labels, _ = batches(step)
        optimiser.zero_grad()
        F.cross_entropy(model(inputs[index]), labels[index]).backward()
        optimiser.step()
    return fp.weights_of([model])[0]


@pytest.mark.parametrize("make", [perceptron, convolution])
@pytest.mark.parametrize("decay", ["decoupled", "l2"])
def test_each_member_trains_as_it_would_alone(make, decay):
    rates, decays, steps = [1e-2, 3e-3, 1e-2], [0.1, 0.0, 0.01], [12, 7, 9]
    generator = torch.Generator().manual_seed(1)
    shape = INPUTS[make]
    data = [
        (torch.randn(3, 8, *shape, generator=generator), torch.randint(3, (3, 8), generator=generator))
        for _ in range(12)
    ]

    def batches(step):
        return *data[step], None

    start = fp.weights_of([make(seed) for seed in range(3)])
    adam = pt.Adam(torch.tensor(rates), torch.tensor(decays), torch.tensor(steps), decay=decay)
    together = pt.train(make(), pt.TrainingState.fresh(start), adam, batches)
    optimiser = torch.optim.AdamW if decay == "decoupled" else torch.optim.Adam
    for index in range(3):
        model = make(index)
        single = alone(
            model,
            optimiser(model.parameters(), lr=rates[index], weight_decay=decays[index]),
            batches,
            index,
            steps[index],
        )
        assert (together[index] - single).abs().max() < 1e-5
        assert (together[index] - start[index]).abs().max() > 1e-2  # it did train


def test_a_run_interrupted_and_resumed_ends_in_the_same_bits():
    generator = torch.Generator().manual_seed(1)
    data = [
        (torch.randn(2, 8, 5, generator=generator), torch.randint(3, (2, 8), generator=generator)) for _ in range(10)
    ]
    start = fp.weights_of([perceptron(seed) for seed in range(2)])
    adam = pt.Adam(torch.full((2,), 1e-2), torch.zeros(2), torch.tensor([10, 10]))
    kept = {}

    def keep(state):
        if state.step == 4:
            kept.update(weights=state.weights.clone(), first=state.first.clone(), second=state.second.clone(), step=4)

    whole = pt.train(
        perceptron(), pt.TrainingState.fresh(start), adam, lambda step: (*data[step], None), after_step=keep
    )
    resumed = pt.train(perceptron(), pt.TrainingState(**kept), adam, lambda step: (*data[step], None))
    assert torch.equal(whole, resumed)


def test_masks_reach_the_module():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, inputs, mask=None):
            return inputs * self.scale * (1 if mask is None else mask)

    model, inputs = Masked(), torch.ones(3, 4, 2)
    mask = torch.arange(24.0).view(3, 4, 2)
    assert torch.equal(fp.forward(model, fp.weights_of([model] * 3), inputs, mask), mask)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fp.weights_of([]), "empty"),
        (lambda: fp.weights_of([perceptron(), convolution()]), "differ"),
        (lambda: fp.layout_of(nn.ReLU()), "no parameters"),
        (lambda: fp.layout_of(perceptron()).unpack(torch.zeros(2, 3)), "shape"),
        (lambda: fp.layout_of(perceptron()).pack({}), "lacks"),
        (lambda: fp.forward(perceptron(), torch.zeros(2, 66), torch.zeros(3, 1, 5)), "shared=True"),
        (lambda: fp.predict(perceptron(), torch.zeros(2, 66), torch.zeros(0, 5)), "empty"),
        (lambda: fp.correctness(perceptron(), torch.zeros(2, 66), torch.zeros(4, 5), torch.zeros(3)), "labels"),
        (lambda: pt.Adam(torch.zeros(2), torch.zeros(3), torch.zeros(2)), "shapes"),
        (lambda: pt.Adam(torch.zeros(2), torch.zeros(2), torch.zeros(2), decay="none"), "decoupled"),
        (lambda: pt.Adam(-torch.ones(2), torch.zeros(2), torch.zeros(2)), "negative"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_training_refuses_wrong_shapes_and_reports_divergence():
    adam = pt.Adam(torch.full((2,), 1e30), torch.zeros(2), torch.tensor([3, 3]))
    batch = (torch.randn(2, 4, 5), torch.zeros(2, 4, dtype=torch.long), None)
    with pytest.raises(ValueError, match="architecture"):
        pt.train(perceptron(), pt.TrainingState.fresh(torch.zeros(2, 5)), adam, lambda step: batch)
    with pytest.raises(ValueError, match="members"):
        pt.train(perceptron(), pt.TrainingState.fresh(torch.zeros(3, 66)), adam, lambda step: batch)
    start = fp.weights_of([perceptron(), perceptron(1)])
    with pytest.raises(FloatingPointError, match="learning_rate"):
        pt.train(perceptron(), pt.TrainingState.fresh(start), adam, lambda step: batch)
