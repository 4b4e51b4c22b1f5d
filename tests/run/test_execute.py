"""One notebook in one kernel: what it sees, what it leaves, how it fails."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from toytree import write_notebook
from twelvefold.run import execute as module
from twelvefold.run.execute import Attempt, Job, check_parameters, execute, read_parameters, run_job
from twelvefold.run.jobs import ParameterProblem

PARAMETERS = 'preset = "quick"\nseed = 0\ndevice = "auto"'
GIVEN = {"preset": "gpu", "seed": 3, "device": "cpu"}


def job(root: Path, *cells: str, name: str = "toy/01_alpha") -> Job:
    source = write_notebook(root / "notebooks" / f"{name}.py", PARAMETERS, *cells)
    return Job(name, source, root, root / ".twelvefold/staging/run", dict(GIVEN))


def outputs(attempt: Attempt) -> list[str]:
    cells = json.loads((attempt.stage / "out.ipynb").read_text())["cells"]
    return ["".join(out["text"]) for cell in cells for out in cell.get("outputs", []) if out["output_type"] == "stream"]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the transport of every kernel that is started."""
    started: list[str] = []
    real = module.kernel_config

    def noted(folder: Path, transport: str) -> Any:
        started.append(transport)
        return real(folder, transport)

    monkeypatch.setattr(module, "kernel_config", noted)
    return started


LOOK = """
import os, sys
print(preset, seed, device)
print(os.getcwd())
print(sys.executable)
print(os.environ["TWELVEFOLD_OUT"], os.environ["PYTHONHASHSEED"], os.environ["OMP_NUM_THREADS"])
print([m for m in ("jobs", "launcher", "schedule") if __import__("importlib").util.find_spec(m)])
print("to stderr", file=sys.stderr)
"""


def test_notebook_sees_its_parameters_folder_and_environment(tmp_path: Path, kernels: list[str]) -> None:
    before = dict(os.environ), os.getcwd(), list(sys.path)
    task = job(tmp_path, LOOK.strip())
    attempt = execute(task)
    assert attempt.ok and attempt.message == "" and attempt.stage.parent == task.staging
    lines = "".join(outputs(attempt)).splitlines()
    assert lines[0] == "gpu 3 cpu"
    assert Path(lines[1]) == task.source.parent
    assert lines[2] == sys.executable
    assert lines[3] == f"{attempt.stage / 'results'} 0 1"
    assert lines[4] == "[]", "the runner's modules must not be importable by bare names"
    assert "gpu 3 cpu" in (attempt.stage / "log.txt").read_text()
    assert kernels == ["ipc"]
    assert (dict(os.environ), os.getcwd(), list(sys.path)) == before


def test_error_is_told_with_its_cell_and_is_not_repeated(tmp_path: Path, kernels: list[str]) -> None:
    bad = "def f():\n    raise ValueError('too\\nbad')\nf()"
    attempt = execute(job(tmp_path, "print('fine')", bad, "print('never')"))
    assert not attempt.ok
    assert attempt.message == "cell 3: ValueError: too bad"
    assert outputs(attempt) == ["fine\n"]
    log = (attempt.stage / "log.txt").read_text()
    assert "fine" in log and "Traceback" in log and "\x1b" not in log
    assert len(kernels) == 1


def test_dead_kernel_is_told_with_its_cell_and_is_not_repeated(tmp_path: Path, kernels: list[str]) -> None:
    text = "import os, sys\nos.write(2, b'last words')\nos._exit(3)"
    attempt = execute(job(tmp_path, "x = 1", text))
    assert not attempt.ok and attempt.message.startswith("cell 3: DeadKernelError")
    assert len(kernels) == 1


def test_kernel_that_does_not_start_is_tried_once_more_over_tcp(
    tmp_path: Path, kernels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.kernel_manager_class

    def broken_at_first(handle: Any) -> type:
        if len(kernels) == 1:
            handle.environment = {"PYTHONHOME": "/nowhere"}
        return real(handle)

    monkeypatch.setattr(module, "kernel_manager_class", broken_at_first)
    attempt = execute(job(tmp_path, "print('up')"))
    assert attempt.ok, attempt.message
    assert kernels == ["ipc", "tcp"]


def test_kernel_that_never_starts_is_given_up_after_the_second_try(
    tmp_path: Path, kernels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "kernel_environment", lambda *args: {"PYTHONHOME": "/nowhere"})
    attempt = execute(job(tmp_path, "print('up')"))
    assert not attempt.ok and attempt.message.startswith("the kernel did not start: ")
    assert len(kernels) == 2
    assert "/nowhere" in (attempt.stage / "log.txt").read_text(), "the interpreter's own words must be kept"


def test_unwanted_notebook_is_killed(tmp_path: Path, kernels: list[str]) -> None:
    ready = tmp_path / "ready"
    text = f"import time\nopen({str(ready)!r}, 'w').close()\ntime.sleep(600)"
    attempt = execute(job(tmp_path, text), wanted=lambda: not ready.exists())
    assert not attempt.ok and len(kernels) == 1


def test_progress_of_cells_and_of_the_kernel_is_forwarded(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    forwarded = tmp_path / "forwarded"

    def forward(event: dict[str, Any]) -> None:
        seen.append(event)
        if "label" in event:
            forwarded.touch()

    text = (
        "import json, os, time\npath = os.environ['TWELVEFOLD_PROGRESS']\n"
        "json.dump({'label': 'counting', 'done': 2, 'total': 4}, open(path + '.tmp', 'w'))\n"
        f"os.replace(path + '.tmp', path)\nwhile not os.path.exists({str(forwarded)!r}): time.sleep(.05)"
    )
    assert execute(job(tmp_path, text), forward=forward).ok
    assert [event["cell"] for event in seen if "cell" in event] == [1, 2]
    assert {"name": "toy/01_alpha", "label": "counting", "done": 2, "total": 4} in seen


def test_two_kernels_in_one_folder_do_not_meet(tmp_path: Path, kernels: list[str]) -> None:
    cell = "for i in range(20): print(preset, {0})"
    tasks = [job(tmp_path, cell.format(k), name=f"toy/0{k}_alpha") for k in (1, 2)]
    found: dict[str, Attempt] = {}
    threads = [threading.Thread(target=lambda t=task: found.update({t.name: execute(t)})) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for number, task in enumerate(tasks, 1):
        assert found[task.name].ok, found[task.name].message
        assert "".join(outputs(found[task.name])) == f"gpu {number}\n" * 20
    assert kernels == ["ipc", "ipc"], "each at its first try"


def test_third_attempt_is_refused(tmp_path: Path) -> None:
    task = job(tmp_path, "print(1)")
    assert module._count_attempt(task) and module._count_attempt(task)
    attempt = run_job(task)
    assert not attempt.ok and "died 2 times" in attempt.message
    assert not (tmp_path / "out").exists() and not list(task.staging.glob("*/in.ipynb"))


def test_parameters_are_read_from_the_tagged_cell(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "a.py", 'preset: str = "quick"  # which\nseed = 0', "device = 1")
    assert read_parameters(path) == ["preset", "seed"]
    check_parameters(path, {"preset": "quick", "seed": 1})


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["x = 1"], r'has no cell tagged "parameters"'),
        (['preset = "quick"', "seed = 1\ndevice = 2"], r"does not assign seed, device \(it assigns preset\)"),
        (["preset\nseed"], r"does not assign preset, seed, device \(it assigns nothing\)"),
    ],
)
def test_unknown_parameters_are_refused(tmp_path: Path, cells: list[str], words: str) -> None:
    with pytest.raises(ParameterProblem, match=words):
        check_parameters(write_notebook(tmp_path / "a.py", *cells), GIVEN)
