"""Finding the project: its root folder, its notebooks by name, its cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MARKERS = ("pyproject.toml", "notebooks", "lib")
_NAME = re.compile(r"[a-z][a-z0-9_]*/[0-9]{2}_[a-z0-9][a-z0-9_]*")


class ProjectError(Exception):
    """No project around the working directory, or a name that no notebook can have."""


def find_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: the working directory) that is a project.

    A project is a folder with `pyproject.toml`, `notebooks/` and `lib/`.

    Raises:
        ProjectError: no folder on the way up is one.
    """
    start = Path.cwd() if start is None else Path(start)
    start = start.resolve()
    for folder in (start, *start.parents):
        if all((folder / marker).exists() for marker in _MARKERS):
            return folder
    raise ProjectError(
        f"no project at or above {start}: a project is a folder with {', '.join(_MARKERS)}; "
        "change into the checkout (or a folder inside it) and try again"
    )


def check_name(name: str) -> str:
    """Return `name` unchanged when it has the form `<paper>/<NN_result>`, e.g. `a_paper/01_result`.

    Raises:
        ProjectError: any other form.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ProjectError(
            f"name: {name!r} is not a notebook's name; accepted is <paper>/<NN_result>: lower-case letters, digits "
            "and underscores, the result beginning with two digits (like 'a_paper/01_result'), without '.py'"
        )
    return name


def notebook_path(root: Path, name: str) -> Path:
    """Return the text form of the notebook `name`: `<root>/notebooks/<name>.py` (it need not exist)."""
    return Path(root) / "notebooks" / f"{check_name(name)}.py"


def cache_folder(start: Path | None = None) -> Path:
    """Return the folder of computed sweeps: `$TWELVEFOLD_CACHE`, else `<root>/.twelvefold/cache` (not created here).

    Raises:
        ProjectError: the variable is not set and there is no project at or above `start`.
    """
    chosen = os.environ.get("TWELVEFOLD_CACHE", "").strip()
    if chosen:
        return Path(chosen).expanduser().absolute()
    try:
        return find_root(start) / ".twelvefold" / "cache"
    except ProjectError as error:
        raise ProjectError(f"{error}; or set TWELVEFOLD_CACHE to the folder that shall keep computed results") from None
