"""Rows of result 2, what is chosen among them, and what captions must say about data and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.core.reporting import rows_of
from twelvefold.core.study import Study
from twelvefold.papers.s2t2.plots.frozen_body import LABELS

REFERENCES = ("unigram", "token_unigram", "gzip")
POINTS = 25  # at most so many of a curve are kept
DATASETS = {
    "pyhmmer_proteome": "proteins of one bacterial genome (a stand-in for UniRef50)",
    "uniref50": "proteins of UniRef50",
}
SOURCES = {
    "english": "tiny English models trained here (a stand-in for OLMo-1B), another one in each training run",
    "smollm2_135m": "SmolLM2-135M (a stand-in for OLMo-1B)", "olmo_1b": "OLMo-1B",
}  # fmt: skip


def rows_of_study(
    points: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]],
    costs: Sequence[Mapping[str, float]], network: Sequence[Mapping[str, Any]],
    network_costs: Sequence[Mapping[str, float]],
) -> pd.DataFrame:  # fmt: skip
    """All rows of the study; bits with five decimals.

    Args:
        points, results: of `arm_points` and `arm_runs`, in the same order. costs: of `reference_runs`, one per run.
        network, network_costs: of `arm_runs` and `reference_runs` for one large trained model; empty without one.

    Returns:
        Columns: what ("arm": bits of a whole run; "curve": bits of training batches; "reference"; and for the large
        model "protein", "network curve", "network reference"), replicate, arm, rate, step, protein, validation, bits.
    """
    parts = [row for point, made in zip(points, results, strict=True) for row in _run_rows(point["replicate"], made)]
    parts += [{"what": "reference", "replicate": r, "arm": name, "bits": made[name]}
              for r, made in enumerate(costs) for name in REFERENCES]  # fmt: skip
    parts += [row for made in network for row in _network_rows(made)]
    parts += [{"what": "network reference", "arm": name, "bits": made[name]}
              for made in network_costs for name in REFERENCES]  # fmt: skip
    columns = ["what", "replicate", "arm", "rate", "step", "protein", "validation", "bits"]
    rows = pd.DataFrame(parts, columns=columns).astype({"replicate": "Int64", "step": "Int64", "protein": "Int64"})
    return rows.astype({"validation": float}).round({"validation": 5, "bits": 5})


def _run_rows(replicate: int, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    residues = sum(result["residues"])
    rows = []
    for one in result["arms"]:
        label = {"replicate": replicate, "arm": one["arm"], "rate": one["rate"]}
        bits = sum(one["bits"]) / residues if one["bits"] else None  # a learning that diverged
        rows.append({"what": "arm", **label, "validation": one["validation"], "bits": bits})
        rows += [{"what": "curve", **label, **point} for point in thinned(one["losses"])]
    return rows


def _network_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for one in result["arms"]:
        label = {"replicate": 0, "arm": one["arm"], "rate": one["rate"]}
        each = enumerate(zip(one["bits"], result["residues"], strict=True))
        rows += [{"what": "protein", **label, "protein": i, "bits": bits / size} for i, (bits, size) in each]
        rows += [{"what": "network curve", **label, **point} for point in thinned(one["losses"])]
    return rows


def thinned(losses: Sequence[float], points: int = POINTS) -> list[dict[str, float]]:
    """A curve as at most `points` means of neighbouring steps; step is the first of each."""
    width = max(1, -(-len(losses) // points))
    return [{"step": first, "bits": float(np.mean(losses[first : first + width]))}
            for first in range(0, len(losses), width)]  # fmt: skip


def chosen(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run and arm: of a learnt arm, the rate with the fewest bits on the validation texts of that run.

    An arm that diverges at all rates in some run is left out.
    """
    rows = rows_of(runs, what="arm")
    kept = rows.sort_values("validation", kind="stable", na_position="last").drop_duplicates(["replicate", "arm"])
    diverged = {*kept.loc[kept["bits"].isna(), "arm"]}
    kept = kept[~kept["arm"].isin(diverged)]
    order = {arm: place for place, arm in enumerate(LABELS)}
    return kept.sort_values(["arm", "replicate"], key=lambda c: c.map(order) if c.name == "arm" else c)


def per_run(runs: pd.DataFrame, arm: str) -> np.ndarray:
    """Bits per residue of an arm or reference `[runs]`, in the order of runs."""
    if arm in REFERENCES:
        return rows_of(runs, what="reference", arm=arm).sort_values("replicate")["bits"].to_numpy()
    return rows_of(chosen(runs), arm=arm).sort_values("replicate")["bits"].to_numpy()


def scale_of(study: Study) -> Any:
    """The scale of the study."""
    assert study.scale_values is not None  # a study has its scale before it has runs
    return study.scale_values


def setting(study: Study) -> str:
    """What every caption must say about data, models and sizes."""
    scale = scale_of(study)
    proteins, model = DATASETS[scale.proteins["name"]], SOURCES[scale.sources[0].split()[0]]
    return (
        f"{proteins[0].upper()}{proteins[1:]}; {model}; {scale.problem['held_out']} held-out proteins a run, at most "
        f"{scale.problem['length']} residues of each; u = {scale.problem['targets']} target tokens; "
        f"{scale.learning['steps']} steps of {scale.learning['batch']} texts."
    )


def network_setting(study: Study) -> str:
    """The same for the one large trained model."""
    network = scale_of(study).network
    problem, learning, proteins = network["problem"], network["learning"], DATASETS[network["proteins"]["name"]]
    return (
        f"This trained network: {SOURCES[network['source']]}, one plan learnt in {learning['steps']} steps of "
        f"{learning['batch']} texts, from the source tokens made of amino-acid letters to u = {problem['targets']} "
        f"target tokens; {problem['held_out']} held-out {proteins}, at most {problem['length']} residues of each."
    )
