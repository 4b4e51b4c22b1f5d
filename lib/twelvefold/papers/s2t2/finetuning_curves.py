"""Curves of continual finetuning: texts in the tokens of an arm, and scores of held-out texts while a model learns."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from twelvefold.core.seeds import torch_generator
from twelvefold.papers.s2t2.bits_per_byte import Precision, score
from twelvefold.papers.s2t2.descent import draw_order
from twelvefold.papers.s2t2.protein_problem import Problem, kept_problem, target_documents
from twelvefold.papers.s2t2.source_models import Source, load_source, member_name, source_documents
from twelvefold.papers.s2t2.tokenization import Document
from twelvefold.papers.s2t2.translation import Vectors


class Task(NamedTuple):
    """A source model, a problem, and its texts in the tokens of one arm.

    Attributes:
        source: the pretrained model. problem: the split and the new tokenizer.
        training, validation, held_out: documents.
    """

    source: Source
    problem: Problem
    training: list[Document]
    validation: list[Document]
    held_out: list[Document]


def task_of(drawn: dict[str, Any], own_tokens: bool, device: str | torch.device) -> Task:
    """The task of one training run, in source tokens or in those of the new tokenizer; drawn once for all arms.

    Args:
        drawn: `seed`, `replicate` and `problem`, as in `finetuning_runs`. own_tokens: whether in source tokens.

    Raises:
        ValueError: fewer than one validation text, and as `draw_problem` and `load_source`.
    """
    return _task(drawn["seed"], drawn["replicate"], own_tokens, json.dumps(drawn["problem"]), str(device))


@lru_cache(maxsize=2)  # source and target tokens of one training run
def _task(seed: int, replicate: int, own_tokens: bool, settings: str, device: str) -> Task:
    asked = json.loads(settings)
    kept = asked["validation"]
    if kept < 1:
        raise ValueError(f"validation = {kept}; at least 1 text is needed")
    source = _source(member_name(asked["model"], replicate), asked["letters"], device)
    problem = kept_problem(
        asked["dataset"], asked["limit"], seed, replicate, targets=asked["targets"], length=asked["length"],
        training=None if asked["texts"] is None else asked["texts"] + kept, held_out=asked["held_out"],
        tokenizer_proteins=asked["tokenizer_proteins"],
    )  # fmt: skip

    def documents(texts: list[str]) -> list[Document]:
        return source_documents(source, texts) if own_tokens else target_documents(problem, texts)

    training, validation = problem.training[kept:], problem.training[:kept]
    return Task(source, problem, documents(training), documents(validation), documents(problem.held_out))


@lru_cache(maxsize=5)  # the members of a tiny model; of a large one there is only one
def _source(name: str, letters: str | None, device: str) -> Source:
    return load_source(name, letters=letters, device=device)


def order_of(drawn: dict[str, Any], task: Task, steps: int) -> Tensor:
    """Numbers of the texts of each step `[steps, batch]`; a longer order begins as a shorter one does.

    So all arms of a training run see the same texts in the same step.
    """
    generator = torch_generator(drawn["seed"], drawn["replicate"], "order of texts")
    return draw_order(len(task.training), steps, drawn["training"]["batch"], generator)


def scores_of(model: Any, vectors: Vectors, task: Task, training: dict[str, Any]) -> list[float]:
    """Bits per residue of the held-out and of the validation texts."""
    precision: Precision = training["precision"]
    found = score(model, vectors, [*task.held_out, *task.validation], batch_tokens=training["batch_tokens"],
                  precision=precision)  # fmt: skip
    ends = slice(len(task.held_out)), slice(len(task.held_out), None)
    return [float(found.bits[part].sum() / found.predicted_bytes[part].sum()) for part in ends]


def columns_of(
    records: Sequence[Sequence[float]], task: Task, order: Tensor, flops: Callable[[int], float], frozen: bool
) -> dict[str, list[Any]]:
    """The columns of a curve.

    Args:
        records: number of updates, then `scores_of`. order: texts of each step `[steps, batch]`.
        flops: operations of a step by its number of predicted tokens. frozen: whether the body was.

    Returns:
        step; residues and gflops (10^9 operations) up to there; bits and validation (bits per residue); frozen.
    """
    texts = [[task.training[int(i)] for i in row] for row in order]
    residues = np.cumsum([0] + [sum(d.predicted_bytes for d in row) for row in texts])
    cost = np.cumsum([0.0] + [flops(sum(len(d.ids) - 1 for d in row)) / 1e9 for row in texts])
    steps = [int(record[0]) for record in records]
    return {
        "step": steps, "residues": residues[steps].tolist(), "gflops": cost[steps].tolist(),
        "bits": [record[1] for record in records], "validation": [record[2] for record in records],
        "frozen": [int(frozen)] * len(steps),
    }  # fmt: skip


def joined(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """A curve that goes on from the end of another: the first point of the second is the last one of the first."""
    moved = {name: [value + before[name][-1] for value in after[name]] for name in ("step", "residues", "gflops")}
    return {name: [*before[name], *{**after, **moved}[name][1:]] for name in before}
