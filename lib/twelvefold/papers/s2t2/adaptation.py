"""Adapting a causal language model to a new vocabulary: learning a plan, finetuning, carrying a plan over.

The loss of a step is nats per predicted byte, so that steps of different tokenizers on the same texts mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2.bits_per_byte import Precision, document_nats
from twelvefold.papers.s2t2.body import freeze, source_vectors
from twelvefold.papers.s2t2.descent import Kept, check_order, descend, micro_batches
from twelvefold.papers.s2t2.plans import Marginals, Plan, PlanModel, Potentials, plan_of, vectors_of
from twelvefold.papers.s2t2.tokenization import Document, Vocabulary, check_same_tokens
from twelvefold.papers.s2t2.translation import Norm, Vectors, translate


class Learnt(NamedTuple):
    """Learnt scores C `[v, u]`, potentials to start a projection from, and the loss before each update `[steps]`."""

    scores: Tensor
    potentials: Potentials | None
    losses: np.ndarray


class Finetuned(NamedTuple):
    """Finetuned vectors `[u, d]`, tied where they were, and the loss before each update `[steps]`."""

    vectors: Vectors
    losses: np.ndarray


def learn_plan(
    model: Any, source: Vectors, how: PlanModel, marginals: Marginals, scores: Tensor, documents: Sequence[Document],
    order: Tensor, recipe: Recipe, *, micro: int = 1, checkpoint: Checkpoint | None = None, label: str = "plan",
) -> Learnt:  # fmt: skip
    """Learn scores by descent on the loss of target texts; the model stays as it is (it is frozen here).

    Gradients of the micro-batches are added at E' and L' `[u, d]`; the plan is made, and differentiated, once a step.

    Args:
        model: on the device to train on.
        source: E and L `[v, d]` of the source tokens that are the rows of the plan.
        how: how scores become a plan; a projection goes on from the potentials of the step before.
        marginals: masses of rows `[v]` and columns `[u]`.
        scores: C to start from `[v, u]`; they are not changed.
        documents: in target tokens. order: numbers of the documents of each step `[steps, batch]`.
        recipe: steps and optimiser. micro: documents computed together.
        checkpoint: where to resume from and to save to. label: name of the progress line.

    Raises:
        ValueError: an order, a document or a shape that does not fit.
        FloatingPointError: a loss is not finite.
    """
    check_order(order, len(documents), recipe)
    freeze(model)
    leaf = scores.detach().clone().requires_grad_()
    kept: Kept = {}

    def gradient(step: int) -> float:
        plan = plan_of(how, leaf, marginals, _potentials(kept))
        if plan.potentials is not None:
            kept["potentials"] = plan.potentials
        vectors = vectors_of(how, plan, source)
        ends = _leaves(vectors)
        loss = _add_gradients(model, ends, micro_batches(documents, order[step], micro), recipe.precision)
        outputs = [vectors.embedding] if vectors.tied else list(vectors)
        torch.autograd.backward(outputs, [end.grad for end in ends[: len(outputs)]])
        return loss

    losses = descend({"scores": leaf}, gradient, recipe, kept=kept, checkpoint=checkpoint, label=label)
    return Learnt(leaf.detach(), _potentials(kept), losses)


def _potentials(kept: Kept) -> Potentials | None:
    if "potentials" not in kept:
        return None
    source, target = kept["potentials"]
    return source, target


def _leaves(vectors: Vectors) -> Vectors:
    """The vectors as leaves that take gradients, tied where they were."""
    embedding = vectors.embedding.detach().clone().requires_grad_()
    return Vectors(embedding, embedding if vectors.tied else vectors.head.detach().clone().requires_grad_())


def _add_gradients(model: Any, vectors: Vectors, parts: Sequence[Sequence[Document]], precision: Precision) -> float:
    """Add the gradient of nats per byte of all parts to the leaves, and return the loss."""
    total, loss = sum(document.predicted_bytes for part in parts for document in part), 0.0
    for part in parts:
        value = document_nats(model, vectors, part, precision).sum() / total
        value.backward()  # type: ignore[no-untyped-call]
        loss += float(value.detach())
    return loss


def finetune(
    model: Any, vectors: Vectors, documents: Sequence[Document], order: Tensor, recipe: Recipe, *, micro: int = 1,
    checkpoint: Checkpoint | None = None, label: str = "finetuning",
) -> Finetuned:  # fmt: skip
    """Continual finetuning of all weights: the body of `model`, in place, and the vectors of the vocabulary in use.

    The model's own embedding and output matrix are neither used nor changed. No dropout, so nothing is drawn.

    Args:
        model: in float32, on the device to train on; copy it first where it is needed unchanged.
        vectors: E' and L' `[u, d]` to start from; they are not changed. Tied ones stay tied.
        documents, order, recipe, micro, checkpoint, label: as in `learn_plan`.

    Raises:
        ValueError: an order or a document that does not fit, or a model that is not in float32.
        FloatingPointError: a loss is not finite.
    """
    check_order(order, len(documents), recipe)
    leaves = {f"body.{name}": parameter for name, parameter in body_parameters(model).items()}
    if strange := {str(p.dtype) for p in leaves.values()} - {"torch.float32"}:
        raise ValueError(f"model has weights of {sorted(strange)}; float32 is needed, with precision = 'bfloat16' in "
                         "the recipe for fast products")  # fmt: skip
    model.eval()
    for parameter in leaves.values():
        parameter.requires_grad_(True)
    ends = _leaves(vectors)
    leaves |= {"embedding": ends.embedding} | ({} if ends.tied else {"head": ends.head})

    def gradient(step: int) -> float:
        return _add_gradients(model, ends, micro_batches(documents, order[step], micro), recipe.precision)

    losses = descend(leaves, gradient, recipe, checkpoint=checkpoint, label=label)
    freeze(model)
    embedding = ends.embedding.detach()
    return Finetuned(Vectors(embedding, embedding if ends.tied else ends.head.detach()), losses)


def body_parameters(model: Any) -> dict[str, Tensor]:
    """The weights of the body by name, without the token embedding."""
    embedding = model.get_input_embeddings().weight
    return {name: p for name, p in model.base_model.named_parameters() if p is not embedding}


def transfer(
    plan: Tensor, learnt_with: Vocabulary, used_with: Vocabulary, model: Any, *, kept: Tensor | None = None,
    norm: Norm = "convex",
) -> Vectors:  # fmt: skip
    """E' and L' `[u, d]` of another model from a plan learnt with a model that has the same source tokens.

    The width of the other model does not matter: a plan knows tokens only (weak-to-strong transfer of the paper).

    Args:
        plan: `[v, u]`. learnt_with, used_with: source vocabularies of the two models. model: the other one.
        kept: numbers of the source tokens that are rows of the plan; None: all of the vocabulary.

    Raises:
        ValueError: different source vocabularies, or a plan with another number of rows.
    """
    check_same_tokens(learnt_with, used_with)
    rows = torch.arange(len(used_with)) if kept is None else kept
    if plan.shape[0] != len(rows):
        raise ValueError(f"plan has {plan.shape[0]} rows; one for each of {len(rows)} source tokens is needed")
    return translate(plan, source_vectors(model, rows), norm=norm)


def exported(how: PlanModel, learnt: Learnt, marginals: Marginals) -> Plan:
    """The plan of learnt scores, without gradients; its last projection goes on from the learnt potentials."""
    with torch.no_grad():
        return plan_of(how, learnt.scores, marginals, learnt.potentials)
