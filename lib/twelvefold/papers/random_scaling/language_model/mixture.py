"""The mixture a run trains on: rows of web text, a share of them replaced by rows of questions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from twelvefold.core import seeds


class Mixture:
    """The training rows of one run, a pure function of base seed, run and step; nothing has to be kept to resume it.

    Row n of the run (n = 0, 1, ... over all batches) is one of questions where floor((n + 1) share + u) exceeds
    floor(n share + u), with one uniform u per run. So every run has the same number of question rows up to one, evenly
    spread: the share does not vary between runs of one share. Both kinds are taken in a random order of the run, each
    row once before any comes a second time. The order does not depend on the share, so run r has the same data order at
    every share.

    Args:
        text: rows of web text, int32 `[n, width]`.
        questions: rows of answered questions, int32 `[m, width]`.
        share: part of the rows that are questions, 0 to 1. All rows have the same number of tokens, so it is also the
            share of tokens.
        seed: base seed. run: number of the run.

    Raises:
        ValueError: a share outside 0 to 1, or rows of two widths.
    """

    def __init__(self, text: Tensor, questions: Tensor, share: float, seed: int, run: int) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share = {share}; a number from 0 to 1 is needed")
        if text.shape[1] != questions.shape[1]:
            raise ValueError(f"text has rows of {text.shape[1]} tokens, questions of {questions.shape[1]}; they must "
                             "be equal")
        self.text, self.questions, self.share = text, questions, share
        self.phase = float(seeds.numpy_generator(seed, run, "mixture").random())
        self._place = _places(seed, run)

    def before(self, number: int) -> int:
        """How many of the first `number` rows of the run are question rows."""
        return math.floor(number * self.share + self.phase)

    def batch(self, step: int, size: int) -> tuple[Tensor, np.ndarray]:
        """Rows `[size, width]` (int64) of update `step` (0, 1, ...), and which are questions `[size]` (bool)."""
        rows, kinds = [], []
        for number in range(step * size, (step + 1) * size):
            asked = self.before(number)
            kinds.append(self.before(number + 1) > asked)
            pool, index = (self.questions, asked) if kinds[-1] else (self.text, number - asked)
            rows.append(pool[self._place("questions" if kinds[-1] else "text", index, len(pool))])
        return torch.stack(rows).long(), np.array(kinds)


def _places(seed: int, run: int) -> Callable[[str, int, int], int]:
    """A function of (kind, index, rows in all) that gives the row taken as the index-th one."""

    @lru_cache(maxsize=4)  # the current pass over each kind, and the next
    def order(kind: str, passed: int, count: int) -> np.ndarray:
        return seeds.numpy_generator(seed, run, f"order of {kind}, pass {passed}").permutation(count)

    def place(kind: str, index: int, count: int) -> int:
        passed, position = divmod(index, count)
        return int(order(kind, passed, count)[position])

    return place
