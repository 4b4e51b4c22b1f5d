"""Notebook 01: the sweep against the loop itself, one replicate step by step, and the report from rows alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from sklearn.metrics import f1_score, precision_score
from twelvefold.core.seeds import torch_generator
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.igda import discovery, discovery_study
from twelvefold.papers.igda.beliefs import labels
from twelvefold.papers.igda.discovery_study import (
    counted,
    discovery_runs,
    drawn_experts,
    experiments_per_round,
    followed,
    graph_called,
    measured,
    policy_of,
    rows_of_points,
)
from twelvefold.papers.igda.feedback import no_feedback, pairs
from twelvefold.papers.igda.loop import Policy, area, discover
from twelvefold.papers.igda.plots import discovery as plots
from twelvefold.papers.igda.plots.policies import POLICIES, STYLES
from twelvefold.papers.igda.simulated_expert import Skill, all_pairs
from twelvefold.papers.igda.walkthrough import first_choices, judged_edges, moved_beliefs, steps, tests_made
from twelvefold.tasks.causal_graphs import load_graph

from tests.papers.igda.reports import check_replay, written_study

tests_made.__test__ = False  # a function of the library, not a test
ASIA = load_graph("asia")
SKILL = {"separation": 1.5, "shared_source": 0.25, "shared_target": 0.25}
POINT = {"seed": 10_000, "graph": "asia", "policies": list(POLICIES), "skill": SKILL, "replicates": 6, "rounds": 4,
         "tested_share": 0.3}  # fmt: skip
SCALE = {"skill": SKILL, "rounds": 4, "block": 1}


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    """A small run of all networks that claims are about."""
    made = [discovery_runs(**{**POINT, "graph": graph}) for graph in discovery.GRAPHS]
    named = [{"graph": graph} for graph in discovery.GRAPHS]
    return rows_of_points(zip(named, made, strict=True), curves=discovery.SHOWN)


def decided(runs: pd.DataFrame, **scale: Any) -> list[dict[str, Any]]:
    """The claims as they are written, with nothing drawn."""
    return reported(runs, discovery.REPORT[-1:], **scale)[0]["claims"]


def reported(
    runs: pd.DataFrame, writers: Sequence[Any] | None = None, **scale: Any
) -> tuple[dict[str, Any], Study]:  # fmt: skip
    return written_study("igda/01_discovery", discovery, {**SCALE, **scale}, runs, writers)


class TestSweep:
    def test_is_the_loop(self) -> None:
        made = discovery_runs(**POINT)
        expert = drawn_experts(10_000, range(6), Skill(**SKILL), ASIA)
        ties = torch_generator(10_000, 0, "ties on asia")
        loop = discover(expert, ASIA.edges, Policy("uncertainty", "local"), replicates=6, rounds=4, experiments=4,
                        generator=ties)  # fmt: skip
        assert made["areas"]["uncertainty+local"] == area(loop.f1).tolist()
        ends = pd.DataFrame(made["ends"]).set_index("policy").loc["uncertainty+local"]
        assert ends["f1"] == pytest.approx(float(loop.f1[:, -1].mean()))
        assert ends["zero_shot"] == pytest.approx(float(loop.f1[:, 0].mean()))
        assert ends["distance_se"] == pytest.approx(float(loop.distance[:, -1].std()) / math.sqrt(6))
        rounds = pd.DataFrame(made["rounds"]).query("policy == 'uncertainty+local'")
        assert rounds["f1_untested"].tolist() == pytest.approx(loop.f1_untested.mean(0).tolist())
        assert rounds["tested"].tolist() == pytest.approx((loop.tests / 56).tolist())

    def test_chunks_and_blocks_change_nothing_but_their_form(self, monkeypatch: pytest.MonkeyPatch) -> None:
        static = {**POINT, "policies": ["uncertainty", "top"], "histogram": True}  # without ties
        whole = discovery_runs(**static)
        monkeypatch.setattr(discovery_study, "CHUNK", 4)
        parts = discovery_runs(**static, block=3)
        for policy in ("uncertainty", "top"):
            assert parts["areas"][policy] == pytest.approx(np.reshape(whole["areas"][policy], (2, 3)).mean(1))
        assert parts["rounds"] == whole["rounds"] and parts["ends"] == whole["ends"]
        for name, values in parts["beliefs"].items():
            assert values == pytest.approx(whole["beliefs"][name])

    def test_tests_at_random_are_the_same_with_and_without_update(self) -> None:
        expert = drawn_experts(10_000, range(3), Skill(), ASIA)
        tested = [followed(10_000, range(3), expert, ASIA, policy, 4, 3).feedback.round
                  for policy in ("random", "random+local")]  # fmt: skip
        assert torch.equal(*tested)

    def test_evidence_belongs_to_seed_replicate_and_graph_whatever_the_bias(self) -> None:
        one, many = drawn_experts(3, [2], Skill(), ASIA), drawn_experts(3, [1, 2], Skill(bias=2.0), ASIA)
        assert torch.equal(one.evidence[0], many.evidence[1])
        assert not torch.equal(many.evidence[0], many.evidence[1])
        assert not torch.equal(one.evidence, drawn_experts(4, [2], Skill(), ASIA).evidence)

    def test_what_is_measured_is_what_scikit_learn_measures(self) -> None:
        expert = drawn_experts(10_000, range(4), Skill(), ASIA)
        made, other = (followed(10_000, range(4), expert, ASIA, key, 3, 5) for key in ("random+local", "top"))
        kept, every = measured(made, ASIA.edges, other.feedback.tested), pairs(8)
        for s in range(4):
            true, said = ASIA.edges[every].numpy(), labels(made.beliefs)[s][every].numpy()
            assert float(kept["f1"][s, -1]) == pytest.approx(f1_score(true, said))
            assert float(kept["precision"][s]) == pytest.approx(precision_score(true, said))
            tested = made.feedback.tested[s]
            assert float(kept["hits"][s]) == pytest.approx(float(ASIA.edges[tested].double().mean()))
            assert float(kept["overlap"][s]) == pytest.approx(float(other.feedback.tested[s][tested].double().mean()))
        assert kept["questions"].tolist() == (made.questions[:, -1] / 56).tolist()

    def test_pairs_are_counted_by_their_logit(self) -> None:
        logits = torch.tensor([[[0.0, 0.3], [-99.0, 0.0]], [[0.0, 0.2], [99.0, 0.0]]])
        every = pairs(2).expand(2, 2, 2)
        borders = np.linspace(*discovery_study.LOGITS)
        found = counted(logits, {"all": every})["all"]
        assert found.sum() == 2 and found[0] == found[-1] == 0.5
        assert found[int(np.searchsorted(borders, 0.25)) - 1] == 1

    def test_takes_json_points(self, project: Path) -> None:
        (made,) = sweep(discovery_runs, [{**POINT, "histogram": True}], dtype="float64")
        counts = pd.DataFrame(made["beliefs"])
        assert counts["pairs"].sum() == pytest.approx(56) and counts["true"].sum() == pytest.approx(8)
        assert counts["random"].sum() == pytest.approx(16)

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"block": 4}, "block = 4"), ({"replicates": 0}, "replicates = 0"), ({"policies": ["top"]}, "must be among"),
         ({"graph": "nowhere"}, "name = 'nowhere'"), ({"graph": "random-3-4"}, "at most 3 edges"),
         ({"rounds": 0}, "rounds = 0"), ({"tested_share": 0.0}, "tested_share = 0.0"),
         ({"policies": ["uncertainty", "best"]}, "selection = 'best'")],
    )  # fmt: skip
    def test_refuses(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            discovery_runs(**{**POINT, **options})

    def test_refuses_no_replicate(self) -> None:
        with pytest.raises(ValueError, match="replicates is empty"):
            drawn_experts(1, [], Skill(), ASIA)


def test_policies_by_their_keys() -> None:
    assert policy_of("uncertainty+global") == Policy("uncertainty", "global")
    assert [policy_of(key).update for key in POLICIES] == ["local", "none", "none", "none", "none", "local", "global"]
    with pytest.raises(ValueError, match="update = 'often'"):
        policy_of("random+often")


def test_tests_per_round() -> None:
    assert [experiments_per_round(n, 8, 0.3) for n in (2, 8, 11, 20, 27, 37)] == [1, 2, 4, 14, 26, 50]


def test_random_graphs_have_the_named_size_and_no_cycle() -> None:
    graph = graph_called("random-11-7", 5)
    assert graph.size == 11 and int(graph.edges.sum()) == 7 and graph.acyclic
    assert graph_called("random-5-10", 5).acyclic  # as many edges as fit
    assert not torch.equal(graph.edges, graph_called("random-11-7", 6).edges)
    assert graph_called("sachs", 5).name == "sachs"


class TestWalkthrough:
    def test_each_step_goes_on_where_the_last_ended(self) -> None:
        walk = steps(10_000, ASIA, "uncertainty+local", 3, 4)
        for before, after in zip(walk[:-1], walk[1:], strict=True):
            kept = before.feedback.tested
            assert torch.equal(after.feedback.round[kept], before.feedback.round[kept])
            assert torch.equal(after.f1[:, :-1], before.f1)

    def test_tests_are_told_in_order(self) -> None:
        walk = steps(10_000, ASIA, "top", 3, 4)
        made = tests_made(walk, ASIA)
        assert made["round"].tolist() == [1] * 4 + [2] * 4 + [3] * 4
        place = {name: i for i, name in enumerate(ASIA.variables)}
        assert [bool(ASIA.edges[place[a], place[b]]) for a, b in zip(made["cause"], made["effect"], strict=True)] == [
            answer == "yes" for answer in made["answer"]
        ]
        # the most probable are tested first, and nothing moves without an update
        assert made.groupby("round")["belief"].min()[1] >= made.groupby("round")["belief"].max()[2]

    def test_beliefs_move_only_where_the_round_bears_on_them(self) -> None:
        walk = steps(10_000, ASIA, "uncertainty+local", 1, 2)
        moved = moved_beliefs(*walk, ASIA, most=5)
        distance = (moved["after"] - moved["before"]).abs()
        assert len(moved) == 5 and (distance.diff().dropna() <= 0).all() and distance.iloc[0] > 0
        tested = tests_made(walk, ASIA)
        near = moved["cause"].isin(tested["cause"]) | moved["effect"].isin(tested["effect"])
        assert near.all()

    def test_first_choices(self) -> None:
        skill, place = Skill(bias=2.0), {name: i for i, name in enumerate(ASIA.variables)}
        found = first_choices(10_000, ASIA, skill, ["uncertainty", "top"], 3)
        expert = drawn_experts(10_000, [0], skill, ASIA)
        beliefs = expert.beliefs(all_pairs(expert), no_feedback(1, 8))[0]
        values = beliefs[pairs(8)]
        assert found.query("rule == 'top'")["belief"].tolist() == values.sort(descending=True).values[:3].tolist()
        nearest = values[(values - 0.5).abs().argsort()[:3]].sort(descending=True).values
        assert found.query("rule == 'uncertainty'")["belief"].tolist() == nearest.tolist()
        for row in found.itertuples():
            i, j = place[row.cause], place[row.effect]
            assert row.belief == float(beliefs[i, j]) and row.edge == ("yes" if ASIA.edges[i, j] else "no")

    @pytest.mark.parametrize("policy", ["uncertainty+local", "confident", "random"])
    def test_every_edge_is_judged_once(self, policy: str) -> None:
        step = steps(10_000, ASIA, policy, 3, 4)[-1]
        kinds = judged_edges(step, ASIA)
        true = sorted(kinds["confirmed"] + kinds["predicted"] + kinds["missed"])
        assert true == sorted(tuple(pair) for pair in ASIA.edges.nonzero().tolist())
        hit, wrong = len(kinds["confirmed"] + kinds["predicted"]), len(kinds["wrong"] + kinds["missed"])
        assert 2 * hit / (2 * hit + wrong) == pytest.approx(float(step.f1[0, -1]))
        assert len(kinds["confirmed"]) == int(step.found[0, -1]) and len(kinds["tested now"]) == 4
        assert judged_edges(steps(10_000, ASIA, policy, 0, 4)[0], ASIA)["tested now"] == []


class TestReport:
    def test_rows_alone_give_the_same_bytes(self, project: Path, runs: pd.DataFrame) -> None:
        written, study = reported(runs)
        assert len(written["claims"]) == 9 and all(claim["estimate"]["n"] == 6 for claim in written["claims"])
        check_replay(study, discovery)

    def test_a_policy_that_does_not_help_fails_every_claim(self, project: Path, runs: pd.DataFrame) -> None:
        rows = runs.copy()
        rows["uncertainty+local"] = rows[["random", "uncertainty"]].min(axis=1) - 0.01 * (1 + rows["replicate"] % 2)
        assert {claim["verdict"] for claim in decided(rows)} == {"fails"}

    def test_each_claim_compares_the_policies_it_names(self, project: Path, runs: pd.DataFrame) -> None:
        values = {claim["id"]: claim["estimate"]["value"] for claim in decided(runs)}
        mean = runs[runs["what"] == "replicate"].groupby("graph")[list(POLICIES)].mean()
        for graph in discovery.GRAPHS:
            gained = mean["uncertainty+local"][graph] - mean["random"][graph]
            assert values[f"igda-beats-random-{graph}"] == pytest.approx(gained)
        gained = mean["uncertainty+local"]["child"] - mean["uncertainty"]["child"]
        assert values["update-helps-child"] == pytest.approx(gained)

    def test_blocks_are_noted(self, project: Path, runs: pd.DataFrame) -> None:
        assert all("mean of 3 replicates" in claim["note"] for claim in decided(runs, block=3))
        assert all(claim["note"] == "" for claim in decided(runs))


def test_gains_take_the_look_of_their_first_policy() -> None:
    names = [("a", "top"), ("b", "random"), ("c", "top")]
    gains = pd.DataFrame([{"graph": "asia", "contrast": name, "policy": policy, "gain": 0.1, "low": 0.0, "high": 0.2}
                          for name, policy in names])  # fmt: skip
    figure = plots.gains_figure(gains, {"left": ["a", "c"], "right": ["b"]})
    (first, second), (third,) = ([bars.lines[0] for bars in ax.containers] for ax in figure.axes)
    assert first.get_color() == second.get_color() == STYLES["top"].color
    assert second.get_markerfacecolor() == "white" != first.get_markerfacecolor()
    assert third.get_color() == STYLES["random"].color and third.get_marker() == STYLES["random"].marker


def test_every_policy_has_its_look_and_every_edge_its_line() -> None:
    assert len({(s.color, s.dashes) for s in STYLES.values()}) == len(STYLES) == 8
    assert list(STYLES)[:7] == list(POLICIES)
    kinds = judged_edges(steps(10_000, ASIA, "random", 2, 4)[-1], ASIA)
    figure = plots.graph_figure(ASIA.variables, ASIA.edges.nonzero().tolist(), kinds, "asia")
    arrows = [note.arrow_patch for note in figure.axes[0].texts if getattr(note, "arrow_patch", None)]
    assert len(arrows) == sum(map(len, kinds.values()))
    missed = [arrow for arrow in arrows if to_hex(arrow.get_edgecolor()) == plots.EDGES["missed"][0]]
    assert len(missed) == len(kinds["missed"])
