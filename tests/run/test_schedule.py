"""Many notebooks: what is run, what is skipped, where results go, and that no failure hides another result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toytree import NAMES, ToyTree, wait_for, write_notebook
from twelvefold.core.presets import DeviceError, PresetError
from twelvefold.run import board, cluster, demands, schedule
from twelvefold.run.demands import DemandProblem, read_demands, refuse_unmet
from twelvefold.run.done import Keys
from twelvefold.run.execute import Attempt
from twelvefold.run.jobs import ClusterProblem, Notebook, Outcome, PlainReporter, discover
from twelvefold.run.schedule import ArgumentProblem, run_notebooks

ALPHA, BETA, GAMMA = NAMES


def git(root: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def assert_nothing_left(tree: ToyTree) -> None:
    assert not list((tree.root / ".twelvefold/staging").iterdir())
    wait_for(lambda: not tree.processes(), "the end of all processes", 20)


def test_first_run_makes_everything(finished: ToyTree) -> None:
    assert sorted(finished.calls_made()) == sorted(f"{n[7:]} {r}" for n in NAMES for r in range(5))
    for name in NAMES:
        study = finished.study(name)
        assert {claim["verdict"] for claim in study["claims"]} == {"holds"}
        files = {path.name for path in finished.folder(name).iterdir()}
        assert files == {"study.json", "runs.csv", "summary.csv", "means.png", "means.svg"}
        executed = json.loads((finished.root / f".twelvefold/executed/quick/{name}.ipynb").read_text())
        assert not any(out["output_type"] == "error" for c in executed["cells"] for out in c.get("outputs", []))
        assert "drawn 5" in (finished.root / f".twelvefold/executed/quick/{name}.log").read_text()
    assert_nothing_left(finished)


def test_second_run_starts_nothing(tree: ToyTree) -> None:
    before = tree.bytes()
    result = tree.run()
    assert result.code == 0 and result.status() == dict.fromkeys(NAMES, "skipped"), result.output
    assert "\nHEAVY\n" in result.output, "neither papermill nor distributed nor torch may be imported"
    assert result.of(ALPHA)["verdicts"] == {"holds": 2} and result.of(ALPHA)["seconds"] > 0
    assert tree.calls_made() == [] and tree.bytes() == before


def test_only_dependants_of_a_change_run_again(tree: ToyTree) -> None:
    before = tree.bytes()
    alone = tree.root / "lib/toylib/alone.py"
    alone.write_text('"""Another docstring."""\n# a comment\nSTEP = 3.0\n')
    assert tree.run().status() == dict.fromkeys(NAMES, "skipped"), "comments are no code"
    alone.write_text("STEP = 3.5\n")
    tree.write_notebook(BETA, ("# # Toy beta", "# # Toy beta, explained"))
    result = tree.run()
    assert result.status() == {ALPHA: "skipped", BETA: "done", GAMMA: "done"}, result.output
    assert {call.split()[0] for call in tree.calls_made()} == {"gamma"}, "new prose computes nothing: it has its cache"
    assert [result.of(name)["comparison"] for name in NAMES] == ["same bytes", "same bytes", "differs"]
    assert {name for name in before if tree.bytes()[name] != before[name]} >= {f"figures/quick/{GAMMA}/runs.csv"}


def test_damaged_result_and_damaged_cache_entry_are_made_again(tree: ToyTree) -> None:
    before = tree.bytes()
    (tree.folder(GAMMA) / "runs.csv").write_text("damaged")
    cache = tree.root / ".twelvefold/cache"
    entry = next(path for path in sorted(cache.rglob("*.json")) if "toylib.gamma" in path.read_text())
    arrays = entry.with_suffix(".npz")
    arrays.write_bytes(arrays.read_bytes()[:-40] + b"\0" * 40)
    result = tree.run()
    assert result.status() == {ALPHA: "skipped", BETA: "skipped", GAMMA: "done"}, result.output
    assert len(tree.calls_made()) == 1, "one point was damaged, one is computed"
    assert tree.bytes() == before


def test_committed_results_never_count_as_done(light: ToyTree, tmp_path: Path) -> None:
    (light.root / ".gitignore").write_text(".twelvefold/\n__pycache__/\ncalls.txt\n")
    git(light.root, "init", "-q")
    git(light.root, "add", ".")
    git(light.root, "commit", "-qm", "x")
    clone = light.at(tmp_path / "clone")
    subprocess.run(["git", "clone", "-q", str(light.root), str(clone.root)], check=True)
    (clone.folder(BETA) / "study.json").unlink()  # what lies on disk is not what is compared with
    result = clone.run((ALPHA, BETA))
    assert result.status() == {ALPHA: "done", BETA: "done"}, result.output
    assert [result.of(name)["comparison"] for name in (ALPHA, BETA)] == ["same bytes", "same bytes"]
    assert clone.calls_made() == ["beta", "alpha"], "one without a recorded time may be long, so it goes first"


def test_another_seed_goes_to_scratch_every_time(light: ToyTree) -> None:
    before = light.bytes()
    for calls in (1, 2):
        result = light.run((GAMMA,), seed=10000)
        assert result.status() == {GAMMA: "done"}, result.output
        assert len(light.calls_made()) == calls
    folder = light.root / f".twelvefold/scratch/quick/seed-10000/{GAMMA}"
    assert json.loads((folder / "study.json").read_text())["seed"] == 10000
    assert light.bytes() == before and light.run((GAMMA,)).status() == {GAMMA: "skipped"}


def test_failures_hide_nothing(light: ToyTree) -> None:
    before = light.bytes()
    light.write_notebook(ALPHA, ('print("drawn", 5)', 'raise ValueError("no way")'))
    light.write_notebook(BETA, ('device: str = "auto"  # where\n', "device = 1 1\n"))
    light.write_notebook(GAMMA, ("Toy gamma", "Toy gamma again"))
    result = light.run()
    assert result.code == 1
    assert result.status() == {ALPHA: "failed", BETA: "failed", GAMMA: "done"}, result.output
    copy = light.root / f".twelvefold/executed/quick/{ALPHA}.failed.ipynb"
    assert result.of(ALPHA)["message"] == f"cell 4: ValueError: no way (executed copy: {copy})"
    assert "no way" in copy.read_text() and "no way" in Path(result.of(ALPHA)["log"]).read_text()
    assert "02_beta.py" in result.of(BETA)["message"]
    assert light.bytes() == before, "a failure leaves the earlier results alone"
    light.write_notebook(ALPHA)
    assert light.run((ALPHA,)).status() == {ALPHA: "skipped"}


def test_notebooks_that_cannot_start_start_no_kernel(light: ToyTree) -> None:
    light.write_notebook(ALPHA, ('device: str = "auto"  # where\n', ""))
    light.write_notebook(BETA, ("# %% [markdown]", "# ---\n# twelvefold: {memory: 4}\n# ---\n# %% [markdown]"))
    result = light.run((ALPHA, BETA), preset="paper", device="cpu")
    assert "does not assign device (it assigns preset, seed)" in result.of(ALPHA)["message"]
    assert "its header says twelvefold: {'memory': 4}" in result.of(BETA)["message"]
    assert result.code == 1 and "distributed" not in result.output.split("HEAVY")[1].split("\n")[0]


def test_full_disk_and_missing_study_are_failures_of_their_notebook(light: ToyTree) -> None:
    before = light.bytes()
    light.write_notebook(BETA, ("light.finish(", "print("))
    light.write_notebook(ALPHA, ("Toy alpha", "Toy alpha again"))
    full = (
        "import errno, os, twelvefold.run.publish as p\n"
        "def full(a, b): raise OSError(errno.ENOSPC, 'No space left on device', str(b))\n"
        "p.os = type('os', (), {'replace': staticmethod(full)})"
    )
    result = light.run((ALPHA, BETA), full)
    assert result.code == 1
    assert "No space left on device. Free some space there" in result.of(ALPHA)["message"]
    assert light.bytes() == before
    result = light.run((ALPHA, BETA))
    assert result.of(ALPHA)["status"] == "done"
    assert result.of(BETA)["message"].startswith("it ended without study.json: `study.done()` must be")


def test_read_only_tree_is_refused_before_anything_runs(light: ToyTree) -> None:
    light.write_notebook(ALPHA, ("Toy alpha", "Toy alpha again"))
    bind = subprocess.run(["mount", "--bind", str(light.root), str(light.root)], capture_output=True, check=False)
    if bind.returncode != 0:
        pytest.skip("mounting a tree read-only needs root on Linux")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(light.root)], check=True)
        result = light.run()
    finally:
        subprocess.run(["umount", str(light.root)], check=True)
    assert result.code == 2 and "Read-only file system. Run in a copy of the project" in result.output
    assert str(light.root) in result.output and light.calls_made() == []


def test_second_runner_is_refused_while_the_first_goes_on(light: ToyTree) -> None:
    gate = light.root / "gate"
    light.write_notebook(ALPHA, ("print(", f"import os\nwhile not os.path.exists({str(gate)!r}): pass\nprint("))
    first = light.start((ALPHA,))
    wait_for(light.kernels, "the first runner's kernel", runner=first)
    second = light.run((BETA,))
    assert second.code == 3 and f"another runner is at work in {light.root} (process {first.pid} on" in second.output
    gate.touch()
    assert light.finish(first).status() == {ALPHA: "done"}


def test_jobs_run_at_the_same_time_and_force_runs_all(light: ToyTree) -> None:
    marks = light.root / "marks"
    marks.mkdir()
    meet = (
        "import os, time\nopen(f'{0}/{1}', 'w').close()\nwhile len(os.listdir('{0}')) < 2: time.sleep(.01)\n"
        "print("
    )
    for name in (ALPHA, BETA):
        light.write_notebook(name, ("print(", meet.replace("{0}", str(marks)).replace("{1}", name[7:])))
    result = light.run((ALPHA, BETA), jobs=2, force=True)
    assert result.status() == {ALPHA: "done", BETA: "done"}, result.output


def test_longest_notebook_goes_first(light: ToyTree, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[str] = []
    for name, seconds in ((ALPHA, 1.0), (BETA, 5.0)):
        study = light.study(name) | {"run": {"seconds": seconds}}
        (light.folder(name) / "study.json").write_text(json.dumps(study))
    (light.folder(GAMMA) / "study.json").unlink()

    def stop(run: Any, stale: Any, needs: Any, session: Any) -> None:
        submitted.extend(notebook.name for notebook in stale)
        for notebook in stale:
            run.settle(Outcome(notebook.name, "done", 0.0))

    monkeypatch.setattr(schedule, "_submit_and_wait", stop)
    fake_cluster(monkeypatch, {"one": {"NB": 1.0}})
    call(light.root)
    assert submitted == [GAMMA, BETA, ALPHA], "one that never ran may be the longest"


def fake_cluster(monkeypatch: pytest.MonkeyPatch, workers: dict[str, dict[str, float]]) -> None:
    import contextlib

    @contextlib.contextmanager
    def opened(*args: Any) -> Any:
        yield cluster.Session(None, True, workers)

    monkeypatch.setattr(cluster, "own_cluster", opened)


def call(root: Path, **arguments: Any) -> list[Outcome]:
    given: dict[str, Any] = {"preset": "quick", "reporter": PlainReporter()} | arguments
    return run_notebooks(root, discover(root), **given)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"preset": "fast"}, PresetError, "'fast'.*quick"),
        ({"device": "tpu", "preset": "gpu"}, DeviceError, "tpu"),
        ({"device": "tpu"}, DeviceError, "tpu"),
        ({"seed": -1}, ArgumentProblem, "seed=-1"),
        ({"seed": 1.5}, ArgumentProblem, "seed=1.5"),
        ({"jobs": 0}, ArgumentProblem, "jobs=0: a whole number of at least 1"),
        ({"jobs": True}, ArgumentProblem, "jobs=True"),
        ({"cluster": "somewhere", "force": True}, ClusterProblem, "cluster='somewhere' is no scheduler's address"),
    ],
)
def test_bad_arguments_are_refused(
    light: ToyTree, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(light.root, **arguments)
    assert_nothing_left(light)


def test_unmet_demand_is_refused_with_the_numbers(light: ToyTree, monkeypatch: pytest.MonkeyPatch) -> None:
    light.write_notebook(BETA, ("# %% [markdown]", "# ---\n# twelvefold: {memory_gb: 64}\n# ---\n# %% [markdown]"))
    fake_cluster(monkeypatch, {"one": {"NB": 1.0, "MEM": 8.0}, "two": {"NB": 1.0, "MEM": 4.0}})
    with pytest.raises(ClusterProblem, match=r"take toy/02_beta needs MEM=64 NB=1\. .*offer: MEM=4 NB=1; MEM=8 NB=1\."):
        call(light.root, preset="paper", device="cpu")


def test_demands_must_meet_in_one_worker() -> None:
    workers = {"one": {"GPU": 1.0}, "two": {"MEM": 9.0}}
    refuse_unmet({"a": {"GPU": 1.0}, "b": {"MEM": 9.0}}, workers)
    with pytest.raises(ClusterProblem, match="c needs GPU=1 MEM=9"):
        refuse_unmet({"c": {"GPU": 1.0, "MEM": 9.0}}, workers)
    with pytest.raises(ClusterProblem, match="no worker at all"):
        refuse_unmet({"a": {}}, {})


@pytest.mark.parametrize(
    ("header", "preset", "device_class", "expected"),
    [
        ("", "quick", "cuda", {"NB": 1}),
        ("", "gpu", "cuda", {"NB": 1, "GPU": 1}),
        ("", "gpu", "cpu", {"NB": 1}),
        ("# ---\n# twelvefold: {memory_gb: 4, gpu: 2}\n# ---\n", "gpu", "cuda", {"NB": 1, "GPU": 2, "MEM": 4}),
        ("# ---\n# twelvefold: {gpu: 0}\n# ---\n", "gpu", "cuda", {"NB": 1}),
        ("# ---\n# twelvefold: {memory_gb: 4}\n# ---\n", "quick", "cpu", {"NB": 1}),
        ("# ---\n# jupyter:\n#   twelvefold:\n#     memory_gb: 2.5\n# ---\n", "paper", "cpu", {"NB": 1, "MEM": 2.5}),
        ("# ---\n# jupyter: {}\n# ---\n", "paper", "cpu", {"NB": 1}),
        ("# ---\n# never closed\n", "paper", "cpu", {"NB": 1}),
    ],
)
def test_demands_are_read(
    tmp_path: Path, header: str, preset: str, device_class: str, expected: dict[str, float]
) -> None:
    path = tmp_path / "a.py"
    path.write_text(header + "# %%\nx = 1\n")
    assert read_demands(path, preset, device_class) == expected


@pytest.mark.parametrize("text", ["{memory: 4}", "{gpu: -1}", "{gpu: many}", "{gpu: true}", "4", "{gpu: .inf}", "{"])
def test_demands_that_are_not_understood_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(f"# ---\n# twelvefold: {text}\n# ---\n")
    with pytest.raises(DemandProblem, match=r"a\.py: its header"):
        read_demands(path, "gpu", "cpu")


def test_number_of_workers_fits_notebooks_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask.system

    monkeypatch.setattr(dask.system, "cpu_count", lambda: 8)
    monkeypatch.setattr(cluster, "free_memory_gb", lambda: 6.0)
    assert cluster.count_workers(3, None, {}, 0) == 3
    assert cluster.count_workers(20, None, {}, 0) == 4, "1.3 GB each"
    assert cluster.count_workers(20, 6, {}, 0) == 6, "the user knows better"
    assert cluster.count_workers(20, 6, {"a": {"MEM": 3.0}}, 0) == 2
    assert cluster.count_workers(20, None, {"a": {"GPU": 2.0}}, 4) == 2
    assert cluster.count_workers(20, None, {"a": {"MEM": 60.0}}, 0) == 1, "refused later, with the numbers"


def test_devices_follow_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert cluster.cuda_devices() == ("3", "5")


def test_without_workers_the_rest_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Future:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    class Client:
        def scheduler_info(self, n_workers: int) -> dict[str, Any]:
            return {"workers": {}}

    reporter = PlainReporter()
    run = schedule._Run(tmp_path, "quick", 0, "auto", "cpu", reporter, tmp_path)
    future = Future()
    pending = {ALPHA: future}
    session = cluster.Session(Client(), False, {})
    now = time.monotonic()
    shown = board.Board(reporter)
    assert schedule._give_up_without_workers(run, pending, session, shown, now) == now and pending
    schedule._give_up_without_workers(run, pending, session, shown, now - schedule.PATIENCE_SECONDS - 1)
    assert not pending and future.cancelled and "no worker has been there" in run.outcomes[ALPHA].message


class FakeFuture:
    """Ends at the second look; `outcome` is what it holds then."""

    def __init__(self, outcome: Any) -> None:
        self.outcome, self.looks = outcome, 0
        self.status = "pending"

    def done(self) -> bool:
        self.looks += 1
        if self.looks == 2:
            self.status = self.outcome if isinstance(self.outcome, str) else "finished"
            self.status = "error" if isinstance(self.outcome, Exception) else self.status
        return self.looks >= 2

    def result(self) -> Any:
        return self.outcome

    exception = result


class FakeClient:
    """Hands out futures and notes how many are under way; `outcomes` are used up in the order of the submissions."""

    def __init__(self, outcomes: list[Any]) -> None:
        self.outcomes, self.futures, self.names = outcomes, list[FakeFuture](), list[str]()
        self.most = 0

    def subscribe_topic(self, topic: str, handler: Any) -> None:
        self.topic = topic

    def submit(self, function: Any, job: Any, **how: Any) -> FakeFuture:
        self.futures.append(FakeFuture(self.outcomes.pop(0)))
        self.names.append(job.name)
        self.most = max(self.most, sum(future.looks < 2 for future in self.futures))
        return self.futures[-1]


class KilledWorker(Exception):
    """Called like the scheduler's own."""


def submitted(tmp_path: Path, outcomes: list[Any], own: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    monkeypatch.setattr(schedule, "TICK_SECONDS", 0.0)
    run = schedule._Run(tmp_path, "quick", 0, "auto", "cpu", PlainReporter(), tmp_path / "staging")
    run.keys = dict.fromkeys(NAMES, Keys("c", "d", "e"))
    notebooks = [Notebook(name, tmp_path / "none.py", tmp_path / "none.ipynb") for name in NAMES]
    client = FakeClient(outcomes)
    session = cluster.Session(client, own, {"one": {"NB": 1.0}, "two": {"NB": 1.0}})
    schedule._submit_and_wait(run, notebooks, {name: {"NB": 1.0} for name in NAMES}, session)
    return run, client


@pytest.mark.parametrize(("own", "most"), [(True, 2), (False, 3)])
def test_own_workers_get_one_notebook_at_a_time(
    tmp_path: Path, own: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = [Attempt(name, False, tmp_path, 1.0, "bad") for name in NAMES]
    run, client = submitted(tmp_path, list(outcomes), own, monkeypatch)
    assert client.most == most and client.names == list(NAMES)
    assert {name: outcome.message for name, outcome in run.outcomes.items()} == dict.fromkeys(NAMES, "bad")


def test_notebook_that_is_blamed_for_anothers_loss_is_submitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):  # alpha has really begun twice
        (tmp_path / f"staging/toy-01_alpha.attempts/{number}").mkdir(parents=True)
    fine = Attempt(BETA, False, tmp_path, 1.0, "fine")
    run, client = submitted(
        tmp_path, [KilledWorker("a"), KilledWorker("b"), "cancelled", fine], False, monkeypatch
    )
    assert client.names == [ALPHA, BETA, GAMMA, BETA]
    assert "died 2 times" in run.outcomes[ALPHA].message and run.outcomes[BETA].message == "fine"
    assert "connection to the scheduler was lost" in run.outcomes[GAMMA].message


def test_board_tells_about_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, str, str]] = []

    class Reporter(PlainReporter):
        def update(self, name: str, state: str, detail: str) -> None:
            lines.append((name, state, detail))

    shown = board.Board(Reporter())
    shown.receive((0.0, {"name": "a", "cell": 2, "cells": 9}))
    shown.receive((0.0, {"name": "a", "label": "drawing", "done": 3, "total": 8}))
    shown.receive((0.0, "something else"))
    shown.show()
    shown.show()  # too early
    assert lines == [("a", "running", "0 s, cell 2 of 9, drawing 3 of 8")]
    shown.receive((0.0, {"name": "a", "cell": 3, "cells": 9}))
    monkeypatch.setattr(shown, "_shown", 0.0)
    shown.show()
    assert lines[1:] == [("a", "running", "0 s, cell 3 of 9")], "progress of an earlier cell is over"
    shown.forget("a")
    monkeypatch.setattr(shown, "_shown", 0.0)
    shown.show()
    assert len(lines) == 2 and shown.seconds("a") == 0.0


@given(st.floats(0, 1e5), st.integers(0, 9), st.integers(0, 9))
def test_progress_text_is_one_line(seconds: float, done: int, total: int) -> None:
    text = board.progress_text(seconds, {"cell": 1, "cells": 2, "label": "x", "done": done, "total": total})
    assert "\n" not in text and f"x {done} of {total}" in text


def test_one_line_keeps_the_kind_of_foreign_errors() -> None:
    assert board.one_line(ClusterProblem("no\n  worker")) == "no worker"
    assert board.one_line(ValueError("bad")) == "ValueError: bad"
    assert board.one_line(ValueError()) == "ValueError"


def test_describe_names_what_counts() -> None:
    outcome = Outcome("a", "done", 1.25, {"holds": 2, "fails": 1}, "same bytes")
    assert board.describe(outcome) == "1.2 s; 2 holds, 1 fails; same bytes"
    assert board.describe(Outcome("a", "failed", 1.0, message="cell 3: no")) == "cell 3: no"


def test_heavy_modules_stay_out_of_the_imports() -> None:
    code = "import sys\nfrom twelvefold.run import cluster, execute, kernel, schedule\n"
    code += "print([m for m in ('torch', 'pandas', 'papermill', 'distributed', 'jupytext') if m in sys.modules])"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSTARTUP"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_notebook_written_for_tests_is_discovered(tmp_path: Path, new_tree: Callable[..., ToyTree]) -> None:
    tree = new_tree(light=True)
    write_notebook(tree.root / "notebooks/toy/04_delta.py", "x = 1")
    assert [n.name for n in discover(tree.root)][-1] == "toy/04_delta"
    assert demands.read_demands(tree.source(ALPHA), "quick", "cpu") == {"NB": 1.0}
