"""Result 4: how good is the gradient that the training uses?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import DETERMINISTIC, Claim, above, below
from twelvefold.core.reporting import count_cells, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.ddeq.gradient_problems import CONVERGED
from twelvefold.papers.ddeq.plots import gradient_check as plots

UNIT = "simulated replicate"
DRAWN = "as drawn"  # the family that claims are about
SMALL, LARGE = "small", "large"
TRAINED_WITH = 5  # flow steps of the classifiers trained in this project
COINCIDE = 1e-6  # largest distance of a particle from the mean of all
STEP = 1e-5  # cosines are kept to five digits
_PAPER = "Geuter et al. 2025 (arXiv 2503.01140)"
_THEORY = f"{_PAPER}, list of contributions"
_TRAINING = f"{_PAPER}, training set-up"
_SAME = "the backward pass of a distributional equilibrium is that of an ordinary one (list of contributions)"
_PHANTOM = "phantom gradients are used for training (second page)"
_CASES = "Over networks as drawn whose equilibrium was found"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "implicit-is-exact",
        f"{_CASES}: the implicit gradient agrees with finite differences of the loss, the equilibrium solved anew "
        "(mean cosine of the slopes along random directions).",
        "mechanism", _THEORY, above(0.99), UNIT, paper_says=_SAME,
    ),
    Claim(
        "one-step-points-the-right-way",
        f"{_CASES}: at the equilibrium the one-step gradient has a positive cosine with the implicit one, on average.",
        "mechanism", _TRAINING, above(0.0), UNIT, paper_says=_PHANTOM,
    ),
    Claim(
        "more-applications-come-closer",
        f"{_CASES}: at the equilibrium the cosine with the implicit gradient is larger for 10 applications than for 1.",
        "mechanism", f"{_TRAINING}; comparison added here", above(0.0), UNIT, paper_says=_PHANTOM,
    ),
    Claim(
        "truncated-solve-still-points",
        f"{_CASES}: after only {TRAINED_WITH} flow steps the one-step gradient has a positive cosine with the implicit "
        "one at the equilibrium, on average.",
        "mechanism", f"{_TRAINING}; a shorter solve than the paper's", above(0.0), UNIT, paper_says=_PHANTOM,
    ),
    Claim(
        "training-code-is-one-step",
        "The gradient that the training code gives is the one-step gradient at the particles found: largest absolute "
        "difference over all weights, networks and families.",
        "mechanism", _TRAINING, below(1e-10), DETERMINISTIC, paper_says=_PHANTOM,
    ),
    Claim(
        "equilibria-are-found",
        "Flow, then iteration, reach a residual below 1e-8 for more than half of the networks as drawn.",
        "mechanism", f"{_PAPER}, existence of equilibria", above(0.5), UNIT,
        paper_says="existence and uniqueness for attention networks are out of scope (second page)",
    ),
)  # fmt: skip


def rows_of_study(
    small: Sequence[Mapping[str, Any]], large: Sequence[Mapping[str, Any]], flows: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """All rows of the study: those of `gradient_runs` for small and large networks, and flows by the name of their
    schedule; five significant digits (four of the large networks').

    Columns: kind ("inner", "equilibrium", "flow"), network, family or schedule, replicate, steps, and the columns of
    the sweeps; empty where a kind has no such column.
    """
    parts = [
        _rounded(pd.DataFrame(result["columns"]), digits).assign(network=network)
        for network, results, digits in ((SMALL, small, 5), (LARGE, large, 4)) for result in results
    ]  # fmt: skip
    for schedule, columns in flows.items():
        frame = _rounded(pd.DataFrame(dict(columns)), 4)
        parts.append(frame.assign(kind="flow", network=SMALL, family=schedule))
    rows = pd.concat([part.dropna(axis=1, how="all") for part in parts], ignore_index=True)
    for name in ("steps", "backward_steps"):
        rows[name] = rows[name].astype("Int64")  # whole numbers beside empty cells
    first = ["kind", "network", "family", "replicate", "steps"]
    return rows[[*first, *rows.columns.drop(first)]]


def _rounded(frame: pd.DataFrame, digits: int) -> pd.DataFrame:
    numbers = frame.select_dtypes("float").columns
    frame[numbers] = frame[numbers].map(lambda value: float(f"{value:.{digits}g}"))
    return frame


def converged(runs: pd.DataFrame, network: str, family: str) -> pd.DataFrame:
    """The equilibrium rows of a family whose residual is below 1e-8, in the order of replicates."""
    part = rows_of(runs, kind="equilibrium", network=network, family=family).sort_values("replicate")
    return part[part["residual"] < CONVERGED]


def cosines(runs: pd.DataFrame, column: str, network: str, family: str, steps: int | None) -> np.ndarray:
    """One cosine per replicate whose equilibrium was found `[R]`: after T flow steps, or (None) at the equilibrium."""
    found = converged(runs, network, family)
    if steps is None:
        return found[column].to_numpy(dtype=float)
    part = rows_of(runs, kind="inner", network=network, family=family, steps=steps).set_index("replicate")
    return part.loc[found["replicate"], column].to_numpy(dtype=float)


def main_network(runs: pd.DataFrame) -> str:
    """The network that claims about cosines are decided on: the large one where there is one."""
    return LARGE if (runs["network"] == LARGE).any() else SMALL


def estimators(runs: pd.DataFrame) -> list[str]:
    """Columns of cosines, from one application to the implicit gradient."""
    return [name for name in runs.columns if name.startswith("cosine_")]


def stages(runs: pd.DataFrame, network: str) -> list[int | None]:
    """Numbers of flow steps at which gradients were taken, then None for the equilibrium."""
    return [*sorted(int(steps) for steps in rows_of(runs, kind="inner", network=network)["steps"].unique()), None]


def families(runs: pd.DataFrame, network: str) -> list[str]:
    """Families of a network, in the order of the rows."""
    return list(dict.fromkeys(rows_of(runs, kind="equilibrium", network=network)["family"]))


def _size(study: Study, network: str) -> str:
    scale = study.scale_values
    assert scale is not None  # a study has its scale before it has runs
    sizes = scale.small if network == SMALL else scale.large
    return f"width {sizes['network']['width']}, {sizes['particles']} particles"


def setting(study: Study, runs: pd.DataFrame, network: str) -> str:
    """What a caption must say about the simulated networks."""
    count = rows_of(runs, kind="equilibrium", network=network, family=DRAWN)["replicate"].nunique()
    what = f"{count} untrained random networks ({_size(study, network)})"
    return f"Simulated: {what}, each with one random cloud; float64."


def cosines_figure(study: Study, runs: pd.DataFrame) -> None:
    """Cosine of every estimator with the implicit gradient, after T flow steps and at the equilibrium."""
    network = main_network(runs)
    panels, numbers = {}, []
    for family in families(runs, network):
        found = len(converged(runs, network, family))
        if family != "doubled" and found:
            numbers.append(f"{found} ({family})")
            panels[family] = {
                name: [cosines(runs, name, network, family, steps) for steps in stages(runs, network)]
                for name in estimators(runs)
            }
    if not panels:
        return
    caption = (
        "Cosine between the gradient by all weights that k applications of F (or the implicit equation) give after T "
        "flow steps, and the implicit gradient at the equilibrium. Lines: means; bands and bars: 95 % intervals of the "
        f"means over the replicates whose equilibrium was found, n = {', '.join(numbers)}. "
        f"{setting(study, runs, network)}"
    )
    alt = "Curves of cosines over flow steps, one per number of applications, and marks apart at the equilibrium."
    study.figure(plots.cosines_figure(panels, stages(runs, network)), "cosines", caption, alt)


def radius_figure(study: Study, runs: pd.DataFrame) -> None:
    """Cosine at the equilibrium against the spectral radius of the Jacobian, one dot per replicate."""
    found = {family: converged(runs, SMALL, family) for family in families(runs, SMALL)}
    if not any(len(part) for part in found.values()):
        return
    caption = (
        "Cosine between the k-step and the implicit gradient at the equilibrium against the spectral radius of the "
        "Jacobian of F there (of P^T F at a permuted equilibrium): one mark per replicate whose equilibrium was found. "
        f"{setting(study, runs, SMALL)} Every family has these replicates."
    )
    alt = "Two panels of marks: cosine against spectral radius from 0 to 1, for one and for five applications."
    names = [name for name in ("cosine_1", "cosine_5") if name in runs]
    study.figure(plots.radius_figure(found, names), "radius", caption, alt)


def flow_figure(study: Study, runs: pd.DataFrame) -> None:
    """Residual along the flow, for constant and decaying steps."""
    flows = rows_of(runs, kind="flow")
    replicates, scale = flows["replicate"].nunique(), study.scale_values
    assert scale is not None
    caption = (
        "MMD^2(Z, F(Z)) along the Wasserstein gradient flow on networks as drawn, with a constant step eta = "
        f"{scale.small['step_size']:g} and with one multiplied by {scale.decay} at every step. Thin lines: "
        f"{replicates} of the replicates; thick: their median. {setting(study, runs, SMALL)}"
    )
    alt = "Two panels of thin curves and their median: residual over flow steps, with constant and decaying steps."
    study.figure(plots.flow_figure(flows), "flow", caption, alt)


def equilibria_table(study: Study, runs: pd.DataFrame) -> None:
    """How many replicates reach an equilibrium, of which kind, and how its gradient compares with its oracles."""
    rows = []
    for network, family in ((n, f) for n in dict.fromkeys(runs["network"]) for f in families(runs, n)):
        everyone = rows_of(runs, kind="equilibrium", network=network, family=family)
        found = converged(runs, network, family)
        row: dict[str, object] = {"network": network, "family": family, "replicates": len(everyone)}
        row |= count_cells("found", everyone["residual"] < CONVERGED)
        row |= count_cells("coincide", found["spread"] < COINCIDE)
        row |= count_cells("permuted", found["by_rows"] >= CONVERGED)
        for name, column in (("radius", "radius"), ("fd_cosine", "difference_cosine"), ("one_step", "cosine_1")):
            values = found[column].dropna() if column in found else found["residual"][:0]
            row |= summary_row({}, [(name, values)]) if len(values) else {name: np.nan, f"{name}_se": np.nan}
        rows.append(row)
    frame = pd.DataFrame(rows)
    caption = (
        "Replicates whose equilibrium was found (residual below 1e-8); of these, how many have all particles at one "
        "place (coincide) and how many are equilibria only after a permutation of the rows (permuted); mean spectral "
        "radius, mean cosine of the implicit gradient with finite differences (fd_cosine), mean cosine of the one-step "
        "with the implicit gradient (one_step). Standard errors over replicates. "
        + " ".join(setting(study, runs, network) for network in dict.fromkeys(runs["network"]))
    )
    empty = "not computed for this network, or no equilibrium found." if frame.isna().any(axis=None) else ""
    study.table(frame, "equilibria", caption, "summary", empty)


def cosines_table(study: Study, runs: pd.DataFrame) -> None:
    """The means of the first figure in numbers, and how far the flow still is from the equilibrium."""
    network, rows = main_network(runs), []
    for family in families(runs, network):
        if not len(converged(runs, network, family)):
            continue
        for steps in stages(runs, network):
            label = "equilibrium" if steps is None else str(steps)
            numbers = {name: cosines(runs, name, network, family, steps) for name in estimators(runs)}
            rows.append(summary_row({"family": family, "flow_steps": label}, numbers.items()))
    if not rows:
        return
    caption = (
        "Cosine with the implicit gradient at the equilibrium: means and standard errors over replicates whose "
        f"equilibrium was found. cosine_k: k applications of F with a graph. {setting(study, runs, network)}"
    )
    study.table(pd.DataFrame(rows), "cosines", caption, "summary")


def checks_table(study: Study, runs: pd.DataFrame) -> None:
    """The numerical checks: largest differences that should be rounding."""
    part = rows_of(runs, kind="equilibrium")
    found = part[(part["residual"] < CONVERGED) & (part["family"] == DRAWN)]
    named = {
        "training code against one-step gradient (absolute)": part["training_difference"],
        "iterated against dense backward solve, as drawn (relative)": found["dense_difference"].dropna(),
        "backward iterations, as drawn": found["backward_steps"],
    }
    rows = [
        {"check": name, "cases": len(values), "largest": float(values.max())}
        for name, values in named.items() if len(values)
    ]  # fmt: skip
    caption = "Largest value over replicates. " + setting(study, runs, SMALL)
    study.table(pd.DataFrame(rows), "checks", caption, "same machine")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over replicates of the networks as drawn."""
    network = main_network(runs)
    at = {k: cosines(runs, f"cosine_{k}", network, DRAWN, None) for k in (1, 10)}
    _decide(study, "implicit-is-exact", converged(runs, SMALL, DRAWN)["difference_cosine"].to_numpy(dtype=float))
    _decide(study, "one-step-points-the-right-way", at[1])
    _decide(study, "more-applications-come-closer", at[10] - at[1])
    _decide(study, "truncated-solve-still-points", cosines(runs, "cosine_1", network, DRAWN, TRAINED_WITH))
    differences = rows_of(runs, kind="equilibrium")["training_difference"]
    study.decide("training-code-is-one-step", statistics.exact(float(differences.max()), len(differences)))
    everyone = rows_of(runs, kind="equilibrium", network=network, family=DRAWN)["residual"]
    made = statistics.share(int((everyone < CONVERGED).sum()), len(everyone), unit=UNIT, level=study.level)
    study.decide("equilibria-are-found", made)


def _decide(study: Study, id: str, values: np.ndarray) -> None:
    if len(values) < 2:
        study.decide(id, None, "fewer than two replicates whose equilibrium was found")
        return
    study.decide(id, statistics.mean(values, unit=UNIT, level=study.level, resolution=STEP))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    flow_figure, equilibria_table, cosines_figure, cosines_table, radius_figure, checks_table, decisions,
)  # fmt: skip
