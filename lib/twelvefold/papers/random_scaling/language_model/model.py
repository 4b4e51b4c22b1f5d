"""Qwen2.5-0.5B with a new last attention layer and a new head, and its tokenizer, from the user's folder.

Nothing but three local files is read: config.json, model.safetensors and tokenizer.json. transformers is imported when
a model is made, not before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from twelvefold.core import data as datasets
from twelvefold.core.loaders import tensor_shapes
from twelvefold.papers.random_scaling.language_model.local_data import WEIGHTS, files

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import Qwen2Config, Qwen2ForCausalLM

HEAD = "lm_head.weight"


def model_config() -> Qwen2Config:
    """The configuration of the user's copy, with the head untied from the embedding.

    Qwen2.5-0.5B reads its head from the embedding matrix. Re-initialising a tied head would wipe out the embedding too,
    so the head becomes a matrix of its own (136 million further parameters at full size). Whether the paper unties it
    is not known: our choice.

    Raises:
        DataDamaged: config.json is not that of a Qwen2 model, or does not name the token that ends a text.
    """
    from transformers import Qwen2Config

    file = files(WEIGHTS, "config.json")[0]
    try:
        stated = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise datasets.damaged(WEIGHTS, f"{file} is not JSON ({error})") from error
    if not isinstance(stated, dict) or stated.get("model_type") != "qwen2":
        raise datasets.damaged(WEIGHTS, f"{file} does not state model_type 'qwen2'")
    if not isinstance(stated.get("eos_token_id"), int):
        raise datasets.damaged(WEIGHTS, f"{file} states eos_token_id {stated.get('eos_token_id')!r}, not one token")
    config: Qwen2Config = Qwen2Config.from_dict({**stated, "tie_word_embeddings": False})
    return config


def load_tokenizer(config: Qwen2Config) -> Tokenizer:
    """The tokenizer of the user's copy.

    Raises:
        DataDamaged: tokenizer.json cannot be read, or has tokens that the embedding lacks.
    """
    from tokenizers import Tokenizer

    file = files(WEIGHTS, "tokenizer.json")[0]
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise datasets.damaged(WEIGHTS, f"{file} is not a tokenizer ({error})") from error
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise datasets.damaged(WEIGHTS, f"{file} has {tokenizer.get_vocab_size()} tokens, more than the "
                               f"{config.vocab_size} of config.json")
    return tokenizer


def new_names(config: Qwen2Config) -> list[str]:
    """Names of the re-initialised tensors: queries, keys, values and output of the last block, and the head."""
    attention = f"model.layers.{config.num_hidden_layers - 1}.self_attn"
    inputs = [f"{attention}.{part}_proj.{kind}" for part in "qkv" for kind in ("weight", "bias")]
    return [*inputs, f"{attention}.o_proj.weight", HEAD]


def new_tensors(config: Qwen2Config, shapes: dict[str, list[int]], generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the re-initialised tensors, as Qwen2 itself is initialised: matrices N(0, s^2) with s of config.json (0.02),
    biases 0.

    Args:
        config: of the model.
        shapes: of all its tensors by name.
        generator: on the CPU; the draws are made in the order of `new_names`.
    """
    drawn = {}
    for name in new_names(config):
        drawn[name] = torch.zeros(shapes[name], dtype=torch.float32)
        if not name.endswith("bias"):
            drawn[name].normal_(0, config.initializer_range, generator=generator)
    return drawn


def load_model(generator: torch.Generator) -> Qwen2ForCausalLM:
    """The user's Qwen2 in float32 on the CPU, untied, the tensors of `new_names` drawn anew and all others as stored.

    Args:
        generator: draws the new tensors; no global generator is touched.

    Raises:
        DataMissing, DataDamaged: a file is missing, cut off, or lacks a tensor that config.json asks for.
    """
    from safetensors.torch import load_file
    from transformers import Qwen2ForCausalLM

    config = model_config()
    with torch.device("meta"):
        shapes = {name: list(tensor.shape) for name, tensor in Qwen2ForCausalLM(config).state_dict().items()}
    file = files(WEIGHTS, "model.safetensors")[0]
    _check(file, shapes)
    stored: dict[str, Any] = load_file(file)
    weights = {name: stored[name].float() for name in shapes if name != HEAD}
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights that are replaced at once
        model: Qwen2ForCausalLM = Qwen2ForCausalLM(config).float()
    model.load_state_dict(weights | new_tensors(config, shapes, generator))
    return model


def _check(file: Path, shapes: dict[str, list[int]]) -> None:
    found = tensor_shapes(file)
    for name, shape in shapes.items():
        if name != HEAD and found.get(name) != shape:
            raise datasets.damaged(WEIGHTS, f"{file} should hold {name} of shape {shape}, as config.json asks for; "
                                   f"found {found.get(name, 'no such tensor')}")


def separator(config: Qwen2Config) -> int:
    """The token that ends a text."""
    return int(config.eos_token_id)  # type: ignore[arg-type]  # one token: `model_config` has checked it
