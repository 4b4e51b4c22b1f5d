"""Rows of tokens: texts of C4 shards, tokenised and laid end to end."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from twelvefold.core import data as datasets
from twelvefold.papers.random_scaling.language_model.local_data import TEXT

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TRAINING, HELD_OUT = "en/c4-train.*.json.gz", "en/c4-validation.*.json.gz"
_TOGETHER = 1000  # texts that are tokenised in one call


def documents(shards: Sequence[Path]) -> Iterator[str]:
    """The texts of C4 shards (gzip, one JSON object with a field "text" per line), in their order, read as needed.

    Raises:
        DataDamaged: a shard is cut off, no gzip file or without a line, or a line is something else.
    """
    for shard in shards:
        number = 0
        try:
            with gzip.open(shard, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    yield _text(line, shard, number)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise datasets.damaged(TEXT, f"{shard} cannot be read after line {number} ({error}); was it cut off?"
                                   ) from error
        if not number:
            raise datasets.damaged(TEXT, f"{shard} has no line")


def _text(line: str, shard: Path, number: int) -> str:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise datasets.damaged(TEXT, f"{shard}, line {number} is not JSON ({error})") from error
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise datasets.damaged(TEXT, f"{shard}, line {number} is no JSON object with a field 'text'")
    return str(value["text"])


def packed(texts: Iterable[str], tokenizer: Tokenizer, separator: int, width: int, rows: int) -> Tensor:
    """Tokenise texts, put `separator` behind each, lay them end to end and cut the result into rows.

    As usual in pre-training, a row may hold several texts, and a text may go on in the next row; attention is not cut
    where a text ends.

    Args:
        texts: read only as far as needed.
        tokenizer: of the model.
        separator: the token that ends a text.
        width: tokens of a row.
        rows: how many rows are wanted.

    Returns:
        int32 `[at most rows, width]`; fewer where the texts do not suffice.

    Raises:
        ValueError: width or rows is below 1, or the texts do not fill one row.
    """
    if width < 1 or rows < 1:
        raise ValueError(f"width = {width}, rows = {rows}; both must be at least 1")
    pieces: list[np.ndarray] = []
    count = 0
    source = iter(texts)
    while count < rows * width and (some := list(islice(source, _TOGETHER))):
        encoded = tokenizer.encode_batch(some, add_special_tokens=False)
        pieces += [np.array([*item.ids, separator], dtype=np.int32) for item in encoded]
        count += sum(len(item.ids) + 1 for item in encoded)
    full = min(rows, count // width)
    if not full:
        raise ValueError(f"texts: {count} tokens do not fill one row of {width}; more text or shorter rows are needed")
    return torch.from_numpy(np.concatenate(pieces)[: full * width].reshape(full, width))
