"""The kernel's surroundings: environment, private folders, and the launcher that ties it to its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from toytree import wait_for
from twelvefold.run import kernel, launcher
from twelvefold.run.kernel import KernelHandle, kernel_environment, private_folder, sweep_private_folders, transport_for

LINUX = sys.platform.startswith("linux")
DEAD_PID = 2**22 + 1  # above the largest process id of Linux


def test_environment_is_complete_and_leaves_its_base_alone(tmp_path: Path) -> None:
    base = {"PATH": "/bin", "PYTHONPATH": "/other", "MPLBACKEND": "agg", "OMP_NUM_THREADS": "7", "TWELVEFOLD_OUT": "/x"}
    before = dict(base)
    stage, private = tmp_path / "stage", tmp_path / "private"
    made = kernel_environment(tmp_path, stage, private, {"TWELVEFOLD_CACHE": "/cache"}, base)
    assert base == before
    assert made["PYTHONPATH"].split(os.pathsep) == [str(tmp_path / "lib"), "/other"]
    assert made["TWELVEFOLD_OUT"] == str(stage) and made["TWELVEFOLD_CACHE"] == "/cache"
    assert made["TWELVEFOLD_PROGRESS"] == str(private / "progress.json")
    assert made["TWELVEFOLD_BATCH"] == "1" and made["PYTHONHASHSEED"] == "0"
    assert {made[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS")} == {"1"}
    assert "MPLBACKEND" not in made and made["PATH"] == "/bin"


def test_extra_wins_over_everything(tmp_path: Path) -> None:
    made = kernel_environment(tmp_path, tmp_path, tmp_path, {"OMP_NUM_THREADS": "3"}, {})
    assert made["OMP_NUM_THREADS"] == "3"


def test_private_folder_is_private_short_and_removed(tmp_path: Path) -> None:
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert f"-{os.getpid()}-" in folder.name and len(str(folder)) <= kernel.LONGEST_FOLDER
        (folder / "k-1").touch()
    assert not folder.exists()


def test_long_temporary_folder_is_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with private_folder() as folder:
        assert len(str(folder)) <= kernel.LONGEST_FOLDER


def test_sweep_removes_only_folders_of_dead_processes_of_this_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_short_base", lambda: tmp_path)
    ours = kernel._prefix()
    names = [f"{ours}{DEAD_PID}-abc", f"{ours}{os.getpid()}-abc", f"tf-zzzz-{DEAD_PID}-abc", "something-else"]
    for name in names:
        (tmp_path / name).mkdir()
    assert sweep_private_folders() == [tmp_path / names[0]]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_sockets_need_a_short_path(tmp_path: Path) -> None:
    assert transport_for(Path("/tmp/short")) == "ipc"
    assert transport_for(Path("/tmp") / ("x" * 100)) == "tcp"


def test_kill_reaches_the_process_group_and_one_that_starts_later() -> None:
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    handle = KernelHandle(pid=child.pid)
    handle.kill()
    assert child.wait(10) == -signal.SIGKILL
    handle.kill()  # it has ended: nothing to do
    late = KernelHandle()
    late.kill()
    assert late.killed


@pytest.mark.skipif(not LINUX, reason="only Linux signals the death of a parent")
def test_child_dies_with_its_parent_even_when_it_holds_the_interpreter_lock(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    inner = (
        f"import os, re, sys; sys.path.insert(0, {str(Path(launcher.__file__).parent)!r})\n"
        "import launcher; assert launcher.die_with_parent(os.getppid())\n"
        f"open({str(pid_file)!r}, 'w').write(str(os.getpid()) + ' ')\n"
        "re.match('(a*)*b', 'a' * 60)  # hours in C code that never lets go\n"
    )
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    parent = subprocess.Popen([sys.executable, "-c", outer])
    wait_for(lambda: pid_file.exists() and pid_file.read_text().endswith(" "), "the child")
    pid = int(pid_file.read_text())
    parent.kill()
    parent.wait()
    wait_for(lambda: not kernel.process_lives(pid) or _is_zombie(pid), "the child's end", 10)


@pytest.mark.skipif(not LINUX, reason="only Linux signals the death of a parent")
def test_launcher_ends_at_once_when_its_parent_is_gone_already() -> None:
    environment = os.environ | {"JPY_PARENT_PID": str(DEAD_PID)}
    command = [sys.executable, launcher.__file__, "-f", "none.json"]
    done = subprocess.run(command, env=environment, timeout=60, check=False)
    assert done.returncode == 1


def test_death_of_parents_is_only_watched_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert launcher.die_with_parent(DEAD_PID) is False


def _is_zombie(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
