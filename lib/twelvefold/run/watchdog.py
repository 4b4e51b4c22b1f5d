"""A thread beside each running notebook: kills the kernel of a task nobody waits for, and forwards progress."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

POLL_SECONDS = 0.25


class Watchdog:
    """Context manager around one execution.

    `wanted()` says whether somebody still waits for the result: on a remote scheduler a task turns from "executing" to
    "cancelled" when its runner disconnects, and the notebook would otherwise run to its end. `kill()` is called once
    when nobody does. `progress` is the file the kernel writes; each new content goes to `forward`.
    """

    def __init__(
        self,
        wanted: Callable[[], bool],
        kill: Callable[[], None],
        progress: Path,
        forward: Callable[[dict[str, Any]], None],
    ) -> None:
        self._wanted, self._kill, self._progress, self._forward = wanted, kill, progress, forward
        self._last: dict[str, Any] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="notebook-watchdog", daemon=True)
        self.fired = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            if not self._wanted():
                self.fired = True
                self._kill()
                return
            self._report()

    def _report(self) -> None:
        try:
            found = json.loads(self._progress.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return  # none yet
        if isinstance(found, dict) and found != self._last:
            self._last = found
            self._forward(found)
