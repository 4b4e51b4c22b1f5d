"""One runner per tree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toytree import wait_for
from twelvefold.run.jobs import RunnerBusy
from twelvefold.run.lock import runner_lock

HOLD = """
import sys, time
from pathlib import Path
from twelvefold.run.lock import runner_lock
with runner_lock(Path(sys.argv[1])):
    Path(sys.argv[1], "held").touch()
    time.sleep(600)
"""


def test_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with runner_lock(tmp_path):
            assert (tmp_path / ".twelvefold/runner.json").is_file()
    assert not (tmp_path / ".twelvefold/runner.json").exists()


def test_second_runner_is_told_who_holds_the_tree_until_that_one_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)])
    try:
        wait_for((tmp_path / "held").exists, "the holder")
        with (
            pytest.raises(RunnerBusy, match=rf"another runner is at work in .*process {holder.pid} on \S+, started 20"),
            runner_lock(tmp_path),
        ):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with runner_lock(tmp_path):
        pass


def test_holder_that_has_not_signed_is_refused_all_the_same(tmp_path: Path) -> None:
    import filelock

    (tmp_path / ".twelvefold").mkdir()
    with (
        filelock.FileLock(tmp_path / ".twelvefold/runner.lock"),
        pytest.raises(RunnerBusy, match="has not signed yet"),
        runner_lock(tmp_path),
    ):
        pass


def test_error_inside_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), runner_lock(tmp_path):
        raise ZeroDivisionError
    with runner_lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".twelvefold/runner.json").read_text()
