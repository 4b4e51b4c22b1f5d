"""How much alike two plans are, and a plan whose columns were exchanged among target tokens: what to compare with."""

from __future__ import annotations

import torch
from torch import Tensor

from twelvefold.papers.s2t2.translation import source_given_target


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Mass that the columns of two plans `[v, u]` share, sum_s min(P(s | t), Q(s | t)) `[u]`: 1 for equal ones.

    Raises:
        ValueError: plans of different shapes, or as `source_given_target`.
    """
    if first.shape != second.shape:
        raise ValueError(f"plans of shapes {tuple(first.shape)} and {tuple(second.shape)}; equal ones are needed")
    return torch.minimum(source_given_target(first), source_given_target(second)).sum(0)


def correlation(first: Tensor, second: Tensor) -> float:
    """Correlation of all entries of two sets of vectors `[u, d]`, each centred over its u tokens.

    Raises:
        ValueError: sets of different shapes.
    """
    if first.shape != second.shape:
        raise ValueError(f"vectors of shapes {tuple(first.shape)} and {tuple(second.shape)}; equal ones are needed")
    one, other = (m.double() - m.double().mean(0) for m in (first, second))
    return float((one * other).sum() / (one.norm() * other.norm()))


def by_frequency(frequency: Tensor) -> Tensor:
    """Numbers of the tokens `[u]`, the most frequent first; equally frequent ones in their own order."""
    return frequency.argsort(descending=True, stable=True)


def exchanged_columns(frequency: Tensor, group: int, generator: torch.Generator) -> Tensor:
    """Whose column each target token gets `[u]`, when `group` neighbours by frequency pass theirs on in a random round.

    No token keeps its own, but for a last group of one.

    Args:
        frequency: of the target tokens `[u]`. group: how many exchange among themselves; u or more: all of them.

    Raises:
        ValueError: a group below 2.
    """
    if group < 2:
        raise ValueError(f"group = {group}; at least 2 tokens are needed to exchange columns")
    columns = torch.empty(len(frequency), dtype=torch.long)
    for part in by_frequency(frequency).split(group):
        ring = part[torch.randperm(len(part), generator=generator)]
        columns[ring] = ring.roll(1)
    return columns
