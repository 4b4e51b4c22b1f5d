"""Items: the sequences of a data set with the bookkeeping that scoring and grouping need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

# What may stand between the head noun of the subject and the main verb.
SUBJECTS = ("plain", "pp", "subject-gap", "object-gap")
TRANSFORM, COPY = 0, 1
# Value of `hierarchical` and `linear` on copy items, which test no rule.
NO_ANSWER = -1


@dataclass(frozen=True, eq=False)
class Items:
    """N sequences, one row each.

    tokens: `[N, T]` ids of `SOS w_1 .. w_n . TASK v_1 .. v_m END EOS`, padded with 0 on the right.
    lengths: `[N]` number of ids up to and including EOS.
    query: `[N]` position whose next token is the word that is tested.
    choices: `[N, C]` ids among which the answer is looked for: does, do, doesn't, don't in question formation, singular
    and plural of the main verb in tense inflection.
    hierarchical, linear: `[N]` id of the answer each rule gives: equal on ambiguous items, -1 on copy items.
    task: `[N]` 0 = transform, 1 = copy.
    subject: `[N]` index into `SUBJECTS`.
    tree, template: `[N]` indices into the lists of trees and templates of the task.

    Raises ValueError where the arrays disagree on N.
    """

    tokens: NDArray[np.int16]
    lengths: NDArray[np.int16]
    query: NDArray[np.int16]
    choices: NDArray[np.int16]
    hierarchical: NDArray[np.int16]
    linear: NDArray[np.int16]
    task: NDArray[np.int8]
    subject: NDArray[np.int8]
    tree: NDArray[np.int16]
    template: NDArray[np.int16]

    def __post_init__(self) -> None:
        for field in fields(self):
            shape = getattr(self, field.name).shape
            wide = field.name in ("tokens", "choices")
            if len(shape) != 1 + wide or shape[0] != len(self):
                form = f"[{len(self)}, ...]" if wide else f"[{len(self)}]"
                raise ValueError(f"{field.name} has shape {shape}; needed is {form}, one row per item")

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def take(self, index: ArrayLike) -> Items:
        """Return the items at `index` (numbers `[M]` or a boolean mask `[N]`), in that order; IndexError outside."""
        rows = np.asarray(index)
        if rows.size == 0 and rows.dtype != bool:
            rows = rows.astype(np.intp)
        return Items(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @staticmethod
    def concatenate(parts: Sequence[Items]) -> Items:
        """Return the items of all parts in turn, padded to the widest; ValueError for no parts or unlike choices."""
        if not parts:
            raise ValueError("parts is empty; at least one set of items is needed")
        wide = sorted({part.choices.shape[1] for part in parts})
        if len(wide) > 1:
            raise ValueError(f"parts have {wide} choices per item; accepted are parts of one task")
        width = max(part.tokens.shape[1] for part in parts)
        columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Items)}
        columns["tokens"] = [np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in columns["tokens"]]
        return Items(**{name: np.concatenate(arrays) for name, arrays in columns.items()})
