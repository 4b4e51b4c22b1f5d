"""Pretrained causal language models: the bundled one, those the user brings, and any folder that transformers reads.

Nothing here touches the network, reads a pickle, or runs code that comes with a model. A model in a GGUF file is made
into float32 weights once, in a process of its own, and kept in the cache folder. Weights are mapped from their file:
a model that is loaded twice on one machine is in memory once, until somebody writes to its tensors (which never
changes the file).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from twelvefold.core import data
from twelvefold.core.loaders import tensor_shapes
from twelvefold.nn.converted_models import converted_folder

BUNDLED = "smollm2_135m"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model.

    Attributes:
        model: of `transformers`, in evaluation mode, its parameters frozen (`model.requires_grad_(True)` thaws them).
        tokenizer: of `transformers`; `tokenizer(text)["input_ids"]` are token numbers.
        name: what it was asked for by.
    """

    model: Any
    tokenizer: Any
    name: str


def load_language_model(
    name_or_path: str | Path = BUNDLED, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> LanguageModel:
    """Load a causal language model and its tokenizer.

    Args:
        name_or_path: a language model of the data registry ("smollm2_135m" comes with the pinned packages), a folder
            with config.json, a tokenizer and *.safetensors, or a GGUF file of a Llama architecture.
        device: where the weights go. dtype: floating-point type of the weights; float32 on the CPU needs no copy.

    Raises:
        ValueError: an unknown name, a folder that lacks something or is damaged, a GGUF file that is not supported, or
            a dtype other than float32, bfloat16, float16 and float64.
        ImportError: a package is missing; the message names it. DataMissing, DataDamaged: see `core.data.load`.
        CacheError: the cache folder cannot take the converted weights.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype = {dtype!r}; one of {', '.join(map(str, _DTYPES))} is needed")
    _check_packages()
    folder = _folder(name_or_path)
    check_folder(folder)
    with _quiet():
        model, tokenizer = _read(folder, dtype)
    return LanguageModel(model.to(device).eval().requires_grad_(False), tokenizer, str(name_or_path))


def known_models() -> list[str]:
    """Return the names of the data registry that are language models, whether they are on this machine or not."""
    entries = data.registry().items()
    return sorted(name for name, entry in entries
                  if any(file.name.endswith(".gguf") for file in entry.files)
                  or "config.json" in (entry.folder or {}).get("needed", []))  # fmt: skip


def check_folder(folder: Path) -> None:
    """Refuse a folder that is no causal language model in the form of transformers with whole safetensors files.

    Raises:
        ValueError: the message names the folder, what is wrong with it and what is needed.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise ValueError(f"{folder} has no config.json; {_needed()}")
    try:
        settings = json.loads(config.read_bytes())
        kind = settings["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{config} is not the configuration of a model (JSON with a model_type): {error!r}") from error
    if settings.get("auto_map"):
        raise ValueError(f"{config} (model_type {kind!r}) wants to run code that comes with the model (auto_map), "
                         "which is never done; use a form of the model that transformers reads itself")  # fmt: skip
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ValueError(f"{folder} has no tokenizer ({', '.join(_TOKENIZERS)}); {_needed()}")
    _check_weights(folder)


def _check_weights(folder: Path) -> None:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
        found = f"only pickles ({', '.join(pickles[:5])}), which are never read" if pickles else "no weights"
        raise ValueError(f"{folder} has {found}; {_needed()}")
    for file in files:
        try:
            tensor_shapes(file)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} is not a whole safetensors file ({error}); replace it") from error


def _needed() -> str:
    return ("needed are config.json, a tokenizer and weights as *.safetensors, as `save_pretrained` of transformers "
            "writes them")  # fmt: skip


def _folder(name_or_path: str | Path) -> Path:
    """Return the folder of a model, having converted it where needed."""
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name in known_models():
        place = data.path(name)
        return place if place.is_dir() else converted_folder(place, name)
    if path.is_file() and path.suffix == ".gguf":
        return converted_folder(path, path.stem)
    if path.is_dir():
        return path
    raise ValueError(f"name_or_path = {name!r} is neither a language model of the data registry "
                     f"({', '.join(known_models())}), nor a folder, nor a .gguf file")  # fmt: skip


def _read(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Read model and tokenizer; a weight that the files lack is an error, not a random number."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, report = load(folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True,
                             output_loading_info=True)  # fmt: skip
    except Exception as error:  # whatever transformers raises for what is inside the files
        reader = f"transformers {importlib.metadata.version('transformers')}"
        raise ValueError(f"{folder} cannot be read by {reader} ({type(error).__name__}): {error}") from error
    for problem in ("missing_keys", "mismatched_keys"):
        if report[problem]:
            names = sorted(map(str, report[problem]))
            raise ValueError(f"{folder}: {problem.replace('_keys', '')} weights of {type(model).__name__}: "
                             f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}")  # fmt: skip
    return model, tokenizer


def _check_packages() -> None:
    missing = [name for name in ("transformers", "tokenizers", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"language models need {' and '.join(missing)}: pip install -e '.[lm,notebooks]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no report of transformers; what was set before is set again."""
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
