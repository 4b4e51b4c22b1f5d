"""Bits per byte of a causal language model with any vocabulary (Biderman et al. 2024, arXiv 2405.14782).

BpB = sum over predicted tokens of -ln p / (B ln 2), with B the bytes that these tokens stand for. It can be compared
between tokenizers; the perplexity of a token cannot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from twelvefold.papers.s2t2.body import states
from twelvefold.papers.s2t2.tokenization import Document
from twelvefold.papers.s2t2.translation import Vectors

Precision = Literal["float32", "bfloat16"]
_LOGITS = 2**22  # largest number of logits in memory at a time: 16 MiB


class Scores(NamedTuple):
    """Bits `[N]` (float64) and predicted bytes `[N]` of each document."""

    bits: np.ndarray
    predicted_bytes: np.ndarray

    @property
    def bits_per_byte(self) -> float:
        """All bits over all bytes."""
        return float(self.bits.sum() / self.predicted_bytes.sum())


def document_nats(
    model: Any, vectors: Vectors, documents: Sequence[Document], precision: Precision = "float32"
) -> Tensor:
    """-ln p of all tokens but the first of each document `[B]`, differentiable in vectors and model.

    Args:
        model: a causal language model of `transformers`; its body is used.
        vectors: E' and L' `[u, d]` of the documents' vocabulary.
        documents: B of them, computed together.
        precision: "bfloat16" computes the body's matrix products so (autocast); logits are always float32.

    Raises:
        ValueError: no document, one with fewer than two tokens, or with a number that is not of this vocabulary.
    """
    _check(documents)
    device = vectors.embedding.device
    padded = torch.nn.utils.rnn.pad_sequence([d.ids for d in documents], batch_first=True)  # [B, T]
    _check_tokens(documents, padded, len(vectors.embedding))
    lengths = torch.tensor([len(d.ids) for d in documents])
    there = torch.arange(1, padded.shape[1]) < lengths[:, None]  # [B, T - 1]: a token to predict
    place = there.flatten().nonzero()[:, 0]  # N of them
    owner, rows, place = (place // there.shape[1]).to(device), padded.to(device), place.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        hidden = states(model, F.embedding(rows[:, :-1], vectors.embedding))
    losses = _cross_entropy(hidden.flatten(0, 1)[place], vectors.head, rows[:, 1:].flatten()[place])
    return torch.zeros(len(rows), device=device).index_add(0, owner, losses)


def _cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """-ln softmax(h L^T) at the targets `[N]`, with a limited number of logits at a time."""
    chunk = max(1, _LOGITS // len(head))
    parts = zip(hidden.split(chunk), targets.split(chunk), strict=True)
    return torch.cat([F.cross_entropy(h @ head.T, t, reduction="none") for h, t in parts])


def _check(documents: Sequence[Document]) -> None:
    if not documents:
        raise ValueError("documents is empty; at least one is needed")
    for place, made in enumerate(documents):
        if len(made.ids) < 2 or made.predicted_bytes < 1:
            raise ValueError(f"documents[{place}] has {len(made.ids)} tokens and {made.predicted_bytes} predicted "
                             "bytes; at least 2 and 1 are needed")  # fmt: skip


def _check_tokens(documents: Sequence[Document], padded: Tensor, size: int) -> None:
    """All at once, since this is done in every step; padding is token 0."""
    if 0 <= int(padded.min()) <= int(padded.max()) < size:
        return
    for place, made in enumerate(documents):
        if not 0 <= int(made.ids.min()) <= int(made.ids.max()) < size:
            raise ValueError(f"documents[{place}] has tokens from {int(made.ids.min())} to {int(made.ids.max())}; the "
                             f"vectors are of a vocabulary of {size}")  # fmt: skip


@torch.no_grad()
def score(
    model: Any, vectors: Vectors, documents: Sequence[Document], *, batch_tokens: int = 2048,
    precision: Precision = "float32",
) -> Scores:  # fmt: skip
    """Bits of every document, in their order; documents of like length are computed together.

    Args:
        model, vectors, documents, precision: as in `document_nats`.
        batch_tokens: largest number of tokens, padding included, of a batch of more than one document.

    Raises:
        ValueError: as `document_nats`, or `batch_tokens` below 1.
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens = {batch_tokens}; at least 1 is needed")
    bits = np.zeros(len(documents))
    for batch in _batches([len(d.ids) for d in documents], batch_tokens) or [[]]:
        nats = document_nats(model, vectors, [documents[i] for i in batch], precision)
        bits[batch] = nats.double().cpu().numpy() / math.log(2)
    return Scores(bits, np.array([d.predicted_bytes for d in documents]))


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Numbers of documents, by rising length, cut where the padded batch would grow over `batch_tokens`."""
    batches: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if not batches or (len(batches[-1]) + 1) * lengths[number] > batch_tokens:
            batches.append([])
        batches[-1].append(number)
    return batches
