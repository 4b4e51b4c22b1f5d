"""Notebook 03: curves against plain finetuning, their accounting, resumption, and the report from rows alone."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.seeds import torch_generator
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.nn.training_recipe import Recipe
from twelvefold.papers.s2t2 import adaptation, continual_finetuning, finetuning_curves
from twelvefold.papers.s2t2.adaptation import body_parameters, exported, finetune, learn_plan
from twelvefold.papers.s2t2.baselines import gaussian_vectors
from twelvefold.papers.s2t2.bits_per_byte import score
from twelvefold.papers.s2t2.body import source_vectors
from twelvefold.papers.s2t2.continual_finetuning_study import (
    ARMS,
    LEARNT,
    UNTRAINED,
    finetuning_runs,
    live_runs,
    plan_runs,
    redraw_body,
    reference_runs,
)
from twelvefold.papers.s2t2.costs import finetuning_flops, learning_flops
from twelvefold.papers.s2t2.finetuning_curves import order_of, task_of
from twelvefold.papers.s2t2.plans import PlanModel, draw_scores, uniform_marginals, vectors_of
from twelvefold.papers.s2t2.source_models import Source, load_source
from twelvefold.papers.s2t2.tokenization import encode, tokens_made_of, train_bpe
from twelvefold.papers.s2t2.translation import Vectors

from tests.papers.s2t2.language_models import small_model

PROBLEM: dict[str, Any] = {
    "model": "english small", "dataset": "pyhmmer_proteome", "limit": 200, "letters": None, "targets": 40, "length": 16,
    "texts": 14, "validation": 2, "held_out": 5, "tokenizer_proteins": 30,
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "steps": 4, "batch": 2, "micro": 2, "warmup": 1, "precision": "float32", "batch_tokens": 256, "moments": [0, 2, 4],
}  # fmt: skip
DRAWN: dict[str, Any] = {"seed": 10_000, "replicate": 1, "problem": PROBLEM, "training": TRAINING}
PLAN: dict[str, Any] = {"steps": 2, "rate": 0.05}
RATE = 0.01
SCALE = {"problem": PROBLEM, "training": TRAINING, "plan": PLAN, "rates": {arm: [RATE] for arm in ARMS},
         "training_runs": 5}  # fmt: skip


@pytest.fixture
def kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sweeps of their own, and source models that are not left to other tests."""
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path / "cache"))
    for kept in (finetuning_curves._task, finetuning_curves._source):
        kept.cache_clear()
    yield
    for kept in (finetuning_curves._task, finetuning_curves._source):
        kept.cache_clear()


def curve_of(arm: str, **changed: Any) -> pd.DataFrame:
    drawn = {**DRAWN, "training": {**TRAINING, **changed.pop("training", {})}, **changed}
    return pd.DataFrame(live_runs(arm, RATE, PLAN["rate"], 2, drawn)["columns"])


@pytest.mark.parametrize("arm", ["source", "gaussian"])
def test_a_curve_goes_from_the_start_to_what_plain_finetuning_gives(arm: str) -> None:
    curve, task = curve_of(arm), task_of(DRAWN, arm == "source", "cpu")
    model = copy.deepcopy(task.source.model)
    drawn = torch_generator(10_000, 1, "gaussian vectors")
    start = task.source.vectors if arm == "source" else gaussian_vectors(task.source.vectors, 40, drawn)
    assert curve["bits"][0] == score(model, start, task.held_out).bits_per_byte
    recipe = Recipe(4, RATE, 1, "constant")
    made = finetune(model, start, task.training, order_of(DRAWN, task, 4), recipe, micro=2)
    assert curve["bits"].iloc[-1] == pytest.approx(score(model, made.vectors, task.held_out).bits_per_byte, rel=1e-6)
    found = score(model, made.vectors, task.validation).bits_per_byte
    assert curve["validation"].iloc[-1] == pytest.approx(found, rel=1e-6)
    assert list(curve["step"]) == [0, 2, 4] and not curve["frozen"].any()


def test_the_source_arm_starts_as_the_pretrained_model() -> None:
    task = task_of(DRAWN, True, "cpu")
    own = load_source("english small 1")
    assert curve_of("source")["bits"][0] == score(own.model, own.vectors, task.held_out).bits_per_byte


@pytest.mark.parametrize("arm", ["source", LEARNT, UNTRAINED])
def test_looking_changes_nothing_and_equal_seeds_give_equal_curves(arm: str) -> None:
    once, again = curve_of(arm), curve_of(arm)
    pd.testing.assert_frame_equal(once, again)
    often = curve_of(arm, training={"moments": [0, 1, 2, 3, 4]})
    same = often[often["step"].isin(once["step"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(once, same)
    assert len(often) > len(once)
    other = curve_of(arm, seed=10_001)
    assert not np.allclose(other["bits"], once["bits"])


def test_the_frozen_phase_is_learning_a_plan_and_nothing_else() -> None:
    task, how = task_of(DRAWN, False, "cpu"), PlanModel()
    marginals = uniform_marginals(1024, 40)
    scores = draw_scores(how, marginals, torch_generator(10_000, 1, "scores"))
    recipe = Recipe(2, 0.05, decay="constant", clip=None)
    order = order_of(DRAWN, task, 2)
    source = task.source.vectors
    learnt = learn_plan(task.source.model, source, how, marginals, scores, task.training, order, recipe, micro=2)
    vectors = vectors_of(how, exported(how, learnt, marginals), source)
    found = plan_runs(**DRAWN, plan=PLAN)
    torch.testing.assert_close(found["embedding"], vectors.embedding)
    expected = score(task.source.model, vectors, task.held_out).bits_per_byte
    assert found["columns"]["bits"][-1] == pytest.approx(expected, rel=1e-6)
    assert found["columns"]["step"] == [0, 2] and found["columns"]["frozen"] == [1, 1] and found["head"] is None


def test_finetuning_goes_on_from_the_plan_with_the_next_texts() -> None:
    task, curve, learnt = task_of(DRAWN, False, "cpu"), curve_of(LEARNT), plan_runs(**DRAWN, plan=PLAN)
    assert list(curve["step"]) == [0, 2, 4, 6] and list(curve["frozen"]) == [1, 1, 0, 0]
    model, order = copy.deepcopy(task.source.model), order_of(DRAWN, task, 6)
    start = Vectors(learnt["embedding"], learnt["embedding"])
    made = finetune(model, start, task.training, order[2:], Recipe(4, RATE, 1, "constant"), micro=2)
    expected = score(model, made.vectors, task.held_out).bits_per_byte
    assert curve["bits"].iloc[-1] == pytest.approx(expected, rel=1e-6)


def test_residues_and_operations_are_counted_by_hand() -> None:
    task = task_of(DRAWN, False, "cpu")
    rows = [[task.training[int(i)] for i in row] for row in order_of(DRAWN, task, 6)]
    residues = [sum(d.predicted_bytes for d in row) for row in rows]
    tokens = [sum(len(d.ids) - 1 for d in row) for row in rows]
    vectors = gaussian_vectors(task.source.vectors, 40, torch_generator(0, 0, "any"))
    cost = [learning_flops(task.source.model, vectors, 1024, n) for n in tokens[:2]]
    cost += [finetuning_flops(task.source.model, vectors, n) for n in tokens[2:]]
    curve = curve_of(LEARNT)
    assert list(curve["residues"]) == [sum(residues[:n]) for n in (0, 2, 4, 6)]
    np.testing.assert_allclose(curve["gflops"], [sum(cost[:n]) / 1e9 for n in (0, 2, 4, 6)])
    for arm in ("source", "pieces"):  # the same texts in the same step, whatever the tokenizer
        assert list(curve_of(arm)["residues"]) == [sum(residues[:n]) for n in (0, 2, 4)]


def test_the_control_keeps_the_vectors_and_redraws_the_body() -> None:
    model = copy.deepcopy(task_of(DRAWN, False, "cpu").source.model)
    before = copy.deepcopy(model)
    redraw_body(model, torch_generator(10_000, 0, "body"))
    for name, parameter in body_parameters(model).items():
        if parameter.ndim >= 2:
            assert 0.8 < float(parameter.std()) / model.config.initializer_range < 1.2
            assert not torch.equal(parameter, body_parameters(before)[name])
        else:
            assert (parameter == 1).all()
    assert torch.equal(source_vectors(model).embedding, source_vectors(before).embedding)
    assert curve_of(UNTRAINED)["bits"][0] != curve_of("gaussian")["bits"][0]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("arm", ["gaussian", LEARNT])
def test_a_stopped_point_goes_on_with_the_records_it_had(
    arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_apart: None
) -> None:
    point = {**DRAWN, "arm": arm, "rate": RATE, "plan": PLAN if arm == LEARNT else None}
    whole = finetuning_runs(**point)
    original, calls = adaptation._add_gradients, [0]

    def counted(*arguments: Any) -> float:
        calls[0] += 1
        if calls[0] == 4:
            raise Stopped
        return original(*arguments)

    monkeypatch.setattr(adaptation, "_add_gradients", counted)
    with pytest.raises(Stopped):
        finetuning_runs(**point, checkpoint=Checkpoint(tmp_path / "state.npz", every=0))
    again = finetuning_runs(**point, checkpoint=Checkpoint(tmp_path / "state.npz", every=0))
    assert again == whole and calls[0] == 5


def test_a_stopped_plan_goes_on_with_the_records_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = {"steps": 2, "rate": 0.05}
    whole = plan_runs(**DRAWN, plan=plan)
    original, calls = adaptation._add_gradients, [0]

    def counted(*arguments: Any) -> float:
        calls[0] += 1
        if calls[0] == 2:
            raise Stopped
        return original(*arguments)

    monkeypatch.setattr(adaptation, "_add_gradients", counted)
    with pytest.raises(Stopped):
        plan_runs(**DRAWN, plan=plan, checkpoint=Checkpoint(tmp_path / "state.npz", every=0))
    again = plan_runs(**DRAWN, plan=plan, checkpoint=Checkpoint(tmp_path / "state.npz", every=0))
    assert again["columns"] == whole["columns"] and torch.equal(again["embedding"], whole["embedding"])


def with_free_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source model of one size whose output matrix is not its embedding, rows cut down to tokens of letters."""
    vocabulary = train_bpe(["plain english text"], 260)

    def loaded(name: str, *, letters: str | None, device: str) -> Source:
        model = small_model("llama free", tokens=260).requires_grad_(False)
        kept = torch.arange(260) if letters is None else tokens_made_of(vocabulary, letters)
        return Source(model, vocabulary, kept, source_vectors(model, kept))

    monkeypatch.setattr(finetuning_curves, "load_source", loaded)


@pytest.mark.parametrize("arm", ARMS)
def test_options_of_large_models(arm: str, monkeypatch: pytest.MonkeyPatch, kept_apart: None) -> None:
    """A free output matrix, a cut-down source vocabulary, bfloat16, micro-batches, and all texts there are."""
    with_free_head(monkeypatch)
    problem = {**PROBLEM, "model": "large", "letters": "ACDEFGHIKLMNPQRSTVWY", "texts": None, "limit": 40,
               "tokenizer_proteins": None}  # fmt: skip
    training = {**TRAINING, "precision": "bfloat16", "micro": 1}
    point = {**DRAWN, "problem": problem, "training": training, "arm": arm, "rate": RATE,
             "plan": PLAN if arm == LEARNT else None}  # fmt: skip
    (found,) = sweep(finetuning_runs, [point])
    curve = pd.DataFrame(found["columns"])
    assert np.isfinite(curve["bits"]).all() and curve["bits"].iloc[-1] < curve["bits"].iloc[0]


def test_references_are_counted_by_hand() -> None:
    found, task = reference_runs(10_000, 1, PROBLEM), task_of(DRAWN, True, "cpu")
    own = task.source.vocabulary
    counts = Counter(token for text in task.problem.training[2:] for token in encode(own, text))
    total = counts.total() + len(own) - 1  # the separator is no token of a text
    asked = [token for text in task.problem.held_out for token in encode(own, text)]
    residues = sum(map(len, task.problem.held_out))
    bits = -sum(math.log2((counts[token] + 1) / total) for token in asked)
    assert found["source_token_unigram"] == pytest.approx(bits / residues, rel=1e-9)
    assert found["held_out_residues"] == residues and found["source_compression"] == residues / len(asked)
    assert {"unigram", "token_unigram", "gzip", "target_compression"} <= {*found}
    known, new = task.problem.training[2:], task.problem.target  # validation texts are not counted
    counts = Counter(token for text in known for token in encode(new, text))
    asked = [token for text in task.problem.held_out for token in encode(new, text)]
    bits = -sum(math.log2((counts[token] + 1) / (counts.total() + 40)) for token in asked)
    assert found["token_unigram"] == pytest.approx(bits / residues, rel=1e-9)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"arm": "dense"}, "arm = 'dense'; known are"),
     ({"arm": LEARNT, "plan": None}, "steps and rate of a plan are needed"),
     ({"plan": PLAN}, "steps and rate of a plan are needed"),
     ({"training": {**TRAINING, "moments": [0, 2]}}, "among them \\[0, 4\\]"),
     ({"training": {**TRAINING, "moments": [0, 4, 2]}}, "rising numbers from 0 to 4"),
     ({"arm": LEARNT, "plan": {"steps": 3, "rate": 0.1}}, "among them \\[0, 1, 3, 4\\]"),
     ({"problem": {**PROBLEM, "validation": 0}}, "validation = 0"),
     ({"problem": {**PROBLEM, "texts": 9_999}}, "training = 10001")],
)  # fmt: skip
def test_bad_points_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        finetuning_runs(**{**DRAWN, "arm": "source", "rate": RATE, **changed})


# ------------------------------------------------------------------------------------------------ the report
FLAT = {"source": (5.0, 4.2), "gaussian": (4.6, 4.4), "pieces": (4.5, 4.4), LEARNT: (4.4, 4.1), UNTRAINED: (4.9, 4.5)}


def made_up(heights: dict[str, tuple[float, float]], rates: tuple[float, ...] = (RATE,)) -> pd.DataFrame:
    """Rows of straight curves: bits and validation from `heights[arm][0]` to `[1]`, five training runs."""
    points, curves = [], []
    for r in range(5):
        for arm, (start, end) in heights.items():
            for place, rate in enumerate(rates):
                steps = [0, 2, 4, 6] if arm == LEARNT else [0, 2, 4]
                line = [start + (end - start) * min(step, 4) / 4 + 0.003 * r * (arm == "source") for step in steps]
                columns = {"step": steps, "residues": [50 * step for step in steps],
                           "gflops": [(2.0 if arm == "source" else 1.0) * step for step in steps], "bits": line,
                           "validation": [value + 0.1 * place for value in line],
                           "frozen": [int(arm == LEARNT and step <= 2) for step in steps]}  # fmt: skip
                points.append({"replicate": r, "arm": arm, "rate": rate})
                curves.append({"columns": columns})
    known = {"unigram": 4.1, "token_unigram": 4.3, "gzip": 4.7, "lzma": 4.7, "source_token_unigram": 4.15,
             "source_compression": 1.0, "target_compression": 1.6, "held_out_residues": 80}  # fmt: skip
    return continual_finetuning.rows_of_study(points, curves, [{**known, "unigram": 4.1 + 0.01 * r} for r in range(5)])


DECIDED = (continual_finetuning.flops_table, continual_finetuning.decisions)


def reported(runs: pd.DataFrame, writers: Any = DECIDED) -> tuple[dict[str, Any], Study]:
    study = Study("s2t2/03_continual_finetuning", "quick", 10_000, "cpu")
    study.scale(quick=SCALE, gpu=SCALE, paper=SCALE)
    study.declare(continual_finetuning.CLAIMS)
    runs = study.runs(runs)
    for write in writers:
        write(study, runs)
    study.done()
    return json.loads((study.folder / "study.json").read_text()), study


def verdicts(written: dict[str, Any]) -> dict[str, str]:
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def test_a_plan_that_is_ahead_holds_and_rows_alone_give_the_same_bytes(project: Path) -> None:
    written, study = reported(made_up(FLAT), continual_finetuning.REPORT)
    assert set(verdicts(written).values()) == {"holds"}
    estimates = {claim["id"]: claim["estimate"]["value"] for claim in written["claims"]}
    assert estimates["area-below-pieces"] == pytest.approx(4.25 - 4.45)
    assert estimates["final-below-random-vectors"] == pytest.approx(4.1 - 4.4)
    assert estimates["pretraining-helps"] == pytest.approx(4.5 - 4.7)
    assert estimates["pretraining-helps-with-a-plan"] == pytest.approx(4.25 - 4.7)
    assert estimates["final-below-source"] == pytest.approx(4.1 - 4.206)
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    again = Study.replay(study.folder)
    again.declare(continual_finetuning.CLAIMS)
    for write in continual_finetuning.REPORT:
        write(again, again.runs())
    again.done()
    assert before == {path.name: path.read_bytes() for path in study.folder.iterdir()}


def test_a_plan_that_is_behind_fails(project: Path) -> None:
    runs = made_up({**FLAT, LEARNT: (6.0, 5.0), "gaussian": (5.0, 4.9), UNTRAINED: (4.6, 4.5)})
    runs.loc[runs["name"] == "token_unigram", "value"] = 4.0
    assert set(verdicts(reported(runs)[0]).values()) == {"fails"}


def test_the_rate_is_chosen_by_validation_texts_and_not_by_held_out_ones(project: Path) -> None:
    runs = made_up(FLAT, (0.001, 0.01))
    better = (runs["rate"] == 0.01) & (runs["arm"] == "pieces")
    runs.loc[better, "bits"] -= 1.0
    assert verdicts(reported(runs)[0])["area-below-pieces"] == "holds"
    runs.loc[better, "validation"] -= 0.5
    assert verdicts(reported(runs)[0])["area-below-pieces"] == "fails"


def test_equal_cost_is_read_off_the_curves(project: Path) -> None:
    _, study = reported(made_up(FLAT))
    table = pd.read_csv(study.folder / "equal_cost.csv").set_index("arm")
    # all arms afford 4 GFLOP; the source arm, twice as dear, is then half-way down
    assert table.loc["source tokenizer", "equal_1"] == pytest.approx(4.6 + 0.006)
    assert table.loc["sparse Sinkhorn", "equal_1"] == pytest.approx(4.1)
    assert table.loc["sparse Sinkhorn", "equal_0.5"] == pytest.approx(4.25)
    assert table.loc["gzip", "equal_0.25"] == pytest.approx(4.7)
