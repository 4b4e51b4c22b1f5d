"""The cheapest notebook of the project in JupyterLab: all its cells run, its figures show, its control answers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab_server import Server, lab_server
from tests.browser.notebook_page import figures, open_notebook, run_all, turn_control

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("notebooks", "lib", "data", "pyproject.toml", "jupytext.toml", "requirements.txt", "requirements-data.txt")
LONGEST = 400.0  # seconds with a cold cache on a busy machine; the points that it computes serve the other tests, too


@pytest.fixture
def cheapest() -> tuple[str, int]:
    """Name and number of figures of the notebook with the smallest recorded cost."""
    studies = [json.loads(file.read_text()) for file in (ROOT / "figures/quick").glob("*/*/study.json")]
    if not studies:
        pytest.skip("no committed result at preset quick says which notebook is cheap")
    best = min(studies, key=lambda study: study["run"]["cpu_seconds"])
    return best["name"], len(best["figures"])


@pytest.fixture
def tree(cheapest: tuple[str, int], tmp_path: Path) -> Path:
    """A copy of what a notebook needs: JupyterLab saves by itself, the project's own files must stay as they are."""
    root = tmp_path / "project"
    root.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, root)
    return root


@pytest.fixture
def server(tree: Path, tmp_path: Path, browser: Any) -> Iterator[Server]:
    (tmp_path / "jupyter").mkdir()
    cache = os.environ.get("TWELVEFOLD_CACHE") or str(ROOT / ".twelvefold/cache")
    with lab_server(tree, tmp_path / "jupyter", PYTHONPATH=str(tree / "lib"), TWELVEFOLD_CACHE=cache) as running:
        yield running


def test_a_notebook_of_the_project_runs_in_jupyterlab(
    server: Server, page: Any, tree: Path, cheapest: tuple[str, int], tmp_path: Path
) -> None:
    name, drawn = cheapest
    open_notebook(page, server.page(f"notebooks/{name}.py"))
    run_all(page, timeout=LONGEST)
    page.screenshot(path=tmp_path / "after_run.png")
    assert figures(page) >= drawn
    turn_control(page)
    page.screenshot(path=tmp_path / "after_control.png")
    study = json.loads((tree / ".twelvefold/scratch/quick" / name / "study.json").read_text())
    assert study["name"] == name
