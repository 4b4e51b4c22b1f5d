"""Somebody else's scheduler: refused when it cannot work, used when it can, left in order when we go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toytree import NAMES, ToyTree, wait_for
from twelvefold.run import cluster
from twelvefold.run.jobs import ClusterProblem

ALPHA, BETA, GAMMA = NAMES


class External:
    """A scheduler and workers without nannies, started by command line as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        wait_for(lambda: self._read("scheduler.json"), "the scheduler")
        self.address = json.loads(self._read("scheduler.json"))["address"]

    def _read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def _start(self, kind: str, *options: str) -> subprocess.Popen[bytes]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("TWELVEFOLD_", "TOY_"))}
        where = str(self.folder / "scheduler.json")
        command = [sys.executable, "-m", "dask", kind, "--scheduler-file", where, *options]
        with open(self.folder / f"{kind}.log", "ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=kept)

    def add_worker(self, resources: str = "NB=1") -> subprocess.Popen[bytes]:
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--resources", resources)
        self.workers.append(self._start("worker", *options))
        return self.workers[-1]

    def alive(self) -> int:
        return sum(worker.poll() is None for worker in self.workers)

    def wait_for_workers(self, count: int) -> None:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=90)

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[External]:
    made = External(tmp_path_factory.mktemp("external"))
    try:
        for _ in range(2):
            made.add_worker()
        made.wait_for_workers(2)
        yield made
    finally:
        made.stop()


def stays(tree: ToyTree, name: str, text: str) -> Path:
    ready = tree.root / f"ready-{name[7:]}"
    code = f"import os, time\nopen({str(ready)!r}, 'a').write(str(os.getppid()) + ' ')\n{text}\nprint("
    tree.write_notebook(name, ("print(", code))
    return ready


def pids(ready: Path) -> list[str]:
    """Process ids of the workers whose kernels have said that they are there."""
    return ready.read_text().split() if ready.exists() else []


def kernel_is_gone(tree: ToyTree) -> None:
    """The kernel was started by a foreign worker; the notebook's own environment gives it away."""
    import psutil

    def running() -> bool:
        for process in psutil.process_iter():
            try:
                if str(tree.root) in process.environ().get("TWELVEFOLD_OUT", "") and process.status() != "zombie":
                    return True
            except psutil.Error:
                continue
        return False

    wait_for(lambda: not running(), "the end of the kernel", 10)


def test_notebooks_run_on_the_cluster(light: ToyTree, external: External) -> None:
    result = light.run((ALPHA, BETA), force=True, cluster=external.address)
    assert result.status() == {ALPHA: "done", BETA: "done"}, result.output
    assert external.alive() == 2 and not list((light.root / ".twelvefold").glob(".nonce*"))
    kernel_is_gone(light)


def test_unmet_demand_is_refused_with_the_numbers(light: ToyTree, external: External) -> None:
    header = "# ---\n# twelvefold: {memory_gb: 64}\n# ---\n"
    light.write_notebook(BETA, ("# %% [markdown]", header + "# %% [markdown]"))
    result = light.run((BETA,), preset="paper", device="cpu", cluster=external.address)
    assert result.code == 2
    assert "no worker can take toy/02_beta needs MEM=64 NB=1. The workers offer: NB=1." in result.output


def test_interrupt_ends_the_notebook_and_leaves_the_cluster(light: ToyTree, external: External) -> None:
    ready = stays(light, ALPHA, "time.sleep(600)")
    process = light.start((ALPHA,), cluster=external.address)
    wait_for(ready.exists, "the notebook", runner=process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in output, output
    kernel_is_gone(light)
    assert external.alive() == 2


def test_kernel_dies_with_a_killed_runner(light: ToyTree, external: External) -> None:
    ready = stays(light, ALPHA, "time.sleep(600)")
    process = light.start((ALPHA,), cluster=external.address)
    wait_for(ready.exists, "the notebook", runner=process)
    process.kill()
    process.communicate(timeout=60)
    kernel_is_gone(light)
    assert external.alive() == 2


def test_lost_worker_has_its_notebook_repeated_elsewhere(light: ToyTree, external: External) -> None:
    gate = light.root / "gate"
    ready = stays(light, ALPHA, f"while not os.path.exists({str(gate)!r}): time.sleep(.05)")
    process = light.start((ALPHA,), cluster=external.address)
    first = int(wait_for(lambda: pids(ready), "the notebook", runner=process)[0])
    lost = next(worker for worker in external.workers if worker.pid == first)
    lost.kill()
    lost.wait()
    second = int(wait_for(lambda: pids(ready)[1:], "the repetition", runner=process)[0])
    gate.touch()
    result = light.finish(process)
    assert second != first and result.status() == {ALPHA: "done"}, result.output
    external.workers.remove(lost)


def test_scheduler_without_workers_and_no_scheduler_at_all(
    tmp_path: Path, light: ToyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    lonely = External(tmp_path)
    short = "import twelvefold.run.cluster as c; c.CONNECT_SECONDS = c.WORKER_SECONDS = 2"
    try:
        result = light.run((ALPHA,), short, force=True, cluster=lonely.address)
        assert result.code == 2 and "has no worker after 2 s: start some with `dask worker tcp://" in result.output
    finally:
        lonely.stop()
    result = light.run((ALPHA,), short, force=True, cluster=lonely.address)
    assert result.code == 2 and "no scheduler answers within 2 s" in result.output
    assert light.run((BETA,), cluster=lonely.address).status() == {BETA: "skipped"}, "nothing to do: nobody is asked"


class FakeClient:
    """Answers like a client whose workers look around and find `found`."""

    def __init__(self, found: Any, minor: str = "3.11") -> None:
        self.found, self.minor = found, minor

    def run(self, look: Any, *args: Any, on_error: str) -> dict[str, Any]:
        answer = look(*args)
        return {"tcp://w:1": answer | self.found if isinstance(self.found, dict) else self.found}

    def get_versions(self) -> dict[str, Any]:
        ours, theirs = ({"host": {"python": f"{minor}.7.final.0"}} for minor in ("3.11", self.minor))
        return {"client": ours, "scheduler": ours, "workers": {"tcp://w:1": theirs}}


def test_good_workers_pass(tmp_path: Path) -> None:
    cluster._check_workers(FakeClient({}), tmp_path, tmp_path / "cache")
    cluster._check_python(FakeClient({}))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"unseen": ["/far/.twelvefold/.nonce"]}, "does not see /far/.twelvefold: mount that file system there"),
        ({"package": None}, "cannot import twelvefold: start the workers in the environment"),
        ({"package": "/other", "digest": "x"}, "has other code in /other than .*check out the same commit"),
        ({"versions": dict.fromkeys(cluster._DISTRIBUTIONS) | {"torch": "1.0"}}, "has torch 1.0, here is"),
        (OSError("broken"), "cannot be asked"),
    ],
)
def test_workers_that_differ_are_refused(tmp_path: Path, found: Any, words: str) -> None:
    with pytest.raises(ClusterProblem, match=f"worker tcp://w:1: {words}"):
        cluster._check_workers(FakeClient(found), tmp_path, tmp_path)


def test_another_python_is_refused() -> None:
    with pytest.raises(ClusterProblem, match=r"this is Python 3\.11, but worker tcp://w:1 runs Python 3\.12"):
        cluster._check_python(FakeClient({}, "3.12"))


def test_file_that_a_worker_sees_with_another_text_counts_as_unseen(tmp_path: Path) -> None:
    (tmp_path / "nonce").write_text("old")
    found = cluster._probe()([], [str(tmp_path / "nonce"), str(tmp_path / "none")], "new")
    assert len(found["unseen"]) == 2 and found["package"].endswith("twelvefold")


@pytest.mark.parametrize("address", ["localhost:8786", "", "http://host:1", "tcp://"])
def test_address_must_have_its_form(address: str) -> None:
    with pytest.raises(ClusterProblem, match=f"cluster={address!r} is no scheduler's address"):
        cluster.check_address(address)


def test_lost_scheduler_fails_what_was_running(tmp_path: Path, light: ToyTree) -> None:
    own = External(tmp_path)
    try:
        own.add_worker()
        own.wait_for_workers(1)
        ready = stays(light, ALPHA, "time.sleep(600)")
        process = light.start((ALPHA, BETA), cluster=own.address)
        wait_for(ready.exists, "the notebook", runner=process)
        own.scheduler.kill()
        result = light.finish(process)
        assert result.status() == {ALPHA: "failed", BETA: "skipped"}, result.output
        assert "connection to the scheduler was lost" in result.of(ALPHA)["message"]
        kernel_is_gone(light)
    finally:
        own.stop()
