"""A language model in a GGUF file (4-bit weights, say) becomes a folder that transformers reads: float32 safetensors.

`nn.pretrained` executes this file in a process of its own, so that the memory and the imports it needs are gone
afterwards; it therefore imports nothing of the project, and no torch:

    python -P gguf_conversion.py SOURCE.gguf FOLDER

Supported are Llama architectures with a byte-level BPE tokenizer. The same file gives the same bytes.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

UNSUPPORTED, NO_SPACE = 3, 4  # exit statuses; the reason is the last line of stderr
_SPARE = 20_000_000  # bytes beside the weights: tokenizer, configuration, and what others write meanwhile
_CONTROL = 3  # token type of GGUF: a token that stands for no text

# names of the tensors in GGUF and in transformers, outside and inside block N
_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_INSIDE = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_BLOCK = re.compile(r"blk\.(\d+)\.([a-z_]+)\.weight")
Fields = Mapping[str, Any]


def convert(source: Path, folder: Path) -> None:
    """Write model.safetensors, config.json, tokenizer.json and tokenizer_config.json of a GGUF file into a folder.

    Raises:
        ValueError: the file is damaged, or of an architecture or tokenizer that is not supported.
        OSError: the folder cannot take the files; ENOSPC before anything is written when the disk is too small.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(source)
    except (ValueError, IndexError, KeyError, OSError, UnicodeError) as error:
        raise ValueError(f"{source} is not a readable GGUF file: {error}") from error
    fields = {name: field.contents() for name, field in reader.fields.items()}
    names = {tensor_name(tensor.name): tensor for tensor in reader.tensors}
    settings = configuration(fields, tied="lm_head.weight" not in names)
    _write_json(folder / "config.json", settings)
    _write_json(folder / "tokenizer_config.json", tokenizer_configuration(fields))
    (folder / "tokenizer.json").write_text(tokenizer_json(fields), encoding="utf-8")
    _write_weights(folder / "model.safetensors", names, settings)


def tensor_name(name: str) -> str:
    """Return what transformers calls a tensor of a Llama model in GGUF.

    Raises:
        ValueError: a tensor that such a model does not have.
    """
    block = _BLOCK.fullmatch(name)
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    if block is None or block[2] not in _INSIDE:
        raise ValueError(f"tensor {name!r} does not belong to a Llama architecture, the only one supported")
    return f"model.layers.{block[1]}.{_INSIDE[block[2]]}.weight"


def configuration(fields: Fields, tied: bool) -> dict[str, Any]:
    """Return config.json from the fields of a GGUF file; nothing in it speaks of quantisation.

    Args:
        fields: values by name. tied: whether the output matrix is the embedding.

    Raises:
        ValueError: another architecture than Llama, or a field is missing.
    """
    if _field(fields, "general.architecture") != "llama":
        raise ValueError(f"architecture {fields['general.architecture']!r} is not supported; llama is")
    heads = int(_field(fields, "llama.attention.head_count"))
    width = int(_field(fields, "llama.embedding_length"))
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "hidden_act": "silu",
        "vocab_size": len(_field(fields, "tokenizer.ggml.tokens")), "hidden_size": width, "head_dim": width // heads,
        "intermediate_size": int(_field(fields, "llama.feed_forward_length")),
        "num_hidden_layers": int(_field(fields, "llama.block_count")), "num_attention_heads": heads,
        "num_key_value_heads": int(fields.get("llama.attention.head_count_kv", heads)),
        "max_position_embeddings": int(_field(fields, "llama.context_length")),
        "rms_norm_eps": _decimal(_field(fields, "llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": _decimal(fields.get("llama.rope.freq_base", 10_000.0)), "tie_word_embeddings": tied,
        "attention_bias": False, "mlp_bias": False, "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": fields.get("tokenizer.ggml.padding_token_id"),
    }  # fmt: skip


def tokenizer_configuration(fields: Fields) -> dict[str, Any]:
    """Return tokenizer_config.json: which tokens begin, end and pad a text, and the template of a conversation."""
    tokens, settings = _field(fields, "tokenizer.ggml.tokens"), {}
    for role, field in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
        number = fields.get(f"tokenizer.ggml.{field}_token_id")
        if number is not None:
            settings[f"{role}_token"] = tokens[number]
    if "tokenizer.chat_template" in fields:
        settings["chat_template"] = fields["tokenizer.chat_template"]
    # the general class takes tokenizer.json as it is; transformers' class for Llama would split texts its own way
    return {**settings, "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
            "model_max_length": int(_field(fields, "llama.context_length"))}  # fmt: skip


def tokenizer_json(fields: Fields) -> str:
    """Return tokenizer.json: byte-level BPE that splits a text as the file's `tokenizer.ggml.pre` says.

    Raises:
        ValueError: another kind of tokenizer, or another way to split.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    kind, split = _field(fields, "tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "gpt-2")
    splits: dict[str, Callable[[], list[Any]]] = {
        "gpt-2": lambda: [],
        "smollm": lambda: [pre_tokenizers.Digits(individual_digits=True)],  # each digit is a piece of its own
    }
    if kind != "gpt2" or split not in splits:
        raise ValueError(f"tokenizer {kind!r} with splitting {split!r} is not supported; gpt2 with "
                         f"{' or '.join(splits)} is")  # fmt: skip
    tokens, merges = fields["tokenizer.ggml.tokens"], _field(fields, "tokenizer.ggml.merges")
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits[split](), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = fields.get("tokenizer.ggml.token_type", [])
    special = [token for token, kind in zip(tokens, types, strict=False) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return str(tokenizer.to_str(pretty=False))


def _write_weights(path: Path, tensors: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Write a safetensors file one tensor at a time, in the order of the names: one tensor is in memory at once.

    The format: 8 bytes with the length of the header, the header (JSON, filled up with spaces to a multiple of 8
    bytes), the values in little-endian order.
    """
    from gguf import dequantize

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(tensors):
        shape = [int(size) for size in reversed(tensors[name].shape)]  # GGUF states the fastest axis first
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + 4 * int(np.prod(shape))]}
        end = header[name]["data_offsets"][1]
    _check_space(path.parent, end)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            values = dequantize(tensors[name].data, tensors[name].tensor_type).reshape(header[name]["shape"])
            file.write(np.ascontiguousarray(_rotary_order(values, name, settings), dtype="<f4").data)


def _rotary_order(values: np.ndarray, name: str, settings: Mapping[str, Any]) -> np.ndarray:
    """Put the rows of a query or key matrix `[heads * 2 m, d]` in the order of transformers.

    GGUF turns neighbouring entries (2i, 2i + 1) of a head together, transformers entries i and i + m.
    """
    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
    if heads is None:
        return values
    rows, width = values.shape
    return values.reshape(settings[heads], -1, 2, width).swapaxes(1, 2).reshape(rows, width)


def _check_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE:
        text = f"{(size + _SPARE) / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
        raise OSError(errno.ENOSPC, text, str(folder))


def _field(fields: Fields, name: str) -> Any:
    if name not in fields:
        raise ValueError(f"the file has no field {name}")
    return fields[name]


def _decimal(value: float) -> float:
    """Return the shortest decimal number that a float32 stands for: 9.999999747378752e-06 is 1e-05."""
    return float(str(np.float32(value)))


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Convert SOURCE into FOLDER; return the exit status."""
    try:
        convert(Path(arguments[0]), Path(arguments[1]))
    except ValueError as error:
        print(str(error).replace("\n", " "), file=sys.stderr)
        return UNSUPPORTED
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        return NO_SPACE if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
