"""Result 4: the scaling curve of a single run is emergent or nearly linear by luck; averages of many runs agree."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from twelvefold.core.claims import TRAINING_RUN, Claim, Estimate, above
from twelvefold.core.reporting import FIGURE_LEVEL
from twelvefold.core.study import Study
from twelvefold.papers.random_scaling.curves import plotting
from twelvefold.papers.random_scaling.curves.measures import (
    LEAST_SCALES,
    TOO_FEW,
    compared_labels,
    compared_scores,
    curve_estimate,
    left_out,
    score_length,
)
from twelvefold.papers.random_scaling.curves.spreads import (
    CURVES,
    FEW,
    LOW_CLIP,
    MANY,
    SHAPES,
    averaged_curves,
    luckiest,
    spread_difference,
)
from twelvefold.papers.random_scaling.decomposition import SUCCESS
from twelvefold.papers.random_scaling.reporting import PAPER, setting
from twelvefold.papers.random_scaling.scaling_curves import (
    CLIP,
    PAIRINGS,
    breakthroughness,
    linearity,
    mean_curves,
    random_curves,
)

_FIGURE = f"{PAPER}, Figure 1"
_READ = (
    "two seeds of one recipe are shown, the curve of one emergent, that of the other nearly linear (public reading "
    "notes on version 5)"
)
_SEED = 20_250_224  # of curves for tables and drawings, which are pure functions of the rows

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "breakthroughness-spread",
        f"Breakthroughness B differs more between the curves of single runs than between curves of averages of {MANY} "
        "runs: difference of the distances from the 10th to the 90th percentile.",
        "direction", _FIGURE, above(0.0), TRAINING_RUN, paper_says=_READ,
    ),
    Claim(
        "linearity-spread",
        f"Linearity L differs more between the curves of single runs than between curves of averages of {MANY} runs "
        "(same distances).",
        "direction", _FIGURE, above(0.0), TRAINING_RUN, paper_says=_READ,
    ),
    Claim(
        "three-runs-are-few",
        f"Breakthroughness B differs more between curves of averages of {FEW} runs than between curves of averages of "
        f"{MANY} (same distances).",
        "direction", "usual practice beside the paper's populations, added here", above(0.0), TRAINING_RUN,
        paper_says="not read",
    ),
)  # fmt: skip

# what each claim compares: the shape, and the smaller number of runs behind an average
_COMPARED = {"breakthroughness-spread": ("B", 1), "linearity-spread": ("L", 1), "three-runs-are-few": ("B", FEW)}
_VARIANTS: dict[str, dict[str, object]] = {
    "as decided": {}, "independent replicates": {"pairing": "independent"},
    f"B at most {LOW_CLIP:g}": {"clipped": True},
}  # fmt: skip


def _axis_name(study: Study) -> str:
    assert study.scale_values is not None  # a study has its scale before it has runs
    return str(study.scale_values.axis_name)


def _about(study: Study, runs: pd.DataFrame) -> str:
    """What every caption says of the compared scales and of the setting."""
    compared = len(compared_labels(runs))
    three = " With three scales B equals L." if compared == LEAST_SCALES else ""
    return f"{left_out(runs)}{three} {setting(study, runs)}"


def _shown(curves: int) -> str:
    """What a caption adds where not all curves are drawn."""
    return "" if curves <= plotting.SHOWN else f" (the first {plotting.SHOWN} of {curves})"


def _enough(runs: pd.DataFrame) -> bool:
    return len(compared_labels(runs)) >= LEAST_SCALES


def title_of(replicate: int, curve: np.ndarray) -> str:
    """Name of a replicate with the breakthroughness and linearity of its curve `[m]`."""
    return f"replicate {replicate}: B = {float(breakthroughness(curve)):.3g}, L = {float(linearity(curve)):.2f}"


def ranked(curves: np.ndarray, shape: str) -> list[int]:
    """Numbers of the curves `[n, m]` from the largest shape ("B" or "L") to the smallest; ties as in `luckiest`."""
    left, order = list(range(len(curves))), []
    while left:
        order.append(left.pop(luckiest(curves[left], SHAPES[shape])))
    return order


def lucky_figure(study: Study, runs: pd.DataFrame) -> None:
    """The curves of the replicates with the largest B and with the largest L over those of all replicates."""
    if not _enough(runs):
        return
    curves = random_curves(compared_scores(runs), seed=_SEED, draws=1)
    chosen = [luckiest(curves, SHAPES[name]) for name in ("B", "L")]
    caption = (
        f"Exact match at length {score_length(runs)} of single runs, one line per replicate, whose runs share initial "
        "weights where the architecture is the same. Left, coloured: the replicate with the largest breakthroughness B "
        "(of equal ones, with the largest improvement); right: with the largest linearity L. Grey: all replicates"
        f"{_shown(len(curves))}. "
        f"{_about(study, runs)}"
    )
    alt = "Scaling curves of all runs in grey; marked are the most emergent one (left) and the most linear one (right)."
    titles = [(number, title_of(number, curves[number])) for number in chosen]
    fig = plotting.lucky_figure(curves, titles, compared_labels(runs), _axis_name(study))
    study.figure(fig, "lucky_curves", caption, alt)


def _populations(scores: np.ndarray) -> dict[tuple[int, str], np.ndarray]:
    """Curves `[n, m]` by the number of runs behind each and by the pairing."""
    made = {}
    for pairing in PAIRINGS:
        made[1, pairing] = random_curves(scores, seed=_SEED, draws=CURVES, pairing=pairing)
        for of in (FEW, MANY):
            made[of, pairing] = averaged_curves(scores.T, of, pairing)
    return made


def shapes_figure(study: Study, runs: pd.DataFrame) -> None:
    """Breakthroughness and linearity of curves of single runs and of averages, under both pairings."""
    if not _enough(runs):
        return
    frames = [pd.DataFrame({"of": of, "pairing": pairing, "B": breakthroughness(curves), "L": linearity(curves)})
              for (of, pairing), curves in _populations(compared_scores(runs)).items()]  # fmt: skip
    caption = (
        f"Breakthroughness B (cut at {CLIP:g}; its axis is logarithmic beyond 1) and linearity L of scaling curves of "
        f"exact match at length {score_length(runs)}: of single runs and of averages of {FEW} and {MANY} runs drawn "
        "with replacement. Bar: 10th to 90th percentile over curves; tick: median; grey: one mark per curve (the first "
        f"{plotting.SHOWN} at most). Solid bars: a curve takes the same replicates at every scale; dashed: others at "
        f"each. {_about(study, runs)}"
    )
    alt = (
        "Two panels of strips with bars: B and L of curves of single runs, of averages of three and of sixteen runs, "
        "under both pairings."
    )
    study.figure(plotting.shapes_figure(pd.concat(frames)), "shapes", caption, alt)


def _spread_row(of: int, pairing: str, drawn: str, curves: np.ndarray) -> dict[str, object]:
    row: dict[str, object] = {"runs_averaged": of, "replicates": pairing, "drawn": drawn, "curves": len(curves)}
    row["constant_curves"] = int((np.ptp(curves, axis=1) < 1e-12).sum())
    for name, shape in SHAPES.items():
        low, middle, high = np.quantile(shape(curves), [0.1, 0.5, 0.9])
        if name != "B_clipped":
            row |= {f"{name}_p10": low, f"{name}_median": middle, f"{name}_p90": high}
        row[f"{name}_spread"] = high - low
    return row


def spreads_table(study: Study, runs: pd.DataFrame) -> None:
    """Percentiles of B and L under both pairings, and for averages of runs that are drawn without replacement."""
    if not _enough(runs):
        return
    scores = compared_scores(runs)
    rows = [_spread_row(of, pairing, "each run once" if (of, pairing) == (1, "same") else "with replacement", curves)
            for (of, pairing), curves in _populations(scores).items()]  # fmt: skip
    for of in (FEW, MANY):
        if of <= scores.shape[1]:
            curves = mean_curves(scores, of, draws=CURVES, seed=_SEED)
            rows.append(_spread_row(of, "independent", "without replacement", curves))
    caption = (
        "Breakthroughness B and linearity L of scaling curves: 10th, 50th and 90th percentile over curves, and the "
        f"distance from the 10th to the 90th (B_clipped: of B cut at {LOW_CLIP:g} instead of {CLIP:g}). A constant "
        f"curve has B = L = 0. {_about(study, runs)}"
    )
    study.table(pd.DataFrame(rows), "spreads", caption, "same machine")


def pairing_table(study: Study, runs: pd.DataFrame) -> None:
    """Whether runs of one replicate succeed together at neighbouring scales."""
    labels, succeed = compared_labels(runs), compared_scores(runs) > SUCCESS
    if not _enough(runs):
        return
    rows = []
    for k in range(len(labels) - 1):
        first, second = succeed[k], succeed[k + 1]
        varies = 0 < first.mean() < 1 and 0 < second.mean() < 1
        rows.append({
            "scales": f"{labels[k]} and {labels[k + 1]}", "replicates": len(first),
            "both_succeed": int((first & second).sum()),
            "expected_if_independent": float(first.mean() * second.mean() * len(first)),
            "correlation": float(np.corrcoef(first, second)[0, 1]) if varies else float("nan"),
        })  # fmt: skip
    frame = pd.DataFrame(rows)
    caption = (
        "Successes of one replicate at neighbouring scales: replicates that succeed at both, how many would by chance, "
        "and the correlation over replicates of success at the two scales. Near 0 the two pairings draw equal "
        f"curves. {_about(study, runs)}"
    )
    study.table(frame, "pairing", caption, "same machine", "no variation." if frame.isna().any(axis=None) else "")


def _alike(scores: np.ndarray) -> bool:
    return bool((scores == scores[:, :1]).all())


def difference(
    study: Study, scores: np.ndarray, id: str, level: float, pairing: str = "same", clipped: bool = False
) -> Estimate | None:
    """The estimate of a claim from scores `[m, R]`, also under the other pairing or with the lower bound of B.

    None for fewer than three scales, fewer than 20 runs, or replicates with one and the same curve.
    """
    assert study.scale_values is not None  # a study has its scale before it has runs
    if _alike(scores):
        return None
    name, fewer = _COMPARED[id]
    shape = SHAPES["B_clipped" if clipped and name == "B" else name]
    statistic = partial(spread_difference, shape=shape, fewer=fewer, pairing=pairing)
    return curve_estimate(scores, statistic, level, 1 / study.scale_values.prompts)


def variants_table(study: Study, runs: pd.DataFrame) -> None:
    """The claims again, as decided, for curves of independent replicates, and with a lower bound of B."""
    scores, rows = compared_scores(runs), []
    for id in _COMPARED:
        for name, options in _VARIANTS.items():
            if "clipped" in options and _COMPARED[id][0] != "B":
                continue
            made = difference(study, scores, id, FIGURE_LEVEL, **options)  # type: ignore[arg-type]
            columns = ("value", "low", "high")
            rows.append({"claim": id, "variant": name} | {
                column: float("nan") if made is None else getattr(made, column) for column in columns
            })  # fmt: skip
    frame = pd.DataFrame(rows)
    caption = (
        "The differences of spreads behind the claims with their 95 % intervals (percentile bootstrap of replicates): "
        f"as decided (curves of the same replicates, B cut at {CLIP:g}) and otherwise. {_about(study, runs)}"
    )
    empty = f"{TOO_FEW}, or equal curves." if frame.isna().any(axis=None) else ""
    study.table(frame, "variants", caption, "same machine", empty)


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over the replicates' curves."""
    scores = compared_scores(runs)
    missing = "every replicate has the same curve" if _enough(runs) and _alike(scores) else TOO_FEW
    equal = "with three compared scales B equals L" if len(scores) == LEAST_SCALES else ""
    for id in _COMPARED:
        estimate = difference(study, scores, id, study.level)
        study.decide(id, estimate, missing if estimate is None else equal)


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    lucky_figure, shapes_figure, spreads_table, pairing_table, variants_table, decisions,
)  # fmt: skip
