"""Runs many notebooks: which are stale, in which order, on which workers; one failure never hides the others."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from twelvefold.core import presets
from twelvefold.run import board, demands, done
from twelvefold.run.compare import compare_results, head_results
from twelvefold.run.conclude import conclude, failed, verdict_counts
from twelvefold.run.execute import (
    MOST_ATTEMPTS,
    WORKER_LOST,
    Attempt,
    Job,
    attempts_made,
    check_parameters,
    run_job,
)
from twelvefold.run.jobs import ClusterProblem, Notebook, Outcome, Reporter, RunError, RunnerBusy
from twelvefold.run.kernel import sweep_private_folders
from twelvefold.run.lock import runner_lock
from twelvefold.run.publish import check_writable

__all__ = ["ClusterProblem", "RunnerBusy", "run_notebooks"]

TICK_SECONDS = 0.1
PATIENCE_SECONDS = 60.0  # without any worker; a restarted one is back within seconds
GOODBYE_SECONDS = 2.0  # the watchdogs on somebody else's cluster need one poll to kill their kernels
_INHERITED = ("TWELVEFOLD_CACHE", "TWELVEFOLD_DATA", "TWELVEFOLD_JOBS")


class ArgumentProblem(RunError):
    """An argument of run_notebooks that is not accepted."""


@dataclass
class _Run:
    """The state of one call."""

    root: Path
    preset: str
    seed: int
    device: str
    device_class: str
    reporter: Reporter
    staging: Path
    in_git: bool = False
    keys: dict[str, done.Keys] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def settle(self, outcome: Outcome) -> None:
        self.outcomes[outcome.name] = outcome
        self.reporter.update(outcome.name, outcome.status, board.describe(outcome))

    def folder(self, name: str) -> Path:
        return done.result_folder(self.root, self.preset, self.seed, name)

    def older(self, name: str) -> Path:
        """The folder that a new result is compared with: the committed one where there is git."""
        folder = self.folder(name)
        return self.staging / "head" / folder.relative_to(self.root) if self.in_git else folder


def run_notebooks(
    root: Path,
    notebooks: Sequence[Notebook],
    *,
    preset: str,
    seed: int = 0,
    device: str = "auto",
    jobs: int | None = None,
    force: bool = False,
    cluster: str | None = None,
    reporter: Reporter,
) -> list[Outcome]:
    """Bring the results of `notebooks` up to date and return one outcome each, in the order given.

    A notebook is skipped when this machine has run it with the same keys and its files are unchanged (never when
    `force`, never at another seed than 0). Nothing is started when all are skipped. `jobs` is the number of notebooks
    at a time, default the processor cores as far as the memory goes. `cluster` is the address of a Dask scheduler to be
    used instead of processes of our own. Ctrl-C ends the process with status 130.

    Raises:
        PresetError, DeviceError, ArgumentProblem: arguments that are not accepted.
        RunnerBusy: another runner is at work in this tree.
        TreeProblem: the tree is full or read-only.
        ClusterProblem: the cluster cannot be used, or no worker can meet a notebook's demand.
    """
    root = Path(root).resolve()
    _check_arguments(seed, jobs)
    device_class = _device_class(device, preset, cluster)
    if ":" in device:
        jobs = 1  # one given processor: the notebooks take turns
    with runner_lock(root):
        staging = _fresh_staging(root)
        run = _Run(root, preset, seed, device, device_class, reporter, staging)
        check_writable(run.folder("any/00_any").parent.parent)
        reporter.start(notebooks)
        try:
            _run_stale(run, notebooks, jobs, force, cluster)
        except KeyboardInterrupt:
            _interrupted(run, None)
        finally:
            reporter.finish([run.outcomes[n.name] for n in notebooks if n.name in run.outcomes])
            shutil.rmtree(staging, ignore_errors=True)
    return [run.outcomes[notebook.name] for notebook in notebooks]


def _check_arguments(seed: int, jobs: int | None) -> None:
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ArgumentProblem(f"seed={seed!r}: a whole number of at least 0 is needed")
    if jobs is not None and (not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1):
        raise ArgumentProblem(f"jobs={jobs!r}: a whole number of at least 1 is needed, or None for the default")


def _device_class(device: str, preset: str, cluster: str | None) -> str:
    """Return cpu, cuda or mps; torch is only imported where its answer is needed, and never asked about other hosts."""
    presets.check_preset(preset)
    if device == "auto" and preset == "quick":
        return "cpu"
    if cluster is not None:
        return "cuda" if device == "auto" else device.split(":")[0]
    return str(presets.resolve_device(device, preset).type)


def _fresh_staging(root: Path) -> Path:
    """Remove what killed runners left behind (we hold the lock) and make this run's own folder."""
    base = root / ".twelvefold" / "staging"
    sweep_private_folders()
    shutil.rmtree(base, ignore_errors=True)
    staging = base / uuid.uuid4().hex
    check_writable(staging)
    return staging


def _run_stale(run: _Run, notebooks: Sequence[Notebook], jobs: int | None, force: bool, cluster: str | None) -> None:
    if run.seed == 0:
        folders = [run.folder(notebook.name).relative_to(run.root).as_posix() for notebook in notebooks]
        run.in_git = head_results(run.root, folders, run.staging / "head")
    stale = [notebook for notebook in notebooks if not _settled_before(run, notebook, force)]
    if not stale:
        return
    needs = {n.name: demands.read_demands(n.source, run.preset, run.device_class) for n in stale}
    with _open_cluster(run, needs, jobs, cluster) as session:
        try:
            if not any("NB" in worker for worker in session.workers.values()):
                needs = {name: {k: v for k, v in need.items() if k != "NB"} for name, need in needs.items()}
            demands.refuse_unmet(needs, session.workers)
            _submit_and_wait(run, sorted(stale, key=lambda n: -_last_seconds(run, n.name)), needs, session)
        except KeyboardInterrupt:  # here, not further out: leaving the cluster's own block takes seconds
            _interrupted(run, session)


def _settled_before(run: _Run, notebook: Notebook, force: bool) -> bool:
    """Settle a notebook that need not or cannot be started; False when it is to be run."""
    name = notebook.name
    try:
        run.keys[name] = done.current_keys(run.root, name, run.device_class)
        if run.seed == 0 and not force and done.is_done(run.root, run.preset, name, run.keys[name]):
            run.settle(_skipped(run, name))
            return True
        check_parameters(notebook.source, _parameters(run))
        demands.read_demands(notebook.source, run.preset, run.device_class)
    except Exception as error:  # a syntax error, a missing cell: the other notebooks must not suffer
        run.settle(failed(name, 0.0, board.one_line(error)))
        return True
    run.reporter.update(name, "waiting", "")
    return False


def _skipped(run: _Run, name: str) -> Outcome:
    folder = run.folder(name)
    study = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    comparison = compare_results(folder, run.older(name)).kind if run.in_git else "same bytes"
    log = done.executed_path(run.root, run.preset, run.seed, name).with_suffix(".log")
    return Outcome(name, "skipped", study["run"]["seconds"], verdict_counts(study), comparison, "", folder, log)


def _parameters(run: _Run) -> dict[str, Any]:
    return {"preset": run.preset, "seed": run.seed, "device": run.device}


def _last_seconds(run: _Run, name: str) -> float:
    """Seconds of the last recorded run; a notebook that never ran may be the longest, so it goes first."""
    try:
        study = json.loads((run.folder(name) / "study.json").read_text(encoding="utf-8"))
        return float(study["run"]["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return float("inf")


@contextlib.contextmanager
def _open_cluster(
    run: _Run, needs: dict[str, dict[str, float]], jobs: int | None, address: str | None
) -> Iterator[Any]:
    from twelvefold.run import cluster

    if address is None:
        with cluster.own_cluster(len(needs), jobs, needs) as session:
            yield session
    else:
        cache = Path(os.environ.get("TWELVEFOLD_CACHE") or run.root / ".twelvefold" / "cache").resolve()
        with cluster.foreign_cluster(address, run.root, cache) as session:
            yield session


def _submit_and_wait(run: _Run, stale: Sequence[Notebook], needs: dict[str, dict[str, float]], session: Any) -> None:
    """Hand out the notebooks in the given order and settle each as it ends.

    Our own workers get one at a time: the scheduler would queue the others at a worker at once and, when that one is
    lost, count the loss against all of them. A cluster of somebody else may grow with its queue, so it gets all.
    """
    status = board.Board(run.reporter)
    topic = f"twelvefold-{uuid.uuid4().hex}"
    session.client.subscribe_topic(topic, status.receive)
    jobs = {notebook.name: _job(run, notebook, topic, session) for notebook in stale}
    most = len(session.workers) if session.own else len(jobs)
    waiting = list(jobs)
    pending: dict[str, Any] = {}
    seen = time.monotonic()
    while waiting or pending:
        while waiting and len(pending) < most:
            name = waiting.pop(0)
            pending[name] = _submit(session.client, jobs[name], needs[name], -list(jobs).index(name))
        time.sleep(TICK_SECONDS)
        status.show()
        for name in [name for name, future in pending.items() if future.done()]:
            attempt = _attempt(jobs[name], pending.pop(name), status.seconds(name))
            status.forget(name)
            if attempt is None:
                waiting.insert(0, name)
            else:
                run.settle(_concluded(run, attempt))
        seen = _give_up_without_workers(run, pending, session, status, seen)


def _submit(client: Any, job: Job, need: dict[str, float], priority: int) -> Any:
    key = f"{job.name}-{uuid.uuid4().hex}"
    return client.submit(run_job, job, key=key, resources=need, priority=priority, pure=False)


def _job(run: _Run, notebook: Notebook, topic: str, session: Any) -> Job:
    environment = {name: os.environ[name] for name in _INHERITED if os.environ.get(name)}
    return Job(
        notebook.name, notebook.source, run.root, run.staging, _parameters(run), environment, topic,
        os.getpid() if session.own else None, session.devices, session.devices_each,
    )  # fmt: skip


def _attempt(job: Job, future: Any, seconds: float) -> Attempt | None:
    """Return what a finished future holds; what went wrong outside the notebook becomes a message.

    None means: once more. The scheduler counts a lost worker against every notebook that was assigned to it, also those
    that had not begun; what counts is how often this one really began.
    """
    if future.status == "finished":
        return future.result()
    if future.status == "error":
        error = future.exception()
        lost = type(error).__name__ == "KilledWorker"
        if lost and attempts_made(job) < MOST_ATTEMPTS:
            return None
        message = WORKER_LOST if lost else board.one_line(error)
    else:
        message = "the connection to the scheduler was lost while it ran"
    return Attempt(job.name, False, job.staging, seconds, message)


def _concluded(run: _Run, attempt: Attempt) -> Outcome:
    try:
        return conclude(attempt, run.root, run.preset, run.seed, run.keys[attempt.name], run.older(attempt.name))
    except Exception as error:  # whatever happened to this result must not take the others along
        return failed(attempt.name, attempt.seconds, board.one_line(error))


def _give_up_without_workers(
    run: _Run, pending: dict[str, Any], session: Any, status: board.Board, seen: float
) -> float:
    """Settle what is left as failed once no worker has been there for a while; return when one was seen last."""
    from twelvefold.run.cluster import worker_resources

    now = time.monotonic()
    if not pending or now - seen < PATIENCE_SECONDS / 10:
        return seen
    try:
        if worker_resources(session.client):
            return now
    except OSError:
        pass  # the scheduler itself is gone or restarts
    if now - seen > PATIENCE_SECONDS:
        for name in list(pending):
            message = f"no worker has been there for {PATIENCE_SECONDS:.0f} s; start some and run again"
            run.settle(failed(name, status.seconds(name), message))
            pending.pop(name).cancel()
    return seen


def _interrupted(run: _Run, session: Any) -> NoReturn:
    """End at once: closing politely would let the kernels compute on for seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if session is not None and not session.own:
        with contextlib.suppress(Exception):
            session.client.cancel([session.client.futures[key] for key in session.client.futures], force=True)
            time.sleep(GOODBYE_SECONDS)
    for process in multiprocessing.active_children():
        process.kill()
    with contextlib.suppress(Exception):  # a display must give the terminal back
        run.reporter.finish(list(run.outcomes.values()))
    shutil.rmtree(run.staging, ignore_errors=True)
    sweep_private_folders()
    os._exit(130)
