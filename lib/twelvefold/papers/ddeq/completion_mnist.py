"""Result 3: does the equilibrium fill holes in digits, as well as PCN, and is it worth its cost?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from twelvefold.core import statistics
from twelvefold.core.claims import DETERMINISTIC, TRAINING_RUN, Claim, above, below
from twelvefold.core.reporting import mean_of, paired, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.ddeq.completion_clouds import SCORES, Holed
from twelvefold.papers.ddeq.completion_populations import AUTHORS, DDEQ, ONE_APPLICATION, PCN, parameters
from twelvefold.papers.ddeq.completion_scores import COPY, MORE, START, TRUE_FILL
from twelvefold.papers.ddeq.plots import completion_mnist as plots
from twelvefold.papers.ddeq.reporting import PAPER, per_run, setting, shortened

FOUND = "DDEQ, Z* itself"
ARMS = (DDEQ, FOUND, ONE_APPLICATION, PCN, COPY, MORE, START, TRUE_FILL)
DRAWN = (START, DDEQ, ONE_APPLICATION, PCN)  # whose points are shown
SCORED, POINT, COUNTED = "score", "point", "parameters"  # kinds of rows
MARGIN = 0.1  # 10 %: a smaller gap in energy distance is not to be seen in a picture of the completed digits
_STEP = 1e-6  # the scores are continuous; rows keep six digits

_SAYS = "fills the holes about as well as PCN with a fifth of the parameters (read off the code; no number was seen)"
_WHERE = f"{PAPER}, completion of MNIST point clouds"
CLAIMS: tuple[Claim, ...] = (
    Claim(
        "fills-holes-in-energy",
        "Copying the observed points, topped up with true ones from outside the holes to as many as DDEQ has, leaves a "
        "larger energy distance to the true cloud than DDEQ.",
        "direction", f"{_WHERE}; baseline added here", above(0.0), TRAINING_RUN, paper_says=_SAYS,
    ),
    Claim(
        "fills-holes-in-chamfer",
        "The same copy leaves a larger Chamfer distance to the true cloud than DDEQ.",
        "direction", f"{_WHERE}; baseline added here", above(0.0), TRAINING_RUN, paper_says=_SAYS,
    ),
    Claim(
        "covers-what-was-deleted",
        "Control: deleted points are nearer to a point of DDEQ than to one of the start, which has as many free points "
        "(copying is worse than both by construction).",
        "mechanism", "control added here", above(0.0), TRAINING_RUN, paper_says="not stated",
    ),
    Claim(
        "non-inferior-to-pcn",
        "The energy distance of DDEQ is less than 10 % above that of PCN (logarithm of the ratio below log 1.1).",
        "direction", _WHERE, below(float(np.log1p(MARGIN))), TRAINING_RUN, paper_says=_SAYS,
    ),
    Claim(
        "equilibrium-worth-its-cost",
        "The same network trained with one application of F and no solver has a larger energy distance than DDEQ.",
        "mechanism", "control added here", above(0.0), TRAINING_RUN, paper_says="not stated",
    ),
    Claim(
        "fewer-parameters-than-pcn",
        "At the paper's sizes DDEQ has fewer parameters than PCN (ratio, counted from drawn weights).",
        "full", "the authors' code, their classes instantiated", below(1.0), DETERMINISTIC,
        paper_value=0.2038,
        paper_says="a fifth of the parameters (1,185,008 and 5,813,634, counted from the authors' classes)",
    ),
)  # fmt: skip


def counted(scale: SimpleNamespace) -> pd.DataFrame:
    """Rows with the numbers of parameters at the paper's sizes and here, from drawn weights."""
    here = {DDEQ: ("ddeq", scale.network), PCN: ("pcn", scale.pcn)}
    rows = []
    for arm in AUTHORS:
        numbers = {"parameters_at_paper": parameters(*AUTHORS[arm]), "parameters_here": parameters(*here[arm])}
        rows.append({"kind": COUNTED, "arm": arm} | numbers)
    return pd.DataFrame(rows)


def frame(
    scale: SimpleNamespace, points: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], shown: Holed
) -> pd.DataFrame:
    """All rows of the study.

    Args:
        scale: of the study.
        points, results: of `evaluate_completion`.
        shown: the test clouds of the first member, of which `scale.shown` are drawn.

    Returns:
        kind, arm; of scores: replicate and `SCORES` (means over test clouds); of points: cloud, part ("kept",
        "deleted", "centre", "observed", "added"), x, y; of parameters: their numbers. Empty where a kind has no such
        column.
    """
    scored = [{"kind": SCORED, "arm": arm, "replicate": replicate} | {
        name: shortened(float(result[f"{output}/{name}"][place])) for name in SCORES
    } for point, result in zip(points, results, strict=True) for output, arm in _outputs(point)
        for place, replicate in enumerate(point["members"])]  # fmt: skip
    drawn = _truth(shown, scale.shown)
    for point, result in zip(points, results, strict=True):
        if point["shown"] and point["arm"] in DRAWN:
            output = _outputs(point)[0][0]
            added = torch.as_tensor(result[f"{output}/added"])
            drawn += _places(point["arm"], "added", torch.as_tensor(result[f"{output}/cloud"]), added)
    rows = pd.concat([pd.DataFrame(scored), pd.DataFrame(drawn), counted(scale)], ignore_index=True)
    whole = ["replicate", "cloud", "parameters_at_paper", "parameters_here"]
    rows[whole] = rows[whole].astype("Int64")  # whole numbers beside empty cells
    return rows


def _outputs(point: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name of each output in a result, and its arm."""
    if point["arm"] == DDEQ:
        return [("applied", DDEQ), ("found", FOUND)]
    return [("applied" if point["arm"] == ONE_APPLICATION else "made", point["arm"])]


def _truth(shown: Holed, number: int) -> list[dict[str, Any]]:
    everywhere = torch.ones(shown.centres.shape[1:3], dtype=torch.bool)
    parts = {
        "kept": (shown.truth, (shown.truth_mask & ~shown.deleted)[0]), "deleted": (shown.truth, shown.deleted[0]),
        "centre": (shown.centres, everywhere), "observed": (shown.observed, shown.observed_mask[0]),
    }  # fmt: skip
    return [row for part, (points, mask) in parts.items()
            for row in _places("", part, points[0, :number], mask[:number])]  # fmt: skip


def _places(arm: str, part: str, points: torch.Tensor, mask: torch.Tensor) -> list[dict[str, Any]]:
    """Rows of the points `[n, K, 2]` in the mask `[n, K]`, to three decimals."""
    return [{"kind": POINT, "arm": arm or None, "part": part, "cloud": int(cloud),
             "x": round(float(points[cloud, k, 0]), 3), "y": round(float(points[cloud, k, 1]), 3)}
            for cloud, k in mask.nonzero().tolist()]  # fmt: skip


def vectors(runs: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """A score of every arm that has it, one value per run `[R]`."""
    rows = rows_of(runs, kind=SCORED)
    found = {arm: per_run(rows, name, arm=arm) for arm in ARMS}
    return {arm: values for arm, values in found.items() if not np.isnan(values).any()}


def _setting(study: Study, runs: pd.DataFrame) -> str:
    return setting(rows_of(runs, kind=SCORED), study)


def digits_figure(study: Study, runs: pd.DataFrame) -> None:
    """The first test digits of the first run: whole, with holes, at the start, and completed by each method."""
    number = rows_of(runs, kind=POINT)["cloud"].nunique()
    caption = (
        f"The first {number} test digits of the first training run. Rows: the whole digit with the two holes (grey "
        "discs) and the points deleted (orange crosses); what the methods see; the free points as they are drawn; "
        "what DDEQ, one application of the same F, and PCN made of it. Dark: observed points, which stay where they "
        "are. Coloured: points that a method placed; PCN places all of its points anew. "
        f"{_setting(study, runs)}"
    )
    alt = f"A grid of {number} digits as point clouds, in six rows from the whole digit to three completions."
    study.figure(plots.digits_figure(rows_of(runs, kind=POINT), DRAWN), "digits", caption, alt)


def scores_figure(study: Study, runs: pd.DataFrame) -> None:
    """Four scores of every arm."""
    caption = (
        "Distances of completed test digits from the truth, smaller is better: energy and Chamfer distance to the "
        "whole digit; from a deleted point to the nearest predicted one; from an added point to the nearest true one "
        "(PCN: from any of its points; copying adds none). Small dots: training runs, each a mean over its test "
        f"digits. Marks and bars: mean and its 95 % interval (Student t). {_setting(study, runs)}"
    )
    alt = "Four panels of dots with intervals, one row per method."
    fig = plots.scores_figure({name: vectors(runs, name) for name in SCORES}, ARMS)
    study.figure(fig, "scores", caption, alt)


def scores_table(study: Study, runs: pd.DataFrame) -> None:
    """The scores of the figure in numbers."""
    made = {name: vectors(runs, name) for name in SCORES}
    rows = []
    for arm in ARMS:
        # a score that an arm lacks is an empty cell with standard error 0
        row = summary_row({"arm": arm}, [(name, made[name][arm]) for name in SCORES if arm in made[name]])
        rows.append(row | {f"{name}_se": 0.0 for name in SCORES if arm not in made[name]})
    columns = ["arm", *(f"{name}{end}" for name in SCORES for end in ("", "_se"))]
    caption = (
        "Mean distances over test digits; means and standard errors over training runs. energy, chamfer: to the whole "
        "true digit; coverage: from a deleted point to the nearest predicted one; precision: from an added point to "
        f"the nearest true one. {_setting(study, runs)}"
    )
    study.table(pd.DataFrame(rows)[columns], "scores", caption, "summary", "copying adds no point.")


def parameters_table(study: Study, runs: pd.DataFrame) -> None:
    """Numbers of parameters at the paper's sizes and here."""
    table = rows_of(runs, kind=COUNTED)[["arm", "parameters_at_paper", "parameters_here"]].reset_index(drop=True)
    table = table.astype({"parameters_at_paper": int, "parameters_here": int})
    caption = (
        "Numbers of parameters, counted from drawn weights, at the paper's sizes and in this run. Of DDEQ's, the "
        "coupling layer's (16,640 at the paper's sizes) keep their initial values when trained with phantom gradients."
    )
    study.table(table, "parameters", caption, 0.0)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim: over training runs, and by counting."""
    energy, chamfer, coverage = (vectors(runs, name) for name in ("energy", "chamfer", "coverage"))
    study.decide("fills-holes-in-energy", paired(study, energy[MORE], energy[DDEQ], _STEP))
    study.decide("fills-holes-in-chamfer", paired(study, chamfer[MORE], chamfer[DDEQ], _STEP))
    study.decide("covers-what-was-deleted", paired(study, coverage[START], coverage[DDEQ], _STEP))
    study.decide("non-inferior-to-pcn", mean_of(study, np.log(energy[DDEQ] / energy[PCN]), _STEP))
    study.decide("equilibrium-worth-its-cost", paired(study, energy[ONE_APPLICATION], energy[DDEQ], _STEP))
    numbers = rows_of(runs, kind=COUNTED).set_index("arm")["parameters_at_paper"].astype(int)
    study.decide("fewer-parameters-than-pcn", statistics.exact(float(numbers[DDEQ] / numbers[PCN]), 1))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    digits_figure, scores_figure, scores_table, parameters_table, decisions,
)  # fmt: skip
