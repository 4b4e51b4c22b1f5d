"""Training 24 small networks at once against a Python loop that trains them one after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.functional_population import layout_of, weights_of
from twelvefold.nn.population_training import Adam, TrainingState, train
from twelvefold.papers.weight_ensembles.models import build

from tests.benchmarks.interleave import measure, record

MEMBERS, STEPS, BATCH, POOL = 24, 60, 16, 400
SHAPE, CLASSES = (1, 14, 14), 10


def population() -> tuple[nn.Module, Tensor, Adam, Tensor, Tensor, Tensor]:
    """One architecture, `[24, P]` equal initial weights, settings per member, data, and each member's batches."""
    generator = torch_generator(10_000, 0, "benchmark")
    model = build("mlp", SHAPE, CLASSES, generator)
    weights = weights_of([model]).repeat(MEMBERS, 1)
    rate = 1e-3 * (1 + torch.arange(MEMBERS) % 3)
    settings = Adam(rate, torch.full((MEMBERS,), 1e-3), torch.full((MEMBERS,), STEPS))
    inputs = torch.rand((POOL, *SHAPE), generator=generator)
    labels = torch.randint(CLASSES, (POOL,), generator=generator)
    picks = torch.randint(POOL, (STEPS, MEMBERS, BATCH), generator=generator)
    return model, weights, settings, inputs, labels, picks


def one_by_one(
    model: nn.Module, weights: Tensor, settings: Adam, inputs: Tensor, labels: Tensor, picks: Tensor
) -> Tensor:
    """The peer: one module and one torch.optim.AdamW per member."""
    layout, trained = layout_of(model), []
    for member in range(MEMBERS):
        model.load_state_dict({name: value[0] for name, value in layout.unpack(weights[member : member + 1]).items()})
        rate, decay = float(settings.learning_rate[member]), float(settings.weight_decay[member])
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
        for chosen in picks[:, member]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
            optimizer.step()
        trained.append(weights_of([model])[0])
    return torch.stack(trained).detach()


def test_population_training(benchmark: Any) -> None:
    model, weights, settings, inputs, labels, picks = population()
    peer_model = build("mlp", SHAPE, CLASSES, torch_generator(10_000, 0, "benchmark"))

    def ours() -> Tensor:
        state = TrainingState.fresh(weights)
        return train(model, state, settings, lambda step: (inputs[picks[step]], labels[picks[step]], None))

    def peer() -> Tensor:
        return one_by_one(peer_model, weights, settings, inputs, labels, picks)

    torch.testing.assert_close(ours(), peer(), atol=1e-4, rtol=1e-3)
    seconds = measure(ours, peer, rounds=5)
    ratio = record(
        benchmark, seconds, target=2.0, peer="Python loop over members with torch.optim.AdamW",
        what=f"training {MEMBERS} MLPs of {weights.shape[1]} parameters, {STEPS} steps of {BATCH} images",
    )
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0
