"""What computations cost: CPU seconds of their own, peak memory, and the sum over everything this process read."""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from twelvefold.core.store import Cost

_TOKEN = uuid.uuid4().hex


def process_token() -> tuple[str, int]:
    """Return what names this process among all machines (the pid tells a fork from its parent)."""
    return _TOKEN, os.getpid()


def peak_rss_mb() -> float:
    """Return the largest memory this process has held so far, in MB (1e6 bytes)."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


@dataclass(frozen=True)
class Spent:
    """CPU seconds between two moments, by the clock of the process and by that of the thread."""

    process: float = 0.0
    thread: float = 0.0


@dataclass
class Frame:
    """One computation under way in this thread: when it began, and what nested sweeps inside it computed and read."""

    key: str
    process_start: float = field(default_factory=time.process_time)
    thread_start: float = field(default_factory=time.thread_time)
    nested: dict[str, Cost] = field(default_factory=dict)
    nested_spent: Spent = Spent()
    shared: bool = False

    def elapsed(self) -> Spent:
        """Return the CPU seconds since the beginning, nested computations included."""
        return Spent(time.process_time() - self.process_start, time.thread_time() - self.thread_start)

    def cost(self) -> Cost:
        """Return the cost so far without that of nested computations.

        The clock of the process sees torch's threads, but also other points computed beside this one; then the clock of
        the thread is the better one.
        """
        elapsed = self.elapsed()
        process, thread = elapsed.process - self.nested_spent.process, elapsed.thread - self.nested_spent.thread
        return Cost(max(thread if self.shared else process, 0.0), peak_rss_mb())

    def add_nested(self, key: str, cost: Cost, nested: Mapping[str, Cost], spent: Spent) -> None:
        """Note that the computation asked for entry `key`, of which `spent` was used up in this process just now."""
        self.nested |= {key: cost, **nested}
        self.nested_spent = Spent(self.nested_spent.process + spent.process, self.nested_spent.thread + spent.thread)


class _Local(threading.local):
    def __init__(self) -> None:
        self.frames: list[Frame] = []


_local = _Local()
_guard = threading.Lock()
_running: dict[int, list[Frame]] = {}  # thread -> its frames, for threads that compute at this moment


def frames() -> list[Frame]:
    """Return the computations under way in this thread, outermost first."""
    return _local.frames


@contextmanager
def frame(key: str) -> Iterator[Frame]:
    """Open a frame for the computation of entry `key` in this thread."""
    mine = _local.frames
    new = Frame(key)
    with _guard:
        mine.append(new)
        _running[threading.get_ident()] = mine
        if len(_running) > 1:
            for stack in _running.values():
                for other in stack:
                    other.shared = True
    try:
        yield new
    finally:
        with _guard:
            mine.remove(new)
            if not mine:
                _running.pop(threading.get_ident(), None)


class Ledger:
    """The entries this process computed, resumed and read, each counted once."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._computed: set[str] = set()
        self._elsewhere: dict[str, Cost] = {}

    def computed(self, key: str, before: Cost) -> None:
        """Note an entry computed here; `before` is what killed predecessors had spent on it (from its checkpoint)."""
        with self._guard:
            self._computed.add(key)
            self._elsewhere.pop(key, None)
            if before.cpu_seconds:
                self._elsewhere[key] = before

    def read(self, costs: Mapping[str, Cost]) -> None:
        """Note entries that were read (or computed by another process), with their costs."""
        with self._guard:
            for key, cost in costs.items():
                if key not in self._computed:
                    self._elsewhere[key] = cost

    def total(self) -> Cost:
        """Return the sum of CPU seconds and the largest memory over all entries not computed here."""
        with self._guard:
            costs = list(self._elsewhere.values())
        return Cost(sum(cost.cpu_seconds for cost in costs), max((cost.peak_rss_mb for cost in costs), default=0.0))
