"""The completion networks of notebook 03: their scale per preset, and the points of the sweeps that train and score
them."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch

from twelvefold.nn.stacked import count
from twelvefold.papers.ddeq.completion import architecture, draw_completion
from twelvefold.papers.ddeq.completion_scores import BASELINES

DDEQ, ONE_APPLICATION, PCN = "DDEQ", "one application", "PCN"
TRAINED = (DDEQ, ONE_APPLICATION, PCN)

# what the authors' completion networks have: the sizes of F, and PCN's own defaults
AUTHORS: dict[str, tuple[str, dict[str, Any]]] = {DDEQ: ("ddeq", {"cross_layers": 3}), PCN: ("pcn", {})}

# Reasons stand in the scale cell of the notebook.
SCALES: dict[str, dict[str, Any]] = {
    "quick": {
        "data": "mnist5k", "train": 4_000, "test": 200, "observed": 25, "points": 32, "test_points": 100, "runs": 5,
        "shard": 5, "shown": 8,
        "network": {"width": 16, "narrow": 16, "heads": 2, "hidden": 32, "cross_layers": 1, "pooling": "mean"},
        "solver": {"steps": 3, "step_size": 5.0},
        "recipe": {
            "steps": 160, "batch": 32, "learning_rate": 1e-2, "warmup": 16, "decay": "cosine", "clip": 1.0,
            "entropy": 1e-6, "late": None,
        },
        "pcn": {
            "dense": 32, "latent": 64, "point_widths": [32, 32], "shared_width": 64, "decoder": [64, 64],
            "folding": [32, 32], "grid": 2,
        },
        "pcn_recipe": {
            "steps": 160, "batch": 32, "learning_rate": 1e-2, "warmup": 16, "decay": "cosine", "clip": 1.0,
            "alpha_at": [16, 32, 80],
        },
    },
    "gpu": {
        "data": "mnist5k", "train": 4_000, "test": 500, "observed": 100, "points": 128, "test_points": None, "runs": 5,
        "shard": 5, "shown": 8,
        "network": {"cross_layers": 3, "dropout": 0.0}, "solver": {"steps": 50, "step_size": 5.0},
        "recipe": {
            "steps": 372, "batch": 64, "learning_rate": 1e-3, "warmup": 37, "decay": "cosine", "clip": 1.0,
            "entropy": 1e-6, "late": None,
        },
        "pcn": {"dense": 128, "grid": 2},
        "pcn_recipe": {
            "steps": 372, "batch": 64, "learning_rate": 1e-3, "warmup": 37, "decay": "cosine", "clip": 1.0,
            "alpha_at": [37, 74, 186],
        },
    },
    "paper": {
        "data": "mnist60k", "train": None, "test": None, "observed": None, "points": None, "test_points": None,
        "runs": 5, "shard": 1, "shown": 8,
        "network": {"cross_layers": 3, "dropout": 0.1},
        "solver": {"steps": 200, "step_size": 5.0, "tolerance": 1e-4, "check_every": 100},
        "recipe": {
            "steps": 4_685, "batch": 64, "learning_rate": 1e-3, "warmup": 0, "decay": "step", "factor": 0.2, "every": 2,
            "clip": None, "entropy": 1e-6, "late": {"from_epoch": 4, "steps": 1_000, "step_size": 1.0},
        },
        "pcn": {"dense": 16_384},
        "pcn_recipe": {
            "steps": 4_685, "batch": 64, "learning_rate": 1e-4, "warmup": 0, "decay": "constant", "clip": None,
            "alpha_at": [10_000, 20_000, 50_000],
        },
    },
}  # fmt: skip


def training_points(scale: SimpleNamespace, seed: int, arm: str) -> list[dict[str, Any]]:
    """The points of `train_completion` that together train an arm of `TRAINED`, in shards of members.

    Raises:
        ValueError: an arm that is not trained.
    """
    if arm not in TRAINED:
        raise ValueError(f"arm = {arm!r}; trained are {list(TRAINED)}")
    if arm == PCN:
        own: dict[str, Any] = {"kind": "pcn", "sizes": scale.pcn, "recipe": scale.pcn_recipe, "solver": None}
    else:
        recipe, solver = dict(scale.recipe), dict(scale.solver)
        if arm == ONE_APPLICATION:  # nothing is solved, early or late
            recipe["late"], solver["steps"] = None, 0
        own = {"kind": "ddeq", "sizes": scale.network, "recipe": recipe, "solver": solver}
    return [own | part for part in _shards(scale, seed)]


def _shards(scale: SimpleNamespace, seed: int) -> list[dict[str, Any]]:
    data = {"name": scale.data, "train": scale.train, "test": scale.test, "observed": scale.observed,
            "points": scale.points, "test_points": scale.test_points}  # fmt: skip
    members = list(range(scale.runs))
    parts = [members[first : first + scale.shard] for first in range(0, scale.runs, scale.shard)]
    return [{"data": data, "seed": seed, "members": part} for part in parts]


def scoring_points(scale: SimpleNamespace, seed: int) -> list[dict[str, Any]]:
    """The points of `evaluate_completion` for all arms; test clouds of the first shard are shown."""
    points: list[dict[str, Any]] = []
    for arm in (*TRAINED, *BASELINES):
        trainings = training_points(scale, seed, arm) if arm in TRAINED else [None] * len(_shards(scale, seed))
        for number, (training, shard) in enumerate(zip(trainings, _shards(scale, seed), strict=True)):
            points.append({"arm": arm, "training": training, "shown": 0 if number else scale.shown, **shard})
    return points


def parameters(kind: str, sizes: Mapping[str, Any]) -> int:
    """Number of parameters of a completion network, see `completion.architecture`."""
    drawn = draw_completion(architecture(kind, sizes), torch.Generator().manual_seed(0))
    return count({name: weight[None] for name, weight in drawn.items()})
