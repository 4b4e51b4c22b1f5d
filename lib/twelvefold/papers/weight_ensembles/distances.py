"""Distances between ingredients: in weight space (Euclidean, d_E) and in function space (ratio-error, d_D)."""

from __future__ import annotations

import torch
from torch import Tensor


def _table(correct: Tensor, name: str) -> Tensor:
    if correct.ndim != 2 or correct.dtype != torch.bool:
        raise ValueError(
            f"{name} is {correct.dtype} of shape {tuple(correct.shape)}; needed is a boolean table [members, examples]"
        )
    if correct.shape[1] == 0:
        raise ValueError(f"{name} has no examples; ratio-error needs at least one")
    return correct


def error_counts(correct: Tensor, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Counts `[M, R]` of examples on which exactly one of two members errs (N01 + N10) and on which both err (N00).

    `correct [M, n]` and `other [R, n]` (default: the same table) are boolean. Both counts are matrix products of the
    error indicators, exact in float32 up to 2^24 examples.
    """
    wrong = (~_table(correct, "correct")).float()  # [M, n]
    wrong_other = wrong if other is None else (~_table(other, "other")).float()  # [R, n]
    if wrong.shape[1] != wrong_other.shape[1]:
        raise ValueError(
            f"correct has {wrong.shape[1]} examples, other has {wrong_other.shape[1]}; both tables must cover the same "
            "examples"
        )
    both = wrong @ wrong_other.T  # N00
    single = wrong.sum(1)[:, None] + wrong_other.sum(1)[None] - 2 * both  # N01 + N10
    return single.round().long(), both.round().long()


def ratio_error(correct: Tensor, other: Tensor | None = None, *, smoothing: float = 0.0) -> Tensor:
    """Ratio-error d_D = (N01 + N10) / N00 of all pairs, `[M, R]` in float64 (Aksela 2003; the paper's functional
    distance).

    Symmetric, 0 for equal correctness, not a metric (no triangle inequality). With `smoothing=0` a pair without common
    errors (N00 = 0) gets 2 (N01 + N10) / n, the convention of DomainBed's diversity metrics; note that it is on another
    scale. `smoothing=1` gives (N01 + N10) / (N00 + 1), which needs no exception and is what small validation sets call
    for.
    """
    if smoothing < 0:
        raise ValueError(f"smoothing is {smoothing}; accepted are 0 (none) and positive numbers")
    single, both = error_counts(correct, other)
    if smoothing > 0:
        return single.double() / (both.double() + smoothing)
    without_common = 2.0 * single.double() / correct.shape[1]
    return torch.where(both > 0, single.double() / both.clamp(min=1).double(), without_common)


def euclidean(weights: Tensor, other: Tensor | None = None, *, block: int = 1 << 20) -> Tensor:
    """Euclidean distances d_E `[M, R]` in float64 between the rows of `weights [M, P]` and of `other [R, P]` (default:
    the same).

    Differences are taken directly: the Gram trick |a|^2 + |b|^2 - 2ab would lose the digits that separate ingredients
    lying close together. `block` parameters at a time bound the memory.
    """
    other = weights if other is None else other
    if weights.ndim != 2 or other.ndim != 2 or weights.shape[1] != other.shape[1]:
        raise ValueError(
            f"weights {tuple(weights.shape)} and other {tuple(other.shape)} must be matrices [members, P] with the "
            "same P"
        )
    squares = torch.zeros(weights.shape[0], other.shape[0], dtype=torch.float64, device=weights.device)
    for first in range(0, weights.shape[1], block):
        ours, theirs = weights[:, first : first + block].double(), other[:, first : first + block].double()
        squares += torch.cdist(ours, theirs, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    return squares.sqrt()


def mean_pairwise(distances: Tensor, chosen: list[int]) -> float:
    """Mean distance over all pairs of `chosen` members (repeats count): the diversity of a selected set. `distances [N,
    N]`; raises ValueError for fewer than two members."""
    if len(chosen) < 2:
        raise ValueError(f"chosen has {len(chosen)} members; a mean pairwise distance needs at least two")
    part = distances[chosen][:, chosen].double()
    size = len(chosen)
    return float((part.sum() - part.diagonal().sum()) / (size * (size - 1)))


def ranked_pairs(matrix: Tensor) -> list[tuple[int, int, float]]:
    """All pairs i < j of a symmetric `matrix [N, N]` with their distance, from the closest to the farthest."""
    first, second = torch.triu_indices(len(matrix), len(matrix), offset=1).unbind()
    values = matrix.cpu()[first, second]
    order = torch.argsort(values, stable=True)
    return list(zip(first[order].tolist(), second[order].tolist(), values[order].tolist(), strict=True))
