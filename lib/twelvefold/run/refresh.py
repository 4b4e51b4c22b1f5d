"""`refresh`: the executed copies of the last run at quick become the committed .ipynb files; README's tables follow."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twelvefold.run import done
from twelvefold.run.jobs import Notebook, RunError, discover
from twelvefold.run.ledger import update_readme, write_atomically
from twelvefold.run.lock import runner_lock
from twelvefold.run.normalise import NormaliseError, normalise

PRESET = "quick"


def refresh_all(root: Path, only: str | None = None) -> int:
    """Write every notebook that has an up-to-date executed copy, name the others; return 1 when there are any.

    README's tables are written in both cases. The texts (.py) are never touched.

    Raises:
        RunError: nothing fits `only`, a runner is at work, or README or a result is damaged.
    """
    notebooks = discover(root, only)
    refused = 0
    with runner_lock(root):
        for notebook in notebooks:
            reason = why_not(root, notebook)
            if not reason:
                try:
                    print(f"{notebook.name}: {'written' if write_paired(root, notebook) else 'unchanged'}")
                    continue
                except NormaliseError as error:
                    reason = str(error)
            print(f"{notebook.name}: not refreshed: {reason}", file=sys.stderr)
            refused += 1
        print(f"README.md: {'written' if update_readme(root) else 'unchanged'}")
    return 1 if refused else 0


def write_paired(root: Path, notebook: Notebook) -> bool:
    """Write one .ipynb from its executed copy; return whether its bytes changed.

    Raises:
        NormaliseError: when the executed copy cannot become the committed notebook.
    """
    executed = done.executed_path(root, PRESET, 0, notebook.name)
    private = [str(root), str(Path.home())] if str(Path.home()) != "/" else [str(root)]
    return write_atomically(notebook.paired, normalise(notebook.source, executed, private))


def why_not(root: Path, notebook: Notebook) -> str:
    """Return why a notebook has no up-to-date executed copy, with the cure; empty when it has one."""
    cure = f"./run_all.sh run --only {notebook.name}"
    executed = done.executed_path(root, PRESET, 0, notebook.name)
    if not executed.is_file():
        return f"it was not executed on this machine: {cure} --force"
    study = done.result_folder(root, PRESET, 0, notebook.name) / "study.json"
    try:
        device = str(json.loads(study.read_text(encoding="utf-8"))["device"]).partition(":")[0]
        keys = done.current_keys(root, notebook.name, device)
    except (OSError, ValueError, KeyError):
        return f"its results are missing or damaged: {cure}"
    except Exception as error:  # a syntax error in one notebook must not keep the others from being refreshed
        return f"its sources cannot be read: {error}"
    if not done.is_done(root, PRESET, notebook.name, keys):
        return f"it changed since it was executed: {cure}"
    wrong = foreign_parameters(executed)
    return f"its executed copy was made with {wrong}: {cure} --force" if wrong else ""


def foreign_parameters(executed: Path) -> str:
    """Return the parameters of an executed copy that differ from the committed ones (quick, seed 0), as text."""
    try:
        metadata: dict[str, Any] = json.loads(executed.read_text(encoding="utf-8"))["metadata"]
    except (ValueError, KeyError) as error:
        raise RunError(f"{executed} is damaged ({error}): run the notebook again with --force") from None
    given = metadata.get("papermill", {}).get("parameters", {})
    expected = {"preset": PRESET, "seed": 0}
    return ", ".join(f"{key} = {given[key]!r}" for key in expected if given.get(key, expected[key]) != expected[key])
