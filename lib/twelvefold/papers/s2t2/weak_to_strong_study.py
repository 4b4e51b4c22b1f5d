"""The experiment on weak-to-strong transfer: plans learnt on a small and on a large model with the same source tokens,
used in the large one beside vectors that need no learning.

All sweeps take a `run`: its `seed` and `replicate`; the names of the `small` and the `large` source model, in which
"{member}" becomes the number of a tiny English model; `problem`, arguments of `draw_problem`, with `dataset` and
`limit` of `load_proteins`; `learning`, per role ("small", "large") `steps`, `batch`, `micro`, `rate`, `precision` and
the `iterations` of a projection; and `group`, how many target tokens count as of like frequency.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import torch_generator
from twelvefold.core.sweep import sweep
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2.adaptation import body_parameters, exported, finetune, learn_plan, transfer
from twelvefold.papers.s2t2.anatomy import Share, effective_sources, top_sources
from twelvefold.papers.s2t2.baselines import gaussian_vectors, piece_plan
from twelvefold.papers.s2t2.bits_per_byte import score
from twelvefold.papers.s2t2.body import freeze
from twelvefold.papers.s2t2.costs import body_weights, learning_flops
from twelvefold.papers.s2t2.descent import draw_order
from twelvefold.papers.s2t2.english_models import MEMBERS
from twelvefold.papers.s2t2.plan_agreement import by_frequency, correlation, exchanged_columns, overlap
from twelvefold.papers.s2t2.plans import Marginals, PlanModel, draw_scores, plan_of, uniform_marginals, vectors_of
from twelvefold.papers.s2t2.protein_problem import (
    Problem,
    kept_problem,
    references,
    target_documents,
    token_frequencies,
)
from twelvefold.papers.s2t2.source_models import Source, load_source
from twelvefold.papers.s2t2.tokenization import Document
from twelvefold.papers.s2t2.translation import Vectors, translate

ARMS = ("small", "own", "transferred", "untrained", "permuted", "permuted_alike", "pieces", "gaussian")
Run = Mapping[str, Any]
Arguments = tuple[tuple[str, Any], ...]


def plan_runs(
    run: dict[str, Any], role: str, start: int = 0, device: str | torch.device = "cpu", dtype: str = "float32",
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Learn a sparse plan on one of the two models, whose weights stay as they are; both see the same texts.

    Args:
        run: see this module. role: "small" or "large". start: which draw of initial scores; each model has its own.

    Returns:
        `plan` `[v, u]`, columns of mass 1; `losses` `[steps]`; and `columns`: predicted `tokens` and `flops` of the
        training (see `costs`), `weights` of the model's body, `sources`, the effective number of source tokens of a
        target token (mean).
    """
    source, problem, learning = _source(run, role, device, dtype), problem_of(run), run["learning"][role]
    how, marginals, scores = _start(run, role, start, source, problem)
    documents = _target_texts(*_key(run), "training")
    order = draw_order(len(documents), learning["steps"], learning["batch"], _generator(run, "order of learning"))
    learnt = learn_plan(source.model, source.vectors, how, marginals, scores, documents, order,
                        _recipe(learning, clip=None), micro=learning["micro"], checkpoint=checkpoint,
                        label=f"plan of the {role} model")  # fmt: skip
    plan = exported(how, learnt, marginals)
    tokens = [sum(len(documents[i].ids) - 1 for i in step) for step in order.tolist()]
    vectors = vectors_of(how, plan, source.vectors)
    flops = sum(learning_flops(source.model, vectors, len(source.kept), n) for n in tokens)
    columns = {"tokens": sum(tokens), "flops": flops, "weights": body_weights(source.model),
               "sources": float(effective_sources(plan.weights).mean())}  # fmt: skip
    return {"plan": plan.weights, "losses": learnt.losses, "columns": columns}


def arm_runs(
    run: dict[str, Any], arm: str, finetuning: dict[str, Any] | None, device: str | torch.device = "cpu",
    dtype: str = "float32", checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Bits per residue of held-out proteins for one arm, before and after continual finetuning of all weights.

    Args:
        run: see this module; all arms see the same texts in the same order.
        arm: "small": the small model with the plan learnt on it. In the large model: "own", the plan learnt on it;
            "transferred", the one of the small model; "untrained", the plan that the small one began with; "permuted",
            the transferred plan with the columns of all tokens exchanged; "permuted_alike", the same among tokens of
            like frequency; "pieces", "gaussian", see `baselines`.
        finetuning: `steps`, `batch`, `micro`, `rate`, `precision`; None: the arm is scored as it is.

    Returns:
        `columns`: stage ("zero_shot", "finetuned") and bits.

    Raises:
        ValueError: an unknown arm.
    """
    if arm not in ARMS:
        raise ValueError(f"arm = {arm!r}; known are {list(ARMS)}")
    source, problem = _source(run, "small" if arm == "small" else "large", device, dtype), problem_of(run)
    vectors = _vectors(run, arm, source, problem, device, dtype)
    held_out = _target_texts(*_key(run), "held_out")
    stages = {"zero_shot": score(source.model, vectors, held_out).bits_per_byte}
    if finetuning is not None:
        texts = _target_texts(*_key(run), "training")
        order = draw_order(len(texts), finetuning["steps"], finetuning["batch"], _generator(run, "order of finetuning"))
        with _kept_body(source.model):
            made = finetune(source.model, vectors, texts, order, _recipe(finetuning), micro=finetuning["micro"],
                            checkpoint=checkpoint, label=f"finetuning, {arm}")  # fmt: skip
            stages["finetuned"] = score(source.model, made.vectors, held_out).bits_per_byte
    return {"columns": {"stage": list(stages), "bits": list(stages.values())}}


def agreement_runs(
    run: dict[str, Any], device: str | torch.device = "cpu", dtype: str = "float32",
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """How much alike are the plans that the two models learn?

    Args:
        run: see this module. A second plan of the small model is learnt from other scores for this.

    Returns:
        `columns`, one entry per pair of plans: pair; overlap, the mass that columns share, mean over target tokens;
        weighted, the same with tokens weighted by frequency; vectors, the correlation of the vectors that both plans
        make in the large model.
    """
    large, problem = _source(run, "large", device, dtype), problem_of(run)
    plans = {role: _plan(run, role, 0, device, dtype) for role in ("small", "large")}
    began = {role: _untrained(run, role, large, problem) for role in ("small", "large")}
    mixed = {arm: plans["small"][:, _exchange(run, arm, problem)] for arm in ("permuted", "permuted_alike")}
    pairs = {"models": (plans["small"], plans["large"]), "starts": (began["small"], began["large"])}
    pairs |= {arm: (plan, plans["large"]) for arm, plan in mixed.items()}
    pairs |= {f"{role}_start": (plans[role], began[role]) for role in plans}
    again = plan_runs(run, "small", 1, device, dtype, checkpoint)["plan"]
    pairs["again"] = plans["small"], again
    frequency = token_frequencies(problem.target, problem.training)
    columns: dict[str, list[Any]] = {"pair": list(pairs), "overlap": [], "weighted": [], "vectors": []}
    for one, other in pairs.values():
        shared = overlap(one, other).double().cpu()
        columns["overlap"].append(float(shared.mean()))
        columns["weighted"].append(float(shared @ frequency))
        columns["vectors"].append(correlation(*(translate(p, large.vectors).embedding for p in (one, other))))
    return {"columns": columns}


def reference_runs(run: dict[str, Any]) -> dict[str, Any]:
    """Bits per residue of the held-out proteins without a network (see `protein_problem.references`), and their number.

    Args:
        run: see this module.
    """
    problem = problem_of(run)
    return {"bits": references(problem), "proteins": len(problem.held_out)}


def token_sources(run: Run, role: str, plan: np.ndarray, token: str, count: int = 6) -> list[Share]:
    """The source tokens with the largest weights in a target token, of a plan `[v, u]` of `plan_runs`.

    Args:
        run: see this module. role: of the model the plan was learnt on. token: its text. count: at most so many.

    Raises:
        ValueError: a text that is no target token of this run.
    """
    source, pieces = _source(run, role, "cpu", "float32"), problem_of(run).target.pieces
    if token.encode() not in pieces:
        raise ValueError(f"token = {token!r} is no target token of this run")
    place = pieces.index(token.encode())
    return top_sources(torch.as_tensor(plan), place, source.vocabulary, count=count, kept=source.kept)


def frequent_tokens(run: Run, count: int) -> list[str]:
    """The most frequent target tokens of the training texts, most frequent first; the separator is left out."""
    target = problem_of(run).target
    ranked = by_frequency(token_frequencies(target, problem_of(run).training)).tolist()
    return [target.pieces[i].decode() for i in ranked if i != target.separator_id][:count]


def problem_of(run: Run) -> Problem:
    """Texts and target tokenizer of a run."""
    return kept_problem(seed=run["seed"], replicate=run["replicate"], **run["problem"])


def _key(run: Run) -> tuple[int, int, Arguments]:
    return run["seed"], run["replicate"], tuple(sorted(run["problem"].items()))


@lru_cache(maxsize=4)  # both parts of two runs
def _target_texts(seed: int, replicate: int, arguments: Arguments, part: str) -> list[Document]:
    problem = kept_problem(seed=seed, replicate=replicate, **dict(arguments))
    return target_documents(problem, getattr(problem, part))


def _source(run: Run, role: str, device: str | torch.device, dtype: str) -> Source:
    return _loaded(run[role].format(member=run["replicate"] % MEMBERS), str(device), dtype)


@lru_cache(maxsize=2)  # the small and the large model of a run
def _loaded(name: str, device: str, dtype: str) -> Source:
    return load_source(name, device=device, dtype=getattr(torch, dtype))


def _generator(run: Run, purpose: str) -> torch.Generator:
    return torch_generator(run["seed"], run["replicate"], purpose)


def _recipe(training: Mapping[str, Any], clip: float | None = 1.0) -> Recipe:
    return Recipe(steps=training["steps"], learning_rate=training["rate"], precision=training["precision"], clip=clip)


def _start(run: Run, role: str, start: int, source: Source, problem: Problem) -> tuple[PlanModel, Marginals, Tensor]:
    """How a plan is made, its marginals, and the scores that learning begins with."""
    how = PlanModel(iterations=run["learning"][role]["iterations"])
    marginals = uniform_marginals(len(source.kept), len(problem.target), source.vectors.embedding.device)
    return how, marginals, draw_scores(how, marginals, _generator(run, f"scores {start} of the {role} model"))


def _untrained(run: Run, role: str, source: Source, problem: Problem) -> Tensor:
    """The plan `[v, u]` of the scores that learning began with; any model with these source tokens gives the sizes."""
    how, marginals, scores = _start(run, role, 0, source, problem)
    return plan_of(how, scores, marginals).weights


def _plan(run: Run, role: str, start: int, device: str | torch.device, dtype: str) -> Tensor:
    """The learnt plan `[v, u]`, from the sweep that learnt it."""
    point = {"run": dict(run), "role": role, "start": start}
    (made,) = sweep(plan_runs, [point], device=device, dtype=dtype, label="plans")
    return torch.as_tensor(made["plan"]).to(device)


def _exchange(run: Run, arm: str, problem: Problem) -> Tensor:
    """Whose column each target token gets `[u]`: "permuted" among all tokens, "permuted_alike" among like ones."""
    group = run["group"] if arm == "permuted_alike" else len(problem.target)
    return exchanged_columns(token_frequencies(problem.target, problem.training), group, _generator(run, arm))


def _vectors(run: Run, arm: str, source: Source, problem: Problem, device: str | torch.device, dtype: str) -> Vectors:
    """The vectors of an arm in its model, before any finetuning."""
    if arm == "gaussian":
        return gaussian_vectors(source.vectors, len(problem.target), _generator(run, "random vectors"))
    if arm == "transferred":
        learnt_with = _source(run, "small", device, dtype).vocabulary
        return transfer(_plan(run, "small", 0, device, dtype), learnt_with, source.vocabulary, source.model,
                        kept=source.kept)  # fmt: skip
    if arm in ("small", "own"):
        return translate(_plan(run, "small" if arm == "small" else "large", 0, device, dtype), source.vectors)
    if arm == "untrained":
        return translate(_untrained(run, "small", source, problem), source.vectors)
    if arm == "pieces":
        return translate(piece_plan(source.vocabulary, problem.target, source.kept).to(device), source.vectors)
    plan = _plan(run, "small", 0, device, dtype)
    return translate(plan[:, _exchange(run, arm, problem).to(plan.device)], source.vectors)


@contextmanager
def _kept_body(model: Any) -> Iterator[None]:
    """Let the body be finetuned, and put its weights back, so that a model is loaded once for all arms."""
    body = body_parameters(model)
    before = {name: parameter.detach().to("cpu", copy=True) for name, parameter in body.items()}
    try:
        yield
    finally:
        freeze(model)
        with torch.no_grad():
            for name, parameter in body.items():
                parameter.copy_(before[name])
                parameter.grad = None
