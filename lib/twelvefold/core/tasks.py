"""One point of a sweep on its way: what a worker needs to compute it, and what comes back."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import torch

from twelvefold.core.checkpoint import Checkpoint
from twelvefold.core.costing import Spent, frame, process_token
from twelvefold.core.points import stored_values
from twelvefold.core.store import CacheError, Cost, Entry, Store


@dataclass(frozen=True)
class Settings:
    """Numerical settings of the asking process, which a worker takes over: they decide about the last digits."""

    threads: int
    default_dtype: str
    deterministic: bool
    warn_only: bool
    cudnn_deterministic: bool
    cudnn_benchmark: bool
    cudnn_tf32: bool
    matmul_precision: str
    cublas_workspace: str | None

    @classmethod
    def of_this_process(cls) -> Settings:
        """Return the settings in force."""
        return cls(
            threads=torch.get_num_threads(),
            default_dtype=str(torch.get_default_dtype()).removeprefix("torch."),
            deterministic=torch.are_deterministic_algorithms_enabled(),
            warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
            cudnn_deterministic=torch.backends.cudnn.deterministic,
            cudnn_benchmark=torch.backends.cudnn.benchmark,
            cudnn_tf32=torch.backends.cudnn.allow_tf32,
            matmul_precision=torch.get_float32_matmul_precision(),
            cublas_workspace=os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        )

    def apply(self) -> None:
        """Put these settings in force in this process."""
        torch.set_num_threads(self.threads)
        torch.set_default_dtype(getattr(torch, self.default_dtype))
        torch.set_deterministic_debug_mode(("warn" if self.warn_only else "error") if self.deterministic else "default")
        torch.backends.cudnn.deterministic = self.cudnn_deterministic
        torch.backends.cudnn.benchmark = self.cudnn_benchmark
        torch.backends.cudnn.allow_tf32 = self.cudnn_tf32
        torch.set_float32_matmul_precision(self.matmul_precision)
        if self.cublas_workspace is not None:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = self.cublas_workspace
        with suppress(ImportError):
            import threadpoolctl

            threadpoolctl.threadpool_limits(self.threads)


@dataclass(frozen=True)
class Task:
    """One point to compute, with all that a worker on another machine needs."""

    fn: Callable[..., Mapping[str, Any]]
    point: dict[str, Any]
    place: str
    key: str
    arguments: dict[str, Any]
    about: dict[str, Any]
    cache: str
    settings: Settings
    checkpoint_every: float
    asker: tuple[str, int]


@dataclass(frozen=True)
class Outcome:
    """What became of a task: who computed the entry (None: it was there), what that used up, or why it failed.

    `before` is what killed predecessors had spent on it. `entry` is set when the entry was read already; a worker
    leaves it in the store instead of sending it.
    """

    key: str
    place: str
    process: tuple[str, int] | None = None
    thread: int = 0
    spent: Spent = Spent()
    before: Cost = Cost(0.0, 0.0)
    error: BaseException | None = None
    details: str = ""
    entry: Entry | None = None


class _Local(threading.local):
    """What a nested sweep has to know of the worker that it runs in."""

    def __init__(self) -> None:
        self.in_worker = False
        self.cache: str | None = None


worker_state = _Local()


def compute_in_worker(task: Task) -> Outcome:
    """Compute a task in a process or thread that joblib chose."""
    before = worker_state.in_worker, worker_state.cache
    worker_state.in_worker, worker_state.cache = True, task.cache
    try:
        if task.asker != process_token():
            task.settings.apply()
        outcome = compute(task)
        return outcome if outcome.error is None else replace(outcome, error=_portable(outcome.error))
    finally:
        worker_state.in_worker, worker_state.cache = before


def compute(task: Task) -> Outcome:
    """Compute and store one entry under its lock, unless another process stored it meanwhile."""
    store = Store(Path(task.cache))
    with _locked(store, task):
        if store.read(task.key) is not None:
            return Outcome(task.key, task.place)
        store.remove_leftovers(task.key)
        with frame(task.key) as current:
            checkpoint = Checkpoint(store.file(task.key, ".checkpoint"), task.checkpoint_every, current.cost)
            try:
                values = stored_values(_call(task, checkpoint), task.about["function"])
            except CacheError:
                raise
            except Exception as error:
                return Outcome(task.key, task.place, error=error, details=traceback.format_exc())
            own = current.cost()
            cost = Cost(own.cpu_seconds + checkpoint.spent.cpu_seconds,
                        max(own.peak_rss_mb, checkpoint.spent.peak_rss_mb))
            store.write(task.key, values, cost, current.nested, {**task.about, "point": task.point})
            checkpoint.remove()
            return Outcome(task.key, task.place, process_token(), threading.get_ident(), current.elapsed(),
                            checkpoint.spent)


def _call(task: Task, checkpoint: Checkpoint) -> Any:
    accepted = inspect.signature(task.fn).parameters
    given = {name: value for name, value in {**task.arguments, "checkpoint": checkpoint}.items() if name in accepted}
    return task.fn(**{**given, **copy.deepcopy(task.point)})


@contextmanager
def _locked(store: Store, task: Task) -> Iterator[None]:
    path = store.file(task.key, ".lock")
    lock = filelock.FileLock(path)
    with store.explained():
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, task)
    try:
        yield
        # Safe: whoever waits for the removed file, and whoever makes a new one, finds the finished entry.
        if store.file(task.key, ".json").exists():
            with suppress(OSError):
                path.unlink()
    finally:
        lock.release()


def _acquire(lock: filelock.BaseFileLock, task: Task) -> None:
    try:
        lock.acquire(timeout=10, poll_interval=0.05)
    except filelock.Timeout:
        print(f"waiting for another process that computes {task.about['function']} {task.point}", file=sys.stderr)
        lock.acquire(poll_interval=0.2)


def _portable(error: BaseException) -> BaseException:
    """Return `error` if it survives the way between processes, else one with the same text."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
