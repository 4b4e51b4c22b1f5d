"""Training a population of transformers: one fused AdamW over stacked weights, in chunks of members that fit memory.

Members do not interact (their gradients are clipped one by one), so each trains as it would alone; on one CPU thread
bit for bit. A killed run goes on from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.progress import report
from twelvefold.nn.population_memory import members_at_once
from twelvefold.nn.training_recipe import Batch, Recipe
from twelvefold.nn.transformer import Weights
from twelvefold.nn.transformer_config import TransformerConfig
from twelvefold.nn.transformer_update import Stepper

Batches = Callable[[int, slice], Batch]
Record = Callable[[Weights, slice, int], Mapping[str, Tensor]]


class Trained(NamedTuple):
    """Final weights `{name: [P, ...]}` on the CPU and what was recorded `{name: [P, C, ...]}` (C times), with "loss",
    the mean training loss since the time before."""

    weights: Weights
    records: dict[str, Tensor]


def train(
    config: TransformerConfig,
    recipe: Recipe,
    weights: Weights,
    batches: Batches,
    *,
    keys: Tensor,
    record_at: Sequence[int],
    record: Record,
    device: str | torch.device = "cpu",
    checkpoint: Checkpoint | None = None,
    at_once: int | None = None,
    label: str = "training",
) -> Trained:
    """Train all members of a population.

    Args:
        config, recipe: architecture and optimisation.
        weights: initial weights `{name: [P, *shape]}`, see `transformer.initial_weights`.
        batches: `batches(step, members)` gives the batch of one update for a slice of members; every batch has the same
            shape. It is a function of its arguments alone, so that a run can be resumed.
        keys: key of each member's dropout masks `[P]`, see `counter_random.mask_keys`.
        record_at: numbers of updates, ascending, after which `record(weights, members, step)` is called; it returns
            tensors `[p, ...]` for the p members of the slice. 0 is before the first update.
        device: where to train.
        checkpoint: where to save the state now and then.
        at_once: members trained at a time; by default as many as fit the memory.
        label: name of the progress line.

    Raises:
        ValueError: shapes or times do not fit.
        MemoryError: a single member does not fit.
        FloatingPointError: weights of a member are not finite any more.
    """
    where, members, record_at = torch.device(device), len(keys), list(record_at)
    _check(config, recipe, weights, members, record_at, at_once)
    state = (checkpoint.load() if checkpoint else None) or {"done": []}
    done: list[dict[str, Any]] = state["done"]
    # a resumed run keeps its chunks, whatever memory is free now
    chunk = state.get("chunk") or at_once
    chunk = chunk or members_at_once(config, batches(0, slice(0, 1)).tokens.shape[1:], members, where)
    for first in range(len(done) * chunk, members, chunk):
        rows = slice(first, min(first + chunk, members))
        stepper = Stepper(config, recipe, {k: v[rows].to(where) for k, v in weights.items()}, keys[rows].to(where))
        current = state.pop("current", None)

        def save(progress: dict[str, Any]) -> None:
            if checkpoint is not None:
                checkpoint.save({"chunk": chunk, "done": done, "current": progress})

        done.append(_chunk(stepper, batches, rows, record_at, record, current, save, (label, members)))
    joined = _joined([part["weights"] for part in done])
    return Trained(joined, _joined([part["records"] for part in done]))


def _chunk(
    stepper: Stepper, batches: Batches, rows: slice, record_at: Sequence[int], record: Record,
    resumed: dict[str, Any] | None, save: Callable[[dict[str, Any]], None], progress: tuple[str, int],
) -> dict[str, Any]:  # fmt: skip
    """Train the members `rows` from the start, or from a resumed state, to the end."""
    steps, (label, members) = stepper.recipe.steps, progress
    step, records = 0, []
    total = torch.zeros(rows.stop - rows.start, device=stepper.device)
    since = 0
    if resumed is not None:
        stepper.load(resumed)
        step, records, since = resumed["step"], resumed["records"], resumed["since"]
        total = resumed["total"].to(stepper.device)
    while True:
        if step in record_at and len(records) <= record_at.index(step):
            with torch.no_grad():
                entry = {name: value.cpu() for name, value in record(stepper.weights, rows, step).items()}
            records.append({"loss": (total / max(1, since)).cpu()} | entry)
            total, since = torch.zeros_like(total), 0
        if step == steps:
            break
        total = total + stepper.update(batches(step, rows), step)
        step, since = step + 1, since + 1
        report(label, rows.start * steps + step * (rows.stop - rows.start), members * steps)
        save(stepper.state() | {"step": step, "records": records, "total": total, "since": since})
    final = {name: weight.detach().to("cpu", copy=True) for name, weight in stepper.weights.items()}
    _check_finite(final, rows)
    return {"weights": final, "records": {name: torch.stack([r[name] for r in records], 1) for name in records[0]}}


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _check(
    config: TransformerConfig, recipe: Recipe, weights: Weights, members: int, times: list[int], at_once: int | None
) -> None:
    shapes = {name: (members, *shape) for name, shape in config.shapes().items()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    if found != shapes:
        wrong = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
        raise ValueError(f"weights: {wrong[0]!r} has shape {found.get(wrong[0])}; {shapes.get(wrong[0])} is needed "
                         f"for {members} members (the number of keys)")  # fmt: skip
    if at_once is not None and at_once < 1:
        raise ValueError(f"at_once = {at_once}; a number of members, at least 1, or None is needed")
    if not times or times != sorted(set(times)) or not 0 <= times[0] <= times[-1] <= recipe.steps:
        raise ValueError(f"record_at = {times}; ascending step numbers from 0 to {recipe.steps} are needed")


def _check_finite(weights: Weights, rows: slice) -> None:
    finite = torch.stack([weight.flatten(1).isfinite().all(1) for weight in weights.values()]).all(0)
    if not bool(finite.all()):
        bad = (rows.start + (~finite).nonzero()[:, 0]).tolist()
        raise FloatingPointError(f"weights of members {bad} are not finite after training; lower the learning_rate")
