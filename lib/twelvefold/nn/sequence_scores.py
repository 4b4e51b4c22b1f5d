"""How well networks continue prompts, by teacher forcing: exact match and the continuous scores beside it.

All scores of a continuation come from one pass in which every output token is predicted from the true tokens before it.
Source of the scores: Zhao et al. 2025, arXiv 2502.17356.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from twelvefold.nn.exact_match import check_continuations, passes
from twelvefold.nn.transformer import forward
from twelvefold.nn.transformer_config import TransformerConfig


class SequenceScores(NamedTuple):
    """Scores of n continuations by P networks, each `[P, n]`.

    Attributes:
        exact: whether greedy decoding gives exactly the continuation (bool).
        loss: negative log-likelihood of the continuation in nats, summed over its tokens.
        worst: log-probability of its least likely token, in nats (0 is certain).
        margin: smallest lead of a true token's logit over the best other one; positive where `exact`, up to ties.
    """

    exact: Tensor
    loss: Tensor
    worst: Tensor
    margin: Tensor


@torch.no_grad()
def sequence_scores(
    config: TransformerConfig, weights: Mapping[str, Tensor], tokens: Tensor, first: Tensor, lengths: Tensor,
    starts: Tensor | None = None,
) -> SequenceScores:  # fmt: skip
    """Score given continuations of prompts for every member of a population.

    Args:
        config: the architecture.
        weights: `{name: [P, *shape]}`.
        tokens: whole sequences `[n, T]`, padded on the right.
        first: position `[n]` of the first token of the continuation, at least 1.
        lengths: number of tokens `[n]` of each sequence; its last one belongs to the continuation.
        starts: first row of the learned position table, `[n]`.

    Raises:
        ValueError: shapes differ, a number is not whole, or a continuation is empty.
    """
    check_continuations(tokens, first, lengths, starts)
    device, members = weights["embedding"].device, weights["embedding"].shape[0]
    scores = torch.empty(3, members, len(tokens), device=device)
    exact = torch.empty(members, len(tokens), dtype=torch.bool, device=device)
    for length in lengths.unique().tolist():
        for rows in passes((lengths == length).nonzero()[:, 0], length):
            own = tokens[rows, :length].to(device)
            logits = forward(config, weights, own[:, :-1], starts=None if starts is None else starts[rows].to(device))
            given = torch.arange(1, length, device=device) < first[rows, None].to(device)  # not predicted
            part = _scored(logits.float(), own[:, 1:], given)
            exact[:, rows.to(device)] = part.exact
            scores[:, :, rows.to(device)] = torch.stack(part[1:])
    return SequenceScores(exact, *scores)


def _scored(logits: Tensor, targets: Tensor, given: Tensor) -> SequenceScores:
    """Scores `[P, n]` from logits `[P, n, T, V]`, which it overwrites, targets `[n, T]` and which of them were given
    `[n, T]`."""
    index = targets.expand(len(logits), -1, -1)[..., None]
    true = logits.gather(3, index)[..., 0]  # [P, n, T]
    log_probability = true - logits.logsumexp(-1)
    right = logits.argmax(-1) == targets
    lead = true - logits.scatter_(3, index, -torch.inf).amax(-1)  # in place: it is the largest tensor here
    return SequenceScores(
        (right | given).all(-1),
        -log_probability.masked_fill(given, 0.0).sum(-1),
        log_probability.masked_fill(given, 0.0).amin(-1),
        lead.masked_fill(given, torch.inf).amin(-1),
    )

