"""The part of a causal language model between its token embedding and its output matrix, for any vocabulary.

With soft embeddings X `[B, T, d]` the body h gives states `[B, T, d]`, and the logits of the next token are h(X) L^T,
with L `[n, d]` the output rows of whatever vocabulary is in use (equation 1 of the paper).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from twelvefold.papers.s2t2.translation import Vectors

_TOLERANCE = 1e-3  # relative to the largest logit


def source_vectors(model: Any, kept: Tensor | None = None) -> Vectors:
    """The embedding and output rows of a causal language model of `transformers`, in float32, without gradients.

    Args:
        model: with tied or free output matrix.
        kept: numbers of the tokens to take `[v]`; None takes every row.

    Returns:
        `[v, d]` each; the same tensor when the model ties them.

    Raises:
        ValueError: an output matrix with a bias, which no plan translates, or numbers outside the matrix.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None:
        lacks = "no output matrix" if head is None else "an output bias"
        raise ValueError(f"model {type(model).__name__} has {lacks}; a causal language model whose logits are states "
                         "times an output matrix is needed")  # fmt: skip
    rows = embedding.weight.shape[0]
    if kept is not None and len(kept) and not 0 <= int(kept.min()) <= int(kept.max()) < rows:
        raise ValueError(f"kept goes from {int(kept.min())} to {int(kept.max())}; the model has rows 0 to {rows - 1}")
    first = _rows(embedding.weight, kept)
    return Vectors(first, first if head.weight is embedding.weight else _rows(head.weight, kept))


def _rows(matrix: Tensor, kept: Tensor | None) -> Tensor:
    chosen = matrix.detach() if kept is None else matrix.detach()[kept.to(matrix.device)]
    return chosen.float()


def states(model: Any, inputs: Tensor) -> Tensor:
    """h(X) `[B, T, d]` in float32 for soft embeddings `inputs [B, T, d]`, which are cast to the type of the model.

    No mask is needed for padding at the end of a row: a causal model does not look ahead.
    """
    dtype = next(model.base_model.parameters()).dtype
    made = model.base_model(inputs_embeds=inputs.to(dtype), use_cache=False)
    hidden: Tensor = made.last_hidden_state
    return hidden.float()


@torch.no_grad()
def check_model(model: Any, ids: Tensor) -> None:
    """Refuse a model whose own logits are not h(E[ids]) L^T: one that scales embeddings or logits outside its body.

    Args:
        model: in evaluation mode. ids: a few tokens `[T]`, on any device.

    Raises:
        ValueError: the logits differ; names the model and by how much.
    """
    vectors = source_vectors(model)
    tokens = ids[None].to(vectors.embedding.device)
    expected = model(input_ids=tokens, use_cache=False).logits.float()
    found = states(model, vectors.embedding[tokens]) @ vectors.head.T
    error = float((expected - found).abs().max() / expected.abs().max())
    exact = next(model.parameters()).dtype in (torch.float32, torch.float64)
    if not error <= (_TOLERANCE if exact else 30 * _TOLERANCE):
        raise ValueError(f"model {type(model).__name__}: its logits differ from states times output matrix by "
                         f"{error:.2g} of the largest; a model that changes neither is needed")  # fmt: skip


def freeze(model: Any) -> None:
    """Put the model into evaluation mode and let no gradient be computed for its weights."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
