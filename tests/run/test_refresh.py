"""`refresh` writes what was executed and nothing else, and names the notebooks that it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from nbformat import v4
from twelvefold.run import done, status
from twelvefold.run.jobs import RunnerBusy, UnknownNotebook
from twelvefold.run.lock import runner_lock
from twelvefold.run.refresh import foreign_parameters, refresh_all

from tests.run.madeup import make_result, make_tree, snapshot

ALPHA = "toy/01_alpha"


def execute(root: Path, name: str, **parameters: Any) -> Path:
    """Leave what a run leaves: results, the executed copy, the record."""
    notebook = jupytext.read(root / "notebooks" / f"{name}.py")
    notebook.cells[-1].outputs = [v4.new_output("stream", name="stdout", text="1\n")]
    notebook.metadata["papermill"] = {"parameters": {"preset": "quick", "seed": 0, "device": "auto"} | parameters}
    executed = done.executed_path(root, "quick", 0, name)
    executed.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, executed)
    folder = make_result(root, name)
    files = [*folder.iterdir(), executed]
    done.write_record(root, "quick", name, done.current_keys(root, name, "cpu"), files)
    status.remember(root, "quick", name, status.parts(root, name))
    return executed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


def test_what_was_executed_is_written_and_no_text_is_touched(tree: Path) -> None:
    for name in (ALPHA, "toy/02_beta"):
        execute(tree, name)
    texts = {path: path.read_bytes() for path in tree.glob("notebooks/*/*.py")}
    assert refresh_all(tree) == 0
    notebook = nbformat.read(tree / f"notebooks/{ALPHA}.ipynb", as_version=4)
    assert notebook.cells[-1].outputs[0].text == "1\n"
    assert {path: path.read_bytes() for path in texts} == texts
    assert "1 holds" in (tree / "README.md").read_text()
    before = snapshot(tree)
    assert refresh_all(tree) == 0
    assert snapshot(tree) == before


def stale(tree: Path) -> None:
    path = tree / f"notebooks/{ALPHA}.py"
    path.write_text(path.read_text().replace("One sentence", "Another sentence"))


def changed_module(tree: Path) -> None:
    (tree / "lib/toylib/made.py").write_text("VALUE = 2\n")


def damaged(tree: Path) -> None:
    (tree / f"figures/quick/{ALPHA}/curve.png").write_bytes(b"damaged")


def never(tree: Path) -> None:
    done.executed_path(tree, "quick", 0, ALPHA).unlink()


def unreadable(tree: Path) -> None:
    (tree / f"notebooks/{ALPHA}.py").write_text("# %%\n(\n")


def failed_cell(tree: Path) -> None:
    executed = done.executed_path(tree, "quick", 0, ALPHA)
    executed.write_text(executed.read_text().replace('"1\\n"', '"<x at 0x7fffdeadbeef>"'))
    keys = done.current_keys(tree, ALPHA, "cpu")
    done.write_record(tree, "quick", ALPHA, keys, [executed])


@pytest.mark.parametrize(("spoil", "words"), [
    (stale, "changed since it was executed"), (damaged, "changed since it was executed"),
    (never, "not executed on this machine"), (unreadable, "sources cannot be read"),
    (failed_cell, "memory address"),
])
def test_notebooks_without_an_up_to_date_copy_are_named_and_the_others_written(
    tree: Path, capsys: pytest.CaptureFixture[str], spoil: Any, words: str
) -> None:
    for name in (ALPHA, "toy/02_beta"):
        execute(tree, name)
    spoil(tree)
    assert refresh_all(tree) == 1
    captured = capsys.readouterr()
    assert f"{ALPHA}: not refreshed" in captured.err and words in captured.err
    assert "toy/02_beta: written" in captured.out
    assert not (tree / f"notebooks/{ALPHA}.ipynb").exists() and (tree / "notebooks/toy/02_beta.ipynb").is_file()


def test_a_changed_module_makes_the_copy_stale(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    execute(tree, ALPHA)
    changed_module(tree)
    assert refresh_all(tree, "toy/01*") == 1
    assert f"./run_all.sh run --only {ALPHA}" in capsys.readouterr().err


def test_a_copy_made_with_other_parameters_is_refused(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    executed = execute(tree, ALPHA, seed=10_000)
    assert foreign_parameters(executed) == "seed = 10000"
    assert refresh_all(tree, ALPHA) == 1
    assert "seed = 10000" in capsys.readouterr().err


def test_unknown_names_and_a_running_runner_are_refused(tree: Path) -> None:
    with pytest.raises(UnknownNotebook):
        refresh_all(tree, "nothing/*")
    with runner_lock(tree), pytest.raises(RunnerBusy):
        refresh_all(tree)


@pytest.mark.parametrize(("spoil", "reasons"), [
    (lambda tree: None, []),
    (stale, ["the notebook's text changed"]),
    (changed_module, ["module toylib.made changed"]),
    (damaged, [f"results damaged or missing: figures/quick/{ALPHA}/curve.png"]),
    (never, [f"results damaged or missing: .twelvefold/executed/quick/{ALPHA}.ipynb"]),
    (lambda tree: (tree / "requirements.txt").write_text("numpy==1\n"), ["lock file or environment"]),
    (lambda tree: done.record_path(tree, "quick", ALPHA).unlink(), ["never run on this machine"]),
    (lambda tree: status._parts_path(tree, "quick", ALPHA).unlink() or changed_module(tree), ["code or data changed"]),
    (unreadable, ["its sources cannot be read"]),
])
def test_status_names_what_made_a_result_stale(tree: Path, spoil: Any, reasons: list[str]) -> None:
    execute(tree, ALPHA)
    spoil(tree)
    found = status.explain(tree, "quick", ALPHA)
    assert len(found) == len(reasons) and all(a.startswith(b) for a, b in zip(found, reasons, strict=True)), found


def test_status_names_the_notebooks_code_and_the_data(tree: Path) -> None:
    execute(tree, ALPHA)
    path = tree / f"notebooks/{ALPHA}.py"
    path.write_text(path.read_text() + "x = 1\n")
    assert status.explain(tree, "quick", ALPHA) == ["the notebook's code changed"]
    execute(tree, ALPHA)
    record = done.record_path(tree, "quick", ALPHA)
    parts = status._parts_path(tree, "quick", ALPHA)
    for file in (record, parts):  # the same parts, another key: what is not a module is data
        file.write_text(json.dumps(json.loads(file.read_text()) | {"content_key": "other"}))
    assert status.explain(tree, "quick", ALPHA) == ["data changed"]


def test_status_prints_a_line_per_notebook(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    execute(tree, ALPHA)
    assert status.print_status(tree, "quick") == 0
    assert capsys.readouterr().out.splitlines() == [
        "up to date toy/01_alpha", "stale      toy/02_beta  never run on this machine"]
