"""The workers: processes of our own on this machine, or those behind the address of somebody's scheduler."""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twelvefold.run.demands import QUICK_GB
from twelvefold.run.jobs import ClusterProblem

CONNECT_SECONDS = 10
WORKER_SECONDS = 20
_ADDRESS = re.compile(r"(tcp|tls|ws|wss|ucx|inproc)://\S+")
# a result depends on these, or the execution itself does
_DISTRIBUTIONS = ("distributed", "dask", "numpy", "torch", "papermill", "nbclient", "jupytext", "ipykernel")


@dataclass
class Session:
    """A connected cluster. `workers` maps addresses to resources; `devices_each` CUDA devices go to each own worker."""

    client: Any
    own: bool
    workers: dict[str, dict[str, float]]
    devices: tuple[str, ...] = ()
    devices_each: int = 0


def check_address(address: str) -> str:
    """Return the address when it has the form of a scheduler's address.

    Raises:
        ClusterProblem: otherwise.
    """
    if not _ADDRESS.fullmatch(address):
        raise ClusterProblem(f"cluster={address!r} is no scheduler's address: something like tcp://host:8786 is needed")
    return address


def count_workers(notebooks: int, jobs: int | None, demands: Mapping[str, Mapping[str, float]], devices: int) -> int:
    """Return how many workers of our own to start: at most one per notebook and processor core, and what memory allows.

    `jobs` replaces the number of cores and the guard of 1.3 GB per worker, but not the notebooks' own demands.
    """
    from dask.system import cpu_count

    largest = max((need.get("MEM", 0.0) for need in demands.values()), default=0.0)
    gpu = max((need.get("GPU", 0.0) for need in demands.values()), default=0.0)
    limits = [notebooks, jobs or cpu_count()]
    if largest or jobs is None:
        limits.append(int(free_memory_gb() / (largest or QUICK_GB)))
    if gpu:
        limits.append(int(devices / gpu))
    return max(1, min(limits))


def free_memory_gb() -> float:
    """Memory that new processes may take on this machine or in this container, in GB."""
    import psutil
    from distributed.system import MEMORY_LIMIT

    return float(min(MEMORY_LIMIT, psutil.virtual_memory().available)) / 1e9


def cuda_devices() -> tuple[str, ...]:
    """The CUDA devices of this machine, as CUDA_VISIBLE_DEVICES would name them."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if named:
        return tuple(named)
    import torch

    return tuple(str(index) for index in range(torch.cuda.device_count()))


@contextmanager
def own_cluster(notebooks: int, jobs: int | None, demands: Mapping[str, Mapping[str, float]]) -> Iterator[Session]:
    """Start single-thread worker processes on this machine and end them afterwards.

    Each offers `NB=1`, an equal share of the memory (`MEM`, in GB) and, when a notebook asks for one, of the CUDA
    devices.
    """
    import dask
    from distributed import Client, LocalCluster

    devices = cuda_devices() if any("GPU" in need for need in demands.values()) else ()
    count = count_workers(notebooks, jobs, demands, len(devices))
    each = len(devices) // count
    resources = {"NB": 1.0, "MEM": free_memory_gb() / count, "GPU": float(each)}
    settings = {
        "distributed.scheduler.allowed-failures": 1,
        # so long after a loss the cluster gives up a worker that is not there, also one that is just being restarted
        "distributed.deploy.lost-worker-timeout": "100 days",
        "distributed.nanny.pre-spawn-environ": {},
        "distributed.worker.multiprocessing-method": "spawn",
    }
    with dask.config.set(settings):
        with (
            LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # the kernels, not the workers, hold the memory
                dashboard_address="127.0.0.1:0",  # None would still try port 8787
                resources=resources,
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield Session(client, True, worker_resources(client), devices, each)


@contextmanager
def foreign_cluster(address: str, root: Path, cache: Path) -> Iterator[Session]:
    """Connect to a scheduler, and refuse it unless its workers run the same code on the same files.

    `root` is the project and `cache` the sweep cache: both must lie on a file system that the workers see at the same
    paths.

    Raises:
        ClusterProblem: naming what cannot be reached or what differs, with the cure.
    """
    from distributed import Client

    check_address(address)
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ClusterProblem(
            f"cluster={address!r}: no scheduler answers within {CONNECT_SECONDS} s ({reason}): start one with "
            "`dask scheduler` and workers with `dask worker ADDRESS`, or check the address"
        ) from None
    with client:
        _wait_for_workers(client, address)
        _check_python(client)
        _check_workers(client, root, cache)
        yield Session(client, False, worker_resources(client))


def worker_resources(client: Any) -> dict[str, dict[str, float]]:
    """Return the resources of each worker that is there now."""
    # without "workers" when the connection is lost
    workers = client.scheduler_info(n_workers=-1).get("workers", {})
    return {address: dict(worker.get("resources") or {}) for address, worker in workers.items()}


def _wait_for_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except Exception as error:  # the kind of timeout differs between releases
        if "imeout" not in type(error).__name__:
            raise
        raise ClusterProblem(
            f"the scheduler at {address} has no worker after {WORKER_SECONDS} s: start some with "
            f'`dask worker {address} --nthreads 1 --resources "NB=1"`'
        ) from None


def _check_python(client: Any) -> None:
    """Compare the Python versions before any code travels: another one could not even read it."""
    versions = client.get_versions()
    ours = _minor(versions["client"])
    parts = {"the scheduler": versions["scheduler"]} | {f"worker {name}": v for name, v in versions["workers"].items()}
    other = [f"{name} runs Python {_minor(found)}" for name, found in parts.items() if _minor(found) != ours]
    if other:
        raise ClusterProblem(f"this is Python {ours}, but {_some(other)}: start them in this project's environment")


def _minor(versions: Mapping[str, Any]) -> str:
    return ".".join(str(dict(versions["host"])["python"]).split(".")[:2])


def _check_workers(client: Any, root: Path, cache: Path) -> None:
    """Let every worker look at its packages and at files that were written a moment ago."""
    text = uuid.uuid4().hex
    nonces = [folder / f".nonce-{text}" for folder in (root / ".twelvefold", cache)]
    try:
        for nonce in nonces:
            nonce.parent.mkdir(parents=True, exist_ok=True)
            nonce.write_text(text, encoding="utf-8")
        look = _probe()
        arguments = (list(_DISTRIBUTIONS), [str(nonce) for nonce in nonces], text)
        ours = look(*arguments)
        answers = client.run(look, *arguments, on_error="return")
    finally:
        for nonce in nonces:
            nonce.unlink(missing_ok=True)
    problems = [f"worker {name}: {line}" for name, answer in answers.items() for line in _differences(ours, answer)]
    if problems:
        raise ClusterProblem(_some(problems))


def _differences(ours: dict[str, Any], theirs: dict[str, Any] | BaseException) -> list[str]:
    if isinstance(theirs, BaseException):
        return [f"cannot be asked ({type(theirs).__name__}: {theirs})"]
    lines = []
    if theirs["unseen"]:
        folders = ", ".join(str(Path(path).parent) for path in theirs["unseen"])
        lines.append(f"does not see {folders}: mount that file system there at the same path")
    install = "start the workers in the environment of this project (its .venv, or the same pins)"
    if theirs["package"] is None:
        lines.append(f"cannot import twelvefold: {install}")
    elif theirs["digest"] != ours["digest"]:
        lines.append(f"has other code in {theirs['package']} than {ours['package']}: check out the same commit there")
    for name, version in ours["versions"].items():
        if theirs["versions"][name] != version:
            lines.append(f"has {name} {theirs['versions'][name]}, here is {version}: {install}")
    return lines


def _some(lines: list[str], most: int = 6) -> str:
    more = f"; and {len(lines) - most} more" if len(lines) > most else ""
    return "; ".join(lines[:most]) + more


def _probe() -> Callable[[list[str], list[str], str], dict[str, Any]]:
    """Make the function that looks around on a worker.

    It is nested so that it travels by value: the worker may not be able to import this package.
    """

    def look(distributions: list[str], nonces: list[str], text: str) -> dict[str, Any]:
        import hashlib
        import importlib.metadata
        import importlib.util
        from pathlib import Path

        versions: dict[str, str | None] = {}
        for name in distributions:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = None
        spec = importlib.util.find_spec("twelvefold")
        package = str(Path(spec.origin).parent) if spec is not None and spec.origin else None
        digest = hashlib.sha256()
        for path in sorted(Path(package).rglob("*.py")) if package else ():
            digest.update(path.relative_to(str(package)).as_posix().encode() + b"\0" + path.read_bytes())
        unseen = [name for name in nonces if not Path(name).is_file() or Path(name).read_text() != text]
        return {"versions": versions, "package": package, "digest": digest.hexdigest(), "unseen": unseen}

    return look
