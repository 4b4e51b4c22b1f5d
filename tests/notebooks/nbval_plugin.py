"""Pytest plug-in for the nbval pass over `notebooks/`: kernels as the runner starts them.

nbval starts each kernel with TCP ports, by the name written in the notebook and in pytest's environment. Ports collide
on busy machines, a named kernel may be another Python, and a result should not depend on who executed it. Load it from
the root of the project with `python -m pytest -p tests.notebooks.nbval_plugin` (`-m` makes the root importable); xdist
hands the option on to its workers.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nbval.kernel
import pytest
from jupyter_client.manager import KernelManager
from twelvefold.run import launcher
from twelvefold.run.kernel import (
    SHUTDOWN_WAIT,
    kernel_environment,
    private_folder,
    sweep_private_folders,
    transport_for,
)

ROOT = Path(__file__).resolve().parents[2]


class PrivateKernelManager(KernelManager):
    """A kernel manager with sockets in a folder of its own, the runner's launcher, and a polite, short shutdown.

    The default names of IPC sockets are the same for every kernel started in one folder, so two kernels would meet.
    The launcher makes the system end a kernel whose pytest was killed.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._resources = ExitStack()
        self._folder = folder = self._resources.enter_context(private_folder())
        self.shutdown_wait_time = SHUTDOWN_WAIT
        self.connection_file = str(folder / "c.json")
        self.transport = transport_for(folder)
        if self.transport == "ipc":
            self.ip = str(folder / "k")

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """The kernel's command, with the launcher in place of `-m ipykernel_launcher`."""
        command = super().format_kernel_cmd(extra_arguments)
        at = command.index("ipykernel_launcher") - 1
        return [*command[:at], str(Path(launcher.__file__)), *command[at + 2 :]]

    async def _async_pre_start_kernel(self, **kw: Any) -> Any:
        out = os.environ.get("TWELVEFOLD_OUT") or ROOT / ".twelvefold/scratch/quick"
        kw["env"] = kernel_environment(ROOT, Path(out), self._folder, {})
        return await super()._async_pre_start_kernel(**kw)

    def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        """Ask before killing, also where nbval says `now`: a killed kernel leaves shared memory of loky behind."""
        super().shutdown_kernel(now=False, restart=restart)

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        await super()._async_cleanup_resources(restart=restart)
        if not restart:
            self._resources.close()


def pytest_configure(config: pytest.Config) -> None:
    """The running interpreter instead of the notebook's kernel name, our manager, and what is not compared."""
    config.option.nbval_current_env = True
    config.option.nbval_sanitize_with = str(Path(__file__).with_name("sanitize.cfg"))
    nbval.kernel.KernelManager = PrivateKernelManager
    sweep_private_folders()
