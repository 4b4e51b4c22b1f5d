"""Tiny random language models and their files, for tests that need no pretrained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<|endoftext|>", "<|im_start|>"]
MERGES = ["Ġ t", "h e", "Ġt he", "l l", "1 2"]
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = [*SPECIAL, *LETTERS, *(merge.replace(" ", "") for merge in MERGES)]
HEADS, KEY_HEADS = 4, 2
TEXTS = ["the hill", " the 12th", "naïve\n\tspaces  12 345", "x<|im_start|>y"]


def tiny_llama(tied: bool = True, seed: int = 0, **more: Any) -> LlamaForCausalLM:
    """A Llama of two blocks with random weights."""
    config = LlamaConfig(**{
        "vocab_size": len(TOKENS), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": tied, "pad_token_id": 0,
        "bos_token_id": 0, "eos_token_id": 0, **more})  # fmt: skip
    return randomised(LlamaForCausalLM(config), seed)


def randomised(model: Any, seed: int = 0) -> Any:
    """Give every parameter values large enough that positions and tokens matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in model.named_parameters():
            drawn = torch.randn(values.shape, generator=generator)
            values.copy_(1 + 0.1 * drawn if values.ndim == 1 and "norm" in name.lower() else 0.2 * drawn)
    return model.eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with a few merges."""
    merges = [tuple(merge.split(" ")) for merge in MERGES]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(TOKENS)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[0])


def write_folder(folder: Path, model: Any) -> Path:
    """Write what transformers reads."""
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def neighbours_together(values: np.ndarray, heads: int) -> np.ndarray:
    """The order of query and key rows in GGUF: entries i and i + m of a head become neighbours."""
    return np.stack([
        values[head * size + part * (size // 2) + i]
        for size in [len(values) // heads] for head in range(heads) for i in range(size // 2) for part in range(2)
    ])


def write_gguf(path: Path, model: Any, quantised: GGMLQuantizationType | None = None, **fields: Any) -> Path:
    """Write a model as GGUF; `fields` replace values by name, None leaves one out."""
    config, writer = model.config, GGUFWriter(path, fields.pop("architecture", "llama"))
    numbers = {"block_count": 2, "context_length": 64, "embedding_length": 64, "feed_forward_length": 96,
               "attention.head_count": HEADS, "attention.head_count_kv": KEY_HEADS}  # fmt: skip
    numbers = {f"llama.{name}": value for name, value in numbers.items()}
    numbers |= {f"tokenizer.ggml.{name}_token_id": 0 for name in ("bos", "eos", "padding", "unknown")}
    for name, value in (numbers | {n: v for n, v in fields.items() if n in numbers}).items():
        if value is not None:
            writer.add_uint32(name, value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", config.rms_norm_eps)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_string("tokenizer.ggml.model", fields.get("tokenizer.ggml.model", "gpt2"))
    writer.add_string("tokenizer.ggml.pre", fields.get("tokenizer.ggml.pre", "smollm"))
    writer.add_array("tokenizer.ggml.tokens", TOKENS)
    writer.add_array("tokenizer.ggml.token_type", [3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)))
    writer.add_array("tokenizer.ggml.merges", MERGES)
    writer.add_string("tokenizer.chat_template", "{{ messages }}")
    for name, values in (gguf_tensors(model) | fields.get("tensors", {})).items():
        if quantised is None or values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quantize(values, quantised), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_tensors(model: Any) -> dict[str, np.ndarray]:
    """The weights of a Llama under the names of GGUF."""
    names = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "model.layers.": "blk.",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    tensors = {}
    for name, values in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        array = values.numpy()
        if "q_proj" in name or "k_proj" in name:
            array = neighbours_together(array, HEADS if "q_proj" in name else KEY_HEADS)
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        tensors[name] = array
    return tensors
