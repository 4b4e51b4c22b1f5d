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


def check_continuations(tokens: Tensor, first: Tensor, lengths: Tensor, starts: Tensor | None = None) -> None:
    """ValueError unless all are integers, tokens are `[n, T]`, starts `[n]` or None, and 1 <= first < lengths <= T
    holds in each of the n rows."""
    given = {"tokens": tokens, "first": first, "lengths": lengths} | ({} if starts is None else {"starts": starts})
    for name, part in given.items():
        if part.is_floating_point() or part.is_complex() or part.dtype == torch.bool:
            raise ValueError(f"{name} has dtype {part.dtype}; integers are needed")
    if tokens.ndim != 2 or any(part.shape != tokens.shape[:1] for name, part in given.items() if name != "tokens"):
        found = ", ".join(f"{name} {tuple(part.shape)}" for name, part in given.items())
        raise ValueError(f"{found}; [n, T] and [n] are needed")
    wrong = ((first < 1) | (first >= lengths) | (lengths > tokens.shape[1])).nonzero()[:, 0].tolist()
    if wrong:
        raise ValueError(f"first = {int(first[wrong[0]])}, lengths = {int(lengths[wrong[0]])} in row {wrong[0]}; "
                         f"1 <= first < lengths <= {tokens.shape[1]} is needed for every sequence")  # fmt: skip


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
        ValueError: shapes differ, a number is not whole, or a continuation is empty.
    """
    check_continuations(tokens, first, lengths, starts)
    device = weights["embedding"].device
    right = torch.empty(weights["embedding"].shape[0], len(tokens), dtype=torch.bool, device=device)
    for length in lengths.unique().tolist():
        for rows in passes((lengths == length).nonzero()[:, 0], length):
            own = tokens[rows, :length].to(device)
            logits = forward(config, weights, own[:, :-1], starts=None if starts is None else starts[rows].to(device))
            free = torch.arange(1, length, device=device) < first[rows, None].to(device)  # given, not predicted
            right[:, rows.to(device)] = ((logits.argmax(-1) == own[:, 1:]) | free).all(-1)
    return right
