"""Nothing outlives the runner, nothing is lost with it, and what is killed is done again to the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toytree import NAMES, ToyTree, wait_for
from twelvefold.run.kernel import _prefix, _short_base

ALPHA, BETA, GAMMA = NAMES
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


class Moments:
    """Ten moments in the life of a run, each a condition on the tree, or a line that ends the runner by itself."""

    def __init__(self, tree: ToyTree) -> None:
        self.tree, self.work = tree, tree.root / ".twelvefold"

    def staged(self, pattern: str) -> bool:
        return any(self.work.glob(f"staging/*/{pattern}"))

    def stored(self) -> int:
        return sum(1 for _ in (self.work / "cache").rglob("*.npz"))

    def records(self) -> int:
        return sum(1 for _ in (self.work / "done").rglob("*.json"))

    def outside(self) -> list[tuple[str, Callable[[], object]]]:
        calls, stored, records = len(self.tree.calls_made()), self.stored(), self.records()
        return [
            ("the lock is taken", (self.work / "runner.json").exists),
            ("a worker has begun", lambda: self.staged("*.attempts/*")),
            ("the kernel is there", self.tree.kernels),
            ("the first point is being computed", lambda: len(self.tree.calls_made()) > calls),
            ("two more points are stored", lambda: self.stored() >= stored + 2),
            ("the study is in the stage", lambda: self.staged("*/results/*/*/study.json")),
            ("one notebook is recorded", lambda: self.records() > records),
        ]


INSIDE = {
    "before the third file is published": "REPLACE = 2",
    "before study.json is published": "REPLACE = 'study.json'",
    "before the record is written": "REPLACE = None",
}
_SUICIDE = """
import os, signal
import twelvefold.run.conclude as conclude, twelvefold.run.publish as publish
{choice}
moved, real = [], os.replace
def die(): os.kill(os.getpid(), signal.SIGKILL)
def replace(a, b):
    if len(moved) == REPLACE or os.path.basename(b) == REPLACE: die()
    moved.append(b)
    real(a, b)
publish.os = type("os", (), {{"replace": staticmethod(replace)}})
if REPLACE is None: conclude.write_record = lambda *args: die()
"""


def assert_whole(tree: ToyTree) -> None:
    """A folder that has a study.json holds exactly the files whose checksums stand in it."""
    for path in (tree.root / "figures").rglob("study.json"):
        study = json.loads(path.read_text())
        for entry in [study["runs"], *study["tables"]]:
            assert hashlib.sha256((path.parent / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        for figure in study["figures"]:
            assert all((path.parent / file).is_file() for file in figure["files"])


def gone(tree: ToyTree) -> None:
    """All processes of the tree end within ten seconds (much less on Linux)."""
    wait_for(lambda: not tree.processes(), "the end of all processes", 10)


@pytest.mark.slow
def test_killed_at_ten_moments_and_resumed_the_bytes_are_the_same(
    finished: ToyTree, new_tree: Callable[..., ToyTree]
) -> None:
    tree = new_tree()
    tree.pause = "0.2"
    moments = Moments(tree)
    for number in range(6):
        what, condition = moments.outside()[number]
        _kill_when(tree, what, condition)
    for choice in INSIDE.values():
        killed = tree.run(before=_SUICIDE.format(choice=choice), timeout=200)
        assert killed.code == -signal.SIGKILL and killed.outcomes is None, killed.output
        gone(tree)
        assert_whole(tree)
        assert moments.records() == 0
    _kill_when(tree, *moments.outside()[6])
    assert moments.records() == 1

    result = tree.run(timeout=200)
    assert sorted(result.status().values()) == ["done", "done", "skipped"], result.output
    assert tree.bytes() == finished.bytes()
    in_flight = 3  # the two kills during the first sweep, the last kill during the second
    assert len(tree.calls_made()) <= 15 + in_flight, "stored points must not be computed again"
    assert not list((tree.root / ".twelvefold/staging").iterdir())


def _kill_when(tree: ToyTree, what: str, condition: Callable[[], object]) -> None:
    process = tree.start()
    wait_for(condition, what, runner=process)
    process.kill()
    process.communicate(timeout=30)
    gone(tree)
    assert_whole(tree)


def sleeping(tree: ToyTree, name: str, text: str = "time.sleep(600)") -> Path:
    """Let a notebook say that it is there, then stay."""
    ready = tree.root / f"ready-{name[7:]}"
    tree.write_notebook(name, ("print(", f"import re, time\nopen({str(ready)!r}, 'w').close()\n{text}\nprint("))
    return ready


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux signals the death of a parent")
def test_kernel_that_holds_the_interpreter_lock_dies_with_the_runner(light: ToyTree) -> None:
    ready = sleeping(light, ALPHA, "re.match('(a*)*b', 'a' * 60)")
    process = light.start((ALPHA,))
    wait_for(ready.exists, "the notebook", runner=process)
    process.kill()
    process.communicate(timeout=30)
    gone(light)


@pytest.mark.parametrize("to_the_group", [True, False])
def test_interrupt_ends_everything_at_once(light: ToyTree, to_the_group: bool) -> None:
    ready = sleeping(light, BETA)
    light.write_notebook(ALPHA, ("Toy alpha", "Toy alpha again"))
    study = light.study(ALPHA) | {"run": light.study(ALPHA)["run"] | {"seconds": 99.0}}
    (light.folder(ALPHA) / "study.json").write_text(json.dumps(study))  # so that alpha goes first
    process = light.start((ALPHA, BETA))
    wait_for(ready.exists, "the second notebook", runner=process)
    (os.killpg if to_the_group else os.kill)(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    # a child that was killed while Python started in it may complain on its own; the runner itself must not
    assert "done    toy/01_alpha" in output and "schedule.py" not in output
    gone(light)
    assert not list(_short_base().glob(f"{_prefix()}{process.pid}-*"))
    assert not list((light.root / ".twelvefold/staging").iterdir())
    light.write_notebook(BETA)
    assert light.run().status() == dict.fromkeys(NAMES, "skipped"), "what was finished counts, the lock is free"


def test_lost_worker_is_replaced_and_its_notebook_repeated_once(light: ToyTree) -> None:
    once = light.root / "once"
    first = f"import os\nif not os.path.exists({str(once)!r}):\n    open({str(once)!r}, 'w').close(); "
    light.write_notebook(ALPHA, ("print(", first + "os.kill(os.getppid(), 9)\nprint("))
    tries = light.root / "tries"
    deadly = f"import os\nopen({str(tries)!r}, 'a').write('x'); os.kill(os.getppid(), 9)\nprint("
    light.write_notebook(BETA, ("print(", deadly))
    light.write_notebook(GAMMA, ("Toy gamma", "Toy gamma again"))
    result = light.run()
    assert result.status() == {ALPHA: "done", BETA: "failed", GAMMA: "done"}, result.output
    assert "died" in result.of(BETA)["message"] and "out of memory" in result.of(BETA)["message"]
    assert tries.read_text() == "xx"


def test_worker_that_restarts_slowly_is_not_given_up(light: ToyTree) -> None:
    once = light.root / "once"
    first = f"import os\nif not os.path.exists({str(once)!r}):\n    open({str(once)!r}, 'w').close(); "
    light.write_notebook(ALPHA, ("print(", first + "os.kill(os.getppid(), 9)\nprint("))
    hasty = "import dask\ndask.config.set({'distributed.deploy.lost-worker-timeout': '1ms'})"
    hasty += "\nimport twelvefold.run.schedule as s\ns.PATIENCE_SECONDS = 20.0"
    result = light.run((ALPHA,), hasty)
    assert result.status() == {ALPHA: "done"}, result.output


def test_stale_stages_of_a_killed_runner_are_removed(light: ToyTree) -> None:
    stale = light.root / ".twelvefold/staging/dead/attempt"
    stale.mkdir(parents=True)
    (stale / "in.ipynb").touch()
    assert light.run((ALPHA,)).status() == {ALPHA: "skipped"}
    assert not stale.exists()


def test_runner_that_is_killed_before_it_starts_anything_leaves_the_lock_free(light: ToyTree) -> None:
    code = "import os, signal, twelvefold.run.schedule as s\n"
    code += "s._fresh_staging = lambda root: os.kill(os.getpid(), signal.SIGKILL)"
    assert light.run((ALPHA,), code).code == -signal.SIGKILL
    assert light.run((ALPHA,)).status() == {ALPHA: "skipped"}
