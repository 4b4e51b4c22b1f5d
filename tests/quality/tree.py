"""The files of the project, as the tests of this folder see them."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "lib/twelvefold"
NOT_OURS = {".git", ".venv", ".twelvefold", "__pycache__"}


def project_files() -> list[Path]:
    """Every file that is, or would be, under version control; without git every file outside hidden folders."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(command, capture_output=True, text=True) if (ROOT / ".git").exists() else None
    if answer is not None and answer.returncode == 0:
        found = [ROOT / name for name in answer.stdout.split("\0") if name]
    else:
        found = list(walk(ROOT))
    return sorted(f for f in found if f.is_file() and not NOT_OURS & set(f.relative_to(ROOT).parts))


def walk(folder: Path) -> Iterator[Path]:
    """Files below `folder`, without folders made by tools."""
    for place, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and not f.endswith(".egg-info") and f not in NOT_OURS]
        yield from (Path(place) / f for f in files)


def library_modules() -> list[Path]:
    """The Python files of the installed package."""
    return sorted(LIBRARY.rglob("*.py"))


def parsed(file: Path) -> ast.Module:
    """Syntax tree of a file, which a failing assertion can name."""
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def relative(file: Path) -> str:
    """The path from the root, with slashes."""
    return file.relative_to(ROOT).as_posix()


def text_of(file: Path) -> str | None:
    """A file's text; None for a binary one."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
