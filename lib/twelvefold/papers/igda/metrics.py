"""How near a predicted graph is to the true one, and how well beliefs fit it.

All functions take a leading axis of replicates and treat pairs of different variables only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from twelvefold.papers.igda.feedback import pairs


class Agreement(NamedTuple):
    """Numbers per replicate `[S]`, float64.

    Attributes:
        f1: 2 TP / (2 TP + FP + FN) over all pairs, tested ones included.
        f1_untested: the same over untested pairs alone; 1 where nothing is left to find and nothing is claimed.
        distance: structural Hamming distance, edges to add, delete or turn round.
    """

    f1: Tensor
    f1_untested: Tensor
    distance: Tensor


def agreement(predicted: Tensor, edges: Tensor, tested: Tensor) -> Agreement:
    """Compare predicted graphs `[S, n, n]` with the true one `[n, n]`; `tested [S, n, n]` says what is known.

    Raises:
        ValueError: shapes that do not fit.
    """
    if predicted.ndim != 3 or predicted.shape[1:] != edges.shape or tested.shape != predicted.shape:
        raise ValueError(f"predicted {tuple(predicted.shape)}, edges {tuple(edges.shape)}, tested "
                         f"{tuple(tested.shape)}; [S, n, n], [n, n] and [S, n, n] are needed")  # fmt: skip
    every = pairs(len(edges), edges.device).expand_as(predicted)
    return Agreement(_f1(predicted, edges, every), _f1(predicted, edges, every & ~tested),
                     _distance(predicted & every, edges))  # fmt: skip


def _f1(predicted: Tensor, edges: Tensor, among: Tensor) -> Tensor:
    hit = (predicted & edges & among).sum((1, 2)).double()  # TP
    wrong = ((predicted ^ edges) & among).sum((1, 2)).double()  # FP + FN
    return torch.where(2 * hit + wrong > 0, 2 * hit / (2 * hit + wrong).clamp(min=1), 1.0)


def _distance(predicted: Tensor, edges: Tensor) -> Tensor:
    """Pairs of variables between which the two graphs differ: an edge that only points the other way counts once."""
    differs = predicted ^ edges
    either = differs | differs.transpose(1, 2)
    return torch.triu(either, diagonal=1).sum((1, 2)).double()


def ranking_quality(beliefs: Tensor, edges: Tensor) -> Tensor:
    """AUROC per replicate `[S]`: probability that a true edge has a higher belief than an absent one; ties count half.

    Args:
        beliefs: `[S, n, n]`. edges: the true graph `[n, n]`, with at least one edge, and not all of them.

    Raises:
        ValueError: a graph without edges, or with all of them.
    """
    every = pairs(len(edges), edges.device)
    there, absent = beliefs[:, edges & every], beliefs[:, ~edges & every]  # [S, |E|], [S, rest]
    if there.shape[1] == 0 or absent.shape[1] == 0:
        raise ValueError(f"edges has {there.shape[1]} edges and {absent.shape[1]} pairs without; at least one of each "
                         "is needed")  # fmt: skip
    lower = torch.searchsorted(absent.sort(1).values, there.contiguous()).double()
    upper = torch.searchsorted(absent.sort(1).values, there.contiguous(), right=True).double()
    return (lower + upper).mean(1) / (2 * absent.shape[1])


class Calibration(NamedTuple):
    """Beliefs in bins `[B]`: mean belief, share of true edges, and number of pairs of each bin."""

    belief: Tensor
    share: Tensor
    pairs: Tensor

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean over pairs of |share - belief| of their bin."""
        return float(((self.share - self.belief).abs() * self.pairs).sum() / self.pairs.sum())


def calibration(
    beliefs: Tensor, edges: Tensor, bins: int | Sequence[float] = 10, among: Tensor | None = None
) -> Calibration:
    """Sort beliefs `[S, n, n]` of all replicates into bins; empty bins are left out.

    Args:
        edges: the true graph `[n, n]`. bins: number of equally wide ones from 0 to 1, or the borders between them,
            rising, the ends included; a belief on a border belongs to the bin above.
        among: pairs that count `[S, n, n]`, bool; None: all.

    Raises:
        ValueError: fewer than one bin, borders that do not rise, or a belief outside of them.
    """
    between = [k / max(bins, 1) for k in range(bins + 1)] if isinstance(bins, int) else list(bins)
    borders = torch.tensor(between, dtype=torch.float64, device=beliefs.device)
    if len(borders) < 2 or not bool((borders.diff() > 0).all()):
        raise ValueError(f"bins = {bins}; at least one bin and rising borders are needed")
    among = pairs(len(edges), edges.device).expand_as(beliefs) if among is None else among
    values, true = beliefs[among].double(), edges.expand_as(among)[among].double()
    if bool((values < borders[0]).any() | (values > borders[-1]).any()):
        raise ValueError(f"beliefs lie outside of bins = {bins}")
    place = torch.bucketize(values, borders[1:-1], right=True)
    empty = torch.zeros(len(borders) - 1, dtype=torch.float64, device=beliefs.device)
    belief, share, count = (empty.index_add(0, place, x) for x in (values, true, torch.ones_like(values)))
    used = count > 0
    return Calibration(belief[used] / count[used], share[used] / count[used], count[used])
