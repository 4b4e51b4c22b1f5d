"""Resumable descent with AdamW: what learning a plan and finetuning a model share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.progress import report
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2.tokenization import Document

Leaves = Mapping[str, Tensor]
Kept = dict[str, tuple[Tensor, ...]]


def draw_order(documents: int, steps: int, batch: int, generator: torch.Generator) -> Tensor:
    """Numbers of the documents of each step `[steps, batch]`: pass after pass, each in a new random order.

    All arms of a comparison take the same order over the same texts, so that they see the same bytes in every step.

    Raises:
        ValueError: a number below 1.
    """
    if min(documents, steps, batch) < 1:
        raise ValueError(f"documents = {documents}, steps = {steps}, batch = {batch}; each must be at least 1")
    passes = -(-steps * batch // documents)
    order = torch.cat([torch.randperm(documents, generator=generator) for _ in range(passes)])
    return order[: steps * batch].view(steps, batch)


def micro_batches(documents: Sequence[Document], numbers: Tensor, micro: int) -> list[list[Document]]:
    """The documents of a step, `micro` at a time; their gradients are added, which bounds the memory.

    Raises:
        ValueError: `micro` below 1.
    """
    if micro < 1:
        raise ValueError(f"micro = {micro}; at least 1 document at a time is needed")
    return [[documents[int(i)] for i in part] for part in numbers.split(micro)]


def check_order(order: Tensor, documents: int, recipe: Recipe) -> None:
    """Refuse an order that is not `[steps, batch]` numbers of documents.

    Raises:
        ValueError: another number of steps than the recipe has, or numbers outside the documents.
    """
    if order.ndim != 2 or len(order) != recipe.steps or not 0 <= int(order.min()) <= int(order.max()) < documents:
        raise ValueError(f"order has shape {tuple(order.shape)}; [{recipe.steps}, batch] numbers of {documents} "
                         "documents are needed")  # fmt: skip


def descend(
    leaves: Leaves, gradient: Callable[[int], float], recipe: Recipe, *, kept: Kept | None = None,
    checkpoint: Checkpoint | None = None, label: str = "training",
) -> np.ndarray:  # fmt: skip
    """Update `leaves` in place by AdamW; matrices decay, vectors do not.

    A killed run goes on from its last checkpoint: leaves, optimiser, `kept` and step number are its whole state.

    Args:
        leaves: parameters by name.
        gradient: `gradient(step)` adds to the `.grad` of the leaves and returns the loss; a function of the step, the
            leaves and `kept` alone.
        recipe: steps and optimiser.
        kept: what `gradient` carries from a step to the next; it replaces the values in place.
        checkpoint: where to resume from and to save to.
        label: name of the progress line.

    Returns:
        The loss before each update, float64 `[steps]`.

    Raises:
        FloatingPointError: a loss is not finite (the learning rate is too high).
    """
    optimiser, kept = _optimiser(leaves, recipe), {} if kept is None else kept
    losses, first = np.zeros(recipe.steps), 0
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        _restore(saved, leaves, optimiser, kept)
        losses, first = saved["losses"].copy(), saved["step"]
    for step in range(first, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        optimiser.zero_grad(set_to_none=True)
        losses[step] = gradient(step)
        if not np.isfinite(losses[step]):
            raise FloatingPointError(f"{label}: the loss of step {step} is {losses[step]}; lower the learning rate")
        if recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(list(leaves.values()), recipe.clip)
        optimiser.step()
        report(label, step + 1, recipe.steps)
        if checkpoint is not None:
            checkpoint.save({"leaves": dict(leaves), "optimiser": optimiser.state_dict(), "kept": kept,
                             "losses": losses, "step": step + 1})  # fmt: skip
    return losses


class Watching(Checkpoint):
    """A checkpoint that also looks at the state after chosen updates: `descend` tells its checkpoint of every update.

    So a curve is recorded without a second training loop, and a killed run goes on with what it had seen. It keeps no
    file of its own.

    Args:
        look: called with the state that `descend` saves; what it returns is kept in `seen`, in order.
        steps: numbers of updates after which to look. inner: where states are kept; None: nowhere.
        first: what there is to see before any update.
    """

    def __init__(
        self, look: Callable[[dict[str, Any]], Any], steps: Iterable[int], inner: Checkpoint | None, first: Any
    ) -> None:
        self.look, self.steps, self.inner, self.seen = look, frozenset(steps), inner, [first]

    def load(self) -> dict[str, Any] | None:
        """The saved state; what had been seen by then is known again."""
        state = None if self.inner is None else self.inner.load()
        if state is not None:
            self.seen = state.pop("seen")
        return state

    def save(self, state: dict[str, Any], force: bool = False) -> bool:
        """Look when it is time, then hand the state on."""
        if state["step"] in self.steps:
            self.seen.append(self.look(state))
        return self.inner is not None and self.inner.save({**state, "seen": self.seen}, force)


def _optimiser(leaves: Leaves, recipe: Recipe) -> torch.optim.AdamW:
    parameters = list(leaves.values())
    groups = [{"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
              {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}]  # fmt: skip
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.learning_rate, eps=recipe.epsilon,
                             betas=(recipe.beta1, recipe.beta2), fused=parameters[0].is_cuda)  # fmt: skip


def _restore(saved: Mapping[str, Mapping], leaves: Leaves, optimiser: torch.optim.AdamW, kept: Kept) -> None:
    with torch.no_grad():
        for name, leaf in leaves.items():
            leaf.copy_(saved["leaves"][name])
    optimiser.load_state_dict(dict(saved["optimiser"]))
    device = next(iter(leaves.values())).device
    kept.clear()
    kept.update({name: tuple(tensor.to(device) for tensor in tensors) for name, tensors in saved["kept"].items()})
