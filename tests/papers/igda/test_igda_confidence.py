"""Notebook 04: votes for labels and for ranking, temperature, reliability, and the report from rows alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.calibration import calibration_curve
from twelvefold.core.seeds import torch_generator
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.igda import confidence, confidence_study
from twelvefold.papers.igda.beliefs import belief_of_samples, labels, uncertainty, voted
from twelvefold.papers.igda.confidence_rows import column_of, rows_of_study
from twelvefold.papers.igda.confidence_study import (
    confidence_runs,
    reliability_runs,
    stated_beliefs,
    temperature_runs,
    voting,
)
from twelvefold.papers.igda.discovery_study import drawn_experts
from twelvefold.papers.igda.feedback import no_feedback, pairs
from twelvefold.papers.igda.metrics import calibration
from twelvefold.papers.igda.plots.confidence import place_of, setting_of
from twelvefold.papers.igda.simulated_expert import Skill, all_pairs
from twelvefold.papers.igda.stating import Manner, averaged
from twelvefold.tasks.causal_graphs import load_graph

from tests.papers.igda.reports import check_replay, verdicts, written_study

LOOP: dict[str, Any] = {"seed": 10_000, "rounds": 4, "tested_share": 0.3}
SKILL: dict[str, Any] = {"separation": 1.5, "shared_source": 0.25, "shared_target": 0.25}
TENTHS = [k / 10 for k in range(11)]
FINE = [0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
MANNER = {"floor": 0.5, "step": 0.1}
SCALE = {"skill": SKILL, "rounds": 4, "tested_share": 0.3, "block": 1, "manner": MANNER}
ASIA = load_graph("asia")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Points and results of all three sweeps, a few replicates each."""
    same = {**LOOP, "graph": "child"}
    points = [{**same, "policies": ["uncertainty", "random"], "skill": {**SKILL, "votes": k}, "replicates": 30}
              for k in (1, 4, 16, None)]  # fmt: skip
    points += [{**same, "policies": ["uncertainty+local"], "skill": {**SKILL, "votes": k}, "replicates": 4}
               for k in (1, 4, 16, None)]  # fmt: skip
    points += [{**same, "policies": ["uncertainty"], "skill": {**SKILL, "votes": k}, "replicates": 24, "of": of}
               for k in (1, 4) for of in ("labels", "ranking")]  # fmt: skip
    points += [{**same, "policies": ["uncertainty"], "skill": {**SKILL, "votes": 16, "temperature": t},
                "replicates": 24} for t in (0.25, 4.0)]  # fmt: skip
    check = {**same, "policies": ["uncertainty", "top"], "temperatures": [0.5, 2.0], "skill": SKILL, "replicates": 6}
    fits = [{**same, "replicates": 24, "skill": {**SKILL, **how}, "first_borders": TENTHS, "borders": FINE,
             "policies": [] if how else ["uncertainty+local", "random+local"]}
            for how in ({}, {"votes": 4})]  # fmt: skip
    words = [{**points[0], "skill": {**SKILL, "votes": k}, "manner": MANNER} for k in (1, 16)]
    return {
        "votes": [(point, confidence_runs(**point)) for point in points],
        "stated": [(point, confidence_runs(**point)) for point in words],
        "temperature": [(check, temperature_runs(**check))],
        "reliability": [(point, reliability_runs(**point)) for point in fits],
    }


def reported(runs: pd.DataFrame) -> tuple[dict[str, Any], Study]:
    return written_study("igda/04_confidence", confidence, SCALE, runs)


def test_every_claim_is_decided_and_rows_alone_give_the_same_bytes(project: Path, found: dict[str, Any]) -> None:
    written, study = reported(rows_of_study(found))
    decided = verdicts(written)
    sure = ("four-votes-beat-one", "sixteen-votes-beat-four", "ranking-alone-gains", "too-unsure-costs-votes",
            "temperature-alone-changes-nothing")  # fmt: skip
    assert {decided[id] for id in sure} == {"holds"} and "not tested" not in decided.values()
    estimates = {claim["id"]: claim["estimate"]["value"] for claim in written["claims"]}
    areas = [{policy: np.mean(values) for policy, values in found["votes"][k][1]["area"].items()} for k in range(4)]
    gains = [each["uncertainty"] - each["random"] for each in areas]  # with 1, 4, 16 votes, exact
    assert estimates["sixteen-votes-are-enough"] == pytest.approx(gains[2] - 0.85 * gains[3], abs=1e-4)
    assert estimates["one-vote-is-chance"] == pytest.approx(gains[0], abs=1e-4)
    stated = pd.read_csv(study.folder / "stated.csv").set_index("belief")
    assert list(stated.index) == ["1 vote", "16 votes", "1 stated", "16 stated", "exact"]
    for place, name in enumerate(("1 stated", "16 stated")):
        area = found["stated"][place][1]["area"]
        for policy in ("uncertainty", "random"):
            assert stated.loc[name, policy] == pytest.approx(np.mean(area[policy]), abs=1e-4)
        assert stated.loc[name, "gain"] == pytest.approx(stated.loc[name, "uncertainty"] - stated.loc[name, "random"],
                                                         abs=2e-4)  # fmt: skip
    assert stated.loc["16 votes", "gain"] == pytest.approx(gains[2], abs=1e-4)
    assert {figure["name"] for figure in written["figures"]} == {"votes", "temperature", "reliability"}
    check_replay(study, confidence)


def test_the_opposite_of_every_claim_fails(project: Path, found: dict[str, Any]) -> None:
    runs = rows_of_study(found)
    name, each = column_of, np.arange(len(runs)) * 1e-5  # no two replicates alike
    for votes, mean in ((1, 0.6), (4, 0.5), (16, 0.4), (None, 0.9)):
        runs[name("uncertainty", votes)] = np.where(runs["replicate"].notna(), mean + each, np.nan)
        runs[name("random", votes)] = np.where(runs["replicate"].notna(), 0.3 + 2 * each, np.nan)
    runs[name("uncertainty", 1, "ranking")] = runs[name("uncertainty", 4, "ranking")] + 0.1 + each
    for t in (0.25, 4.0):
        runs[name("uncertainty", 16, temperature=t)] = runs[name("uncertainty", 16)] + 0.1 + each
    runs["gap uncertainty+local"] = runs["gap uncertainty+local"].abs() + 0.01
    runs["gap random+local"] += 0.1
    runs.loc[runs["what"] == "temperature", "changed"] = 1
    assert set(verdicts(reported(runs)[0]).values()) == {"fails"}


def test_votes_decide_what_they_are_told_to() -> None:
    expert = drawn_experts(10_000, range(5), Skill(**SKILL), ASIA)
    every, nothing = all_pairs(expert), no_feedback(5, 8)
    exact = expert.beliefs(every, nothing)

    def told(votes: int | None, of: str) -> torch.Tensor:
        return voting(expert, votes, of, torch_generator(1, 0, "votes")).beliefs(every, nothing)

    votes = told(4, "both")
    assert {*votes[every].tolist()} <= {0, 0.25, 0.5, 0.75, 1} and torch.equal(told(None, "both"), exact)
    ranked, labelled = told(4, "ranking")[every], told(4, "labels")[every]
    assert torch.equal(labels(ranked), labels(exact[every])) and torch.equal(labels(labelled), labels(votes[every]))
    assert torch.allclose(uncertainty(ranked), uncertainty(votes[every]), atol=1e-8)
    assert torch.allclose(uncertainty(labelled), uncertainty(exact[every]), atol=1e-14)
    # pairs that look alike to the votes are equally uncertain, whatever their labels
    split = uncertainty(ranked)[votes[every] == 0.5]
    assert len(split) > 5 and len({*split.tolist()}) == 1
    assert len({*labels(ranked)[votes[every] == 0.5].tolist()}) == 2
    with pytest.raises(ValueError, match="of = 'nothing'"):
        told(4, "nothing")


def test_rows_of_stated_answers_are_only_added(found: dict[str, Any]) -> None:
    whole, without = rows_of_study(found), rows_of_study({**found, "stated": []})
    kept = whole[whole["what"] != "stated"]
    assert kept.to_csv(index=False) == without.to_csv(index=False) and len(whole) == len(kept) + 4
    assert whole["what"].tolist()[-4:] == ["stated"] * 4


class TestStated:
    def test_confidences(self) -> None:
        chances = torch.tensor([0.0, 0.04, 0.31, 0.44, 0.54, 0.56, 0.74, 0.76, 0.949, 0.951, 1.0])
        said = Manner().confidence(chances)
        assert said.tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0], abs=1e-11)
        assert Manner(0.0, 0.25).confidence(chances).tolist() == [0, 0, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75, 1, 1, 1]
        assert Manner(0.6, 0.3).confidence(chances).max() == pytest.approx(0.9, abs=1e-11)
        assert Manner(0.5, 0.6).confidence(chances).max() == 1  # two steps would be more than certain

    def test_the_same_answers_as_the_votes_averaged_by_hand(self) -> None:
        p = torch.rand(50, 6, generator=torch_generator(1, 0, "p"), dtype=torch.float64)
        for answers in (1, 5):
            yes = (voted(p, answers, torch_generator(2, 0, "x")) * answers).round()
            said = torch.arange(answers) < yes[..., None]  # [50, 6, K]
            sure = torch.where(said, (10 * p).round().clamp(min=5)[..., None] / 10,
                               (10 * (1 - p)).round().clamp(min=5)[..., None] / 10)  # fmt: skip
            found = averaged(p, answers, Manner(), torch_generator(2, 0, "x"))
            assert torch.allclose(found, belief_of_samples(said, sure), atol=1e-11)

    def test_yes_and_no_are_equally_unsure(self) -> None:
        p = torch.arange(20, dtype=torch.float64).repeat(400, 1) / 20 + 0.01
        found = averaged(p, 1, Manner(), torch_generator(3, 0, "x"))
        assert len(found.unique()) == 11 and len(uncertainty(found).unique()) == 6

    def test_fine_words_and_many_answers(self) -> None:
        """Without rounding and floor, one answer is p for sure; with many it is the mean over what is said."""
        p = torch.tensor([0.03, 0.3, 0.5, 0.8], dtype=torch.float64)
        assert torch.allclose(averaged(p, 1, Manner(0.0, 2.0**-20), torch_generator(4, 0, "x")), p, atol=1e-6)
        many = averaged(p, 10**6, Manner(0.5, 2.0**-20), torch_generator(4, 0, "x"))
        assert many.tolist() == pytest.approx([0.03 * 0.5 + 0.97 * 0.03, 0.3 * 0.5 + 0.7 * 0.3, 0.5,
                                               0.8 * 0.8 + 0.2 * 0.5], abs=2e-3)  # fmt: skip

    def test_one_stated_answer_ranks_where_one_vote_cannot(self, found: dict[str, Any]) -> None:
        areas = [found["votes"][0][1]["area"], found["stated"][0][1]["area"]]  # one vote, one stated answer
        votes, stated = (np.mean(area["uncertainty"]) - np.mean(area["random"]) for area in areas)
        assert stated > votes + 0.1

    @pytest.mark.parametrize(("how", "message"), [
        ({"manner": {"floor": 1.1}}, "floor=1.1"), ({"manner": {"step": 0.0}}, "step=0.0"),
        ({"manner": {"floor": float("nan")}}, "floor=nan"), ({"manner": {}, "skill": SKILL}, "votes = None"),
        ({"manner": {}, "skill": {"votes": 0}}, "votes=0"),
    ])  # fmt: skip
    def test_bad_input(self, how: dict[str, Any], message: str) -> None:
        point = {**LOOP, "graph": "asia", "policies": ["random"], "skill": {"votes": 1}, "replicates": 2}
        with pytest.raises(ValueError, match=message):
            confidence_runs(**(point | how))
        with pytest.raises(ValueError, match="probabilities"):
            Manner().confidence(torch.tensor([1.5]))


def test_one_vote_tests_at_random_and_infinitely_many_are_exact(found: dict[str, Any]) -> None:
    results = {(p["skill"]["votes"], p["replicates"]): r for p, r in found["votes"] if p.get("of") is None}
    one, exact = results[1, 30]["area"], results[None, 30]["area"]
    gap = np.array(one["uncertainty"]) - np.array(one["random"])
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(30)
    # with exact labels, where one vote leaves all pairs alike: another draw of random tests, not the same one
    point = {**LOOP, "graph": "asia", "policies": ["uncertainty", "random"], "replicates": 6}
    drawn = confidence_runs(**point, skill={**SKILL, "votes": 1}, of="ranking")["area"]
    assert drawn["uncertainty"] != drawn["random"]
    assert np.mean(exact["uncertainty"]) - np.mean(exact["random"]) > 0.1


def test_labels_and_order_of_exact_beliefs_are_the_exact_expert() -> None:
    point = {**LOOP, "graph": "asia", "policies": ["uncertainty", "uncertainty+local"], "replicates": 6}
    whole = confidence_runs(**point, skill=SKILL)
    assert confidence_runs(**point, skill=SKILL, of="labels") == confidence_runs(**point, skill=SKILL, of="ranking")
    assert confidence_runs(**point, skill=SKILL, of="labels")["area"] == whole["area"]
    blocks = confidence_runs(**point, skill=SKILL, block=3)["area"]
    assert np.allclose(np.reshape(whole["area"]["uncertainty"], (2, 3)).mean(1), blocks["uncertainty"])


def test_chunks_do_not_change_an_exact_result(monkeypatch: pytest.MonkeyPatch) -> None:
    point = {**LOOP, "graph": "asia", "policies": ["uncertainty"], "skill": SKILL, "replicates": 7}
    whole = confidence_runs(**point)
    monkeypatch.setattr(confidence_study, "CHUNK", 3)
    assert confidence_runs(**point) == whole


def test_temperature_is_noticed_by_votes_alone() -> None:
    point = {**LOOP, "graph": "asia", "policies": ["uncertainty", "uncertainty+local", "top"],
             "temperatures": [0.5, 4.0], "replicates": 10}  # fmt: skip
    exact = pd.DataFrame(temperature_runs(**point, skill=SKILL)["columns"])
    assert len(exact) == 6 and (exact["changed"] == 0).all() and (exact["replicates"] == 10).all()
    biased = pd.DataFrame(temperature_runs(**point, skill={**SKILL, "bias": 2.0})["columns"])
    assert (biased["changed"] == 0).all()
    voted = pd.DataFrame(temperature_runs(**point, skill={**SKILL, "votes": 16})["columns"])
    assert (voted["changed"] > 0).all()


class TestReliability:
    def test_over_all_pairs_it_is_calibration(self) -> None:
        expert = drawn_experts(10_000, range(20), Skill(**SKILL), ASIA)
        p = expert.beliefs(all_pairs(expert), no_feedback(20, 8))
        ours, theirs = calibration(p, ASIA.edges, TENTHS, all_pairs(expert)), calibration(p, ASIA.edges)
        for one, other in zip(ours, theirs, strict=True):
            assert torch.allclose(one, other, atol=1e-12)
        assert ours.expected_error == pytest.approx(theirs.expected_error)

    def test_some_pairs_against_scikit_learn(self) -> None:
        expert = drawn_experts(10_000, range(20), Skill(**SKILL, bias=1.0), ASIA)
        p = expert.beliefs(all_pairs(expert), no_feedback(20, 8))
        among = pairs(8) & (torch.rand(20, 8, 8, generator=torch_generator(1, 0, "among")) < 0.4)
        ours = calibration(p, ASIA.edges, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], among)
        share, belief = calibration_curve(ASIA.edges.expand_as(among)[among], p[among], n_bins=5)
        assert np.allclose(ours.share, share) and np.allclose(ours.belief, belief)
        assert float(ours.pairs.sum()) == int(among.sum())

    def test_borders_by_hand(self) -> None:
        p = torch.tensor([[[0.0, 0.5], [1.0, 0.0]], [[0.0, 0.49], [0.2, 0.0]]])
        edges = torch.tensor([[False, True], [False, False]])
        made = calibration(p, edges, [0.0, 0.5, 1.0])
        assert made.pairs.tolist() == [2, 2] and made.share.tolist() == [0.5, 0.5]
        assert made.belief.tolist() == pytest.approx([0.345, 0.75])

    def test_gaps_are_belief_minus_share(self, found: dict[str, Any]) -> None:
        for point, result in found["reliability"]:
            means = pd.DataFrame(result["means"]).set_index("moment")
            assert list(means.index) == ["before", *point["policies"]]
            counts = pd.DataFrame(result["bins"]).groupby("moment")["pairs"].sum()
            assert counts["before"] == 24 * 380 and all(counts[p] == 24 * (380 - 4 * 28) for p in point["policies"])
            for moment, row in means.iterrows():
                assert row["gap"] == pytest.approx(row["belief"] - row["share"])
                assert np.mean(result["gaps"][moment]) == pytest.approx(row["gap"])
                assert 0 <= abs(row["gap"]) <= row["expected_error"] + 0.02

    @pytest.mark.parametrize("borders", [[0.0], [0.0, 0.5, 0.5, 1.0], [0.1, 1.0], [0.0, 0.1]])
    def test_borders_that_are_refused(self, borders: list[float]) -> None:
        p = torch.full((1, 2, 2), 0.05) + torch.tensor([[0.0, 0.9], [0.0, 0.0]])
        with pytest.raises(ValueError, match="bins = "):
            calibration(p, torch.tensor([[False, True], [False, False]]), borders)


def test_what_is_stated_is_a_share_of_votes() -> None:
    made = stated_beliefs("asia", 4, temperature=1.0, replicates=3, seed=10_000)
    assert len(made.exact) == len(made.stated) == len(made.edge) == 3 * 56 and int(made.edge.sum()) == 24
    assert {*made.stated.tolist()} <= {0, 0.25, 0.5, 0.75, 1}
    exact = stated_beliefs("asia", None, temperature=1.0, replicates=3, seed=10_000)
    assert torch.equal(exact.stated, exact.exact) and torch.equal(exact.exact, made.exact)
    cold = stated_beliefs("asia", None, temperature=0.5, replicates=3, seed=10_000, bias=1.0)
    assert torch.allclose(torch.logit(cold.stated), (torch.logit(made.exact) + 1) / 0.5)


def test_names_and_places() -> None:
    assert [place_of(v, 64) for v in ("1", "64", "exact")] == [0, 6, 8]
    assert setting_of("16", 1.0, 0.0) == "16 votes" and setting_of("exact", 1.0, 0.0) == "exact belief"
    assert setting_of("exact", 0.5, 0.0) == "too sure (temperature 0.5)"
    assert setting_of("exact", 2.0, 0.0) == "too unsure (temperature 2)" and "bias 2" in setting_of("exact", 1, 2.0)


def test_the_sweeps_take_json_points(project: Path) -> None:
    point = {**LOOP, "graph": "asia", "policies": ["random"], "skill": {"votes": None}, "replicates": 2}
    (made,) = sweep(confidence_runs, [point], dtype="float64")
    (fit,) = sweep(reliability_runs, [{**point, "first_borders": TENTHS, "borders": FINE}], dtype="float64")
    assert len(made["area"]["random"]) == 2 and fit["means"]["moment"] == ["before", "random"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 3}, "block = 3"), ({"replicates": 0}, "replicates = 0"), ({"policies": ["best"]}, "selection = "),
        ({"skill": {"votes": 0}}, "votes=0"), ({"skill": {"temperature": 0}}, "temperature=0"),
        ({"of": "all"}, "of = "),
    ],
)  # fmt: skip
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    point = {**LOOP, "graph": "asia", "policies": ["uncertainty"], "skill": SKILL, "replicates": 4}
    with pytest.raises(ValueError, match=message):
        confidence_runs(**(point | options))
