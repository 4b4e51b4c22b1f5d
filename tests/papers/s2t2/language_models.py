"""Small causal language models of `transformers` with drawn weights, for the tests of s2t2."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM
from twelvefold.core.seeds import numpy_generator, torch_generator
from twelvefold.papers.s2t2.tokenization import Document

FAMILIES = ("llama tied", "llama free", "gpt2 tied", "opt tied")


def small_model(family: str, tokens: int = 40, width: int = 16) -> Any:
    """A model of one or two layers in evaluation mode; every matrix N(0, 0.2^2), so that it has strong opinions."""
    name, ties = family.split()
    with torch.random.fork_rng(devices=[]):
        model = MAKERS[name](tokens, width, ties == "tied")
    generator = torch_generator(10_000, 0, family)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.2, generator=generator)
    return model.eval()


def llama(tokens: int, width: int, tied: bool) -> Any:
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=tokens, hidden_size=width, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=tied,
    ))  # fmt: skip


def gpt2(tokens: int, width: int, tied: bool) -> Any:
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=tokens, n_embd=width, n_layer=1, n_head=2, n_positions=64, tie_word_embeddings=tied,
    ))  # fmt: skip


def opt(tokens: int, width: int, tied: bool) -> Any:
    return OPTForCausalLM(OPTConfig(
        vocab_size=tokens, hidden_size=width, word_embed_proj_dim=width, ffn_dim=24, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64, tie_word_embeddings=tied,
    ))  # fmt: skip


MAKERS = {"llama": llama, "gpt2": gpt2, "opt": opt}


def drawn_documents(count: int, tokens: int, purpose: str = "documents") -> list[Document]:
    """Documents of 2 to 12 tokens, a token standing for two bytes."""
    generator = numpy_generator(10_000, 0, purpose)
    ids = [torch.from_numpy(generator.integers(tokens, size=generator.integers(2, 13))) for _ in range(count)]
    return [Document(row, 2 * (len(row) - 1)) for row in ids]


def drawn(*shape: int, purpose: str = "values") -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch_generator(10_000, 0, purpose))
