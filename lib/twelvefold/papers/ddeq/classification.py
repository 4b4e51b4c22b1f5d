"""Training classifiers of point clouds as populations, and scoring them on their test clouds: functions for sweeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import torch_generator
from twelvefold.core.sweep import sweep
from twelvefold.nn.batch_norm import Recorder, average
from twelvefold.nn.counter_random import mask_keys
from twelvefold.nn.learning_rate import learning_rate
from twelvefold.nn.stacked import Weights, stack
from twelvefold.nn.stacked_training import Optimiser, train
from twelvefold.papers.ddeq.classifiers import (
    Architecture,
    architecture,
    baseline_logits,
    draw_member,
    head,
    recorded,
    uses_moments,
)
from twelvefold.papers.ddeq.cloud_batches import Order, Stacked, particles, stacked
from twelvefold.papers.ddeq.equilibrium import Solver, applied, equilibrium, residual, solve
from twelvefold.papers.ddeq.network import NetworkConfig, encode

CLASSES = {"mnist5k": 10, "mnist60k": 10, "modelnet40": 40}
DIMENSIONS = {"mnist5k": 2, "mnist60k": 2, "modelnet40": 3}
_WEIGHT, _MOMENT = "weight/", "moment/"
_MOMENT_BATCHES = 10
_TEST_CLOUDS = 250  # at a time, and those of the curve in training


def train_classifiers(
    kind: str, sizes: dict[str, Any], data: dict[str, Any], recipe: dict[str, Any], solver: dict[str, Any] | None,
    particle_count: int, seed: int, members: list[int], device: str | torch.device = "cpu",
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train the members of a population of classifiers.

    Args:
        kind, sizes: see `classifiers.architecture`.
        data: `name`, `train`, `test`, `points`, see `cloud_batches.stacked`.
        recipe: `steps`, `batch`, `learning_rate`, `warmup` (updates), `decay` ("cosine", "linear", "constant", or
            "step": times `factor` every `every` epochs), `clip`, `weight_decay`; `record_at`: updates after which the
            test accuracy is recorded; `late` (None, or `from_epoch` and the changes of the solver from then on).
        solver: of the inner problem, see `equilibrium.Solver`; None for a baseline. 0 steps is one application of F.
        particle_count: N of an equilibrium model.
        seed, members: base seed and replicates.

    Returns:
        final weights and moments of batch normalisation under names that `trained` finds, and `accuracy [P, C]` on the
        first 250 test clouds (for an equilibrium model, of F applied to the particles found).
    """
    model = architecture(kind, sizes, DIMENSIONS[data["name"]], CLASSES[data["name"]])
    training, test = (part.to(device) for part in stacked(data["name"], seed, members, data["train"], data["test"],
                                                          data["points"]))  # fmt: skip
    order = Order(seed, members, training.labels.shape[1], recipe["batch"])
    weights = stack([draw_member(model, torch_generator(seed, member, "initial weights")) for member in members])
    solvers = None if solver is None else _solvers(solver, recipe, order)
    draws = _Draws(seed, members, particle_count, mask_keys(seed, members, "dropout").to(device))
    loss = _losses(model, training, order, solvers, draws)
    made = train(
        loss, {name: weight.to(device) for name, weight in weights.items()}, _optimiser(recipe, order.per_epoch),
        at=recipe["record_at"], checkpoint=checkpoint, label=f"training {kind}",
        record=lambda now, step: {"accuracy": _accuracy(model, now, training, test, solvers, draws, order, step)},
    )  # fmt: skip
    moments = _moments(model, made.weights, training, order)
    return {_WEIGHT + name: value for name, value in made.weights.items()} | {
        _MOMENT + name: value for name, value in moments.items()
    } | made.records


class _Draws:
    """Start particles and dropout keys of a population."""

    def __init__(self, seed: int, members: Sequence[int], count: int, keys: Tensor) -> None:
        self.seed, self.members, self.count, self.keys = seed, members, count, keys

    def start(self, purpose: str, clouds: int, config: NetworkConfig) -> Tensor:
        shape = (clouds, self.count, config.width)
        return particles(self.seed, self.members, purpose, shape).to(self.keys.device)


def _solvers(solver: Mapping[str, Any], recipe: Mapping[str, Any], order: Order) -> Callable[[int], Solver]:
    """The inner solver of every update; late in training it may be a more careful one (the authors' schedule)."""
    early, late = Solver(**solver), recipe.get("late")
    if late is None:
        return lambda step: early
    changes = {name: value for name, value in late.items() if name != "from_epoch"}
    careful, first = Solver(**(dict(solver) | changes)), late["from_epoch"] * order.per_epoch
    return lambda step: careful if step >= first else early


def _optimiser(recipe: Mapping[str, Any], per_epoch: int) -> Optimiser:
    steps, peak = recipe["steps"], recipe["learning_rate"]

    def rate(step: int) -> float:
        if recipe["decay"] == "step":
            return peak * recipe["factor"] ** (step // per_epoch // recipe["every"])
        return learning_rate(step, peak=peak, steps=steps, warmup=recipe["warmup"], decay=recipe["decay"])

    return Optimiser(steps, rate, recipe["weight_decay"], recipe["clip"])


def _losses(
    model: Architecture, training: Stacked, order: Order, solvers: Callable[[int], Solver] | None, draws: _Draws
) -> Callable[[Weights, int], Tensor]:
    def loss(weights: Weights, step: int) -> Tensor:
        batch = training.rows(order(step).to(training.labels.device))
        if isinstance(model.config, NetworkConfig):
            assert solvers is not None
            start = draws.start(f"particles {step}", order.batch, model.config)
            found = equilibrium(model.config, weights, batch.points, batch.mask, start, solvers(step),
                                keys=draws.keys, draw=step)  # fmt: skip
            logits = head(weights, found.output)
        else:
            logits = baseline_logits(model, weights, batch.points, batch.mask, Recorder(), draws.keys, step)
        losses = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="none")
        return losses.view(batch.labels.shape).mean(1)

    return loss


@torch.no_grad()
def _moments(model: Architecture, weights: Weights, training: Stacked, order: Order) -> dict[str, Tensor]:
    """Moments of batch normalisation over the first batches of the first epoch; none where there is none."""
    if not uses_moments(model):
        return {}
    batches = [training.rows(order(step).to(training.labels.device))
               for step in range(min(_MOMENT_BATCHES, order.per_epoch))]  # fmt: skip
    return average([recorded(model, weights, batch.points, batch.mask) for batch in batches])


def _accuracy(
    model: Architecture, weights: Weights, training: Stacked, test: Stacked,
    solvers: Callable[[int], Solver] | None, draws: _Draws, order: Order, step: int,
) -> Tensor:  # fmt: skip
    """Accuracy `[P]` on the first test clouds in training: of F applied to the particles found, or of a baseline."""
    test = test.part(slice(0, _TEST_CLOUDS))
    if solvers is None:
        return _baseline_right(model, weights, test, _moments(model, weights, training, order)).float().mean(1)
    assert isinstance(model.config, NetworkConfig)
    right = _equilibrium_scores(model.config, weights, test, solvers(step), [solvers(step).steps], draws)["applied"]
    return right[:, 0].float().mean(1)


@torch.no_grad()
def _baseline_right(model: Architecture, weights: Weights, test: Stacked, moments: Mapping[str, Tensor]) -> Tensor:
    """Whether each test cloud is classified correctly, bool `[P, n]`."""
    right = []
    for first in range(0, test.labels.shape[1], _TEST_CLOUDS):
        part = test.part(slice(first, first + _TEST_CLOUDS))
        logits = baseline_logits(model, weights, part.points, part.mask, dict(moments))
        right.append(logits.argmax(-1) == part.labels)
    return torch.cat(right, 1)


@torch.no_grad()
def _equilibrium_scores(
    config: NetworkConfig, weights: Weights, test: Stacked, solver: Solver, steps: Sequence[int], draws: _Draws
) -> dict[str, Tensor]:
    """Scores after each number of inner steps, S of them: `found` and `applied`, bool `[P, S, n]` (right from Z_t and
    from F(Z_t)), and `residual [P, S, n]`."""
    start = draws.start("test particles", test.labels.shape[1], config)
    pieces = []
    for first in range(0, test.labels.shape[1], _TEST_CLOUDS):
        chosen = slice(first, first + _TEST_CLOUDS)
        part, z = test.part(chosen), start[:, chosen]
        apply = applied(config, weights, encode(config, weights, part.points, part.mask))
        scores: list[tuple[Tensor, Tensor, Tensor]] = []
        for before, now in zip([0, *steps[:-1]], steps, strict=True):
            # with a constant step size a flow of 10 steps is one of 5 steps and then 5 more
            z = solve(apply, z, _shortened(solver, now - before)).particles
            after = apply(z)
            found, moved = (head(weights, rows).argmax(-1) == part.labels for rows in (z, after))
            scores.append((found, moved, residual(z, after)))
        pieces.append([torch.stack(column, 1) for column in zip(*scores, strict=True)])
    names = ("found", "applied", "residual")
    return {name: torch.cat([piece[i] for piece in pieces], 2) for i, name in enumerate(names)}


def _shortened(solver: Solver, steps: int) -> Solver:
    if solver.decay != 1 and steps != solver.steps:
        raise ValueError(f"decay = {solver.decay}; scores after several numbers of steps need a constant step size")
    return Solver(**(vars(solver) | {"steps": steps, "tolerance": None}))


def evaluate_classifiers(
    training: dict[str, Any], steps: list[int] | None = None, solver: dict[str, Any] | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Score a trained population on the test clouds of every member.

    Args:
        training: point of `train_classifiers`, trained by a nested sweep where it is not stored.
        steps: numbers of inner steps of an equilibrium model, ascending; None: those it was trained with.
        solver: changes of the inner solver.

    Returns:
        `right [P, n]` (bool) of a baseline; of an equilibrium model `found` and `applied [P, S, n]`, whether Z_t and
        F(Z_t) are classified correctly, and `residual [P, S, n]`, MMD^2(Z_t, F(Z_t)).
    """
    (result,) = sweep(train_classifiers, [training], device=device)
    data, seed, members = training["data"], training["seed"], training["members"]
    model = architecture(training["kind"], training["sizes"], DIMENSIONS[data["name"]], CLASSES[data["name"]])
    weights, moments = trained(result, device)
    _, test = stacked(data["name"], seed, members, data["train"], data["test"], data["points"])
    test = test.to(device)
    if not isinstance(model.config, NetworkConfig):
        return {"right": _baseline_right(model, weights, test, moments)}
    chosen = Solver(**(final_solver(training) | (solver or {})))
    draws = _Draws(seed, members, training["particle_count"], torch.zeros(len(members), device=device))
    return dict(_equilibrium_scores(model.config, weights, test, chosen, steps or [chosen.steps], draws))


def final_solver(training: Mapping[str, Any]) -> dict[str, Any]:
    """The inner solver at the end of a training point."""
    late = training["recipe"].get("late") or {}
    return dict(training["solver"]) | {name: value for name, value in late.items() if name != "from_epoch"}


def trained(
    result: Mapping[str, Any], device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and moments `{name: [P, ...]}` in the result of `train_classifiers`."""
    found = [{name.removeprefix(prefix): torch.as_tensor(value).to(device) for name, value in result.items()
              if name.startswith(prefix)} for prefix in (_WEIGHT, _MOMENT)]  # fmt: skip
    return found[0], found[1]
