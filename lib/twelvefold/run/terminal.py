"""What the reader sees while notebooks run (live lines or plain ones), and the table at the end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from twelvefold.run.jobs import STATES, Notebook, Outcome, PlainReporter, Reporter

REDRAWS_PER_SECOND = 2
ALL_LINES = 14  # up to so many notebooks each has its line; beyond, only the running and the failed ones
_STYLE = {"waiting": "dim", "running": "bold", "done": "green", "skipped": "cyan", "failed": "red"}
_VERDICTS = ("holds", "fails", "undecided", "not tested")


class LiveReporter:
    """Rewrites one status line per notebook in place, at most twice a second. May be called from several threads."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._states: dict[str, tuple[str, str]] = {}
        self._live: Live | None = None

    def start(self, notebooks: Sequence[Notebook]) -> None:
        self._states = {notebook.name: ("waiting", "") for notebook in notebooks}
        self._live = Live(self, console=self._console, refresh_per_second=REDRAWS_PER_SECOND, transient=True)
        self._live.start()

    def update(self, name: str, state: str, detail: str) -> None:
        with self._lock:
            self._states[name] = (state, detail)

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        self.close()

    def close(self) -> None:
        """Take the live lines off the screen; safe to call twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __rich__(self) -> RenderableType:
        with self._lock:
            states = dict(self._states)
        shown = [(n, *s) for n, s in states.items() if len(states) <= ALL_LINES or s[0] in ("running", "failed")]
        return Group(*(self._line(*entry) for entry in shown), Text(count_states([s for s, _ in states.values()])))

    def _line(self, name: str, state: str, detail: str) -> Text:
        return Text.assemble((f"{state:<8}", _STYLE.get(state, "")), f" {name}  ", (detail, "dim"),
                             no_wrap=True, overflow="ellipsis")


def count_states(states: Sequence[str]) -> str:
    """Return counts like `2 running, 3 done`; states that do not occur are left out."""
    return ", ".join(f"{states.count(state)} {state}" for state in STATES if state in states)


def make_reporter(console: Console | None = None) -> Reporter:
    """Return a live reporter on a terminal, else one that prints a line per finished notebook."""
    console = console or Console(stderr=True)
    return LiveReporter(console) if console.is_terminal and not console.is_dumb_terminal else PlainReporter()


def verdict_text(verdicts: dict[str, int]) -> str:
    """Return counts like `3 holds, 1 undecided`, always in the same order."""
    known = [key for key in _VERDICTS if verdicts.get(key)]
    return ", ".join(f"{verdicts[key]} {key}" for key in [*known, *sorted(set(verdicts) - set(_VERDICTS))])


def summary(outcomes: Sequence[Outcome], root: Path) -> Table:
    """Return the table at the end of a run: notebook, status, verdicts, seconds, comparison, where the figures are."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("notebook", "status", "verdicts", "seconds", "against the committed one", "figures"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left", overflow="fold")
    for outcome in outcomes:
        where = relative(outcome.log if outcome.status == "failed" else outcome.folder, root)
        status = Text(outcome.status, _STYLE.get(outcome.status, ""))
        seconds = f"{outcome.seconds:.1f}"
        table.add_row(outcome.name, status, verdict_text(outcome.verdicts), seconds, outcome.comparison, where)
    return table


def relative(path: Path | None, root: Path) -> str:
    """Return a path as the reader would type it from the root of the project; nothing for None."""
    if path is None:
        return ""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def print_outcomes(outcomes: Sequence[Outcome], root: Path, console: Console | None = None) -> None:
    """Print the final table and a line for each failure."""
    if console is None:  # a pipe has no width: never fold there
        console = Console() if sys.stdout.isatty() else Console(width=240)
    console.print(summary(outcomes, root))
    for outcome in outcomes:
        if outcome.status == "failed":
            console.print(Text(f"failed: {outcome.name}: {outcome.message}"), soft_wrap=True)
