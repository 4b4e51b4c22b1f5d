"""Notebook 02: what an arm costs, how a learning rate is chosen, resuming, and the report from rows alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.s2t2 import frozen_body, frozen_body_study
from twelvefold.papers.s2t2.bits_per_byte import score
from twelvefold.papers.s2t2.frozen_body_rows import chosen, per_run, rows_of_study, thinned
from twelvefold.papers.s2t2.frozen_body_study import (
    LEARNT,
    Learning,
    arm_points,
    arm_runs,
    draw_bench,
    initial_plan,
    learn,
    learning_curve,
    reference_points,
    reference_runs,
)
from twelvefold.papers.s2t2.protein_problem import references
from twelvefold.papers.s2t2.source_models import load_source, source_documents
from twelvefold.papers.s2t2.source_scores import score_source
from twelvefold.papers.s2t2.translation import translate
from twelvefold.tasks.proteins import AMINO_ACIDS

PROTEINS: dict[str, Any] = {"name": "pyhmmer_proteome", "limit": 40}
PROBLEM: dict[str, Any] = {"targets": 32, "length": 30, "training": 24, "held_out": 3, "tokenizer_proteins": 20}
LEARNING: dict[str, Any] = {"steps": 3, "batch": 2, "micro": 1, "regularisation": 0.1, "precision": "float32"}
FREE: list[list[Any]] = [["source", None], ["pieces", None], ["start", None]]
SHARED: dict[str, Any] = {
    "seed": 10_000, "source": "english small 0", "proteins": PROTEINS, "letters": False, "validation": 4,
    "problem": PROBLEM, "learning": LEARNING,
}  # fmt: skip
NETWORK: dict[str, Any] = {
    "source": "smollm2_135m",
    "proteins": PROTEINS,
    "letters": True,
    "problem": PROBLEM,
    "learning": LEARNING,
}


def by_arm(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["arm"]: one for one in result["arms"]}


@pytest.fixture(scope="module")
def scored() -> dict[str, Any]:
    """Untrained arms, and every learnt one with a rate at which nothing is learnt."""
    return arm_runs(replicate=1, arms=[*FREE, *([arm, 1e-12] for arm in LEARNT)], **SHARED)


def bench_of(replicate: int = 1, **changed: Any) -> Any:
    given = {**{name: SHARED[name] for name in ("source", "proteins", "letters", "validation", "problem")}, **changed}
    return draw_bench(10_000, replicate, **given)


def test_the_restricted_softmax_renormalises_over_the_letters() -> None:
    source = load_source("english small 0")
    text = "MKVLAAGIWEND"
    both = score_source(source, [text, "ACDE"], AMINO_ACIDS)
    (made,) = source_documents(source, [text])
    logits = source.model(input_ids=made.ids[None, :-1]).logits[0].double()
    pieces = [piece.decode(errors="replace") for piece in source.vocabulary.pieces]
    letters = [bool(piece) and {*piece} <= {*AMINO_ACIDS} for piece in pieces]
    letters[source.vocabulary.separator_id] = True
    at = logits[torch.arange(len(logits)), made.ids[1:]]
    whole = float((logits.logsumexp(1) - at).sum()) / math.log(2)
    within = float((logits[:, torch.tensor(letters)].logsumexp(1) - at).sum()) / math.log(2)
    assert both.whole.bits[0] == pytest.approx(whole, rel=1e-5)
    assert both.letters.bits[0] == pytest.approx(within, rel=1e-5) and within < whole
    assert list(both.whole.predicted_bytes) == [12, 4]
    np.testing.assert_allclose(both.whole.bits, score(source.model, source.vectors, source_documents(
        source, [text, "ACDE"])).bits, rtol=1e-5)  # fmt: skip


def test_other_letters_and_no_texts_are_refused() -> None:
    source = load_source("english small 0")
    with pytest.raises(ValueError, match=r"letters \['B'\]"):
        score_source(source, ["ABC"], AMINO_ACIDS)
    with pytest.raises(ValueError, match="texts: 0 of them"):
        score_source(source, [], AMINO_ACIDS)


def test_a_plan_that_learns_nothing_costs_what_its_start_costs(scored: dict[str, Any]) -> None:
    made = by_arm(scored)
    assert made["sparse_sinkhorn"]["bits"] == pytest.approx(made["start"]["bits"], rel=1e-3)
    assert made["unconstrained"]["bits"] == pytest.approx(made["start"]["bits"], rel=1e-5)
    assert made["unconstrained"]["losses"][0] == pytest.approx(made["sparse_sinkhorn"]["losses"][0], rel=1e-5)
    assert made["unconstrained_normal"]["bits"] != pytest.approx(made["start"]["bits"], rel=1e-3)
    assert all(one["validation"] is None for name, one in made.items() if name not in LEARNT)


def test_untrained_arms_are_scored_on_the_held_out_proteins(scored: dict[str, Any]) -> None:
    bench, made = bench_of(), by_arm(scored)
    assert scored["residues"] == [len(text) for text in bench.problem.held_out]
    plan = initial_plan(bench, Learning(**LEARNING), 10_000, 1)
    assert float(plan.sum(0).min()) == pytest.approx(1, abs=1e-5) and float(plan.min()) == 0
    expected = score(bench.source.model, translate(plan, bench.source.vectors), bench.held_out)
    assert made["start"]["bits"] == pytest.approx(list(expected.bits), rel=1e-5)
    assert made["source_letters"]["bits"] < made["source"]["bits"]


def test_learning_lowers_the_loss_and_equal_seeds_give_equal_results() -> None:
    arms = [["sparse_sinkhorn", 0.01], ["column_softmax", 0.3]]
    longer = {**SHARED, "learning": {**LEARNING, "steps": 12, "batch": 4, "micro": 4}}
    first, second = (arm_runs(replicate=0, arms=arms, **longer) for _ in range(2))
    assert first == second
    for one in first["arms"]:
        assert np.mean(one["losses"][-3:]) < np.mean(one["losses"][:3]) and len(one["losses"]) == 12
    other = arm_runs(replicate=2, arms=arms[:1], **longer)
    assert other["arms"][0]["losses"] != first["arms"][0]["losses"]


class Interrupted(Exception):
    """What a killed run does not survive."""


class Failing(Checkpoint):
    """A checkpoint during whose fifth write the process is killed."""

    writes = 0

    def save(self, state: dict[str, Any], force: bool = False) -> bool:
        if self.writes == 4:
            raise Interrupted
        self.writes += 1
        return super().save(state, force)


def test_a_killed_run_goes_on_inside_its_second_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = [["column_softmax", 0.3], ["sparse_sinkhorn", 0.01], ["unconstrained", 1e-4]]
    whole = arm_runs(replicate=0, arms=arms, **SHARED)
    with pytest.raises(Interrupted):
        arm_runs(replicate=0, arms=arms, checkpoint=Failing(tmp_path / "state.npz", every=0), **SHARED)
    saved = Checkpoint(tmp_path / "state.npz").load()
    assert saved is not None and len(saved["finished"]) == 1 and saved["state"]["step"] == 1
    begun = []

    def counted(*given: Any) -> Any:
        begun.append(given[4])
        return learn(*given)

    monkeypatch.setattr(frozen_body_study, "learn", counted)
    again = Checkpoint(tmp_path / "state.npz", every=0)
    assert arm_runs(replicate=0, arms=arms, checkpoint=again, **SHARED) == whole
    assert begun == ["sparse_sinkhorn", "unconstrained"]


def test_a_learning_that_diverges_is_a_row_without_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(*_: object, **__: object) -> None:
        raise FloatingPointError("the loss of step 0 is nan")

    monkeypatch.setattr("twelvefold.papers.s2t2.frozen_body_study.learn_plan", diverging)
    (made,) = arm_runs(replicate=0, arms=[["unconstrained", 1.0]], **SHARED)["arms"]
    assert made == {"arm": "unconstrained", "rate": 1.0, "validation": None, "bits": [], "losses": []}
    with pytest.raises(ValueError, match="rate = 1.0: the loss"):
        learning_curve(bench_of(0), Learning(**LEARNING), 10_000, "unconstrained", 1.0)


def test_references_do_not_see_the_validation_texts() -> None:
    point: dict[str, Any] = {"seed": 10_000, "replicate": 1, "proteins": PROTEINS, "validation": 4, "problem": PROBLEM}
    problem = bench_of().problem
    assert reference_runs(**point) == references(problem._replace(training=problem.training[:20]))


@pytest.mark.parametrize(("arms", "message"), [
    ([["dense", 0.1]], "arm = 'dense'"), ([["pieces", 0.1]], "rate = 0.1"),
    ([["sparse_sinkhorn", None]], "rate = None"), ([["sparse_sinkhorn", 0.0]], "rate = 0.0"),
])  # fmt: skip
def test_unknown_arms_and_rates_that_do_not_belong_are_refused(arms: list[list[Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arm_runs(replicate=0, arms=arms, **SHARED)


def test_validation_must_leave_texts_to_learn_from() -> None:
    for number in (0, 24):
        with pytest.raises(ValueError, match=f"validation = {number}"):
            bench_of(validation=number)


def test_the_large_model_path_works_with_few_source_tokens_and_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path))
    changed = {"letters": True, "learning": {**LEARNING, "precision": "bfloat16", "micro": 2}}
    point = {**SHARED, **changed, "replicate": 0, "arms": [["pieces", None], ["sparse_sinkhorn", 0.01]]}
    (made,) = sweep(arm_runs, [point], dtype="float32")
    bits = {name: sum(one["bits"]) / sum(made["residues"]) for name, one in by_arm(made).items()}
    assert all(3 < value < 9 for value in bits.values())


def test_points_hold_one_run_each_with_the_whole_grid() -> None:
    scale = SimpleNamespace(sources=["a", "b"], proteins=PROTEINS, letters=False, validation=4, problem=PROBLEM,
                            learning=LEARNING, rates={"sparse_sinkhorn": [0.1, 1.0]})  # fmt: skip
    first, second = arm_points(scale, 10_000)
    assert first["arms"] == [*FREE, ["sparse_sinkhorn", 0.1], ["sparse_sinkhorn", 1.0]]
    assert (second["source"], second["replicate"]) == ("b", 1)
    assert [point["replicate"] for point in reference_points([first, second])] == [0, 1]


def made_up(better: float, network: bool = True) -> pd.DataFrame:
    """Rows of five runs in which the sparse plan needs `better` fewer bits than everything else."""
    noise = np.array([0.01, -0.01, 0.0, 0.02, -0.02])
    results, costs = [], []
    for r in range(5):
        free = [{"arm": arm, "rate": None, "validation": None, "bits": [(5 + noise[r]) * 10] * 2, "losses": []}
                for arm in ("source", "source_letters", "pieces", "start")]  # fmt: skip
        learnt = [{"arm": arm, "rate": rate, "validation": 4 + rate, "losses": [5.0, 4.5, 4.0],
                   "bits": [(5 + noise[r] / 2 - better * (arm == "sparse_sinkhorn") + 1 - rate) * 10] * 2}
                  for arm in LEARNT for rate in (2.0, 1.0)]  # fmt: skip
        results.append({"residues": [10, 10], "arms": free + learnt})
        costs.append({"unigram": 5 + noise[r] / 3, "token_unigram": 5.1, "gzip": 5.2, "lzma": 5.3})
    one = [{"residues": [10, 10, 5], "arms": [
        {"arm": arm, "rate": None, "validation": None, "bits": [50.0, 45.0, 20.0 + place], "losses": []}
        for place, arm in enumerate(("source", "source_letters", "pieces", "start", "sparse_sinkhorn"))]}]  # fmt: skip
    points = [{"replicate": r} for r in range(5)]
    return rows_of_study(points, results, costs, one if network else [], costs[:1] if network else [])


def reported(runs: pd.DataFrame, network: bool = True) -> tuple[dict[str, Any], Study]:
    study = Study("s2t2/02_frozen_body", "quick", 10_000, "cpu")
    scale = {"sources": ["english small 0"], "proteins": PROTEINS, "problem": PROBLEM, "learning": LEARNING,
             "network": NETWORK if network else None}  # fmt: skip
    study.scale(quick=scale, gpu=scale, paper=scale)
    study.declare(frozen_body.CLAIMS)
    runs = study.runs(runs)
    for write in frozen_body.REPORT:
        write(study, runs)
    study.done()
    return json.loads((study.folder / "study.json").read_text()), study


def verdicts(written: dict[str, Any]) -> dict[str, str]:
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def test_every_claim_is_decided_and_rows_alone_give_the_same_bytes(project: Path) -> None:
    written, study = reported(made_up(0.5))
    assert set(verdicts(written).values()) == {"holds"} and len(written["claims"]) == 9
    assert {figure["name"] for figure in written["figures"]} == {"arms", "curves", "network"}
    assert {table["name"] for table in written["tables"]} == {"arms", "rates", "network"}
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    again = Study.replay(study.folder)
    again.declare(frozen_body.CLAIMS)
    for write in frozen_body.REPORT:
        write(again, again.runs())
    again.done()
    assert before == {path.name: path.read_bytes() for path in study.folder.iterdir()}


def test_a_worse_plan_fails_and_a_preset_without_the_large_model_reports_the_rest(project: Path) -> None:
    written, _ = reported(made_up(-0.5, network=False), network=False)
    assert set(verdicts(written).values()) == {"fails"}
    assert {figure["name"] for figure in written["figures"]} == {"arms", "curves"}


def test_an_arm_that_diverges_everywhere_leaves_its_claim_untested(project: Path) -> None:
    rows = made_up(0.0)
    lost = (rows["arm"] == "unconstrained") & (rows["what"] == "arm") & (rows["replicate"] == 3)
    rows.loc[lost, ["bits", "validation"]] = np.nan
    found = verdicts(reported(rows)[0])
    assert found.pop("beats-unconstrained") == "not tested" and set(found.values()) == {"undecided"}


def test_the_rate_is_chosen_by_validation_not_by_the_held_out_proteins() -> None:
    rows = made_up(0.5)
    kept = chosen(rows).dropna(subset=["rate"])
    assert set(kept["rate"]) == {1.0} and len(kept) == 25  # the other rate is better on held-out proteins
    np.testing.assert_allclose(per_run(rows, "unconstrained"), 5 + np.array([0.01, -0.01, 0, 0.02, -0.02]) / 2)


def test_bits_of_a_run_are_all_bits_over_all_residues_and_those_of_proteins_one_by_one() -> None:
    rows = made_up(0.0)
    proteins = rows[(rows["what"] == "protein") & (rows["arm"] == "pieces")]
    assert list(proteins["bits"]) == [5.0, 4.5, 4.4]
    uneven = {"residues": [10, 30], "arms": [
        {"arm": "pieces", "rate": None, "validation": None, "bits": [50.0, 30.0], "losses": []}]}  # fmt: skip
    (made,) = rows_of_study([{"replicate": 0}], [uneven], [], [], [])["bits"]
    assert made == 2.0


def test_a_long_curve_is_thinned_to_means_of_neighbours() -> None:
    made = thinned([float(i) for i in range(60)], points=20)
    assert len(made) == 20 and made[1] == {"step": 3, "bits": 4.0}
    assert thinned([1.0, 2.0]) == [{"step": 0, "bits": 1.0}, {"step": 1, "bits": 2.0}] and thinned([]) == []
