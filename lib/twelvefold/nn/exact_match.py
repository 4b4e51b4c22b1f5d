"""Exact match without decoding.

Greedy decoding produces a given continuation exactly when the most likely next token is right at every one of its
positions, given the true tokens before it (by induction over the positions). So one forward pass decides it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from twelvefold.nn.transformer import forward
from twelvefold.nn.transformer_config import TransformerConfig

# Tokens of one member in one pass. A constant, not the free memory, so that rounding is the same everywhere, and not
# shared among members, so that a member is scored in a population as it is alone.
CELLS = 8192


def passes(rows: Tensor, length: int) -> Iterator[Tensor]:
    """Cut row numbers `[n]` of sequences of one length into pieces of at most `CELLS` tokens."""
    yield from rows.split(max(1, CELLS // length))


@torch.no_grad()
def exact_match(
    config: TransformerConfig, weights: Mapping[str, Tensor], tokens: Tensor, first: Tensor, lengths: Tensor,
    starts: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Whether each member's greedy continuation is exactly the given one.

    Args:
        config: the architecture.
        weights: `{name: [P, *shape]}`.
        tokens: whole sequences `[n, T]`, padded on the right.
        first: position `[n]` of the first token that must be predicted, at least 1.
        lengths: number of tokens `[n]` of each sequence; its last one must be predicted too.
        starts: first row of the learned position table, `[n]`.

    Returns:
        `[P, n]`, bool.

    Raises:
        ValueError: shapes differ, or a continuation is empty.
    """
    if tokens.ndim != 2 or first.shape != tokens.shape[:1] or lengths.shape != first.shape:
        raise ValueError(f"tokens {tuple(tokens.shape)}, first {tuple(first.shape)}, lengths {tuple(lengths.shape)}; "
                         "[n, T], [n] and [n] are needed")  # fmt: skip
    if bool(((first < 1) | (first >= lengths) | (lengths > tokens.shape[1])).any()):
        raise ValueError("1 <= first < lengths <= T is needed for every sequence")
    device = weights["embedding"].device
    right = torch.empty(weights["embedding"].shape[0], len(tokens), dtype=torch.bool, device=device)
    for length in lengths.unique().tolist():
        for rows in passes((lengths == length).nonzero()[:, 0], length):
            own = tokens[rows, :length].to(device)
            logits = forward(config, weights, own[:, :-1], starts=None if starts is None else starts[rows].to(device))
            free = torch.arange(1, length, device=device) < first[rows, None].to(device)  # given, not predicted
            right[:, rows.to(device)] = ((logits.argmax(-1) == own[:, 1:]) | free).all(-1)
    return right
