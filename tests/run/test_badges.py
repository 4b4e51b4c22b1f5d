"""Badges: one address makes all of them, none leaves no trace, and the Colab cell acts only on Colab."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest
from twelvefold.run import badges
from twelvefold.run.badges import BadgeError, colab_cell, update_badges, with_badges
from twelvefold.run.script import read_cells

from tests.run.madeup import NOTEBOOK, make_tree, snapshot

ADDRESS = "https://github.com/somebody/some-project"


def set_address(root: Path, address: str) -> None:
    (root / "pyproject.toml").write_text(f'[tool.twelvefold]\nrepository = "{address}"\n')


def test_an_address_adds_badges_and_an_empty_one_removes_every_trace(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    set_address(tree, "")
    assert update_badges(tree) == []
    before = snapshot(tree)
    set_address(tree, ADDRESS)
    assert update_badges(tree, write=False) == ["README.md", "notebooks/toy/01_alpha.py", "notebooks/toy/02_beta.py"]
    assert len(update_badges(tree)) == 3
    assert update_badges(tree) == [], "a second time changes nothing"
    text = (tree / "notebooks/toy/01_alpha.py").read_text()
    assert "colab.research.google.com/github/somebody/some-project/blob/main/notebooks/toy/01_alpha.ipynb" in text
    assert "mybinder.org/v2/gh/somebody/some-project/HEAD?urlpath=lab/tree/notebooks/toy/01_alpha.ipynb" in text
    assert "notebooks/toy/01_alpha.ipynb" in (tree / "README.md").read_text().partition("badges:end")[0]
    set_address(tree, "")
    assert len(update_badges(tree)) == 3
    assert snapshot(tree) == before


def test_another_address_replaces_the_first(tmp_path: Path) -> None:
    other = with_badges(with_badges(NOTEBOOK, ADDRESS, "toy/01_alpha"), f"{ADDRESS}-2", "toy/01_alpha")
    assert other == with_badges(NOTEBOOK, f"{ADDRESS}-2", "toy/01_alpha")


def test_the_cell_stands_between_title_and_parameters() -> None:
    cells = read_cells(with_badges(NOTEBOOK, ADDRESS, "toy/01_alpha"))
    assert [(cell.kind, cell.tags) for cell in cells][:3] == [
        ("markdown", ()), ("code", ("colab",)), ("code", ("parameters",))]
    assert cells[0].source.rstrip().endswith(".ipynb)") and cells[0].source.count("\n#\n") == 2


@pytest.mark.parametrize("address", ["http://github.com/a/b", "https://example.org/a/b", "github.com/a/b", "a"])
def test_addresses_without_badges_are_refused(tmp_path: Path, address: str) -> None:
    tree = make_tree(tmp_path)
    set_address(tree, address)
    with pytest.raises(BadgeError, match="expected https://github.com/<owner>/<name>"):
        badges.repository(tree)


def test_a_notebook_without_title_is_refused() -> None:
    with pytest.raises(BadgeError, match="expected a title cell"):
        with_badges("# %%\nx = 1\n", ADDRESS, "toy/01_alpha")


def test_elsewhere_the_cell_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: pytest.fail("it ran something"))
    exec(colab_cell(ADDRESS), {})
    assert list(tmp_path.iterdir()) == []


def test_on_colab_it_clones_once_and_keeps_torch_and_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy
    import torch

    origin = make_tree(tmp_path / "origin")
    (origin / "lib/twelvefold").mkdir()
    (origin / "lib/twelvefold/__init__.py").write_text("")
    (tmp_path / "content").mkdir()
    commands = []

    def run(command: list[str], check: bool) -> None:
        commands.append(command)
        if command[0] == "git":
            origin.rename(command[-1])

    monkeypatch.chdir(tmp_path / "content")
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "path", [*sys.path])
    exec(colab_cell(ADDRESS), {})
    tree = tmp_path / "content/twelvefold"
    assert Path.cwd() == tree and sys.path[0] == str(tree / "lib")
    assert commands[0] == ["git", "clone", "--quiet", "--depth", "1", ADDRESS, str(tree)]
    constraints = tree / "colab-constraints.txt"
    assert commands[1][-4:] == ["--constraint", str(constraints), "--editable", f"{tree}[notebooks]"]
    assert constraints.read_text() == f"torch=={torch.__version__}\nnumpy=={numpy.__version__}\n"
    exec(colab_cell(ADDRESS), {})
    assert len(commands) == 2, "run again, it finds the tree"
