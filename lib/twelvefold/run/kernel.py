"""The kernel of one notebook: own interpreter, own environment, sockets in a private folder, ended without delay."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A Unix socket's path may have about 100 characters; `k-5` and a reserve come on top of the folder.
LONGEST_FOLDER = 80
# ipykernel may lose the interrupt that precedes a shutdown; the default of 5 s then costs 2.5 s in 5 % of the kernels.
SHUTDOWN_WAIT = 1.0
_FIXED = {
    "TWELVEFOLD_BATCH": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "JUPYTER_PLATFORM_DIRS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
# what a scheduler's nanny or the caller's shell may have set and a notebook must not see
_DROPPED = ("MALLOC_TRIM_THRESHOLD_", "MPLBACKEND", "JPY_SESSION_NAME", "PYTHONSTARTUP")


@dataclass
class KernelHandle:
    """Reaches the kernel's process from another thread. `pid` is None before the start and after the end."""

    pid: int | None = None
    killed: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    output: Path | None = None

    def kill(self) -> None:
        """Kill the kernel and its process group at once; a kernel that starts afterwards is killed as well."""
        self.killed = True
        if self.pid is None:
            return
        try:
            if hasattr(os, "killpg"):
                os.killpg(self.pid, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGTERM)
        except OSError:
            pass  # it has ended by itself


def kernel_environment(
    root: Path, stage: Path, private: Path, extra: Mapping[str, str], base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the complete environment of a kernel.

    `root/lib` comes first on PYTHONPATH, results go to `stage`, progress to a file in the `private` folder. `extra`
    wins over everything, `base` (default: this process's environment) is what the rest is inherited from.
    """
    environment = dict(os.environ if base is None else base)
    for name in _DROPPED:
        environment.pop(name, None)
    paths = [str(root / "lib"), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    environment |= _FIXED | {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "TWELVEFOLD_OUT": str(stage),
        "TWELVEFOLD_PROGRESS": str(private / "progress.json"),
        "IPYTHONDIR": str(private / "ipython"),  # a user's start-up files must not change a result
    }
    return environment | dict(extra)


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a short folder that only this user can read, named with this process's id, and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-", dir=_short_base()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_private_folders() -> list[Path]:
    """Remove the private folders that killed processes of this user and host left behind; return what was removed."""
    removed = []
    pattern = re.compile(re.escape(_prefix()) + r"([0-9]+)-.+")
    for folder in _short_base().iterdir():
        match = pattern.fullmatch(folder.name)
        if match and _is_mine(folder) and not process_lives(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


def process_lives(pid: int) -> bool:
    """Whether a process with this id exists on this machine (True where that cannot be known)."""
    if os.name == "nt":
        import psutil

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def transport_for(folder: Path) -> str:
    """Return `ipc` where Unix sockets work in this folder, else `tcp`."""
    works = hasattr(os, "killpg") and len(os.fsencode(folder)) <= LONGEST_FOLDER
    return "ipc" if works else "tcp"


def kernel_config(folder: Path, transport: str) -> Any:
    """Return the traitlets configuration: sockets and connection file in `folder`, quick shutdown.

    Without an own `ip` two kernels started in one working directory share the socket names `kernel-ipc-1..5` and
    answer each other.
    """
    from traitlets.config import Config

    settings: dict[str, Any] = {"connection_file": str(folder / "c.json"), "shutdown_wait_time": SHUTDOWN_WAIT}
    if transport == "ipc":
        settings |= {"transport": "ipc", "ip": str(folder / "k")}
    return Config({"KernelManager": settings})


def kernel_manager_class(handle: KernelHandle) -> type:
    """Return a kernel manager class that starts this interpreter with our launcher and reports through `handle`.

    The environment travels with the class: it must never go through `os.environ`, which all notebooks of a worker
    share.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    launcher = str(Path(__file__).with_name("launcher.py"))
    command = [sys.executable, launcher, "-f", "{connection_file}"]
    spec = KernelSpec(argv=command, display_name="Python 3", language="python")

    class RunnerKernelManager(AsyncKernelManager):
        """Ignores the installed kernel specifications: `python3` may be registered for another interpreter."""

        @property
        def kernel_spec(self) -> KernelSpec:
            return spec

        async def _async_pre_start_kernel(self, **kw: Any) -> Any:
            kw["env"] = dict(handle.environment)
            return await super()._async_pre_start_kernel(**kw)

        async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
            with open(handle.output or os.devnull, "ab") as output:
                await super()._async_launch_kernel(kernel_cmd, stdout=output, stderr=output, **kw)
            handle.pid = getattr(self.provisioner, "pid", None)
            if handle.killed:
                handle.kill()

        async def _async_cleanup_resources(self, restart: bool = False) -> None:
            handle.pid = None
            await super()._async_cleanup_resources(restart=restart)

    return RunnerKernelManager


def _prefix() -> str:
    # Containers may share a temporary folder but not their process ids: the host's name keeps them apart.
    host = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    return f"tf-{zlib.crc32(host.encode()) & 0xFFFF:04x}-"


def _short_base() -> Path:
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(base)) > LONGEST_FOLDER - 30 and os.access("/tmp", os.W_OK):
        return Path("/tmp")
    return base


def _is_mine(folder: Path) -> bool:
    try:
        return not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
    except OSError:
        return False
