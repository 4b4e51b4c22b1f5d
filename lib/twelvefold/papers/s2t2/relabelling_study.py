"""The experiment on the relabelling problem: a source model, and plans learnt from target texts alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from twelvefold.core.seeds import numpy_generator, torch_generator
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2.adaptation import exported, finetune, learn_plan
from twelvefold.papers.s2t2.anatomy import support
from twelvefold.papers.s2t2.bits_per_byte import score
from twelvefold.papers.s2t2.body import source_vectors
from twelvefold.papers.s2t2.descent import draw_order
from twelvefold.papers.s2t2.plans import PlanModel, draw_scores, uniform_marginals, vectors_of
from twelvefold.papers.s2t2.relabelling import (
    Relabelling,
    documents_of,
    draw_relabelling,
    entropy_rate,
    recovered,
    source_texts,
    target_texts,
    tiny_model,
    write_vectors,
)
from twelvefold.papers.s2t2.tokenization import Document
from twelvefold.papers.s2t2.translation import Vectors, translate


def relabelling_runs(
    seed: int, replicate: int, sources: int, targets: int, texts: int, held_out: int, length: int, width: int,
    layers: int, source_steps: int, source_rate: float, steps: int, rate: float, batch: int, starts: int,
    kinds: list[str], device: str | torch.device = "cpu", dtype: str = "float32",
) -> dict[str, Any]:  # fmt: skip
    """One training run: draw a problem, train a source model, learn a plan of each kind, and score held-out texts.

    Args:
        seed, replicate: of all draws. sources, targets: v and u symbols.
        texts, held_out: how many texts train the source model and the plans (different ones), and are scored.
        length: symbols of a text. width, layers: of the source model.
        source_steps, source_rate: updates and peak learning rate of the source model. steps, rate: of a plan.
        batch: texts of an update. kinds: of `PlanModel`.
        starts: how many plans are learnt of each kind, from different scores; kept is the one that costs the fewest
            bits on the texts it was learnt from.

    Returns:
        `columns`, one entry per kind: share of target symbols recovered, bits per symbol of the learnt and of the right
        plan, entropy rate, mean number of source symbols per target symbol, and share of the mass on the right symbols;
        `plans`: weights `[v][u]` per kind; `classes` `[v]`.
    """
    problem = draw_relabelling(sources, targets, numpy_generator(seed, replicate, "problem"))
    drawn = numpy_generator(seed, replicate, "texts")
    known, unseen, scored = (source_texts(problem, n, length, drawn) for n in (texts, texts, held_out))
    model = tiny_model(sources, torch_generator(seed, replicate, "weights"), width=width, layers=layers).to(device)
    order = draw_order(texts, max(source_steps, steps), batch, torch_generator(seed, replicate, "order"))
    recipe = Recipe(steps=source_steps, learning_rate=source_rate, warmup=source_steps // 10)
    made = finetune(model, source_vectors(model), documents_of(known), order[:source_steps], recipe, micro=batch)
    write_vectors(model, *made.vectors)
    learning = documents_of(target_texts(problem, unseen))
    scoring = documents_of(target_texts(problem, scored))
    right = (problem.classes[:, None] == torch.arange(targets)).float().to(device)
    ideal = score(model, translate(right, source_vectors(model)), scoring).bits_per_byte
    columns: dict[str, list[Any]] = {}
    plans: dict[str, list[list[float]]] = {}
    for kind in kinds:
        drawn_starts = torch_generator(seed, replicate, "scores")  # the same scores for every kind
        tried = [_learnt(model, kind, learning, order[:steps], rate, problem, drawn_starts) for _ in range(starts)]
        plan, vectors = tried[int(np.argmin([score(model, each[1], learning).bits_per_byte for each in tried]))]
        bits = score(model, vectors, scoring).bits_per_byte
        share = float((plan * right).sum() / plan.sum())
        row = {"kind": kind, "recovered": recovered(plan, problem.classes), "bits": bits, "right_bits": ideal,
               "entropy_rate": entropy_rate(problem), "support": float(support(plan).double().mean()),
               "right_mass": share}  # fmt: skip
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
        plans[kind] = plan.cpu().tolist()
    return {"columns": columns, "plans": plans, "classes": problem.classes.tolist()}


def _learnt(
    model: Any, kind: str, learning: list[Document], order: Tensor, rate: float, problem: Relabelling,
    start: torch.Generator,
) -> tuple[Tensor, Vectors]:  # fmt: skip
    """The plan learnt from target texts, and the vectors it makes."""
    how, vectors = PlanModel(kind=kind), source_vectors(model)  # type: ignore[arg-type]  # checked there
    marginals = uniform_marginals(len(problem.classes), len(problem.transition), vectors.embedding.device)
    scores = draw_scores(how, marginals, start)
    recipe = Recipe(steps=len(order), learning_rate=rate, clip=None)
    found = learn_plan(model, vectors, how, marginals, scores, learning, order, recipe, micro=order.shape[1])
    plan = exported(how, found, marginals)
    return plan.weights, vectors_of(how, plan, vectors)
