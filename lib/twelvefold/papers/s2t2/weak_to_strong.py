"""Result 4: does a plan learnt on a small model serve a larger one with the same source tokens?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.core.claims import TRAINING_RUN, Claim, Estimate, above, below
from twelvefold.core.reporting import band_of, mean_of, paired, rows_of, summary_row
from twelvefold.core.study import Study
from twelvefold.papers.s2t2.plots import weak_to_strong as plots

STEP = 1e-4  # bits: the last digit kept in runs.csv
KEPT = 0.5  # "most of the benefit"
BLOCKS = 6  # points of a learning curve
ZERO_SHOT, FINETUNED = "zero_shot", "finetuned"
SHOWN = ("unigram", "token_unigram")  # references drawn in the figure; the table has all
_SOURCE = "Feng et al. 2024 (arXiv 2411.00593), abstract and contribution 2"
_SAYS = (
    "a translation learnt on the smaller model can be put directly into the larger one with the same tokenizer, which "
    "reaps the benefits at the lower training cost (abstract and page 2)"
)
_BEFORE = "In the large model, without any finetuning of it, the plan learnt on the small model needs fewer bits per "
_AFTER = "After an equal, short finetuning of all weights of the large model, it needs fewer bits per residue than "

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "transferred-below-random-vectors", f"{_BEFORE}residue than random vectors do.",
        "direction", _SOURCE, below(0), TRAINING_RUN, paper_says=_SAYS,
    ),
    Claim(
        "transferred-below-untrained", f"{_BEFORE}residue than the plan it was learnt from.",
        "direction", _SOURCE, below(0), TRAINING_RUN, paper_says=_SAYS,
    ),
    Claim(
        "transferred-below-pieces", f"{_BEFORE}residue than means of pieces do.",
        "direction", f"{_SOURCE}; the baseline is added here", below(0), TRAINING_RUN, paper_says=_SAYS,
    ),
    Claim(
        "transferred-below-exchanged", f"{_BEFORE}residue than the same plan with its columns exchanged among tokens.",
        "mechanism", f"{_SOURCE}; a control added here", below(0), TRAINING_RUN, paper_says=_SAYS,
    ),
    Claim(
        "most-of-the-benefit",
        "Of the bits that learning a plan on the large model itself saves, the plan of the small model saves more than "
        "half: (untrained - transferred) / (untrained - own).",
        "direction", _SOURCE, above(KEPT), TRAINING_RUN, paper_says=_SAYS,
    ),
    Claim(
        "finetuned-below-random-vectors", f"{_AFTER}random vectors do.",
        "direction", f"{_SOURCE}; the finetuning is added here", below(0), TRAINING_RUN, paper_says=_SAYS,
    ),
    Claim(
        "finetuned-below-pieces", f"{_AFTER}means of pieces do.",
        "direction", f"{_SOURCE}; baseline and finetuning are added here", below(0), TRAINING_RUN, paper_says=_SAYS,
    ),
)  # fmt: skip
DIFFERENCES = {
    "transferred-below-random-vectors": ("gaussian", ZERO_SHOT),
    "transferred-below-untrained": ("untrained", ZERO_SHOT), "transferred-below-pieces": ("pieces", ZERO_SHOT),
    "transferred-below-exchanged": ("permuted", ZERO_SHOT),
    "finetuned-below-random-vectors": ("gaussian", FINETUNED), "finetuned-below-pieces": ("pieces", FINETUNED),
}  # fmt: skip


def rows_of_study(
    plans: Sequence[tuple[int, str, Mapping[str, Any]]], arms: Sequence[tuple[int, str, Mapping[str, Any]]],
    agreements: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]],
) -> pd.DataFrame:  # fmt: skip
    """All rows of the study, rounded.

    Args:
        plans: replicate, role and result of `plan_runs`. arms: replicate, arm and result of `arm_runs`.
        agreements, references: results of `agreement_runs` and `reference_runs`, in the order of replicates.

    Returns:
        Columns: what ("bits", "reference", "plan", "loss", "agreement"), replicate, name (of arm, reference, role or
        pair), and those of the sweeps; a "loss" is the mean over a sixth of the updates that ends at `step`, in bits
        per residue of training texts.
    """
    parts = [pd.DataFrame(made["columns"]).assign(what="bits", replicate=r, name=arm) for r, arm, made in arms]
    parts += [pd.DataFrame([made["columns"]]).assign(what="plan", replicate=r, name=role) for r, role, made in plans]
    parts += [_curve(made["losses"]).assign(what="loss", replicate=r, name=role) for r, role, made in plans]
    parts += [pd.DataFrame(made["columns"]).rename(columns={"pair": "name"}).assign(what="agreement", replicate=r)
              for r, made in enumerate(agreements)]  # fmt: skip
    parts += [pd.DataFrame({"name": list(made["bits"]), "bits": list(made["bits"].values()), "what": "reference",
                            "replicate": r, "proteins": made["proteins"]})
              for r, made in enumerate(references)]  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    for column, digits in {"bits": 4, "overlap": 5, "weighted": 5, "vectors": 4, "sources": 2}.items():
        rows[column] = rows[column].round(digits)
    for column in ("step", "tokens", "flops", "weights", "proteins"):
        rows[column] = rows[column].astype("Int64")  # whole numbers beside empty cells
    first = ["what", "replicate", "name", "stage", "step", "bits"]
    return rows[[*first, *rows.columns.drop(first)]]


def _curve(losses: np.ndarray) -> pd.DataFrame:
    """Means over blocks of updates, in bits per residue (from nats), with the last update of each block."""
    blocks = np.array_split(np.asarray(losses, dtype=float) / math.log(2), min(BLOCKS, len(losses)))
    ends = np.cumsum([len(block) for block in blocks])
    return pd.DataFrame({"step": ends, "bits": [block.mean() for block in blocks]})


def setting(study: Study, runs: pd.DataFrame) -> str:
    """What every caption says about models, texts and runs."""
    scale = study.scale_values
    assert scale is not None  # a study has its scale before it has runs
    tiny, genome = scale.small.startswith("english "), scale.problem["dataset"] == "pyhmmer_proteome"
    models = ("Tiny English models of width 48 and 96 trained here (stand-ins for OLMo-1B and OLMo-7B)" if tiny
              else f"{scale.small} and {scale.large}")  # fmt: skip
    proteins = "one bacterial genome (a stand-in for UniRef50)" if genome else "UniRef50"
    held_out = rows_of(runs, what="reference")["proteins"]
    return (f"{models}; proteins of {proteins}, u = {scale.problem['targets']} target tokens, {int(held_out.iloc[0])} "
            f"held-out proteins per run; {runs['replicate'].nunique()} training runs, each with its own split, "
            f"tokenizer, initial scores and {'pair of models' if tiny else 'order of texts'}.")  # fmt: skip


def bits_of(runs: pd.DataFrame, arm: str, stage: str = ZERO_SHOT) -> np.ndarray:
    """Bits per residue of an arm, one per run in the order of replicates; KeyError when there are none."""
    return rows_of(runs, what="bits", name=arm, stage=stage).sort_values("replicate")["bits"].to_numpy(dtype=float)


def _arms(runs: pd.DataFrame, stage: str) -> list[str]:
    found = set(rows_of(runs, what="bits", stage=stage)["name"])
    return [arm for arm in plots.LABELS if arm in found]


def _references(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    part = rows_of(runs, what="reference").sort_values("replicate")
    return {name: part.loc[part["name"] == name, "bits"].to_numpy(dtype=float) for name in plots.REFERENCES}


def bits_figure(study: Study, runs: pd.DataFrame) -> None:
    """Bits per residue in the large model, before and after finetuning."""
    panels = {stage: {arm: bits_of(runs, arm, stage) for arm in _arms(runs, stage) if arm != "small"}
              for stage in (ZERO_SHOT, FINETUNED)}  # fmt: skip
    drawn = {name: float(values.mean()) for name, values in _references(runs).items() if name in SHOWN}
    caption = (
        "Bits per residue of held-out proteins in the large model, by what its new vocabulary is made of (the axes "
        "differ in range). Left: the large model as it is; right: after an equal, short finetuning of all weights. "
        "Small dots: training runs; symbols and bars, or numbers at the edge: means and 95 % t intervals over training "
        f"runs; vertical lines: models without a network. {setting(study, runs)}"
    )
    alt = "Rows of dots, one row per kind of vectors, in two panels, with vertical lines for unigram models."
    study.figure(plots.bits_figure(panels, drawn), "bits", caption, alt)


def bits_table(study: Study, runs: pd.DataFrame) -> None:
    """All arms and references, with paired differences from the transferred plan."""
    rows: list[dict[str, object]] = []
    for arm in _arms(runs, ZERO_SHOT):
        row: dict[str, object] = {"vectors": plots.LABELS[arm]}
        for stage in (ZERO_SHOT, FINETUNED):
            if arm in _arms(runs, stage):
                bits, transferred = bits_of(runs, arm, stage), bits_of(runs, "transferred", stage)
                row |= summary_row({}, [(stage, bits), (f"{stage}_minus_transferred", bits - transferred)])
        rows.append(row)
    rows += [summary_row({"vectors": plots.REFERENCES[name]}, [(ZERO_SHOT, values)])
             for name, values in _references(runs).items()]  # fmt: skip
    caption = (
        "Bits per residue of held-out proteins before (zero_shot) and after finetuning (finetuned), and paired "
        "differences from the plan of the small model: means and standard errors over training runs. All rows are of "
        "the large model, but for the small model's own and the last four, which need no network. "
        f"{setting(study, runs)}"
    )
    study.table(pd.DataFrame(rows), "bits", caption, "summary", empty="not finetuned, or no model to compare.")


def learning_figure(study: Study, runs: pd.DataFrame) -> None:
    """Loss of both models while their plans are learnt."""
    part, curves = rows_of(runs, what="loss"), {}
    for role in plots.ROLES:
        grouped = part[part["name"] == role].groupby("step")["bits"]
        bands = [(step, *band_of(values)) for step, values in grouped]
        curves[role] = pd.DataFrame(bands, columns=["step", "middle", "low", "high"]).set_index("step")
    caption = (
        "Loss while the plan is learnt and the model stays as it is, in bits per residue of the training "
        "texts of the update; averaged over the sixth of the updates that ends where a point "
        f"stands. Lines: means; bands: 95 % t intervals over training runs. {setting(study, runs)}"
    )
    study.figure(plots.learning_figure(curves), "learning", caption, "Two falling curves, one per model.")


def agreement_figure(study: Study, runs: pd.DataFrame) -> None:
    """How much alike the plans of two models are."""
    part = rows_of(runs, what="agreement").sort_values("replicate")
    named = {"overlap": "shared mass of a column", "vectors": "correlation of vectors"}
    panels = {label: {pair: part.loc[part["name"] == pair, column].to_numpy(dtype=float)
                      for pair in plots.PAIRS if pair in set(part["name"])}
              for column, label in named.items()}  # fmt: skip
    caption = (
        "Do two models learn the same plan? Left: mass that two plans put on the same source tokens, mean over target "
        "tokens (1: equal plans). Right: correlation of the vectors that both plans make in the large model. Two "
        "starts: two plans of the same model. Rows with '...': the plan of the small model, its columns exchanged, "
        "against that of the large one. Dots: training runs; symbols and bars: means and 95 % t intervals over "
        f"training runs. {setting(study, runs)}"
    )
    alt = "Rows of dots per pair of plans in two panels: shared mass, and correlation of vectors."
    study.figure(plots.agreement_figure(panels), "agreement", caption, alt)


def agreement_table(study: Study, runs: pd.DataFrame) -> None:
    """The numbers of the figure, and shared mass weighted by frequency."""
    part = rows_of(runs, what="agreement")
    rows = [summary_row({"plans": label}, [(column, part.loc[part["name"] == pair, column])
                                           for column in ("overlap", "weighted", "vectors")])
            for pair, label in plots.PAIRS.items() if pair in set(part["name"])]  # fmt: skip
    caption = (
        "Mass that two plans put on the same source tokens, mean over target tokens (overlap) and with target tokens "
        "weighted by their frequency in training texts (weighted); correlation of the vectors that the plans make in "
        f"the large model (vectors): means and standard errors over training runs. {setting(study, runs)}"
    )
    study.table(pd.DataFrame(rows), "agreement", caption, "summary")


def costs_table(study: Study, runs: pd.DataFrame) -> None:
    """What learning the plan costs on either model."""
    part = rows_of(runs, what="plan").sort_values("replicate")
    flops = {role: part.loc[part["name"] == role, "flops"].to_numpy(dtype=float) for role in plots.ROLES}
    rows = []
    for role, label in plots.ROLES.items():
        own = part[part["name"] == role]
        numbers = [("giga_flops", flops[role] / 1e9), ("share_of_large", flops[role] / flops["large"]),
                   ("sources_per_target", own["sources"].to_numpy(dtype=float))]  # fmt: skip
        labels = {"learnt on": label, "weights_of_body": int(own["weights"].iloc[0])}
        rows.append(summary_row(labels, [*numbers, ("tokens", own["tokens"].to_numpy(dtype=float))]))
    caption = (
        "Cost of learning a plan: 10^9 floating-point operations, counted (matrix products with weights, with the plan "
        "and with its vectors; not the projection of the scores, which costs the same on both models), as a share of "
        "the large model's, and predicted tokens; and the plan's effective number of source tokens per target token: "
        f"means and standard errors over training runs. {setting(study, runs)}"
    )
    study.table(pd.DataFrame(rows), "costs", caption, "summary")


def benefit_kept(runs: pd.DataFrame) -> np.ndarray | None:
    """(untrained - transferred) / (untrained - own) per run; None when learning on the large model saves nothing."""
    untrained, transferred, own = (bits_of(runs, arm) for arm in ("untrained", "transferred", "own"))
    saved = untrained - own
    return (untrained - transferred) / saved if (saved > STEP).all() else None


def decisions(study: Study, runs: pd.DataFrame) -> None:
    """Decide every claim."""
    for id, (arm, stage) in DIFFERENCES.items():
        study.decide(id, _below(study, runs, arm, stage))
    kept = benefit_kept(runs)
    if kept is None:
        study.decide("most-of-the-benefit", None, "learning on the large model saves nothing in some run")
    else:
        study.decide("most-of-the-benefit", mean_of(study, kept, STEP))


def _below(study: Study, runs: pd.DataFrame, arm: str, stage: str) -> Estimate | None:
    return paired(study, bits_of(runs, "transferred", stage), bits_of(runs, arm, stage), STEP)


REPORT: tuple[Callable[[Study, pd.DataFrame], None], ...] = (
    learning_figure, bits_figure, bits_table, agreement_figure, agreement_table, costs_table, decisions,
)  # fmt: skip
