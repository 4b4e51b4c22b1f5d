"""The command line: one clear line and status 2 for wrong arguments, exit statuses, and what each command calls."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from twelvefold.__main__ import main
from twelvefold.run import bench, cli, lab, redraw, refresh, schedule, script, suite, terminal
from twelvefold.run.jobs import Notebook, Outcome, RunnerBusy

from tests.run.madeup import make_result, make_tree

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_tree(tmp_path)
    monkeypatch.chdir(root)
    monkeypatch.delenv("TWELVEFOLD_CALLER_DIR", raising=False)
    return root


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the scheduler; remembers how it was called. The outcomes are taken from its attribute."""
    calls: list[dict[str, Any]] = []

    def run(root: Path, notebooks: list[Notebook], **options: Any) -> list[Outcome]:
        calls.append({"root": root, "names": [notebook.name for notebook in notebooks], **options})
        options["reporter"].start(notebooks)
        return [Outcome(n.name, "done", 1.25, {"holds": 2, "undecided": 1}, "same bytes", folder=root / "figures/quick")
                for n in notebooks]

    monkeypatch.setattr(schedule, "run_notebooks", run)
    return calls


@pytest.mark.parametrize(("words", "message"), [
    (["run", "--preset", "huge"], "preset = 'huge' is unknown; the presets are quick, gpu, paper"),
    (["status", "--preset", "huge"], "preset = 'huge' is unknown"),
    (["run", "--only", "no/*"], "fits no notebook; known are: toy/01_alpha, toy/02_beta"),
    (["nonsense"], "No such command 'nonsense'. The commands are: run, test, lab"),
    (["--seed", "-1"], "seed = -1"), (["--seed", "x"], "--seed"), (["run", "--seed", str(2**63)], "seed ="),
    (["--jobs", "0"], "jobs = 0: expected 1 or more"), (["--jobs", "-2"], "jobs = -2"), (["--jobs", "two"], "--jobs"),
    (["--device", "tpu"], "device = 'tpu': expected auto, cpu, mps, cuda"), (["--device", "cuda:x"], "cuda:<index>"),
    (["--device", "cuda:99"], "cuda:99"),
    (["--cluster", "localhost:8786"], "tcp://host:8786"), (["--cluster", "tcp://host"], "tcp://host:8786"),
    (["--cluster", "tcp://:8786"], "tcp://"), (["--cluster", "tcp://a b:1"], "tcp://"),
    (["--unknown"], "--unknown"), (["run", "surplus"], "surplus"), (["--preset"], "--preset"),
    (["script"], "notebook"), (["script", "x", "--preset", "huge"], "huge"), (["script", "x", "--seed", "1.5"], "1.5"),
    (["pack"], "file"), (["import"], "file"), (["redraw", "--only"], "--only"), (["redraw", "--pre", "gpu"], "--pre"),
    (["lock", "--constraint", "none.txt"], "none.txt"),
])
def test_wrong_arguments_give_one_line_and_status_2(
    tree: Path, runner: list[Any], capsys: Captured, words: list[str], message: str
) -> None:
    status = main(words)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("twelvefold: ") and message in captured.err
    assert status == (1 if words[0] == "lock" else 2)
    assert runner == []


def test_outside_of_a_project_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["run"], ["status"], ["redraw"], ["pack", "x.tar"]):
        assert main(words) == 2
        assert "no project at or above" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["run"], ["--jobs", "2"]])
def test_run_is_the_default(tree: Path, runner: list[Any], words: list[str]) -> None:
    assert main(words) == 0
    assert runner[0]["names"] == ["toy/01_alpha", "toy/02_beta"]
    assert {k: runner[0][k] for k in ("preset", "seed", "device", "force", "cluster")} == {
        "preset": "quick", "seed": 0, "device": "auto", "force": False, "cluster": None}


def test_every_option_reaches_the_runner(tree: Path, runner: list[Any]) -> None:
    words = ["run", "--preset", "gpu", "--only", "toy/02*", "--jobs", "3", "--force", "--seed", "10000", "--device",
             "cuda:1", "--cluster", "tcp://[::1]:8786"]
    assert main(words) == 0
    call = runner[0]
    assert (call["names"], call["preset"], call["jobs"], call["force"]) == (["toy/02_beta"], "gpu", 3, True)
    assert (call["seed"], call["device"], call["cluster"]) == (10_000, "cuda:1", "tcp://[::1]:8786")


def test_the_table_at_the_end_and_the_ledger(tree: Path, runner: list[Any], capsys: Captured) -> None:
    make_result(tree, "toy/01_alpha")
    assert main([]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if "toy/01_alpha" in line)
    for part in ("done", "2 holds, 1 undecided", "1.2", "same bytes", "figures/quick"):
        assert part in row
    assert (tree / "figures/quick/LEDGER.md").is_file()


def test_another_seed_leaves_the_ledger_alone(tree: Path, runner: list[Any]) -> None:
    make_result(tree, "toy/01_alpha")
    assert main(["--seed", "10000"]) == 0
    assert not (tree / "figures/quick/LEDGER.md").exists()


def test_exit_statuses(tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    failed = Outcome("toy/01_alpha", "failed", 0.5, message="cell 3: ValueError: no", log=tree / "x.log")
    good = Outcome("toy/02_beta", "skipped", 0.0, {"holds": 1})
    monkeypatch.setattr(schedule, "run_notebooks", lambda *a, **k: [failed, good])
    assert main([]) == 1
    out = capsys.readouterr().out
    assert "failed: toy/01_alpha: cell 3: ValueError: no" in out and "x.log" in out

    def busy(*args: Any, **options: Any) -> list[Outcome]:
        raise RunnerBusy("another runner is at work")

    monkeypatch.setattr(schedule, "run_notebooks", busy)
    assert main([]) == 3
    assert capsys.readouterr().err == "twelvefold: another runner is at work\n"

    def interrupted(*args: Any, **options: Any) -> list[Outcome]:
        raise KeyboardInterrupt

    monkeypatch.setattr(schedule, "run_notebooks", interrupted)
    assert main([]) == 130


def test_an_error_of_ours_keeps_its_traceback(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> list[Outcome]:
        raise ZeroDivisionError

    monkeypatch.setattr(schedule, "run_notebooks", broken)
    with pytest.raises(ZeroDivisionError):
        main([])


def test_a_notebook_with_a_syntax_error_does_not_stop_the_others(tree: Path, runner: list[Any]) -> None:
    (tree / "notebooks/toy/01_alpha.py").write_text("# %%\n(\n")
    assert main([]) == 0
    assert runner[0]["names"] == ["toy/01_alpha", "toy/02_beta"]


@pytest.mark.parametrize(("words", "target", "expected"), [
    (["script", "toy/*", "--preset", "gpu", "--seed", "7", "--device", "cpu", "--force"], (script, "run_scripts"),
     {"preset": "gpu", "seed": 7, "device": "cpu", "force": True}),
    (["redraw", "--preset", "gpu", "--only", "toy/*"], (redraw, "redraw_all"), {"preset": "gpu", "only": "toy/*"}),
    (["refresh", "--only", "toy/*"], (refresh, "refresh_all"), {}),
    (["test", "-k", "name", "-x"], (suite, "run_suite"), {}),
    (["lab", "--no-browser", "--port=1"], (lab, "run_lab"), {}),
    (["bench", "-k", "soup"], (bench, "run_benchmarks"), {}),
])
def test_commands_hand_over_their_arguments_and_return_the_status(
    tree: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], target: tuple[Any, str], expected: dict[str, Any]
) -> None:
    seen: dict[str, Any] = {}

    def fake(root: Path, *args: Any, **options: Any) -> int:
        seen.update(options, rest=args)
        return 5

    monkeypatch.setattr(*target, fake)
    assert main(words) == 5
    rest = {"test": ["-k", "name", "-x"], "lab": ["--no-browser", "--port=1"], "bench": ["-k", "soup"],
            "refresh": "toy/*", "script": "toy/*"}.get(words[0])
    assert {key: seen[key] for key in expected} == expected and (rest is None or seen["rest"] == (rest,))


def test_help_lists_every_command_and_version_prints_one_line(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in cli.command_names():
        assert f"\n  {name} " in text
    assert {"run", "script", "import", "lock", "badges"} <= set(cli.command_names())
    for name in ("redraw", "script", "pack"):
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
    capsys.readouterr()
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("twelvefold ")


def test_files_are_meant_relative_to_the_users_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_result(tree, "toy/01_alpha")
    (tree / "below").mkdir()
    monkeypatch.setenv("TWELVEFOLD_CALLER_DIR", str(tree / "below"))
    assert main(["pack", "x.tar"]) == 0
    assert (tree / "below/x.tar").is_file() and main(["import", "x.tar"]) == 0


def test_starting_loads_nothing_heavy() -> None:
    code = ("import sys; from twelvefold.__main__ import main\n"
            "try: main(['redraw', '--help'])\nexcept SystemExit: pass\n"
            "print(sorted({'torch', 'numpy', 'matplotlib', 'dask', 'typer', 'papermill'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_live_lines(tree: Path) -> None:
    console = Console(force_terminal=True, width=100, file=open(os.devnull, "w"))
    reporter = terminal.make_reporter(console)
    assert isinstance(reporter, terminal.LiveReporter)
    few = [Notebook(f"toy/{i:02d}_x", tree, tree) for i in range(3)]
    many = [Notebook(f"toy/{i:02d}_x", tree, tree) for i in range(60)]

    def shown(notebooks: list[Notebook]) -> list[str]:
        reporter.start(notebooks)
        reporter.update("toy/00_x", "running", "8 s, drawing 3 of 9")
        reporter.update("toy/01_x", "failed", "ValueError")
        page = io.StringIO()
        Console(file=page, width=100).print(reporter)
        reporter.finish([])
        return page.getvalue().splitlines()

    lines = shown(few)
    assert len(lines) == 4 and "8 s, drawing 3 of 9" in lines[0] and "ValueError" in lines[1]
    assert lines[-1].strip().endswith("1 waiting, 1 running, 1 failed")
    assert len(shown(many)) == 3, "of many only the running and the failed ones have a line"


def test_plain_lines_where_there_is_no_terminal() -> None:
    assert not isinstance(terminal.make_reporter(Console(file=open(os.devnull, "w"))), terminal.LiveReporter)


def test_verdicts_have_one_order() -> None:
    assert terminal.verdict_text({"undecided": 1, "holds": 3}) == "3 holds, 1 undecided"
    assert terminal.verdict_text({}) == ""
