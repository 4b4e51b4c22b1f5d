"""`status`: which results are up to date on this machine, and what made the others stale."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twelvefold.core.project import notebook_path
from twelvefold.core.sources import SourceError, canonical, closure, content_key
from twelvefold.run import done
from twelvefold.run.jobs import discover
from twelvefold.run.ledger import write_atomically


def parts(root: Path, name: str) -> dict[str, str]:
    """Return the content key of a notebook and a digest of each thing it depends on; empty when it cannot be read."""
    notebook = notebook_path(root, name)
    try:
        found = {"content_key": content_key(root, name), "the notebook's code": _digest(canonical(notebook)),
                 "the notebook's text": _digest(notebook.read_bytes())}
        modules = {f"module {module}": _digest(canonical(path)) for module, path in closure(root, notebook).items()}
    except SourceError:
        return {}
    return found | modules


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _parts_path(root: Path, preset: str, name: str) -> Path:
    return done.record_path(root, preset, name).with_suffix(".parts.json")


def remember(root: Path, preset: str, name: str, snapshot: Mapping[str, str]) -> None:
    """Keep the parts that a finished run was made from, so that `explain` can name what changed since."""
    path = _parts_path(root, preset, name)
    if snapshot and path.parent.is_dir():
        write_atomically(path, (json.dumps(snapshot, indent=1) + "\n").encode())


def explain(root: Path, preset: str, name: str) -> list[str]:
    """Return why the next run would run a notebook; empty when it would skip it."""
    record = _load(done.record_path(root, preset, name))
    if not record:
        return ["never run on this machine"]
    damaged = [path for path, digest in record.get("files", {}).items() if _file_digest(root / path) != digest]
    try:
        keys = done.current_keys(root, name, _device_class(root, preset, name))
    except SourceError as error:
        return [f"its sources cannot be read: {error}"]
    reasons = [f"results damaged or missing: {', '.join(damaged)}"] if damaged else []
    content, display = (getattr(keys, key) != record.get(key) for key in ("content_key", "display_key"))
    if content or display:
        reasons += _changed(root, preset, name, record, content)
    if keys.environment_key != record.get("environment_key"):
        reasons.append("lock file or environment (requirements.txt, Python, torch, numpy, device) changed")
    return reasons


def _changed(root: Path, preset: str, name: str, record: Mapping[str, Any], content: bool) -> list[str]:
    """Name the parts that differ from those of the run; without its snapshot, only which kind of part it was."""
    before, now = _load(_parts_path(root, preset, name)), parts(root, name)
    if not before or before.get("content_key") != record.get("content_key"):
        return ["code or data changed" if content else "prose or drawing changed"]
    keys = [key for key in sorted(before.keys() | now.keys()) if key != "content_key"]
    differing = [key for key in keys if before.get(key) != now.get(key)]
    if "the notebook's code" in differing and "the notebook's text" in differing:
        differing.remove("the notebook's text")
    return [f"{key} changed" for key in differing] or ["data changed"]


def _load(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _file_digest(path: Path) -> str | None:
    return done.file_digest(path) if path.is_file() else None


def _device_class(root: Path, preset: str, name: str) -> str:
    """Return the device class of the results in place: an unchanged run would use it again."""
    device = _load(done.result_folder(root, preset, 0, name) / "study.json").get("device", "cpu")
    kind = str(device).partition(":")[0]
    return kind if kind in ("cpu", "cuda", "mps") else "cpu"


def print_status(root: Path, preset: str, only: str | None = None) -> int:
    """Print a line per notebook; return 0, stale results are no failure.

    Raises:
        RunError: when nothing fits `only`.
    """
    for notebook in discover(root, only):
        reasons = explain(root, preset, notebook.name)
        print(f"{'stale' if reasons else 'up to date':<11}{notebook.name}  {'; '.join(reasons)}".rstrip())
    return 0
