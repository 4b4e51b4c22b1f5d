"""Training stacked networks: one Adam over the member x parameter matrix, gradients clipped member by member.

Members do not interact, so each trains as it would alone. A killed run goes on from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.progress import report
from twelvefold.nn.functional_population import Layout
from twelvefold.nn.population_training import Adam, TrainingState, adam_step
from twelvefold.nn.stacked import layout

Weights = Mapping[str, Tensor]
Losses = Callable[[Weights, int], Tensor]

_VECTOR = 64  # entries; a multiple of what a kernel's vector loop takes at a time on any CPU


@dataclass(frozen=True)
class Optimiser:
    """Adam (Kingma and Ba 2015) with decoupled weight decay.

    Attributes:
        steps: updates.
        rate: learning rate of update 0, 1, ....
        weight_decay: on all weights alike.
        clip: largest gradient norm of a member; None leaves gradients alone.
    """

    steps: int
    rate: Callable[[int], float]
    weight_decay: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 0 or self.weight_decay < 0 or (self.clip is not None and not self.clip > 0):
            raise ValueError(f"steps = {self.steps}, weight_decay = {self.weight_decay}, clip = {self.clip}; steps and "
                             "weight_decay of at least 0, and a positive clip or None are needed")  # fmt: skip


class Trained(NamedTuple):
    """Final weights `{name: [P, *shape]}`, and what was recorded `{name: [P, C, ...]}`, C times."""

    weights: dict[str, Tensor]
    records: dict[str, Tensor]


def train(
    losses: Losses,
    weights: Weights,
    optimiser: Optimiser,
    *,
    at: Sequence[int] = (),
    record: Callable[[Weights, int], Mapping[str, Tensor]] | None = None,
    checkpoint: Checkpoint | None = None,
    label: str = "training",
) -> Trained:
    """Train all members of a population.

    Args:
        losses: `losses(weights, step)` gives the loss of every member `[P]`; a function of its arguments alone, so that
            a run can be resumed.
        weights: where to start, on the device where to train.
        optimiser: settings.
        at: numbers of updates, ascending, after which `record(weights, step)` is called (0: before the first); it
            returns tensors `[P, ...]`.
        checkpoint: where to save the state now and then.
        label: name of the progress line.

    Raises:
        ValueError: no weights, weights of unequally many members, `at` not ascending or not within the updates, or
            losses that are not one per member.
        FloatingPointError: weights of a member are not finite any more.
    """
    members = _members(weights)
    if list(at) != sorted({step for step in at if 0 <= step <= optimiser.steps}):
        raise ValueError(f"at = {list(at)}; ascending numbers of updates from 0 to {optimiser.steps} are needed")
    places = layout(weights)
    matrix = _padded(places.pack(weights).detach())
    state = TrainingState.fresh(matrix)
    settings, records = _settings(members, optimiser, matrix.device), []
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        state = TrainingState(**{name: saved[name].to(matrix.device) for name in ("weights", "first", "second")},
                              step=saved["step"])  # fmt: skip
        records = saved["records"]
    while True:
        if record is not None and state.step in at and len(records) <= list(at).index(state.step):
            with torch.no_grad():
                made = record(_views(places, state.weights), state.step)
            records.append({name: value.cpu() for name, value in made.items()})
        if state.step >= optimiser.steps:
            break
        _update(losses, places, state, settings, optimiser)
        report(label, state.step, optimiser.steps)
        if checkpoint is not None:
            checkpoint.save({"weights": state.weights, "first": state.first, "second": state.second,
                             "step": state.step, "records": records})  # fmt: skip
    _check_finite(state.weights)
    final = {name: view.contiguous() for name, view in _views(places, state.weights).items()}
    return Trained(final, {name: torch.stack([part[name] for part in records], 1) for name in (records or [{}])[0]})


def _members(weights: Weights) -> int:
    sizes = {weight.shape[0] for weight in weights.values()}
    if len(sizes) != 1:
        raise ValueError(f"weights are of {sorted(sizes)} members; one number of members is needed")
    return sizes.pop()


def _padded(matrix: Tensor) -> Tensor:
    """The matrix `[P, total]` with whole vectors per member: what a kernel rounds otherwise at its end is padding."""
    return torch.nn.functional.pad(matrix, (0, -matrix.shape[1] % _VECTOR))


def _views(places: Layout, matrix: Tensor) -> dict[str, Tensor]:
    return places.unpack(matrix[:, : places.total])


def _settings(members: int, optimiser: Optimiser, device: torch.device) -> Adam:
    full = torch.full((members,), 1.0, device=device)
    return Adam(full, optimiser.weight_decay * full, torch.full((members,), optimiser.steps, device=device))


def _update(losses: Losses, places: Layout, state: TrainingState, settings: Adam, optimiser: Optimiser) -> None:
    leaf = state.weights.detach().requires_grad_()
    values = losses(_views(places, leaf), state.step)
    if values.shape != leaf.shape[:1]:
        raise ValueError(f"losses has shape {tuple(values.shape)}; one for each of {len(leaf)} members is needed")
    (gradient,) = torch.autograd.grad(values.sum(), leaf)
    with torch.no_grad():
        if optimiser.clip is not None:
            norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)  # [P, 1]
            gradient = gradient * (optimiser.clip / (norms + 1e-6)).clamp(max=1.0)
        rates = torch.full_like(settings.learning_rate, optimiser.rate(state.step))
        adam_step(state, gradient, replace(settings, learning_rate=rates))


def _check_finite(weights: Tensor) -> None:
    bad = (~weights.isfinite().all(1)).nonzero()[:, 0].tolist()
    if bad:
        raise FloatingPointError(f"weights of members {bad} are not finite after training; lower the learning rate")
