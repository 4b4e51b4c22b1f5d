"""Notebook 04: the sweeps at tiny sizes against what must be so, and the report from rows alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.s2t2 import weak_to_strong, weak_to_strong_study
from twelvefold.papers.s2t2.plan_agreement import by_frequency, correlation, exchanged_columns, overlap
from twelvefold.papers.s2t2.plots.weak_to_strong import PAIRS
from twelvefold.papers.s2t2.protein_problem import token_frequencies
from twelvefold.papers.s2t2.source_models import load_source
from twelvefold.papers.s2t2.weak_to_strong_study import (
    ARMS,
    agreement_runs,
    arm_runs,
    frequent_tokens,
    plan_runs,
    problem_of,
    reference_runs,
    token_sources,
)

LEARNING = {"steps": 2, "batch": 3, "micro": 2, "rate": 0.05, "precision": "float32", "iterations": 3}
RUN: dict[str, Any] = {
    "seed": 10_000, "replicate": 6, "small": "english small {member}", "large": "english large {member}", "group": 4,
    "problem": {"dataset": "pyhmmer_proteome", "limit": 120, "targets": 32, "length": 24, "training": 8, "held_out": 5,
                "tokenizer_proteins": 20},
    "learning": {"small": LEARNING, "large": LEARNING},
}  # fmt: skip
FINETUNING = {"steps": 2, "batch": 3, "micro": 2, "rate": 0.01, "precision": "float32"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty place for what sweeps keep."""
    monkeypatch.setenv("TWELVEFOLD_CACHE", str(tmp_path))
    monkeypatch.setenv("TWELVEFOLD_BATCH", "1")


def changed(**learning: Any) -> dict[str, Any]:
    """The run with another learning of both plans."""
    return {**RUN, "learning": {role: {**LEARNING, **learning} for role in ("small", "large")}}


def bits(run: dict[str, Any], arm: str, finetuning: dict[str, Any] | None = None) -> list[float]:
    return arm_runs(run, arm, finetuning)["columns"]["bits"]


def test_a_plan_is_a_plan_and_its_cost_is_counted() -> None:
    made = plan_runs(RUN, "small")
    assert made["plan"].shape == (1024, 32) and made["losses"].shape == (2,)
    torch.testing.assert_close(made["plan"].sum(0), torch.ones(32))
    assert (made["plan"] >= 0).all() and 1 <= made["columns"]["sources"] <= 1024
    # 4 N + 6 u d a token, and 4 v u d a step, by hand for d = 48 and feed-forward layers of width 128
    width, tokens = 48, made["columns"]["tokens"]
    weights = 3 * (4 * width**2 + 3 * width * 128)
    assert made["columns"]["weights"] == weights
    by_hand = tokens * (4 * weights + 6 * 32 * width) + 2 * 4 * 1024 * 32 * width
    assert made["columns"]["flops"] == pytest.approx(by_hand, rel=1e-12)
    assert 6 * 8 < tokens <= 6 * 24  # six texts of at most 24 residues, tokens of a few residues


def test_both_models_see_the_same_texts_and_start_from_their_own_scores() -> None:
    small, large = (plan_runs(changed(rate=1e-9), role) for role in ("small", "large"))
    assert small["columns"]["tokens"] == large["columns"]["tokens"]
    assert 0.01 < float(overlap(small["plan"], large["plan"]).mean()) < 0.5
    again = plan_runs(changed(rate=1e-9), "small", start=1)
    assert float(overlap(small["plan"], again["plan"]).mean()) < 0.5


def test_equal_seeds_give_equal_plans_and_another_run_has_its_own_models_and_texts() -> None:
    torch.testing.assert_close(plan_runs(RUN, "large")["plan"], plan_runs(RUN, "large")["plan"], rtol=0, atol=0)
    other = {**RUN, "replicate": 7}
    assert problem_of(other).held_out != problem_of(RUN).held_out
    model, same = (weak_to_strong_study._source(run, "small", "cpu", "float32") for run in (RUN, other))
    assert not torch.equal(model.vectors.embedding, same.vectors.embedding)
    torch.testing.assert_close(model.vectors.embedding, load_source("english small 1").vectors.embedding)


def test_without_learning_the_transferred_plan_is_the_untrained_one(cache: None) -> None:
    # updates of 1e-12 change no score by more than rounding; potentials go on converging, so many iterations
    run = changed(rate=1e-12, iterations=80)
    assert bits(run, "transferred") == pytest.approx(bits(run, "untrained"), rel=1e-5)
    assert bits(changed(rate=0.3), "transferred") != pytest.approx(bits(run, "untrained"), rel=1e-3)


def test_transfer_into_the_same_model_changes_nothing(cache: None) -> None:
    run = {**RUN, "large": RUN["small"]}
    assert bits(run, "transferred") == bits(run, "small")
    assert bits(run, "own") != bits(run, "small")  # other scores to start from


def test_the_own_plan_is_the_one_learnt_on_the_large_model(cache: None) -> None:
    (made,) = sweep(plan_runs, [{"run": RUN, "role": "large", "start": 0}])
    source = load_source("english large 1")
    vectors = weak_to_strong_study.translate(torch.as_tensor(made["plan"]), source.vectors)
    held_out = weak_to_strong_study.target_documents(problem_of(RUN), problem_of(RUN).held_out)
    assert bits(RUN, "own")[0] == weak_to_strong_study.score(source.model, vectors, held_out).bits_per_byte


def test_finetuning_leaves_the_model_as_it_was(cache: None) -> None:
    before = bits(RUN, "pieces")
    first = bits(RUN, "gaussian", FINETUNING)
    assert len(before) == 1 and len(first) == 2 and first[0] != first[1]
    assert bits(RUN, "pieces") == before and bits(RUN, "gaussian", FINETUNING) == first
    with pytest.raises(FloatingPointError):
        bits(RUN, "gaussian", {**FINETUNING, "rate": 1e30, "steps": 4})
    assert bits(RUN, "pieces") == before


def test_every_arm_is_scored_and_micro_batches_do_not_matter(cache: None) -> None:
    for arm in ARMS:
        assert 2 < bits(RUN, arm)[0] < 20
    whole = bits(RUN, "pieces", {**FINETUNING, "micro": 3})
    assert bits(RUN, "pieces", {**FINETUNING, "micro": 1}) == pytest.approx(whole, rel=1e-4)


def test_half_precision_runs_and_differs_little(cache: None) -> None:
    halved = bits(changed(precision="bfloat16"), "transferred", {**FINETUNING, "precision": "bfloat16"})
    assert halved == pytest.approx(bits(RUN, "transferred", FINETUNING), rel=0.05)


@pytest.mark.parametrize("arm", ["permuted", "permuted_alike"])
def test_exchanged_tokens_lose_their_column_to_one_of_their_group(arm: str) -> None:
    problem = problem_of(RUN)
    columns = weak_to_strong_study._exchange(RUN, arm, problem)
    assert sorted(columns.tolist()) == list(range(32)) and (columns != torch.arange(32)).all()
    rank = by_frequency(token_frequencies(problem.target, problem.training)).argsort()
    moved = (rank // 4 != rank[columns] // 4).sum()
    assert moved == 0 if arm == "permuted_alike" else moved > 16


def test_agreement_is_measured_and_complete_where_nothing_is_learnt(cache: None) -> None:
    made = pd.DataFrame(agreement_runs(RUN)["columns"]).set_index("pair")
    assert set(made.index) == set(PAIRS)
    assert made[["overlap", "weighted"]].min().min() > 0 and made[["overlap", "weighted"]].max().max() < 1
    still = pd.DataFrame(agreement_runs(changed(rate=1e-12, iterations=80))["columns"]).set_index("pair")
    assert still.loc[["small_start", "large_start"], ["overlap", "vectors"]].to_numpy() == pytest.approx(1, abs=1e-3)
    assert still.loc["models", "overlap"] == pytest.approx(still.loc["starts", "overlap"], abs=1e-3)


def test_overlap_and_correlation_by_hand() -> None:
    first = torch.tensor([[2.0, 0.0], [2.0, 3.0]])  # columns (1/2, 1/2) and (0, 1)
    second = torch.tensor([[1.0, 1.0], [3.0, 0.0]])  # columns (1/4, 3/4) and (1, 0)
    torch.testing.assert_close(overlap(first, second), torch.tensor([0.75, 0.0]))
    torch.testing.assert_close(overlap(first, first), torch.ones(2))
    vectors = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    assert correlation(vectors, 7 - 2 * vectors) == pytest.approx(-1)
    assert correlation(vectors, torch.tensor([[1.0, 0.0], [1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-3 / 12**0.5)
    for measure in (overlap, correlation):
        with pytest.raises(ValueError, match="shapes"):
            measure(first, torch.ones(2, 3))
    with pytest.raises(ValueError, match="group = 1"):
        exchanged_columns(torch.ones(4), 1, torch.Generator())


def test_tokens_of_a_plan_can_be_named() -> None:
    tokens = frequent_tokens(RUN, 40)
    assert len(tokens) == 31 and "\n" not in tokens and len(tokens[0]) == 1
    plan = np.zeros((1024, 32))
    plan[5], plan[7] = 0.25, 0.75
    shares = token_sources(RUN, "small", plan, tokens[3])
    pieces = load_source("english small 1").vocabulary.pieces
    assert [(share.source, share.weight) for share in shares] == [(pieces[7], 0.75), (pieces[5], 0.25)]
    with pytest.raises(ValueError, match="token = '-'"):
        token_sources(RUN, "small", plan, "-")


def test_an_unknown_arm_is_refused() -> None:
    with pytest.raises(ValueError, match="arm = 'dense'"):
        arm_runs(RUN, "dense", None)


def test_the_sweeps_take_json_points(cache: None) -> None:
    (reference,) = sweep(reference_runs, [{"run": RUN}])
    (arm,) = sweep(arm_runs, [{"run": RUN, "arm": "own", "finetuning": FINETUNING}])
    assert reference["proteins"] == 5 and set(reference["bits"]) == {"unigram", "token_unigram", "gzip", "lzma"}
    assert arm["columns"]["stage"] == ["zero_shot", "finetuned"]


GOOD = {"own": 4.2, "transferred": 4.25, "permuted_alike": 4.3, "permuted": 4.6, "untrained": 4.7, "pieces": 4.8,
        "gaussian": 5.5, "small": 4.3}  # fmt: skip
AFTER = {"own": 4.15, "transferred": 4.16, "pieces": 4.4, "gaussian": 4.5}


def rows(before: dict[str, float], after: dict[str, float], count: int = 5) -> pd.DataFrame:
    """Made-up results of runs that differ a little, as the sweeps would return them."""
    drawn = np.random.default_rng(0)

    def noisy(value: float) -> float:
        return value + 0.003 * float(drawn.standard_normal())

    arms = []
    for r in range(count):
        for arm, value in before.items():
            stages = {"zero_shot": noisy(value)} | ({"finetuned": noisy(after[arm])} if arm in after else {})
            arms.append((r, arm, {"columns": {"stage": list(stages), "bits": list(stages.values())}}))
    agreements = [{"columns": {"pair": list(PAIRS), **{name: [noisy(0.3) for _ in PAIRS]
                                                 for name in ("overlap", "weighted", "vectors")}}}
                  for _ in range(count)]  # fmt: skip
    references = [{"bits": {name: noisy(4.2) for name in ("unigram", "token_unigram", "gzip", "lzma")}, "proteins": 5}
                  for _ in range(count)]  # fmt: skip
    plans = [(r, role, {"losses": np.linspace(3.0, 2.9, 10), "columns": {
        "tokens": 90 + r, "flops": flops * (90 + r), "weights": 7, "sources": noisy(9.0)}})
        for r in range(count) for role, flops in (("small", 1e6), ("large", 4e6))]  # fmt: skip
    return weak_to_strong.rows_of_study(plans, arms, agreements, references)


def reported(runs: pd.DataFrame, *report: Any) -> tuple[dict[str, Any], Study]:
    """What the given functions of the report make of the rows; the decisions are always among them."""
    study = Study("s2t2/04_weak_to_strong", "quick", 10_000, "cpu")
    scale = {name: RUN[name] for name in ("small", "large", "problem")}
    study.scale(quick=scale, gpu=scale, paper=scale)
    study.declare(weak_to_strong.CLAIMS)
    runs = study.runs(runs)
    for write in (*report, weak_to_strong.decisions):
        write(study, runs)
    study.done()
    return json.loads((study.folder / "study.json").read_text()), study


def verdicts(written: dict[str, Any]) -> dict[str, str]:
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def test_what_the_paper_says_holds_and_rows_alone_give_the_same_bytes(project: Path) -> None:
    written, study = reported(rows(GOOD, AFTER), *weak_to_strong.REPORT[:-1])
    assert set(verdicts(written).values()) == {"holds"}
    (kept,) = [claim["estimate"] for claim in written["claims"] if claim["id"] == "most-of-the-benefit"]
    assert kept["value"] == pytest.approx(0.9, abs=0.01) and kept["n"] == 5
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    assert {"bits.csv", "costs.csv", "agreement.png", "learning.svg"} <= set(before)
    again = Study.replay(study.folder)
    again.declare(weak_to_strong.CLAIMS)
    for write in weak_to_strong.REPORT:
        write(again, again.runs())
    again.done()
    assert before == {path.name: path.read_bytes() for path in study.folder.iterdir()}


def test_a_plan_that_does_not_travel_fails_every_claim(project: Path) -> None:
    worse = {**GOOD, "transferred": 6.0}, {**AFTER, "transferred": 5.0}
    assert set(verdicts(reported(rows(*worse))[0]).values()) == {"fails"}


@pytest.mark.parametrize(("arm", "claim"), [
    ("gaussian", "transferred-below-random-vectors"), ("untrained", "transferred-below-untrained"),
    ("pieces", "transferred-below-pieces"), ("permuted", "transferred-below-exchanged"),
])  # fmt: skip
def test_each_claim_looks_at_its_own_arm(project: Path, arm: str, claim: str) -> None:
    found = verdicts(reported(rows({**GOOD, arm: 4.22}, AFTER))[0])
    assert found.pop(claim) == "fails"
    if arm == "untrained":  # where it is as good as the own plan, there is no benefit to keep
        assert found.pop("most-of-the-benefit") != "holds"
    assert set(found.values()) == {"holds"}


@pytest.mark.parametrize(("arm", "claim"), [
    ("gaussian", "finetuned-below-random-vectors"), ("pieces", "finetuned-below-pieces"),
])  # fmt: skip
def test_claims_after_finetuning_look_at_finetuned_models(project: Path, arm: str, claim: str) -> None:
    found = verdicts(reported(rows(GOOD, {**AFTER, arm: 4.0}))[0])
    assert found.pop(claim) == "fails" and set(found.values()) == {"holds"}


def test_without_a_benefit_nothing_is_kept(project: Path) -> None:
    written = reported(rows({**GOOD, "untrained": 4.1}, AFTER))[0]
    assert verdicts(written)["most-of-the-benefit"] == "not tested"
    assert weak_to_strong.benefit_kept(rows({**GOOD, "untrained": 4.1}, AFTER)) is None


def test_few_runs_test_nothing(project: Path) -> None:
    assert set(verdicts(reported(rows(GOOD, AFTER, count=3))[0]).values()) == {"not tested"}


def test_tables_hold_paired_differences_and_counted_costs(project: Path) -> None:
    runs = rows(GOOD, AFTER)
    study = reported(runs, weak_to_strong.bits_table, weak_to_strong.costs_table)[1]
    bits_table = pd.read_csv(study.folder / "bits.csv").set_index("vectors")
    expected = (weak_to_strong.bits_of(runs, "pieces") - weak_to_strong.bits_of(runs, "transferred")).mean()
    assert bits_table.loc["mean of pieces", "zero_shot_minus_transferred"] == pytest.approx(expected)
    assert len(bits_table) == 8 + 4 and bits_table["finetuned"].notna().sum() == 4
    costs = pd.read_csv(study.folder / "costs.csv")
    assert costs["share_of_large"].tolist() == pytest.approx([0.25, 1.0])
    losses = runs[(runs["what"] == "loss") & (runs["name"] == "small") & (runs["replicate"] == 0)]
    assert losses["step"].tolist() == [2, 4, 6, 8, 9, 10]
    assert losses["bits"].iloc[0] == pytest.approx((3.0 + 3.0 - 0.1 / 9) / 2 / np.log(2), abs=1e-4)
