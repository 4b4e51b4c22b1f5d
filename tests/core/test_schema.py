"""The form of study.json: a right one passes, every departure is refused by the name of its field."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from twelvefold.core.schema import KEYS, SchemaError, check_study, check_values, plain

SHA = "0123456789abcdef" * 4
STUDY: dict[str, Any] = {
    "name": "toy/01_result", "preset": "quick", "seed": 0, "seeds": [0, 1], "device": "cpu", "dtype": "float32",
    "threads": 1, "content_key": SHA, "versions": {"numpy": "2.0"}, "parameters": {"preset": "quick", "device": "auto"},
    "scale": {"members": 24, "rates": [0.1, 0.2], "data": None}, "runs": {"file": "runs.csv", "sha256": SHA},
    "tables": [{"name": "t", "file": "t.csv", "sha256": SHA, "caption": "A table.", "tolerance": "summary"}],
    "figures": [{"name": "f", "files": ["f.png", "f.svg"], "caption": "A figure.", "alt": "A line."}],
    "claims": [
        {
            "id": "c", "says": "a beats b", "scope": "direction", "source": "Figure 1", "paper_value": None,
            "paper_says": "", "estimate": {
                "value": 0.1, "low": 0.05, "high": 0.2, "level": 0.95, "n": 8, "unit": "training run",
                "method": "Student t",
            },
            "holds_if": {"rule": "above", "args": [0.0]}, "verdict": "holds", "note": "",
        }
    ],
    "run": {
        "started": "2026-01-02T03:04:05+00:00", "seconds": 1.5, "cpu_seconds": 2, "peak_rss_mb": 300.0, "cpu": "a cpu",
        "gpu": None, "commit": None, "python": "3.11.7",
    },
}  # fmt: skip


def changed(path: str, value: Any) -> dict[str, Any]:
    study = copy.deepcopy(STUDY)
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = study
    for part in way:
        place = place[part]
    place[last] = value
    return study


def test_a_right_study_passes() -> None:
    check_study(STUDY)
    check_study(json.loads(json.dumps(STUDY)))
    assert tuple(STUDY) == KEYS


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seeds", [0]), ("device", "cuda:1"), ("tables", []), ("figures", []), ("tables.0.tolerance", 0),
        ("tables.0.tolerance", 1e-6), ("tables.0.tolerance", "same machine"), ("run.gpu", "a gpu"), ("scale", {}),
        ("claims.0.paper_value", 0.3),
    ],
)
def test_what_is_allowed(path: str, value: Any) -> None:
    check_study(changed(path, value))


def test_a_claim_without_estimate_is_not_tested() -> None:
    study = changed("claims.0.estimate", None)
    study["claims"][0]["verdict"] = "not tested"
    check_study(study)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("name", "toy/result", "name"), ("name", None, "name"), ("preset", "fast", "preset"), ("seed", -1, "seed"),
        ("seed", True, "seed"), ("seed", 0.0, "seed"), ("seeds", [], "seeds"), ("seeds", [0.5], r"seeds\[0\]"),
        ("seeds", 3, "seeds"), ("device", "", "device"), ("dtype", None, "dtype"), ("threads", 0, "threads"),
        ("content_key", "", "content_key"), ("content_key", None, "content_key"), ("versions", {"numpy": 2}, "numpy"),
        ("versions", [], "versions"), ("parameters", [], "parameters"), ("scale", None, "scale"),
        ("scale.members", math.nan, "scale.members"), ("scale.rates", [0.1, math.inf], r"rates\[1\]"),
        ("scale", {1: 2}, "a key of"), ("runs.file", "rows.csv", "runs.file"), ("runs.sha256", "0" * 63, "runs.sha256"),
        ("tables.0.file", "../t.csv", r"tables\[0\].file"), ("tables.0.file", "t.txt", "file"),
        ("tables.0.tolerance", "loose", "tolerance"), ("tables.0.tolerance", -1, "tolerance"),
        ("tables.0.tolerance", True, "tolerance"), ("tables.0.tolerance", None, "tolerance"),
        ("tables.0.caption", " ", "caption"), ("tables", {}, "tables"), ("tables", [3], r"tables\[0\]"),
        ("figures.0.files", ["f.png"], "files"), ("figures.0.files", "f.png", "files"), ("figures.0.alt", "", "alt"),
        ("claims", [], "at least one claim"), ("claims.0.id", "A", "id"), ("claims.0.scope", "wide", "scope"),
        ("claims.0.verdict", "fails", "'holds'"), ("claims.0.verdict", "maybe", "verdict"),
        ("claims.0.estimate", None, "verdict"), ("claims.0.estimate.n", 0, "n = 0"),
        ("claims.0.estimate.low", 9, "upside down"), ("claims.0.estimate.value", math.nan, "value"),
        ("claims.0.estimate.unit", "seed", "unit"), ("claims.0.holds_if.args", [], "takes 1"),
        ("claims.0.holds_if.args", [None], "args"), ("claims.0.holds_if.rule", "over", "rule"),
        ("claims.0.holds_if", "above(0)", "holds_if"), ("claims.0.paper_value", "0.3", "paper_value"),
        ("claims.0.says", "", "says"), ("claims.0.note", None, "note"), ("run.started", "yesterday", "started"),
        ("run.started", "2026-01-02T03:04:05", "zone"), ("run.started", None, "started"),
        ("run.seconds", -1, "seconds"),
        ("run.cpu_seconds", None, "cpu_seconds"), ("run.cpu", "", "cpu"), ("run.gpu", "", "gpu"), ("run.gpu", 3, "gpu"),
    ],
)  # fmt: skip
def test_departures_are_refused_by_field(path: str, value: Any, field: str) -> None:
    with pytest.raises(SchemaError, match=field):
        check_study(changed(path, value))


PARTS = ["", "runs", "tables.0", "figures.0", "claims.0", "claims.0.estimate", "claims.0.holds_if", "run"]


@pytest.mark.parametrize("where", PARTS)
def test_missing_and_unknown_keys_are_refused(where: str) -> None:
    def part(study: Any) -> Any:
        for name in where.split(".") if where else []:
            study = study[int(name) if name.isdigit() else name]
        return study

    for key in part(STUDY):
        less = copy.deepcopy(STUDY)
        del part(less)[key]
        with pytest.raises(SchemaError, match=f"missing: {key}"):
            check_study(less)
    more = copy.deepcopy(STUDY)
    part(more)["extra"] = 1
    with pytest.raises(SchemaError, match="unknown: extra"):
        check_study(more)


@pytest.mark.parametrize("name", ["tables", "figures", "claims"])
def test_names_are_distinct(name: str) -> None:
    with pytest.raises(SchemaError, match=f"{name} holds '.' more than once"):
        check_study(changed(name, STUDY[name] * 2))


@pytest.mark.parametrize("study", [None, [], "text", 3])
def test_what_is_no_object_is_refused(study: Any) -> None:
    with pytest.raises(SchemaError, match="study.json"):
        check_study(study)


def test_plain_turns_numpy_and_tuples_into_json() -> None:
    value = {"a": np.float64(0.1), "b": np.int64(3), "c": (1, np.array([1, 2])), "d": range(2), "e": None}
    value["f"] = np.True_
    assert json.dumps(plain(value)) == '{"a": 0.1, "b": 3, "c": [1, [1, 2]], "d": [0, 1], "e": null, "f": true}'


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j, b"x", {"a": {"b": math.nan}}])
def test_values_that_json_cannot_hold(value: Any) -> None:
    with pytest.raises(SchemaError, match="scale"):
        check_values("scale", value)
