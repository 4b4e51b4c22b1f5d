"""The sweeps of result 2: the body stays as it is, and arms differ in how a target token is made of source tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2.adaptation import exported, learn_plan
from twelvefold.papers.s2t2.baselines import piece_plan
from twelvefold.papers.s2t2.bits_per_byte import Precision, Scores, score
from twelvefold.papers.s2t2.descent import draw_order
from twelvefold.papers.s2t2.plans import (
    Kind,
    Marginals,
    PlanModel,
    draw_scores,
    plan_of,
    uniform_marginals,
    vectors_of,
)
from twelvefold.papers.s2t2.protein_problem import Problem, draw_problem, references, target_documents
from twelvefold.papers.s2t2.source_models import Source, load_source
from twelvefold.papers.s2t2.source_scores import score_source
from twelvefold.papers.s2t2.tokenization import Document
from twelvefold.papers.s2t2.translation import Vectors, translate
from twelvefold.tasks.proteins import AMINO_ACIDS, load_proteins

UNTRAINED = ("source", "pieces", "start")  # "source" gives the rows "source" and "source_letters"
# kind of plan, and kind of the scores that learning starts from
LEARNT: Mapping[str, tuple[Kind, Kind]] = {
    "sparse_sinkhorn": ("sparse_sinkhorn", "sparse_sinkhorn"),
    "column_softmax": ("column_softmax", "column_softmax"),
    "entropic_sinkhorn": ("entropic_sinkhorn", "entropic_sinkhorn"),
    "unconstrained": ("unconstrained", "unconstrained"),  # from the plan that sparse Sinkhorn starts from
    "unconstrained_normal": ("unconstrained", "sparse_sinkhorn"),  # from the normal scores themselves
}


class Bench(NamedTuple):
    """What all arms of a run share: source model, marginals, and texts in target tokens."""

    source: Source
    problem: Problem
    marginals: Marginals
    training: list[Document]
    validation: list[Document]
    held_out: list[Document]


class Learning(NamedTuple):
    """How plans are learnt: updates of `batch` texts, `micro` at a time, and the regularisation of entropic plans."""

    steps: int
    batch: int
    micro: int
    regularisation: float
    precision: Precision


class _Part(Checkpoint):
    """The checkpoint of one arm among several: results of the arms before it are kept beside its own state."""

    def __init__(self, whole: Checkpoint, finished: list[Any]) -> None:
        self.whole, self.finished = whole, finished

    def load(self) -> dict[str, Any] | None:
        saved = self.whole.load()
        return saved["state"] if saved is not None and len(saved["finished"]) == len(self.finished) else None

    def save(self, state: dict[str, Any], force: bool = False) -> bool:
        return self.whole.save({"finished": self.finished, "state": state}, force)


def arm_runs(
    seed: int, replicate: int, source: str, proteins: dict[str, Any], letters: bool, validation: int,
    problem: dict[str, Any], learning: dict[str, Any], arms: list[list[Any]], device: str | torch.device = "cpu",
    dtype: str = "float32", checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Score arms of one training run: the same split, tokenizer, texts in the same order, and initial scores for all.

    Args:
        seed, replicate: of all draws. source: a source model. proteins: arguments of `load_proteins`.
        letters: whether the rows of the plan are only the source tokens made of amino-acid letters.
        validation: number of training texts that no plan is learnt from, to choose a learning rate by.
        problem: arguments of `draw_problem`. learning: fields of `Learning`.
        arms: pairs of a name, of `UNTRAINED` or `LEARNT`, and a learning rate (None for the untrained).

    Returns:
        `residues` of each held-out protein, and `arms`: per result its arm, rate, bits of each held-out protein, bits
        per residue of the validation texts (None: untrained), and losses, the bits per residue of each batch before
        its update. A learning that diverges has no bits and no losses.

    Raises:
        ValueError: an unknown arm, a rate where none belongs or none where one does, or as `draw_bench`.
    """
    check_arms(arms)
    bench = draw_bench(seed, replicate, source, proteins, letters, validation, problem, device)
    saved = None if checkpoint is None else checkpoint.load()
    finished = list(saved["finished"]) if saved else []
    for arm, rate in arms[len(finished) :]:
        part = None if checkpoint is None else _Part(checkpoint, finished)
        finished.append(_results(bench, Learning(**learning), seed, replicate, arm, rate, part))
    residues = [len(text) for text in bench.problem.held_out]
    return {"residues": residues, "arms": [one for many in finished for one in many]}


def reference_runs(
    seed: int, replicate: int, proteins: dict[str, Any], validation: int, problem: dict[str, Any],
    dtype: str = "float32",
) -> dict[str, Any]:  # fmt: skip
    """Bits per residue of the held-out proteins without any network, see `protein_problem.references`.

    Args: as of `arm_runs`.
    """
    drawn = draw_problem(load_proteins(**proteins).sequences, seed, replicate, **problem)
    return references(drawn._replace(training=drawn.training[: len(drawn.training) - validation]))


def check_arms(arms: Sequence[Sequence[Any]]) -> None:
    """Refuse an unknown arm, or a learning rate where none belongs or none where one does.

    Raises:
        ValueError: names the arm, its rate and what is accepted.
    """
    for arm, rate in arms:
        fits = rate is None if arm in UNTRAINED else arm in LEARNT and rate is not None and rate > 0
        if not fits:
            raise ValueError(f"arm = {arm!r}, rate = {rate}; one of {', '.join(UNTRAINED)} without a rate, or one of "
                             f"{', '.join(LEARNT)} with a positive one is needed")  # fmt: skip


def draw_bench(
    seed: int, replicate: int, source: str, proteins: Mapping[str, Any], letters: bool, validation: int,
    problem: Mapping[str, Any], device: str | torch.device = "cpu",
) -> Bench:  # fmt: skip
    """Load the source model and draw the problem of a run.

    Args: as of `arm_runs`.

    Raises:
        ValueError: no text would be left to learn from or to validate with, or as the loaders and `draw_problem`.
    """
    drawn = draw_problem(load_proteins(**proteins).sequences, seed, replicate, **problem)
    left = len(drawn.training) - validation
    if not 0 < left < len(drawn.training):
        raise ValueError(f"validation = {validation}; 1 to {len(drawn.training) - 1} of the {len(drawn.training)} "
                         "training texts are needed")  # fmt: skip
    loaded = load_source(source, letters=AMINO_ACIDS if letters else None, device=device)
    marginals = uniform_marginals(len(loaded.kept), len(drawn.target), device=loaded.vectors.embedding.device)
    texts = target_documents(drawn, drawn.training)
    return Bench(loaded, drawn, marginals, texts[:left], texts[left:], target_documents(drawn, drawn.held_out))


def _results(
    bench: Bench, learning: Learning, seed: int, replicate: int, arm: str, rate: float | None,
    checkpoint: Checkpoint | None,
) -> list[dict[str, Any]]:  # fmt: skip
    if arm == "source":
        both = score_source(bench.source, bench.problem.held_out, AMINO_ACIDS)
        return [_result("source", None, both.whole), _result("source_letters", None, both.letters)]
    if rate is None:
        plan = _pieces(bench) if arm == "pieces" else initial_plan(bench, learning, seed, replicate)
        vectors = translate(plan, bench.source.vectors)
        return [_result(arm, None, score(bench.source.model, vectors, bench.held_out))]
    try:
        vectors, losses = learn(bench, learning, seed, replicate, arm, rate, checkpoint)
    except FloatingPointError:
        return [{"arm": arm, "rate": rate, "validation": None, "bits": [], "losses": []}]
    validation, found = (score(bench.source.model, vectors, part) for part in (bench.validation, bench.held_out))
    return [_result(arm, rate, found, validation.bits_per_byte, losses)]


def _result(
    arm: str, rate: float | None, scores: Scores, validation: float | None = None,
    losses: Sequence[float] | np.ndarray = (),
) -> dict[str, Any]:  # fmt: skip
    return {"arm": arm, "rate": rate, "validation": validation, "bits": list(map(float, scores.bits)),
            "losses": list(map(float, losses))}  # fmt: skip


def _pieces(bench: Bench) -> Tensor:
    plan = piece_plan(bench.source.vocabulary, bench.problem.target, bench.source.kept)
    return plan.to(bench.source.vectors.embedding.device)


def initial_plan(bench: Bench, learning: Learning, seed: int, replicate: int) -> Tensor:
    """The plan `[v, u]` that sparse Sinkhorn starts from, made of random scores.

    Args: as of `learn`.
    """
    how, scores = _initial(bench, learning, seed, replicate, "sparse_sinkhorn")
    return plan_of(how, scores, bench.marginals).weights


def _initial(bench: Bench, learning: Learning, seed: int, replicate: int, arm: str) -> tuple[PlanModel, Tensor]:
    """How an arm makes a plan, and what it starts from: the same normal draw for every arm of a run."""
    models = [PlanModel(kind, regularisation=learning.regularisation) for kind in LEARNT[arm]]
    return models[0], draw_scores(models[1], bench.marginals, torch_generator(seed, replicate, "initial scores"))


def learn(
    bench: Bench, learning: Learning, seed: int, replicate: int, arm: str, rate: float,
    checkpoint: Checkpoint | None = None,
) -> tuple[Vectors, np.ndarray]:  # fmt: skip
    """Learn the plan of an arm; all arms of a run see the same texts in the same order.

    Args:
        bench: of the run. learning: how. seed, replicate: of order and scores. arm: of `LEARNT`.
        rate: peak learning rate; it falls linearly to zero. checkpoint: where to resume from and to save to.

    Returns:
        E' and L' `[u, d]` of the learnt plan, and bits per residue of each batch before its update `[steps]`.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    how, scores = _initial(bench, learning, seed, replicate, arm)
    drawn = torch_generator(seed, replicate, "order of texts")
    order = draw_order(len(bench.training), learning.steps, learning.batch, drawn)
    recipe = Recipe(steps=learning.steps, learning_rate=rate, precision=learning.precision)
    made = learn_plan(bench.source.model, bench.source.vectors, how, bench.marginals, scores, bench.training, order,
                      recipe, micro=learning.micro, checkpoint=checkpoint, label=arm)  # fmt: skip
    vectors = vectors_of(how, exported(how, made, bench.marginals), bench.source.vectors)
    return vectors, made.losses / math.log(2)


def arm_points(scale: SimpleNamespace, seed: int) -> list[dict[str, Any]]:
    """The points of the training runs, one each: untrained arms, then learnt ones with every rate of their grid.

    Args:
        scale: sources (a name per run), proteins, letters, validation, problem, learning, and rates per learnt arm.
        seed: of all draws.
    """
    arms = [[arm, None] for arm in UNTRAINED] + [[arm, rate] for arm, rates in scale.rates.items() for rate in rates]
    names = ("proteins", "letters", "validation", "problem", "learning")
    shared = {"seed": seed, "arms": arms, **{name: getattr(scale, name) for name in names}}
    return [{**shared, "replicate": r, "source": name} for r, name in enumerate(scale.sources)]


def reference_points(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The points of `reference_runs` that belong to points of `arm_runs`."""
    names = ("seed", "replicate", "proteins", "validation", "problem")
    return [{name: point[name] for name in names} for point in points]


def learning_curve(bench: Bench, learning: Learning, seed: int, arm: str, rate: float) -> tuple[np.ndarray, float]:
    """Learn one plan at once: bits per residue before each update `[steps]`, and of the held-out proteins.

    Raises:
        ValueError: an unknown arm, or a learning rate at which the loss is not finite.
    """
    check_arms([[arm, rate]])
    try:
        vectors, losses = learn(bench, learning, seed, 0, arm, rate)
    except FloatingPointError as error:
        raise ValueError(f"rate = {rate}: {error}") from error
    return losses, score(bench.source.model, vectors, bench.held_out).bits_per_byte
