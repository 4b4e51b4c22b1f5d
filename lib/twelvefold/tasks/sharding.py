"""Training large populations in shards: points of at most so many members, whose results are joined again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from twelvefold.core.sweep import sweep
from twelvefold.tasks.examples import whole_number


def sweep_shards(
    fn: Callable[..., Mapping[str, Any]], points: Sequence[Mapping[str, Any]], shard: int, *,
    device: str | torch.device = "cpu", label: str = "training",
) -> list[dict[str, Any]]:  # fmt: skip
    """Results of a population function at each point, trained in shards of at most `shard` members.

    Every shard is a point of one sweep, so that `joblib.parallel_config` spreads the members of large populations over
    machines, and a killed run loses at most a shard's last minute. A member is the same in any shard.

    Args:
        fn: a sweep function with the arguments `members` (a list) and `kept` (so many members, the first ones, hand
            back their weights); everything it returns has the members, or the kept ones, along the first dimension.
        points: arguments of `fn`.
        shard: members trained by one call, at least 1.
        device, label: as in `core.sweep.sweep`.

    Raises:
        ValueError: `shard` is not a positive whole number, a point has no members or cannot keep so many; otherwise
            as `fn`.
    """
    parts = [list(shards(point, shard)) for point in points]
    flat = iter(sweep(fn, [part for own in parts for part in own], device=device, label=label))
    return [_merged([next(flat) for _ in own]) for own in parts]


def shards(point: Mapping[str, Any], shard: int) -> Iterator[dict[str, Any]]:
    """Points of at most `shard` members each that together train the members of a point; ValueError as `sweep_shards`.
    """
    whole_number("shard", shard)
    members, kept = point.get("members"), point.get("kept", 0)
    if not isinstance(members, Sequence) or isinstance(members, str) or not members:
        raise ValueError(f"members = {members!r}; a list of at least one is needed")
    whole_number("kept", kept, 0, len(members))
    for first in range(0, len(members), shard):
        own = members[first : first + shard]
        yield {**point, "members": own, "kept": min(max(kept - first, 0), len(own))}


def _merged(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join shards along the members, the first dimension of everything."""
    return {name: np.concatenate([result[name] for result in results]) for name in results[0]}
