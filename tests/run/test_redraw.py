"""Redrawing: byte-identical from runs.csv alone, changed verdicts reported, damaged results left as they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from twelvefold.core.study import Study
from twelvefold.run import redraw
from twelvefold.run.redraw import RedrawError, module_name, redraw_all

from tests.run.madeup import make_tree, snapshot

NAME = "toy/01_alpha"
MODULE = '''\
from twelvefold.core import statistics
from twelvefold.core.claims import Claim, equals
from twelvefold.core.plotting import subplots

CLAIMS = (Claim("three", "there are three", "mechanism", "toy", equals(3), "deterministic"),)


def decide(study, runs):
    study.table(runs, "all", "All rows.", 0.0)
    study.decide("three", statistics.exact(len(runs), n=1))


def draw(study, runs):
    fig, ax = subplots(1, 1, "column", 1.5)
    ax.plot(runs["x"])
    study.figure(fig, "curve", "A curve.", "It rises to the right.")


REPORT = (decide, draw)
'''


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with one committed result, made as a notebook would make it."""
    root = make_tree(tmp_path)
    folder = root / "lib/toylib/papers/toy"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder.parent / "__init__.py").write_text("")
    (folder / "alpha.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("TWELVEFOLD_OUT", str(root / "figures/quick"))
    monkeypatch.setenv("TWELVEFOLD_BATCH", "1")
    monkeypatch.chdir(root)
    run(root)
    yield root
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "toylib"]:
        del sys.modules[name]


def run(root: Path) -> None:
    study = Study(NAME)
    study.scale(quick={"n": 3}, gpu={"n": 3}, paper={"n": 3})
    module = redraw.result_module(root, NAME)
    study.declare(module.CLAIMS)
    rows = study.runs(pd.DataFrame({"x": [0.1, 0.7, 1 / 3]}))
    for make in module.REPORT:
        make(study, rows)
    study.done()


def test_redrawing_changes_no_byte(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tree / "figures/quick" / NAME
    before = snapshot(folder)
    capsys.readouterr()
    assert redraw_all(tree) == 0
    assert snapshot(folder) == before
    assert capsys.readouterr().out == f"quick {NAME}: same bytes\n"
    assert (tree / "figures/quick/LEDGER.md").is_file()


def test_lost_figures_and_tables_come_back(tree: Path) -> None:
    folder = tree / "figures/quick" / NAME
    before = snapshot(folder)
    for name in ("curve.png", "curve.svg", "all.csv"):
        (folder / name).unlink()
    (folder / "leftover.png").write_bytes(b"of an earlier version")
    assert redraw_all(tree, preset="quick", only="toy") == 0
    assert snapshot(folder) == before


def test_a_changed_rule_is_reported_with_both_verdicts(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "lib/toylib/papers/toy/alpha.py").write_text(MODULE.replace("equals(3)", "equals(4)"))
    forget()
    capsys.readouterr()
    assert redraw_all(tree) == 0
    assert "verdict of three: holds -> fails; changed: study.json" in capsys.readouterr().out
    assert "**fails**" in (tree / "figures/quick/LEDGER.md").read_text()


@pytest.mark.parametrize(("file", "text", "words"), [
    ("lib/toylib/papers/toy/alpha.py", "raise RuntimeError('spoilt')\n", "spoilt"),
    ("lib/toylib/papers/toy/alpha.py", "CLAIMS = ()\n", "has no REPORT"),
    (f"figures/quick/{NAME}/runs.csv", "x\n1.0\n", "differs from the checksum"),
    (f"figures/quick/{NAME}/study.json", "{", "JSONDecodeError"),
])
def test_a_failure_leaves_the_result_alone(
    tree: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, words: str
) -> None:
    (tree / file).write_text(text)
    forget()
    before = snapshot(tree / "figures/quick" / NAME)
    if "study.json" in file:  # the ledger cannot be written either, and says so
        with pytest.raises(redraw.RunError, match="is damaged"):
            redraw_all(tree)
    else:
        assert redraw_all(tree) == 1
    assert words in capsys.readouterr().err
    assert snapshot(tree / "figures/quick" / NAME) == before
    assert list(tree.glob(".twelvefold/staging/*")) == []


def test_what_cannot_be_redrawn_is_refused(tree: Path) -> None:
    with pytest.raises(RedrawError, match="no result to redraw"):
        redraw_all(tree, preset="gpu")
    with pytest.raises(RedrawError, match=r"toy/02_beta has no module papers/toy/beta.py"):
        module_name(tree, "toy/02_beta")


def test_a_module_of_another_tree_is_refused(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = make_tree(tmp_path_factory.mktemp("other"))
    folder = other / "lib/toylib/papers/toy"
    folder.mkdir(parents=True)
    (folder / "alpha.py").write_text(MODULE)
    with pytest.raises(RedrawError, match="not from this tree"):
        redraw.result_module(other, NAME)
