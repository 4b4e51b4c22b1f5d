"""Result 1: which ingredients to average. Accuracy of every selection method, in and out of distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from twelvefold.core.claims import TRAINING_RUN, Claim, above
from twelvefold.core.reporting import paired, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.weight_ensembles import plotting
from twelvefold.papers.weight_ensembles.reporting import PAPER, SUMMARY, main_regime, per_replicate, resolution, setting

SECOND_REGIME = "mild"
SHIFTS = ("rotation 75", "blur", "contrast", "noise")
# claim id -> (column, method, reference)
PAIRS = {
    "greedy-beats-best-single": ("id", "greedy", "best single"),
    "greedy-beats-random": ("id", "greedy", "forced random"),
    "greedier-beats-ranked-ood": ("ood", "greedier", "ranked R1 d_D"),
    "greedier-beats-greedy-id": ("id", "greedier", "greedy"),
    "greedier-beats-greedy-ood": ("ood", "greedier", "greedy"),
}

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "greedy-beats-best-single",
        "The greedy weight average is more accurate in distribution than the best single ingredient.",
        "direction", f"{PAPER}, abstract and introduction: averaging fine-tuned networks", above(0.0), TRAINING_RUN,
        paper_says="weight averages improve accuracy in and out of distribution (abstract)",
    ),
    Claim(
        "greedy-beats-random",
        "Control: at equal size, greedily chosen ingredients make a better average in distribution than random ones.",
        "mechanism", f"{PAPER}, selection algorithms; control added here", above(0.0), TRAINING_RUN,
        paper_says="not stated; without it a gain could come from averaging as such",
    ),
    Claim(
        "greedier-beats-ranked-ood",
        "Greedier selection is more accurate out of distribution than diversity-ranked selection (R1, d_D).",
        "direction", f"{PAPER}, accuracy curves on OfficeHome", above(0.0), TRAINING_RUN,
        paper_says=f"greedier often ends with higher OOD accuracy than greedy and ranked, {SUMMARY}",
    ),
    Claim(
        "greedier-beats-greedy-id", "Greedier selection is more accurate in distribution than greedy.",
        "direction", f"{PAPER}, accuracy curves on OfficeHome", above(0.0), TRAINING_RUN,
        paper_says=f"greedier gains ID accuracy in fewer additions, {SUMMARY}",
    ),
    Claim(
        "greedier-beats-greedy-ood", "Greedier selection is more accurate out of distribution than greedy.",
        "direction", f"{PAPER}, accuracy curves on OfficeHome", above(0.0), TRAINING_RUN,
        paper_says=f"greedier often ends with higher OOD accuracy than greedy and ranked, {SUMMARY}",
    ),
    Claim(
        "uniform-needs-similar-members",
        "Out of distribution, the average of all ingredients loses less to greedy when the hyperparameter ranges are "
        "mild.",
        "mechanism", "DiWA's README (uniform average at or above greedy on OfficeHome); control added here", above(0.0),
        TRAINING_RUN, paper_says="not stated by this paper; explains why uniform does well in DiWA and badly here",
    ),
)  # fmt: skip


def methods_table(study: Study, runs: pd.DataFrame) -> None:
    """Size, cost and accuracy of every method in every regime."""
    rows = []
    for regime in runs["regime"].unique():
        part = rows_of(runs, regime=regime)
        for method in part["method"].unique():
            columns = ("members", "evaluations", "validation", "id", "ood")
            numbers = [(column, per_replicate(part, column, method=method)) for column in columns]
            rows.append(summary_row({"regime": regime, "method": method}, numbers))
    caption = (
        "Ingredients, averages evaluated during selection, and accuracy: validation (seen by selection), ID and OOD "
        f"test (not seen). Means and standard errors over training runs. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "methods", caption, "summary")


def accuracy_figure(study: Study, runs: pd.DataFrame) -> None:
    """Accuracy of every method and its paired difference from greedy."""
    part = rows_of(runs, regime=main_regime(runs))
    fig = plotting.methods_figure(part)
    caption = (
        "Test accuracy of each method, ID (left) and OOD (middle), and its paired difference from greedy (right). "
        "Bars: "
        f"95 % interval of the mean over training runs. {setting(runs, study)}"
    )
    alt = "Dot plot with one row per selection method and three panels: ID, OOD, difference from greedy."
    study.figure(fig, "accuracy", caption, alt)


def shifts_table(study: Study, runs: pd.DataFrame) -> None:
    """Accuracy under further shifts, for the main methods (data with such columns only)."""
    columns = [name for name in SHIFTS if name in runs.columns]
    if not columns:
        return
    part = rows_of(runs, regime=main_regime(runs))
    methods = ("best single", "uniform", "greedy", "greedier", "ranked R1 d_D", "ranked R1 d_E", "prediction ensemble")
    rows = [
        summary_row({"method": method}, [(column, per_replicate(part, column, method=method)) for column in columns])
        for method in methods
    ]
    caption = (
        "Accuracy under further shifts of the test images: rotated by 75 degrees, or at the training rotations "
        "blurred, "
        f"with a contrast of 70 %, with noise. Reported, not claimed. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "shifts", caption, "summary")


def regimes_figure(study: Study, runs: pd.DataFrame) -> None:
    """Uniform, greedy and the best single model in both hyperparameter regimes."""
    if SECOND_REGIME not in set(runs["regime"]):
        return
    caption = (
        "OOD accuracy of four methods when members differ much (heterogeneous) or little (mild) in their "
        f"hyperparameters. Bars: 95 % interval of the mean over training runs. {setting(runs, study)}"
    )
    alt = "Two groups of four dots with intervals, one group per hyperparameter regime."
    study.figure(plotting.regimes_figure(runs), "regimes", caption, alt)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim from the paired differences over training runs."""
    step, part = resolution(runs), rows_of(runs, regime=main_regime(runs))
    for claim, (column, method, reference) in PAIRS.items():
        first, second = (per_replicate(part, column, method=name) for name in (method, reference))
        study.decide(claim, paired(study, first, second, step))
    lacks: list[np.ndarray] = []
    if SECOND_REGIME in set(runs["regime"]) and main_regime(runs) != SECOND_REGIME:
        for regime in (SECOND_REGIME, main_regime(runs)):
            uniform, greedy = (per_replicate(runs, "ood", regime=regime, method=m) for m in ("uniform", "greedy"))
            lacks.append(uniform - greedy)
    study.decide("uniform-needs-similar-members", paired(study, lacks[0], lacks[1], step) if lacks else None)


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    methods_table, accuracy_figure, shifts_table, regimes_figure, decisions,
)  # fmt: skip
