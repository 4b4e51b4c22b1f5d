"""Notebook 02: rules under bias, the report from rows alone, and what the formula of the bias says about tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from twelvefold.core.study import Study
from twelvefold.papers.igda import selection
from twelvefold.papers.igda.discovery_study import discovery_runs, rows_of_points
from twelvefold.papers.igda.plots.selection import rule_figure

from tests.papers.igda.reports import check_replay, verdicts, written_study

SKILL = {"separation": 1.5, "shared_source": 0.25, "shared_target": 0.25}
POINT = {"seed": 10_000, "policies": list(selection.RULES), "replicates": 5, "rounds": 3, "tested_share": 0.3}
BIASES = [-2.0, 0.0, 2.0, 3.0]


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    """A small run of both networks at the claimed biases, and of one control."""
    named = [{"graph": graph, "bias": bias} for graph in selection.GRAPHS for bias in BIASES]
    made = [discovery_runs(**POINT, graph=one["graph"], skill={**SKILL, "bias": one["bias"]},
                           histogram=selection.shown(**one)) for one in named]  # fmt: skip
    named.append({"graph": "random-11-7", "bias": 2.0})
    made.append(discovery_runs(**{**POINT, "policies": ["uncertainty", "top"]}, graph="random-11-7",
                               skill={**SKILL, "bias": 2.0}))  # fmt: skip
    return rows_of_points(zip(named, made, strict=True), curves=[])


def reported(runs: pd.DataFrame, writers: Sequence[Any] | None = None) -> tuple[dict[str, Any], Study]:
    return written_study("igda/02_selection", selection, {"skill": SKILL, "rounds": 3, "block": 1}, runs, writers)


def test_rows_alone_give_the_same_bytes(project: Path, runs: pd.DataFrame) -> None:
    written, study = reported(runs)
    assert len(written["claims"]) == 12 and all(claim["estimate"]["n"] == 5 for claim in written["claims"])
    assert {figure["name"] for figure in written["figures"]} == {"bias", "beliefs", "hits"}
    check_replay(study, selection)


def test_claims_follow_the_rules_they_name(project: Path, runs: pd.DataFrame) -> None:
    rows = runs.copy()
    areas = rows["what"] == "replicate"
    wobble = 1e-3 * rows["replicate"].astype(float)
    for rule, level in (("uncertainty", 0.5), ("random", 0.6), ("top", 0.4)):  # uncertain below random, above top
        rows.loc[areas, rule] = (level + wobble * (rule == "uncertainty"))[areas]
    for name, verdict in verdicts(reported(rows, selection.REPORT[-1:])[0]).items():
        assert verdict == ("holds" if name.startswith("uncertainty-beats-top") else "fails")


def test_ids_name_graph_rules_and_bias() -> None:
    assert selection.claim_id("child", "uncertainty", "random", -2) == "uncertainty-beats-random-child-biasm2"
    assert len({claim.id for claim in selection.CLAIMS}) == 12
    assert selection.shown("child", 2.0) and not selection.shown("child", 1.0) and not selection.shown("sachs", 2.0)


def test_swapped_graphs_have_the_density_of_the_other() -> None:
    child, sachs = 25 / 380, 17 / 110
    assert 59 / 380 == pytest.approx(sachs, abs=0.5 / 380) and 7 / 110 == pytest.approx(child, abs=0.5 / 110)
    assert selection.SWAPPED == ("random-20-59", "random-11-7")


def test_bias_moves_uncertain_tests_and_no_others() -> None:
    hits = {}
    for bias in (0.0, 3.0):
        made = discovery_runs(**{**POINT, "replicates": 60, "rounds": 1}, graph="child", skill={**SKILL, "bias": bias})
        hits[bias] = pd.DataFrame(made["ends"]).set_index("policy")["hits"]
    assert hits[0.0]["top"] == hits[3.0]["top"] and hits[0.0]["random"] == hits[3.0]["random"]
    assert hits[3.0]["uncertainty"] < hits[0.0]["uncertainty"] / 3


@pytest.mark.parametrize("bias", [0.0, 2.0])
def test_where_the_belief_is_one_half_the_share_of_edges_is_that_of_the_formula(bias: float) -> None:
    point = {**POINT, "replicates": 800, "rounds": 1, "policies": ["uncertainty"], "tested_share": 0.02}
    made = discovery_runs(**point, graph="child", skill={**SKILL, "bias": bias})
    share, error = (made["ends"][name][0] for name in ("hits", "hits_se"))
    # eight pairs of 380 lie close enough to one half
    assert share == pytest.approx(1 / (1 + math.exp(bias)), abs=4 * error + 0.01)


def test_exploring_shows_the_rule_beside_random_tests() -> None:
    made = discovery_runs(**POINT, graph="child", skill={"bias": 2.0}, histogram=True)
    for rule in selection.RULES:
        figure = rule_figure(pd.DataFrame(made["beliefs"]), pd.DataFrame(made["rounds"]), rule)
        assert len(figure.axes) == 2 and len(figure.axes[1].get_lines()) == (1 if rule == "random" else 2)
