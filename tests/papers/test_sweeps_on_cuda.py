"""What the notebooks compute on CUDA is what they compute on the CPU, for points small enough for a test.

Where there is no CUDA the device is a pretended one (`tests.pretended_cuda`): then these tests find tensors left on the
other device, values looked at while a graph is captured, and numbers that a replay would not renew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import torch_generator
from twelvefold.papers.ddeq import classification, completion, gradient_study
from twelvefold.papers.ddeq.populations import all_points
from twelvefold.papers.igda import numerical_study
from twelvefold.papers.igda.enco import fit
from twelvefold.papers.igda.enco_targets import Imagination, target_scores
from twelvefold.papers.s2t2 import (
    anatomy_study,
    continual_finetuning_study,
    frozen_body_study,
    projections,
    relabelling_study,
    weak_to_strong_study,
)
from twelvefold.papers.weight_ensembles import populations
from twelvefold.tasks.grammar_populations import grammar_population
from twelvefold.tasks.prompt_populations import prompt_population

from tests.nn.transformer_cases import Killed, Mortal
from tests.papers.ddeq import test_classification, test_completion, test_gradient_check
from tests.papers.igda import test_igda_enco_targets, test_igda_numerical
from tests.papers.s2t2 import (
    test_s2t2_compression_and_anatomy,
    test_s2t2_continual_finetuning,
    test_s2t2_frozen_body,
    test_s2t2_weak_to_strong,
)
from tests.tasks import test_grammar_populations, test_prompt_populations

Case = tuple[Callable[..., dict[str, Any]], dict[str, Any]]
CAPTURED = 24  # inner steps: more than from where on a flow is captured
# with the paper's steps of 5 an untrained network doubles a rounding in every step
SHORT = {"steps": CAPTURED, "step_size": 0.2}


def classifiers() -> list[Case]:
    """Training and scoring of every kind of network; the inner flow is captured, with dropout that is drawn anew."""
    network = {**test_classification.TINY["network"], "dropout": 0.2}
    recipe = {**test_classification.RECIPE, "steps": 2, "record_at": [1, 2]}
    scale = test_classification.scale_of(
        runs=2, network=network, recipe=recipe, solver=SHORT, points=None
    )
    return [(classification.train_classifiers, points[0]) for points in all_points(scale, 10_000).values()]


def completions() -> list[Case]:
    """Training of both networks."""
    point = test_completion.point
    return [(completion.train_completion, point(solver=SHORT)), (completion.train_completion, point("pcn"))]


def flows() -> list[Case]:
    """Gradients and flows of untrained networks."""
    one, flow = test_gradient_check, {**test_gradient_check.FLOW, "steps": CAPTURED}
    short = {"flow_steps": [CAPTURED], "polish": CAPTURED, "applications": [1, 2], "backward": 10}
    return [
        (gradient_study.gradient_runs, {"seed": 10_000, "replicates": [0], **one.SMALL, **short}),
        (gradient_study.gradient_runs, {"seed": 10_000, "replicates": [0], **one.LARGE, **short}),
        (gradient_study.flow_runs, {**flow, "decay": 0.9}),
    ]


def translations() -> list[Case]:
    """Projections, and every way to learn or finetune vectors of tokens."""
    body, curves, travel = test_s2t2_frozen_body, test_s2t2_continual_finetuning, test_s2t2_weak_to_strong
    anatomy = test_s2t2_compression_and_anatomy
    arms = [*body.FREE, *([arm, 0.01] for arm in body.LEARNT)]
    matrices = {"seed": 10_000, "replicates": [0, 1], "sources": 12, "targets": 5}
    relabelling = {
        "seed": 10_000, "replicate": 0, "sources": 6, "targets": 3, "texts": 12, "held_out": 4, "length": 8, "width": 8,
        "layers": 1, "source_steps": 3, "source_rate": 0.01, "steps": 3, "rate": 0.05, "batch": 4, "starts": 2,
        "kinds": ["sparse_sinkhorn", "entropic_sinkhorn"],
    }  # fmt: skip
    return [
        (projections.error_runs, {**matrices, "scales": [0.1], "iterations": [1, 5]}),
        (relabelling_study.relabelling_runs, relabelling),
        (frozen_body_study.arm_runs, {"replicate": 0, "arms": arms, **body.SHARED}),
        *((continual_finetuning_study.finetuning_runs, {**curves.DRAWN, "arm": arm, "rate": curves.RATE,
           **({"plan": curves.PLAN} if arm == curves.LEARNT else {})}) for arm in curves.ARMS),
        (weak_to_strong_study.plan_runs, {"run": travel.RUN, "role": "small"}),
        (weak_to_strong_study.arm_runs, {"run": travel.RUN, "arm": "transferred", "finetuning": travel.FINETUNING}),
        (anatomy_study.anatomy_run, {**anatomy.POINT, "variant": {}}),
    ]  # fmt: skip


def imagined(device: str) -> dict[str, Any]:
    """Scores of the candidates for an intervention."""
    rows, config = test_igda_enco_targets.rows_of_chain(2, 60, 10_000), test_igda_enco_targets.TINY
    nothing, counts = torch.zeros(2, 3, 0, 3).long(), test_igda_enco_targets.CATEGORIES
    state = fit(rows.to(device), nothing.to(device), counts, config, torch_generator(10_000, 0, "enco"))
    return {"scores": target_scores(state, Imagination(graphs=2, rows=4), 0)}


def discoveries() -> list[Case]:
    """The loop with drawn experts, and ENCO."""
    one = test_igda_numerical
    loop, skill = one.LOOP, {**one.SKILL, "separation": 1.5}
    enco = {"graph": "asia", "rows": 60, "intervened": 5, "config": one.TINY}
    return [
        (numerical_study.expert_runs, {**loop, "graph": "asia", "skill": skill, "each": 2, "policies": [one.CHOSEN]}),
        (numerical_study.enco_runs, {**loop, **enco, "policies": [one.CHOSEN, one.OWN]}),
        (imagined, {}),
    ]


def ensembles() -> list[Case]:
    """Ingredients of a weight ensemble, and what is done with them."""
    ingredients = {
        "seed": 10_000, "replicate": 0, "data": "mnist5k", "architecture": "mlp", "size": 7, "members": 3, "steps": 2,
        "batch": 4, "regime": "heterogeneous", "initialisation": "shared",
    }  # fmt: skip
    return [(populations.population, ingredients)]


def transformers() -> list[Case]:
    """Populations of transformers on prompts and on sentences."""
    prompts = test_prompt_populations.POINT
    recipe = {**prompts["recipe"], "steps": 12}
    short = {**prompts, "recipe": recipe, "record_at": [0, 5, 12]}
    return [(prompt_population, short), (grammar_population, test_grammar_populations.POINT)]


FAMILIES = [classifiers, completions, flows, translations, discoveries, ensembles, transformers]


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_cuda_gives_what_the_cpu_gives(deterministic: None, family: Callable[[], list[Case]]) -> None:
    for run, point in family():
        there, here = run(**point, device="cuda"), run(**point, device="cpu")
        same(there, here, run.__name__)


def resumable() -> list[Case]:
    """One point of everything that keeps checkpoints."""
    body, curves = test_s2t2_frozen_body, test_s2t2_continual_finetuning
    arms = [["sparse_sinkhorn", 0.01], ["column_softmax", 0.01]]
    finetuned = {**curves.DRAWN, "arm": curves.LEARNT, "rate": curves.RATE, "plan": curves.PLAN}
    return [
        classifiers()[0], completions()[0], transformers()[0],
        (frozen_body_study.arm_runs, {"replicate": 0, "arms": arms, **body.SHARED}),
        (continual_finetuning_study.finetuning_runs, finetuned),
    ]  # fmt: skip


@pytest.mark.gpu
@pytest.mark.parametrize("number", range(5))
def test_a_killed_run_goes_on_on_cuda(deterministic: None, tmp_path: Path, number: int) -> None:
    """What a checkpoint holds lies on the CPU when it is read: all of it has to find its device again."""
    run, point = resumable()[number]
    mortal = Mortal(tmp_path / "state.npz", every=0)
    mortal.left = 1
    with pytest.raises(Killed):
        run(**point, device="cuda", checkpoint=mortal)
    resumed = run(**point, device="cuda", checkpoint=Checkpoint(tmp_path / "state.npz", every=0))
    same(resumed, run(**point, device="cuda"), run.__name__)


def same(there: Any, here: Any, where: str) -> None:
    """Equal to one hundredth: an update by Adam makes much of a rounding where a gradient is nearly 0."""
    if isinstance(here, dict):
        assert there.keys() == here.keys(), where
        for name, value in here.items():
            if name.endswith((".in.bias", ".shift")):  # among them biases of keys, which no softmax sees: their
                continue  # gradient is a rounding, and Adam follows it
            same(there[name], value, f"{where}.{name}")
    elif isinstance(here, torch.Tensor):
        same(there.cpu().numpy(), here.cpu().numpy(), where)
    elif isinstance(here, list) and any(isinstance(value, dict | list | str) for value in here):
        assert len(there) == len(here), where
        for number, (one, other) in enumerate(zip(there, here, strict=True)):
            same(one, other, f"{where}[{number}]")
    elif not isinstance(here, str | None):  # names, e.g. of the best of near ties, may differ
        there, here = np.asarray(there, float), np.asarray(here, float)
        assert there.shape == here.shape, where
        apart, size = (float(np.linalg.norm(np.nan_to_num(values))) for values in (there - here, here))
        assert apart <= 0.01 * size + 2e-3 and (np.isnan(there) == np.isnan(here)).all(), f"{where}: {apart} of {size}"
