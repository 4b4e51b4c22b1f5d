"""Greedy decoding, token by token: what exact match by teacher forcing is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from twelvefold.nn.transformer import forward
from twelvefold.nn.transformer_config import TransformerConfig


@torch.no_grad()
def greedy_continuations(
    config: TransformerConfig, weights: Mapping[str, Tensor], prompts: Tensor, steps: int, starts: Tensor | None = None
) -> Tensor:
    """Continue prompts with the most likely next token, which the network reads again.

    No end is looked for: a continuation is the wanted one exactly when its first tokens, the end included, are.

    Args:
        config, weights: a population of P networks.
        prompts: ids `[n, t]`, t >= 1, without padding.
        steps: tokens to append, at least 1.
        starts: first row of the learned position table, `[n]`.

    Returns:
        The appended ids `[P, n, steps]`.

    Raises:
        ValueError: prompts of another shape, no step, or sequences that leave the position table.
    """
    if prompts.ndim != 2 or 0 in prompts.shape:
        raise ValueError(f"prompts has shape {tuple(prompts.shape)}; [n, t] with at least one token each is needed")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps = {steps!r}; a whole number, at least 1, is needed")
    members, device = weights["embedding"].shape[0], weights["embedding"].device
    tokens = prompts.to(device).expand(members, *prompts.shape)
    given = None if starts is None else starts.to(device)
    for _ in range(steps):
        last = torch.full((len(prompts),), tokens.shape[2] - 1, device=device)
        best = forward(config, weights, tokens, starts=given, at=last).argmax(-1)  # [P, n]
        tokens = torch.cat([tokens, best[..., None]], dim=2)
    return tokens[:, :, prompts.shape[1] :]
