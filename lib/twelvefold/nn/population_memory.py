"""How many members of a population of transformers fit into memory at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from twelvefold.nn.transformer_config import TransformerConfig

# Share of the free memory that a population may take, and a cap: on one core (2 MiB of cache of its own) chunks of
# twice this size took 10 % longer per member, and smaller ones gained nothing.
_SHARE = {"cpu": 0.5, "cuda": 0.8}
_CAP = {"cpu": 192 * 2**20}
_UNKNOWN = 2**62


def training_bytes(config: TransformerConfig, batch: int, tokens: int) -> int:
    """Bytes that one member needs to train on batches `[batch, tokens]`: an upper estimate.

    Seven sizes of the weights (they, two moments, gradients as autograd leaves them and as the optimiser reads them,
    those of a tied embedding in two parts); everything the backward pass reads (per cell of the batch about 14 vectors
    of the width and 4 of the hidden size a layer, three attention maps); logits with their softmax; dropout masks.
    """
    cells = batch * tokens
    attention = 3 * batch * config.heads * tokens**2
    layer = cells * (14 * config.width + 4 * config.feedforward) + attention
    masks = config.dropout_elements(batch, tokens) if config.dropout else 0
    return 4 * (7 * config.parameters + config.layers * layer + 4 * cells * config.vocabulary + masks)


def free_bytes(device: torch.device) -> int:
    """Memory in bytes that is free on a device; a very large number where nothing can tell."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for reuse
        return torch.cuda.mem_get_info(device)[0] + kept
    try:
        import psutil
    except ModuleNotFoundError:  # an optional dependency; the cap on a chunk holds all the same
        return _UNKNOWN
    return int(psutil.virtual_memory().available)


def members_at_once(config: TransformerConfig, batch_shape: Sequence[int], members: int, device: torch.device) -> int:
    """Number of members trained at a time: chunks of nearly equal size that fit.

    Args:
        config: the architecture.
        batch_shape: `(B, T + 1)` of one member's batch.
        members: size of the population, P.
        device: where it trains.

    Raises:
        MemoryError: not even one member fits.
        ValueError: no member, or a batch without a sequence or a next token.
    """
    if members < 1 or len(batch_shape) != 2 or batch_shape[0] < 1 or batch_shape[1] < 2:
        raise ValueError(f"members = {members}, batch_shape = {tuple(batch_shape)}; at least one member, one sequence "
                         "and two tokens are needed")  # fmt: skip
    each = training_bytes(config, batch_shape[0], batch_shape[1] - 1)
    free = int(free_bytes(device) * _SHARE.get(device.type, 0.5))
    if each > free:
        raise MemoryError(f"one member needs about {each / 2**20:.0f} MiB to train and {free / 2**20:.0f} MiB are "
                          f"available on {device}; use a smaller batch, width or number of layers")  # fmt: skip
    room = min(free, _CAP.get(device.type, free))
    fitting = max(1, min(members, room // each))
    chunks = -(-members // fitting)
    return -(-members // chunks)
