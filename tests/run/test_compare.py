"""Comparing results: what must be equal, what may differ, and what is told."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toytree import make_claim, make_result
from twelvefold.core.schema import check_study
from twelvefold.run.compare import SUMMARY_FACTOR, compare_results, compare_tables, head_results, same_machine


def pair(tmp_path: Path, old: dict[str, Any], new: dict[str, Any]) -> tuple[str, str]:
    """The kind and the details of a comparison of two made results."""
    found = compare_results(make_result(tmp_path / "new", **new), make_result(tmp_path / "old", **old))
    return found.kind, "\n".join(found.details)


def test_made_results_have_the_real_form(tmp_path: Path) -> None:
    check_study(json.loads((make_result(tmp_path) / "study.json").read_text()))


def test_no_old_result(tmp_path: Path) -> None:
    new = make_result(tmp_path / "new")
    assert compare_results(new, tmp_path / "none").kind == "new"
    assert compare_results(new, new / "runs.csv").kind == "new"


def test_no_new_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no study.json"):
        compare_results(tmp_path, make_result(tmp_path / "old"))


@pytest.mark.parametrize(
    "change", [{}, {"content_key": "z" * 64}, {"run": {"cpu": "CPU A", "gpu": None, "seconds": 9}}]
)
def test_same_bytes_whatever_the_clock_and_the_comments(tmp_path: Path, change: dict[str, Any]) -> None:
    assert pair(tmp_path, {}, change)[0] == "same bytes"


def test_other_pixels_are_within_tolerance_but_not_the_same_bytes(tmp_path: Path) -> None:
    old, new = make_result(tmp_path / "old"), make_result(tmp_path / "new")
    (new / "plot.png").write_text("other pixels")
    assert compare_results(new, old).kind == "within tolerance"


@pytest.mark.parametrize(
    ("was", "now", "kind"),
    [
        ("holds", "fails", "verdict changed"),
        ("fails", "holds", "verdict changed"),
        ("holds", "undecided", "within tolerance"),
        ("undecided", "fails", "within tolerance"),
        ("not tested", "holds", "within tolerance"),
    ],
)
def test_only_a_flipped_verdict_counts_across_machines(tmp_path: Path, was: str, now: str, kind: str) -> None:
    old, new = {"claims": [make_claim(verdict=was)]}, {"claims": [make_claim(verdict=now)], "cpu": "CPU B"}
    found, details = pair(tmp_path, old, new)
    assert found == kind and f"claim up: {was} became {now}" in details


def test_stochastic_estimates_are_compared_on_one_machine_only(tmp_path: Path) -> None:
    old, new = {"claims": [make_claim(value=1.0)]}, {"claims": [make_claim(value=1.1)]}
    assert pair(tmp_path, old, new)[0] == "differs"
    assert pair(tmp_path, old, new | {"cpu": "CPU B"})[0] == "within tolerance"


@pytest.mark.parametrize(("value", "kind"), [(1.0 + 1e-8, "within tolerance"), (1.0 + 1e-5, "differs")])
def test_deterministic_estimates_agree_to_a_millionth_everywhere(tmp_path: Path, value: float, kind: str) -> None:
    old, new = ({"claims": [make_claim(unit="deterministic", value=v)]} for v in (1.0, value))
    assert pair(tmp_path, old, new | {"cpu": "CPU B"})[0] == kind


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scale": {"runs": 6}}, 'scale: {"runs": 5} became {"runs": 6}'),
        ({"seeds": [1]}, "seeds"),
        ({"claims": [make_claim(), make_claim("more")]}, "claims: more is new"),
        ({"claims": [make_claim("other")]}, "claims: up is gone"),
        ({"claims": [make_claim() | {"holds_if": {"rule": "above", "args": [0.1]}}]}, "the rule was"),
        ({"figures": []}, "figures: plot is gone"),
        ({"tables": []}, "tables: summary is gone"),
    ],
)
def test_another_experiment_differs(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    kind, details = pair(tmp_path, {}, change | {"cpu": "CPU B"})
    assert kind == "differs" and words in details


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "differs"),
        ({"cpu": "CPU B"}, "within tolerance"),
        ({"threads": 2}, "within tolerance"),
        ({"versions": {"torch": "2.12.0", "numpy": "2.4"}}, "within tolerance"),
        ({"versions": {"torch": "2.11.0+cpu", "numpy": "2.5"}}, "differs"),
    ],
)
def test_runs_count_only_on_the_same_machine_class(tmp_path: Path, change: dict[str, Any], kind: str) -> None:
    assert pair(tmp_path, {}, {"runs": "r\n2\n"} | change)[0] == kind


def test_machine_class_of_a_gpu_run_names_the_gpu(tmp_path: Path) -> None:
    study = json.loads((make_result(tmp_path) / "study.json").read_text())
    other = json.loads(json.dumps(study))
    other["run"]["gpu"] = "some"
    assert same_machine(study, other), "a processor that was not used does not count"
    study["device"] = other["device"] = "cuda"
    assert not same_machine(study, other)


def test_tables_follow_their_tolerance_class(tmp_path: Path) -> None:
    old = {"table": "x,x_se\n1.0,0.1\n"}
    near, far = {"table": "x,x_se\n1.5,0.1\n", "cpu": "B"}, {"table": "x,x_se\n1.6,0.1\n", "cpu": "B"}
    assert pair(tmp_path, old, near)[0] == "within tolerance"
    kind, details = pair(tmp_path, old, far)
    assert kind == "differs" and "table summary: x in row 1 was 1.0 and is 1.6" in details


def test_same_machine_table_is_only_compared_there(tmp_path: Path) -> None:
    old, new = {"tolerance": "same machine"}, {"tolerance": "same machine", "table": "x,x_se\n7,0.1\n"}
    assert pair(tmp_path, old, new | {"cpu": "B"})[0] == "within tolerance"
    assert pair(tmp_path, old, new)[0] == "differs"


def test_unreadable_table_differs(tmp_path: Path) -> None:
    kind, details = pair(tmp_path, {}, {"table": "", "cpu": "B"})
    assert kind == "differs" and "cannot be read" in details


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (pd.DataFrame({"y": [1.0]}), "the columns were x and are y"),
        (pd.DataFrame({"x": [1.0, 2.0]}), "it had 1 rows and has 2"),
        (pd.DataFrame({"x": ["one"]}), "x in row 1 was"),
        (pd.DataFrame({"x": [float("nan")]}), "x in row 1 was"),
    ],
)
def test_tables_of_another_shape_or_kind_differ(new: pd.DataFrame, words: str) -> None:
    assert words in compare_tables(new, pd.DataFrame({"x": [1.0]}), 0.1)


def test_missing_values_and_texts_agree_with_themselves() -> None:
    frame = pd.DataFrame({"x": [1.0, None], "name": ["a", None], "fine": [True, False], "big": [math.inf, 1.0]})
    for tolerance in (0.0, "summary", "same machine"):
        assert compare_tables(frame, frame.copy(), tolerance) == ""


def test_unknown_tolerance_is_refused() -> None:
    with pytest.raises(ValueError, match="tolerance='loose' is unknown"):
        compare_tables(pd.DataFrame(), pd.DataFrame(), "loose")


finite = st.floats(-1e3, 1e3)


@given(finite, finite, st.floats(0, 10))
def test_number_is_an_absolute_tolerance(a: float, b: float, tolerance: float) -> None:
    agree = compare_tables(pd.DataFrame({"x": [a]}), pd.DataFrame({"x": [b]}), tolerance) == ""
    if abs(abs(a - b) - tolerance) > 1e-8:
        assert agree == (abs(a - b) <= tolerance)


@given(finite, finite, st.floats(0, 10), st.floats(0, 10))
def test_summary_allows_four_standard_errors_of_a_difference(a: float, b: float, se: float, other: float) -> None:
    frames = [pd.DataFrame({"n": [3], "x": [v], "x_se": [s]}) for v, s in ((a, se), (b, other))]
    limit = SUMMARY_FACTOR * max(se, other)
    if abs(abs(a - b) - limit) > 1e-8:
        assert (compare_tables(*frames, "summary") == "") == (abs(a - b) <= limit)


def test_summary_columns_without_an_error_must_be_equal() -> None:
    frames = [pd.DataFrame({"n": [n], "x": [1.0], "x_se": [9.0]}) for n in (3, 4)]
    assert compare_tables(*frames, "summary").startswith("n in row 1")


def git(root: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


@pytest.mark.parametrize("below", ["", "sub dir"])
def test_head_gives_the_committed_bytes(tmp_path: Path, below: str) -> None:
    repository = tmp_path / "repo"
    root = repository / below
    folder = make_result(root / "figures/quick/toy/01_alpha")
    (folder / "plot.png").write_bytes(bytes(range(256)) + b"\n\n")
    (folder / "empty.csv").touch()
    git(repository, "init", "-q")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "x")
    expected = {path.name: path.read_bytes() for path in folder.iterdir()}
    make_result(folder, runs="changed\n")
    folders = ["figures/quick/toy/01_alpha", "figures/quick/toy/02_beta"]
    assert head_results(root, folders, tmp_path / "into")
    written = tmp_path / "into" / folders[0]
    assert {path.name: path.read_bytes() for path in written.iterdir()} == expected
    assert not (tmp_path / "into" / folders[1]).exists()


def test_head_of_a_repository_without_commits_is_empty(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert head_results(tmp_path, ["figures"], tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_without_git_there_is_no_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not head_results(tmp_path, ["figures"], tmp_path / "into")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not head_results(tmp_path, ["figures"], tmp_path / "into")
