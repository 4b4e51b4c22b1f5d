"""`lab`: JupyterLab on this machine alone, in which a .py under notebooks/ opens as a notebook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from twelvefold.run.ledger import write_atomically
from twelvefold.run.publish import explain

# JupyterLab's settings, in the layer of defaults: the reader's own settings stay in force and win
SETTINGS = {
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"python": "Jupytext Notebook"}},
    # no question about news at the first start, and no look-up of new versions in the network
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"},
}
_BATCH_ONLY = ("TWELVEFOLD_OUT", "TWELVEFOLD_BATCH", "TWELVEFOLD_PROGRESS", "TWELVEFOLD_CALLER_DIR")


def write_settings(root: Path) -> Path:
    """Write these settings into a Jupyter configuration folder inside the tree; return that folder.

    Raises:
        TreeProblem: when the tree cannot be written.
    """
    folder = root / ".twelvefold" / "jupyter"
    with explain(folder):
        (folder / "labconfig").mkdir(parents=True, exist_ok=True)
        text = json.dumps(SETTINGS, indent=1) + "\n"
        write_atomically(folder / "labconfig" / "default_setting_overrides.json", text.encode())
    return folder


def lab_environment(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the server: notebooks write to the scratch folder and show their widgets."""
    kept = {key: value for key, value in environ.items() if key not in _BATCH_ONLY}
    paths = [str(write_settings(root)), *filter(None, [environ.get("JUPYTER_CONFIG_PATH")])]
    return kept | {"JUPYTER_CONFIG_PATH": os.pathsep.join(paths)}


def lab_command(root: Path, extra: Sequence[str]) -> list[str]:
    """Return the command line of the server: loopback, token, this tree; `extra` comes last and may override."""
    fixed = ["--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={root}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in containers one often is root; the server would refuse
        fixed.append("--allow-root")
    return [sys.executable, "-m", "jupyterlab", *fixed, *extra]


def run_lab(root: Path, extra: Sequence[str]) -> int:
    """Start JupyterLab and return its exit status; where the system can, this process becomes the server.

    Raises:
        TreeProblem: when the tree cannot be written.
    """
    command, environment = lab_command(root, extra), lab_environment(root, os.environ)
    os.chdir(root)
    sys.stdout.flush()
    if os.name == "posix":
        os.execve(command[0], command, environment)
    return subprocess.run(command, env=environment).returncode
