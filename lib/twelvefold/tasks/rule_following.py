"""From recorded answers to statements about runs: rule-following curves, their total variation, and commitment.

A run's curve a_t is the share of out-of-distribution items on which it follows the hierarchical rule at checkpoint t.
Source of the measures: Qin et al. 2024, arXiv 2412.04619; gates and marks that the paper leaves open are arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from twelvefold.tasks.grammar_populations import BOTH, HIERARCHICAL, LINEAR, ood_set
from twelvefold.tasks.items import SUBJECTS

LEARNED = 0.97  # in-distribution accuracy from which a run counts as having learned its task
LOW, HIGH = 0.2, 0.8  # final share below / above which a run counts as following the linear / hierarchical rule
COMMITMENTS = ("linear", "hierarchical", "neither", "unstable", "not learned")


def rule_curves(point: Mapping[str, Any], result: Mapping[str, Any]) -> pd.DataFrame:
    """Tidy curves of one population: a row per member and checkpoint.

    Args:
        point: arguments of `grammar_population`.
        result: what it returned, as numpy arrays.

    Returns:
        Columns mix, initial, order, step; hierarchical and linear (share of out-of-distribution answers that follow the
        rule), hierarchical_<subject kind> for every kind in the test set; id_accuracy (of the tested word) and
        id_exact (of the output from the tested word on) on in-distribution items; loss. Shares and losses have five
        decimals.
    """
    first = point["mixes"][0]
    ood = ood_set(point["task"], first.get("lexicon", "full"), first.get("longest"), point["ood_items"], point["seed"])
    followed = np.asarray(result["ood"])  # [P, C, n]
    columns = {
        "hierarchical": (followed == HIERARCHICAL).mean(-1),
        "linear": (followed == LINEAR).mean(-1),
        "id_accuracy": (np.asarray(result["id"]) == BOTH).mean(-1),
        "id_exact": np.asarray(result["exact"]).mean(-1),
        "loss": np.asarray(result["loss"], dtype=float),
    }
    for number in np.unique(ood.subject):
        name = f"hierarchical_{SUBJECTS[number].replace('-', '_')}"
        columns[name] = (followed[:, :, ood.subject == number] == HIERARCHICAL).mean(-1)
    frames = []
    for row, (mix, initial, order) in enumerate(point["members"]):
        about = {"mix": mix, "initial": initial, "order": order, "step": point["record_at"]}
        frames.append(pd.DataFrame(about | {name: values[row].round(5) for name, values in columns.items()}))
    return pd.concat(frames, ignore_index=True)


def total_variation(curves: ArrayLike, first: int = 0) -> NDArray[np.float64]:
    """Mean absolute step `[...]` of curves `[..., C]`.

    TV = (1 / (C' - 1)) sum_t |a_t - a_(t-1)| over the C' checkpoints from number `first` on.

    Raises:
        ValueError: fewer than two checkpoints are left, or a value is not finite.
    """
    values = np.atleast_1d(np.asarray(curves, dtype=float))[..., first:]
    if values.shape[-1] < 2:
        raise ValueError(f"curves {np.shape(curves)} from first = {first} on; at least two checkpoints are needed")
    if not np.isfinite(values).all():
        raise ValueError("curves holds values that are not finite")
    return np.abs(np.diff(values, axis=-1)).mean(-1)


def commitment(final: float, variation: float, learned: bool, stable: float) -> str:
    """Class of a run, one of `COMMITMENTS`.

    Args:
        final: a_T, its share of hierarchical answers at the end.
        variation: its total variation.
        learned: whether its in-distribution accuracy reached the gate.
        stable: largest total variation of a stable run (the paper's threshold is not known).

    Raises:
        ValueError: a number is not finite.
    """
    if not np.isfinite([final, variation]).all():
        raise ValueError(f"final = {final}, variation = {variation}; finite numbers are needed")
    if not learned:
        return "not learned"
    if variation > stable:
        return "unstable"
    return "linear" if final < LOW else "hierarchical" if final > HIGH else "neither"


def per_run(
    curves: pd.DataFrame, by: Sequence[str], *, column: str = "hierarchical", from_share: float = 1 / 3
) -> pd.DataFrame:
    """One row per run from tidy curves.

    Args:
        curves: rows per run and checkpoint with `step`, `id_accuracy` and `column`.
        by: columns that name a run.
        column: the rule-following share to summarise.
        from_share: the window of total variation and mean starts at this share of the steps.

    Returns:
        Columns of `by`, and: final (last value), mean and variation (over the window), id_accuracy (last),
        learned (id_accuracy >= LEARNED at the end).

    Raises:
        ValueError: a column is missing or a run has too few checkpoints.
    """
    missing = [name for name in (*by, "step", "id_accuracy", column) if name not in curves.columns]
    if missing:
        raise ValueError(f"curves lacks the columns {missing}")
    start, rows = from_share * curves["step"].max(), []
    for key, run in curves.sort_values("step", kind="stable").groupby(list(by), sort=True):
        window = run.loc[run["step"] >= start, column].to_numpy()
        if len(window) < 2:
            raise ValueError(f"run {key} has {len(window)} checkpoints from step {start:g} on; at least two are needed")
        accuracy = float(run["id_accuracy"].iloc[-1])
        rows.append(dict(zip(by, key, strict=True)) | {
            "final": float(window[-1]), "mean": float(window.mean()), "variation": float(total_variation(window)),
            "id_accuracy": accuracy, "learned": accuracy >= LEARNED,
        })  # fmt: skip
    return pd.DataFrame(rows)
