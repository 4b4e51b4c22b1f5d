"""A population of the copying task against the same networks one at a time and under vmap, on the same batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.counter_random import mask_keys
from twelvefold.nn.training_recipe import Batch, Recipe
from twelvefold.nn.transformer import initial_weights
from twelvefold.nn.transformer_training import train
from twelvefold.papers.random_scaling.one_at_a_time import train_one_by_one, train_vmapped
from twelvefold.papers.random_scaling.populations import SCALES, config_of, main_point

from tests.benchmarks.interleave import measure, record

UPDATES = 12  # of one call
PEERS = {"one at a time": train_one_by_one, "vmap": train_vmapped}


def batches(members: int, batch: int, length: int, vocabulary: int) -> Any:
    """The same made tokens at every update, so that only training is timed."""
    generator = torch_generator(10_000, 0, "tokens")
    tokens: Tensor = torch.randint(vocabulary, (members, batch, length + 1), generator=generator)
    starts = torch.randint(10, (members, batch), generator=generator)
    return lambda step, rows: Batch(tokens[rows], None, starts[rows])


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("members", [32])
def test_updates_of_the_copying_population(benchmark: Any, members: int, peer: str) -> None:
    point = main_point(SimpleNamespace(**SCALES["quick"]), 10_000)
    config, recipe = config_of(point), Recipe(**point["recipe"])
    weights = initial_weights(config, [torch_generator(10_000, r, "w") for r in range(members)])
    given, keys = batches(members, point["batch"], 14, config.vocabulary), mask_keys(10_000, range(members), "masks")
    short = Recipe(**(point["recipe"] | {"steps": UPDATES, "warmup": 0}))

    def ours() -> None:
        train(config, short, weights, given, keys=keys, record_at=[UPDATES], record=lambda *_: {})

    seconds = measure(ours, lambda: PEERS[peer](config, recipe, weights, given, UPDATES), rounds=3)
    what = (f"{members} attention-only transformers of {config.parameters} parameters (width {config.width}, "
            f"{config.layers} layers), one update of {point['batch']} x 14 tokens each")  # fmt: skip
    names = {"one at a time": "torch.nn modules one at a time, AdamW with its defaults",
             "vmap": "torch.func.vmap over the torch.nn module, one AdamW"}  # fmt: skip
    per_update = seconds[0] / UPDATES, seconds[1] / UPDATES
    ratio = record(benchmark, per_update, target=5.0 if peer == "one at a time" else 1.5, what=what, peer=names[peer])
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0
