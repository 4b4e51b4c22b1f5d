"""Tiny English language models of two widths with one tokenizer: source models where a real one would take too long.

They are Llamas with tied embeddings and a vocabulary of 1,024 byte-pair tokens, trained on the prose of docstrings.
Each width was trained five times, from weights and orders of its own, so that a claim about adapting such a model can
be tested on five of them. The weights are part of this project; `python -m twelvefold.papers.s2t2.english_training`
makes them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from twelvefold.core import data
from twelvefold.papers.s2t2.tokenization import Vocabulary, vocabulary_of

DATASET = "english_llamas"
TOKENIZER = "english_tokenizer.json"
TOKENS, MEMBERS = 1024, 5


@dataclass(frozen=True)
class Shape:
    """Width d, layers and attention heads of a Llama whose feed-forward layer is 8/3 d wide."""

    width: int
    layers: int
    heads: int


SHAPES = {"small": Shape(48, 3, 4), "large": Shape(96, 3, 4)}


class EnglishModel(NamedTuple):
    """A causal language model of `transformers`, frozen and in evaluation mode, and its vocabulary."""

    model: Any
    vocabulary: Vocabulary


def load_english_model(size: str, member: int, device: str | torch.device = "cpu") -> EnglishModel:
    """Load one of the tiny English models.

    Args:
        size: "small" or "large". member: 0 to 4, which of the five of this size. device: where the weights go.

    Raises:
        ValueError: an unknown size or member, or a file with other weights.
        DataMissing, DataDamaged: see `core.data.load`.
        ImportError: transformers, tokenizers or safetensors is not installed.
    """
    from safetensors.torch import load_file

    if size not in SHAPES or member not in range(MEMBERS):
        raise ValueError(f"size = {size!r}, member = {member}; one of {list(SHAPES)} and a number from 0 to "
                         f"{MEMBERS - 1} are needed")  # fmt: skip
    files: dict[str, Path] = {file.name: file for file in data.load(DATASET)["files"]}
    model = english_llama(SHAPES[size])
    weights = {name: tensor.float() for name, tensor in load_file(files[file_name(size, member)]).items()}
    found = model.load_state_dict(weights, strict=False)  # the output matrix is the embedding, and stored once
    if wrong := [*found.unexpected_keys, *(name for name in found.missing_keys if name != "lm_head.weight")]:
        raise ValueError(f"{file_name(size, member)} does not fit the model: {', '.join(wrong)}")
    return EnglishModel(model.to(device).eval().requires_grad_(False), load_english_vocabulary())


def load_english_vocabulary() -> Vocabulary:
    """The tokenizer that all tiny English models share.

    Raises:
        DataMissing, DataDamaged: see `core.data.load`. ImportError: tokenizers is not installed.
    """
    from tokenizers import Tokenizer

    files: dict[str, Path] = {file.name: file for file in data.load(DATASET)["files"]}
    return vocabulary_of(Tokenizer.from_file(str(files[TOKENIZER])))


def file_name(size: str, member: int) -> str:
    """Name of the file that holds the weights."""
    return f"english_{size}_{member}.safetensors"


def english_llama(shape: Shape) -> Any:
    """A Llama of this shape with tied embeddings; its weights are arbitrary."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=TOKENS, hidden_size=shape.width, intermediate_size=8 * shape.width // 3,
                         num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
                         num_key_value_heads=shape.heads, max_position_embeddings=512,
                         tie_word_embeddings=True)  # fmt: skip
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights that are replaced at once
        return LlamaForCausalLM(config).float().eval()
