"""The classifiers that notebooks 01, 02 and 05 share: their scale per preset, and the points of the sweep that trains
them.

Notebooks build their points here, so that equal populations are literally equal points and are trained once.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch

from twelvefold.core import data as datasets
from twelvefold.core.sweep import sweep
from twelvefold.papers.ddeq.classification import DIMENSIONS, evaluate_classifiers, train_classifiers, trained
from twelvefold.papers.ddeq.cloud_batches import Stacked, stacked
from twelvefold.papers.ddeq.network import NetworkConfig

DDEQ, ONE_APPLICATION = "DDEQ", "one application"

_PAPER_NETWORK: dict[str, Any] = {"width": 128, "heads": 32, "hidden": 512, "narrow": 16, "dropout": 0.1}
_POINTNET: dict[str, Any] = {"widths": [64, 128, 1024], "head": [512, 256], "transform_head": [512, 256]}
# as many parameters as the paper's DDEQ, within 1 %
_MATCHED_POINTNET: dict[str, Any] = {
    "widths": [64, 128, 512], "head": [400, 256], "transform_widths": [64, 128, 512], "transform_head": [400, 256],
}  # fmt: skip
_MATCHED_DEEPSETS: dict[str, Any] = {"widths": [256, 512, 512], "head": [512, 256]}

# Reasons stand in the scale cell of 02. `baselines`: label, kind, sizes and what differs in the recipe.
SCALES: dict[str, dict[str, Any]] = {
    "quick": {
        "data": "mnist5k", "train": 4_000, "test": 1_000, "points": 32, "runs": 5, "shard": 5,
        "network": {"width": 16, "heads": 4, "hidden": 32, "narrow": 16, "pooling": "mean"}, "particles": 6,
        "solver": {"steps": 5, "step_size": 5.0},
        "recipe": {
            "steps": 320, "batch": 32, "learning_rate": 3e-3, "warmup": 32, "decay": "cosine", "clip": None,
            "weight_decay": 0.0, "record_at": [80, 160, 320], "late": None,
        },
        "baselines": [
            {"label": "PointNet", "kind": "pointnet",
             "sizes": {"widths": [16, 32, 64], "head": [128, 64], "transform_head": [64, 32]}},
            {"label": "DeepSets, matched", "kind": "deepsets", "sizes": {"widths": [64, 64], "head": [96, 32]}},
        ],
        "three_d": None,
    },
    "gpu": {
        "data": "mnist5k", "train": 4_000, "test": 1_000, "points": None, "runs": 5, "shard": 5,
        "network": _PAPER_NETWORK, "particles": 10, "solver": {"steps": 50, "step_size": 5.0},
        "recipe": {
            "steps": 1_240, "batch": 64, "learning_rate": 1e-3, "warmup": 62, "decay": "cosine", "clip": 1.0,
            "weight_decay": 0.0, "record_at": [310, 620, 1_240], "late": None,
        },
        "baselines": [
            {"label": "PointNet", "kind": "pointnet", "sizes": _POINTNET},
            {"label": "PointNet, matched", "kind": "pointnet", "sizes": _MATCHED_POINTNET},
            {"label": "DeepSets, matched", "kind": "deepsets", "sizes": _MATCHED_DEEPSETS},
            {"label": "Point Transformer", "kind": "point_transformer", "sizes": {}},
        ],
        "three_d": None,
    },
    "paper": {
        "data": "mnist60k", "train": None, "test": None, "points": None, "runs": 5, "shard": 1,
        "network": _PAPER_NETWORK, "particles": 10,
        "solver": {"steps": 200, "step_size": 5.0, "tolerance": 1e-4, "check_every": 100},
        "recipe": {
            "steps": 4_685, "batch": 64, "learning_rate": 1e-3, "warmup": 0, "decay": "step", "factor": 0.2, "every": 2,
            "clip": None, "weight_decay": 0.0, "record_at": [937, 2_811, 4_685],
            "late": {"from_epoch": 4, "steps": 1_000, "step_size": 1.0},
        },
        "baselines": [
            {"label": "PointNet", "kind": "pointnet", "sizes": _POINTNET},
            {"label": "PointNet, matched", "kind": "pointnet", "sizes": _MATCHED_POINTNET},
            {"label": "DeepSets, matched", "kind": "deepsets", "sizes": _MATCHED_DEEPSETS},
            {"label": "Point Transformer", "kind": "point_transformer", "sizes": {}},
        ],
        "three_d": {
            "data": "modelnet40", "network": {**_PAPER_NETWORK, "cross_layers": 3},
            "recipe": {"steps": 3_060, "every": 8, "factor": 0.1, "record_at": [765, 1_530, 3_060],
                       "late": {"from_epoch": 15, "steps": 1_000, "step_size": 1.0}},
        },
    },
}  # fmt: skip


def ddeq_points(scale: SimpleNamespace, seed: int, **changes: Any) -> list[dict[str, Any]]:
    """The points of `train_classifiers` that together train the equilibrium models of a scale, in shards of members.

    Args:
        scale: holds the names of `SCALES`.
        seed: base seed.
        changes: of the inner solver, e.g. `steps=0` (one application of F).
    """
    recipe = dict(scale.recipe)
    if changes.get("steps") == 0:
        recipe["late"] = None  # nothing is solved, early or late
    common = {
        "kind": "ddeq", "sizes": scale.network, "solver": scale.solver | changes, "particle_count": scale.particles,
        "recipe": recipe,
    }  # fmt: skip
    return _shards(scale, seed, common)


def baseline_points(scale: SimpleNamespace, seed: int, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points of `train_classifiers` of one of `scale.baselines`."""
    recipe = {**scale.recipe, "late": None, **entry.get("recipe", {})}
    common = {"kind": entry["kind"], "sizes": entry["sizes"], "solver": None, "particle_count": 0, "recipe": recipe}
    return _shards(scale, seed, common)


def _shards(scale: SimpleNamespace, seed: int, common: Mapping[str, Any]) -> list[dict[str, Any]]:
    data = {"name": scale.data, "train": scale.train, "test": scale.test, "points": scale.points}
    members = list(range(scale.runs))
    parts = [members[first : first + scale.shard] for first in range(0, scale.runs, scale.shard)]
    return [{**common, "data": data, "seed": seed, "members": part} for part in parts]


def all_points(scale: SimpleNamespace, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The points of every arm by its label: DDEQ, one application of the same F, and the baselines; of DDEQ and
    PointNet also those on 3-D shapes, where the scale has them and the reader has the data."""
    arms = {DDEQ: ddeq_points(scale, seed), ONE_APPLICATION: ddeq_points(scale, seed, steps=0)}
    arms |= {entry["label"]: baseline_points(scale, seed, entry) for entry in scale.baselines}
    if scale.three_d is not None and datasets.status(scale.three_d["data"]).present:
        changes = {"recipe": {**scale.recipe, **scale.three_d["recipe"]}}
        solid = SimpleNamespace(**(vars(scale) | scale.three_d | changes))
        arms[DDEQ] += ddeq_points(solid, seed)
        first = scale.baselines[0]
        arms[first["label"]] += baseline_points(solid, seed, first)
    return arms


def train_populations(
    arms: Mapping[str, list[dict[str, Any]]], device: str | torch.device
) -> dict[str, list[dict[str, Any]]]:
    """Results of `train_classifiers` of every arm, one per shard."""
    points = [point for own in arms.values() for point in own]
    results = iter(sweep(train_classifiers, points, device=device, label="training classifiers"))
    return {label: [next(results) for _ in own] for label, own in arms.items()}


def score_arm(
    points: list[dict[str, Any]], device: str | torch.device, **evaluation: Any
) -> list[dict[str, Any]]:
    """Results of `evaluate_classifiers` (with the arguments `evaluation`) of an arm, one per shard."""
    asked = [{"training": point, **evaluation} for point in points]
    return sweep(evaluate_classifiers, asked, device=device, label="scoring")


def config_of(point: Mapping[str, Any]) -> NetworkConfig:
    """The network F of a point that trains equilibrium models."""
    return NetworkConfig(dimension=DIMENSIONS[point["data"]["name"]], **point["sizes"])


def networks(
    points: list[dict[str, Any]], device: str | torch.device
) -> list[tuple[NetworkConfig, dict[str, torch.Tensor], Stacked]]:
    """Per shard: F, the trained weights (with those of the head) and the test clouds of its members."""
    made = []
    for point, result in zip(points, sweep(train_classifiers, points, device=device), strict=True):
        data = point["data"]
        _, test = stacked(data["name"], point["seed"], point["members"], data["train"], data["test"], data["points"])
        made.append((config_of(point), trained(result, device)[0], test.to(device)))
    return made
