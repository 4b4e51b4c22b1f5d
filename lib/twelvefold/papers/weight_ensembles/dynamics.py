"""Result 2: how accuracy grows with the number of ingredients when a rule must keep adding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from twelvefold.core.claims import TRAINING_RUN, Claim, above
from twelvefold.core.reporting import paired, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.weight_ensembles import plotting
from twelvefold.papers.weight_ensembles.reporting import PAPER, SUMMARY, per_replicate, resolution, setting

STEPS = 4  # the claims look at the first four ingredients
# claim id -> (column, rule, reference)
PAIRS = {
    "greedier-over-forced-diversity-id": ("id", "greedier", "farthest d_D"),
    "greedier-over-forced-diversity-ood": ("ood", "greedier", "farthest d_D"),
    "greedier-over-top-k": ("id", "greedier", "top-k"),
    "greedier-over-random": ("id", "greedier", "random"),
    "diversity-over-similarity": ("id", "farthest d_D", "nearest d_D"),
}
_CURVES = f"{PAPER}, accuracy against iteration"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "greedier-over-forced-diversity-id",
        "Over the first four ingredients, greedier additions keep a higher ID accuracy than forced diversity (d_D).",
        "direction", _CURVES, above(0.0), TRAINING_RUN,
        paper_says=f"greedier gains ID accuracy in fewer additions, {SUMMARY}",
    ),
    Claim(
        "greedier-over-forced-diversity-ood",
        "Over the first four ingredients, greedier additions keep a higher OOD accuracy than forced diversity (d_D).",
        "direction", _CURVES, above(0.0), TRAINING_RUN,
        paper_says=f"greedier often ends with higher OOD accuracy than greedy and ranked, {SUMMARY}",
    ),
    Claim(
        "greedier-over-top-k",
        "Over the first four ingredients, greedier additions keep a higher ID accuracy than adding by own accuracy.",
        "direction", _CURVES, above(0.0), TRAINING_RUN,
        paper_says=f"greedier gains ID accuracy in fewer additions than greedy, {SUMMARY}",
    ),
    Claim(
        "greedier-over-random",
        "Control: over the first four ingredients, greedier additions keep a higher ID accuracy than random ones.",
        "mechanism", f"{_CURVES}; control added here", above(0.0), TRAINING_RUN, paper_says="not stated",
    ),
    Claim(
        "diversity-over-similarity",
        "Control: forced additions of the most diverse members keep a higher ID accuracy than of the most similar "
        "ones.",
        "mechanism", f"{PAPER}, abstract: diversity helps; control added here", above(0.0), TRAINING_RUN,
        paper_says="high diversity helps (abstract)",
    ),
)  # fmt: skip


def area(runs: pd.DataFrame, column: str, method: str, steps: int = STEPS) -> np.ndarray:
    """Area under accuracy against number of ingredients from 1 to `steps`, divided by the width: one per replicate."""
    heights = np.stack([per_replicate(runs, column, method=method, members=size) for size in range(1, steps + 1)])
    return np.trapezoid(heights, axis=0) / (steps - 1)


def curves_figure(study: Study, runs: pd.DataFrame) -> None:
    """Accuracy against number of ingredients for every forced rule."""
    caption = (
        "Test accuracy of the average against its number of ingredients, additions forced; ID (left), OOD (right). All "
        "rules "
        "start at the best single model. Bands (greedier, farthest d_D): 95 % interval of the mean over training "
        "runs. "
        f"{setting(runs, study)}"
    )
    alt = "Two panels of line plots, one line per rule, against the number of ingredients from one to the largest."
    study.figure(plotting.dynamics_figure(runs), "curves", caption, alt)


def differences_figure(study: Study, runs: pd.DataFrame) -> None:
    """Paired difference between greedier and the other rules at every size."""
    caption = (
        "Greedier minus another rule, ID test accuracy at equal number of ingredients, paired within a training run. "
        f"Bands: 95 % interval of the mean over training runs. {setting(runs, study)}"
    )
    alt = "Lines of paired differences against the number of ingredients, with a zero line."
    study.figure(plotting.differences_figure(runs), "differences", caption, alt)


def curves_table(study: Study, runs: pd.DataFrame) -> None:
    """Accuracy at every size and the area of every rule."""
    rows = []
    for method in runs["method"].unique():
        for size in sorted(runs["members"].unique()):
            numbers = [(column, per_replicate(runs, column, method=method, members=size)) for column in ("id", "ood")]
            rows.append(summary_row({"rule": method, "members": int(size)}, numbers))
    caption = f"Test accuracy of forced averages; means and standard errors over training runs. {setting(runs, study)}"
    study.table(pd.DataFrame(rows), "curves", caption, "summary")


def areas_table(study: Study, runs: pd.DataFrame) -> None:
    """Mean accuracy over the first four ingredients, and its paired difference from greedier."""
    rows = []
    for method in runs["method"].unique():
        numbers = [(column, area(runs, column, method)) for column in ("id", "ood")]
        numbers += [(f"greedier_minus_{c}", area(runs, c, "greedier") - area(runs, c, method)) for c in ("id", "ood")]
        rows.append(summary_row({"rule": method}, numbers))
    caption = (
        f"Area under accuracy from 1 to {STEPS} ingredients divided by its width, and greedier's paired lead; "
        f"means and standard errors over training runs. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "areas", caption, "summary")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim from paired differences of areas over training runs."""
    for claim, (column, method, reference) in PAIRS.items():
        first, second = area(runs, column, method), area(runs, column, reference)
        study.decide(claim, paired(study, first, second, resolution(runs)))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    curves_figure, differences_figure, areas_table, curves_table, decisions,
)  # fmt: skip
