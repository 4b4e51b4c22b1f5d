"""Greedier selection on a member x parameter matrix against a loop over state dicts in the manner of model soups."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.functional_population import correctness, layout_of, weights_of
from twelvefold.papers.weight_ensembles.models import build
from twelvefold.papers.weight_ensembles.soup import soup

from tests.benchmarks.interleave import measure, record

MEMBERS, IMAGES, BATCH, SIZE = 24, 1000, 256, 6
SHAPE, CLASSES = (1, 14, 14), 10
State = dict[str, Tensor]
Batches = Iterable[tuple[Tensor, Tensor]]


def ingredients() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A network, `[24, P]` weights scattered around it, and images whose labels that network mostly gets right."""
    generator = torch_generator(10_000, 0, "benchmark")
    model = build("mlp", SHAPE, CLASSES, generator)
    centre = weights_of([model])
    weights = centre + 0.08 * torch.randn(MEMBERS, centre.shape[1], generator=generator)
    inputs = torch.rand((IMAGES, *SHAPE), generator=generator)
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    return model, weights, inputs, labels


@torch.no_grad()
def accuracy(model: nn.Module, state: State, batches: Batches) -> float:
    """Load a state dict and count right answers batch by batch."""
    model.load_state_dict(state)
    right = total = 0
    for images, targets in batches:
        right += int((model(images).argmax(1) == targets).sum())
        total += len(targets)
    return right / total


def select(model: nn.Module, states: list[State], batches: Batches) -> list[int]:
    """The peer: at every step average each candidate into the soup, load it, evaluate it, keep the best one."""
    scores = [accuracy(model, state, batches) for state in states]
    best = max(range(len(states)), key=lambda i: (scores[i], -i))
    chosen, value, mean = [best], scores[best], states[best]
    while len(chosen) < SIZE:
        found = []
        for i in (i for i in range(len(states)) if i not in chosen):
            mixed = {k: (v * len(chosen) + states[i][k]) / (len(chosen) + 1) for k, v in mean.items()}
            found.append((accuracy(model, mixed, batches), -i, mixed))
        top = max(found, key=lambda entry: entry[:2])
        if top[0] < value:
            break
        value, mean = top[0], top[2]
        chosen.append(-top[1])
    return chosen


def loader(inputs: Tensor, labels: Tensor) -> Batches:
    return DataLoader(TensorDataset(inputs, labels), batch_size=BATCH)


def slices(inputs: Tensor, labels: Tensor) -> Batches:
    return list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))


@pytest.mark.parametrize(
    ("batches", "words"), [(loader, "a DataLoader, as model soups does"), (slices, "batches already cut in memory")]
)
def test_selection(benchmark: Any, batches: Callable[[Tensor, Tensor], Batches], words: str) -> None:
    model, weights, inputs, labels = ingredients()
    layout, network = layout_of(model), build("mlp", SHAPE, CLASSES, torch_generator(10_000, 0, "benchmark"))
    stacked = layout.unpack(weights)
    states = [{name: value[i] for name, value in stacked.items()} for i in range(MEMBERS)]
    data = batches(inputs, labels)

    def evaluate(rows: Tensor) -> Tensor:
        return correctness(model, rows, inputs, labels).float().mean(1)

    def ours() -> list[int]:
        return soup(weights, evaluate, "gain", "not worse", size=SIZE).chosen

    def peer() -> list[int]:
        return select(network, states, data)

    assert ours() == peer()
    assert len(ours()) == SIZE, "the case must need several steps to be worth timing"
    seconds = measure(ours, peer, rounds=5)
    ratio = record(
        benchmark, seconds, target=5.0, peer=f"state-dict averaging loop over {words}",
        what=f"greedier selection of {SIZE} from {MEMBERS} MLPs of {weights.shape[1]} parameters on {IMAGES} images",
    )
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0
