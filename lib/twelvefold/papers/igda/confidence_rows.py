"""Rows of runs.csv of the experiment on confidence, thin enough to be committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.core.frames import rounded
from twelvefold.core.reporting import mean_and_error
from twelvefold.papers.igda.confidence_study import RANKING, WHOLE
from twelvefold.papers.igda.plots.confidence import EXACT

GRAPH = "child"  # that claims are about
UNCERTAIN, RANDOM = "uncertainty", "random"
ONE, FEW, MANY = 1, 4, 16  # votes of the claims
SURE, UNSURE = 0.25, 4.0  # temperatures of the claims
Found = Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]  # points and their results


def column_of(policy: str, votes: int | None, of: str = WHOLE, temperature: float = 1.0) -> str:
    """Name of a column of areas per replicate, e.g. "random votes 4"; more is said where it is unusual."""
    unusual = ("" if of == WHOLE else f" of {of}") + ("" if temperature == 1 else f" temperature {temperature:g}")
    return f"{policy} votes {EXACT if votes is None else votes}{unusual}"


def kept_columns() -> set[str]:
    """The columns of areas per replicate that claims are decided from."""
    kept = {column_of(policy, votes) for policy in (UNCERTAIN, RANDOM) for votes in (ONE, FEW, MANY, None)}
    kept |= {column_of(UNCERTAIN, votes, RANKING) for votes in (ONE, FEW)}
    return kept | {column_of(UNCERTAIN, MANY, temperature=t) for t in (SURE, UNSURE)}


def rows_of_study(found: Mapping[str, Found]) -> pd.DataFrame:
    """All rows of the study, four significant digits.

    Args:
        found: points and results: "votes" and, with a manner, "stated" (of `confidence_runs`), "temperature" (of
            `temperature_runs`) and "reliability" (of `reliability_runs`).

    Returns:
        Columns: what, graph, votes ("exact" for infinitely many), temperature, bias, of, replicates, policy and: for
        "replicate" (one row per block of replicates of `GRAPH`) replicate, `kept_columns` and the gaps; for "votes"
        and "stated" (one per point and policy) area, first, last and, for all but random tests, gain over random
        tests of the same replicates; for "temperature" changed; for "bin" moment, belief, share and pairs; for "fit"
        moment, expected_error, belief, share and gap.
    """
    parts = [_replicates(found), *(_means("votes", *each) for each in found["votes"])]
    for point, result in found["temperature"]:
        parts.append(pd.DataFrame(result["columns"]).assign(what="temperature", graph=point["graph"]))
    for point, result in found["reliability"]:
        parts += [pd.DataFrame(result[name]).assign(what=what, **_identity(point))
                  for name, what in (("bins", "bin"), ("means", "fit"))]  # fmt: skip
    parts += [_means("stated", *each) for each in found["stated"]]
    rows = pd.concat([part.dropna(axis=1, how="all") for part in parts], ignore_index=True)
    numbers = rows.select_dtypes("float").columns
    rows[numbers] = rounded(rows[numbers], 4)
    for name in ("replicate", "replicates", "changed", "pairs"):
        rows[name] = rows[name].astype("Int64")  # whole numbers beside empty cells
    first = ["what", "graph", "votes", "temperature", "bias", "of", "replicates", "policy", "moment"]
    return rows[[*first, *rows.columns.drop(first)]]


def _means(what: str, point: Mapping[str, Any], result: Mapping[str, Any]) -> pd.DataFrame:
    means = pd.DataFrame(result["means"])
    gains = [_gain(result["area"], policy) for policy in means["policy"]]
    return means.assign(what=what, gain=[g for g, _ in gains], gain_se=[e for _, e in gains], **_identity(point))


def _identity(point: Mapping[str, Any]) -> dict[str, Any]:
    skill = point["skill"]
    votes = skill.get("votes")
    return {"graph": point["graph"], "votes": EXACT if votes is None else str(votes), "of": point.get("of", WHOLE),
            "temperature": skill.get("temperature", 1.0), "bias": skill.get("bias", 0.0),
            "replicates": point["replicates"]}  # fmt: skip


def _gain(areas: Mapping[str, Sequence[float]], policy: str) -> tuple[float, float]:
    """Mean gain over random tests and its standard error; NaN where there are none to compare with."""
    if policy == RANDOM or RANDOM not in areas:
        return float("nan"), float("nan")
    return mean_and_error(np.array(areas[policy]) - np.array(areas[RANDOM]))


def _replicates(found: Mapping[str, Found]) -> pd.DataFrame:
    kept, columns = kept_columns(), {}
    for point, result in found["votes"]:
        skill = point["skill"]
        for policy, values in result["area"].items():
            name = column_of(policy, skill.get("votes"), point.get("of", WHOLE), skill.get("temperature", 1.0))
            if point["graph"] == GRAPH and name in kept:
                columns[name] = pd.Series(values)
    for point, result in found["reliability"]:
        if point["graph"] == GRAPH and _identity(point)["votes"] == EXACT and point["policies"]:
            columns |= {f"gap {moment}": pd.Series(values) for moment, values in result["gaps"].items()}
    frame = pd.DataFrame(columns)  # fewer replicates leave empty cells
    return frame.assign(what="replicate", graph=GRAPH, replicate=range(len(frame)))
