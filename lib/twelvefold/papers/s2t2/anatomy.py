"""What a plan is made of: how many source tokens a target token uses, and which."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from twelvefold.papers.s2t2.tokenization import Vocabulary
from twelvefold.papers.s2t2.translation import source_given_target


class Share(NamedTuple):
    """A source token and its weight in a target token."""

    source: bytes
    weight: float


def support(plan: Tensor) -> Tensor:
    """Number of source tokens with a positive weight in each target token `[u]`, of a plan `[v, u]`.

    Raises:
        ValueError: a plan that is no matrix.
    """
    if plan.ndim != 2:
        raise ValueError(f"plan has shape {tuple(plan.shape)}; [v, u], source by target tokens, is needed")
    return (plan > 0).sum(0)


def share_of_single(plan: Tensor) -> float:
    """Share of target tokens that are one source token; gradients reach their column through nothing else."""
    return float((support(plan) == 1).float().mean())


def effective_sources(plan: Tensor) -> Tensor:
    """exp of the entropy of P(s | t) `[u]`: 1 for one source token, n for n equal ones.

    Raises:
        ValueError: as `source_given_target`.
    """
    weights = source_given_target(plan.double())  # [v, u]
    return torch.exp(-torch.xlogy(weights, weights).sum(0))


def top_sources(
    plan: Tensor, token: int, source: Vocabulary, *, count: int = 5, kept: Tensor | None = None
) -> list[Share]:
    """The source tokens with the largest weights in a target token, at most `count`, without zeros.

    Args:
        plan: `[v, u]`. token: number of the target token. source: its bytes name the rows.
        kept: numbers of the source tokens that are the rows `[v]`; None: all.

    Raises:
        ValueError: a number that is no target token, a count below 1, or rows that the source does not fit.
    """
    rows = torch.arange(len(source)) if kept is None else kept
    if plan.ndim != 2 or plan.shape[0] != len(rows) or not 0 <= token < plan.shape[1] or count < 1:
        raise ValueError(f"plan has shape {tuple(plan.shape)}, token = {token}, count = {count}; {len(rows)} rows, a "
                         "column for the token and a count of at least 1 are needed")  # fmt: skip
    weights = source_given_target(plan)[:, token]
    values, places = weights.topk(min(count, len(rows)))
    return [Share(source.pieces[int(rows[place])], float(value))
            for value, place in zip(values, places, strict=True) if value > 0]  # fmt: skip
