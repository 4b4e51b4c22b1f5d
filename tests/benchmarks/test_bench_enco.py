"""ENCO-lite on P draws of data as one tensor program, against the same program on one draw after the other.

The limit is arithmetic: a graph step judges P K B n conditional distributions of 2 (n h + h C) operations each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.igda.enco import QUICK, fit

from tests.benchmarks.interleave import measure, record

VARIABLES, OBSERVED, EACH = 8, 1_000, 200
SHORT = replace(QUICK, rounds=1)  # one of ten rounds


@pytest.mark.slow
@pytest.mark.parametrize("draws", [10, 40])
def test_against_one_draw_after_the_other(benchmark: Any, draws: int) -> None:
    """The peer fits four draws only; its seconds are counted up to all."""
    generator, few = torch_generator(10_000, 0, "rows"), 4
    observations = torch.randint(0, 2, (draws, OBSERVED, VARIABLES), generator=generator)
    interventions = torch.randint(0, 2, (draws, VARIABLES, EACH, VARIABLES), generator=generator)
    categories = torch.full((VARIABLES,), 2)

    def ours() -> torch.Tensor:
        return fit(observations, interventions, categories, SHORT, torch_generator(10_000, 0, "enco")).probabilities

    def theirs() -> list[torch.Tensor]:
        return [fit(observations[p : p + 1], interventions[p : p + 1], categories, SHORT,
                    torch_generator(10_000, p, "enco")).probabilities for p in range(few)]  # fmt: skip

    torch.testing.assert_close(ours()[0], theirs()[0][0], rtol=0, atol=1e-5)
    seconds = measure(ours, theirs, rounds=2)
    judged = SHORT.graph_steps * draws * SHORT.graphs * SHORT.batch * VARIABLES
    operations = judged * 2 * SHORT.hidden[0] * (VARIABLES + 2)
    rows = f"{draws} draws of {OBSERVED} + {VARIABLES} x {EACH} rows of {VARIABLES} variables"
    steps = f"{SHORT.model_steps} and {SHORT.graph_steps} steps ({operations / 1e9:.1f} GFLOP in the second stage)"
    what = f"ENCO-lite, {rows}, one round of {steps}"
    ratio = record(benchmark, (seconds[0], seconds[1] * draws / few), 2.0, what, "one fit for each draw")
    benchmark.pedantic(ours, rounds=1)
    assert ratio > 0
