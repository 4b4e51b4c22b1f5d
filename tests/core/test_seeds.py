"""Seeds: repeatable, different per replicate and purpose, and free of global state."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from twelvefold.core.seeds import numpy_generator, seed_sequence, torch_generator

GOLDEN_NUMPY = [116, 734, 138, 359]
GOLDEN_TORCH = [498, 105, 660, 100]
keys = st.tuples(st.integers(0, 2**40), st.integers(0, 1000), st.text(min_size=1, max_size=20))


def test_the_recipe_is_the_documented_one() -> None:
    expected = np.random.default_rng(np.random.SeedSequence([3, 5, zlib.crc32(b"initial weights")]))
    assert (numpy_generator(3, 5, "initial weights").integers(0, 2**40, 4) == expected.integers(0, 2**40, 4)).all()


def test_golden_values_hold_across_machines_and_versions() -> None:
    assert numpy_generator(0, 0, "golden").integers(0, 1000, 4).tolist() == GOLDEN_NUMPY
    assert torch.randint(0, 1000, (4,), generator=torch_generator(0, 0, "golden")).tolist() == GOLDEN_TORCH


@given(keys)
def test_the_same_key_draws_the_same(key: tuple[int, int, str]) -> None:
    assert (numpy_generator(*key).random(3) == numpy_generator(*key).random(3)).all()
    first, second = (torch.rand(3, generator=torch_generator(*key)) for _ in range(2))
    assert torch.equal(first, second)


@given(keys, keys)
def test_other_keys_draw_differently(first: tuple[int, int, str], second: tuple[int, int, str]) -> None:
    if first != second:
        assert (seed_sequence(*first).generate_state(8) != seed_sequence(*second).generate_state(8)).any()


def test_torch_generators_do_not_collide_over_replicates_and_purposes() -> None:
    keys = [(0, replicate, purpose) for replicate in range(200) for purpose in ("data", "weights", "mask")]
    seeds = {torch_generator(*key).initial_seed() for key in keys}
    assert len(seeds) == 600


def test_torch_generators_live_on_the_cpu() -> None:
    assert torch_generator(0, 0, "mask").device == torch.device("cpu")


def test_no_global_generator_is_touched() -> None:
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    torch.rand(3, generator=torch_generator(1, 2, "x"))
    numpy_generator(1, 2, "x").random(3)
    assert torch.equal(state, torch.get_rng_state())
    assert (np.random.get_state()[1] == legacy).all()  # type: ignore[index]


@pytest.mark.parametrize("make", [seed_sequence, numpy_generator, torch_generator])
@pytest.mark.parametrize(
    ("key", "message"),
    [
        ((-1, 0, "x"), "seed = -1"), ((0, -1, "x"), "replicate = -1"), ((0.5, 0, "x"), "seed = 0.5"),
        ((True, 0, "x"), "seed = True"), ((0, None, "x"), "replicate"), ((0, 0, ""), "purpose"), ((0, 0, 3), "purpose"),
    ],
)
def test_bad_keys_are_refused(make: Any, key: tuple[Any, Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(*key)
