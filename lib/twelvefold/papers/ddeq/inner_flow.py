"""Result 4: does the flow bring the particles to an equilibrium, and how does it compare with solvers of rows?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import DETERMINISTIC, TRAINING_RUN, Claim, above, below
from twelvefold.core.reporting import mean_of, paired, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.ddeq.inner_solves import (
    ANDERSON,
    DECAYING,
    DETACHED,
    FLOW,
    ITERATION,
    SMALL,
    SOLVERS,
    TRAINED,
    UNTRAINED,
    arms_of,
)
from twelvefold.papers.ddeq.plots import inner_flow as plots
from twelvefold.papers.ddeq.reporting import PAPER, ROUNDING, per_run, setting, shortened

TOLERANCE = 1e-4  # relative, of the stop rule in the authors' configurations
PATH, END, NETWORK = "path", "end", "network"  # kinds of rows
ON_UNTRAINED = (FLOW, SMALL, DECAYING, ITERATION, ANDERSON)  # claims about the other arms are about trained networks
STEP = 1e-3  # resolution of a mean log residual
_ROOT = "solvers that compare rows cannot work up to permutation (introduction; no comparison of residuals was seen)"
_CONTROL = "control added here"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "flow-beats-iteration-trained",
        "On trained networks the flow ends with a smaller residual than fixed-point iteration: mean log residual of "
        "iteration minus flow.",
        "direction", f"{PAPER}, motivation of the flow", above(0.0), TRAINING_RUN, paper_says=_ROOT,
    ),
    Claim(
        "flow-beats-iteration-untrained",
        "The same on untrained networks.",
        "direction", f"{PAPER}, motivation of the flow", above(0.0), TRAINING_RUN, paper_says=_ROOT,
    ),
    Claim(
        "flow-beats-anderson-trained",
        "On trained networks the flow ends with a smaller residual than Anderson acceleration: mean log residual of "
        "Anderson minus flow.",
        "direction", f"{PAPER}, motivation of the flow", above(0.0), TRAINING_RUN, paper_says=_ROOT,
    ),
    Claim(
        "gradient-through-f-matters",
        "On trained networks the gradient through F ends with a smaller residual than a detached target: mean log "
        "residual of detached minus flow.",
        "mechanism", _CONTROL, above(0.0), TRAINING_RUN,
        paper_says="the authors' code differentiates both arguments of the discrepancy",
    ),
    Claim(
        "decaying-step-beats-constant",
        "On trained networks a decaying step ends with a smaller residual than the constant one of training: mean log "
        "residual of constant minus decaying.",
        "mechanism", _CONTROL, above(0.0), TRAINING_RUN, paper_says="not stated; the authors' step is constant",
    ),
    Claim(
        "small-steps-descend",
        "On trained networks more than 95 % of the flow's steps of size 1 lower the residual.",
        "mechanism", f"{PAPER}, the flow as a descent", above(0.95), TRAINING_RUN,
        paper_says="the flow is a gradient descent on the discrepancy",
    ),
    Claim(
        "witness-form-is-the-gradient",
        "On trained networks the witness form of the Wasserstein gradient is N times the gradient by automatic "
        "differentiation (largest relative difference, float64).",
        "mechanism", f"{PAPER}, Wasserstein gradient of the forward pass", below(1e-8), DETERMINISTIC,
        paper_says="a formula of the Wasserstein gradient is among the contributions",
    ),
    Claim(
        "flow-reaches-tolerance",
        "On trained networks the flow reaches the relative residual 1e-4 of the authors' stop rule: mean log relative "
        "residual at the end below log(1e-4).",
        "direction", f"{PAPER}, authors' configurations", below(math.log(TOLERANCE)), TRAINING_RUN,
        paper_says="1e-4 is the stop rule of the authors' configurations; the values reached were not seen",
    ),
)  # fmt: skip


def solve_points(
    training: Sequence[Mapping[str, Any]], checkpoints: Sequence[int], clouds: int
) -> list[dict[str, Any]]:
    """Points of `inner_solves` for every shard of `training`, trained and untrained, with the arms of the claims."""
    points = []
    for weights, labels in ((UNTRAINED, ON_UNTRAINED), (TRAINED, SOLVERS)):
        for point in training:
            arms = arms_of(point["solver"]["step_size"], point["sizes"].get("width", 128), checkpoints[-1])
            chosen = [arm for arm in arms if arm["label"] in labels]
            points.append({"training": dict(point), "weights": weights, "arms": chosen, "at": list(checkpoints),
                           "clouds": clouds})  # fmt: skip
    return points


def check_points(points: Sequence[Mapping[str, Any]], clouds: int, iterations: int) -> list[dict[str, Any]]:
    """Points of `inner_checks` for the same networks."""
    common = {"clouds": clouds, "iterations": iterations}
    return [{"training": point["training"], "weights": point["weights"], **common} for point in points]


def tidy(
    points: Sequence[Mapping[str, Any]], solved: Sequence[Mapping[str, Any]], checked: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """Rows of the study.

    Args:
        points: of `inner_solves`. solved: its results. checked: those of `inner_checks` at the same networks.

    Returns:
        one row per weights, run, arm and checkpoint (kind "path": mean over clouds of the residual, of its log, of the
        log relative to the start, and the share of clouds below the tolerance), one per arm (kind "end") and one per
        network (kind "network"); empty where a kind of row has no such number.
    """
    rows: list[dict[str, Any]] = []
    for point, result, check in zip(points, solved, checked, strict=True):
        for place, replicate in enumerate(point["training"]["members"]):
            about = {"weights": point["weights"], "replicate": replicate}
            for number, arm in enumerate(point["arms"]):
                rows += _path_rows(about | {"arm": arm["label"]}, point["at"], result["residual"][number, place])
                end = {name: shortened(float(np.mean(result[name][number, place])))
                       for name in ("falling", "by_rows", "matched", "spread")}  # fmt: skip
                rows.append({"kind": END, **about, "arm": arm["label"], **end})
            rows.append({"kind": NETWORK, **about, **_network(check, place)})
    return pd.DataFrame(rows)


def _path_rows(about: Mapping[str, Any], at: Sequence[int], residual: np.ndarray) -> list[dict[str, Any]]:
    logs = np.log(np.maximum(residual, ROUNDING))  # [C, n]
    relative = logs - logs[0]
    return [
        {"kind": PATH, **about, "evaluations": evaluations, "residual": shortened(float(residual[c].mean())),
         "log_residual": shortened(float(logs[c].mean())), "log_relative": shortened(float(relative[c].mean())),
         "reached": shortened(float((relative[c] < math.log(TOLERANCE)).mean()))}
        for c, evaluations in enumerate(at)
    ]  # fmt: skip


def _network(check: Mapping[str, Any], place: int) -> dict[str, Any]:
    radius, error = check["radius"][place], check["witness_error"][place]
    return {"radius": shortened(float(np.median(radius))), "largest_radius": shortened(float(radius.max())),
            "witness_error": shortened(float(error.max())), "probes": len(error)}  # fmt: skip


def at_the_end(runs: pd.DataFrame, column: str, weights: str, arm: str) -> np.ndarray:
    """A column of kind "path" per run `[R]` at the last checkpoint, which all arms share."""
    path = rows_of(runs, kind=PATH)
    return per_run(path, column, weights=weights, arm=arm, evaluations=path["evaluations"].max())


def _arms(runs: pd.DataFrame, weights: str) -> list[str]:
    present = set(rows_of(runs, kind=END, weights=weights)["arm"])
    return [arm for arm in SOLVERS if arm in present]


def _band_text(runs: pd.DataFrame) -> str:
    return f"95 % intervals of the mean over {runs['replicate'].nunique()} training runs (Student t)"


def residual_figure(study: Study, runs: pd.DataFrame) -> None:
    """Residual against evaluations of F, untrained and trained."""
    path = rows_of(runs, kind=PATH)
    axis = [int(at) for at in sorted(path["evaluations"].unique())]
    panels = {
        weights: {arm: [per_run(path, "log_residual", weights=weights, arm=arm, evaluations=at) for at in axis]
                  for arm in _arms(runs, weights)}
        for weights in (UNTRAINED, TRAINED)
    }  # fmt: skip
    caption = (
        "Residual MMD^2(Z, F(Z)) (Riesz kernel, for every solver) against evaluations of F; a step of a flow counts as "
        "3, with a detached target as 1. Geometric mean over the test clouds of a run; line: its mean over runs; "
        f"bands: {_band_text(runs)}. Below the dotted line a residual is rounding in float32 and counts as "
        f"{ROUNDING:g}. "
        f"{setting(runs, study)}"
    )
    alt = "Two panels of falling curves on logarithmic axes, one curve per solver: untrained and trained networks."
    study.figure(plots.residual_figure(panels, axis, ROUNDING), "residual", caption, alt)


def _ratio_and_spread(runs: pd.DataFrame, weights: str, arm: str) -> tuple[np.ndarray, np.ndarray]:
    """Matched over row-wise distance, and distance between particles, of every run `[R]`; none below rounding."""
    by_rows, matched, spread = (np.maximum(per_run(runs, column, kind=END, weights=weights, arm=arm), ROUNDING)
                                for column in ("by_rows", "matched", "spread"))  # fmt: skip
    return matched / by_rows, spread


def permutation_figure(study: Study, runs: pd.DataFrame) -> None:
    """Permutation-minimised over row-wise distance to the images at the end, and how far the particles are apart."""
    ends = {weights: {arm: _ratio_and_spread(runs, weights, arm) for arm in _arms(runs, weights)}
            for weights in (UNTRAINED, TRAINED)}  # fmt: skip
    caption = (
        "At the last checkpoint. Left: distance of particles and images after the best permutation of the images, "
        "divided by the distance by rows (root mean squares over particles); at 1 no permutation helps, at 0 a "
        "permutation explains all. Right: mean distance between two particles of a cloud. Distances below the dotted "
        f"line, {ROUNDING:g}, are rounding and count as that, also in the quotient. One mark per training run: mean "
        f"over its test clouds; filled: trained, open: untrained networks. {setting(runs, study)}"
    )
    alt = "Two panels with one row of marks per solver: quotients near 1, and distances from rounding to order one."
    study.figure(plots.permutation_figure(ends, ROUNDING), "permutation", caption, alt)


def falling_figure(study: Study, runs: pd.DataFrame) -> None:
    """Share of falling steps of the flows."""
    shares = {weights: {arm: per_run(runs, "falling", kind=END, weights=weights, arm=arm)
                        for arm in _arms(runs, weights) if arm not in (ITERATION, ANDERSON)}
              for weights in (UNTRAINED, TRAINED)}  # fmt: skip
    caption = (
        "Share of the steps of a flow that lower the discrepancy (for the Gaussian flow: its own, with the Gaussian "
        "kernel), over steps and test clouds of a run. Small marks: training runs; large marks with bars: "
        f"{_band_text(runs)}. Filled: trained, open: untrained networks. Dashed: what the claim asks of the small "
        f"step. {setting(runs, study)}"
    )
    alt = "One row per kind of flow with its share of falling steps, between one half and one."
    study.figure(plots.falling_figure(shares, 0.95), "falling", caption, alt)


def ends_table(study: Study, runs: pd.DataFrame) -> None:
    """Every solver at the last checkpoint."""
    rows = []
    for weights in (UNTRAINED, TRAINED):
        for arm in _arms(runs, weights):
            numbers = [(name, at_the_end(runs, name, weights, arm)) for name in ("log_residual", "reached")]
            numbers += [(name, np.maximum(per_run(runs, name, kind=END, weights=weights, arm=arm), ROUNDING))
                        for name in ("by_rows", "matched", "spread")]  # fmt: skip
            rows.append(summary_row({"networks": weights, "solver": arm}, numbers))
    caption = (
        f"At the last checkpoint (residuals and distances below {ROUNDING:g} are rounding and count as {ROUNDING:g}): "
        f"mean natural log of the residual, share of clouds below the relative residual {TOLERANCE:g}, distance of "
        "particles and images by rows and after the best permutation, and distance between particles; means and "
        f"standard errors over training runs. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "ends", caption, "summary")


def networks_table(study: Study, runs: pd.DataFrame) -> None:
    """How contractive the networks are."""
    rows = [summary_row({"networks": weights},
                        [(name, per_run(runs, name, kind=NETWORK, weights=weights))
                         for name in ("radius", "largest_radius")])
            for weights in (UNTRAINED, TRAINED)]  # fmt: skip
    probes = int(rows_of(runs, kind=NETWORK)["probes"].iloc[0])
    caption = (
        "Spectral radius of dF/dZ where fixed-point iteration ends, over "
        f"{probes} test cloud(s) of a run: median and largest; below 1, iteration converges near that point, the "
        f"faster the smaller. Means and standard errors over training runs. {setting(runs, study)}"
    )
    study.table(pd.DataFrame(rows), "networks", caption, "summary")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim at the last checkpoint."""
    def log(arm: str, weights: str = TRAINED) -> np.ndarray:
        return at_the_end(runs, "log_residual", weights, arm)

    pairs = {
        "flow-beats-iteration-trained": (log(ITERATION), log(FLOW)),
        "flow-beats-iteration-untrained": (log(ITERATION, UNTRAINED), log(FLOW, UNTRAINED)),
        "flow-beats-anderson-trained": (log(ANDERSON), log(FLOW)),
        "gradient-through-f-matters": (log(DETACHED), log(FLOW)),
        "decaying-step-beats-constant": (log(FLOW), log(DECAYING)),
    }
    for id, (first, second) in pairs.items():
        study.decide(id, paired(study, first, second, STEP))
    falling = per_run(runs, "falling", kind=END, weights=TRAINED, arm=SMALL)
    study.decide("small-steps-descend", mean_of(study, falling, STEP))
    networks = rows_of(runs, kind=NETWORK, weights=TRAINED)
    cases = int(networks["probes"].sum())
    study.decide("witness-form-is-the-gradient", statistics.exact(float(networks["witness_error"].max()), cases))
    study.decide("flow-reaches-tolerance", mean_of(study, at_the_end(runs, "log_relative", TRAINED, FLOW), STEP))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    residual_figure, ends_table, networks_table, permutation_figure, falling_figure, decisions,
)  # fmt: skip
