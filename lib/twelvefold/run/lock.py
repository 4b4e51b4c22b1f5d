"""One runner per tree: the second one is refused and told who the first one is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from twelvefold.run.jobs import RunnerBusy
from twelvefold.run.publish import explain


@contextmanager
def runner_lock(root: Path) -> Iterator[None]:
    """Hold `.twelvefold/runner.lock` while runs are made in this tree; the system frees it when the process dies.

    Who holds it stands beside it, in `runner.json`: the lock file itself may be truncated by whoever asks for it.

    Raises:
        RunnerBusy: when another process holds it; the message has its process id, host and start.
        TreeProblem: when the folder cannot be written.
    """
    import filelock

    folder = Path(root) / ".twelvefold"
    lock = filelock.FileLock(folder / "runner.lock")
    with explain(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise RunnerBusy(_who(folder / "runner.json", root)) from None
        _sign(folder / "runner.json")
    try:
        yield
    finally:
        (folder / "runner.json").unlink(missing_ok=True)
        lock.release()


def _sign(path: Path) -> None:
    host = os.uname().nodename if hasattr(os, "uname") else ""
    started = datetime.now().isoformat(timespec="seconds")
    path.write_text(json.dumps({"pid": os.getpid(), "host": host, "started": started}), encoding="utf-8")


def _who(path: Path, root: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        holder = f"process {found['pid']} on {found['host']}, started {found['started']}"
    except (OSError, ValueError, KeyError, TypeError):
        holder = "a process that has not signed yet"
    return f"another runner is at work in {root} ({holder}): wait for it, or end that process and start again"
