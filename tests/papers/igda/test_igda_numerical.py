"""Notebook 06: experts that learn from rows, what their beliefs lack, and the report from rows alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core.claims import verdict
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep
from twelvefold.papers.igda import numerical, numerical_study
from twelvefold.papers.igda.discovery_study import drawn_experts, followed
from twelvefold.papers.igda.feedback import add_answers, no_feedback, pairs
from twelvefold.papers.igda.loop import FixedExpert, area
from twelvefold.papers.igda.numerical import Arm
from twelvefold.papers.igda.numerical_study import (
    ONE_WAY,
    OneWay,
    climbing_runs,
    enco_runs,
    expert_runs,
    rows_of_study,
    start_of,
    walked,
)
from twelvefold.papers.igda.simulated_expert import Skill
from twelvefold.tasks.causal_graphs import load_graph

from tests.papers.igda.reports import check_replay, verdicts, written_study

LOOP: dict[str, Any] = {"seed": 10_000, "draws": 3, "rounds": 3, "tested_share": 0.3}
SKILL = {"shared_source": 0.25, "shared_target": 0.25}
SCALE = {"skill": SKILL, "rounds": 3, "tested_share": 0.3, "each": 4}
TINY = {"hidden": [4], "rounds": 1, "model_steps": 3, "graph_steps": 3, "update_steps": 1, "batch": 8, "graphs": 4}
CHOSEN, CHANCE, ANEW, OWN = "uncertainty", "random", "uncertainty+global", "expert+global"
ASIA = load_graph("asia")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Points and results of all sweeps, three data draws each."""
    experts = [{**LOOP, "graph": graph, "skill": {**SKILL, "separation": d}, "each": 4,
                "policies": ["uncertainty+local", CHOSEN, CHANCE, ANEW + ONE_WAY]}
               for graph in ("asia", "sachs") for d in (1.0, 1.5, 2.0)]  # fmt: skip
    climbing = [{**LOOP, "graph": graph, "rows": size, "resamples": 2, "policies": [CHOSEN, CHANCE, CHOSEN + ONE_WAY]}
                for graph, size in (("asia", 100), ("asia", 500), ("asia", 2_000), ("asia", 5_000), ("sachs", 5_000))
                ]  # fmt: skip
    first = {**LOOP, "graph": "asia", "rows": 500, "resamples": 2, "open_too": False}
    few = [{**first, "policies": [CHOSEN, CHANCE, ANEW]},
           *({**first, "policies": [CHOSEN], "columns": c} for c in ("file", "reversed"))]  # fmt: skip
    encos = [{**LOOP, "graph": "asia", "rows": 300, "intervened": 25, "policies": [CHOSEN, CHANCE, ANEW, OWN],
              "config": TINY},
             {**LOOP, "graph": "asia", "rows": 400, "intervened": 200, "policies": [CHOSEN], "config": TINY}
             ]  # fmt: skip
    runs = {"expert": (expert_runs, experts), "climbing": (climbing_runs, climbing), "few": (climbing_runs, few),
            "enco": (enco_runs, encos)}  # fmt: skip
    return {kind: [(point, run(**point)) for point in points] for kind, (run, points) in runs.items()}


def reported(runs: pd.DataFrame) -> tuple[dict[str, Any], Study]:
    return written_study("igda/06_numerical", numerical, SCALE, runs)


def test_every_claim_is_decided_and_rows_alone_give_the_same_bytes(project: Path, found: dict[str, Any]) -> None:
    written, study = reported(rows_of_study(found))
    assert "not tested" not in verdicts(written).values()
    estimates = {claim["id"]: claim["estimate"]["value"] for claim in written["claims"]}
    draws = {kind: [pd.DataFrame(result["draws"]) for _, result in points] for kind, points in found.items()}

    def mean(kind: str, place: int, method: str, policy: str) -> float:
        table = draws[kind][place]
        return float(table[(table["method"] == method) & (table["policy"] == policy)]["area"].mean())

    expected = {
        "100-rows-lose-to-expert-15":
            mean("climbing", 0, "found", CHOSEN) - mean("expert", 1, "expert", numerical.IGDA),
        "sachs-5000-rows-beat-expert-1":
            mean("climbing", 4, "found", CHOSEN) - mean("expert", 3, "expert", numerical.IGDA),
        "more-rows-help": mean("climbing", 3, "found", CHOSEN) - mean("climbing", 1, "found", CHOSEN),
        "uncertain-tests-help-hill-climbing":
            mean("climbing", 1, "found", CHOSEN) - mean("climbing", 1, "found", CHANCE),
        "learning-anew-helps": mean("few", 0, "found", ANEW) - mean("few", 0, "found", CHOSEN),
        "order-of-columns-decides": mean("few", 2, "found", CHOSEN) - mean("few", 1, "found", CHOSEN),
        "open-directions-cost": mean("climbing", 4, "class", CHOSEN) - mean("climbing", 4, "found", CHOSEN),
        "interventional-rows-beat-observed": mean("enco", 0, "ENCO", CHOSEN) - mean("climbing", 1, "found", CHOSEN),
        "gradients-choose-better": mean("enco", 0, "ENCO", OWN) - mean("enco", 0, "ENCO", ANEW),
    }  # fmt: skip
    assert estimates == {**estimates, **{id: pytest.approx(value, abs=1e-4) for id, value in expected.items()}}
    assert {figure["name"] for figure in written["figures"]} == {"rows", "rounds", "directions"}
    check_replay(study, numerical)


def with_areas(runs: pd.DataFrame, graph: str, arm: Arm, level: float, slope: float) -> pd.DataFrame:
    """The rows with another mean F1 of an arm, hardly different between data draws."""
    where = (runs["what"] == "draws") & (runs["graph"] == graph)
    for name, value in arm._asdict().items():
        where &= runs[name] == value
    assert where.sum() == 3
    changed = runs.copy()
    changed.loc[where, "area"] = level + slope * runs.loc[where, "draw"].astype(float)
    return changed


def test_every_claim_holds_or_fails_by_its_own_arms(project: Path, found: dict[str, Any]) -> None:
    runs, study = rows_of_study(found), Study("igda/06_numerical", "quick", 10_000, "cpu")
    study.declare(numerical.CLAIMS)
    for c in numerical.CONTRASTS:
        decided = {}
        for gap in (-0.2, 0.0, 0.2):
            changed = with_areas(with_areas(runs, c.graph, c.first, 0.5 + gap, 1e-5), c.graph, c.second, 0.5, 2e-5)
            decided[gap] = verdict(c.rule, numerical.difference(study, changed, c.graph, c.first, c.second))
        if c.rule.rule == "outside":  # either order may be the better one
            assert decided == {-0.2: "holds", 0.0: "fails", 0.2: "holds"}
        else:
            better = 0.2 if c.rule.rule == "above" else -0.2
            assert decided == {**decided, better: "holds", -better: "fails"}, c.id


def test_what_was_not_run_is_not_tested(project: Path, found: dict[str, Any]) -> None:
    runs = rows_of_study(found)
    decided = verdicts(reported(runs[(runs["graph"] != "sachs") & (runs["method"] != "ENCO")])[0])
    missing = {"sachs-5000-rows-beat-expert-1", "open-directions-cost", "interventional-rows-beat-observed",
               "gradients-choose-better"}  # fmt: skip
    assert {id for id, verdict in decided.items() if verdict == "not tested"} == missing


def test_the_crossing_is_read_off_the_intervals(project: Path, found: dict[str, Any]) -> None:
    runs = rows_of_study(found)
    for size, area_of in ((100, 0.2), (500, 0.5), (2_000, 0.8), (5_000, 0.9)):
        chosen = (runs["what"] == "draws") & (runs["method"] == "found") & (runs["size"] == size)
        runs.loc[chosen & (runs["policy"] == CHOSEN), "area"] = area_of
    runs.loc[(runs["what"] == "draws") & (runs["method"] == "expert") & (runs["graph"] == "asia"), "area"] = 0.5
    _, study = reported(runs)
    table = pd.read_csv(study.folder / "crossing.csv")
    row = table[(table["graph"] == "asia") & (table["beliefs"] == "hill climbing") & (table["skill"] == 1.5)].iloc[0]
    assert (row["behind_up_to"], row["ahead_from"]) == (100, 2_000)
    assert [row[f"N_{size}"] for size in (100, 500, 2_000, 5_000)] == pytest.approx([-0.3, 0, 0.3, 0.4])


def test_directions_of_beliefs_by_hand() -> None:
    edges = torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]).bool()
    right, back, both = 0.9, 0.8, 0.5
    beliefs = torch.zeros(3, 4, 4, dtype=torch.float64)
    beliefs[0, 0, 1], beliefs[0, 2, 1], beliefs[0, 2, 3], beliefs[0, 3, 2] = right, back, both, both
    beliefs[1] = edges.double()
    beliefs[1, 0, 3] = 0.51  # joined wrongly
    beliefs[2, 0, 1] = 0.4  # not joined
    made = start_of(beliefs, edges)
    assert made["skeleton"].tolist() == pytest.approx([1.0, 6 / 7, 0.0])
    for name in ("right", "open", "wrong"):
        assert made[name][0] == pytest.approx(1 / 3) and made[name][1] == (name == "right")
        assert bool(made[name][2].isnan())
    assert made["ranking"][1] == 1


def test_one_way_closes_the_reverse_of_shown_edges_only() -> None:
    stated, every = torch.full((1, 8, 8), 0.6, dtype=torch.float64), pairs(8)[None]
    selected = torch.zeros(1, 8, 8, dtype=torch.bool)
    i, j = (int(k) for k in ASIA.edges.nonzero()[0])
    selected[0, i, j] = selected[0, 7, 0] = True  # an edge, and none
    feedback = add_answers(no_feedback(1, 8), selected, ASIA.edges)
    after = OneWay(FixedExpert(stated)).beliefs(every, feedback)
    assert (after == 0).nonzero().tolist() == [[0, j, i]]


class TestSweeps:
    def test_experts_are_those_of_the_loop_averaged_by_draw(self) -> None:
        point = {**LOOP, "graph": "asia", "skill": {**SKILL, "separation": 1.5}, "each": 5}
        made = pd.DataFrame(expert_runs(**point, policies=["top"])["draws"])
        expert = drawn_experts(10_000, range(15), Skill(1.5), ASIA)
        by_hand = area(followed(10_000, range(15), expert, ASIA, "top", 3, 6).f1)
        assert np.allclose(made["area"], by_hand.view(3, 5).mean(1), atol=1e-12)

    def test_first_beliefs_are_alike_whatever_is_tested(self, found: dict[str, Any]) -> None:
        for points in found.values():
            for _, result in points:
                rounds = pd.DataFrame(result["rounds"])
                assert rounds[rounds["round"] == 0].groupby("method")["f1"].nunique().eq(1).all()
                start = pd.DataFrame(result["start"]).set_index("method")
                for method, part in rounds[rounds["round"] == 0].groupby("method"):
                    assert start.loc[method, "zero_shot"] == pytest.approx(part["f1"].iloc[0])
                assert set(rounds[rounds["round"] == 3]["tested"].round(3)) <= {round(18 / 56, 3), round(33 / 110, 3)}

    def test_the_walk_is_the_experiment(self) -> None:
        made = walked(10_000, "asia", 500, 1, resamples=3, rounds=2, experiments=2)
        assert made.f1.shape == (1, 3) and int(made.feedback.tested.sum()) == 4
        assert torch.equal(made.f1[:, 0], walked(10_000, "asia", 500, 1, 3, 0, 2).f1[:, 0])

    def test_points_are_json_and_small_changes_matter(self, project: Path) -> None:
        point = {**LOOP, "draws": 2, "graph": "asia", "rows": 60, "resamples": 2, "policies": [CHOSEN]}
        one, other = sweep(climbing_runs, [point, {**point, "rows": 61}], dtype="float64")
        assert one["draws"]["area"] != other["draws"]["area"]
        assert {*one["draws"]["method"]} == {"found", "class"}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"draws": 0}, "draws = 0"), ({"policies": []}, "policies = "), ({"policies": ["best"]}, "selection = "),
            ({"rows": 1}, "rows are"), ({"resamples": 0}, "resamples = 0"), ({"graph": "asian"}, "name = 'asian'"),
            ({"columns": "alphabetical"}, "columns = "),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, options: dict[str, Any], message: str) -> None:
        point = {**LOOP, "draws": 1, "graph": "asia", "rows": 50, "resamples": 1, "policies": [CHOSEN]}
        with pytest.raises(ValueError, match=message):
            climbing_runs(**(point | options))


def test_rows_say_where_they_come_from(found: dict[str, Any]) -> None:
    runs = rows_of_study(found)
    assert set(runs[runs["method"] == "ENCO"]["size"]) == {500, 2_000}
    assert set(runs[runs["method"] == "ENCO"]["intervened"]) == {200, 1_600}
    assert set(runs[runs["method"] == "expert"]["size"]) == {0}
    assert set(runs[runs["searched"] == "few"]["columns"]) == {"random", "file", "reversed"}
    start = runs[runs["what"] == "start"]
    assert np.allclose(start[["right", "open", "wrong"]].sum(axis=1), 1, atol=1e-4)
    assert numerical.ONE_WAY == numerical_study.ONE_WAY
    methods = (numerical.EXPERT, numerical.FOUND, numerical.CLASS, numerical.ENCO)
    assert methods == tuple(numerical.plots.METHODS) and {*runs["method"]} == {*methods}
