"""The experiment on continual finetuning: every arm sees the same texts in the same order, and is scored on its way."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import torch_generator
from twelvefold.core.sweep import sweep
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2.adaptation import Learnt, body_parameters, exported, finetune, learn_plan
from twelvefold.papers.s2t2.baselines import gaussian_vectors, piece_plan
from twelvefold.papers.s2t2.costs import finetuning_flops, learning_flops
from twelvefold.papers.s2t2.descent import Watching
from twelvefold.papers.s2t2.finetuning_curves import Task, columns_of, joined, order_of, scores_of, task_of
from twelvefold.papers.s2t2.plans import PlanModel, draw_scores, uniform_marginals, vectors_of
from twelvefold.papers.s2t2.protein_problem import references, token_frequencies
from twelvefold.papers.s2t2.tokenization import Vocabulary, bytes_per_token, document
from twelvefold.papers.s2t2.translation import Vectors, translate

LEARNT, UNTRAINED = "sparse_sinkhorn", "no_pretraining"
ARMS = ("source", "gaussian", "pieces", LEARNT, UNTRAINED)


def finetuning_runs(
    seed: int, replicate: int, arm: str, rate: float, problem: dict[str, Any], training: dict[str, Any],
    plan: dict[str, Any] | None = None, device: str | torch.device = "cpu", checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One curve: finetune all weights from the start of an arm, and score held-out texts on the way.

    Args:
        seed, replicate: of all draws. arm: one of `ARMS`. rate: largest learning rate.
        problem: `model`, `dataset`, `limit` (records read), `letters`, `targets` (u), `length`, `texts` (for training;
            None: all), `validation` (texts that are neither trained on nor held out), `held_out`, `tokenizer_proteins`.
        training: `steps`, `batch`, `micro`, `warmup`, `precision`, `batch_tokens` (of scoring), and `moments`, numbers
            of updates after which models are scored.
        plan: of the arm "sparse_sinkhorn" alone, as in `plan_runs`; it is learnt from the first texts of the order, and
            finetuning goes on with the next ones.

    Returns:
        `columns`: step, residues and gflops since the beginning (the learning of the plan included), bits and
        validation (bits per residue), frozen (1 while a plan is learnt).

    Raises:
        ValueError: as `check_training`, or a number of the problem that is out of range.
    """
    check_training(training, arm, plan)
    drawn = {"seed": seed, "replicate": replicate, "problem": problem, "training": training}
    learnt = None if plan is None else sweep(plan_runs, [{**drawn, "plan": plan}], device=device)[0]
    return _finetuned(drawn, arm, rate, learnt, device, checkpoint)


def live_runs(arm: str, rate: float, plan_rate: float, plan_steps: int, drawn: dict[str, Any]) -> dict[str, Any]:
    """The same at once and without keeping anything, for trying out.

    Args:
        plan_rate, plan_steps: of the arm that learns a plan. drawn: `seed`, `replicate`, `problem` and `training`.

    Raises:
        ValueError: as `finetuning_runs`.
    """
    plan = {"steps": plan_steps, "rate": plan_rate} if arm == LEARNT else None
    check_training(drawn["training"], arm, plan)
    return _finetuned(drawn, arm, rate, None if plan is None else plan_runs(**drawn, plan=plan), "cpu", None)


def _finetuned(
    drawn: dict[str, Any], arm: str, rate: float, learnt: dict[str, Any] | None, device: str | torch.device,
    checkpoint: Checkpoint | None,
) -> dict[str, Any]:  # fmt: skip
    training, replicate = drawn["training"], drawn["replicate"]
    task = task_of(drawn, arm == "source", device)
    model, vectors = copy.deepcopy(task.source.model), _start(drawn, arm, task, learnt)
    if arm == UNTRAINED:
        redraw_body(model, torch_generator(drawn["seed"], replicate, "body"))
    seen = 0 if learnt is None else learnt["columns"]["step"][-1]
    order = order_of(drawn, task, training["steps"] + seen)[seen:]

    def look(state: dict[str, Any]) -> list[float]:
        leaves = state["leaves"]
        current = Vectors(leaves["embedding"], leaves.get("head", leaves["embedding"]))
        return [state["step"], *scores_of(model, current, task, training)]

    watching = Watching(look, training["moments"], checkpoint, [0, *scores_of(model, vectors, task, training)])
    recipe = Recipe(training["steps"], rate, training["warmup"], "constant", precision=training["precision"])
    finetune(model, vectors, task.training, order, recipe, micro=training["micro"], checkpoint=watching,
             label=f"finetuning, {arm} {replicate}")  # fmt: skip
    found = columns_of(watching.seen, task, order, partial(finetuning_flops, model, vectors), frozen=False)
    return {"columns": found if learnt is None else joined(learnt["columns"], found)}


def plan_runs(
    seed: int, replicate: int, problem: dict[str, Any], training: dict[str, Any], plan: dict[str, Any],
    device: str | torch.device = "cpu", checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Learn a plan with the model frozen, and score held-out texts on the way.

    Args:
        plan: `steps` and `rate` (a constant one). Others as in `finetuning_runs`.

    Returns:
        `columns` as there; `embedding` and `head` (None when they are tied): E' and L' of the plan.
    """
    check_training(training, LEARNT, plan)
    drawn = {"seed": seed, "replicate": replicate, "problem": problem, "training": training}
    task = task_of(drawn, False, device)
    model, vectors, how = task.source.model, task.source.vectors, PlanModel()
    marginals = uniform_marginals(len(vectors.embedding), problem["targets"], vectors.embedding.device)
    scores = draw_scores(how, marginals, torch_generator(seed, replicate, "scores"))
    order = order_of(drawn, task, plan["steps"])

    def made(current: Learnt) -> Vectors:
        return vectors_of(how, exported(how, current, marginals), vectors)

    def look(state: dict[str, Any]) -> list[float]:
        current = Learnt(state["leaves"]["scores"], state["kept"]["potentials"], state["losses"])
        return [state["step"], *scores_of(model, made(current), task, training)]

    first = made(Learnt(scores, None, torch.zeros(0).numpy()))
    watching = Watching(look, training["moments"], checkpoint, [0, *scores_of(model, first, task, training)])
    recipe = Recipe(plan["steps"], plan["rate"], decay="constant", clip=None, precision=training["precision"])
    learnt = learn_plan(model, vectors, how, marginals, scores, task.training, order, recipe, micro=training["micro"],
                        checkpoint=watching, label=f"plan {replicate}")  # fmt: skip
    last = made(learnt)
    flops = partial(learning_flops, model, last, len(scores))
    columns = columns_of(watching.seen, task, order, flops, frozen=True)
    return {"columns": columns, "embedding": last.embedding, "head": None if last.tied else last.head}


def reference_runs(
    seed: int, replicate: int, problem: dict[str, Any], device: str | torch.device = "cpu"
) -> dict[str, Any]:  # fmt: skip
    """What the held-out texts cost without a network, in bits per residue, and residues per token of both tokenizers.

    Returns:
        as `protein_problem.references`; `source_token_unigram`: independent source tokens, with counts as there;
        source_compression, target_compression: residues per token; held_out_residues.
    """
    task = task_of({"seed": seed, "replicate": replicate, "problem": problem}, True, device)
    own, held_out = task.source.vocabulary, task.problem.held_out
    known = task.problem._replace(training=task.problem.training[problem["validation"] :])
    return {
        **references(known), "source_token_unigram": _unigram_of(own, known.training, held_out),
        "source_compression": bytes_per_token(own, held_out),
        "target_compression": bytes_per_token(known.target, held_out),
        "held_out_residues": sum(map(len, held_out)),
    }  # fmt: skip


def _unigram_of(vocabulary: Vocabulary, known: list[str], asked: list[str]) -> float:
    """Bits per byte of independent tokens; the separator, which is never predicted, has no share."""
    shares = token_frequencies(vocabulary, known)
    shares[vocabulary.separator_id] = 0
    logs = (shares / shares.sum()).log2()
    bits = -sum(float(logs[document(vocabulary, text).ids[1:]].sum()) for text in asked)
    return bits / sum(len(text.encode()) for text in asked)


def check_training(training: dict[str, Any], arm: str, plan: dict[str, Any] | None) -> None:
    """Refuse an unknown arm, a plan that does not belong to it, and moments from which no curve can be made.

    Raises:
        ValueError: as said. The curve of the arm with a plan must have a point after `steps` updates in all, so both
            `plan["steps"]` and `steps - plan["steps"]` must be among the moments.
    """
    if arm not in ARMS:
        raise ValueError(f"arm = {arm!r}; known are {list(ARMS)}")
    if (arm == LEARNT) != (plan is not None):
        raise ValueError(f"arm = {arm!r}, plan = {plan}; steps and rate of a plan are needed for {LEARNT!r} alone")
    steps, moments = training["steps"], training["moments"]
    needed = {0, steps} | (set() if plan is None else {plan["steps"], steps - plan["steps"]})
    if moments != sorted({*moments}) or not needed <= {*moments} or moments[0] < 0 or moments[-1] > steps:
        raise ValueError(f"moments = {moments}; rising numbers from 0 to {steps}, among them {sorted(needed)}, are "
                         "needed")  # fmt: skip


def _start(drawn: dict[str, Any], arm: str, task: Task, learnt: dict[str, Any] | None) -> Vectors:
    """The vectors that finetuning starts from."""
    vectors, kept = task.source.vectors, task.source.kept
    if arm == "source":
        return vectors
    if arm == "pieces":
        weights = piece_plan(task.source.vocabulary, task.problem.target, kept)
        return translate(weights.to(vectors.embedding.device), vectors)
    if learnt is None:
        generator = torch_generator(drawn["seed"], drawn["replicate"], "gaussian vectors")
        return gaussian_vectors(vectors, drawn["problem"]["targets"], generator)
    embedding = torch.as_tensor(learnt["embedding"]).to(vectors.embedding)
    head = learnt["head"]
    return Vectors(embedding, embedding if head is None else torch.as_tensor(head).to(embedding))


def redraw_body(model: Any, generator: torch.Generator) -> None:
    """Replace the weights of the body: matrices N(0, s^2) with the model's own initial s, norms one, biases zero."""
    spread = float(getattr(model.config, "initializer_range", 0.02))
    with torch.no_grad():
        for name, parameter in body_parameters(model).items():
            if parameter.ndim >= 2:
                parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
