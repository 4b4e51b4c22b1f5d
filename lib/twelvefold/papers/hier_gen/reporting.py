"""What the six results share when they read rows of runs.csv and write captions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from twelvefold.core.reporting import mean_and_error, rows_of
from twelvefold.core.study import Study
from twelvefold.tasks.rule_following import LEARNED
from twelvefold.tasks.sentence_templates import FRAME

PAPER = "Qin, Saphra and Alvarez-Melis 2025 (arXiv 2412.04619)"


def last_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last checkpoint, one per run, with a column `learned`: ID accuracy of at least `LEARNED`."""
    last = runs[runs["step"] == runs["step"].max()]
    return last.assign(learned=last["id_accuracy"] >= LEARNED).reset_index(drop=True)


def per_replicate(frame: pd.DataFrame, column: str, **where: object) -> np.ndarray:
    """One value per replicate `[R]`, in the order of replicates, from a frame with one row per run (`per_run`,
    `last_rows`); KeyError when no row matches, ValueError when a replicate has several."""
    rows = rows_of(frame, **where).sort_values("replicate")
    if not rows["replicate"].is_unique:
        raise ValueError(f"where = {where}: a replicate has several rows; add what tells them apart")
    return rows[column].to_numpy()


def per_share(frame: pd.DataFrame, share: float, column: str) -> np.ndarray:
    """`per_replicate` for the runs whose data hold this share of centre-embedded declaratives."""
    return per_replicate(frame, column, share=share)


def final_pair(
    runs: pd.DataFrame, column: str, by: str, first: object, second: object, gated: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Final values `[R]` of a column where `by` is `first` and where it is `second`, paired by replicate; with `gated`,
    of the replicates that learned the task in both."""
    last = last_rows(runs)
    values = [per_replicate(last, column, **{by: where}) for where in (first, second)]
    if gated:
        both = np.logical_and(*(per_replicate(last, "learned", **{by: where}) for where in (first, second)))
        values = [value[both] for value in values]
    return values[0], values[1]


def difference_row(measure: str, first: np.ndarray, second: np.ndarray, gated: bool) -> dict[str, object]:
    """A table row for the mean paired difference first - second with its error; empty cells without a pair."""
    value, error = mean_and_error(first - second) if len(first) else (np.nan, np.nan)
    taken = "learned in both" if gated else "all"
    return {"measure": measure, "runs": taken, "pairs": len(first), "difference": value, "difference_se": error}


def resolution(study: Study) -> float:
    """Smallest step of a rule-following share, 1 / number of out-of-distribution items."""
    assert study.scale_values is not None  # a study has its scale before it has runs
    return 1.0 / float(study.scale_values.ood_items)


def setting(runs: pd.DataFrame, study: Study, task: str = "Question formation") -> str:
    """What a caption must say about task, network, data and number of training runs."""
    scale = study.scale_values
    assert scale is not None
    words = "" if scale.longest is None else f", sentences of at most {(scale.longest - FRAME) // 2} words"
    count = runs["replicate"].nunique()
    layers = "one layer" if scale.layers == 1 else f"{scale.layers} layers"
    own = "initial weights, dropout and data order" if scale.dropout else "initial weights and data order"
    return (
        f"{task}{words}; own transformers of width {scale.width} with {layers}, {scale.steps} updates. "
        f"{count} training runs a condition, each with its own {own}."
    )
