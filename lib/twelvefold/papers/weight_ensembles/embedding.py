"""Metric multidimensional scaling (SMACOF) of many distance matrices at once, with stress and Procrustes alignment."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import procrustes
from torch import Tensor


def check_distances(distances: Tensor) -> Tensor:
    """Return `distances [..., n, n]` in float64 if symmetric, finite, non-negative with zero diagonal and n >= 3;
    ValueError otherwise."""
    values = torch.as_tensor(distances).double()
    if values.ndim < 2 or values.shape[-1] != values.shape[-2] or values.shape[-1] < 3:
        raise ValueError(f"distances has shape {tuple(values.shape)}; needed are square matrices of at least 3 points")
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise ValueError("distances contain NaN, infinity or negative values; needed are finite distances >= 0")
    scale = values.abs().max().clamp(min=1e-300)
    if bool((values - values.mT).abs().max() > 1e-9 * scale) or bool(
        (values.diagonal(dim1=-2, dim2=-1) > 1e-9 * scale).any()
    ):
        raise ValueError(
            "distances are not symmetric with a zero diagonal; needed is d(a, b) = d(b, a) and d(a, a) = 0"
        )
    return values


def classical_scaling(distances: Tensor, dimensions: int = 2) -> Tensor:
    """Classical (Torgerson) scaling `[..., n, dimensions]`: leading eigenvectors of the doubly centred squared
    distances, the deterministic start of SMACOF.

    Each axis is signed so that its entry of largest size is positive, which makes the result unique for distinct
    eigenvalues.
    """
    squares = check_distances(distances) ** 2
    centred = (
        squares - squares.mean(-1, keepdim=True) - squares.mean(-2, keepdim=True) + squares.mean((-1, -2), keepdim=True)
    )
    values, vectors = torch.linalg.eigh(-0.5 * centred)  # ascending
    axes = vectors[..., -dimensions:].flip(-1)
    largest = axes.gather(-2, axes.abs().argmax(-2, keepdim=True))
    return (
        axes
        * torch.where(largest < 0, -1.0, 1.0)
        * values[..., -dimensions:].flip(-1).clamp(min=0).sqrt()[..., None, :]
    )


def pair_distances(positions: Tensor) -> Tensor:
    """Euclidean distances `[..., n, n]` between embedded points `[..., n, d]`, taken from direct differences."""
    return (positions[..., :, None, :] - positions[..., None, :, :]).square().sum(-1).sqrt()


def stress_1(distances: Tensor, positions: Tensor) -> Tensor:
    """Kruskal's stress-1 `[...]`: sqrt(sum (delta - d)^2 / sum d^2) over pairs, delta the given and d the embedded
    distances (0.05 good, 0.2 poor)."""
    embedded = pair_distances(positions)
    return ((distances - embedded).square().sum((-1, -2)) / embedded.square().sum((-1, -2))).sqrt()


def smacof(
    distances: Tensor, start: Tensor | None = None, *, iterations: int = 300, tolerance: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """Metric MDS in the plane by stress majorisation, for a batch of distance matrices at once.

    Each iteration is the Guttman transform X <- B(X) X / n with B_ij = -delta_ij / d_ij(X) for i != j and rows summing
    to zero; the raw stress never rises. `distances [..., n, n]`, `start [..., n, 2]` (default classical scaling). A
    matrix is finished when its raw stress falls by less than `tolerance` of sum d^2 (scikit-learn's rule), and stays as
    it is then.

    Returns positions `[..., n, 2]` and stress-1 `[...]`, float64. Raises ValueError as `check_distances`, and for a
    start of another shape.
    """
    delta = check_distances(distances)
    points = delta.shape[-1]
    positions = classical_scaling(delta) if start is None else start.double()
    if positions.shape[:-1] != delta.shape[:-1]:
        raise ValueError(
            f"start has shape {tuple(positions.shape)}; needed is {tuple(delta.shape[:-1])} and a dimension"
        )
    done = torch.zeros(delta.shape[:-2], dtype=torch.bool, device=delta.device)
    previous = torch.full(delta.shape[:-2], torch.inf, dtype=torch.float64, device=delta.device)
    embedded = pair_distances(positions)
    for _ in range(iterations):
        ratio = delta / torch.where(embedded == 0, 1e-5, embedded)
        moved = (ratio.sum(-1, keepdim=True) * positions - ratio @ positions) / points
        positions = torch.where(done[..., None, None], positions, moved)
        embedded = pair_distances(positions)
        raw = (embedded - delta).square().sum((-1, -2)) / 2
        done = done | ((previous - raw) / (embedded.square().sum((-1, -2)) / 2) < tolerance)
        previous = raw
        if bool(done.all()):
            break
    return positions, stress_1(delta, positions)


def permuted(distances: Tensor, generator: np.random.Generator, copies: int) -> Tensor:
    """`copies` matrices `[copies, n, n]` with the same off-diagonal distances dealt to other pairs: the null model that
    destroys the geometry and keeps the histogram."""
    values = check_distances(distances)
    points = values.shape[-1]
    rows, columns = torch.triu_indices(points, points, offset=1)
    pairs = values[rows, columns]
    result = torch.zeros(copies, points, points, dtype=torch.float64)
    for copy in range(copies):
        result[copy, rows, columns] = pairs[torch.from_numpy(generator.permutation(len(pairs)))]
    return result + result.mT


def align(positions: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`positions [n, 2]` shifted, rotated, reflected and scaled onto `reference [n, 2]` (Procrustes): MDS leaves these
    free, so maps are only comparable afterwards."""
    if positions.shape != reference.shape:
        raise ValueError(f"positions {positions.shape} and reference {reference.shape} must have the same shape")
    centre, spread = reference.mean(0), np.linalg.norm(reference - reference.mean(0))
    _, aligned, _ = procrustes(reference, positions)
    return aligned * spread + centre
