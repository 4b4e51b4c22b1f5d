"""How near a predicted graph is to the true one, and how well beliefs fit it.

All functions take a leading axis of replicates and treat pairs of different variables only.
"""

from __future__ import annotations

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


def calibration(beliefs: Tensor, edges: Tensor, bins: int = 10) -> Calibration:
    """Sort the beliefs `[S, n, n]` of all replicates into equally wide bins; empty bins are left out.

    Raises:
        ValueError: fewer than one bin.
    """
    if bins < 1:
        raise ValueError(f"bins = {bins}; at least 1 is needed")
    every = pairs(len(edges), edges.device)
    values, true = beliefs[:, every].double().flatten(), edges[every].double().repeat(len(beliefs))
    place = (values * bins).long().clamp(max=bins - 1)
    count, total, hits = (torch.zeros(bins, dtype=torch.float64, device=beliefs.device).index_add(0, place, x)
                          for x in (torch.ones_like(values), values, true))  # fmt: skip
    used = count > 0
    return Calibration(total[used] / count[used], hits[used] / count[used], count[used])
