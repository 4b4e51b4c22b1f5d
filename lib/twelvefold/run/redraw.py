"""`redraw`: figures, tables, claims and ledgers again from committed runs.csv files, without computing anything.

For the notebook `<paper>/NN_<result>` the module `<package>.papers.<paper>.<result>` has CLAIMS and REPORT, and its
REPORT functions make everything from the rows alone: the notebook calls them between its prose, this file calls them
one after the other on a replayed study.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from twelvefold.core.presets import PRESETS
from twelvefold.run.jobs import RunError, discover
from twelvefold.run.ledger import write_ledger
from twelvefold.run.lock import runner_lock
from twelvefold.run.publish import explain, publish_results, read_stage


class RedrawError(RunError):
    """A result that cannot be redrawn."""

    exit_code = 1


def redraw_all(root: Path, preset: str | None = None, only: str | None = None) -> int:
    """Redraw every committed result (of one preset, of notebooks that fit), name the failures; return 1 if any.

    Raises:
        RunError: nothing fits `only`, a runner is at work, or a ledger cannot be written.
    """
    names = [notebook.name for notebook in discover(root, only)]
    failures, found = 0, 0
    with runner_lock(root):
        for chosen in PRESETS if preset is None else (preset,):
            present = [name for name in names if (root / "figures" / chosen / name / "study.json").is_file()]
            for name in present:
                failures += not _report(root, chosen, name)
            found += len(present)
            if present:
                write_ledger(root, chosen)
    if not found:
        raise RedrawError("no result to redraw: no study.json in figures/ fits")
    return 1 if failures else 0


def _report(root: Path, preset: str, name: str) -> bool:
    """Redraw one result and print what changed; an error in it must not hide the others."""
    try:
        changes = redraw(root, preset, name)
    except Exception as error:
        print(f"{preset} {name}: failed: {type(error).__name__}: {error}", file=sys.stderr)
        return False
    print(f"{preset} {name}: {'; '.join(changes) or 'same bytes'}")
    return True


def redraw(root: Path, preset: str, name: str) -> list[str]:
    """Redraw one result; return what changed: files, and verdicts as `claim: old -> new`.

    The result is made in a folder of its own and put in place only when it is whole.

    Raises:
        RedrawError: without the module of the notebook, or when that has no CLAIMS or REPORT.
        RunError, StudyError, SchemaError: when the result is damaged or incomplete.
    """
    import matplotlib

    matplotlib.use("Agg")
    from twelvefold.core.study import Study

    folder = root / "figures" / preset / name
    module = result_module(root, name)
    with _stage(root, folder) as stage:
        study = Study.replay(stage)
        study.declare(module.CLAIMS)
        runs = study.runs()
        for make in module.REPORT:
            make(study, runs)
        study.done()
        new = read_stage(stage, name, preset, study.seed)
        changes = _changes(new, stage, folder)
        if changes:
            publish_results(stage, folder)
    return changes


@contextmanager
def _stage(root: Path, folder: Path) -> Iterator[Path]:
    """Give a copy of the result's study.json and runs.csv, removed in the end."""
    stage = root / ".twelvefold" / "staging" / uuid.uuid4().hex
    with explain(stage):
        stage.mkdir(parents=True)
        for file in ("study.json", "runs.csv"):
            if (folder / file).is_file():
                shutil.copyfile(folder / file, stage / file)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _changes(new: dict[str, Any], stage: Path, folder: Path) -> list[str]:
    old = {claim["id"]: claim["verdict"] for claim in json.loads((folder / "study.json").read_text())["claims"]}
    verdicts = [f"verdict of {claim['id']}: {old.get(claim['id'], 'new')} -> {claim['verdict']}"
                for claim in new["claims"] if old.get(claim["id"]) != claim["verdict"]]
    here, there = ({path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
                   for place in (stage, folder))
    files = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    return [*verdicts, f"changed: {', '.join(files)}"] if files else verdicts


def module_name(root: Path, name: str) -> str:
    """Return the module of the notebook `name`: `<package>.papers.<paper>.<result>`, in whichever package has it.

    Raises:
        RedrawError: when no package below `root/lib` has it.
    """
    paper, _, numbered = name.partition("/")
    result = numbered[3:]
    found = sorted((root / "lib").glob(f"*/papers/{paper}/{result}.py"))
    if not found:
        raise RedrawError(f"{name} has no module papers/{paper}/{result}.py below lib/: it cannot be redrawn")
    return f"{found[0].relative_to(root / 'lib').parts[0]}.papers.{paper}.{result}"


def result_module(root: Path, name: str) -> ModuleType:
    """Import the module of a notebook from this tree.

    Raises:
        RedrawError: when there is none, it comes from another tree, or it lacks CLAIMS or REPORT.
    """
    wanted = module_name(root, name)
    if str(root / "lib") not in sys.path:
        sys.path.insert(0, str(root / "lib"))
    module = importlib.import_module(wanted)
    if not Path(str(module.__file__)).resolve().is_relative_to(root.resolve()):
        raise RedrawError(f"{wanted} is imported from {module.__file__}, not from this tree: use its own environment")
    for attribute in ("CLAIMS", "REPORT"):
        if not hasattr(module, attribute):
            raise RedrawError(f"{wanted} has no {attribute}: it cannot be redrawn")
    return module
