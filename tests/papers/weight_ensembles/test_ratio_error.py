"""Distances between ingredients, against deslib, the formula by hand and direct differences."""

import pytest
import torch
from deslib.util import diversity
from hypothesis import given, settings
from hypothesis import strategies as st
from twelvefold.papers.weight_ensembles.distances import (
    error_counts,
    euclidean,
    mean_pairwise,
    ranked_pairs,
    ratio_error,
)


def tables(members: int, examples: int, seed: int) -> torch.Tensor:
    return torch.rand(members, examples, generator=torch.Generator().manual_seed(seed)) < 0.7


def test_equals_deslib_on_every_pair():
    correct = tables(5, 80, 0)
    truth, predictions = torch.zeros(80).numpy(), (~correct).long().numpy()
    ours = ratio_error(correct)
    for first in range(5):
        for second in range(5):
            assert ours[first, second] == pytest.approx(
                diversity.ratio_errors(truth, predictions[first], predictions[second])
            )


def test_equals_the_formula_by_hand():
    a = torch.tensor([[True, True, False, False, False]])
    b = torch.tensor([[True, False, True, False, False]])
    assert error_counts(a, b) == (torch.tensor([[2]]), torch.tensor([[2]]))
    assert ratio_error(a, b).item() == 1.0
    assert ratio_error(a, b, smoothing=1).item() == pytest.approx(2 / 3)


def test_pairs_without_common_errors_get_the_documented_value():
    a, b = torch.tensor([[True, True, False, True]]), torch.tensor([[False, True, True, True]])
    assert ratio_error(a, b).item() == pytest.approx(2 * 2 / 4)
    assert ratio_error(a, b, smoothing=1).item() == pytest.approx(2.0)
    perfect = torch.ones(1, 4, dtype=torch.bool)
    assert ratio_error(perfect).item() == 0


@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 10**6), st.sampled_from((0.0, 1.0)))
@settings(max_examples=60, deadline=None)
def test_is_symmetric_zero_on_itself_and_blind_to_the_order_of_examples(members, examples, seed, smoothing):
    correct = tables(members, examples, seed)
    distances = ratio_error(correct, smoothing=smoothing)
    assert (
        torch.equal(distances, distances.T) and bool((distances.diagonal() == 0).all()) and bool((distances >= 0).all())
    )
    shuffle = torch.randperm(examples, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(ratio_error(correct[:, shuffle], smoothing=smoothing), distances)


def test_euclidean_keeps_the_digits_of_close_weights():
    base = 100 + torch.rand(50, generator=torch.Generator().manual_seed(1))
    weights = torch.stack([base, base + 1e-5, base - 2e-5, base + 3.0])
    expected = (weights[:, None].double() - weights[None].double()).norm(dim=-1)
    torch.testing.assert_close(euclidean(weights), expected)
    torch.testing.assert_close(euclidean(weights[:2], weights, block=7), expected[:2])


def test_mean_pairwise_counts_each_pair_once():
    distances = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 4.0], [2.0, 4.0, 0.0]])
    assert mean_pairwise(distances, [0, 1, 2]) == pytest.approx(7 / 3)
    assert mean_pairwise(distances, [0, 2]) == 2.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ratio_error(torch.zeros(2, 3)), "boolean"),
        (lambda: ratio_error(torch.zeros(3, dtype=torch.bool)), "boolean"),
        (lambda: ratio_error(torch.zeros(2, 0, dtype=torch.bool)), "no examples"),
        (lambda: ratio_error(tables(2, 4, 0), tables(2, 5, 0)), "same examples"),
        (lambda: ratio_error(tables(2, 4, 0), smoothing=-1), "smoothing"),
        (lambda: euclidean(torch.zeros(2, 3), torch.zeros(2, 4)), "same P"),
        (lambda: mean_pairwise(torch.zeros(2, 2), [0]), "at least two"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_pairs_are_ranked_from_the_closest_to_the_farthest():
    matrix = torch.tensor([[0.0, 3.0, 1.0], [3.0, 0.0, 2.0], [1.0, 2.0, 0.0]])
    assert ranked_pairs(matrix) == [(0, 2, 1.0), (1, 2, 2.0), (0, 1, 3.0)]
    ties = ranked_pairs(torch.ones(4, 4))
    assert [pair[:2] for pair in ties] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
