"""What the source tokenizer costs without any training, with the whole softmax and with one that knows the alphabet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from twelvefold.papers.s2t2.bits_per_byte import Scores
from twelvefold.papers.s2t2.body import source_vectors, states
from twelvefold.papers.s2t2.source_models import Source
from twelvefold.papers.s2t2.tokenization import document, tokens_made_of


class SourceScores(NamedTuple):
    """Bits of texts in source tokens: over the whole vocabulary, and over the tokens made of an alphabet."""

    whole: Scores
    letters: Scores


@torch.no_grad()
def score_source(source: Source, texts: Sequence[str], alphabet: str) -> SourceScores:
    """Score texts in source tokens twice, from one pass of the model over each text.

    A model of English spends probability on tokens that no protein contains. The second score sets the logits of all
    tokens that are not made of `alphabet` (the separator stays) to minus infinity: what it gains needs no learning.

    Args:
        source: model and vocabulary; tokens that are no rows of the plan count too.
        texts: made of `alphabet`. alphabet: its letters.

    Raises:
        ValueError: no text, an empty one, or one with another letter.
    """
    if not texts or (strange := sorted({*"".join(texts)} - {*alphabet})):
        raise ValueError(f"texts: {len(texts)} of them, with the letters {strange if texts else []} outside the "
                         f"alphabet {alphabet}; at least one text made of the alphabet is needed")  # fmt: skip
    vectors = source_vectors(source.model, torch.arange(len(source.vocabulary)))  # surplus rows mean nothing
    allowed = tokens_made_of(source.vocabulary, alphabet)
    place = torch.full((len(source.vocabulary),), -1)
    place[allowed] = torch.arange(len(allowed))
    documents = [document(source.vocabulary, text) for text in texts]
    nats = []
    for made in documents:
        ids = made.ids.to(vectors.embedding.device)
        hidden = states(source.model, F.embedding(ids[None, :-1], vectors.embedding))[0]  # [T - 1, d]
        logits = hidden @ vectors.head.T  # [T - 1, v]
        within = F.cross_entropy(logits[:, allowed.to(ids.device)], place.to(ids.device)[ids[1:]], reduction="sum")
        nats.append((float(F.cross_entropy(logits, ids[1:], reduction="sum")), float(within)))
    bits, counted = np.array(nats) / math.log(2), np.array([made.predicted_bytes for made in documents])
    return SourceScores(Scores(bits[:, 0], counted), Scores(bits[:, 1], counted))
