"""The transformer from torch.nn modules, alone and under vmap, against the population engine; and greedy decoding."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.counter_random import mask_keys
from twelvefold.nn.training_recipe import Batch, Recipe
from twelvefold.nn.transformer import Weights, forward, initial_weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.nn.transformer_update import Stepper
from twelvefold.papers.random_scaling.greedy import greedy_continuations
from twelvefold.papers.random_scaling.one_at_a_time import (
    CausalTransformer,
    module_of,
    train_one_by_one,
    train_vmapped,
)

ATTENTION = TransformerConfig(
    11, 12, 2, 2, 0, positions="learned", longest=17, activation="gelu", tied_head=False, head_bias=False,
    feedforward_bias=False, scaled_embedding=False, initialisation="fan_in", embedding_std=1.0,
)  # fmt: skip
KINDS = {
    "attention": ATTENTION,
    "full": replace(ATTENTION, feedforward=20),
    "biases": replace(ATTENTION, feedforward=20, head_bias=True, attention_bias=True, feedforward_bias=True),
    "no positions": replace(ATTENTION, positions="none", longest=0),
}
RECIPE = Recipe(9, 3e-3, warmup=3, decay="cosine", beta2=0.98, epsilon=1e-6, weight_decay=0.1, clip=0.5)
MEMBERS, UPDATES, ROWS, TOKENS = 3, 6, 4, 7


def weights_of(config: TransformerConfig) -> Weights:
    """Initial weights in which biases and norms are not 0 and 1, so that a mistake in them is seen."""
    weights = initial_weights(config, [torch_generator(10_000, r, "weights") for r in range(MEMBERS)])
    generator = torch_generator(10_000, 0, "noise")
    return {name: weight + 0.1 * torch.randn(weight.shape, generator=generator) for name, weight in weights.items()}


def data(config: TransformerConfig, step: int, rows: slice) -> Batch:
    generator = torch_generator(10_000, step, "data")
    tokens = torch.randint(config.vocabulary, (MEMBERS, ROWS, TOKENS + 1), generator=generator)
    counted = torch.rand(MEMBERS, ROWS, TOKENS, generator=generator) < 0.6
    starts = torch.randint(max(1, config.longest - TOKENS + 1), (MEMBERS, ROWS), generator=generator)
    return Batch(tokens, counted, starts if config.longest else None).each(lambda part: part[rows])


def engine(config: TransformerConfig, weights: Weights) -> tuple[Tensor, Weights]:
    """Losses `[P, UPDATES]` and weights of the population."""
    stepper = Stepper(config, RECIPE, weights, mask_keys(0, range(MEMBERS), "none"))
    losses = [stepper.update(data(config, step, slice(0, MEMBERS)), step) for step in range(UPDATES)]
    return torch.stack(losses, 1), {name: weight.detach() for name, weight in stepper.weights.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_module_computes_the_logits_of_its_member(kind):
    config = KINDS[kind]
    weights, batch = weights_of(config), data(config, 0, slice(0, MEMBERS))
    expected = forward(config, weights, batch.tokens, starts=batch.starts)
    for member in range(MEMBERS):
        starts = None if batch.starts is None else batch.starts[member]
        found = module_of(config, weights, member)(batch.tokens[member], starts)
        torch.testing.assert_close(found, expected[member], atol=3e-6, rtol=1e-5)


def test_without_starts_the_first_row_is_that_of_the_first_token():
    weights, tokens = weights_of(ATTENTION), torch.arange(5)[None]
    module = module_of(ATTENTION, weights, 1)
    assert torch.equal(module(tokens), module(tokens, torch.zeros(1, dtype=torch.int64)))
    assert not torch.allclose(module(tokens), module(tokens, torch.ones(1, dtype=torch.int64)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("peer", [train_one_by_one, train_vmapped])
def test_both_peers_train_as_the_population_does(kind, peer):
    config = KINDS[kind]
    weights = weights_of(config)
    losses, final = engine(config, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # vmap warns where it falls back to a loop
        found, ended = peer(config, RECIPE, weights, lambda step, rows: data(config, step, rows), UPDATES)
    torch.testing.assert_close(found, losses, atol=5e-6, rtol=1e-6)
    assert list(ended) == list(config.shapes())
    for name, weight in final.items():
        torch.testing.assert_close(ended[name], weight, atol=2e-4, rtol=0, msg=name)
        assert float((ended[name] - weights[name]).abs().max()) > 1e-3, f"{name} was not trained"


def test_where_the_heads_look_is_a_causal_distribution():
    weights = weights_of(ATTENTION)
    _, maps = module_of(ATTENTION, weights, 0).look(torch.arange(6).expand(2, 6))
    assert [tuple(looked.shape) for looked in maps] == [(2, ATTENTION.heads, 6, 6)] * ATTENTION.layers
    for looked in maps:
        torch.testing.assert_close(looked.sum(-1), torch.ones(2, ATTENTION.heads, 6))
        assert torch.equal(looked.triu(1), torch.zeros_like(looked))


@pytest.mark.parametrize(("change", "message"), [
    ({"norm": "post"}, "norm = 'post'"), ({"activation": "relu"}, "activation = 'relu'"),
    ({"tied_head": True}, "tied_head = True"), ({"scaled_embedding": True}, "scaled_embedding = True"),
    ({"dropout": 0.1}, "dropout = 0.1"), ({"positions": "rotary", "longest": 0}, "positions = 'rotary'"),
])  # fmt: skip
def test_networks_that_are_not_built_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        CausalTransformer(replace(ATTENTION, **change))


@pytest.mark.parametrize("peer", [train_one_by_one, train_vmapped])
@pytest.mark.parametrize(("recipe", "updates", "message"), [
    (replace(RECIPE, decay="linear"), 2, "decay = 'linear'"), (replace(RECIPE, clip=None), 2, "clip = None"),
    (replace(RECIPE, precision="bfloat16"), 2, "bfloat16"), (RECIPE, 0, "updates = 0"), (RECIPE, 10, "updates = 10"),
])  # fmt: skip
def test_recipes_that_are_not_built_are_refused(peer, recipe, updates, message):
    weights = weights_of(ATTENTION)
    with pytest.raises(ValueError, match=message):
        peer(ATTENTION, recipe, weights, lambda step, rows: data(ATTENTION, step, rows), updates)


def test_a_member_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="member = 3; the population has the members 0 to 2"):
        module_of(ATTENTION, weights_of(ATTENTION), 3)


def test_greedy_decoding_reads_what_it_wrote():
    """Against a plain loop over the module, one prompt at a time."""
    weights, starts = weights_of(ATTENTION), torch.tensor([0, 4, 9])
    prompts = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    found = greedy_continuations(ATTENTION, weights, prompts, 4, starts)
    assert found.shape == (MEMBERS, 3, 4)
    for member in range(MEMBERS):
        module = module_of(ATTENTION, weights, member)
        for number, prompt in enumerate(prompts):
            tokens = prompt
            for _ in range(4):
                tokens = torch.cat([tokens, module(tokens[None], starts[number : number + 1])[0, -1:].argmax(-1)])
            assert torch.equal(found[member, number], tokens[3:])


@pytest.mark.parametrize(("prompts", "steps", "message"), [
    (torch.zeros(3, dtype=torch.int64), 2, r"prompts has shape \(3,\)"),
    (torch.zeros(3, 0, dtype=torch.int64), 2, r"prompts has shape \(3, 0\)"),
    (torch.zeros(3, 2, dtype=torch.int64), 0, "steps = 0"),
    (torch.zeros(3, 2, dtype=torch.int64), 17, "leave a position table"),
])  # fmt: skip
def test_prompts_that_cannot_be_continued_are_refused(prompts, steps, message):
    with pytest.raises(ValueError, match=message):
        greedy_continuations(ATTENTION, weights_of(ATTENTION), prompts, steps)
