"""Curves, their total variation and commitment, on hand-made curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from twelvefold.tasks.grammar_populations import BOTH, HIERARCHICAL, LINEAR, NEITHER, ood_set
from twelvefold.tasks.rule_following import commitment, per_run, rule_curves, total_variation

CURVES = arrays.arrays(float, (3, 7), elements=st.floats(0, 1))


def test_total_variation_by_hand() -> None:
    assert total_variation([0.0, 1.0, 0.5]) == pytest.approx(0.75)
    assert total_variation([[0.0, 0.5, 0.5], [1.0, 1.0, 1.0]], first=1).tolist() == [0.0, 0.0]


@given(CURVES)
def test_total_variation_is_at_least_the_net_change(curves: np.ndarray) -> None:
    variation = total_variation(curves)
    assert (variation * 6 >= np.abs(curves[:, -1] - curves[:, 0]) - 1e-12).all()
    np.testing.assert_allclose(variation, total_variation(curves[:, ::-1]))  # time can be reversed
    np.testing.assert_allclose(variation, total_variation(1 - curves), atol=1e-12)  # and the rules exchanged


@given(arrays.arrays(float, 7, elements=st.floats(0, 1)))
def test_monotone_curves_have_no_more_than_their_net_change(curve: np.ndarray) -> None:
    rising = np.sort(curve)
    assert total_variation(rising) * 6 == pytest.approx(rising[-1] - rising[0])


@pytest.mark.parametrize(("values", "first"), [([0.5], 0), ([0.5, 0.5], 1), ([0.5, math.nan], 0), (0.5, 0)])
def test_curves_without_a_step_are_refused(values: Any, first: int) -> None:
    with pytest.raises(ValueError, match="curves"):
        total_variation(values, first)


@pytest.mark.parametrize(
    ("final", "variation", "learned", "expected"),
    [
        (0.05, 0.0, True, "linear"),
        (0.95, 0.0, True, "hierarchical"),
        (0.5, 0.01, True, "neither"),
        (0.2, 0.01, True, "neither"),
        (0.0, 0.3, True, "unstable"),
        (0.0, 0.0, False, "not learned"),
    ],
)
def test_commitment_classes(final: float, variation: float, learned: bool, expected: str) -> None:
    assert commitment(final, variation, learned, stable=0.05) == expected


def frame(curves: dict[int, list[float]], accuracy: float = 1.0) -> pd.DataFrame:
    rows = [
        {"replicate": r, "step": 10 * t, "hierarchical": value, "id_accuracy": accuracy}
        for r, curve in curves.items()
        for t, value in enumerate(curve)
    ]
    return pd.DataFrame(rows)


def test_per_run_uses_the_last_two_thirds() -> None:
    table = per_run(frame({0: [1, 1, 0, 0.2, 0.4, 0.4, 0.4], 1: [0, 0, 0, 0, 0, 0, 0]}), ["replicate"])
    # steps 0 to 60: the window starts at step 20
    assert table["variation"].tolist() == pytest.approx([0.4 / 4, 0.0])
    assert table["mean"].tolist() == pytest.approx([1.4 / 5, 0.0])
    assert table["final"].tolist() == [0.4, 0.0] and table["learned"].all()
    assert not per_run(frame({0: [0, 0, 0]}, accuracy=0.96), ["replicate"])["learned"].any()


def test_per_run_does_not_depend_on_the_order_of_rows() -> None:
    rows = frame({0: [0, 0.5, 1, 0.5], 1: [1, 1, 0, 1]})
    pd.testing.assert_frame_equal(
        per_run(rows, ["replicate"]), per_run(rows.sample(frac=1, random_state=1), ["replicate"])
    )


def test_a_class_needs_numbers() -> None:
    with pytest.raises(ValueError, match="final = nan"):
        commitment(math.nan, 0.0, True, 0.05)


def test_per_run_refuses_a_run_that_ends_before_the_window() -> None:
    rows = pd.concat([frame({0: [0, 0, 0, 0, 0, 0, 0]}), frame({1: [0, 1]})])
    with pytest.raises(ValueError, match=r"run \(1,\) has 0 checkpoints"):
        per_run(rows, ["replicate"])


def test_per_run_names_missing_columns() -> None:
    with pytest.raises(ValueError, match="id_accuracy"):
        per_run(frame({0: [0, 1]}).drop(columns="id_accuracy"), ["replicate"])


def test_rule_curves_splits_by_kind_of_clause() -> None:
    point = {"task": "question", "mixes": [{"longest": 23}], "members": [[0, 7, 8]], "seed": 10_104, "ood_items": 30,
             "record_at": [0, 5]}  # fmt: skip
    ood = ood_set("question", "full", 23, 30, 10_104)
    followed = np.full((1, 2, 30), LINEAR)
    followed[0, 1, ood.subject == 2] = HIERARCHICAL
    followed[0, 0, 0] = NEITHER
    result = {"ood": followed, "id": np.full((1, 2, 4), BOTH), "exact": np.zeros((1, 2, 4)), "loss": np.ones((1, 2))}
    curves = rule_curves(point, result)
    assert curves[["mix", "initial", "order"]].drop_duplicates().to_numpy().tolist() == [[0, 7, 8]]
    assert curves["hierarchical_subject_gap"].tolist() == [0.0, 1.0]
    assert curves["hierarchical_object_gap"].tolist() == [0.0, 0.0]
    assert curves["hierarchical"].iloc[1] == pytest.approx((ood.subject == 2).mean(), abs=1e-5)
    assert curves["linear"].iloc[0] == pytest.approx(29 / 30, abs=1e-5)
    assert curves["id_accuracy"].tolist() == [1.0, 1.0] and curves["id_exact"].tolist() == [0.0, 0.0]
