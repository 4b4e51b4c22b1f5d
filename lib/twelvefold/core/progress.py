"""Progress of long loops: a bar for a reader, one line per some seconds in batch runs, a small file for the runner."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
LINE_EVERY = 5.0
FILE_EVERY = 0.5
_lock = threading.Lock()
_last_line = -LINE_EVERY
_last_file = -FILE_EVERY
_bars: dict[str, Any] = {}


def in_batch() -> bool:
    """Tell whether this is a batch run ($TWELVEFOLD_BATCH is 1)."""
    return os.environ.get("TWELVEFOLD_BATCH", "") == "1"


def report(label: str, done: int, total: int | None) -> None:
    """Tell how far a loop has come; cheap enough to be called once per step.

    Args:
        label: what is counted, e.g. "training populations".
        done: steps finished.
        total: steps in all, None when not known.

    Raises:
        ValueError: negative `done`.
    """
    if done < 0:
        raise ValueError(f"done = {done!r}; a number of finished steps, 0 or more, is needed.")
    with _lock:
        _write_file(label, done, total)
        if _shows_bars():
            _move_bar(label, done, total)
        else:
            _print_line(label, done, total)


def progress(iterable: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield the items of `iterable` and report how far the loop has come.

    Args:
        iterable: anything to loop over.
        label: what is counted.
        total: number of items, default `len(iterable)` where it has one.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    report(label, 0, total)
    try:
        for done, item in enumerate(iterable, start=1):
            yield item
            report(label, done, total)
    finally:
        _close_bar(label)


def _write_file(label: str, done: int, total: int | None) -> None:
    """At most two writes a second; the runner polls this file, and a lost last step does not matter to it."""
    global _last_file
    target = os.environ.get("TWELVEFOLD_PROGRESS")
    now = time.monotonic()
    if not target or now - _last_file < FILE_EVERY:
        return
    _last_file = now
    path = Path(target)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps({"label": label, "done": done, "total": total}), encoding="utf-8")
        os.replace(temporary, path)
    except OSError:  # a full disk or a folder that is gone must not stop a computation
        temporary.unlink(missing_ok=True)


def _print_line(label: str, done: int, total: int | None) -> None:
    global _last_line
    now = time.monotonic()
    if now - _last_line < LINE_EVERY:
        return
    _last_line = now
    print(f"{label}: {done} of {'?' if total is None else total}", file=sys.stderr, flush=True)


def _shows_bars() -> bool:
    if in_batch():
        return False
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None


def _move_bar(label: str, done: int, total: int | None) -> None:
    bar = _bars.get(label)
    if bar is not None and done < bar.n:  # the same label, counted anew
        bar.close()
        bar = None
    if bar is None:
        bar = _bars[label] = _new_bar(label, total)
    bar.update(done - bar.n)
    if total is not None and done >= total:
        _bars.pop(label).close()


def _new_bar(label: str, total: int | None) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm warns where ipywidgets is missing, and then draws text
            from tqdm.auto import tqdm
    except ModuleNotFoundError:
        return _TextBar(label, total)
    return tqdm(desc=label, total=total, leave=False)


class _TextBar:
    """Stands in for tqdm where it is not installed."""

    def __init__(self, label: str, total: int | None) -> None:
        self.label, self.total, self.n = label, total, 0

    def update(self, steps: int) -> None:
        self.n += steps
        _print_line(self.label, self.n, self.total)

    def close(self) -> None:
        """Nothing to tidy up: it only printed lines."""


def _close_bar(label: str) -> None:
    with _lock:
        bar = _bars.pop(label, None)
        if bar is not None:
            bar.close()
