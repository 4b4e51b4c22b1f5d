"""Result 5: what inner steps buy, when a trained equilibrium model is evaluated and when it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from twelvefold.core.claims import TRAINING_RUN, Claim, above, below
from twelvefold.core.reporting import mean_of, paired, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.nn.stacked import Weights
from twelvefold.papers.ddeq.classifiers import head
from twelvefold.papers.ddeq.cloud_batches import Stacked
from twelvefold.papers.ddeq.equilibrium import Solver, applied, residual, solve
from twelvefold.papers.ddeq.network import NetworkConfig, encode
from twelvefold.papers.ddeq.plots import steps_tradeoff as plots
from twelvefold.papers.ddeq.reporting import PAPER, ROUNDING, per_run, setting, shortened

RANK_STEP = 0.05  # a rank correlation over a handful of step numbers moves in steps of this size
_LATE = "a late switch to smaller and more steps (the authors' configuration); how much it helps was not seen"
_WHERE = f"{PAPER}, inner steps and the switch late in training"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "residual-falls-beyond-training-steps",
        "With more inner steps than in training the residual keeps falling: mean log MMD^2(Z, F(Z)) at the most steps "
        "minus at the trained number.",
        "mechanism", _WHERE, below(0.0), TRAINING_RUN,
        paper_says="the flow drives the residual to (near) zero (the authors' callbacks log it)",
    ),
    Claim(
        "found-accuracy-rises-with-steps",
        "The accuracy of classifying Z itself rises with the number of inner steps in evaluation (Spearman correlation "
        "within a run, steps from 1).",
        "direction", _WHERE, above(0.0), TRAINING_RUN, paper_says=_LATE,
    ),
    Claim(
        "applied-accuracy-rises-with-steps",
        "The accuracy of classifying F(Z) rises with the number of inner steps in evaluation (Spearman correlation "
        "within a run, steps from 1).",
        "direction", _WHERE, above(0.0), TRAINING_RUN, paper_says=_LATE,
    ),
    Claim(
        "more-steps-than-trained-help",
        "Classifying F(Z) after the most inner steps is more accurate than after as many steps as used in training.",
        "direction", _WHERE, above(0.0), TRAINING_RUN, paper_says=_LATE,
    ),
    Claim(
        "outputs-approach-each-other",
        "With the most inner steps, the accuracies of Z and of F(Z) differ less (in absolute value) than with the "
        "number of steps used in training.",
        "mechanism", "the authors' code logs both outputs", above(0.0), TRAINING_RUN,
        paper_says="at an equilibrium both are the same measure",
    ),
    Claim(
        "accuracy-rises-with-training-steps",
        "Networks trained with more inner steps are more accurate (Spearman correlation over the numbers of steps in "
        "training, within a replicate; at least three numbers).",
        "direction", _WHERE, above(0.0), TRAINING_RUN, paper_says="more precise inner solves help late in training",
    ),
)  # fmt: skip


def tidy(
    arms: Mapping[int, Sequence[Mapping[str, Any]]], scores: Mapping[int, Sequence[Mapping[str, Any]]],
    steps: Sequence[int],
) -> pd.DataFrame:  # fmt: skip
    """One row per number of steps in training, run, and number of steps in evaluation.

    Args:
        arms: points by the number of inner steps in training, one per shard.
        scores: results of `evaluate_classifiers` in the same form.
        steps: numbers of inner steps in evaluation.

    Returns:
        columns trained_steps, replicate, steps, found, applied (accuracies), log_residual (mean natural logarithm of
        MMD^2(Z, F(Z)) over test clouds), test_clouds.
    """
    rows: list[dict[str, Any]] = []
    for number, points in arms.items():
        for point, score in zip(points, scores[number], strict=True):
            logs = np.log(np.maximum(score["residual"], ROUNDING)).mean(-1)  # [P, S]
            for place, replicate in enumerate(point["members"]):
                rows += [
                    {"trained_steps": number, "replicate": replicate, "steps": step,
                     "found": shortened(float(score["found"][place, i].mean())),
                     "applied": shortened(float(score["applied"][place, i].mean())),
                     "log_residual": shortened(float(logs[place, i])), "test_clouds": score["found"].shape[-1]}
                    for i, step in enumerate(steps)
                ]  # fmt: skip
    return pd.DataFrame(rows)


def main_steps(study: Study) -> int:
    """The number of inner steps in training that claims about evaluation refer to."""
    assert study.scale_values is not None  # a study has its scale before it has runs
    return int(study.scale_values.solver["steps"])


def curves_figure(study: Study, runs: pd.DataFrame) -> None:
    """Accuracy of both outputs, and the residual, against inner steps in evaluation."""
    caption = (
        "Trained networks evaluated with other numbers of inner steps than they were trained with (dotted: the trained "
        "number). Left: accuracy of classifying the particles Z as found. Middle: of classifying F(Z), the output that "
        "was trained. Right: geometric mean of the residual MMD^2(Z, F(Z)) over test clouds. Lines: mean over training "
        f"runs, bands: its 95 % interval. {setting(runs, study)}"
    )
    alt = "Three panels against the number of inner steps in evaluation: two accuracies and the residual."
    study.figure(plots.curves_figure(runs), "steps", caption, alt)


def steps_table(study: Study, runs: pd.DataFrame) -> None:
    """The curves in numbers, with passes of the network."""
    rows = []
    for (number, steps), part in runs.groupby(["trained_steps", "steps"], sort=True):
        labels: dict[str, object] = {"trained_steps": number, "steps": steps, "network_passes": 3 * steps + 1}
        rows.append(summary_row(labels, [(name, part[name]) for name in ("found", "applied", "log_residual")]))
    caption = (
        "Accuracies and mean log residual by inner steps in training and in evaluation: means and standard errors over "
        "training runs. Passes of the network per batch for F(Z): an inner step counts 3. " + setting(runs, study)
    )
    study.table(pd.DataFrame(rows), "steps", caption, "summary")


def training_figure(study: Study, runs: pd.DataFrame) -> None:
    """Accuracy against inner steps in training, evaluated with the same number."""
    caption = (
        "Accuracy of classifying F(Z), each network evaluated with the number of inner steps it was trained with; 0 is "
        "one application of F to random particles. Small dots: training runs (grey lines join a replicate, which has "
        f"the same data, initial weights and order), large: mean with its 95 % interval. {setting(runs, study)}"
    )
    alt = "Accuracy of each run against the number of inner steps in training."
    study.figure(plots.training_figure(own_steps(runs)), "training_steps", caption, alt)


def own_steps(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows evaluated with the number of steps of the training."""
    return runs[runs["steps"] == runs["trained_steps"]]


def rank_with_steps(runs: pd.DataFrame, column: str, number: int) -> np.ndarray:
    """Spearman correlation of accuracy and steps in evaluation (from 1) within each run `[R]`; 0 for a constant one."""
    rows = rows_of(runs, trained_steps=number)
    table = rows[rows["steps"] >= 1].pivot(index="replicate", columns="steps", values=column)
    return np.array([_spearman(table.columns.to_numpy(float), row) for row in table.to_numpy(float)])


def rank_with_training(runs: pd.DataFrame) -> np.ndarray | None:
    """The same over numbers of steps in training; None for fewer than three."""
    table = own_steps(runs).pivot(index="replicate", columns="trained_steps", values="applied")
    if table.shape[1] < 3:
        return None
    return np.array([_spearman(table.columns.to_numpy(float), row) for row in table.to_numpy(float)])


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    return 0.0 if np.ptp(y) == 0 else float(stats.spearmanr(x, y).statistic)


@torch.no_grad()
def along_flow(
    config: NetworkConfig, weights: Weights, cloud: Stacked, start: Tensor, step_size: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of a cloud's true class from Z_t and from F(Z_t) `[2, steps + 1]`, and the residual `[steps + 1]`.

    Args:
        config, weights: of one member, with its head.
        cloud: one cloud of that member.
        start: particles `[1, 1, N, d]`.
        step_size, steps: of the flow.
    """
    apply = applied(config, weights, encode(config, weights, cloud.points, cloud.mask))
    label, z, chances, residuals = int(cloud.labels[0, 0]), start, [], []
    for _ in range(steps + 1):
        after = apply(z)
        chances.append([head(weights, part).softmax(-1)[0, 0, label].item() for part in (z, after)])
        residuals.append(residual(z, after).item())
        z = solve(apply, z, Solver(steps=1, step_size=step_size)).particles
    return np.array(chances).T, np.array(residuals)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs."""
    number, most = main_steps(study), int(runs["steps"].max())
    step = 1 / float(runs["test_clouds"].min())

    def at(column: str, steps: int) -> np.ndarray:
        return per_run(runs, column, trained_steps=number, steps=steps)

    study.decide("residual-falls-beyond-training-steps",
                 paired(study, at("log_residual", most), at("log_residual", number), 1e-6))  # fmt: skip
    for output in ("found", "applied"):
        ranks = rank_with_steps(runs, output, number)
        study.decide(f"{output}-accuracy-rises-with-steps", mean_of(study, ranks, RANK_STEP))
    study.decide("more-steps-than-trained-help", paired(study, at("applied", most), at("applied", number), step))
    gaps = [np.abs(at("applied", steps) - at("found", steps)) for steps in (number, most)]
    study.decide("outputs-approach-each-other", paired(study, gaps[0], gaps[1], step))
    trend = rank_with_training(runs)
    note = "fewer than three numbers of inner steps in training" if trend is None else ""
    estimate = None if trend is None else mean_of(study, trend, RANK_STEP)
    study.decide("accuracy-rises-with-training-steps", estimate, note)


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    curves_figure, steps_table, training_figure, decisions,
)  # fmt: skip
