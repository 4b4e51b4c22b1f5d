"""Exact optimal matching of small clouds, by linear assignment on the CPU: an oracle, not differentiable."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from twelvefold.ot.discrepancy import check_clouds
from twelvefold.ot.pairwise import flat


def matched_residual(z: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of two clouds as sets of rows: min over permutations p of sqrt(mean_i ||z_i - w_p(i)||^2).

    Args:
        z, w: `[..., N, d]`, of one shape.

    Returns:
        residual `[...]` and the best permutation `[..., N]` (int64), on the CPU.

    Raises:
        ValueError: unequal shapes, or numbers that are not finite.
    """
    costs, permutation = _matched(z, w, 2)
    return costs.sqrt(), permutation


def wasserstein_distance(x: Tensor, y: Tensor, p: int = 2) -> Tensor:
    """W_p `[...]`, on the CPU, between clouds of equally many, equally weighted points `[..., N, d]`, p = 1 or 2.

    Raises:
        ValueError: another p, unequal shapes, or numbers that are not finite.
    """
    if p not in (1, 2):
        raise ValueError(f"p = {p!r}; 1 and 2 are accepted")
    costs, _ = _matched(x, y, p)
    return costs ** (1 / p)


def _matched(z: Tensor, w: Tensor, p: int) -> tuple[Tensor, Tensor]:
    """Mean cost ||z_i - w_j||^p of the best matching `[...]`, and the matching `[..., N]`."""
    if z.shape != w.shape:
        raise ValueError(f"the clouds have shapes {tuple(z.shape)} and {tuple(w.shape)}; equal shapes are needed")
    check_clouds("the first cloud", z)
    check_clouds("the second cloud", w)
    rows, columns = (flat(cloud.detach().cpu().double()) for cloud in (z, w))
    costs = torch.cdist(rows, columns, compute_mode="donot_use_mm_for_euclid_dist").numpy() ** p  # [C, N, N]
    best = [linear_sum_assignment(cost)[1] for cost in costs]
    means = [cost[np.arange(len(order)), order].mean() for cost, order in zip(costs, best, strict=True)]
    return (
        torch.tensor(np.array(means), dtype=z.dtype).view(z.shape[:-2]),
        torch.from_numpy(np.stack(best)).view(z.shape[:-1]),
    )
