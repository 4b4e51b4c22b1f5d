"""Fixtures of the runner's tests: one undisturbed run of the toy tree, copied for every test that changes something."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from toytree import NAMES, ToyTree


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller has set for the real project must not reach the toy trees."""
    for name in ("TWELVEFOLD_OUT", "TWELVEFOLD_CACHE", "TWELVEFOLD_DATA", "TWELVEFOLD_PROGRESS", "TWELVEFOLD_JOBS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ToyTree:
    """A tree after one undisturbed run. Read it, never change it."""
    tree = ToyTree(tmp_path_factory.mktemp("finished") / "tree")
    result = tree.run(timeout=300)
    assert result.code == 0 and result.status() == dict.fromkeys(NAMES, "done"), result.output
    return tree


@pytest.fixture
def tree(finished: ToyTree, tmp_path: Path) -> Iterator[ToyTree]:
    """A copy of the finished tree, with no calls noted yet; whatever still runs in it afterwards is ended."""
    copy = finished.copy(tmp_path / "tree")
    copy.calls.unlink()
    yield copy
    copy.end_all()


@pytest.fixture(scope="session")
def finished_light(tmp_path_factory: pytest.TempPathFactory) -> ToyTree:
    """A light tree after one run. Read it, never change it."""
    tree = ToyTree(tmp_path_factory.mktemp("light") / "tree", light=True)
    result = tree.run(timeout=300)
    assert result.code == 0 and result.status() == dict.fromkeys(NAMES, "done"), result.output
    return tree


@pytest.fixture
def light(finished_light: ToyTree, tmp_path: Path) -> Iterator[ToyTree]:
    """A copy of the finished light tree, for tests of the runner's mechanics."""
    copy = finished_light.copy(tmp_path / "light")
    copy.calls.unlink()
    yield copy
    copy.end_all()


@pytest.fixture
def new_tree(tmp_path: Path) -> Iterator[Callable[..., ToyTree]]:
    """Makes trees that never ran."""
    made: list[ToyTree] = []

    def make(**arguments: float) -> ToyTree:
        made.append(ToyTree(tmp_path / f"new{len(made)}", **arguments))
        return made[-1]

    yield make
    for tree in made:
        tree.end_all()
        shutil.rmtree(tree.root, ignore_errors=True)
