"""Floating-point operations of a training step, to compare arms at equal cost as well as at equal bytes.

Counted are the matrix products with weights, two operations a multiplication; left out are attention between positions
(4 T d of about 2 N operations a token and layer stack) and the projection of the scores, which is bound by memory.
"""

from __future__ import annotations

from typing import Any

from twelvefold.papers.s2t2.adaptation import body_parameters
from twelvefold.papers.s2t2.translation import Vectors


def body_weights(model: Any) -> int:
    """Number N of weights in the matrices of the body, without token and position embeddings."""
    positions = ("wpe", "embed_positions")
    return sum(p.numel() for name, p in body_parameters(model).items()
               if p.ndim >= 2 and not any(part in name.split(".") for part in positions))  # fmt: skip


def finetuning_flops(model: Any, vectors: Vectors, tokens: int) -> float:
    """Operations of a step of `finetune` on `tokens` predicted tokens: 6 N + 6 u d a token.

    Forward, gradient of the activations and gradient of the weights cost the same.

    Raises:
        ValueError: a negative number of tokens.
    """
    _check(tokens)
    return tokens * (6.0 * body_weights(model) + 6.0 * vectors.head.numel())


def learning_flops(model: Any, vectors: Vectors, sources: int, tokens: int) -> float:
    """Operations of a step of `learn_plan`: 4 N + 6 u d a token, and 4 v u d a step and translated matrix.

    The frozen body needs no gradient of its weights; the plan is multiplied with E, and its gradient found, once a step
    (twice when embedding and output matrix are free).

    Args:
        model: whose body is used. vectors: E' and L' `[u, d]`. sources: v. tokens: predicted ones.

    Raises:
        ValueError: a negative number of tokens, or fewer than one source token.
    """
    _check(tokens)
    if sources < 1:
        raise ValueError(f"sources = {sources}; at least one source token is needed")
    matrices = 1 if vectors.tied else 2
    per_token = 4.0 * body_weights(model) + 6.0 * vectors.head.numel()
    return tokens * per_token + 4.0 * matrices * sources * vectors.head.numel()


def _check(tokens: int) -> None:
    if tokens < 0:
        raise ValueError(f"tokens = {tokens}; a number of at least 0 is needed")
