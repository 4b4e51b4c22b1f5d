"""Shards of a population: together the population, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twelvefold.tasks.kept_weights import kept_weights
from twelvefold.tasks.prompt_populations import prompt_population
from twelvefold.tasks.sharding import shards, sweep_shards

POINT: dict[str, Any] = {
    "task": "counting", "settings": {"numbers": 9, "lengths": [[2, 1], [3, 1]]}, "members": [4, 0, 2, 9, 1],
    "seed": 10_200, "batch": 2,
    "architecture": {"width": 8, "layers": 1, "heads": 1, "feedforward": 0, "positions": "rotary"},
    "recipe": {"steps": 6, "learning_rate": 1e-2}, "record_at": [3, 6], "test_lengths": [3], "prompts": 5, "kept": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> list[dict[str, Any]]:
    return [prompt_population(**point) for point in (POINT, OTHER)]


OTHER = POINT | {"members": [1, 7], "kept": 0, "batch": 3}


@pytest.mark.parametrize("shard", [1, 2, 3, 9])
def test_shards_are_the_populations(
    shard: int, whole: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path))
    for result, population in zip(sweep_shards(prompt_population, [POINT, OTHER], shard), whole, strict=True):
        assert result.keys() == population.keys()
        for name, value in result.items():
            np.testing.assert_array_equal(value, population[name].numpy(), err_msg=name)
            assert value.dtype == population[name].numpy().dtype
    assert len(list(tmp_path.rglob("*.npz"))) == -(-5 // shard) + -(-2 // shard)


def test_kept_members_are_the_first_ones(
    whole: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path))
    (result,) = sweep_shards(prompt_population, [POINT], 2)
    everyone = kept_weights(prompt_population(**POINT | {"kept": 5}))
    for name, weight in kept_weights(result).items():
        assert np.array_equal(weight, everyone[name][:3]), name
    assert [part["kept"] for part in shards(POINT, 2)] == [2, 1, 0]


@given(st.lists(st.integers(), min_size=1, max_size=20), st.integers(1, 25), st.data())
def test_shards_share_out_members_and_kept_ones(members: list[int], shard: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(members)))
    point = {"members": members, "kept": kept, "seed": 3}
    parts = list(shards(point, shard))
    assert [member for part in parts for member in part["members"]] == members
    assert [member for part in parts for member in part["members"][: part["kept"]]] == members[:kept]
    assert all(1 <= len(part["members"]) <= shard and part["seed"] == 3 for part in parts)
    assert len(parts) == -(-len(members) // shard)
    assert list(shards({"members": members}, len(members)))[0]["kept"] == 0
    assert point == {"members": members, "kept": kept, "seed": 3}, "the point is left as it was"


def test_no_points_give_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path))
    assert sweep_shards(prompt_population, [], 3) == []


@pytest.mark.parametrize("shard", [0, -1, 2.0, float("nan"), True, "2", None])
def test_impossible_shards_are_refused(shard: Any) -> None:
    with pytest.raises(ValueError, match="shard = .*; a whole number from 1"):
        sweep_shards(prompt_population, [POINT], shard)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"members": []}, r"members = \[\]"), ({"members": 5}, "members = 5"), ({"members": "01"}, "members = '01'"),
        ({"members": None}, "members = None"), ({"kept": 6}, "kept = 6"), ({"kept": -1}, "kept = -1"),
        ({"kept": 1.5}, "kept = 1.5"),
    ],
)  # fmt: skip
def test_impossible_members_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        sweep_shards(prompt_population, [POINT | change], 2)
