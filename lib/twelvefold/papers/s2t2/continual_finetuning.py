"""Result 3: is a learnt plan the best start for finetuning all weights?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.core.claims import TRAINING_RUN, Claim, above, below
from twelvefold.core.frames import rounded
from twelvefold.core.reporting import paired, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.s2t2.continual_finetuning_study import ARMS, LEARNT, UNTRAINED
from twelvefold.papers.s2t2.plots import continual_finetuning as plots
from twelvefold.papers.s2t2.plots.arms import REFERENCES

RESOLUTION = 1e-4  # bits: scores of equal models differ by less, from rounding
SHARES = (0.25, 0.5, 1.0)  # of the operations that every arm can afford
_PAPER = "Feng et al. 2024 (arXiv 2411.00593)"
_CFT = f"{_PAPER}, abstract and the results with continual finetuning"
_BETTER = ("the learnt translation, finetuned further, has the best perplexity and bits per byte, better than direct "
           "finetuning with the original or with a new tokenizer (abstract); its numbers were not seen")  # fmt: skip
_DATASETS = {"pyhmmer_proteome": "proteins of one bacterial genome (a stand-in for UniRef50)", "uniref50": "UniRef50"}
_MODELS = {
    "english small": "tiny English models trained here (a stand-in for OLMo-1B)",
    "smollm2_135m": "SmolLM2-135M-Instruct (a stand-in for OLMo-1B)", "olmo_1b": "OLMo-1B, as in the paper",
}  # fmt: skip

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "area-below-source",
        "Mean bits per residue over the residues seen (area under the curve over its width), learning the plan "
        "counted: sparse Sinkhorn minus source tokenizer.",
        "direction", _CFT, below(0), TRAINING_RUN, paper_says=_BETTER,
    ),
    Claim(
        "area-below-random-vectors",
        "The same area: sparse Sinkhorn minus new tokenizer with random vectors.",
        "direction", _CFT, below(0), TRAINING_RUN, paper_says=_BETTER,
    ),
    Claim(
        "area-below-pieces",
        "The same area: sparse Sinkhorn minus new tokenizer whose vectors are means of source pieces.",
        "direction", f"{_PAPER}; comparison added here", below(0), TRAINING_RUN,
        paper_says="nothing: this start (fast vocabulary transfer) is not among the paper's, as far as it was read",
    ),
    Claim(
        "final-below-source",
        "Bits per residue at the end, after equally many residues, learning the plan counted: sparse Sinkhorn minus "
        "source tokenizer.",
        "direction", _CFT, below(0), TRAINING_RUN, paper_says=_BETTER,
    ),
    Claim(
        "final-below-random-vectors",
        "The same at the end: sparse Sinkhorn minus new tokenizer with random vectors.",
        "direction", _CFT, below(0), TRAINING_RUN, paper_says=_BETTER,
    ),
    Claim(
        "pretraining-helps",
        "Control: area with the pretrained body minus area with a body drawn at random, both with random vectors.",
        "mechanism", f"{_PAPER}; control added here", below(0), TRAINING_RUN,
        paper_says="a model pretrained on English is worth adapting (premise of the paper)",
    ),
    Claim(
        "pretraining-helps-with-a-plan",
        "Control: area of sparse Sinkhorn minus area with a body drawn at random (and random vectors).",
        "mechanism", f"{_PAPER}; control added here", below(0), TRAINING_RUN,
        paper_says="a model pretrained on English is worth adapting (premise of the paper)",
    ),
    Claim(
        "long-tokens-cost-bits",
        "Control: what a model without context, which only knows how frequent each token is, needs with the new "
        "tokenizer minus what it needs with the source tokenizer, in bits per residue.",
        "mechanism", f"{_PAPER}; control added here", above(0), TRAINING_RUN,
        paper_says="nothing of this was read; it would be a handicap of every arm with a new tokenizer",
    ),
)  # fmt: skip

_COMPARED = {
    "area-below-source": ("area", LEARNT, "source"), "area-below-random-vectors": ("area", LEARNT, "gaussian"),
    "area-below-pieces": ("area", LEARNT, "pieces"), "final-below-source": ("final", LEARNT, "source"),
    "final-below-random-vectors": ("final", LEARNT, "gaussian"), "pretraining-helps": ("area", "gaussian", UNTRAINED),
    "pretraining-helps-with-a-plan": ("area", LEARNT, UNTRAINED),
}  # fmt: skip


def rows_of_study(
    points: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """All rows of the study, six significant digits.

    Args:
        points: of `finetuning_runs`. curves: their results. references: results of `reference_runs`, by replicate.

    Returns:
        Columns: what ("curve", "reference"), replicate; of curves arm, rate, and the columns of `finetuning_runs`; of
        references name and value.
    """
    parts = [pd.DataFrame(curve["columns"]).assign(what="curve", **{k: point[k] for k in ("replicate", "arm", "rate")})
             for point, curve in zip(points, curves, strict=True)]  # fmt: skip
    parts += [pd.DataFrame({"what": "reference", "replicate": r, "name": [*found], "value": [*found.values()]})
              for r, found in enumerate(references)]  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    for name in ("step", "residues", "frozen"):
        rows[name] = rows[name].astype("Int64")  # whole numbers beside empty cells
    for name in ("gflops", "bits", "validation", "value"):
        rows[name] = rounded(rows[name].astype(float), 6)
    first = ["what", "replicate", "arm", "rate"]
    return rows[[*first, *rows.columns.drop(first)]]


def mean_height(curve: pd.DataFrame, column: str) -> float:
    """Area under a curve over residues, linear between its points, over its width."""
    x = curve["residues"].to_numpy(dtype=float)
    return float(np.trapezoid(curve[column].to_numpy(dtype=float), x) / (x[-1] - x[0]))


def steps_of(study: Study) -> int:
    """Updates that the direct arms get, and the arm with a plan in all."""
    assert study.scale_values is not None  # a study has its scale before it has runs
    return int(study.scale_values.training["steps"])


def chosen(study: Study, runs: pd.DataFrame) -> pd.DataFrame:
    """The curves of each arm and training run with the learning rate of the smallest area on its validation texts."""
    curves = rows_of(runs, what="curve")
    kept = []
    for _, tried in curves.groupby(["replicate", "arm"], sort=False):
        by_rate = [part for _, part in tried.groupby("rate")]
        heights = [mean_height(part[part["step"] <= steps_of(study)], "validation") for part in by_rate]
        kept.append(by_rate[int(np.argmin(heights))])
    return pd.concat(kept, ignore_index=True)


def per_run(study: Study, runs: pd.DataFrame) -> pd.DataFrame:
    """Numbers of each arm and training run, index (arm, replicate).

    Returns:
        start, area, final (bits per residue, with learning the plan counted); finetuned: bits after as many updates of
        all weights as the direct arms get; rate; residues and gflops; equal_<share>: bits at that share of the
        operations that every arm of the run can afford.
    """
    rows, curves = [], chosen(study, runs)
    for replicate, arms in curves.groupby("replicate"):
        counted = arms[arms["step"] <= steps_of(study)]
        budget = counted.groupby("arm")["gflops"].max().min()
        for arm, curve in counted.groupby("arm"):
            cost, bits = (curve[name].to_numpy(dtype=float) for name in ("gflops", "bits"))
            at = {f"equal_{share:g}": float(np.interp(share * budget, cost, bits)) for share in SHARES}
            rows.append({"arm": arm, "replicate": replicate, "start": bits[0], "area": mean_height(curve, "bits"),
                         "final": bits[-1], "finetuned": arms[arms["arm"] == arm]["bits"].iloc[-1],
                         "rate": curve["rate"].iloc[0], "residues": float(curve["residues"].iloc[-1]),
                         "gflops": cost[-1], **at})  # fmt: skip
    return pd.DataFrame(rows).set_index(["arm", "replicate"]).sort_index()


def reference(runs: pd.DataFrame, name: str) -> np.ndarray:
    """One reference of every training run `[R]`, in the order of replicates."""
    return rows_of(runs, what="reference", name=name).sort_values("replicate")["value"].to_numpy(dtype=float)


def setting(study: Study, runs: pd.DataFrame) -> str:
    """What a caption must say about data, models and units."""
    assert study.scale_values is not None
    problem = study.scale_values.problem
    residues = reference(runs, "held_out_residues").mean()
    return (
        f"Texts: {_DATASETS[problem['dataset']]}; models: {_MODELS[problem['model']]}; u = {problem['targets']} target "
        f"tokens; {problem['held_out']} held-out proteins (about {residues:.0f} residues) in each of "
        f"{len(reference(runs, 'unigram'))} training runs."
    )


def curves_figure(study: Study, runs: pd.DataFrame) -> None:
    """Bits per residue against residues seen and against operations."""
    lines = {name: float(reference(runs, name).mean()) for name in ("unigram", "token_unigram")}
    caption = (
        "Held-out bits per residue while all weights are finetuned. Left: against the residues seen. Middle: the same, "
        "enlarged near the ends of the curves. Right: against floating-point operations, enlarged as well. Open "
        "markers: the plan is being learnt and the body is frozen; what that takes is counted. Lines: means over "
        "training runs; bands: their 95 % interval (Student t). Dashed: what independent residues, or independent "
        f"target tokens, cost a model that knows their frequencies. {setting(study, runs)}"
    )
    alt = "Falling curves of five arms in three panels, two of them enlarged near two dashed reference lines."
    study.figure(plots.curves_figure(chosen(study, runs), steps_of(study), lines), "curves", caption, alt)


def _references(runs: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, object]]:
    """Rows of references: their value stands in every column, as they do not learn."""
    names = {name: REFERENCES[name] for name in ("unigram", "token_unigram", "gzip")}
    names["source_token_unigram"] = "unigram of source tokens"
    return [summary_row({"arm": label}, [(column, reference(runs, name)) for column in columns])
            for name, label in names.items()]  # fmt: skip


def arms_table(study: Study, runs: pd.DataFrame) -> None:
    """Start, area and end of every arm."""
    found, columns = per_run(study, runs), ["start", "area", "final", "finetuned"]
    rows = [summary_row({"arm": plots.NAMES[arm]}, [(name, found.loc[arm][name]) for name in columns]) for arm in ARMS]
    caption = (
        "Held-out bits per residue, means and standard errors over training runs: before any update (start), mean over "
        f"the residues seen (area), after {steps_of(study)} updates in all, those of the plan included (final), and "
        f"after {steps_of(study)} updates of all weights, those of the plan not included (finetuned; this differs for "
        "sparse Sinkhorn alone, which has then seen more residues). Below: references, which do not learn. "
        + setting(study, runs)
    )
    study.table(pd.DataFrame(rows + _references(runs, columns)), "arms", caption, "summary")


def differences_figure(study: Study, runs: pd.DataFrame) -> None:
    """Paired differences of area and of final bits, one per training run."""
    found = per_run(study, runs)
    pairs = [(LEARNT, "source"), (LEARNT, "gaussian"), (LEARNT, "pieces"), (LEARNT, UNTRAINED),
             ("gaussian", UNTRAINED)]
    values = {what: {pair: (found.loc[pair[0]][what] - found.loc[pair[1]][what]).to_numpy() for pair in pairs}
              for what in ("area", "final")}  # fmt: skip
    caption = (
        "Paired differences in held-out bits per residue; below zero the arm named first is better. Left: mean over "
        "the residues seen (area). Right: at the end. Small dots: training runs; large: their mean with its 95 % "
        f"interval (Student t). The last two rows are controls without pretraining. {setting(study, runs)}"
    )
    alt = "Dots and intervals of five comparisons, for area and for the end, on both sides of a line at zero."
    study.figure(plots.differences_figure(values), "differences", caption, alt)


def flops_table(study: Study, runs: pd.DataFrame) -> None:
    """Bits at equal numbers of operations."""
    found, columns = per_run(study, runs), [f"equal_{share:g}" for share in SHARES]
    rows = [summary_row({"arm": plots.NAMES[arm]}, [(name, found.loc[arm][name]) for name in columns]) for arm in ARMS]
    least = found.groupby("replicate")["gflops"].min().mean()
    caption = (
        f"Held-out bits per residue at equal cost: at {SHARES[0]:g}, {SHARES[1]:g} and {SHARES[2]:g} of the operations "
        f"that every arm can afford ({least:.3g} GFLOP: all those of the cheapest arm), interpolated on the curves. "
        "Where a tokenizer makes more tokens of the same residues, or has a larger output matrix, fewer updates are "
        f"affordable. Means and standard errors over training runs. Below: references. {setting(study, runs)}"
    )
    study.table(pd.DataFrame(rows + _references(runs, columns)), "equal_cost", caption, "summary")


def costs_table(study: Study, runs: pd.DataFrame) -> None:
    """What every arm saw, and what it cost."""
    found = per_run(study, runs)
    rows = [summary_row({"arm": plots.NAMES[arm]}, [(n, found.loc[arm][n]) for n in ("rate", "residues", "gflops")])
            for arm in ARMS]  # fmt: skip
    source, target = (reference(runs, f"{side}_compression").mean() for side in ("source", "target"))
    caption = (
        "Learning rate (of those tried in the run, the best on validation texts), residues seen and operations of the "
        "curves above, learning the plan included: means and standard errors over training runs. A source token stands "
        f"for {source:.3g} held-out residues, a target token for {target:.3g}. {setting(study, runs)}"
    )
    study.table(pd.DataFrame(rows), "costs", caption, "summary")


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim over training runs."""
    found = per_run(study, runs)
    for id, (what, first, second) in _COMPARED.items():
        study.decide(id, paired(study, found.loc[first][what], found.loc[second][what], RESOLUTION))
    new, old = (reference(runs, name) for name in ("token_unigram", "source_token_unigram"))
    study.decide("long-tokens-cost-bits", paired(study, new, old, RESOLUTION))


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    curves_figure, arms_table, differences_figure, flops_table, costs_table, decisions,
)  # fmt: skip
