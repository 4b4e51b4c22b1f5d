"""What the six results share: one value per run, estimates, cells of tables, and the text of captions."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from twelvefold.core import statistics
from twelvefold.papers.hier_gen import reporting
from twelvefold.papers.hier_gen.reporting import (
    count_cells,
    last_rows,
    mean_and_error,
    per_replicate,
    per_share,
    rows_of,
    summary_row,
)

STUDY = SimpleNamespace(
    level=0.99, scale_values=SimpleNamespace(ood_items=50, longest=23, width=32, layers=2, steps=300, dropout=0.1)
)
RUNS = pd.DataFrame(
    [
        {"share": share, "replicate": replicate, "step": step, "hierarchical": share + step / 100 + replicate / 1000,
         "id_accuracy": 0.97 if replicate else 0.96}
        for share in (0.0, 1.0) for replicate in (2, 0, 1) for step in (0, 10)
    ]
)  # fmt: skip


def test_the_last_rows_are_one_per_run_and_know_who_learned():
    last = last_rows(RUNS)
    assert len(last) == 6 and set(last["step"]) == {10}
    assert dict(zip(last["replicate"], last["learned"], strict=True)) == {0: False, 1: True, 2: True}


def test_values_of_runs_come_in_the_order_of_replicates():
    np.testing.assert_allclose(per_share(last_rows(RUNS), 1.0, "hierarchical"), [1.1, 1.101, 1.102])
    with pytest.raises(KeyError, match="no row with"):
        per_share(last_rows(RUNS), 0.3, "hierarchical")
    with pytest.raises(ValueError, match="several rows"):
        per_replicate(RUNS, "hierarchical", share=1.0)
    with pytest.raises(KeyError, match="no row"):
        rows_of(RUNS, step=11)


def test_estimates_have_the_level_of_the_study_and_need_two_runs():
    first, second = np.array([0.5, 0.75, 1.0]), np.array([0.25, 0.25, 0.75])
    expected = statistics.difference(first, second, unit="training run", level=0.99)
    assert reporting.paired(STUDY, first, second, 0.02) == expected
    assert reporting.mean_of(STUDY, first, 0.02) == statistics.mean(first, unit="training run", level=0.99)
    assert reporting.paired(STUDY, [0.5], [0.5], 0.02) is None and reporting.mean_of(STUDY, [0.5], 0.02) is None
    same = reporting.mean_of(STUDY, [0.5, 0.5], reporting.resolution(STUDY))
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


def test_captions_say_the_network_the_length_of_sentences_and_the_runs():
    text = reporting.setting(RUNS, STUDY)
    assert all(words in text for words in ("at most 9 words", "width 32", "2 layers", "300 updates", "3 training runs"))
    assert "own initial weights, dropout and data order" in text
    other = SimpleNamespace(**{**vars(STUDY.scale_values), "longest": None, "dropout": 0.0, "layers": 1})
    text = reporting.setting(RUNS, SimpleNamespace(scale_values=other), task="Tense")
    assert text.startswith("Tense; own") and "one layer," in text and "own initial weights and data order" in text
