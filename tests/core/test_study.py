"""A study from its parameters to study.json, its refusals, and its replay."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from twelvefold.core import determinism, plotting, statistics
from twelvefold.core.claims import Claim, Estimate, above, equals, within
from twelvefold.core.presets import DeviceError, PresetError
from twelvefold.core.project import ProjectError
from twelvefold.core.schema import KEYS, SchemaError, check_study
from twelvefold.core.study import Study, StudyError, read_runs

CLAIMS = (
    Claim("gain", "a beats b", "direction", "Figure 1", above(0), "training run", 0.12, "more is better, section 2"),
    Claim("close", "a and c agree", "mechanism", "Table 2", within(-1, 1), "data draw"),
    Claim("same", "no mismatch", "mechanism", "Algorithm 1", equals(0), "deterministic"),
)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project of one notebook, the working folder inside it, results in a folder of its own."""
    for folder in ("lib", "notebooks/toy"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'toy'\n")
    (tmp_path / "notebooks/toy/01_result.py").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setenv("TWELVEFOLD_OUT", str(tmp_path / "out"))
    monkeypatch.setattr(determinism, "setup", lambda device: None)  # has its own tests; other tests keep their settings
    yield tmp_path
    plt.close("all")


def new(**options: Any) -> Study:
    return Study("toy/01_result", **({"seed": 10_000} | options))


def declared(*claims: Claim) -> Study:
    study = new()
    study.scale(quick={"n": 6}, gpu={"n": 60}, paper={"n": 600})
    study.declare(claims or CLAIMS)
    return study


def rows() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    b = generator.normal(size=6)
    a = b + 0.2 + 0.01 * generator.normal(size=6)
    return pd.DataFrame({"replicate": range(6), "a": a, "b": b, "note": ["None"] * 6})


def report(study: Study, runs: pd.DataFrame) -> None:
    """What a paper's report functions do, from the rows alone."""
    gain = statistics.difference(runs["a"], runs["b"], unit="training run", level=study.level)
    summary = pd.DataFrame({"method": ["a", "b"], "mean": [runs["a"].mean(), runs["b"].mean()], "mean_se": [0.1, 0.1]})
    study.table(summary, "summary", "Means.", "summary")
    fig, ax = plotting.subplots()
    ax.plot(runs["replicate"], runs["a"])
    study.figure(fig, "curve", "A curve.", "A line.")
    study.decide("gain", gain)
    study.decide("close", None)
    study.decide("same", statistics.exact(0, 24), "all cases")


def finished() -> Study:
    study = declared()
    report(study, study.runs(rows()))
    study.done()
    return study


def recorded(study: Study) -> dict[str, Any]:
    return json.loads((study.folder / "study.json").read_text(encoding="utf-8"))


def checksums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_study_json_has_exactly_the_agreed_form(project: Path) -> None:
    study = finished()
    content = recorded(study)
    check_study(content)
    assert tuple(content) == KEYS
    assert study.folder == project / "out/toy/01_result"
    assert (content["name"], content["preset"], content["seed"]) == ("toy/01_result", "quick", 10_000)
    assert content["seeds"] == [10_000]
    assert (content["device"], content["dtype"], content["scale"]) == ("cpu", "float32", {"n": 6})
    assert content["parameters"] == {"preset": "quick", "seed": 10_000, "device": "auto"}
    assert content["versions"]["torch"] == torch.__version__


def test_files_are_those_named_and_carry_their_checksums() -> None:
    study = finished()
    content, files = recorded(study), checksums(study.folder)
    assert sorted(files) == ["curve.png", "curve.svg", "runs.csv", "study.json", "summary.csv"]
    assert content["runs"]["sha256"] == files["runs.csv"]
    assert content["tables"][0]["sha256"] == files["summary.csv"]


def test_claims_are_recorded_with_estimate_rule_and_verdict() -> None:
    gain, close, same = recorded(finished())["claims"]
    assert (gain["verdict"], gain["paper_value"], gain["estimate"]["n"]) == ("holds", 0.12, 6)
    assert gain["estimate"]["level"] == 1 - 0.05 / 2
    assert (close["verdict"], close["estimate"], close["note"]) == ("not tested", None, "not decidable at preset quick")
    assert (same["verdict"], same["estimate"]["n"], same["note"]) == ("holds", 24, "all cases")
    assert same["holds_if"] == {"rule": "equals", "args": [0.0]}


def test_the_run_record_is_plausible() -> None:
    run = recorded(finished())["run"]
    assert 0 < run["seconds"] < run["cpu_seconds"] + 100
    assert run["peak_rss_mb"] > 50
    assert run["gpu"] is None and run["commit"] is None
    assert run["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")


def test_costs_of_entries_that_were_read_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from twelvefold.core import sweep

    monkeypatch.setattr(sweep, "costs", lambda: SimpleNamespace(cpu_seconds=5000.0, peak_rss_mb=123456.0))
    run = recorded(finished())["run"]
    assert run["cpu_seconds"] > 5000
    assert run["peak_rss_mb"] == 123456


def test_two_runs_differ_in_run_alone() -> None:
    first = finished()
    files, content = checksums(first.folder), recorded(first)
    second = finished()
    again = recorded(second)
    assert {name: value for name, value in checksums(second.folder).items() if name != "study.json"} == {
        name: value for name, value in files.items() if name != "study.json"
    }
    assert {**again, "run": None} == {**content, "run": None}


def test_runs_come_back_exactly() -> None:
    study = declared()
    frame = rows()
    back = study.runs(frame)
    assert (back["a"].to_numpy() == frame["a"].to_numpy()).all()
    assert list(back["note"]) == ["None"] * 6  # a text that pandas would take for a missing value
    assert (study.folder / "runs.csv").read_bytes().count(b"\r") == 0


def test_missing_cells_of_runs_stay_missing() -> None:
    back = declared().runs(pd.DataFrame({"x": [0.1 + 0.2, math.nan], "y": ["a", None]}))
    assert back["x"].iloc[0] == 0.1 + 0.2
    assert back.isna().sum().to_dict() == {"x": 1, "y": 1}


def test_tables_have_nine_digits_and_unix_line_ends() -> None:
    study = declared()
    study.table(pd.DataFrame({"x": [1 / 3, 2.0], "n": [1, 2]}), "t", "A table.", 1e-6)
    assert (study.folder / "t.csv").read_bytes() == b"x,n\n0.333333333,1\n2,2\n"


def test_explained_empty_cells_are_written_and_said() -> None:
    study = declared()
    study.table(pd.DataFrame({"x": [1.0, math.nan]}), "t", "A table.", 0, empty="not trained at this preset.")
    assert (study.folder / "t.csv").read_text().splitlines() == ["x", "1", '""']
    assert study._tables["t"]["caption"] == "A table. Empty cells: not trained at this preset."


def test_the_figure_is_closed_and_rasterised() -> None:
    study = declared()
    fig, ax = plotting.subplots()
    ax.scatter(*np.random.default_rng(0).random((2, 3000)))
    study.figure(fig, "f", "Many points.", "A cloud.")
    assert plt.get_fignums() == []
    assert b"data:image/png" in (study.folder / "f.svg").read_bytes()


def test_what_is_shown_is_the_same_every_time(capsys: pytest.CaptureFixture[str]) -> None:
    finished()
    first = capsys.readouterr().out
    finished()
    assert capsys.readouterr().out == first
    assert "97.5 %" in first
    assert "not known" in first
    assert "0 exactly, n = 24 cases" in first
    assert "[figure] A line." in first


def test_checks_print_only_what_is_equal_on_every_machine(capsys: pytest.CaptureFixture[str]) -> None:
    study = finished()
    capsys.readouterr()
    study.print_checks()
    assert capsys.readouterr().out.splitlines() == [
        "claims: gain, close, same", "runs: 6 rows x 4 columns", "table summary: 2 rows x 3 columns", "figure curve",
        "same: holds",
    ]
    assert study.deterministic_verdicts() == ["same: holds"]


@pytest.mark.parametrize(
    ("claims", "level"), [(CLAIMS, 0.975), (CLAIMS[:1], 0.95), (CLAIMS[2:], 0.95), (CLAIMS[1:], 0.95)]
)
def test_the_level_counts_the_claims_that_involve_chance(claims: tuple[Claim, ...], level: float) -> None:
    assert declared(*claims).level == pytest.approx(level)


def test_the_level_needs_a_declaration() -> None:
    with pytest.raises(StudyError, match="declare"):
        new().level  # noqa: B018


def test_fewer_than_five_training_runs_are_not_tested() -> None:
    study = declared()
    estimate = statistics.mean([1.0, 2.0, 3.0, 4.0], unit="training run", level=study.level)
    assert study.decide("gain", estimate, "strong") == "not tested"
    assert study._verdicts.entries()[0]["note"] == "strong; 4 training runs, at least 5 are needed"
    draws = statistics.mean([0.1, 0.2, 0.3], unit="data draw", level=study.level)
    assert study.decide("close", draws) == "holds"


def estimate(**changes: Any) -> Estimate:
    fields: dict[str, Any] = {
        "value": 0.1, "low": 0.0, "high": 0.2, "level": 0.975, "n": 6, "unit": "training run", "method": "Student t",
    }
    return Estimate(**(fields | changes))


@pytest.mark.parametrize(
    ("id", "given", "message"),
    [
        ("other", estimate(), "declared are gain, close, same"),
        ("gain", estimate(unit="data draw"), "'training run'.*'data draw'"),
        ("gain", statistics.exact(1, 3), "'training run'.*'deterministic'"), ("same", estimate(), "'deterministic'"),
        ("gain", estimate(level=0.95), "0.95.*0.975"), ("gain", 0.3, "Estimate"),
        ("gain", estimate(low=0.1, high=0.1), "resolution"),
    ],
)  # fmt: skip
def test_wrong_decisions_are_refused(id: str, given: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        declared().decide(id, given)


def test_a_claim_is_decided_once() -> None:
    study = declared()
    study.decide("gain", None)
    with pytest.raises(StudyError, match="'gain' is decided already"):
        study.decide("gain", estimate())
    with pytest.raises(StudyError, match="note"):
        study.decide("close", None, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("claims", "message"), [([], "empty"), ([CLAIMS[0]] * 2, "'gain'.*more than once"), (["gain"], "must be a Claim")]
)
def test_wrong_declarations_are_refused(claims: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        new().declare(claims)


def test_claims_scale_and_runs_come_once_and_in_order() -> None:
    study = new()
    with pytest.raises(StudyError, match="before study.declare"):
        study.runs(rows())
    study = declared()
    study.runs(rows())
    for again in (lambda: study.declare(CLAIMS), lambda: study.scale({}, {}, {}), lambda: study.runs(rows())):
        with pytest.raises(StudyError, match="already"):
            again()


def test_done_names_everything_that_is_missing() -> None:
    study = new()
    with pytest.raises(StudyError, match=r"no scale.*no claim.*no runs"):
        study.done()
    study.declare(CLAIMS)
    study.decide("close", None)
    with pytest.raises(StudyError, match="claim 'gain' is not decided; claim 'same' is not decided"):
        study.done()
    assert not (study.folder / "study.json").exists()


def test_a_finished_study_is_closed() -> None:
    study = finished()
    for late in (study.done, lambda: study.decide("gain", None), lambda: study.table(rows(), "t", "c", 0)):
        with pytest.raises(StudyError, match="done"):
            late()


def test_a_file_lost_meanwhile_is_noticed() -> None:
    study = declared()
    report(study, study.runs(rows()))
    (study.folder / "summary.csv").unlink()
    with pytest.raises(StudyError, match="summary.csv"):
        study.done()


def test_nan_is_refused_by_the_name_of_its_field() -> None:
    study = new()
    with pytest.raises(SchemaError, match="scale.gpu.rate = nan"):
        study.scale(quick={"rate": 0.1}, gpu={"rate": math.nan}, paper={"rate": 1})
    study.scale(quick={"rate": np.float32(0.5)}, gpu={"rate": 1}, paper={"rate": 1})
    study.declare(CLAIMS[2:])
    study.runs(rows())
    study.decide("same", statistics.exact(0, 1))
    study.parameters["extra"] = math.nan
    with pytest.raises(SchemaError, match="parameters.extra"):
        study.done()
    assert not (study.folder / "study.json").exists()


def test_presets_of_a_scale_name_the_same_values() -> None:
    with pytest.raises(StudyError, match="quick and paper.*steps"):
        new().scale(quick={"n": 1}, gpu={"n": 1}, paper={"n": 1, "steps": 3})
    with pytest.raises(SchemaError, match="scale.quick.f"):
        new().scale(quick={"f": print}, gpu={"f": 1}, paper={"f": 1})


def test_the_scale_is_that_of_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    study = new(preset="gpu", device="cpu")
    scale = study.scale(quick={"n": 1, "w": (1, 2)}, gpu={"n": 2, "w": (3,)}, paper={"n": 3, "w": ()})
    assert (scale.n, scale.w, study.scale_values) == (2, [3], scale)


@pytest.mark.parametrize(
    ("scale", "argument", "expected"), [({"seeds": [3, 4]}, None, [3, 4]), ({"seeds": [3, 4]}, range(2), [0, 1]),
    ({"seeds": 9}, None, [10_000])]
)
def test_the_seeds_used_are_recorded(scale: dict[str, Any], argument: Any, expected: list[int]) -> None:
    study = new()
    study.scale(scale, scale, scale)
    study.declare(CLAIMS[2:])
    study.runs(rows())
    study.decide("same", statistics.exact(0, 1))
    study.dtype = torch.float64
    study.done(seeds=argument)
    assert recorded(study)["seeds"] == expected
    assert recorded(study)["dtype"] == "float64"


@pytest.mark.parametrize("name", ["", "A", "a-b", "a.b", "../x", "a b", None])
def test_bad_names_of_tables_and_figures(name: Any) -> None:
    study = declared()
    with pytest.raises(StudyError, match="table name"):
        study.table(rows(), name, "caption", 0)
    with pytest.raises(StudyError, match="figure name"):
        study.figure(plt.figure(), name, "caption", "alt")


def test_names_and_texts_of_tables_and_figures() -> None:
    study = declared()
    study.table(rows(), "t", "caption", 0)
    study.figure(plt.figure(), "t", "caption", "alt")
    wrong = [
        (lambda: study.table(rows(), "t", "caption", 0), "used already"),
        (lambda: study.table(rows(), "runs", "c", 0), "runs"),
        (lambda: study.table(rows(), "u", " ", 0), "caption"),
        (lambda: study.figure(plt.figure(), "t", "c", "a"), "used already"),
        (lambda: study.figure(plt.figure(), "u", "", "a"), "caption"),
        (lambda: study.figure(plt.figure(), "u", "c", ""), "alt"),
        (lambda: study.figure(plt.figure().subplots(), "u", "c", "a"), "Figure is needed"),  # type: ignore[arg-type]
    ]  # fmt: skip
    for call, message in wrong:
        with pytest.raises(StudyError, match=message):
            call()


@pytest.mark.parametrize("tolerance", [-1, math.nan, math.inf, True, None, "exact", "summary"])
def test_bad_tolerances(tolerance: Any) -> None:
    with pytest.raises(StudyError, match="tolerance|x_se"):
        declared().table(pd.DataFrame({"x": [1.0]}), "t", "caption", tolerance)


@pytest.mark.parametrize(
    "frame", [{"x": [1.0], "y_se": [0.1]}, {"x": [1.0], "x_se": [-0.1]}, {"x": [1.0], "x_se": ["a"]}]
)
def test_bad_standard_errors(frame: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="_se"):
        declared().table(pd.DataFrame(frame), "t", "caption", "summary")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "NoneType"), ([1, 2], "list"), (pd.DataFrame(), "shape"), (pd.DataFrame({"x": []}), "shape"),
        (pd.DataFrame({0: [1]}), "columns"), (pd.DataFrame([[1, 2]], columns=["a", "a"]), "columns"),
        (pd.DataFrame({"x": [1]}, index=["a"]), "reset_index"),
        (pd.DataFrame({"x": [1]}).rename_axis("r"), "reset_index"),
        (pd.DataFrame({"x": [1, 2]}, index=[[0, 0], [1, 2]]), "reset_index"),
        (pd.DataFrame({"x": [[1, 2]]}), "'x' holds"),
    ],
)
def test_bad_frames(frame: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        declared().runs(frame)
    with pytest.raises(StudyError, match=message):
        declared().table(frame, "t", "caption", 0)


def test_a_filtered_frame_is_fine() -> None:
    frame = rows().query("replicate > 2").sort_values("a", ascending=False)
    assert len(declared().runs(frame)) == 3


@pytest.mark.parametrize("value", [math.nan, None, pd.NA])
def test_unexplained_empty_cells_are_refused(value: Any) -> None:
    with pytest.raises(StudyError, match="'x' has no value in row 1; say with empty="):
        declared().table(pd.DataFrame({"x": [1.0, value]}), "t", "caption", 0)


def test_infinite_cells_are_refused() -> None:
    for values in ([1.0, math.inf], ["a", -math.inf]):
        with pytest.raises(StudyError, match="infinite"):
            declared().table(pd.DataFrame({"x": values}), "t", "caption", 0, empty="none")


def test_files_of_an_earlier_run_go_away_and_others_stay() -> None:
    folder = finished().folder
    (folder / "notes.txt").write_text("mine")
    assert new().folder == folder
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_without_a_chosen_folder_results_go_to_scratch(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWELVEFOLD_OUT")
    assert new().folder == project / ".twelvefold/scratch/quick/toy/01_result"


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("toy", {}, ProjectError), ("toy/result", {}, ProjectError), ("toy/01_result", {"preset": "quik"}, PresetError),
        ("toy/01_result", {"device": "gpu"}, DeviceError), ("toy/01_result", {"seed": -1}, StudyError),
        ("toy/01_result", {"seed": 0.5}, StudyError), ("toy/01_result", {"seed": True}, StudyError),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_removed(name: str, options: dict[str, Any], error: Any) -> None:
    folder = finished().folder
    before = checksums(folder)
    with pytest.raises(error):
        Study(name, **options)
    assert checksums(folder) == before


def test_a_study_needs_a_project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(ProjectError, match="pyproject.toml"):
        new()


def replayed(folder: Path, claims: tuple[Claim, ...] = CLAIMS) -> Study:
    study = Study.replay(folder)
    study.declare(claims)
    report(study, study.runs())
    study.done()
    return study


def test_a_replay_gives_the_same_bytes_and_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished().folder
    before = checksums(folder)
    capsys.readouterr()
    study = replayed(folder)
    assert checksums(folder) == before
    assert capsys.readouterr().out == ""
    assert study.replaying and not finished().replaying


def test_a_replay_keeps_the_record_of_another_machine(tmp_path: Path) -> None:
    folder = finished().folder
    content = recorded(finished())
    content |= {"device": "cuda", "preset": "gpu", "threads": 7, "content_key": "old", "seeds": [7]}
    content["versions"] = {"torch": "1"}
    content["run"]["gpu"] = "a gpu"
    (folder / "study.json").write_text(json.dumps(content))
    outside = tmp_path.parent / f"{tmp_path.name}-unpacked"
    folder.rename(outside)
    study = replayed(outside)
    again = recorded(study)
    assert {**again, "claims": 0} == {**content, "claims": 0}
    assert study.device.type == "cuda" and study.scale_values is not None and study.scale_values.n == 6


def test_a_replay_follows_changed_rules_and_removes_what_is_not_made_any_more() -> None:
    study = declared()
    runs = study.runs(rows())
    study.table(runs, "old", "An old table.", 0)
    report(study, runs)
    study.done()
    changed = (Claim("gain", "a beats b", "direction", "Figure 1", above(5), "training run"), *CLAIMS[1:])
    again = replayed(study.folder, changed)
    assert recorded(again)["claims"][0]["verdict"] == "fails"
    assert not (again.folder / "old.csv").exists()


def test_a_replay_ignores_rows_given_to_it() -> None:
    folder = finished().folder
    study = Study.replay(folder)
    pd.testing.assert_frame_equal(study.runs(pd.DataFrame({"x": [1]})), read_runs(folder / "runs.csv"))


def test_a_replay_needs_a_whole_folder(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no study.json"):
        Study.replay(tmp_path)
    folder = finished().folder
    with (folder / "runs.csv").open("a") as file:
        file.write("9,9,9,9\n")
    with pytest.raises(StudyError, match="differs from the checksum"):
        Study.replay(folder)
    (folder / "runs.csv").unlink()
    with pytest.raises(StudyError, match="missing"):
        Study.replay(folder)
    (folder / "study.json").write_text("{}")
    with pytest.raises(SchemaError):
        Study.replay(folder)


SCRIPT = """
import sys
import numpy as np, torch
from twelvefold.core.study import Study
study = Study("toy/01_result", seed=10000)
print(torch.are_deterministic_algorithms_enabled(), torch.get_num_threads())
heavy = ("papermill", "dask", "distributed", "transformers", "IPython", "sklearn")
print([name for name in heavy if name in sys.modules])
"""


def test_a_study_sets_determinism_and_imports_nothing_heavy() -> None:
    command = [sys.executable, "-c", SCRIPT]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert output.stdout.splitlines() == ["True 1", "[]"]
