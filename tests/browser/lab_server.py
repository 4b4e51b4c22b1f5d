"""Starts `python -m twelvefold lab` for a tree in Jupyter folders of its own and ends it, kernels included."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

START_LIMIT = 60.0  # seconds until the server must have written its address


@dataclass(frozen=True)
class Server:
    """A running JupyterLab: `url` ends with a slash, `process` is the command that was started."""

    url: str
    host: str
    token: str
    process: subprocess.Popen[bytes]
    log: Path

    def page(self, path: str) -> str:
        """Address that opens `path` (relative to the tree), and no other tab, with its default viewer."""
        return f"{self.url}lab/tree/{path}?token={self.token}&reset"


@contextmanager
def lab_server(root: Path, folder: Path, **extra: str) -> Iterator[Server]:
    """Start the command for the tree `root`, with its Jupyter folders in `folder`; end it and its children at exit."""
    environment = jupyter_environment(folder) | extra
    log = folder / "lab.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "twelvefold", "lab", "--no-browser"],
            cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            preexec_fn=die_with_parent if sys.platform.startswith("linux") else None,
        )
        try:
            info = wait_for_address(Path(environment["JUPYTER_RUNTIME_DIR"]), process, log)
            yield Server(info["url"], info["hostname"], info["token"], process, log)
        finally:
            end(process)


def jupyter_environment(folder: Path) -> dict[str, str]:
    """The environment with every folder that Jupyter and IPython write to moved into `folder`; not a batch run."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "TWELVEFOLD_BATCH"))}
    for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
        environment[f"JUPYTER_{name}"] = str(folder / name.lower())
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(folder / "settings")
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / "workspaces")
    environment["IPYTHONDIR"] = str(folder / "ipython")
    environment["OMP_NUM_THREADS"] = "1"
    environment["PYTHON_BROWSER"] = environment["BROWSER"] = "true"
    return environment


def wait_for_address(runtime: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    """Read the file in which a Jupyter server says where it listens; fails with the log when the server ends."""
    end_of_wait = time.monotonic() + START_LIMIT
    while time.monotonic() < end_of_wait:
        for file in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(file.read_text())
            except ValueError:
                pass  # half written: read again
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start (exit status {process.poll()}):\n{log.read_text()[-4000:]}")


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM lets the server end its kernels; whatever of them is left after twenty seconds is killed."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)] \
        if process.poll() is None else []
    if family:
        process.terminate()
    _, alive = psutil.wait_procs(family, timeout=20)
    for survivor in alive:
        survivor.kill()
    process.wait(timeout=10)


def die_with_parent() -> None:
    """Ask Linux to end this process when the test's process ends, even by SIGKILL (PR_SET_PDEATHSIG = 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
