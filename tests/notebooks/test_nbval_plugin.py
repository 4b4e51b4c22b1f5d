"""The nbval plug-in on a toy notebook: sockets, interpreter, batch mode, checked cells, nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROBE = """\
import json, os, psutil, sys
from ipykernel.connect import get_connection_file, get_connection_info
seen = json.loads(get_connection_info())
seen.update(batch=os.environ.get("TWELVEFOLD_BATCH"), python=sys.executable, file=get_connection_file())
seen.update(command=psutil.Process().cmdline())
open("seen-NAME.json", "w").write(json.dumps(seen, default=str))"""


def toy(folder: Path, name: str, printed: str = "3") -> None:
    """Write a notebook of three cells whose last one is compared with the output `printed`."""
    cell = nbformat.v4.new_code_cell
    checked = cell("print(1 + 2)", metadata={"tags": ["nbval-check-output"]})
    checked.outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed + "\n")]
    unchecked = cell("print('anything')")
    unchecked.outputs = [nbformat.v4.new_output("stream", name="stdout", text="something else\n")]
    notebook = nbformat.v4.new_notebook(cells=[cell(PROBE.replace("NAME", name)), unchecked, checked])
    for count, code in enumerate(notebook.cells, start=1):
        code.execution_count = count
    notebook.metadata["kernelspec"] = {"name": "no-such-kernel", "display_name": "none", "language": "python"}
    nbformat.write(notebook, folder / f"{name}.ipynb")


def nbval(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "tests.notebooks.nbval_plugin", "--nbval-lax", "-q"]
    command += ["-p", "no:cacheprovider", *options, str(folder)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=120)


@pytest.mark.parametrize("options", [(), ("-n", "2", "--dist", "loadfile")], ids=["serial", "xdist"])
def test_kernels_get_private_sockets_batch_mode_and_this_interpreter(tmp_path: Path, options: tuple[str, ...]) -> None:
    for name in ("one", "two"):
        toy(tmp_path, name)
    result = nbval(tmp_path, *options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "6 passed" in result.stdout
    seen = [json.loads((tmp_path / f"seen-{name}.json").read_text()) for name in ("one", "two")]
    assert [s["batch"] for s in seen] == ["1", "1"]
    assert [s["python"] for s in seen] == [sys.executable] * 2
    assert all(any(part.endswith("launcher.py") for part in s["command"]) for s in seen)
    folders = {str(Path(s["file"]).parent) for s in seen}
    assert len(folders) == 2 and not any(Path(folder).exists() for folder in folders)
    if os.name != "nt":
        assert [s["transport"] for s in seen] == ["ipc", "ipc"]
        assert all(s["ip"].startswith(str(Path(s["file"]).parent)) for s in seen)


def test_a_changed_output_fails_in_the_tagged_cell_only(tmp_path: Path) -> None:
    toy(tmp_path, "one", printed="4")
    result = nbval(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 failed, 2 passed" in result.stdout


@pytest.mark.parametrize(
    ("printed", "failed"), [("table dips: 9 rows x 5 columns", 0), ("table dip: 6 rows x 5 columns", 1)]
)
def test_rows_of_a_table_are_not_compared_but_its_name_is(tmp_path: Path, printed: str, failed: int) -> None:
    toy(tmp_path, "one", printed)
    file = tmp_path / "one.ipynb"
    file.write_text(file.read_text().replace("print(1 + 2)", "print('table dips: 6 rows x 5 columns')"))
    result = nbval(tmp_path)
    assert result.returncode == failed, result.stdout + result.stderr
