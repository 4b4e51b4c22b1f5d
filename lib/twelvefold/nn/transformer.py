"""A population of causal transformers as one tensor program.

Every weight carries a leading population axis P: a linear map is one `torch.bmm` of `[P, N, d_in]` with
`[P, d_in, d_out]`, and attention folds P into the batch. P = 1 is an ordinary network, and on one CPU thread a member
computes bit for bit what it would compute alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.nn.stacked import layer_norm, linear
from twelvefold.nn.transformer_config import TransformerConfig

Weights = dict[str, Tensor]

_VECTOR = 64  # entries; a multiple of what a kernel's vector loop takes at a time on any CPU


def _gelu_tanh(x: Tensor) -> Tensor:
    """GELU's tanh approximation of `[P, N, h]`, with every member filling whole vectors.

    The kernel computes what is left over after its vector loop with other rounding, and where that falls would depend
    on the other members.
    """
    entries = x[0].numel()
    if entries % _VECTOR == 0:
        return F.gelu(x, approximate="tanh")
    padded = F.pad(x.flatten(1), (0, -entries % _VECTOR))
    return F.gelu(padded, approximate="tanh")[:, :entries].unflatten(1, x.shape[1:])


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu_, "gelu": F.gelu, "gelu_tanh": _gelu_tanh}


def initial_weights(config: TransformerConfig, generators: Sequence[torch.Generator]) -> Weights:
    """Draw the weights of P members, `{name: [P, *shape]}` on the CPU, each from its own generator.

    Raises:
        ValueError: `generators` is empty.
    """
    if not generators:
        raise ValueError("generators is empty; one generator per member is needed")
    members = [
        {name: _drawn(config, name, shape, generator) for name, shape in config.shapes().items()}
        for generator in generators
    ]
    return {name: torch.stack([member[name] for member in members]) for name in config.shapes()}


def _drawn(config: TransformerConfig, name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name.endswith((".bias", ".shift")):
        return torch.zeros(shape)
    if name.endswith(".scale"):
        return torch.ones(shape)
    if name in ("embedding", "positions") and config.embedding_std is not None:
        return torch.randn(shape, generator=generator) * config.embedding_std
    fan_in, fan_out = shape
    if config.initialisation == "xavier":
        return (torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(6 / (fan_in + fan_out))
    if name in ("embedding", "positions"):
        fan_in = fan_out  # a row is looked up: its scale is that of a vector of d entries
    depth = math.sqrt(2 * config.layers) if name.endswith(".out.weight") else 1.0
    return torch.randn(shape, generator=generator) * (fan_in**-0.5 / depth)


def sinusoids(length: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """The fixed position vectors `[length, width]` of Vaswani et al. 2017, section 3.5: sine at even entries, cosine at
    odd ones, with wavelengths from 2 pi to 10000 * 2 pi."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    rate = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    table = torch.zeros(length, width, dtype=torch.float64)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)[:, : width // 2]
    return table.to(dtype=torch.get_default_dtype(), device=device)


@cache
def _position_table(length: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`sinusoids`, kept for ever: a captured CUDA graph reads them at this address and cannot copy from the host."""
    with torch.inference_mode(False):
        return sinusoids(length, width).to(dtype=dtype, device=device)


@cache
def _rotation(length: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine `[length, width / 2]` of the angle by which rotary positions turn each pair of entries."""
    with torch.inference_mode(False):
        half = width // 2
        rate = 10000.0 ** (-torch.arange(half, dtype=torch.float32, device=device) / half)
        angle = torch.arange(length, dtype=torch.float32, device=device)[:, None] * rate
        return angle.cos().to(dtype), angle.sin().to(dtype)


@cache
def _future(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to the scores `[length, length]`: -inf where the key comes after the query."""
    with torch.inference_mode(False):
        return torch.full((length, length), -math.inf, dtype=dtype, device=device).triu_(1)


def _turned(x: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021) of queries or keys `[..., T, d_h]`: entries j and j + d_h / 2 are a pair."""
    cosine, sine = _rotation(x.shape[-2], x.shape[-1], x.dtype, x.device)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


class Dropout:
    """Hands out the masks `[P, elements]` of one forward pass, site by site in a fixed order."""

    def __init__(self, masks: Tensor) -> None:
        self._masks, self._used = masks, 0

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply `x [P, ...]` by the next masks."""
        return x * self._next(x)

    def inside(self, x: Tensor) -> Tensor:
        """The same in place, for an `x` that the backward pass does not read."""
        return x.mul_(self._next(x))

    def _next(self, x: Tensor) -> Tensor:
        elements = x[0].numel()
        mask = self._masks[:, self._used : self._used + elements]
        self._used += elements
        return mask.unflatten(1, x.shape[1:])


def _attention(
    config: TransformerConfig, weights: Mapping[str, Tensor], layer: int, x: Tensor, batch: int, dropout: Dropout | None
) -> Tensor:
    """Causal self-attention softmax(q k^T / sqrt(d_h)) v of every member: `[P, B T, d]` -> `[P, B T, d]`."""
    members, cells, heads, size = x.shape[0], x.shape[1], config.heads, config.head_width
    joint = linear(weights, f"{layer}.attention.in", x)
    query, key, value = joint.view(members * batch, cells // batch, 3, heads, size).permute(2, 0, 3, 1, 4)
    if config.positions == "rotary":
        query, key = _turned(query), _turned(key)
    if dropout is None:
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)  # [P B, h, T, d_h]
    else:
        mixed = _explicit_attention(query, key, value, members, dropout)
    return linear(weights, f"{layer}.attention.out", mixed.transpose(1, 2).reshape(members, cells, config.width))


def _explicit_attention(query: Tensor, key: Tensor, value: Tensor, members: int, dropout: Dropout) -> Tensor:
    """Attention with its probabilities written out `[P B h, T, T]`, so that the given masks apply to them."""
    rows, heads, length, size = query.shape
    future = _future(length, query.dtype, query.device)
    flat = [part.reshape(rows * heads, length, size) for part in (query, key, value)]
    scores = torch.baddbmm(future, flat[0], flat[1].transpose(1, 2), alpha=size**-0.5)
    kept = dropout(scores.softmax(-1).view(members, -1)).view(rows * heads, length, length)
    return torch.bmm(kept, flat[2]).view(rows, heads, length, size)


def _feedforward(
    config: TransformerConfig, weights: Mapping[str, Tensor], layer: int, x: Tensor, dropout: Dropout | None
) -> Tensor:
    activation = _ACTIVATIONS[config.activation]
    hidden = linear(weights, f"{layer}.feedforward.in", x)
    if dropout is None:
        hidden = activation(hidden)
    elif config.activation == "relu":  # masks are not negative: relu(x) m = relu(x m), which keeps two tensors less
        hidden = activation(dropout.inside(hidden))
    else:
        hidden = dropout(activation(hidden))
    return linear(weights, f"{layer}.feedforward.out", hidden)


def _embedded(
    config: TransformerConfig, weights: Mapping[str, Tensor], tokens: Tensor, starts: Tensor | None
) -> Tensor:
    """Token plus position vectors `[P, B T, d]`; member p looks up row p V + token of the flattened table."""
    members, batch, length = tokens.shape
    offset = torch.arange(members, device=tokens.device).mul_(config.vocabulary)[:, None, None]
    x = F.embedding(tokens + offset, weights["embedding"].flatten(0, 1))  # [P, B, T, d]
    if config.scaled_embedding:
        x = x * math.sqrt(config.width)
    if config.positions == "sinusoidal":
        x = x + _position_table(length, config.width, x.dtype, x.device)
    elif config.positions == "learned":
        own = torch.arange(members, device=tokens.device).mul_(config.longest)[:, None, None]
        places = torch.arange(length, device=tokens.device) + (0 if starts is None else starts[..., None])
        x = x + F.embedding((places + own).expand(members, batch, length), weights["positions"].flatten(0, 1))
    return x.view(members, batch * length, config.width)


def _hidden(
    config: TransformerConfig, weights: Mapping[str, Tensor], tokens: Tensor, starts: Tensor | None,
    dropout: Dropout | None,
) -> Tensor:  # fmt: skip
    """The residual stream `[P, B T, d]` after the last block (and, with "pre", the last norm)."""
    batch, x = tokens.shape[1], _embedded(config, weights, tokens, starts)
    drop: Callable[[Tensor], Tensor] = (lambda y: y) if dropout is None else dropout.inside
    x = drop(x)
    normal = partial(layer_norm, weights, epsilon=config.epsilon)
    for layer in range(config.layers):
        sub_layers: dict[str, Callable[[Tensor], Tensor]] = {
            "attention": partial(_attention, config, weights, layer, batch=batch, dropout=dropout)
        }
        if config.feedforward:
            sub_layers["feedforward"] = partial(_feedforward, config, weights, layer, dropout=dropout)
        for name, sub_layer in sub_layers.items():
            norm = f"{layer}.{name}.norm"
            x = x + drop(sub_layer(normal(norm, x))) if config.norm == "pre" else normal(norm, x + drop(sub_layer(x)))
    return layer_norm(weights, "final", x, config.epsilon) if config.norm == "pre" else x


def forward(
    config: TransformerConfig, weights: Mapping[str, Tensor], tokens: Tensor, *, starts: Tensor | None = None,
    masks: Tensor | None = None, at: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Logits of the next token for every member.

    Args:
        config: the architecture.
        weights: `{name: [P, *shape]}` with the names and shapes of `config.shapes()`.
        tokens: ids `[P, B, T]`, or `[B, T]` when all members read the same sequences. Padding on the right is harmless:
            attention is causal.
        starts: first row of the learned position table for each sequence, `[P, B]` or `[B]`; None is 0.
        masks: `[P, config.dropout_elements(B, T)]` from `counter_random.dropout_masks`; None switches dropout off.
        at: one position per sequence `[B]` (or `[P, B]`): only the logits there are computed.

    Returns:
        `[P, B, T, V]`, or `[P, B, V]` with `at`.

    Raises:
        ValueError: a shape does not fit, a token is outside the vocabulary, or a sequence leaves the position table.
    """
    members = weights["embedding"].shape[0]
    tokens = _checked_tokens(config, tokens, members, starts)
    _, batch, length = tokens.shape
    needed = (members, config.dropout_elements(batch, length))
    if masks is not None and masks.shape != needed:
        raise ValueError(f"masks has shape {tuple(masks.shape)}; {list(needed)} is needed")
    x = _hidden(config, weights, tokens, starts, None if masks is None else Dropout(masks))
    if at is not None:
        x = _at(x.view(members, batch, length, config.width), at)
    matrix = weights["embedding"].transpose(1, 2) if config.tied_head else weights["head.weight"]
    logits = torch.baddbmm(weights["head.bias"][:, None], x, matrix) if config.head_bias else torch.bmm(x, matrix)
    return logits if at is not None else logits.view(members, batch, length, config.vocabulary)


def _at(x: Tensor, at: Tensor) -> Tensor:
    """`x [P, B, T, d]` at one position per sequence, `[P, B, d]`."""
    members, batch, _, width = x.shape
    if at.shape not in ((members, batch), (batch,)):
        raise ValueError(f"at has shape {tuple(at.shape)}; {[members, batch]} or {[batch]} is needed, one position per "
                         "sequence")  # fmt: skip
    index = at.to(x.device).expand(members, batch)[..., None, None].expand(members, batch, 1, width)
    return x.gather(2, index)[:, :, 0]


def _checked_tokens(config: TransformerConfig, tokens: Tensor, members: int, starts: Tensor | None) -> Tensor:
    if tokens.ndim == 2:
        tokens = tokens.expand(members, *tokens.shape)
    if tokens.ndim != 3 or tokens.shape[0] != members:
        raise ValueError(f"tokens has shape {tuple(tokens.shape)}; [{members}, B, T] or [B, T] is needed")
    if starts is not None and starts.shape not in (tokens.shape[:2], tokens.shape[1:2]):
        raise ValueError(f"starts has shape {tuple(starts.shape)}; {list(tokens.shape[:2])} or {[tokens.shape[1]]} is "
                         "needed, one row number per sequence")  # fmt: skip
    if tokens.is_cuda:  # a look at the values would stop the device
        return tokens
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < config.vocabulary:
        raise ValueError(f"tokens has ids {int(tokens.min())} to {int(tokens.max())}; "
                         f"the vocabulary has 0 to {config.vocabulary - 1}")  # fmt: skip
    if config.positions == "learned":
        first, last = (0, 0) if starts is None else (int(starts.min()), int(starts.max()))
        if first < 0 or last + tokens.shape[2] > config.longest:
            raise ValueError(f"starts = {first} to {last} with {tokens.shape[2]} tokens leave a position table of "
                             f"{config.longest} rows")  # fmt: skip
    return tokens
