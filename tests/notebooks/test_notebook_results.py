"""The results of the one execution by nbval against the committed ones, and the committed ones by themselves."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest
from twelvefold.core.determinism import cpu_name, versions
from twelvefold.core.presets import PRESETS
from twelvefold.core.schema import check_study
from twelvefold.core.study import Study
from twelvefold.run.compare import compare_results
from twelvefold.run.jobs import Notebook
from twelvefold.run.ledger import budget_block, ledger_text, replace_block, results_block
from twelvefold.run.redraw import result_module

from tests.notebooks.project import ROOT, committed_folders, head_tree, name_of, notebooks, study_of

SHORTEST_TEXT = 30  # characters of a caption or an alt text that says something
every_notebook = pytest.mark.parametrize("notebook", notebooks(), ids=name_of)
RESULTS = [pytest.param(n, p, id=f"{n.name}-{p}") for n in notebooks() for p in PRESETS]
every_result = pytest.mark.parametrize(("notebook", "preset"), RESULTS)


def executed(notebook: Notebook) -> Path:
    """Folder of the result that the nbval pass has just written; without that pass there is nothing to read."""
    out = os.environ.get("TWELVEFOLD_OUT")
    if not out:
        pytest.skip("TWELVEFOLD_OUT is not set: ./run_all.sh test executes the notebooks first")
    folder = Path(out) / notebook.name
    assert (folder / "study.json").is_file(), f"{notebook.name} left no study.json: its nbval pass failed"
    return folder


def result(notebook: Notebook, preset: str) -> Path:
    """Folder of a committed result; only quick is required."""
    folder = committed_folders(notebook).get(preset)
    if folder is None and preset != "quick":
        pytest.skip(f"no committed result at preset {preset}")
    assert folder is not None, f"{notebook.name} has no committed result: ./run_all.sh, then ./run_all.sh refresh"
    return folder


@every_notebook
def test_the_execution_agrees_with_the_committed_result(notebook: Notebook) -> None:
    """Red: holds became fails or the reverse, a value outside its tolerance, something missing. The rest is printed."""
    new = executed(notebook)
    comparison = compare_results(new, result(notebook, "quick"))
    for line in comparison.details:
        if " became " in line or "another caption" in line:
            warnings.warn(f"{notebook.name}: {line}", stacklevel=1)
    assert comparison.kind in ("same bytes", "within tolerance"), "\n".join([comparison.kind, *comparison.details])


@every_notebook
def test_the_execution_wrote_a_complete_study(notebook: Notebook) -> None:
    study = study_of(executed(notebook))
    check_study(study)
    assert (study["name"], study["preset"], study["seed"]) == (notebook.name, "quick", 0)
    run = study["run"]
    print(f"{notebook.name}: {run['cpu_seconds']} CPU s, {run['seconds']} s, {run['peak_rss_mb']} MB")


@every_result
def test_committed_files_are_those_of_their_study(notebook: Notebook, preset: str) -> None:
    folder = result(notebook, preset)
    study = study_of(folder)
    check_study(study)
    assert (study["name"], study["preset"], study["seed"]) == (notebook.name, preset, 0)
    for entry in [study["runs"], *study["tables"]]:
        assert hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest() == entry["sha256"], entry["file"]
    drawn = [file for figure in study["figures"] for file in figure["files"]]
    named = {"study.json", study["runs"]["file"], *(table["file"] for table in study["tables"]), *drawn}
    assert {f.name for f in folder.iterdir()} == named


@every_result
def test_every_figure_says_what_it_shows(notebook: Notebook, preset: str) -> None:
    figures = study_of(result(notebook, preset))["figures"]
    assert figures
    for figure in figures:
        assert len(figure["caption"]) >= SHORTEST_TEXT and len(figure["alt"]) >= SHORTEST_TEXT
        assert figure["caption"] != figure["alt"]
        assert {Path(file).suffix for file in figure["files"]} == {".png", ".svg"}


@every_result
def test_redrawing_from_the_runs_gives_the_committed_files(notebook: Notebook, preset: str, tmp_path: Path) -> None:
    """Identical bytes under the same versions on the same class of machine; elsewhere the tables decide."""
    folder = result(notebook, preset)
    shutil.copy(folder / "study.json", tmp_path)
    shutil.copy(folder / "runs.csv", tmp_path)
    redraw(notebook, tmp_path)
    comparison = compare_results(tmp_path, folder)
    before, after = study_of(folder), study_of(tmp_path)
    assert comparison.kind in ("same bytes", "within tolerance"), comparison.details
    assert [c["verdict"] for c in after["claims"]] == [c["verdict"] for c in before["claims"]]
    if before["versions"] == versions() and before["run"]["cpu"] == cpu_name():
        assert comparison.kind == "same bytes", comparison.details


def redraw(notebook: Notebook, folder: Path) -> None:
    """What `python -m twelvefold redraw` does, in a folder outside of the tree."""
    matplotlib.use("Agg")
    module, study = result_module(ROOT, notebook.name), Study.replay(folder)
    study.declare(module.CLAIMS)
    runs = study.runs()
    for make in module.REPORT:
        make(study, runs)
    study.done()


@pytest.mark.parametrize("preset", PRESETS)
def test_the_ledger_is_that_of_the_results(preset: str) -> None:
    """In the working tree, or at HEAD: `run` rewrites results and ledger together, but not what is committed."""
    if not any((ROOT / "figures" / preset).glob("*/*/study.json")):
        pytest.skip(f"no results at preset {preset}")
    texts = [(tree, tree / "figures" / preset / "LEDGER.md") for tree in (ROOT, head_tree())]
    assert any(file.is_file() and file.read_text() == ledger_text(tree, preset) for tree, file in texts)


@pytest.mark.parametrize(("name", "block"), [("results", results_block), ("budget", budget_block)])
def test_the_readme_shows_the_results(name: str, block: Callable[[Path], str]) -> None:
    """As above: `run` leaves README alone, so after it only HEAD is consistent."""
    texts = [(tree, tree / "README.md") for tree in (ROOT, head_tree())]
    found = [(tree, file.read_text()) for tree, file in texts if file.is_file()]
    assert any(replace_block(text, name, block(tree)) == text for tree, text in found), "./run_all.sh refresh"
