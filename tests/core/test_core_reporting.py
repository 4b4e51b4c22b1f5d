"""From rows of runs to estimates over training runs and to cells of tables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from twelvefold.core import reporting, statistics
from twelvefold.core.reporting import count_cells, mean_and_error, rows_of, summary_row

STUDY: Any = SimpleNamespace(level=0.99)


def test_rows_are_found_by_their_values():
    runs = pd.DataFrame({"share": [0, 0, 1], "step": [1, 2, 1]})
    assert rows_of(runs, share=0, step=2).index.tolist() == [1]
    with pytest.raises(KeyError, match="no row with"):
        rows_of(runs, step=11)


def test_estimates_have_the_level_of_the_study_and_need_two_runs():
    first, second = np.array([0.5, 0.75, 1.0]), np.array([0.25, 0.25, 0.75])
    expected = statistics.difference(first, second, unit="training run", level=0.99)
    assert reporting.paired(STUDY, first, second, 0.02) == expected
    assert reporting.mean_of(STUDY, first, 0.02) == statistics.mean(first, unit="training run", level=0.99)
    assert reporting.paired(STUDY, [0.5], [0.5], 0.02) is None and reporting.mean_of(STUDY, [0.5], 0.02) is None
    same = reporting.mean_of(STUDY, [0.5, 0.5], 0.02)
    assert (same.low, same.high) == (0.48, 0.52)


def test_intervals_of_figures_have_95_percent():
    values = np.array([0.1, 0.2, 0.6])
    wanted = statistics.mean(values, unit="training run", level=0.95)
    assert reporting.band_of(values) == (wanted.value, wanted.low, wanted.high)
    assert reporting.band_of([0.3]) == (0.3, 0.3, 0.3)


def test_cells_hold_means_with_errors_and_counts_with_binomial_errors():
    assert mean_and_error([1.0, 2.0, 3.0]) == (2.0, pytest.approx(1 / np.sqrt(3))) and mean_and_error([4.0]) == (4, 0)
    with pytest.raises(ValueError, match="values is empty"):
        mean_and_error([])
    assert summary_row({"a": 1}, [("x", [2.0])]) == {"a": 1, "x": 2.0, "x_se": 0.0}
    assert count_cells("learned", [True, True, False, True]) == {"learned": 3, "learned_se": pytest.approx(0.75**0.5)}
    assert count_cells("learned", []) == {"learned": 0, "learned_se": 0.0}
