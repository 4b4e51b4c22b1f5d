"""Rows of result 5: the learning rate that serves each variant best, and everything that figures and claims need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from twelvefold.core.frames import rounded
from twelvefold.papers.s2t2.anatomy_study import BASE, name_of, weighted

ENDS = ("bits", "first_bits", "embedding_scale", "head_scale")
MEASURES = ("support", "effective", "single", "misplaced", "letters", "shared", "letters_of_mass")
FREQUENT, SHOWN = 12, 4  # target tokens that are described, and source tokens of each


def chosen(points: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The learning rate that serves each variant of each run best on texts that are neither learnt nor held out.

    Args:
        points, results: of `anatomy_run`.

    Returns:
        One dict per run and variant, in the order of the points: replicate, name, rate, result.

    Raises:
        ValueError: several rates for one variant and run, without texts to choose by.
    """
    best: dict[tuple[int, str], dict[str, Any]] = {}
    for point, result in zip(points, results, strict=True):
        name = name_of(point["variant"])
        made = {"replicate": point["replicate"], "name": name, "rate": point["rate"], "result": result}
        rival = best.setdefault((point["replicate"], name), made)
        if rival is not made:
            if result["validation_bits"] is None:
                raise ValueError(f"variant {name!r} was learnt at rates {rival['rate']} and {point['rate']} with "
                                 "validation = 0; texts to choose by are needed")  # fmt: skip
            best[point["replicate"], name] = min(rival, made, key=lambda one: one["result"]["validation_bits"])
    return list(best.values())


def rows_of_study(compressed: Sequence[Mapping[str, Any]], learnt: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """All rows of the study, five significant digits.

    Args:
        compressed: results of `compression_run`, in the order of data draws. learnt: from `chosen`.

    Returns:
        Columns: what, replicate, and by what: "compression" (kind, name, tokens, bytes_per_token, bits), "reference"
        (name, bits), "variant" (name, rate, bits, first_bits, embedding_scale, head_scale, and `MEASURES` at the end),
        "step" (name, step, and `MEASURES`), "token" (rank, token, frequency, and source tokens with their weights: the
        unchanged method in the first run).
    """
    parts = []
    for replicate, result in enumerate(compressed):
        references = result["references"]
        parts.append(pd.DataFrame(result["columns"]).assign(what="compression", replicate=replicate))
        named = {"name": list(references), "bits": list(references.values())}
        parts.append(pd.DataFrame(named).assign(what="reference", replicate=replicate))
    for one in learnt:
        result, fixed = one["result"], {"replicate": one["replicate"], "name": one["name"]}
        steps = pd.DataFrame(result["columns"])
        ends = {name: result[name] for name in ENDS}
        last = steps.drop(columns="step").iloc[[-1]]
        parts.append(last.assign(what="variant", rate=one["rate"], **ends, **fixed))
        parts.append(steps.assign(what="step", **fixed))
    parts.append(_tokens(next(one["result"] for one in learnt if one["name"] == BASE)))
    rows = pd.concat([part.dropna(axis=1, how="all") for part in parts], ignore_index=True)
    numbers = rows.select_dtypes("float").columns
    rows[numbers] = rounded(rows[numbers], 5)
    rows["misplaced"] = rows["misplaced"].round(5)  # what lies below is the rounding of float32, and the machine's
    for name in ("replicate", "tokens", "step", "rank"):
        rows[name] = rows[name].astype("Int64")  # whole numbers beside empty cells
    first = ["what", "replicate", "name"]
    return rows[[*first, *rows.columns.drop(first)]]


def _tokens(result: Mapping[str, Any]) -> pd.DataFrame:
    """The most frequent target tokens; source tokens and weights stand in one text, heaviest first."""
    rows = [{"rank": rank, "token": made["token"], "frequency": made["frequency"],
             "sources": weighted(made["sources"][:SHOWN])}
            for rank, made in enumerate(result["tokens"][:FREQUENT], 1)]  # fmt: skip
    return pd.DataFrame(rows).assign(what="token", replicate=0, name=BASE)
