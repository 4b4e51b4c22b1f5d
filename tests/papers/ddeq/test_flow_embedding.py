"""The coupling layer: exact inverse, decoding, counts, and a hand-computed case."""

import math

import pytest
import torch
from twelvefold.nn.stacked import count, stack
from twelvefold.papers.ddeq.completion_populations import parameters
from twelvefold.papers.ddeq.flow_embedding import couple, decode, draw_embedding, embed, uncouple


def drawn(width, members=2, dtype=torch.float32):
    made = stack([draw_embedding(width, torch.Generator().manual_seed(seed)) for seed in range(members)])
    return {name: weight.to(dtype) for name, weight in made.items()}


def rows(*shape, seed=7, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_counts_at_the_papers_sizes():
    assert count(drawn(128, 1)) == 16_640
    assert parameters("ddeq", {"cross_layers": 3}) == 1_185_008
    assert parameters("pcn", {}) == 5_813_634


def test_the_inverse_is_exact_both_ways():
    weights, x = drawn(12), rows(2, 3, 5, 12)
    torch.testing.assert_close(uncouple(weights, couple(weights, x)), x, rtol=0, atol=1e-6)
    torch.testing.assert_close(couple(weights, uncouple(weights, x)), x, rtol=0, atol=1e-6)
    assert not torch.allclose(couple(weights, x), x, atol=0.1)


def test_a_case_by_hand():
    weights = {f"embed.{net}.{layer}.{part}": torch.zeros(1, 1, 1) if part == "weight" else torch.zeros(1, 1)
               for net in ("scale", "shift") for layer in ("in", "out") for part in ("weight", "bias")}  # fmt: skip
    weights["embed.scale.in.weight"] += 2  # s(u) = 3 relu(2 u + 1)
    weights["embed.scale.in.bias"] += 1
    weights["embed.scale.out.weight"] += 3
    weights["embed.shift.out.bias"] += 0.5  # t(u) = 0.5
    made = couple(weights, torch.tensor([[[-0.25, 2.0]]]))
    torch.testing.assert_close(made, torch.tensor([[[-0.25, 2 * math.exp(1.5) + 0.5]]]))


def test_decoding_is_the_inverse_and_then_the_first_coordinates():
    weights, particles = drawn(12), rows(2, 3, 5, 12)
    assert torch.equal(decode(particles, 2), uncouple(weights, particles)[..., :2])
    points = rows(2, 3, 5, 2)
    assert torch.equal(decode(embed(weights, points), 2), points)


def test_members_together_are_members_alone():
    weights, points = drawn(12, 3), rows(3, 4, 5, 2)
    together = embed(weights, points)
    for member in range(3):
        alone = {name: weight[member : member + 1] for name, weight in weights.items()}
        assert torch.equal(embed(alone, points[member : member + 1])[0], together[member])


@pytest.mark.parametrize("width", [0, 3, 1.0, True, -2])
def test_a_width_without_halves_is_refused(width):
    with pytest.raises(ValueError, match="width"):
        draw_embedding(width, torch.Generator())


def test_shapes_that_do_not_fit_are_refused():
    weights = drawn(4)
    with pytest.raises(ValueError, match="particles"):
        couple(weights, rows(2, 3, 6))
    with pytest.raises(ValueError, match="particles"):
        uncouple(weights, rows(1, 3, 4))
    with pytest.raises(ValueError, match="half the width"):
        embed(weights, rows(2, 5, 3))
    for dimension in (0, 3):
        with pytest.raises(ValueError, match="dimension"):
            decode(rows(2, 3, 4), dimension)
