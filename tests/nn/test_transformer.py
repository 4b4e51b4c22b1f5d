"""The population transformer against transformers' GPT-2, torch's encoder, its definition, and finite differences."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.counter_random import dropout_masks, mask_keys
from twelvefold.nn.transformer import Dropout, Weights, _turned, forward, initial_weights, sinusoids
from twelvefold.nn.transformer_config import TransformerConfig

from tests.rounding import same_numbers

SMALL = TransformerConfig(vocabulary=11, width=8, layers=2, heads=2, feedforward=12)
KINDS = {
    "pre": SMALL,
    "post": replace(SMALL, norm="post"),
    "rotary gelu": replace(SMALL, positions="rotary", activation="gelu", scaled_embedding=False, attention_bias=True),
    "learned free head": replace(SMALL, positions="learned", longest=12, tied_head=False, head_bias=False),
    "attention only": replace(SMALL, feedforward=0, positions="none", initialisation="fan_in", embedding_std=1.0),
}
GPT2 = dict(norm="pre", positions="learned", activation="gelu_tanh", head_bias=False, attention_bias=True,
            scaled_embedding=False)  # fmt: skip


def drawn(config: TransformerConfig, members: int = 3) -> Weights:
    """Random weights in which biases and norms are not trivial either."""
    weights = initial_weights(config, [torch_generator(10_000, r, "test") for r in range(members)])
    generator = torch_generator(10_000, 0, "noise")
    return {name: weight + 0.1 * torch.randn(weight.shape, generator=generator) for name, weight in weights.items()}


def ids(config: TransformerConfig, *shape: int) -> Tensor:
    return torch.randint(config.vocabulary, shape, generator=torch_generator(10_000, 0, "tokens"))


def masks_for(config: TransformerConfig, members: int, batch: int, length: int) -> Tensor:
    keys = mask_keys(10_000, range(members), "masks")
    return dropout_masks(keys, 0, config.dropout_elements(batch, length), config.dropout)


# --- oracles


def test_logits_equal_gpt2():
    transformers = pytest.importorskip("transformers")
    settings = transformers.GPT2Config(vocab_size=61, n_positions=20, n_embd=24, n_layer=3, n_head=4, n_inner=40)
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(transformers.GPT2LMHeadModel(settings).eval())
        for parameter in models[-1].parameters():
            nn.init.normal_(parameter, mean=0.05, std=0.15)
    config = TransformerConfig(61, 24, 3, 4, 40, longest=20, **GPT2)
    weights = {name: torch.stack([gpt2_tensor(model, name) for model in models]) for name in config.shapes()}
    tokens = ids(config, 2, 5, 20)
    with torch.no_grad():
        expected = torch.stack([model(own).logits for model, own in zip(models, tokens, strict=True)])
        found = forward(config, weights, tokens)
    assert expected.std() > 0.1
    assert (found - expected).abs().max() <= 1e-5


def gpt2_tensor(model: nn.Module, name: str) -> Tensor:
    names = {"attention.norm": "ln_1", "attention.in": "attn.c_attn", "attention.out": "attn.c_proj",
             "feedforward.norm": "ln_2", "feedforward.in": "mlp.c_fc", "feedforward.out": "mlp.c_proj"}  # fmt: skip
    ends = {"scale": "weight", "shift": "bias", "weight": "weight", "bias": "bias"}
    body = model.transformer
    if name in ("embedding", "positions"):
        return (body.wte if name == "embedding" else body.wpe).weight.detach()
    parts = name.split(".")
    where = body.ln_f if parts[0] == "final" else body.h[int(parts[0])].get_submodule(names[".".join(parts[1:-1])])
    return getattr(where, ends[parts[-1]]).detach()


def encoder(config: TransformerConfig, weights: Weights, member: int) -> nn.TransformerEncoder:
    """torch's own encoder with one member's weights (its attention output and inputs keep their biases)."""
    layer = nn.TransformerEncoderLayer(config.width, config.heads, config.feedforward, 0.0, config.activation,
                                       batch_first=True, norm_first=config.norm == "pre")  # fmt: skip
    final = nn.LayerNorm(config.width) if config.norm == "pre" else None
    module = nn.TransformerEncoder(layer, config.layers, final, enable_nested_tensor=False)
    state = {}
    for i in range(config.layers):
        for ours, theirs in (("attention.in", "self_attn.in_proj_"), ("attention.out", "self_attn.out_proj."),
                             ("feedforward.in", "linear1."), ("feedforward.out", "linear2.")):  # fmt: skip
            state[f"layers.{i}.{theirs}weight"] = weights[f"{i}.{ours}.weight"][member].T
            state[f"layers.{i}.{theirs}bias"] = weights[f"{i}.{ours}.bias"][member]
        for ours, theirs in (("attention.norm", "norm1"), ("feedforward.norm", "norm2")):
            state[f"layers.{i}.{theirs}.weight"] = weights[f"{i}.{ours}.scale"][member]
            state[f"layers.{i}.{theirs}.bias"] = weights[f"{i}.{ours}.shift"][member]
    if config.norm == "pre":
        state |= {"norm.weight": weights["final.scale"][member], "norm.bias": weights["final.shift"][member]}
    module.load_state_dict(state)
    return module


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_logits_equal_torchs_encoder(norm, activation):
    config = TransformerConfig(37, 24, 3, 3, 56, norm=norm, activation=activation, attention_bias=True)
    weights, tokens = drawn(config), ids(config, 3, 4, 9)
    found = forward(config, weights, tokens)
    for member in range(3):
        x = weights["embedding"][member][tokens[member]] * math.sqrt(24) + sinusoids(9, 24)
        hidden = encoder(config, weights, member)(x, nn.Transformer.generate_square_subsequent_mask(9), is_causal=True)
        expected = hidden @ weights["embedding"][member].T + weights["head.bias"][member]
        torch.testing.assert_close(found[member], expected, atol=1e-5, rtol=1e-5)


def test_sinusoids_by_hand():
    table = sinusoids(50, 6)
    for position in (0, 1, 7, 49):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            assert math.isclose(table[position, 2 * pair], math.sin(angle), abs_tol=1e-6)
            assert math.isclose(table[position, 2 * pair + 1], math.cos(angle), abs_tol=1e-6)
    assert sinusoids(4, 5).shape == (4, 5)  # an odd width ends with a sine


def test_rotation_equals_transformers():
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    query, key = torch.randn(2, 3, 4, 13, 10)
    rate = 10000.0 ** (-torch.arange(0, 10, 2) / 10)
    angle = torch.cat([torch.arange(13)[:, None] * rate] * 2, -1)[None]
    expected = llama.apply_rotary_pos_emb(query, key, angle.cos(), angle.sin())
    torch.testing.assert_close((_turned(query), _turned(key)), expected)


def test_rotation_turns_complex_numbers_and_sees_distances_only():
    x = torch.randn(7, 6, dtype=torch.float64)
    turns = torch.arange(7)[:, None] * 10000.0 ** (-torch.arange(3, dtype=torch.float64) / 3)
    turned = torch.complex(x[:, :3], x[:, 3:]) * torch.polar(torch.ones_like(turns), turns)
    torch.testing.assert_close(_turned(x), torch.cat([turned.real, turned.imag], -1), atol=1e-6, rtol=1e-6)
    same = _turned(torch.ones(9, 6))
    products = same @ same.T
    torch.testing.assert_close(products.diagonal(2), products[0, 2].expand(7))


# --- dropout


class _Reference:
    """The network written out for one member with explicit modules, every `nn.Dropout` replaced by given masks."""

    def __init__(self, config: TransformerConfig, weights: Weights, member: int, masks: Tensor) -> None:
        self.config, self.own = config, {name: weight[member] for name, weight in weights.items()}
        self.masks, self.used = masks[member], 0

    def drop(self, x: Tensor) -> Tensor:
        mask = self.masks[self.used : self.used + x.numel()].view(x.shape)
        self.used += x.numel()
        return torch.where(mask == 0, 0.0, x / (1 - round(self.config.dropout * 2**16) / 2**16))

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.own[f"{name}.weight"].T, self.own.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.config.width,), self.own[f"{name}.scale"], self.own[f"{name}.shift"])

    def attention(self, layer: int, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        query, key, value = self.linear(f"{layer}.attention.in", x).split(width, -1)
        query, key, value = (part.view(batch, length, self.config.heads, -1).transpose(1, 2)
                             for part in (query, key, value))  # fmt: skip
        scores = query @ key.transpose(2, 3) / math.sqrt(self.config.head_width)
        allowed = torch.ones(length, length, dtype=torch.bool).tril()
        probabilities = self.drop(scores.masked_fill(~allowed, -math.inf).softmax(-1))
        return self.linear(f"{layer}.attention.out", (probabilities @ value).transpose(1, 2).reshape(x.shape))

    def feedforward(self, layer: int, x: Tensor) -> Tensor:
        activation = {"relu": F.relu, "gelu": F.gelu}[self.config.activation]
        hidden = self.drop(activation(self.linear(f"{layer}.feedforward.in", x)))
        return self.linear(f"{layer}.feedforward.out", hidden)

    def __call__(self, tokens: Tensor) -> Tensor:
        x = self.own["embedding"][tokens] * math.sqrt(self.config.width)
        x = self.drop(x + sinusoids(tokens.shape[1], self.config.width))
        for layer in range(self.config.layers):
            for name, part in (("attention", self.attention), ("feedforward", self.feedforward)):
                norm = f"{layer}.{name}.norm"
                if self.config.norm == "pre":
                    x = x + self.drop(part(layer, self.norm(norm, x)))
                else:
                    x = self.norm(norm, x + self.drop(part(layer, x)))
        x = self.norm("final", x) if self.config.norm == "pre" else x
        assert self.used == len(self.masks)
        return x @ self.own["embedding"].T + self.own["head.bias"]


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_masks_act_as_dropout_layers_would(norm, activation):
    config = replace(SMALL, norm=norm, activation=activation, dropout=0.3)
    weights, tokens = drawn(config), ids(config, 3, 4, 6)
    leaves = {name: weight.requires_grad_() for name, weight in weights.items()}
    masks = masks_for(config, 3, 4, 6)
    found = forward(config, leaves, tokens, masks=masks)
    expected = torch.stack([_Reference(config, leaves, member, masks)(tokens[member]) for member in range(3)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    ours = torch.autograd.grad(found.square().sum(), list(leaves.values()))
    theirs = torch.autograd.grad(expected.square().sum(), list(leaves.values()))
    for name, own, their in zip(leaves, ours, theirs, strict=True):
        torch.testing.assert_close(own, their, atol=1e-4 * float(their.abs().max()), rtol=1e-4, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_ones_change_nothing_and_are_used_up(kind):
    config = replace(KINDS[kind], dropout=0.5)
    weights, tokens = drawn(config), ids(config, 3, 4, 6)
    ones = torch.ones(3, config.dropout_elements(4, 6))
    torch.testing.assert_close(forward(config, weights, tokens, masks=ones), forward(config, weights, tokens))
    ones[1, -1] = 0  # the last element of one member's masks is in use, and nobody else's
    changed = (forward(config, weights, tokens, masks=ones) != forward(config, weights, tokens, masks=ones.ceil()))
    assert not changed.any()
    without = forward(config, weights, tokens, masks=torch.ones_like(ones))
    assert (forward(config, weights, tokens, masks=ones) != without).flatten(1).any(1).tolist() == [False, True, False]


def test_dropout_takes_its_masks_in_order():
    masks = torch.arange(2 * 10.0).view(2, 10)
    dropout = Dropout(masks)
    assert torch.equal(dropout(torch.ones(2, 2, 2)), masks[:, :4].view(2, 2, 2))
    x = torch.ones(2, 6)
    assert dropout.inside(x) is x and torch.equal(x, masks[:, 4:])


# --- properties


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_later_token_never_changes_earlier_logits(kind, dropout):
    config = replace(KINDS[kind], dropout=dropout)
    weights, tokens = drawn(config), ids(config, 3, 4, 7)
    masks = masks_for(config, 3, 4, 7) if dropout else None
    before = forward(config, weights, tokens, masks=masks)
    for place in range(7):
        other = tokens.clone()
        other[:, :, place] = (tokens[:, :, place] + 1) % config.vocabulary
        after = forward(config, weights, other, masks=masks)
        torch.testing.assert_close(after[:, :, :place], before[:, :, :place])
        assert bool((after[:, :, place] != before[:, :, place]).any())


@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_the_right_is_harmless(kind):
    config = KINDS[kind]
    weights, tokens = drawn(config), ids(config, 3, 4, 6)
    padded = torch.cat([tokens, torch.zeros(3, 4, 5, dtype=torch.int64)], 2)
    torch.testing.assert_close(forward(config, weights, padded)[:, :, :6], forward(config, weights, tokens))


@pytest.mark.parametrize("kind", KINDS)
def test_members_do_not_see_each_other(kind):
    config = KINDS[kind]
    weights, tokens = drawn(config, 4), ids(config, 4, 3, 5)
    together = forward(config, weights, tokens)
    for member in range(4):
        own = {name: weight[member : member + 1] for name, weight in weights.items()}
        assert same_numbers(forward(config, own, tokens[member : member + 1])[0], together[member])
    assert torch.equal(forward(config, weights, tokens[0])[0], together[0])  # [B, T]: the same for all


@pytest.mark.parametrize("kind", KINDS)
def test_logits_at_a_position_are_those_of_the_whole(kind):
    config = KINDS[kind]
    weights, tokens = drawn(config), ids(config, 3, 4, 6)
    whole = forward(config, weights, tokens)
    at = torch.tensor([5, 0, 3, 3])
    torch.testing.assert_close(forward(config, weights, tokens, at=at), whole[:, torch.arange(4), at])
    own = torch.tensor([[5, 0, 3, 3], [1, 2, 3, 4], [0, 0, 0, 5]])
    expected = whole.gather(2, own[..., None, None].expand(3, 4, 1, config.vocabulary))[:, :, 0]
    torch.testing.assert_close(forward(config, weights, tokens, at=own), expected)


def test_starts_move_the_learned_positions():
    config = KINDS["learned free head"]
    weights, tokens = drawn(config), ids(config, 3, 4, 6)
    assert torch.equal(forward(config, weights, tokens, starts=torch.zeros(4, dtype=torch.int64)),
                       forward(config, weights, tokens))  # fmt: skip
    starts = torch.tensor([[0, 6, 2, 1], [3, 3, 0, 5], [6, 0, 1, 1]])
    found = forward(config, weights, tokens, starts=starts)
    for member in range(3):
        for row in range(4):
            moved = {name: weight[member : member + 1] for name, weight in weights.items()}
            moved["positions"] = moved["positions"].roll(-int(starts[member, row]), 1)
            alone = forward(config, moved, tokens[member : member + 1, row : row + 1])
            torch.testing.assert_close(found[member, row], alone[0, 0])


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_equal_finite_differences(norm, dropout):
    config = TransformerConfig(5, 4, 1, 2, 3, norm=norm, activation="gelu", attention_bias=True, dropout=dropout)
    weights = {name: weight.double().requires_grad_() for name, weight in drawn(config, 2).items()}
    tokens = ids(config, 2, 2, 3)
    masks = masks_for(config, 2, 2, 3).double() if dropout else None

    def logits(*values: Tensor) -> Tensor:
        return forward(config, dict(zip(weights, values, strict=True)), tokens, masks=masks)

    assert torch.autograd.gradcheck(logits, tuple(weights.values()), fast_mode=True)


# --- initial weights and the configuration


@pytest.mark.parametrize("kind", KINDS)
def test_weights_have_the_declared_shapes_and_number(kind):
    config = KINDS[kind]
    weights = initial_weights(config, [torch_generator(10_000, r, "w") for r in (0, 1, 0)])
    assert {name: tuple(weight.shape[1:]) for name, weight in weights.items()} == config.shapes()
    assert list(weights) == list(config.shapes())
    assert sum(weight[0].numel() for weight in weights.values()) == config.parameters
    assert all(torch.equal(weight[0], weight[2]) for weight in weights.values())  # a generator makes a member
    assert not torch.equal(weights["embedding"][0], weights["embedding"][1])


def test_scale_of_initial_weights():
    wide = TransformerConfig(300, 200, 2, 2, 400, attention_bias=True)
    weights = initial_weights(wide, [torch_generator(10_000, 0, "w")])
    bound = math.sqrt(6 / (200 + 400))
    assert weights["0.feedforward.in.weight"].abs().max() <= bound
    assert math.isclose(weights["0.feedforward.in.weight"].std(), bound / math.sqrt(3), rel_tol=0.01)
    assert not weights["0.attention.in.bias"].any() and not weights["head.bias"].any()
    assert bool((weights["1.attention.norm.scale"] == 1).all())
    weights = initial_weights(replace(wide, initialisation="fan_in"), [torch_generator(10_000, 0, "w")])
    assert math.isclose(weights["1.attention.in.weight"].std(), 200**-0.5, rel_tol=0.01)
    assert math.isclose(weights["1.feedforward.out.weight"].std(), 400**-0.5 / 2, rel_tol=0.01)  # sqrt(2 layers) = 2
    assert math.isclose(weights["embedding"].std(), 200**-0.5, rel_tol=0.02)
    weights = initial_weights(replace(wide, embedding_std=0.02), [torch_generator(10_000, 0, "w")])
    assert math.isclose(weights["embedding"].std(), 0.02, rel_tol=0.02)


@pytest.mark.parametrize(("change", "word"), [
    (dict(vocabulary=0), "vocabulary"), (dict(width=2.0), "width"), (dict(layers=True), "layers"),
    (dict(heads=3), "heads"), (dict(feedforward=-1), "feedforward"), (dict(norm="rms"), "norm"),
    (dict(positions="alibi"), "positions"), (dict(activation="tanh"), "activation"),
    (dict(initialisation="zeros"), "initialisation"), (dict(width=6, positions="rotary"), "rotary"),
    (dict(positions="learned"), "longest"), (dict(longest=4), "longest"), (dict(dropout=1.0), "dropout"),
    (dict(embedding_std=0.0), "embedding_std"), (dict(epsilon=-1.0), "epsilon"),
])  # fmt: skip
def test_impossible_configurations(change, word):
    with pytest.raises(ValueError, match=word):
        replace(SMALL, **change)


def test_bad_input():
    weights, tokens = drawn(SMALL), ids(SMALL, 3, 4, 6)
    for wrong in (tokens[:2], tokens[0, 0], tokens[None]):
        with pytest.raises(ValueError, match="tokens has shape"):
            forward(SMALL, weights, wrong)
    for wrong in (tokens + 11, tokens - 20):
        with pytest.raises(ValueError, match="vocabulary"):
            forward(SMALL, weights, wrong)
    with pytest.raises(ValueError, match="masks has shape"):
        forward(SMALL, weights, tokens, masks=torch.ones(3, 5))
    learned = KINDS["learned free head"]
    for starts in (torch.full((4,), 7), torch.full((4,), -1)):
        with pytest.raises(ValueError, match="position table of 12 rows"):
            forward(learned, drawn(learned), tokens, starts=starts)
    with pytest.raises(ValueError, match="position table of 12 rows"):
        forward(learned, drawn(learned), ids(learned, 3, 1, 13))
    with pytest.raises(ValueError, match="starts has shape"):
        forward(learned, drawn(learned), tokens, starts=torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="at has shape"):
        forward(SMALL, weights, tokens, at=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="generators"):
        initial_weights(SMALL, [])
