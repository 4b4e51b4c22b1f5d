"""Sweeps: call a library function at many points, each computed once and kept, whoever asks and however often.

An entry is found again by the function's code, the point, the kind of device, dtype, threads and versions; never by the
notebook that asks. `joblib.parallel_config` decides where points are computed, without a change in the notebook.
"""

from __future__ import annotations

import copy
import os
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.costing import Ledger, Spent, frames, process_token
from twelvefold.core.points import check_arguments, normal_point, point_key
from twelvefold.core.project import cache_folder
from twelvefold.core.sources import function_key
from twelvefold.core.store import CacheError, CacheWarning, Entry, Store
from twelvefold.core.tasks import Outcome, Settings, Task, compute, compute_in_worker, worker_state

__all__ = ["CacheError", "CacheWarning", "Checkpoint", "Costs", "SweepError", "costs", "sweep"]

_FORMAT = 1
_ledger = Ledger()


class SweepError(Exception):
    """Some points of a sweep could not be computed; the others are stored."""


@dataclass(frozen=True)
class Costs:
    """Cold costs of entries that other processes computed: CPU seconds (sum) and peak memory in MB (largest)."""

    cpu_seconds: float
    peak_rss_mb: float


def sweep(
    fn: Callable[..., Mapping[str, Any]],
    points: Iterable[Mapping[str, Any]],
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    label: str | None = None,
    n_jobs: int | None = None,
    checkpoint_every: float = 60.0,
) -> list[dict[str, Any]]:
    """Return `fn(**point)` for every point, in order, computing only what is not stored yet.

    `fn` may itself call `sweep`. Equal points are computed once. Another process that asks for the same point waits.

    Args:
        fn: a public function of an importable module. It returns a dict of numpy arrays, tensors and JSON values;
            parameters called `device`, `dtype` and `checkpoint` receive the device, the dtype's name and a
            `Checkpoint`.
        points: dicts of integers, finite floats, strings, bools, None, and lists or dicts of them.
        device: where `fn` computes; its type ("cpu", "cuda", "mps") is part of the key.
        dtype: the floating-point type `fn` computes in, part of the key.
        label: name of the progress line, by default the function's.
        n_jobs: points computed at a time; by default that of `joblib.parallel_config`, else `$TWELVEFOLD_JOBS`, else 1.
        checkpoint_every: least number of seconds between two checkpoints of a point.

    Returns:
        One dict per point; tensors have become numpy arrays, tuples lists.

    Raises:
        TypeError, ValueError: `fn`, a point or another argument is not accepted.
        SweepError: points failed; those that did not are stored.
        CacheError: the cache folder is full or cannot be written to.
    """
    tasks = _tasks(fn, points, device, dtype, checkpoint_every)
    if not tasks:
        return []
    unique = {task.key: task for task in tasks}
    _refuse_recursion(unique.values())
    store = Store(Path(tasks[0].cache))
    entries: dict[str, Entry] = {}
    failures: list[Outcome] = []
    for outcome in _shown(_outcomes(store, unique, n_jobs), label or fn.__name__, len(unique)):
        if outcome.error is not None:
            failures.append(outcome)
        else:
            entries[outcome.key] = _accounted(outcome, store)
    if failures:
        raise _failure(fn, failures, unique) from failures[0].error
    return _results(tasks, entries)


def costs() -> Costs:
    """Return the cold costs of all entries that this process read but did not compute itself, each counted once.

    Entries computed in workers count as read. With the process's own CPU time this makes the cost of a run from
    nothing.
    """
    total = _ledger.total()
    return Costs(total.cpu_seconds, total.peak_rss_mb)


def _tasks(fn: Callable[..., Any], points: Iterable[Mapping[str, Any]], device: str | torch.device,
           dtype: str | torch.dtype, checkpoint_every: float) -> list[Task]:
    code = function_key(fn)
    where, kind, settings = _device(device), _dtype(dtype), Settings.of_this_process()
    about = {
        "format": _FORMAT,
        "function": f"{fn.__module__}.{fn.__qualname__}",
        "code": code,
        "dtype": kind,
        "default_dtype": settings.default_dtype,
        "device": where.type,
        "threads": settings.threads,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    if isinstance(points, Mapping):
        raise TypeError(f"points: a single {type(points).__name__} is not accepted; it is a list of dicts: [point]")
    cache, tasks = worker_state.cache or str(cache_folder()), []
    for i, raw in enumerate(points):
        point = normal_point(raw, f"points[{i}]")
        check_arguments(fn, point, f"points[{i}]")
        tasks.append(Task(fn, point, f"points[{i}]", point_key(point, about), {"device": where, "dtype": kind},
                           about, cache, settings, checkpoint_every, process_token()))
    return tasks


def _device(device: str | torch.device) -> torch.device:
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device: {device!r} is not accepted; use 'cpu', 'cuda', 'cuda:N', 'mps' or a torch.device")
    return chosen


def _dtype(dtype: str | torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype: {dtype!r} is not accepted; use 'float32', 'float64', 'bfloat16' or 'float16'")
    return name


def _refuse_recursion(tasks: Iterable[Task]) -> None:
    under_way = {open_frame.key for open_frame in frames()}
    for task in tasks:
        if task.key in under_way:
            raise SweepError(f"{task.about['function']} asks for its own point {task.point} while computing it")


def _outcomes(store: Store, unique: Mapping[str, Task], n_jobs: int | None) -> Iterator[Outcome]:
    """Yield one outcome per task: first of those whose entry is there, then of the others as they are computed."""
    missing = []
    for key, task in unique.items():
        entry = store.read(key)
        if entry is None:
            missing.append(task)
        else:
            yield Outcome(key, task.place, entry=entry)
    if missing:
        yield from _computed(missing, _jobs(n_jobs))


def _computed(tasks: list[Task], jobs: int) -> Iterator[Outcome]:
    if jobs == 1 or (len(tasks) == 1 and jobs > 0):
        yield from map(compute, tasks)
        return
    import joblib

    try:
        # One point per dispatch: a point is heavy, and a batch would come back only when its last one is done.
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
        yield from parallel(joblib.delayed(compute_in_worker)(task) for task in tasks)
    except BrokenExecutor as error:
        raise SweepError(f"a worker process died (was it killed for memory?): {error}; finished points are stored, "
                         "so run again, with fewer jobs (n_jobs, TWELVEFOLD_JOBS) if memory is short") from error


def _jobs(n_jobs: int | None) -> int:
    """Return the number of points computed at a time: the argument, else joblib's configuration, else the variable."""
    if n_jobs is not None:
        if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs == 0:
            raise ValueError(f"n_jobs: {n_jobs!r} is not accepted; use a positive integer, or -1 for all cores")
        return n_jobs
    if worker_state.in_worker:
        return 1  # the outer sweep has spread its points already
    configured = _configured_jobs()
    if configured != 1:
        return configured
    text = os.environ.get("TWELVEFOLD_JOBS", "").strip() or "1"
    if not text.removeprefix("-").isdigit() or int(text) == 0:
        raise ValueError(f"TWELVEFOLD_JOBS: {text!r} is not accepted; use a positive integer, or -1 for all cores")
    return int(text)


def _configured_jobs() -> int:
    if "joblib" not in sys.modules:  # nobody can have configured it
        return 1
    import joblib

    configured = joblib.Parallel().n_jobs
    return 1 if configured is None else int(configured)


def _accounted(outcome: Outcome, store: Store) -> Entry:
    """Return the entry of a finished task, having noted its cost with the process and the enclosing computation."""
    entry = outcome.entry or store.read(outcome.key)
    if entry is None:
        raise CacheError(f"entry {outcome.key} vanished from {store.folder}, or was damaged, right after it was "
                         "written. Does something else clean this folder? Run again, or set TWELVEFOLD_CACHE")
    here = outcome.process == process_token()
    if here:
        _ledger.computed(outcome.key, outcome.before)
    _ledger.read({**entry.nested, **({} if here else {outcome.key: entry.cost})})
    if frames():
        spent = outcome.spent if here else Spent()
        spent = spent if outcome.thread == threading.get_ident() else replace(spent, thread=0.0)
        frames()[-1].add_nested(outcome.key, entry.cost, entry.nested, spent)
    return entry


def _shown(outcomes: Iterator[Outcome], label: str, total: int) -> Iterable[Outcome]:
    if frames() or worker_state.in_worker:
        return outcomes
    from twelvefold.core.progress import progress

    return progress(outcomes, label, total=total)


def _failure(fn: Callable[..., Any], failures: list[Outcome], unique: Mapping[str, Task]) -> SweepError:
    first = failures[0]
    others = f" (also {', '.join(failure.place for failure in failures[1:6])})" if len(failures) > 1 else ""
    point = textwrap.shorten(repr(unique[first.key].point), 300)
    return SweepError(
        f"{fn.__module__}.{fn.__qualname__}: {len(failures)} of {len(unique)} points failed, the others are stored; "
        f"{first.place}{others} = {point}: {type(first.error).__name__}: {first.error}\n{first.details}"
    )


def _results(tasks: list[Task], entries: Mapping[str, Entry]) -> list[dict[str, Any]]:
    results, given = [], set()
    for task in tasks:
        values = entries[task.key].values
        results.append(copy.deepcopy(values) if task.key in given else values)
        given.add(task.key)
    return results
