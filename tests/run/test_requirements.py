"""The lock file: what torch alone needs is left out, extras and markers are followed, and the committed one agrees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twelvefold.run import requirements
from twelvefold.run.pins import Pin, read_pins
from twelvefold.run.requirements import Distribution, LockError, reachable, render

ROOT = Path(__file__).resolve().parents[2]


def chosen(**needs: list[str]) -> dict[str, Distribution]:
    return {name.replace("_", "-"): Distribution(name.replace("_", "-"), "1", tuple(n)) for name, n in needs.items()}


def names(found: list[Distribution]) -> list[str]:
    return [item.name for item in found]


def test_what_only_torch_needs_is_left_out() -> None:
    found = chosen(torch=["sympy", "shared"], sympy=["mpmath"], mpmath=[], shared=[], lib=["shared>=1", "torch"])
    assert names(reachable(["torch", "lib"], found)) == ["lib", "shared", "torch"]


def test_extras_and_markers_are_followed_as_pip_does() -> None:
    found = chosen(
        lib=["core", 'more; extra == "big"', 'never; extra == "other"', 'windows; sys_platform == "win32"'],
        core=[], more=["lib[deep]"], deep=[],
    )
    found["lib"] = Distribution("lib", "1", (*found["lib"].requires, 'deep; extra == "deep"'))
    assert names(reachable(["lib"], found)) == ["core", "lib"]
    assert names(reachable(["lib[big]"], found)) == ["core", "deep", "lib", "more"]


def test_circles_end_and_names_are_normalised() -> None:
    found = {"a-b": Distribution("A_B", "1", ("c",)), "c": Distribution("c", "2", ("a.b",))}
    assert render(reachable(["a_b"], found)) == requirements.HEADER + "A_B==1\nc==2\n"


def test_local_suffixes_are_dropped() -> None:
    assert render([Distribution("torch", "2.13.0+cpu", ())]).endswith("\ntorch==2.13.0\n")


def test_what_was_not_resolved_is_an_error() -> None:
    with pytest.raises(LockError, match="c is needed"):
        reachable(["a"], chosen(a=["c"]))


def fake_pip(monkeypatch: pytest.MonkeyPatch, status: int, report: str = "", error: str = "") -> list[list[str]]:
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> Any:
        commands.append([*command, Path(command[command.index("-r") + 1]).read_text()])
        Path(command[command.index("--report") + 1]).write_text(report)
        return subprocess.CompletedProcess(command, status, "", error)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def project(root: Path) -> Path:
    (root / "pyproject.toml").write_text(
        '[project]\nname = "p"\ndependencies = ["torch>=2"]\n[project.optional-dependencies]\nx = ["lib>=1"]\n')
    return root


def test_pip_is_asked_and_nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 11, 7, "final", 0))
    report = ('{"install": [{"metadata": {"name": "Torch", "version": "2.13.0+cpu", "requires_dist": ["sympy"]}},'
              '{"metadata": {"name": "sympy", "version": "1"}}, {"metadata": {"name": "lib", "version": "3"}}]}')
    commands = fake_pip(monkeypatch, 0, report)
    constraint = tmp_path / "keep.txt"
    constraint.write_text("lib==3\n")
    path = requirements.lock(project(tmp_path), constraint)
    assert read_pins(path.read_text()) == [Pin("lib", "3"), Pin("Torch", "2.13.0")]
    assert {"--dry-run", "--ignore-installed", str(constraint)} <= set(commands[0])
    assert commands[0][-1].split() == ["torch>=2", "lib>=1"]


def test_a_resolver_that_fails_leaves_the_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 11, 7, "final", 0))
    fake_pip(monkeypatch, 1, error="WARNING: x\nERROR: ResolutionImpossible\n")
    (project(tmp_path) / "requirements.txt").write_text("a==1\n")
    with pytest.raises(LockError, match="ResolutionImpossible"):
        requirements.lock(tmp_path)
    assert (tmp_path / "requirements.txt").read_text() == "a==1\n"


def test_another_python_and_a_missing_constraint_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1, "final", 0))
    with pytest.raises(LockError, match="resolved on Python 3.11"):
        requirements.lock(project(tmp_path))
    monkeypatch.setattr(sys, "version_info", (3, 11, 1, "final", 0))
    with pytest.raises(LockError, match="constraint file .* does not exist"):
        requirements.lock(project(tmp_path), tmp_path / "none.txt")


def test_the_committed_file_pins_everything_declared_and_nothing_of_cuda() -> None:
    pinned = {requirements.normal(pin.name): pin.version for pin in read_pins((ROOT / "requirements.txt").read_text())}
    declared = {requirements.normal(line.split(">=")[0].partition("[")[0]) for line in requirements.declared(ROOT)}
    assert declared <= set(pinned)
    assert not [name for name in pinned if name.startswith(("nvidia", "triton", "cuda"))]
    assert list(pinned) == sorted(pinned) and all("+" not in version for version in pinned.values())


def test_conda_and_pip_have_the_same_torch() -> None:
    pinned = {pin.name: pin.version for pin in read_pins((ROOT / "requirements.txt").read_text())}
    environment = (ROOT / "environment.yml").read_text()
    assert f"- pytorch-cpu={pinned['torch']}\n" in environment and "- python=3.11\n" in environment
