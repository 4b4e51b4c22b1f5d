"""Continued pre-training of one model, resumable, and its loss on held-out text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.random_scaling.language_model.mixture import Mixture

if TYPE_CHECKING:
    from transformers import Qwen2ForCausalLM


def token_loss(model: Qwen2ForCausalLM, rows: Tensor, precision: str) -> Tensor:
    """Mean cross-entropy (nats) of each token of `rows [n, width]` but the first, given those before it in its row."""
    rows = rows.to(model.lm_head.weight.device).long()
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model: Qwen2ForCausalLM, rows: Tensor, micro_batch: int, precision: str) -> float:
    """Mean cross-entropy (nats per token) on `rows [n, width]`, `micro_batch` rows at a time."""
    parts = [(len(part), float(token_loss(model, part, precision))) for part in rows.split(micro_batch)]
    return sum(count * loss for count, loss in parts) / len(rows)


def pretrain(
    model: Qwen2ForCausalLM, mixture: Mixture, recipe: Recipe, batch: int, micro_batch: int,
    checkpoint: Checkpoint | None = None,
) -> np.ndarray:  # fmt: skip
    """Train all parameters of `model` in place, and return the training loss of each update, float32 `[steps]`.

    Every matrix decays, biases and norms do not. Nothing is drawn while training (Qwen2 has no dropout, and a batch is
    a function of its step), so model, optimiser and step number are the whole state, kept in `checkpoint`.

    Args:
        model: on the device to train on, in float32.
        mixture: gives the batches.
        recipe: steps and optimiser.
        batch: rows of an update. micro_batch: rows whose gradients are computed together, for the memory's sake.
        checkpoint: where to resume from and to save to.

    Raises:
        ValueError: batch or micro_batch is below 1.
    """
    if batch < 1 or micro_batch < 1:
        raise ValueError(f"batch = {batch}, micro_batch = {micro_batch}; both must be at least 1")
    optimiser = _optimiser(model, recipe)
    losses, first = np.zeros(recipe.steps, dtype=np.float32), 0
    saved = checkpoint.load() if checkpoint is not None else None
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        losses, first = saved["losses"].copy(), int(saved["step"])
    model.train()
    for step in range(first, recipe.steps):
        rows, _ = mixture.batch(step, batch)
        losses[step] = _update(model, optimiser, rows, recipe, step, micro_batch)
        if checkpoint is not None:
            checkpoint.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "losses": losses,
                             "step": step + 1})
    model.eval()
    return losses


def _optimiser(model: Qwen2ForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon,
                             fused=parameters[0].device.type == "cuda")


def _update(
    model: Qwen2ForCausalLM, optimiser: torch.optim.AdamW, rows: Tensor, recipe: Recipe, step: int, micro_batch: int
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = recipe.rate(step)
    optimiser.zero_grad(set_to_none=True)
    total = 0.0
    for part in rows.split(micro_batch):
        loss = token_loss(model, part, recipe.precision) * (len(part) / len(rows))
        loss.backward()
        total += float(loss.detach())
    if recipe.clip is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optimiser.step()
    return total
