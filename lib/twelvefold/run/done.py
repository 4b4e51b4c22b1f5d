"""Remembers what this machine has computed: a notebook is skipped only when its keys and its files are unchanged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from twelvefold.core import sources


@dataclass(frozen=True)
class Keys:
    """What a result depends on; see `twelvefold.core.sources` for each key."""

    content_key: str
    display_key: str
    environment_key: str


def current_keys(root: Path, name: str, device_class: str) -> Keys:
    """Compute the keys of a notebook as the tree is now; `device_class` is `cpu`, `cuda` or `mps`."""
    return Keys(
        sources.content_key(root, name),
        sources.display_key(root, name),
        sources.environment_key(root, device_class),
    )


def result_folder(root: Path, preset: str, seed: int, name: str) -> Path:
    """Where the results of a notebook belong: `figures/` for the base seed 0, scratch for every other one."""
    if seed == 0:
        return Path(root) / "figures" / preset / name
    return Path(root) / ".twelvefold" / "scratch" / preset / f"seed-{seed}" / name


def executed_path(root: Path, preset: str, seed: int, name: str) -> Path:
    """Where the executed copy of a notebook belongs (its log and its failed copy lie beside it)."""
    folder = Path(root) / ".twelvefold" / "executed" / preset
    return (folder if seed == 0 else folder / f"seed-{seed}") / f"{name}.ipynb"


def record_path(root: Path, preset: str, name: str) -> Path:
    """The record of the last run of a notebook that succeeded on this machine at seed 0."""
    return Path(root) / ".twelvefold" / "done" / preset / f"{name}.json"


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_record(root: Path, preset: str, name: str, keys: Keys, files: Iterable[Path]) -> Path:
    """Record that `files` (below `root`) are the results of these keys; return the record's path."""
    digests = {path.relative_to(root).as_posix(): file_digest(path) for path in sorted(files)}
    path = record_path(root, preset, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(keys) | {"files": digests}, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return path


def is_done(root: Path, preset: str, name: str, keys: Keys) -> bool:
    """Whether the record of this machine carries exactly these keys and every recorded file is as it was written."""
    try:
        record = json.loads(record_path(root, preset, name).read_text(encoding="utf-8"))
        same = all(record[key] == value for key, value in asdict(keys).items())
        return same and all(file_digest(Path(root) / path) == sha for path, sha in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # none, unreadable, or a file is gone: compute again
