"""Moves a finished stage to its place: file by file, study.json last; what was there stays whole until then."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twelvefold.core import schema
from twelvefold.run.jobs import RunError


class TreeProblem(RunError):
    """A folder that cannot be written: full or read-only."""


class StageProblem(RunError):
    """A notebook that ended without an error but left no valid result."""


@contextmanager
def explain(path: Path) -> Iterator[None]:
    """Turn "disk full" and "read-only" inside the block into a TreeProblem that names `path` and the cure."""
    try:
        yield
    except OSError as error:
        cure = _CURES.get(error.errno or 0)
        if cure is None:
            raise
        raise TreeProblem(f"cannot write {error.filename or path}: {error.strerror}. {cure}") from error


_ROOM = "Free some space there (the cache in .twelvefold/cache may be deleted) and start again: finished work is kept"
_RIGHTS = "Run in a copy of the project that you may write, or change the permissions of that folder"
_CURES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: _RIGHTS,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
}


def check_writable(folder: Path) -> None:
    """Create `folder` and try to write in it, so that a read-only tree is refused before hours of work.

    Raises:
        TreeProblem: naming the folder and the cure.
    """
    with explain(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()


def read_stage(results: Path, name: str, preset: str, seed: int) -> dict[str, Any]:
    """Return the study of a finished stage after checking it.

    `results` is the folder that holds study.json; the study must be about this notebook, preset and seed, and the files
    it lists must be there.

    Raises:
        StageProblem: saying what is missing or wrong.
    """
    path = results / "study.json"
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageProblem("it ended without study.json: `study.done()` must be the notebook's last call") from None
    except ValueError as error:
        raise StageProblem(f"its study.json is no JSON: {error}") from None
    try:
        schema.check_study(study)
    except schema.SchemaError as error:
        raise StageProblem(f"its study.json is not in order: {error}") from None
    for key, expected in (("name", name), ("preset", preset), ("seed", seed)):
        if study[key] != expected:
            raise StageProblem(f"its study.json says {key}={study[key]!r}, but {expected!r} was run")
    missing = [file for file in study_files(study) if not (results / file).is_file()]
    if missing:
        raise StageProblem(f"its study.json lists files that are not there: {', '.join(missing)}")
    return dict(study)


def study_files(study: dict[str, Any]) -> list[str]:
    """Return the names of all files that a study lists: runs, tables and figures."""
    figures = [file for figure in study["figures"] for file in figure["files"]]
    return [study["runs"]["file"], *(table["file"] for table in study["tables"]), *figures]


def publish_results(stage: Path, target: Path) -> list[Path]:
    """Move the files of the folder `stage` into `target`, study.json last; return the published paths.

    Each file appears at once (os.replace). Files of an earlier run that have no successor are removed at the end. Where
    stage and target lie on different file systems, everything is copied beside the target first: a full disk then
    leaves the earlier results untouched.

    Raises:
        TreeProblem: when the target is full or read-only.
    """
    with explain(target):
        target.mkdir(parents=True, exist_ok=True)
        names = sorted((p.relative_to(stage) for p in stage.rglob("*") if p.is_file()), key=_study_last)
        with _near(stage, target, names) as source:
            for name in names:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(source / name, target / name)
        kept = {target / name for name in names}
        for path in [p for p in target.rglob("*") if p.is_file() and p not in kept]:
            path.unlink()
    return [target / name for name in names]


def move_file(source: Path, target: Path) -> None:
    """Move one file so that it appears at once, also across file systems.

    Raises:
        TreeProblem: when the target is full or read-only.
    """
    with explain(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            copy = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
            try:
                shutil.copyfile(source, copy)
                os.replace(copy, target)
            finally:
                copy.unlink(missing_ok=True)


def _study_last(name: Path) -> tuple[bool, str]:
    return name.name == "study.json", name.as_posix()


@contextmanager
def _near(stage: Path, target: Path, names: Sequence[Path]) -> Iterator[Path]:
    """Give the stage itself where it can be renamed into the target, else a copy on the target's file system."""
    if _same_device(stage, target):
        yield stage
        return
    copy = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        for name in names:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stage / name, copy / name)
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _same_device(stage: Path, target: Path) -> bool:
    return stage.stat().st_dev == target.stat().st_dev
