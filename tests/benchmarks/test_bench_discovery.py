"""The loop of interactive graph discovery, all replicates at once, against one replicate and one pair at a time.

The limit is the inverse of the 2n x 2n precision of the shared errors, one for each replicate and round.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.igda.loop import Policy, discover
from twelvefold.papers.igda.simulated_expert import Skill, draw_expert
from twelvefold.tasks.causal_graphs import load_graph

from tests.benchmarks.interleave import measure, record
from tests.papers.igda.plain_loop import plain_discovery

ROUNDS = 8


@pytest.mark.slow
@pytest.mark.parametrize(("name", "replicates", "plain"), [("child", 200, 20), ("alarm", 200, 5)])
def test_against_one_replicate_at_a_time(benchmark: Any, name: str, replicates: int, plain: int) -> None:
    """The peer runs `plain` replicates only; its seconds are counted up to all."""
    edges = load_graph(name).edges
    experiments = -(-3 * len(edges) * (len(edges) - 1) // (10 * ROUNDS))
    expert = draw_expert(Skill(), edges, replicates, torch_generator(10_000, 0, "expert"))

    def ours() -> torch.Tensor:
        return discover(expert, edges, Policy(), replicates=replicates, rounds=ROUNDS, experiments=experiments,
                        generator=torch_generator(10_000, 0, "ties")).f1  # fmt: skip

    def theirs() -> list[list[float]]:
        return [plain_discovery(expert.skill, edges.numpy(), expert.evidence[s].numpy(), ROUNDS, experiments)
                for s in range(plain)]  # fmt: skip

    torch.testing.assert_close(ours()[:plain], torch.tensor(theirs(), dtype=torch.float64))
    seconds = measure(ours, theirs, rounds=2)
    what = f"discovery of {name}, {replicates} replicates, {ROUNDS} rounds of {experiments} tests, local update"
    ratio = record(
        benchmark, (seconds[0], seconds[1] * replicates / plain), 20.0, what, "a loop over replicates and pairs"
    )
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0
