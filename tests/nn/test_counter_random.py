"""Masks from a counter: against plain integers, and as independent of the company a member keeps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twelvefold.nn import counter_random as cr

WORD = 2**64


def splitmix(state: int) -> int:
    """SplitMix64's output for a state, in Python's own integers."""
    z = state % WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def reference_mask(key: int, step: int, elements: int, rate: float) -> list[float]:
    """The mask of one member, element by element."""
    stream = splitmix(key + (step + 1) * 0xD1342543DE82EF95)
    threshold, mask = round(rate * 2**16), []
    for i in range(elements):
        word = splitmix(stream + (i // 4 + 1) * 0x9E3779B97F4A7C15)
        lane = (word >> 16 * (i % 4)) % 2**16  # little-endian
        signed = lane - 2**16 if lane >= 2**15 else lane
        mask.append(2**16 / (2**16 - threshold) if signed >= threshold - 2**15 else 0.0)
    return mask


def keys(members: int) -> torch.Tensor:
    return cr.mask_keys(10_000, range(members), "dropout masks")


def test_the_first_outputs_of_splitmix64_from_seed_zero():
    # published with the reference implementation of the generator: state 0, then increments by the golden gamma
    gamma = 0x9E3779B97F4A7C15
    states = torch.tensor([cr._signed(n * gamma % WORD) for n in (1, 2, 3)])
    words = [int(word) % WORD for word in cr.mix(states)]
    assert words == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_mixing_equals_plain_integers(words):
    assert [int(word) % WORD for word in cr.mix(torch.tensor(words))] == [splitmix(word) for word in words]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("step", [0, 1, 123_456])
def test_masks_equal_plain_integers(rate, step):
    own = keys(3)
    masks = cr.dropout_masks(own, step, 53, rate)
    expected = torch.tensor([reference_mask(int(key), step, 53, rate) for key in own])
    assert torch.equal(masks, expected)


def test_a_member_draws_the_same_in_any_company_and_in_any_blocks(monkeypatch):
    own, elements = keys(7), 1001
    together = cr.dropout_masks(own, 5, elements, 0.3)
    for member in range(7):
        assert torch.equal(cr.dropout_masks(own[member : member + 1], 5, elements, 0.3)[0], together[member])
    assert torch.equal(cr.dropout_masks(own[2:5], 5, elements, 0.3), together[2:5])
    for words in (1, 8, 64, 999):
        monkeypatch.setattr(cr, "_BLOCK_WORDS", words)
        assert torch.equal(cr.dropout_masks(own, 5, elements, 0.3), together)


def test_a_shorter_mask_is_the_beginning_of_a_longer_one():
    assert torch.equal(cr.dropout_masks(keys(2), 3, 17, 0.5), cr.dropout_masks(keys(2), 3, 40, 0.5)[:, :17])


def test_the_step_may_be_a_tensor_and_the_masks_may_go_to_a_given_place():
    wide = torch.full((3, 30), 7.0, dtype=torch.float64)
    returned = cr.dropout_masks(keys(3), torch.tensor(9), 20, 0.2, wide[:, :20])
    assert torch.equal(wide[:, :20].float(), cr.dropout_masks(keys(3), 9, 20, 0.2))
    assert returned.data_ptr() == wide.data_ptr() and bool((wide[:, 20:] == 7).all())


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5])
def test_frequencies(rate):
    masks = cr.dropout_masks(keys(8), 0, 200_000, rate)
    rounded = round(rate * 2**16) / 2**16
    deviation = (rounded * (1 - rounded) / 200_000) ** 0.5
    dropped = (masks == 0).float().mean(1)
    assert (dropped - rounded).abs().max() < 5 * deviation
    assert torch.allclose(masks.unique(), torch.tensor([0.0, 1 / (1 - rounded)]))
    for lane in range(4):  # each 16-bit lane of a word on its own
        assert abs(float((masks[:, lane::4] == 0).float().mean()) - rounded) < 5 * deviation


def test_members_steps_and_neighbours_are_uncorrelated():
    n = 100_000
    masks = torch.cat([cr.dropout_masks(keys(4), step, n, 0.5) for step in (0, 1, 2)]) - 1  # [12, n], +-1
    correlation = masks @ masks.T / n - torch.eye(12)
    assert correlation.abs().max() < 5 / n**0.5
    for shift in (1, 2, 3, 4, 8):
        assert ((masks[:, shift:] * masks[:, :-shift]).mean(1)).abs().max() < 5 / n**0.5


def test_keys_differ_by_seed_replicate_and_purpose():
    several = [cr.mask_keys(seed, [r], purpose) for seed in (0, 1) for r in (0, 1) for purpose in ("a", "b")]
    assert len(torch.cat(several).unique()) == 8
    assert torch.equal(cr.mask_keys(3, [5, 2], "a"), torch.cat([cr.mask_keys(3, [5], "a"), cr.mask_keys(3, [2], "a")]))


def test_bad_input():
    with pytest.raises(TypeError, match="int64"):
        cr.mix(torch.zeros(3))
    for own in (torch.zeros(3), torch.zeros(2, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)):
        with pytest.raises(ValueError, match="keys"):
            cr.dropout_masks(own, 0, 4, 0.1)
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="rate"):
            cr.dropout_masks(keys(1), 0, 4, rate)
    for elements in (0, 2.0, True):
        with pytest.raises(ValueError, match="elements"):
            cr.dropout_masks(keys(1), 0, elements, 0.1)
    for out in (torch.zeros(1, 5), torch.zeros(1, 4, dtype=torch.int64)):
        with pytest.raises(ValueError, match="out"):
            cr.dropout_masks(keys(1), 0, 4, 0.1, out)
    with pytest.raises(ValueError, match="replicate"):
        cr.mask_keys(0, [-1], "a")


@pytest.mark.gpu
def test_cuda_draws_the_same_masks():
    own = keys(3)
    assert torch.equal(cr.dropout_masks(own.cuda(), torch.tensor(4).cuda(), 1001, 0.3).cpu(),
                       cr.dropout_masks(own, 4, 1001, 0.3))  # fmt: skip
