"""Result 1: does the sparse Sinkhorn iteration find the projection, how sparse is it, and is it learnt?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import DETERMINISTIC, TRAINING_RUN, Claim, above, below, equals
from twelvefold.core.frames import rounded
from twelvefold.core.reporting import count_cells, mean_of, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.s2t2.plots import sparse_sinkhorn as plots
from twelvefold.papers.s2t2.projections import SOLVERS

UNIT = "simulated replicate"
SMALL, LARGE = "small", "large"
SCALE, STEPS = 0.1, 100  # of the scores, and iterations, that claims are about
CLOSE, FACTOR = 1e-6, 10.0
SPARSE = "sparse_sinkhorn"
_PAPER = "Feng et al. 2024 (arXiv 2411.00593)"
_FIGURE = f"{_PAPER}, figure 1, right"
_ALTERNATES = "column and row sparsemax in turn make a dense matrix a sparse plan (figure 1; page 2)"
_LEARNT = "the plan is learnt from target texts and the loss alone, without parallel data (page 2)"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "solution-is-pots",
        "The dual ascent ends at the plan that POT finds for the same quadratically regularised problem: largest "
        "difference of an entry, for masses that sum to one.",
        "mechanism", f"{_FIGURE}; comparison added here", below(CLOSE), DETERMINISTIC, paper_says=_ALTERNATES,
    ),
    Claim(
        "dykstra-converges",
        f"Share of random score matrices for which Dykstra's algorithm is within {CLOSE:g} of the projection after "
        f"{STEPS} iterations.",
        "mechanism", _FIGURE, above(0.95), UNIT, paper_says=_ALTERNATES,
    ),
    Claim(
        "alternation-goes-elsewhere",
        f"Share of random score matrices for which {STEPS} alternations without corrections are more than "
        f"{FACTOR:g} times as far from the projection.",
        "mechanism", f"{_FIGURE}; a warning added here", above(0.95), UNIT, paper_says=_ALTERNATES,
    ),
    Claim(
        "support-of-a-vertex",
        "For the largest scores no plan uses more than v + u - 1 entries: number of plans that do.",
        "mechanism", _FIGURE, equals(0), DETERMINISTIC, paper_says="the plan is sparse (title, figure 1)",
    ),
    Claim(
        "relabelling-is-recovered",
        "In a problem with a known answer, the source symbol with the largest weight is a right one for nearly all "
        "target symbols (share of them; a guess is right once in u).",
        "mechanism", f"{_PAPER}, section 2; the problem is added here", above(0.8), TRAINING_RUN, paper_says=_LEARNT,
    ),
    Claim(
        "as-good-as-the-right-plan",
        "There the learnt plan costs less than 0.1 bits per symbol more than the right one.",
        "mechanism", f"{_PAPER}, section 2; the problem is added here", below(0.1), TRAINING_RUN, paper_says=_LEARNT,
    ),
)  # fmt: skip


def rows_of_study(
    errors: Mapping[str, Sequence[Mapping[str, Any]]], supports: Mapping[str, Sequence[Mapping[str, Any]]],
    iterates: Mapping[str, Any], relabellings: Sequence[Mapping[str, Any]],
) -> pd.DataFrame:  # fmt: skip
    """All rows of the study, four significant digits.

    Args:
        errors, supports: results of `error_runs` and `support_runs`, by size ("small", "large").
        iterates: of `iterate_runs`. relabellings: of `relabelling_runs`, in the order of replicates.

    Returns:
        Columns: what ("error", "support", "iterate", "relabelling", "plan"), size, and the columns of the sweeps. Rows
        "plan" hold the positive weights of the first replicate's plans: kind, row, column, value, class of row.
    """
    named = {"error": errors, "support": supports}
    parts = [_frame(result["columns"], what=what, size=size) for what, by_size in named.items()
             for size, results in by_size.items() for result in results]  # fmt: skip
    parts.append(_frame(iterates["columns"], what="iterate", size=SMALL))
    parts += [_frame(result["columns"], what="relabelling", replicate=r) for r, result in enumerate(relabellings)]
    parts += [_entries(relabellings[0])] if relabellings else []
    rows = pd.concat([part.dropna(axis=1, how="all") for part in parts], ignore_index=True)
    for name in ("replicate", "iterations", "row", "column", "class"):
        if name in rows:
            rows[name] = rows[name].astype("Int64")  # whole numbers beside empty cells
    first = ["what", "size", "replicate"]
    return rows[[*first, *rows.columns.drop(first)]]


def _frame(columns: Mapping[str, Any], **fixed: object) -> pd.DataFrame:
    frame = pd.DataFrame(dict(columns))
    numbers = frame.select_dtypes("float").columns
    frame[numbers] = rounded(frame[numbers], 4)
    return frame.assign(**fixed)


def _entries(result: Mapping[str, Any]) -> pd.DataFrame:
    parts = []
    for kind, weights in result["plans"].items():
        matrix = np.asarray(weights)
        rows, columns = np.nonzero(matrix > 0)
        entries = {"row": rows, "column": columns, "value": matrix[rows, columns],
                   "class": np.asarray(result["classes"])[rows]}  # fmt: skip
        parts.append(_frame(entries, what="plan", kind=kind, replicate=0))
    return pd.concat(parts, ignore_index=True)


def sizes(runs: pd.DataFrame, what: str) -> list[str]:
    """The sizes of problem among rows of a kind, in the order of the rows."""
    return list(dict.fromkeys(rows_of(runs, what=what)["size"]))


def _shape(study: Study, size: str) -> tuple[int, int]:
    scale = study.scale_values
    assert scale is not None  # a study has its scale before it has runs
    problem = scale.small if size == SMALL else scale.large
    return problem["sources"], problem["targets"]


def setting(study: Study, runs: pd.DataFrame, what: str, size: str) -> str:
    """What a caption must say about the random problems."""
    counts = rows_of(runs, what=what, size=size).groupby("scale")["replicate"].nunique()
    (v, u), least, most = _shape(study, size), counts.min(), counts.max()
    number = f"{most}" if least == most else ", ".join(f"{n} (sd {scale:g})" for scale, n in counts.items())
    noun = "matrix" if number == "1" else "matrices"
    return f"Simulated: {number} {noun} of normal scores, v = {v} by u = {u}, uniform marginals, columns of mass 1."


def _spread(part: pd.DataFrame, by: str, column: str) -> pd.DataFrame:
    """Median, and the 5th and 95th percentile, over replicates."""
    grouped = part.groupby(by)[column]
    return pd.DataFrame({"low": grouped.quantile(0.05), "middle": grouped.median(), "high": grouped.quantile(0.95)})


def iterates_figure(study: Study, runs: pd.DataFrame) -> None:
    """Scores, plans after T iterations, for a problem small enough to see."""
    entries = rows_of(runs, what="iterate")
    caption = (
        f"From scores to a sparse plan: {int(entries['row'].max()) + 1} source and {int(entries['column'].max()) + 1} "
        "target tokens, one random draw. Left: scores C (orange negative, violet positive). Then: plans after T "
        "iterations of Dykstra's algorithm, darker for more; exact zeros are blank, other entries are counted."
    )
    alt = "A row of matrices: coloured scores first, then plans with fewer and fewer entries as T grows."
    study.figure(plots.iterates_figure(entries), "iterates", caption, alt)


def errors_figure(study: Study, runs: pd.DataFrame) -> None:
    """Error of every solver against T; one figure per size of problem."""
    for size in sizes(runs, "error"):
        part = rows_of(runs, what="error", size=size)
        panels = {scale: {name: _spread(rows, "iterations", name) for name in SOLVERS}
                  for scale, rows in part.groupby("scale")}  # fmt: skip
        caption = (
            "Largest error of an entry of the plan after T iterations, against the projection. Lines: medians; bands: "
            "5th to 95th percentile over matrices. Without corrections, alternating sparsemax ends at a plan with the "
            f"right marginals that is not the projection. {setting(study, runs, 'error', size)}"
        )
        alt = "Curves of error over iterations: two fall to rounding, the one without corrections stays level."
        study.figure(plots.errors_figure(panels), f"errors_{size}", caption, alt)


def support_figure(study: Study, runs: pd.DataFrame) -> None:
    """Number of positive entries against the scale of the scores; one figure per size of problem."""
    for size in sizes(runs, "support"):
        frame, (v, u) = _spread(rows_of(runs, what="support", size=size), "scale", "support"), _shape(study, size)
        caption = (
            "Entries in use against the standard deviation of the scores. Line: median; band: 5th to 95th percentile "
            "over matrices. For small scores the plan is dense; for large ones it is a vertex of the polytope, with "
            f"at most v + u - 1 = {v + u - 1} entries. {setting(study, runs, 'support', size)}"
        )
        alt = "A curve that falls from nearly all entries to fewer than v + u - 1 as scores grow."
        study.figure(plots.support_figure(frame, v + u - 1, v * u), f"support_{size}", caption, alt)


def errors_table(study: Study, runs: pd.DataFrame) -> None:
    """Mean errors and misplaced mass at chosen T."""
    rows = []
    for size in sizes(runs, "error"):
        part = rows_of(runs, what="error", size=size)
        for (scale, steps), group in part.groupby(["scale", "iterations"]):
            named = [(name, group[name]) for solver in SOLVERS for name in (solver, f"rows_{solver}")]
            rows.append(summary_row({"size": size, "scores_sd": scale, "iterations": int(steps)}, named))
    caption = (
        "Largest error of an entry, and share of the mass that stands in the wrong row (rows_): means and standard "
        "errors over matrices. dual: ascent in the potentials; dykstra: with corrections; alternation: without. "
        + " ".join(setting(study, runs, "error", size) for size in sizes(runs, "error"))
    )
    study.table(pd.DataFrame(rows), "errors", caption, "summary")


def plans_figure(study: Study, runs: pd.DataFrame) -> None:
    """The plans learnt in the first training run, rows sorted by class."""
    entries, (v, u) = rows_of(runs, what="plan"), _symbols(study)
    order = entries.drop_duplicates("row").set_index("row")["class"].reindex(range(v)).fillna(u)
    place = {int(row): position for position, row in enumerate(order.astype(int).sort_values(kind="stable").index)}
    plans: dict[str, np.ndarray] = {}
    for kind, part in entries.groupby("kind", sort=False):
        plans[str(kind)] = np.zeros((v, u))
        plans[str(kind)][[place[int(row)] for row in part["row"]], part["column"].astype(int)] = part["value"]
    caption = (
        f"Plans learnt in the first training run of the relabelling problem: {v} source symbols, sorted by the class "
        f"they belong to, by {u} target symbols. The right plan is block diagonal: class t (between two lines) has its "
        "weights in column t. Darker is more; zeros are blank."
    )
    alt = "Matrices of weights side by side; where the answer is found, weights lie in blocks along the diagonal."
    study.figure(plots.plans_figure(plans, [v // u * c - 0.5 for c in range(1, u)]), "plans", caption, alt)


def _symbols(study: Study) -> tuple[int, int]:
    scale = study.scale_values
    assert scale is not None
    return scale.relabelling["sources"], scale.relabelling["targets"]


def relabelling_table(study: Study, runs: pd.DataFrame) -> None:
    """Recovery, cost and sparsity of every kind of plan in the relabelling problem."""
    rows, part = [], rows_of(runs, what="relabelling")
    names = ("recovered", "right_mass", "bits", "right_bits", "entropy_rate", "support")
    for kind, group in part.groupby("kind", sort=False):
        named = [(name, group[name]) for name in names]
        rows.append(summary_row({"plan": plots.KINDS.get(str(kind), str(kind))}, named))
    v, u = _symbols(study)
    assert study.scale_values is not None
    caption = (
        "Share of target symbols whose heaviest source symbol is right (recovered), share of the mass on right "
        "symbols, bits per symbol of held-out texts with the learnt and with the right plan, entropy rate of the "
        f"chain, and source symbols per target symbol (support): means and standard errors over "
        f"{part['replicate'].nunique()} training runs, each with its own chain, texts and source model, and the best "
        f"of {study.scale_values.relabelling['starts']} starts by the loss on its own texts; v = {v}, u = {u}."
    )
    study.table(pd.DataFrame(rows), "relabelling", caption, "summary")


def checks_table(study: Study, runs: pd.DataFrame) -> None:
    """How many matrices meet each criterion, and the linear programme that large scores approach."""
    at, last = _claimed(runs), _last(runs)
    rows = [{"check": "Dykstra within 1e-6", "cases": len(at), **count_cells("met", _close(at))},
            {"check": "alternation 10 times as far", "cases": len(at), **count_cells("met", _farther(at))},
            {"check": "plan of the linear programme (1e-6)", "cases": len(last),
             **count_cells("met", last["peer"] < CLOSE)}]  # fmt: skip
    caption = (
        f"Matrices that meet a criterion: the first two for scores N(0, {SCALE:g}^2) after {STEPS} iterations, the "
        "third for the largest scores. Errors are binomial standard errors. "
        f"{setting(study, runs, 'error', SMALL)}"
    )
    study.table(pd.DataFrame(rows), "checks", caption, "summary")


def _claimed(runs: pd.DataFrame) -> pd.DataFrame:
    return rows_of(runs, what="error", size=SMALL, scale=SCALE, iterations=STEPS)


def _last(runs: pd.DataFrame) -> pd.DataFrame:
    part = rows_of(runs, what="support", size=SMALL)
    return part[part["scale"] == part["scale"].max()]


def _close(part: pd.DataFrame) -> np.ndarray:
    return (part["dykstra"] < CLOSE).to_numpy(dtype=bool)


def _farther(part: pd.DataFrame) -> np.ndarray:
    return (part["alternation"] > FACTOR * part["dykstra"]).to_numpy(dtype=bool)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim."""
    at, last, (v, u) = _claimed(runs), _last(runs), _shape(study, SMALL)
    study.decide("solution-is-pots", statistics.exact(float(at["peer"].max()), len(at)))
    for id, met in (("dykstra-converges", _close(at)), ("alternation-goes-elsewhere", _farther(at))):
        study.decide(id, statistics.share(int(met.sum()), len(met), unit=UNIT, level=study.level))
    study.decide("support-of-a-vertex", statistics.exact(float((last["support"] > v + u - 1).sum()), len(last)))
    learnt = rows_of(runs, what="relabelling", kind=SPARSE).sort_values("replicate")
    symbols = _symbols(study)[1]
    study.decide("relabelling-is-recovered", mean_of(study, learnt["recovered"], 1 / symbols))
    study.decide("as-good-as-the-right-plan", mean_of(study, learnt["bits"] - learnt["right_bits"], 1e-3))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    iterates_figure, errors_figure, errors_table, support_figure, checks_table, plans_figure, relabelling_table,
    decisions,
)  # fmt: skip
