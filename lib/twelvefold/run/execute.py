"""Executes one notebook: in a worker process of the scheduler, into a folder of its own, with a kernel of its own."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from twelvefold.run.jobs import ParameterProblem
from twelvefold.run.kernel import (
    KernelHandle,
    kernel_config,
    kernel_environment,
    kernel_manager_class,
    private_folder,
    transport_for,
)
from twelvefold.run.launcher import die_with_parent
from twelvefold.run.watchdog import Watchdog

MOST_ATTEMPTS = 2  # a notebook whose worker is lost is repeated once: the second loss is probably its own doing
WORKER_LOST = f"its worker process died {MOST_ATTEMPTS} times: most likely the machine ran out of memory"
START_SECONDS = 60


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know about one notebook; `staging` is this run's folder in `.twelvefold/staging`."""

    name: str
    source: Path
    root: Path
    staging: Path
    parameters: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    topic: str = ""
    runner_pid: int | None = None  # the workers' parent; None on somebody else's cluster
    devices: tuple[str, ...] = ()  # CUDA devices to be shared out over the workers, by the worker's number
    devices_each: int = 0


@dataclass(frozen=True)
class Attempt:
    """What one execution left: `stage` holds `out.ipynb`, `log.txt`, `results/<name>/`; `message` if it failed."""

    name: str
    ok: bool
    stage: Path
    seconds: float
    message: str = ""


def read_parameters(source: Path) -> list[str]:
    """Return the names assigned in the cell tagged `parameters` of a py:percent text.

    Raises:
        ParameterProblem: when no cell carries the tag, or the text cannot be read.
    """
    import ast

    import jupytext

    for cell in jupytext.read(source).cells:
        if "parameters" in cell.metadata.get("tags", []):
            assigned = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
            return [node.id for node in assigned if isinstance(node.ctx, ast.Store)]
    raise ParameterProblem(f'{source.name} has no cell tagged "parameters": tag it with `# %% tags=["parameters"]`')


def check_parameters(source: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that the notebook would silently ignore.

    Raises:
        ParameterProblem: naming the unknown parameters and the known ones.
    """
    known = read_parameters(source)
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise ParameterProblem(
            f"{source.name}: its parameters cell does not assign {', '.join(unknown)} (it assigns "
            f"{', '.join(known) or 'nothing'}); add the missing ones with their defaults"
        )


def run_job(job: Job) -> Attempt:
    """Execute one notebook in this worker; called by the scheduler. Failures are returned, not raised."""
    if job.runner_pid is not None:
        die_with_parent(job.runner_pid)
    if not _count_attempt(job):
        return Attempt(job.name, False, job.staging, 0.0, WORKER_LOST)
    context = _task_context(job)
    return execute(job, wanted=context.wanted, forward=context.forward, environment=context.environment)


def execute(
    job: Job,
    *,
    wanted: Callable[[], bool] = lambda: True,
    forward: Callable[[dict[str, Any]], None] = lambda event: None,
    environment: Mapping[str, str] | None = None,
) -> Attempt:
    """Execute a notebook into a fresh stage; a kernel that does not start is tried once more, over TCP.

    `wanted` is polled, see `Watchdog`; `forward` gets events with the keys `name` and `cell`, `cells` or the kernel's
    own progress (`label`, `done`, `total`).
    """
    began = time.perf_counter()
    stage = job.staging / uuid.uuid4().hex
    (stage / "results").mkdir(parents=True)
    cells = _write_input(job.source, stage / "in.ipynb")
    message, transport = "", None
    for _ in range(2):
        handle = KernelHandle(output=stage / "log.txt")
        started = _Cells(job.name, cells, forward)
        with private_folder() as private:
            transport = "tcp" if transport else transport_for(private)
            extra = dict(job.environment) | dict(environment or {})
            handle.environment = kernel_environment(job.root, stage / "results", private, extra)
            send = started.send
            with Watchdog(wanted, handle.kill, private / "progress.json", send) as watchdog:
                message = _papermill(job, stage, private, transport, handle, started)
        if not message or started.any or watchdog.fired:
            break
    return Attempt(job.name, not message, stage, time.perf_counter() - began, message)


class _Cells:
    """Counts the cells as they start and turns what happens into events."""

    def __init__(self, name: str, cells: int, forward: Callable[[dict[str, Any]], None]) -> None:
        self.name, self.cells, self.forward = name, cells, forward
        self.any, self.injected, self.last = False, 0, 0

    def start(self, cell: Any, cell_index: int) -> None:
        self.any = True
        if "injected-parameters" in cell.metadata.get("tags", []):
            self.injected = 1
        else:
            self.last = cell_index + 1 - self.injected
            self.send({"cell": self.last, "cells": self.cells})

    def send(self, event: dict[str, Any]) -> None:
        self.forward({"name": self.name} | event)


def _papermill(
    job: Job, stage: Path, private: Path, transport: str, handle: KernelHandle, cells: _Cells
) -> str:
    """Run the notebook; return an empty text or, when it failed, one line that says where and why."""
    from papermill import PapermillExecutionError, execute_notebook

    with open(stage / "log.txt", "a", encoding="utf-8") as log:
        try:
            execute_notebook(
                str(stage / "in.ipynb"),
                str(stage / "out.ipynb"),
                job.parameters,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                stdout_file=log,
                stderr_file=log,
                start_timeout=START_SECONDS,
                config=kernel_config(private, transport),
                kernel_manager_class=kernel_manager_class(handle),
                on_cell_start=cells.start,
                resources={"metadata": {"path": str(job.source.parent)}},
            )
        except PapermillExecutionError as error:
            number = error.cell_index + 1 - cells.injected
            return _failure(log, f"cell {number}: {_one_line(error.ename, error.evalue)}", str(error))
        except Exception as error:  # a dead kernel, a full disk: the other notebooks must go on
            where = f"cell {cells.last}: " if cells.any else "the kernel did not start: "
            return _failure(log, where + _one_line(type(error).__name__, str(error)), "")
    return ""


def _failure(log: TextIO, message: str, trace: str) -> str:
    try:
        log.write(f"\n{trace or message}\n")
    except OSError:
        pass  # the disk is full: the message says so
    return message


def _one_line(kind: str, text: str) -> str:
    words = " ".join(text.split())
    return f"{kind}: {words}"[:400] if words else kind


def _write_input(source: Path, target: Path) -> int:
    """Write the text as a notebook file (papermill copies a notebook given as an object into its own metadata)."""
    import jupytext
    import nbformat

    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, target)
    return len(notebook.cells)


def attempts_made(job: Job) -> int:
    """How often this notebook has begun in this run, on whatever worker."""
    folder = _attempts_folder(job)
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def _attempts_folder(job: Job) -> Path:
    return job.staging / (job.name.replace("/", "-") + ".attempts")


def _count_attempt(job: Job) -> bool:
    """Note that this notebook begins; False when it has begun too often.

    Counted in the shared tree: a scheduler that somebody else started may allow more repetitions than we want.
    """
    if attempts_made(job) >= MOST_ATTEMPTS:
        return False
    _attempts_folder(job).mkdir(parents=True, exist_ok=True)
    (_attempts_folder(job) / uuid.uuid4().hex).touch()
    return True


@dataclass(frozen=True)
class _Context:
    wanted: Callable[[], bool]
    forward: Callable[[dict[str, Any]], None]
    environment: dict[str, str]


def _task_context(job: Job) -> _Context:
    """What the scheduler's worker around this task provides."""
    from distributed import get_worker
    from distributed.worker import thread_state

    worker, key = get_worker(), thread_state.key

    def wanted() -> bool:
        if worker.status.name in ("closing", "closed", "failed"):
            return False  # the scheduler is gone; this process would wait for the notebook's end
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running")

    environment = {}
    if job.devices_each:
        first = int(worker.name) * job.devices_each
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(job.devices[first : first + job.devices_each])
    return _Context(wanted, lambda event: worker.log_event(job.topic, event), environment)
