"""Notebook 03: the sweep, the wrong lessons, the two parts of a gain, and the report from rows alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from twelvefold.core.seeds import torch_generator
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.igda import local_update, local_update_study
from twelvefold.papers.igda.discovery_study import drawn_experts, policy_of
from twelvefold.papers.igda.feedback import add_answers, no_feedback, pairs
from twelvefold.papers.igda.local_update_study import (
    ARMS,
    Misplaced,
    Shuffled,
    one_step,
    taught,
    update_runs,
    with_first_labels,
)
from twelvefold.papers.igda.loop import discover
from twelvefold.papers.igda.simulated_expert import SimulatedExpert, Skill, all_pairs, shared_errors
from twelvefold.tasks.causal_graphs import load_graph

from tests.papers.igda.reports import check_replay, verdicts, written_study

SMALL: dict[str, Any] = {"seed": 10_000, "replicates": 24, "rounds": 4, "tested_share": 0.3}
MAIN = ["uncertainty", "uncertainty+local", "uncertainty+global"]
ASIA = load_graph("asia")
COMMON = {"separation": 1.5, "tested_share": 0.3}
SCALE = {"common": COMMON, "block": 1}


def expert_after_tests(skill: Skill, replicates: int = 3) -> tuple[SimulatedExpert, Any]:
    """An expert on asia, and feedback on seven pairs of each replicate."""
    expert = drawn_experts(10_000, range(replicates), skill, ASIA)
    order = torch.rand(replicates, 64, generator=torch_generator(10_000, 0, "places"))
    order = order.masked_fill(~pairs(8).flatten(), -1).argsort(1, descending=True)[:, :7]
    chosen = torch.zeros(replicates, 64, dtype=torch.bool).scatter(1, order, True).view(-1, 8, 8)
    return expert, add_answers(no_feedback(replicates, 8), chosen, ASIA.edges)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Points and results of all three sweeps, a few replicates each."""
    grid = [{**SMALL, "graph": graph, "shared": rho, "arms": list(ARMS) if rho == 0.25 else MAIN}
            for graph in local_update.GRAPHS for rho in (0.0, 0.1, 0.25, 0.4)]  # fmt: skip
    belief = [{**SMALL, "graph": "child", "shared": true, "believed": held, "arms": MAIN[:2]}
              for true in (0.0, 0.4) for held in (0.1, 0.25)]  # fmt: skip
    pace = [{**SMALL, "graph": "child", "shared": 0.25, "arms": [*MAIN, "any endpoint"], "rounds": 2}]
    return {what: [(point, update_runs(**point)) for point in points]
            for what, points in (("grid", grid), ("belief", belief), ("pace", pace))}  # fmt: skip


def reported(runs: pd.DataFrame) -> tuple[dict[str, Any], Study]:
    return written_study("igda/03_local_update", local_update, SCALE, runs)


def test_every_claim_is_decided_and_rows_alone_give_the_same_bytes(project: Path, found: dict[str, Any]) -> None:
    written, study = reported(local_update.rows_of_study(found))
    decided = verdicts(written)
    assert "not tested" not in decided.values()
    assert {decided[f"no-gain-without-shared-errors-{graph}"] for graph in local_update.GRAPHS} == {"holds"}
    assert decided["gain-grows-child"] == decided["untested-same-tests-child"] == "holds"
    estimates = {claim["id"]: claim["estimate"]["value"] for claim in written["claims"]}
    gains = pd.DataFrame(found["grid"][6][1]["means"]).set_index("arm")["gain"]  # child at rho = 0.25
    kept = gains["uncertainty+local"] - 0.9 * gains["uncertainty+global"]
    assert estimates["local-is-enough"] == pytest.approx(kept, abs=1e-4)
    assert estimates["misplaced-lessons-harm"] == pytest.approx(gains["misplaced"], abs=1e-4)
    assert {figure["name"] for figure in written["figures"]} == {"gains", "rounds", "lessons"}
    check_replay(study, local_update)


def test_the_opposite_of_every_claim_fails(project: Path, found: dict[str, Any]) -> None:
    runs = local_update.rows_of_study(found)
    each = np.arange(len(runs)) * 1e-5  # no two replicates alike
    name = local_update.column_of
    for rho, gain in ((0.1, -0.05), (0.25, -0.1), (0.4, -0.2)):
        runs[name("area", "uncertainty+local", rho)] = runs[name("area", "uncertainty", rho)] + gain + each
    runs[name("area", "uncertainty+global", 0.25)] = runs[name("area", "uncertainty", 0.25)] + 0.1
    runs[name("area", "misplaced", 0.25)] = runs[name("area", "uncertainty", 0.25)] + 0.1 + each
    runs[name("area", "uncertainty+local", 0.0, 0.25)] = runs[name("area", "uncertainty", 0.0, 0.25)] + 0.1 + each
    for selection in ("uncertainty", "random"):
        runs[name("untested", f"{selection}+local", 0.25)] = runs[name("untested", selection, 0.25)] - 0.1 - each
    runs.loc[(runs["what"] == "grid") & (runs["shared"] == 0), "changed"] = 1
    assert set(verdicts(reported(runs)[0]).values()) == {"fails"}


def test_a_gain_is_choice_plus_relabelling(found: dict[str, Any]) -> None:
    results = {(p["graph"], p["shared"]): pd.DataFrame(r["means"]).set_index("arm") for p, r in found["grid"]}
    for (_, rho), means in results.items():
        assert np.allclose(means["gain"], means["chosen"] + means["relabelled"], atol=1e-12)
        assert rho or (means[["gain", "chosen", "relabelled", "untested_gain", "edges"]] == 0).all(axis=None)
    child = results["child", 0.25]
    # with random tests nothing is chosen, and untested pairs are the same with and without update
    assert child.loc["random+local", "chosen"] == child.loc["random+local", "edges"] == 0
    assert child.loc["random+local", "untested_gain"] == pytest.approx(child.loc["random+local", "untested_same"])
    assert child.loc["random+local", "gain"] > 0 and child.loc["uncertainty+local", "chosen"] > 0
    assert child.loc["uncertainty", "again"] == 0
    assert 0 < child.loc["uncertainty+local", "again"] < child.loc["any endpoint", "again"]
    assert child.loc["any endpoint", "again"] < child.loc["uncertainty+global", "again"]


def test_areas_are_means_of_blocks_and_curves_belong_to_them() -> None:
    point = {**SMALL, "graph": "asia", "shared": 0.3, "arms": ["random", "random+local"]}
    one, six = update_runs(**point), update_runs(**point, block=6)
    assert np.allclose(np.reshape(one["area"]["random+local"], (4, 6)).mean(1), six["area"]["random+local"])
    rounds, means = pd.DataFrame(one["rounds"]), pd.DataFrame(one["means"]).set_index("arm")
    for arm, rows in rounds.groupby("arm"):
        assert rows["f1"].mean() == pytest.approx(means.loc[arm, "area"])
        assert rows["gain"].mean() == pytest.approx(means.loc[arm, "gain"], abs=1e-12)
        assert rows["untested"].iloc[1:].mean() == pytest.approx(means.loc[arm, "untested"])
    assert one["changed"]["random"] == 0 < one["changed"]["random+local"] <= 24


def test_chunks_do_not_change_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    point = {**SMALL, "graph": "asia", "shared": 0.3, "arms": MAIN}
    whole = update_runs(**point)
    monkeypatch.setattr(local_update_study, "CHUNK", 5)
    assert update_runs(**point)["area"] == whole["area"]


def test_an_expert_that_believes_the_truth_knows_it() -> None:
    point = {**SMALL, "graph": "asia", "shared": 0.3, "arms": MAIN[:2]}
    assert update_runs(**point, believed=0.3) == update_runs(**point)
    assert update_runs(**point, believed=0.0)["changed"]["uncertainty+local"] == 0
    assert update_runs(**point, believed=0.0)["area"]["uncertainty"] == update_runs(**point)["area"]["uncertainty"]


def test_first_labels_are_scored_on_untested_pairs() -> None:
    expert = drawn_experts(10_000, range(4), Skill(1.5, 0.3, 0.3), ASIA)
    first = expert.beliefs(all_pairs(expert), no_feedback(4, 8))
    made = discover(expert, ASIA.edges, policy_of("uncertainty+local"), replicates=4, rounds=3, experiments=4,
                    generator=torch_generator(1, 0, "ties"))  # fmt: skip
    scored, every = with_first_labels(first, ASIA.edges, made), pairs(8)
    for s in range(4):
        for r in range(4):
            tested = made.feedback.tested[s] & (made.feedback.round[s] <= r)
            labels = torch.where(tested, ASIA.edges, first[s] > 0.5)
            assert float(scored.f1[s, r]) == pytest.approx(f1_score(ASIA.edges[every], labels[every]))
            rest = every & ~tested
            expected = f1_score(ASIA.edges[rest], labels[rest], zero_division=1.0)
            assert float(scored.f1_untested[s, r]) == pytest.approx(expected)


class TestWrongLessons:
    @pytest.mark.parametrize("lessons", ["shuffled", "misplaced"])
    def test_nothing_is_wrong_before_a_test_or_without_shared_errors(self, lessons: str) -> None:
        expert, feedback = expert_after_tests(Skill(1.5, 0.3, 0.2))
        wrong, nothing = taught(expert, lessons, torch_generator(1, 0, "wrong")), no_feedback(3, 8)
        every = all_pairs(expert)
        assert torch.allclose(wrong.beliefs(every, nothing), expert.beliefs(every, nothing), atol=1e-14)
        assert not torch.allclose(wrong.beliefs(every, feedback), expert.beliefs(every, feedback))
        alone, feedback = expert_after_tests(Skill(1.5, 0, 0))
        wrong = taught(alone, lessons, torch_generator(1, 0, "wrong"))
        untested = every & ~feedback.tested
        told, right = (each.beliefs(every, feedback)[untested] for each in (wrong, alone))
        assert torch.allclose(told, right, atol=1e-14)

    def test_shuffled_errors_are_those_of_the_tests(self) -> None:
        expert, feedback = expert_after_tests(Skill(1.5, 0.3, 0.2))
        seen: list[torch.Tensor] = []

        class Recorder(SimulatedExpert):
            def beliefs(self, asked: torch.Tensor, feedback: Any) -> torch.Tensor:
                seen.append(self.evidence)
                return super().beliefs(asked, feedback)

        Shuffled(Recorder(*expert), torch_generator(1, 0, "wrong")).beliefs(all_pairs(expert), feedback)
        tested, means = feedback.tested, 1.5 * (ASIA.edges.double() - 0.5)
        before, after = ((x - means)[tested].view(3, -1) for x in (expert.evidence, seen[0]))
        assert torch.allclose(before.sort(1).values, after.sort(1).values) and not torch.allclose(before, after)
        assert torch.equal(seen[0][~tested], expert.evidence[~tested])

    def test_misplaced_lessons_are_those_of_another_pair(self) -> None:
        expert, feedback = expert_after_tests(Skill(1.5, 0.3, 0.2))
        every, same = all_pairs(expert), torch.arange(8).expand(3, 8)
        right = expert.beliefs(every, feedback)
        assert torch.allclose(Misplaced(expert, same).beliefs(every, feedback), right, atol=1e-14)
        other = torch.stack([torch.randperm(8, generator=torch_generator(1, r, "order")) for r in range(3)])
        told = Misplaced(expert, other).beliefs(every, feedback)
        m, v = shared_errors(expert.skill, expert.evidence, ASIA.edges, feedback)
        for s, i, j in ((0, 1, 5), (1, 6, 0), (2, 3, 4)):
            if not feedback.tested[s, i, j]:
                k, n = int(other[s, i]), int(other[s, j])
                logit = np.log(8 / 48) + 1.5 * float((expert.evidence[s, i, j] - m[s, k, n]) / v[s, k, n])
                assert float(told[s, i, j]) == pytest.approx(1 / (1 + np.exp(-logit)))

    def test_other_lessons_are_refused(self) -> None:
        with pytest.raises(ValueError, match="lessons = 'none'"):
            taught(expert_after_tests(Skill())[0], "none", torch_generator(1, 0, "wrong"))


def test_one_step_moves_what_it_can() -> None:
    step = one_step("asia", 0.4, tests=5, seed=10_000)
    assert int(step.tested.sum()) == 5 and torch.equal(step.after[step.tested] == 1, step.edges[step.tested])
    rest = pairs(8) & ~step.tested
    assert not torch.allclose(step.before[rest], step.after[rest])
    still = one_step("asia", 0.0, tests=5, seed=10_000)
    assert torch.equal(still.before[rest := pairs(8) & ~still.tested], still.after[rest])


def test_the_sweep_takes_json_points(project: Path) -> None:
    point = {**SMALL, "graph": "asia", "shared": 0.25, "arms": MAIN[:2], "replicates": 2}
    (made,) = sweep(update_runs, [point], dtype="float64")
    assert made["means"]["arm"] == MAIN[:2] and len(made["area"]["uncertainty"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": ["uncertainty+local"]}, "those without update"), ({"arms": ["best"]}, "arms = "),
        ({"block": 5}, "block = 5"), ({"replicates": 0}, "replicates = 0"), ({"rounds": 0}, "rounds = 0"),
        ({"tested_share": 1.5}, "tested_share = 1.5"), ({"shared": 0.5}, "Skill"), ({"graph": "none"}, "name = 'none'"),
    ],
)  # fmt: skip
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    point = {**SMALL, "graph": "asia", "shared": 0.25, "arms": MAIN}
    with pytest.raises(ValueError, match=message):
        update_runs(**(point | options))
