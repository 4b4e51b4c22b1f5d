"""Metric MDS, against scikit-learn, and its invariants."""

import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from sklearn.manifold import MDS
from sklearn.manifold import smacof as sklearn_smacof
from twelvefold.papers.weight_ensembles.embedding import (
    align,
    check_distances,
    classical_scaling,
    pair_distances,
    permuted,
    smacof,
    stress_1,
)


def cloud(points: int, dimensions: int, seed: int) -> np.ndarray:
    return squareform(pdist(np.random.default_rng(seed).normal(size=(points, dimensions))))


@pytest.mark.parametrize("seed", range(3))
def test_stress_equals_scikit_learns_from_the_same_start(seed):
    distances, start = cloud(20, 8, seed), np.random.default_rng(seed + 50).normal(size=(20, 2))
    _, stress = smacof(torch.from_numpy(distances), torch.from_numpy(start))
    _, theirs = sklearn_smacof(distances, n_components=2, init=start, n_init=1, normalized_stress=True)
    assert float(stress) == pytest.approx(theirs, abs=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # names of the arguments change between releases
        estimator = MDS(2, n_init=1, dissimilarity="precomputed", normalized_stress=True)
        estimator.fit(distances, init=start)
    assert float(stress) == pytest.approx(estimator.stress_, abs=1e-6)


def test_stress_formula_equals_scikit_learns_number():
    distances = cloud(15, 6, 0)
    positions, theirs = sklearn_smacof(distances, n_components=2, random_state=0, n_init=1, normalized_stress=True)
    assert float(stress_1(torch.from_numpy(distances), torch.from_numpy(positions))) == pytest.approx(theirs, abs=1e-9)


def test_a_plane_is_embedded_exactly():
    distances = torch.from_numpy(cloud(12, 2, 1))
    torch.testing.assert_close(pair_distances(classical_scaling(distances)), distances)
    positions, stress = smacof(distances)
    assert float(stress) < 1e-7
    torch.testing.assert_close(pair_distances(positions), distances)


def test_a_batch_equals_its_matrices_one_by_one():
    distances = torch.stack([torch.from_numpy(cloud(10, 5, seed)) for seed in range(4)])
    positions, stress = smacof(distances)
    for index in range(4):
        alone, single = smacof(distances[index])
        torch.testing.assert_close(positions[index], alone)
        torch.testing.assert_close(stress[index], single)


def test_iterations_never_raise_the_raw_stress():
    distances = torch.from_numpy(cloud(15, 6, 3))
    start = torch.from_numpy(np.random.default_rng(0).normal(size=(15, 2)))
    raw = []
    for iterations in range(0, 30, 3):
        positions, _ = smacof(distances, start, iterations=iterations, tolerance=0.0)
        raw.append(float((distances - pair_distances(positions)).square().sum()))
    assert (np.diff(raw) <= 1e-9).all() and raw[-1] < 0.7 * raw[0]


def test_permuted_distances_keep_the_histogram_and_lose_the_geometry():
    distances = torch.from_numpy(cloud(20, 2, 4))
    shuffled = permuted(distances, np.random.default_rng(0), 3)
    rows, columns = torch.triu_indices(20, 20, offset=1)
    for copy in shuffled:
        check_distances(copy)
        torch.testing.assert_close(copy[rows, columns].sort().values, distances[rows, columns].sort().values)
    assert float(smacof(shuffled)[1].min()) > 0.2


def test_align_undoes_rotation_reflection_shift_and_scale():
    reference = np.random.default_rng(0).normal(size=(9, 2))
    turned = 2.5 * reference @ np.array([[0.6, 0.8], [0.8, -0.6]]) + 3.0
    np.testing.assert_allclose(align(turned, reference), reference, atol=1e-12)


BAD = torch.from_numpy(cloud(5, 2, 0))


@pytest.mark.parametrize(
    ("distances", "words"),
    [
        (torch.zeros(3, 4), "square"),
        (torch.zeros(2, 2), "at least 3"),
        (BAD * float("nan"), "NaN"),
        (-BAD, "negative"),
        (BAD + torch.triu(BAD), "symmetric"),
        (BAD + 1, "zero diagonal"),
    ],
)
def test_bad_distances_are_named(distances, words):
    with pytest.raises(ValueError, match=words):
        smacof(distances)


def test_other_bad_input_is_named():
    with pytest.raises(ValueError, match="start"):
        smacof(BAD, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="same shape"):
        align(np.zeros((3, 2)), np.zeros((4, 2)))
