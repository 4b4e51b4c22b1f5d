"""Grammar populations over shares of centre-embedded declaratives: their scale per preset, and the sweep's points.

Everybody builds these points here, so that equal populations are literally equal points and are trained once.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from twelvefold.tasks.rule_following import rule_curves

# Reasons stand in the notebooks' scale cells. `longest` drops templates whose whole sequence has more ids.
SCALES: dict[str, dict[str, Any]] = {
    "quick": {
        "lexicon": "full", "longest": 23, "items": 20_000, "width": 32, "layers": 4, "heads": 2, "norm": "pre",
        "activation": "gelu", "tied_head": False, "dropout": 0.0, "batch": 16, "steps": 700, "learning_rate": 3e-3,
        "warmup": 0.05, "beta2": 0.98, "records": 13, "ood_items": 120, "id_items": 60, "runs": 6, "shard": 6,
        "precision": "float32", "shares": [0.0, 0.5, 1.0],
    },
    "gpu": {
        "lexicon": "full", "longest": None, "items": 100_000, "width": 128, "layers": 4, "heads": 4, "norm": "post",
        "activation": "relu", "tied_head": True, "dropout": 0.1, "batch": 8, "steps": 12_000, "learning_rate": 1e-3,
        "warmup": 0.05, "beta2": 0.999, "records": 26, "ood_items": 400, "id_items": 200, "runs": 64, "shard": 64,
        "precision": "bfloat16", "shares": [0.0, 0.05, 0.2, 0.5, 1.0],
    },
    "paper": {
        "lexicon": "full", "longest": None, "items": 100_000, "width": 512, "layers": 6, "heads": 8, "norm": "post",
        "activation": "relu", "tied_head": True, "dropout": 0.1, "batch": 8, "steps": 300_000, "learning_rate": 1e-4,
        "warmup": 1 / 30, "beta2": 0.999, "records": 151, "ood_items": 10_000, "id_items": 1_000, "runs": 50,
        "shard": 5, "precision": "float32", "shares": [0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0],
    },
}  # fmt: skip


def record_times(steps: int, records: int) -> list[int]:
    """`records` step numbers from 0 to `steps`, evenly spaced (rounded)."""
    return np.linspace(0, steps, records).round().astype(int).tolist()


def population_point(
    scale: SimpleNamespace, seed: int, mixes: Sequence[dict[str, Any]], members: Sequence[Sequence[int]],
    task: str = "question", kept: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """The point of `grammar_population` for some members, at a scale that holds the names of `SCALES`.

    `mixes` are without lexicon and longest, which the scale gives; `members` are [mix, initial, order].
    """
    return {
        "task": task, "seed": seed, "items": scale.items, "batch": scale.batch,
        "mixes": [{**mix, "lexicon": scale.lexicon, "longest": scale.longest} for mix in mixes],
        "members": [list(member) for member in members],
        "architecture": {
            "width": scale.width, "layers": scale.layers, "heads": scale.heads, "feedforward": 4 * scale.width,
            "norm": scale.norm, "activation": scale.activation, "tied_head": scale.tied_head,
            "dropout": scale.dropout,
        },
        "recipe": {
            "steps": scale.steps, "learning_rate": scale.learning_rate, "warmup": round(scale.warmup * scale.steps),
            "beta2": scale.beta2, "epsilon": 1e-7, "precision": scale.precision,
        },
        "record_at": record_times(scale.steps, scale.records),
        "ood_items": scale.ood_items, "id_items": scale.id_items, "kept": kept,
    }  # fmt: skip


def share_points(scale: SimpleNamespace, seed: int, shares: Sequence[float] | None = None) -> list[dict[str, Any]]:
    """One point per share of centre-embedded declaratives, of `scale.runs` members each.

    Member r has the same initial weights, dropout and data order at every share, and a member of one share sees the
    questions of all others: the shares are paired by r.
    """
    members = [[0, r, r] for r in range(scale.runs)]
    return [
        population_point(scale, seed, [{"center_embedded": share}], members, kept=min(8, scale.runs))
        for share in (scale.shares if shares is None else shares)
    ]


def share_runs(points: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Tidy curves of `share_points`: share, replicate, step, then the columns of `rule_curves`."""
    frames = []
    for point, result in zip(points, results, strict=True):
        frame = rule_curves(point, result).drop(columns=["mix", "order"]).rename(columns={"initial": "replicate"})
        frame.insert(0, "share", point["mixes"][0]["center_embedded"])
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
