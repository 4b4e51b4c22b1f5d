"""A population of transformers as one tensor program against a Python loop over torch.nn.TransformerEncoder modules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.counter_random import mask_keys
from twelvefold.nn.training_recipe import Batch, Recipe
from twelvefold.nn.transformer import initial_weights, sinusoids
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.nn.transformer_update import Stepper

from tests.benchmarks.interleave import measure, on_device, record

UPDATES = 6  # of one turn


class Case(NamedTuple):
    """A population: members, width, layers, heads, sequences of one update, tokens, dropout rate."""

    members: int
    width: int
    layers: int
    heads: int
    batch: int
    length: int
    dropout: float

    @property
    def config(self) -> TransformerConfig:
        return TransformerConfig(64, self.width, self.layers, self.heads, 4 * self.width, norm="post",
                                 attention_bias=True, dropout=self.dropout)  # fmt: skip

    @property
    def words(self) -> str:
        return (f"{self.members} transformers of {self.config.parameters} parameters (width {self.width}, "
                f"{self.layers} layers), one update of {self.batch} x {self.length} tokens each, "
                f"dropout {self.dropout}")  # fmt: skip

    def tokens(self) -> Tensor:
        shape = (self.members, self.batch, self.length + 1)
        return torch.randint(64, shape, generator=torch_generator(10_000, 0, "tokens"))


class Peer(nn.Module):
    """Embedding, sinusoidal positions, torch's encoder (post-norm, ReLU) and a tied head with a bias."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(case.width, case.heads, 4 * case.width, case.dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, case.layers, enable_nested_tensor=False)
        self.embedding = nn.Embedding(64, case.width)
        self.bias = nn.Parameter(torch.zeros(64))
        self.dropout = nn.Dropout(case.dropout)
        self.register_buffer("places", sinusoids(case.length, case.width))
        self.register_buffer("future", nn.Transformer.generate_square_subsequent_mask(case.length))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.dropout(self.embedding(tokens) * self.embedding.embedding_dim**0.5 + self.places)
        return F.linear(self.encoder(x, self.future, is_causal=True), self.embedding.weight, self.bias)


def one_by_one(case: Case, tokens: Tensor, fused: bool | None) -> Callable[[], Tensor]:
    """The peer: one module, one AdamW and one call of `clip_grad_norm_` per member; gives the last loss."""
    first = Peer(case).to(tokens.device)
    modules = [copy.deepcopy(first) for _ in range(case.members)]
    optimisers = [torch.optim.AdamW(module.parameters(), lr=1e-3, fused=fused) for module in modules]

    def update() -> Tensor:
        for module, optimiser, own in zip(modules, optimisers, tokens, strict=True):
            loss = F.cross_entropy(module(own[:, :-1]).flatten(0, 1), own[:, 1:].flatten())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
        return loss.detach()

    return update


def together(case: Case, tokens: Tensor, precision: str = "float32") -> Callable[[], Tensor]:
    """Ours: one update of the whole population."""
    weights = initial_weights(case.config, [torch_generator(10_000, r, "w") for r in range(case.members)])
    keys = mask_keys(10_000, range(case.members), "masks").to(tokens.device)
    recipe = Recipe(10**6, 1e-3, decay="constant", precision=precision)
    stepper = Stepper(case.config, recipe, {name: weight.to(tokens.device) for name, weight in weights.items()}, keys)
    batch = Batch(tokens)
    return lambda: stepper.update(batch, 0)


def _repeated(update: Callable[[], Any]) -> Callable[[], None]:
    def work() -> None:
        for _ in range(UPDATES):
            update()

    return work


@pytest.mark.parametrize("fused", [None, True], ids=["AdamW", "fused AdamW"])
@pytest.mark.parametrize(("case", "target"), [
    (Case(16, 32, 2, 2, 16, 16, 0.0), 3.0),
    (Case(16, 32, 2, 2, 16, 16, 0.1), 3.0),
    (Case(64, 32, 2, 2, 4, 16, 0.0), 10.0),
    (Case(64, 32, 2, 2, 4, 16, 0.1), 10.0),
], ids=["16", "16 dropout", "64 batch 4", "64 batch 4 dropout"])  # fmt: skip
def test_update_of_a_population(benchmark: Any, case: Case, target: float, fused: bool | None) -> None:
    tokens = case.tokens()
    ours, peer = together(case, tokens), one_by_one(case, tokens, fused)
    assert sum(p.numel() for p in Peer(case).parameters()) == case.config.parameters, "the same networks"
    # several updates a turn: the first one after the other's turn finds cold caches, which training does not
    ours_seconds, peer_seconds = measure(_repeated(ours), _repeated(peer), rounds=5)
    seconds = ours_seconds / UPDATES, peer_seconds / UPDATES
    ratio = record(
        benchmark, seconds, target=target, what=case.words,
        peer=f"Python loop over nn.TransformerEncoder modules, AdamW {'fused' if fused else 'with its defaults'}",
    )
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0


def flops(case: Case) -> float:
    """Floating-point operations of the matrix products of one update: forward once, backward twice."""
    cells, d = case.batch * case.length, case.width
    layer = cells * 12 * d * d + 2 * case.batch * case.length**2 * d
    return 3 * 2 * case.members * (case.layers * layer + cells * d * 64)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_update_on_cuda(benchmark: Any, precision: str, dropout: float) -> None:
    case = Case(256, 64, 4, 4, 8, 36, dropout)
    tokens = case.tokens().cuda()
    ours = together(case, tokens, precision)
    seconds = on_device(ours, 20), on_device(one_by_one(case, tokens, True), 2)
    square = torch.randn(8192, 8192, device="cuda", dtype=getattr(torch, precision))
    ceiling = 2 * 8192**3 / on_device(lambda: square @ square, 10)
    reached = flops(case) / seconds[0]
    share = f"{reached / 1e12:.2f} of {ceiling / 1e12:.1f} Tflop/s of an 8192 x 8192 {precision} product"
    ratio = record(
        benchmark, seconds, target=50.0, what=f"{case.words}, {precision} on {torch.cuda.get_device_name()}: {share}",
        peer="Python loop over nn.TransformerEncoder modules, AdamW fused, float32, the same GPU",
    )
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0
