"""What is run and what came of it: the notebooks of a tree, outcomes, and how both are reported."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TextIO

from twelvefold.core.project import ProjectError, check_name

STATES = ("waiting", "running", "done", "skipped", "failed")


class RunError(RuntimeError):
    """Something the user can put right before anything runs; `exit_code` is the command's exit status."""

    exit_code = 2


class RunnerBusy(RunError):
    """Another runner holds the lock of this tree."""

    exit_code = 3


class ClusterProblem(RunError):
    """The cluster cannot be reached, differs from this machine, or cannot meet a demand."""


class UnknownNotebook(RunError):
    """A name or pattern that fits no notebook."""


class ParameterProblem(RunError):
    """A parameter that the notebook's parameters cell does not have."""


@dataclass(frozen=True)
class Notebook:
    """One notebook: `name` is `<paper>/<NN_result>`, `source` the text, `paired` the .ipynb (it may not exist)."""

    name: str
    source: Path
    paired: Path


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook.

    `status` is done, skipped or failed; `seconds` wall time (the recorded one when skipped); `verdicts` counts per
    verdict; `comparison` says in words how the result stands to the committed one; `message` is one line (for a
    failure: the cell and the exception's last line); `folder` holds the results, `log` the output of a run.
    """

    name: str
    status: str
    seconds: float
    verdicts: dict[str, int] = field(default_factory=dict)
    comparison: str = ""
    message: str = ""
    folder: Path | None = None
    log: Path | None = None


class Reporter(Protocol):
    """Is told what happens. `state` is one of STATES; `detail` is short text (seconds, progress, message)."""

    def start(self, notebooks: Sequence[Notebook]) -> None: ...

    def update(self, name: str, state: str, detail: str) -> None: ...

    def finish(self, outcomes: Sequence[Outcome]) -> None: ...


class PlainReporter:
    """One line per finished notebook, nothing in between: for pipes, logs and CI."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream if stream is not None else sys.stderr

    def start(self, notebooks: Sequence[Notebook]) -> None:
        self._say(f"{len(notebooks)} notebook{'' if len(notebooks) == 1 else 's'}")

    def update(self, name: str, state: str, detail: str) -> None:
        if state in ("done", "skipped", "failed"):
            self._say(f"{state:<8}{name}  {detail}".rstrip())

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        counts = {state: sum(o.status == state for o in outcomes) for state in ("done", "skipped", "failed")}
        self._say(", ".join(f"{n} {state}" for state, n in counts.items()))

    def _say(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


def discover(root: Path, only: str | None = None) -> list[Notebook]:
    """Return the notebooks below `root/notebooks`, sorted by name, `only` those whose name fits the glob pattern.

    Files that are not called `<paper>/<NN_result>.py` are no notebooks. A pattern without a slash is taken for a paper.

    Raises:
        UnknownNotebook: when nothing fits; the message names the known notebooks.
    """
    folder = Path(root) / "notebooks"
    found = [_notebook(folder, path) for path in sorted(folder.glob("*/*.py"))]
    known = [notebook for notebook in found if _is_name(notebook.name)]
    if not known:
        raise UnknownNotebook(f"no notebook below {folder}: expected files like notebooks/some_paper/01_result.py")
    if only is None:
        return known
    pattern = only if "/" in only else f"{only}/*"
    chosen = [notebook for notebook in known if fnmatch.fnmatchcase(notebook.name, pattern)]
    if not chosen:
        names = ", ".join(notebook.name for notebook in known)
        raise UnknownNotebook(f"only={only!r} fits no notebook; known are: {names} (patterns like 'paper/*' work)")
    return chosen


def _notebook(folder: Path, path: Path) -> Notebook:
    name = path.relative_to(folder).with_suffix("").as_posix()
    return Notebook(name, path, path.with_suffix(".ipynb"))


def _is_name(name: str) -> bool:
    try:
        return check_name(name) == name
    except ProjectError:
        return False
