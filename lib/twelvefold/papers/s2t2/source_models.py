"""Pretrained source models by name, with what a translation needs of them: bytes of tokens, and rows of the plan."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from twelvefold.nn.pretrained import load_language_model
from twelvefold.papers.s2t2.body import check_model, source_vectors
from twelvefold.papers.s2t2.english_models import MEMBERS, load_english_model
from twelvefold.papers.s2t2.tokenization import Document, Vocabulary, document, renumber, tokens_made_of, vocabulary_of
from twelvefold.papers.s2t2.translation import Vectors


class Source(NamedTuple):
    """A pretrained model and its vocabulary.

    Attributes:
        model: a causal language model of `transformers`, frozen, in evaluation mode.
        vocabulary: its tokens.
        kept: numbers of the tokens that are rows of the plan `[v]`, ascending.
        vectors: E and L `[v, d]` of these tokens.
    """

    model: Any
    vocabulary: Vocabulary
    kept: Tensor
    vectors: Vectors


def load_source(
    name: str, *, letters: str | None = None, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Source:
    """Load a pretrained model as the source of a translation.

    Args:
        name: "english small 0" (a tiny English model: size and member), or as for `nn.pretrained.load_language_model`.
        letters: keep only the tokens made of these characters, and the separator; None keeps all tokens.
        device, dtype: of the model's weights.

    Raises:
        ValueError: as the loaders, or a model that changes logits outside its body.
    """
    if name.startswith("english "):
        size, member = _english(name)
        model, vocabulary = load_english_model(size, member, device)
    else:
        loaded = load_language_model(name, device=device, dtype=dtype)
        model, vocabulary = loaded.model, vocabulary_of(loaded.tokenizer)
    check_model(model, torch.tensor([vocabulary.separator_id, 0, 1]))
    # some models have more rows than tokens; the surplus means nothing
    kept = torch.arange(len(vocabulary)) if letters is None else tokens_made_of(vocabulary, letters)
    return Source(model, vocabulary, kept, source_vectors(model, kept))


def member_name(name: str, replicate: int) -> str:
    """The source of a training run: "english small" becomes one of its five members, other models have no members."""
    return f"{name} {replicate % MEMBERS}" if name.startswith("english ") else name


def _english(name: str) -> tuple[str, int]:
    parts = name.split()
    if len(parts) != 3 or not parts[2].isdigit():
        raise ValueError(f"name = {name!r}; 'english small 0' or the like (size and number) is needed")
    return parts[1], int(parts[2])


def source_documents(source: Source, texts: list[str]) -> list[Document]:
    """Texts in the rows of the plan: documents to be used with `source.vectors`.

    Raises:
        ValueError: a text that needs a token which was not kept.
    """
    whole = [document(source.vocabulary, text) for text in texts]
    return renumber(whole, source.kept, len(source.vocabulary))
