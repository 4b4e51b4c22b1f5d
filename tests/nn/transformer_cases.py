"""What the tests of population training share: small populations with odd sizes, their data, and a run of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.counter_random import mask_keys
from twelvefold.nn.transformer import Weights, initial_weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.nn.transformer_training import Batch, Recipe, Trained, train

# odd sizes: nothing is a multiple of a vector register
ODD = TransformerConfig(71, 24, 2, 3, 37, norm="post", dropout=0.1)
KINDS = {
    "post": ODD,
    "pre": replace(ODD, norm="pre", activation="gelu", tied_head=False, attention_bias=True),
    "gpt": replace(ODD, norm="pre", activation="gelu_tanh", positions="learned", longest=19),
    "no dropout": replace(ODD, dropout=0.0, positions="rotary"),
    "attention only": replace(ODD, norm="pre", dropout=0.0, feedforward=0, positions="learned", longest=19,
                              embedding_std=1.0, initialisation="fan_in"),
}  # fmt: skip
RECIPE = Recipe(steps=6, learning_rate=1e-2, warmup=2, decay="cosine", weight_decay=0.1, clip=0.5)
MEMBERS, BATCH, LENGTH = 5, 3, 7


def data(config: TransformerConfig, recipe: Recipe = RECIPE, members: int = MEMBERS) -> list[Batch]:
    """One batch per step for all members, with uncounted tokens and, where they matter, starts."""
    generator = torch_generator(10_000, 0, "data")
    batches = []
    for _ in range(recipe.steps):
        tokens = torch.randint(config.vocabulary, (members, BATCH, LENGTH + 1), generator=generator)
        counted = torch.rand(members, BATCH, LENGTH, generator=generator) < 0.7
        starts = torch.randint(max(1, config.longest - LENGTH + 1), (members, BATCH), generator=generator)
        batches.append(Batch(tokens, counted, starts if config.positions == "learned" else None))
    return batches


def start(config: TransformerConfig, members: int = MEMBERS) -> Weights:
    return initial_weights(config, [torch_generator(10_000, r, "initial weights") for r in range(members)])


def run(
    config: TransformerConfig, recipe: Recipe = RECIPE, chosen: slice = slice(0, MEMBERS), **options: object
) -> Trained:
    """Train the chosen members of the population; what is recorded is their loss and a norm."""
    batches, keys = data(config, recipe), mask_keys(10_000, range(MEMBERS), "masks")

    def batch(step: int, rows: slice) -> Batch:
        return batches[step].each(lambda part: part[chosen][rows])

    def record(weights: Weights, rows: slice, step: int) -> dict[str, Tensor]:
        norm = weights["embedding"].flatten(1).norm(dim=1)
        assert len(norm) == rows.stop - rows.start
        return {"norm": norm, "step": torch.full((len(norm),), step)}

    weights = {name: weight[chosen] for name, weight in start(config).items()}
    return train(config, recipe, weights, batch, keys=keys[chosen], record=record,
                 **({"record_at": [0, 3, recipe.steps]} | options))  # fmt: skip


def same(left: Trained, right: Trained) -> bool:
    """The same bytes, weights and records."""
    return all(
        torch.equal(a[name], b[name]) for a, b in zip(left, right, strict=True) for name in a.keys() | b.keys()
    )


class Killed(Exception):
    """Stands for the end of the process."""


class Mortal(Checkpoint):
    """Saves at every step and dies after some saves."""

    left = 0

    def save(self, state, force=False):
        written = super().save(state, force=True)
        self.left -= 1
        if self.left == 0:
            raise Killed
        return written
