"""Who is running, since when, and what it said last; turned into short texts for a reporter."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from twelvefold.run.jobs import Outcome, Reporter

SHOW_EVERY = 0.5


@dataclass
class _Running:
    since: float
    facts: dict[str, Any] = field(default_factory=dict)


class Board:
    """Collects the events of running notebooks (from any thread) and shows them twice a second (in the caller's)."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self._shown = 0.0

    def receive(self, event: tuple[float, Any]) -> None:
        """Take an event as the scheduler delivers it: its time and a mapping with at least `name`."""
        facts = event[1]
        if not isinstance(facts, dict) or "name" not in facts:
            return
        with self._lock:
            entry = self._running.setdefault(str(facts["name"]), _Running(time.monotonic()))
            if facts.get("cell", 0) != entry.facts.get("cell", 0) and "cell" in facts:
                entry.facts = {}  # progress of an earlier cell is over
            entry.facts |= facts

    def show(self) -> None:
        """Tell the reporter about everything that runs, at most every half second."""
        now = time.monotonic()
        if now - self._shown < SHOW_EVERY:
            return
        self._shown = now
        with self._lock:
            lines = [(name, progress_text(now - entry.since, entry.facts)) for name, entry in self._running.items()]
        for name, line in lines:
            self._reporter.update(name, "running", line)

    def seconds(self, name: str) -> float:
        """Seconds since a notebook's first event, 0 when there was none."""
        with self._lock:
            entry = self._running.get(name)
        return time.monotonic() - entry.since if entry else 0.0

    def forget(self, name: str) -> None:
        """A notebook has ended; events of it that are still on their way are rare and do no harm."""
        with self._lock:
            self._running.pop(name, None)


def progress_text(seconds: float, facts: dict[str, Any]) -> str:
    """Say how far a notebook is, e.g. `12 s, cell 5 of 9, training 3 of 8`."""
    parts = [f"{seconds:.0f} s"]
    if "cell" in facts:
        parts.append(f"cell {facts['cell']} of {facts.get('cells', '?')}")
    if "label" in facts:
        total = facts.get("total")
        parts.append(f"{facts['label']} {facts.get('done', 0)}" + (f" of {total}" if total is not None else ""))
    return ", ".join(parts)


def describe(outcome: Outcome) -> str:
    """One line about an outcome for people."""
    if outcome.status == "failed":
        return outcome.message
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in outcome.verdicts.items())
    return "; ".join(filter(None, [f"{outcome.seconds:.1f} s", verdicts, outcome.comparison, outcome.message]))


def one_line(error: BaseException | None) -> str:
    """An exception in one line: its text for our own errors, with its kind for others."""
    text = " ".join(str(error).split())[:600]
    kind = type(error).__name__
    return text if kind.endswith(("Problem", "Missing", "Damaged")) and text else f"{kind}: {text}".rstrip(": ")
