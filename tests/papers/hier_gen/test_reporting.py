"""What the six results share: one value per run, and the text of captions."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from twelvefold.papers.hier_gen import reporting
from twelvefold.papers.hier_gen.reporting import last_rows, per_replicate, per_share

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


def test_the_resolution_is_one_question():
    assert reporting.resolution(STUDY) == 0.02


def test_captions_say_the_network_the_length_of_sentences_and_the_runs():
    text = reporting.setting(RUNS, STUDY)
    assert all(words in text for words in ("at most 9 words", "width 32", "2 layers", "300 updates", "3 training runs"))
    assert "own initial weights, dropout and data order" in text
    other = SimpleNamespace(**{**vars(STUDY.scale_values), "longest": None, "dropout": 0.0, "layers": 1})
    text = reporting.setting(RUNS, SimpleNamespace(scale_values=other), task="Tense")
    assert text.startswith("Tense; own") and "one layer," in text and "own initial weights and data order" in text
