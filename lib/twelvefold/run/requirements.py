"""`python -m twelvefold lock`: writes requirements.txt, exact pins of everything that pyproject's extras need.

pip's own resolver decides the versions; packages that only torch needs are left out, so that every machine gets the
build of torch (and its CUDA packages) that suits it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twelvefold.run.jobs import RunError

PYTHON = (3, 11)
UNFOLLOWED = frozenset({"torch"})
HEADER = """\
# Exact versions of everything that the extras in pyproject.toml need, resolved by pip on Python 3.11.
# Written by `./run_all.sh lock` (python -m twelvefold lock); do not edit by hand.
# Packages that only torch needs are left out: pip adds those that suit the machine (CPU, CUDA).
"""


class LockError(RunError):
    """requirements.txt cannot be written."""

    exit_code = 1


@dataclass(frozen=True)
class Distribution:
    """What the resolver chose: the name as published, the version, and the requirement strings of its metadata."""

    name: str
    version: str
    requires: tuple[str, ...]


def normal(name: str) -> str:
    """Return the normalised form of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(root: Path) -> list[str]:
    """Return the requirement strings of the project and of all its extras."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    return [*project.get("dependencies", []), *(line for name in sorted(extras) for line in extras[name])]


def resolve(requirements: Iterable[str], constraint: Path | None = None) -> dict[str, Distribution]:
    """Ask pip for a set of versions that fits together, installing nothing.

    Raises:
        LockError: when pip finds no such set or no index; its last error line is passed on.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder, "wanted.txt"), Path(folder, "report.json")
        wanted.write_text("\n".join(requirements) + "\n")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report",
                   str(report), "-r", str(wanted)]
        if constraint is not None:
            command += ["--constraint", str(constraint)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise LockError(f"pip found no set of versions: {(errors or ['no message'])[-1]}")
        return read_report(json.loads(report.read_text()))


def read_report(report: Mapping[str, Any]) -> dict[str, Distribution]:
    """Return the distributions of pip's installation report by normalised name."""
    entries = [item["metadata"] for item in report["install"]]
    return {
        normal(entry["name"]): Distribution(entry["name"], entry["version"], tuple(entry.get("requires_dist", ())))
        for entry in entries
    }


def reachable(requirements: Iterable[str], chosen: Mapping[str, Distribution]) -> list[Distribution]:
    """Return what the requirements need without following `UNFOLLOWED`, sorted by normalised name.

    Raises:
        LockError: when a needed distribution is not among the chosen ones.
    """
    from packaging.requirements import Requirement

    todo = [(Requirement(text), "") for text in requirements]
    seen: set[tuple[str, str]] = set()
    while todo:
        wanted, extra = todo.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = normal(wanted.name)
        if name not in chosen:
            raise LockError(f"{wanted.name} is needed but was not resolved")
        for part in ("", *sorted(wanted.extras)):
            if (name, part) in seen:
                continue
            seen.add((name, part))
            if name not in UNFOLLOWED:
                todo += [(Requirement(text), part) for text in chosen[name].requires]
    return [chosen[name] for name in sorted({name for name, _ in seen})]


def render(distributions: Iterable[Distribution]) -> str:
    """Return the text of requirements.txt; local version suffixes (+cpu) are dropped."""
    return HEADER + "".join(f"{item.name}=={item.version.partition('+')[0]}\n" for item in distributions)


def lock(root: Path, constraint: Path | None = None) -> Path:
    """Write `root/requirements.txt` and return its path.

    Raises:
        LockError: on another Python than 3.11 (the pins hold for the oldest Python that the project serves), or when
            pip cannot resolve.
    """
    if sys.version_info[:2] != PYTHON:
        raise LockError(f"the pins are resolved on Python 3.11, this is {sys.version.split()[0]}: run it with a 3.11")
    if constraint is not None and not constraint.is_file():
        raise LockError(f"constraint file {str(constraint)!r} does not exist")
    requirements = declared(root)
    text = render(reachable(requirements, resolve(requirements, constraint)))
    path = root / "requirements.txt"
    temporary = path.with_suffix(".txt.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    return path
