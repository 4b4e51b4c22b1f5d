"""Notebooks as plain scripts: cells, parameters, line numbers of failures, publishing, isolation of failures."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import jupytext
import pytest
from twelvefold.run import script
from twelvefold.run.jobs import Notebook, ParameterProblem, RunError, UnknownNotebook
from twelvefold.run.script import read_cells

from tests.run.madeup import NOTEBOOK, make_tree, snapshot

STUDY = '''\
# %% tags=["parameters"]
preset: str = "quick"
seed: int = 0
device: str = "auto"

# %%
import pandas as pd

from twelvefold.core import statistics
from twelvefold.core.claims import Claim, equals
from twelvefold.core.study import Study

study = Study("toy/01_alpha", preset=preset, seed=seed, device=device)
scale = study.scale(quick=dict(n=2), gpu=dict(n=3), paper=dict(n=4))
study.declare([Claim("two", "there are two", "mechanism", "toy", equals(2), "deterministic")])
runs = study.runs(pd.DataFrame({"x": [seed + 0.5] * 2}))
_ = study.decide("two", statistics.exact(len(runs), n=1))
study.done()
'''


def test_cells_are_those_that_jupytext_reads(tmp_path: Path) -> None:
    text = NOTEBOOK + '\n# %% a title tags=["one", "two"]\nx = 1\n\n# %% [raw]\n# raw text\n\n# %%\ny = "# %% no"\n'
    path = tmp_path / "n.py"
    path.write_text(text)
    expected = [(c.cell_type, tuple(c.metadata.get("tags", ())), c.source) for c in jupytext.read(path).cells]
    found = [(c.kind, c.tags, c.source.strip("\n")) for c in read_cells(text)]
    assert [entry[:2] for entry in found] == [entry[:2] for entry in expected]
    assert [entry[2] for entry in found if entry[0] == "code"] == [e[2] for e in expected if e[0] == "code"]


@pytest.mark.parametrize(("text", "sources"), [
    ("", []), ("x = 1\n", ["x = 1"]), ("# ---\n# a: 1\n# ---\nx = 1\n# %%\ny = 2\n", ["x = 1", "y = 2"]),
    ("# %%\n\n# %%\nx = 1", ["x = 1"]), ("# %%%%\nx = 1", ["# %%%%\nx = 1"]),
])
def test_odd_texts(text: str, sources: list[str]) -> None:
    assert [cell.source.strip("\n") for cell in read_cells(text)] == sources


def test_parameters_replace_the_defaults_after_their_cell(tmp_path: Path) -> None:
    path = tmp_path / "n.py"
    path.write_text('# %% tags=["parameters"]\nseed: int = 0\n\n# %%\ndoubled = 2 * seed\n')
    assert script.execute(path, {"seed": 21})["doubled"] == 42
    assert script.execute(path, {})["doubled"] == 0


@pytest.mark.parametrize(("text", "words"), [
    ("# %%\nseed = 0\n", "0 cells tagged"), ('# %% tags=["parameters"]\nother = 0\n', "does not assign seed"),
    ('# %% tags=["parameters"]\nseed = 0\n# %% tags=["parameters"]\nseed = 1\n', "2 cells tagged"),
])
def test_parameters_that_would_be_ignored_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "n.py"
    path.write_text(text)
    with pytest.raises(ParameterProblem, match=words):
        script.execute(path, {"seed": 1})


def test_a_traceback_shows_the_line_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "n.py"
    cells = '# %% tags=["parameters"]\nseed = 0\n\n# %%\ndef fail():\n    raise ValueError("no")\n\n# %%\nfail()\n'
    path.write_text(cells)
    with pytest.raises(ValueError) as caught:
        script.execute(path, {})
    frames = [f for f in traceback.extract_tb(caught.value.__traceback__) if f.filename == str(path)]
    assert [(frame.lineno, frame.line) for frame in frames] == [(9, "fail()"), (6, 'raise ValueError("no")')]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the texts in this process: a child takes seconds to import torch."""

    def run(root: Path, notebook: Notebook, parameters: dict[str, Any], stage: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setenv("TWELVEFOLD_OUT", str(stage))
            patch.setenv("TWELVEFOLD_BATCH", "1")
            patch.chdir(notebook.source.parent)
            script.execute(notebook.source, parameters)

    monkeypatch.setattr(script, "_run_child", run)


@pytest.mark.usefixtures("in_process")
def test_results_are_published_and_recorded_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = make_tree(tmp_path, ("toy/01_alpha",))
    (tree / "notebooks/toy/01_alpha.py").write_text(STUDY)
    assert script.run_scripts(tree, "notebooks/toy/01_alpha.py", preset="quick") == 0
    folder = tree / "figures/quick/toy/01_alpha"
    study = json.loads((folder / "study.json").read_text())
    assert study["claims"][0]["verdict"] == "holds" and study["parameters"]["seed"] == 0
    assert (tree / "figures/quick/LEDGER.md").is_file()
    assert list((tree / ".twelvefold/staging").iterdir()) == []
    before = snapshot(folder)
    capfd.readouterr()
    assert script.run_scripts(tree, "toy/*", preset="quick") == 0
    assert capfd.readouterr().out.strip() == "toy/01_alpha: up to date"
    assert script.run_scripts(tree, "toy/*", preset="quick", force=True) == 0
    assert {k: v for k, v in snapshot(folder).items() if k != "study.json"} == {
        k: v for k, v in before.items() if k != "study.json"}

    assert script.run_scripts(tree, "toy/*", preset="quick", seed=10_001) == 0
    assert json.loads((folder / "study.json").read_text())["seed"] == 0
    other = tree / ".twelvefold/scratch/quick/seed-10001/toy/01_alpha/runs.csv"
    assert other.read_text() == "x\n10001.5\n10001.5\n"


def test_a_failure_is_named_with_its_line_and_hides_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = make_tree(tmp_path)
    (tree / "notebooks/toy/01_alpha.py").write_text(STUDY.replace("study.done()", 'raise KeyError("spoilt")'))
    (tree / "notebooks/toy/02_beta.py").write_text(STUDY.replace("toy/01_alpha", "toy/02_beta"))
    assert script.run_scripts(tree, "toy/*", preset="quick") == 1
    error = capfd.readouterr().err
    assert "KeyError: 'spoilt'" in error and "01_alpha.py\", line 18" in error and "toy/01_alpha: failed" in error
    assert "run/script.py" not in error, "frames of the runner are noise"
    assert (tree / "figures/quick/toy/02_beta/study.json").is_file()
    assert not (tree / "figures/quick/toy/01_alpha").exists()


@pytest.mark.usefixtures("in_process")
def test_a_notebook_that_leaves_no_result_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = make_tree(tmp_path, ("toy/01_alpha",))
    (tree / "notebooks/toy/01_alpha.py").write_text(STUDY.replace("study.done()", ""))
    assert script.run_scripts(tree, "toy/*", preset="quick") == 1
    assert "ended without study.json" in capfd.readouterr().err


def test_unknown_notebooks_and_absent_devices_are_refused(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    with pytest.raises(UnknownNotebook, match="toy/01_alpha, toy/02_beta"):
        script.run_scripts(tree, "toy/09_none", preset="quick")
    with pytest.raises(RunError, match="device"):
        script.run_scripts(tree, "toy/*", preset="quick", device="cuda:99")


def test_nothing_but_the_core_dependencies_is_imported(tmp_path: Path) -> None:
    """A machine with only torch has none of these; the commands for it must not want them."""
    code = (
        "import sys\n"
        "for name in ('typer', 'rich', 'papermill', 'dask', 'distributed', 'jupytext', 'nbformat', 'IPython',\n"
        "             'nbclient', 'ipywidgets', 'jupyter_client'):\n"
        "    sys.modules[name] = None\n"
        "from twelvefold.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    tree = make_tree(tmp_path, ("toy/01_alpha",))
    (tree / "notebooks/toy/01_alpha.py").write_text(STUDY)

    def run(*words: str) -> int:
        return subprocess.run([sys.executable, "-c", code, *words], cwd=tree).returncode

    assert run("script", "toy/01_alpha", "--seed", "0") == 0
    assert run("pack", "x.tar") == 0
    assert run("import", "x.tar") == 0
    assert run("run") == 2
