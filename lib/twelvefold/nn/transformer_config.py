"""What a transformer language model looks like: one configuration for every paper that trains one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

Placement = Literal["pre", "post"]
Positions = Literal["sinusoidal", "rotary", "learned", "none"]
Activation = Literal["relu", "gelu", "gelu_tanh"]
Initialisation = Literal["xavier", "fan_in"]


@dataclass(frozen=True)
class TransformerConfig:
    """A causal transformer language model; a population of it differs in its weights alone.

    Attributes:
        vocabulary: number of tokens V.
        width: d, the size of the residual stream.
        layers: number of blocks; each has attention and, unless `feedforward` is 0, a two-layer network.
        heads: attention heads of d / heads entries each.
        feedforward: hidden size of the two-layer network; 0 leaves it out (attention-only).
        norm: "pre" (before each sub-layer, and once before the head) or "post" (after each residual sum) LayerNorm.
        positions: "sinusoidal" (fixed, added to the embedding), "learned" (a table, added), "rotary" (turns queries and
            keys, halves paired) or "none".
        longest: rows of the learned table (with "learned" only; 0 otherwise).
        activation: "relu", "gelu" (exact) or "gelu_tanh" (the approximation of GPT-2).
        tied_head: logits use the transposed embedding; otherwise a matrix of their own.
        head_bias, attention_bias, feedforward_bias: whether these linear maps have a bias.
        scaled_embedding: multiply the token embedding by sqrt(d) before positions are added.
        dropout: rate on embedding sum, attention probabilities, hidden units and sub-layer outputs.
        initialisation: "xavier" (uniform, Glorot and Bengio 2010) or "fan_in" (normal with std fan_in^-1/2, maps into
            the residual stream divided by sqrt(2 layers)).
        embedding_std: normal initialisation of token and learned position embeddings; None keeps `initialisation`.
        epsilon: added to the variance in LayerNorm.

    Raises:
        ValueError: a number is out of range, heads do not divide the width, or a name is unknown.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    feedforward: int
    norm: Placement = "pre"
    positions: Positions = "sinusoidal"
    longest: int = 0
    activation: Activation = "relu"
    tied_head: bool = True
    head_bias: bool = True
    attention_bias: bool = False
    feedforward_bias: bool = True
    scaled_embedding: bool = True
    dropout: float = 0.0
    initialisation: Initialisation = "xavier"
    embedding_std: float | None = None
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("vocabulary", "width", "layers", "heads"):
            _positive(name, getattr(self, name))
        if self.feedforward < 0:
            raise ValueError(f"feedforward = {self.feedforward}; 0 (no such sub-layer) or a positive size is needed")
        if self.width % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide width = {self.width}")
        for name, known in (("norm", Placement), ("positions", Positions), ("activation", Activation),
                            ("initialisation", Initialisation)):  # fmt: skip
            if getattr(self, name) not in get_args(known):
                raise ValueError(f"{name} = {getattr(self, name)!r}; known are {list(get_args(known))}")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(f"width / heads = {self.head_width}; rotary positions need an even number")
        if (self.positions == "learned") != (self.longest > 0):
            raise ValueError(f"longest = {self.longest} with {self.positions!r} positions; a learned table needs a "
                             "positive number of rows, every other kind has none (0)")  # fmt: skip
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout = {self.dropout}; a rate in [0, 1) is needed")
        for name in ("embedding_std", "epsilon"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} = {value}; a positive number is needed")

    @property
    def head_width(self) -> int:
        """Entries of one attention head, d / heads."""
        return self.width // self.heads

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter of one member, in order; a population has them stacked, `[P, *shape]`."""
        d = self.width
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.vocabulary, d)}
        if self.positions == "learned":
            shapes["positions"] = (self.longest, d)
        for layer in range(self.layers):
            shapes |= {f"{layer}.{name}": shape for name, shape in self._block().items()}
        if self.norm == "pre":
            shapes |= _norm_shapes("final", d)
        if not self.tied_head:
            shapes["head.weight"] = (d, self.vocabulary)
        if self.head_bias:
            shapes["head.bias"] = (self.vocabulary,)
        return shapes

    def _block(self) -> dict[str, tuple[int, ...]]:
        d, hidden = self.width, self.feedforward
        shapes = _norm_shapes("attention.norm", d)
        shapes |= _linear_shapes("attention.in", d, 3 * d, self.attention_bias)
        shapes |= _linear_shapes("attention.out", d, d, self.attention_bias)
        if hidden:
            shapes |= _norm_shapes("feedforward.norm", d)
            shapes |= _linear_shapes("feedforward.in", d, hidden, self.feedforward_bias)
            shapes |= _linear_shapes("feedforward.out", hidden, d, self.feedforward_bias)
        return shapes

    @property
    def parameters(self) -> int:
        """Number of trainable parameters of one member."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def dropout_elements(self, batch: int, tokens: int) -> int:
        """Number of dropout mask elements of one member in one pass over `[batch, tokens]`."""
        cells = batch * tokens
        sub_layers = 2 if self.feedforward else 1
        block = batch * self.heads * tokens**2 + cells * (sub_layers * self.width + self.feedforward)
        return cells * self.width + self.layers * block


def _positive(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} = {value!r}; a positive whole number is needed")


def _norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.scale": (width,), f"{name}.shift": (width,)}


def _linear_shapes(name: str, inputs: int, outputs: int, bias: bool) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (inputs, outputs)}
    return shapes | ({f"{name}.bias": (outputs,)} if bias else {})
