"""The notebooks of this project and their results, for the tests of this folder."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from twelvefold.core.presets import PRESETS
from twelvefold.core.sources import content_key
from twelvefold.run.compare import head_results
from twelvefold.run.jobs import Notebook, UnknownNotebook, discover

ROOT = Path(__file__).resolve().parents[2]
TOP_FILES = ("pyproject.toml", "requirements.txt", "requirements-data.txt", "data")


def notebooks() -> list[Notebook]:
    """All notebooks of the project; none where there are none yet."""
    try:
        return discover(ROOT, None)
    except UnknownNotebook:
        return []


def name_of(notebook: Notebook) -> str:
    """The id of a test's parameter."""
    return notebook.name


@cache
def text_cells(notebook: Notebook) -> tuple[Any, ...]:
    """The cells of the hand-edited text."""
    return tuple(jupytext.read(notebook.source, fmt="py:percent").cells)


def code_cells(notebook: Notebook) -> list[Any]:
    """The code cells of the hand-edited text, with the source as Python."""
    return [cell for cell in text_cells(notebook) if cell.cell_type == "code"]


@cache
def paired(notebook: Notebook) -> Any:
    """The committed .ipynb."""
    return nbformat.read(notebook.paired, as_version=4)


@cache
def head_tree() -> Path:
    """A folder with what HEAD holds of results, notebooks, library and README; empty outside of git."""
    copy = Path(tempfile.mkdtemp(prefix="twelvefold-head-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    head_results(ROOT, ["figures", "notebooks", "lib", "README.md", *TOP_FILES], copy)
    return copy


def committed_folders(notebook: Notebook) -> dict[str, Path]:
    """Preset to folder of the notebook's results: those of HEAD, or on disk where HEAD's sources are not today's.

    `run` rewrites the results on disk, so on a machine that has run, only HEAD says what was committed. While somebody
    changes a notebook it is the other way round: HEAD holds results of older sources, the disk those to be committed.
    """
    found = {}
    for preset in PRESETS:
        old, new = (tree / "figures" / preset / notebook.name for tree in (head_tree(), ROOT))
        current = (old / "study.json").is_file() and study_of(old)["content_key"] == content_key(ROOT, notebook.name)
        folder = old if current or not (new / "study.json").is_file() else new
        if (folder / "study.json").is_file():
            found[preset] = folder
    return found


def study_of(folder: Path) -> dict[str, Any]:
    """The parsed study.json of a results folder."""
    return dict(json.loads((folder / "study.json").read_text(encoding="utf-8")))
