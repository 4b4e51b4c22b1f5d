"""Populations of ingredients: their scale per preset, their points, and the sweep function that trains one.

A module of its own, so that trained populations stay valid when the experiments on them change.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.papers.weight_ensembles.images import Task, mnist_task
from twelvefold.papers.weight_ensembles.officehome import officehome_task
from twelvefold.papers.weight_ensembles.training import draw_members, fine_tune, initial_weights

TASKS: dict[str, Callable[[int, int, int], Task]] = {"mnist5k": mnist_task, "officehome": officehome_task}

# What the notebooks share, so that they ask for literally the same populations.
SCALES: dict[str, dict[str, Any]] = {
    "quick": {
        "data": "mnist5k", "architecture": "mlp", "size": 14, "members": 24, "replicates": 12, "steps": 200,
        "batch": 16, "regime": "heterogeneous",
    },
    "gpu": {
        "data": "mnist5k", "architecture": "cnn", "size": 28, "members": 128, "replicates": 20, "steps": 1000,
        "batch": 16, "regime": "heterogeneous",
    },
    "paper": {
        "data": "officehome", "architecture": "resnet50", "size": 224, "members": 60, "replicates": 12, "steps": 5001,
        "batch": 96, "regime": "diwa",
    },
}  # fmt: skip


def population_points(scale: SimpleNamespace, seed: int, regime: str | None = None) -> list[dict[str, Any]]:
    """The points of `population`, one per replicate, for a scale that holds the names of `SCALES`.

    All notebooks call this, so that the points are equal and every population is trained once.
    """
    return [
        {
            "seed": seed, "replicate": replicate, "data": scale.data, "architecture": scale.architecture,
            "size": scale.size, "members": scale.members, "steps": scale.steps, "batch": scale.batch,
            "regime": regime or scale.regime, "initialisation": "shared",
        }
        for replicate in range(scale.replicates)
    ]  # fmt: skip


def load_task(data: str, seed: int, replicate: int, size: int) -> Task:
    """The data of one replicate; ValueError names the known data sets."""
    if data not in TASKS:
        raise ValueError(f"data is {data!r}; known are {list(TASKS)}")
    return TASKS[data](seed, replicate, size)


def population(
    seed: int, replicate: int, data: str, architecture: str, size: int, members: int, steps: int, batch: int,
    regime: str, initialisation: str, device: str | torch.device = "cpu", checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train the ingredients of one replicate.

    Args:
        seed, replicate: whose split, initial weights, hyperparameters, batches and masks are drawn.
        data, size: "mnist5k" or "officehome", and the edge of an image in pixels.
        architecture: "mlp", "cnn" or "resnet50".
        members, steps, batch: N ingredients, at most so many updates of so many images.
        regime: ranges of the hyperparameters, see `training.REGIMES`.
        initialisation: "shared", or "different": every member has its own initial weights and pretraining.

    Returns:
        initial `[1, P]` or `[N, P]`, weights `[N, P]`, and the members' hyperparameters `[N]`.
    """
    where = torch.device(device)
    task = load_task(data, seed, replicate, size)
    domains = int(task.training.domains.max()) + 1
    drawn = draw_members(seed, replicate, members, steps, domains, regime)
    model, initial = initial_weights(task, architecture, seed, replicate, members, initialisation, where)
    weights = fine_tune(model, initial, task, drawn, regime, batch, seed, replicate, where, checkpoint)
    return {
        "initial": initial, "weights": weights, "learning_rate": drawn.learning_rate, "dropout": drawn.dropout,
        "weight_decay": drawn.weight_decay, "steps": drawn.steps,
    }  # fmt: skip
