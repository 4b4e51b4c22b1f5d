"""The report: everything wrong has a cure and gives exit status 1; a check that breaks is itself reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from twelvefold.core import data
from twelvefold.run import doctor, pins

from tests.run.madeup import make_tree


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_tree(tmp_path)
    # the registry is the project's own, and so are the files that it expects inside the tree
    shutil.copytree(Path(__file__).parents[2] / "data" / "derived", root / "data" / "derived")
    monkeypatch.chdir(root)
    monkeypatch.setattr(pins, "check", lambda root: [])
    return root


def by_topic(root: Path) -> dict[str, list[doctor.Finding]]:
    found: dict[str, list[doctor.Finding]] = {}
    for finding in doctor.examine(root):
        found.setdefault(finding.topic, []).append(finding)
    return found


def test_a_sound_machine(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.print_report(tree) == 0
    text = capsys.readouterr().out
    assert text.endswith("nothing is wrong\n")
    for word in ("python", "torch", "threads", "mnist5k", "GB free", "pins"):
        assert word in text


def test_everything_wrong_has_a_cure(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "check", lambda root: [f"p{i}==1 is missing" for i in range(7)])
    monkeypatch.setattr(doctor, "LEAST_FREE_GB", 1e9)
    monkeypatch.setattr(doctor, "write_problem", lambda folder: "Permission denied")
    wrong = [finding for finding in doctor.examine(tree) if finding.state == "wrong"]
    assert {finding.topic for finding in wrong} == {"pins", "write", "disk"}
    assert all(finding.cure for finding in wrong)
    assert "and 2 more" in next(finding.text for finding in wrong if finding.topic == "pins")
    assert doctor.print_report(tree) == 1


def test_missing_data_is_wrong_only_where_a_package_should_carry_it(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "status", lambda name: data.DataStatus(name, False, "", 1, "a licence", None, "get it"))
    found = {finding.text.split(":")[0]: finding for finding in by_topic(tree)["data"]}
    assert (found["mnist5k"].state, found["mnist5k"].cure) == ("wrong", "get it")
    assert (found["officehome"].state, found["officehome"].cure) == ("note", "get it")


def test_a_check_that_breaks_does_not_hide_the_others(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(root: Path | None = None) -> None:
        raise OSError("unreadable")

    monkeypatch.setattr(data, "registry", broken)
    found = by_topic(tree)
    assert found["data"][0].state == "wrong" and "OSError: unreadable" in found["data"][0].text
    assert found["disk"][0].state == "ok"


def test_torch_that_cannot_be_imported(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    finding = by_topic(tree)["torch"][0]
    assert finding.state == "wrong" and "requirements.txt" in finding.cure


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:  # root may write everywhere, so the refusal is made here
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    assert doctor.write_problem(tmp_path / "not" / "there") == "Permission denied"


def test_the_probe_leaves_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    assert doctor.write_problem(tmp_path / "not" / "there") == ""
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert doctor.write_problem(tmp_path / "file" / "below") != ""
