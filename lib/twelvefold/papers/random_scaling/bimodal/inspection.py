"""One trained network at work on one string: what it writes, and where each of its heads looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from twelvefold.papers.random_scaling.greedy import greedy_continuations
from twelvefold.papers.random_scaling.one_at_a_time import module_of
from twelvefold.papers.random_scaling.populations import config_of, weights_of
from twelvefold.papers.random_scaling.reporting import per_run
from twelvefold.tasks.examples import SEPARATOR_ID, readable
from twelvefold.tasks.prompt_populations import task_of
from twelvefold.tasks.string_copying import StringCopying
from twelvefold.tasks.vocabulary import EOS, EOS_ID, SOS_ID


class Look(NamedTuple):
    """A network on one string of n letters.

    Attributes:
        words: the tokens it reads, `[T]`: start, string, separator, string.
        maps: where it looks, `[layers, heads, T, T]` (query, key), rows sum to 1.
        predicted: the most likely next token at each of the n + 1 last places of `words`, given the true copy.
        written: what it writes by itself (greedy decoding), up to the end token or n + 3 tokens.
        near, far: at every output place, the keys (`[n]`) that are the longest training length back, and n back; at the
            second one stands the token that is wanted next.
    """

    words: list[str]
    maps: NDArray[np.float32]
    predicted: list[str]
    written: list[str]
    near: NDArray[np.int64]
    far: NDArray[np.int64]


def representatives(runs: pd.DataFrame, scale: str, length: int) -> tuple[int, int]:
    """The run that follows position most clearly and the one that follows content most clearly.

    By the shares of the probe; among equal ones the least and the most exact at a test length.

    Raises:
        KeyError: no such rows.
    """
    shares = pd.DataFrame({name: per_run(runs, scale, length, name) for name in ("content", "exact", "replicate")})
    ordered = shares.sort_values(["content", "exact", "replicate"])["replicate"].astype(int)
    return int(ordered.iloc[0]), int(ordered.iloc[-1])


def string_tokens(task: StringCopying, string: str) -> torch.Tensor:
    """The whole sequence of copying a string `[1, 2 n + 3]`.

    Raises:
        ValueError: no letter, one that is not in the alphabet, or one twice.
    """
    words, letters = task.words(), string.replace(" ", "")
    known = words[SEPARATOR_ID + 1 :]
    if not letters or len(set(letters)) < len(letters) or any(letter not in known for letter in letters):
        raise ValueError(f"string = {string!r}; different letters from {known[0]} to {known[-1]} are needed")
    ids = [words.index(letter) for letter in letters]
    return torch.tensor([[SOS_ID, *ids, SEPARATOR_ID, *ids, EOS_ID]])


@torch.no_grad()
def look_into(point: Mapping[str, Any], result: Mapping[str, Any], replicate: int, string: str) -> Look:
    """Let one run of a copying population read a string and its copy.

    Args:
        point, result: of `prompt_population`, with weights kept.
        replicate: number of the run.
        string: letters of the task's alphabet, each at most once.

    Raises:
        ValueError: a string that the task or the position table cannot hold, or another task.
    """
    task = task_of(point["task"], point["settings"])
    if not isinstance(task, StringCopying):
        raise ValueError(f"task = {point['task']!r}; only 'copying' has letters to type")
    tokens, config = string_tokens(task, string), config_of(point)
    n, inputs = (tokens.shape[1] - 3) // 2, tokens[:, :-1]
    if inputs.shape[1] + 2 > config.longest:
        raise ValueError(f"string = {string!r} has {n} letters; the position table has room for "
                         f"{(config.longest - 4) // 2}")  # fmt: skip
    weights = weights_of(result, replicate)
    logits, maps = module_of(config, weights, 0).look(inputs)
    first = n + 1  # place of the separator, which predicts the first letter of the copy
    written = greedy_continuations(config, weights, tokens[:, : first + 1], n + 3)[0, 0].tolist()
    written = written[: written.index(EOS_ID) + 1] if EOS_ID in written else written
    queries, names = np.arange(first, first + n), task.words()
    return Look(
        [names[token] for token in inputs[0].tolist()], torch.cat(maps).numpy(),
        [names[token] for token in logits[0, first:].argmax(-1).tolist()], readable(task, written).split(),
        queries - max(length for length, _ in task.lengths), queries - n,
    )  # fmt: skip


def as_written(look: Look) -> str:
    """What the network writes, as one text without the end token."""
    return "".join(word for word in look.written if word != EOS)
