"""The folder of one study's results: where it lies, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .project import ProjectError, find_root

_OUR_FILES = (".png", ".svg", ".csv", ".json")


def results_folder(root: Path, preset: str) -> Path:
    """Return `$TWELVEFOLD_OUT`, by default the scratch folder of the preset."""
    given = os.environ.get("TWELVEFOLD_OUT", "").strip()
    return Path(given).expanduser().resolve() if given else root / ".twelvefold" / "scratch" / preset


def root_above(folder: Path) -> Path:
    """Return the project around a finished study; a folder outside any project stands for itself."""
    try:
        return find_root(folder)
    except ProjectError:  # e.g. an unpacked archive
        return folder


def empty(folder: Path) -> None:
    """Remove the files of an earlier run; study.json first, so that a half-emptied folder counts as unfinished."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_file() and path.suffix in _OUR_FILES:
            path.unlink(missing_ok=True)


def sha256(data: bytes) -> str:
    """Return the checksum in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def write_bytes(path: Path, data: bytes) -> str:
    """Write a file so that a reader sees the whole of it or nothing, and return its sha256."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return sha256(data)
