"""Moving results to their place, and remembering what was computed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toytree import make_result
from twelvefold.run import done, publish
from twelvefold.run.conclude import conclude
from twelvefold.run.done import Keys, executed_path, is_done, record_path, result_folder, write_record
from twelvefold.run.execute import Attempt
from twelvefold.run.publish import (
    StageProblem,
    TreeProblem,
    check_writable,
    move_file,
    publish_results,
    read_stage,
    study_files,
)

KEYS = Keys("c" * 64, "d" * 64, "e" * 64)
NAME = "toy/01_alpha"


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_study_comes_last_and_files_of_the_former_run_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, target = make_result(tmp_path / "stage"), tmp_path / "figures"
    (stage / "zz.csv").write_text("last by name")
    target.mkdir()
    (target / "old.png").write_text("old")
    expected = contents(stage)
    moved: list[str] = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moved.append(Path(b).name), real(a, b))[1])
    paths = publish_results(stage, target)
    assert moved[-1] == "study.json" and set(moved) == set(expected)
    assert sorted(paths) == sorted(target / name for name in expected)
    assert contents(target) == expected


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_nothing_is_lost_when_the_first_move_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    target = make_result(tmp_path / "figures", runs="r\n0\n")
    before = contents(target)

    def fail(a: Path, b: Path) -> None:
        raise OSError(number, os.strerror(number), str(b))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(TreeProblem, match=str(target)):
        publish_results(make_result(tmp_path / "stage"), target)
    assert contents(target) == before


def test_stage_on_another_file_system_is_copied_whole_before_anything_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, target = make_result(tmp_path / "stage"), make_result(tmp_path / "figures", runs="r\n0\n")
    before, expected = contents(target), contents(stage)
    monkeypatch.setattr(publish, "_same_device", lambda a, b: False)
    real = publish.shutil.copyfile
    copied: list[Path] = []

    def full_after_two(source: Any, to: Any, **kw: Any) -> Any:
        if len(copied) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(to))
        copied.append(to)
        return real(source, to, **kw)

    with monkeypatch.context() as patched:
        patched.setattr(publish.shutil, "copyfile", full_after_two)
        with pytest.raises(TreeProblem, match=r"No space left on device.*Free some space"):
            publish_results(stage, target)
    assert contents(target) == before and sorted(p.name for p in tmp_path.iterdir()) == ["figures", "stage"]
    publish_results(stage, target)
    assert contents(target) == expected


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root on Linux")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_keeps_the_earlier_results(tmp_path: Path, small_disk: Path) -> None:
    target = make_result(small_disk / "figures")
    before = contents(target)
    stage = make_result(tmp_path / "stage")
    (stage / "plot.png").write_bytes(os.urandom(200_000))
    with pytest.raises(TreeProblem, match=r"cannot write .*: No space left on device. Free some space"):
        publish_results(stage, target)
    with pytest.raises(TreeProblem, match="No space left"):
        move_file(stage / "plot.png", target / "plot.png")
    assert contents(target) == before
    assert [path.name for path in small_disk.iterdir()] == ["figures"]


def test_read_only_folder_is_refused_with_the_cure(tmp_path: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(TreeProblem, match=r"cannot write .*small.*Run in a copy of the project"):
        check_writable(small_disk / "figures")


def test_check_writable_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "a/b")
    assert list((tmp_path / "a/b").iterdir()) == []


def test_other_errors_are_not_explained_away(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        move_file(tmp_path / "none", tmp_path / "target")


def test_good_stage_is_read(tmp_path: Path) -> None:
    study = read_stage(make_result(tmp_path), NAME, "quick", 0)
    assert study["name"] == NAME
    assert study_files(study) == ["runs.csv", "summary.csv", "plot.png", "plot.svg"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "study.json").unlink(), r"without study.json: `study.done\(\)`"),
        (lambda f: (f / "study.json").write_text("{"), "is no JSON"),
        (lambda f: (f / "study.json").write_text("{}"), "not in order"),
        (lambda f: (f / "plot.svg").unlink(), "not there: plot.svg"),
        (lambda f: make_result(f, name="toy/02_beta"), "says name='toy/02_beta', but 'toy/01_alpha' was run"),
        (lambda f: make_result(f, preset="gpu"), "says preset='gpu'"),
        (lambda f: make_result(f, seed=7), "says seed=7"),
    ],
)
def test_bad_stage_is_refused(tmp_path: Path, spoil: Any, words: str) -> None:
    spoil(make_result(tmp_path))
    with pytest.raises(StageProblem, match=words):
        read_stage(tmp_path, NAME, "quick", 0)


def test_where_things_belong(tmp_path: Path) -> None:
    assert result_folder(tmp_path, "gpu", 0, NAME) == tmp_path / "figures/gpu/toy/01_alpha"
    assert result_folder(tmp_path, "gpu", 5, NAME) == tmp_path / ".twelvefold/scratch/gpu/seed-5/toy/01_alpha"
    assert executed_path(tmp_path, "gpu", 0, NAME) == tmp_path / ".twelvefold/executed/gpu/toy/01_alpha.ipynb"
    assert executed_path(tmp_path, "gpu", 5, NAME) != executed_path(tmp_path, "gpu", 0, NAME)


def test_record_holds_only_for_its_keys_and_files(tmp_path: Path) -> None:
    folder = make_result(result_folder(tmp_path, "quick", 0, NAME))
    assert not is_done(tmp_path, "quick", NAME, KEYS)
    write_record(tmp_path, "quick", NAME, KEYS, folder.iterdir())
    assert is_done(tmp_path, "quick", NAME, KEYS)
    assert not is_done(tmp_path, "gpu", NAME, KEYS)
    for changed in (Keys("x", *KEYS_TAIL), Keys(KEYS.content_key, "x", KEYS.environment_key), Keys(*KEYS_HEAD, "x")):
        assert not is_done(tmp_path, "quick", NAME, changed)
    text = (folder / "runs.csv").read_text()
    (folder / "runs.csv").write_text(text + " ")
    assert not is_done(tmp_path, "quick", NAME, KEYS)
    (folder / "runs.csv").write_text(text)
    assert is_done(tmp_path, "quick", NAME, KEYS)
    (folder / "plot.svg").unlink()
    assert not is_done(tmp_path, "quick", NAME, KEYS)


KEYS_TAIL = (KEYS.display_key, KEYS.environment_key)
KEYS_HEAD = (KEYS.content_key, KEYS.display_key)


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', json.dumps({"files": {}})])
def test_damaged_record_counts_as_none(tmp_path: Path, text: str) -> None:
    path = record_path(tmp_path, "quick", NAME)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert not is_done(tmp_path, "quick", NAME, KEYS)


def attempt_in(root: Path, ok: bool = True, message: str = "", **changes: Any) -> Attempt:
    stage = root / ".twelvefold/staging/run/one"
    make_result(stage / "results" / NAME, **({"content_key": KEYS.content_key} | changes))
    (stage / "out.ipynb").write_text("{}")
    (stage / "log.txt").write_text("words")
    return Attempt(NAME, ok, stage, 2.0, message)


def test_good_attempt_is_published_and_recorded(tmp_path: Path) -> None:
    failed = executed_path(tmp_path, "quick", 0, NAME).with_suffix(".failed.ipynb")
    failed.parent.mkdir(parents=True)
    failed.touch()
    outcome = conclude(attempt_in(tmp_path), tmp_path, "quick", 0, KEYS, tmp_path / "none")
    assert (outcome.status, outcome.comparison, outcome.verdicts) == ("done", "new", {"holds": 1})
    assert outcome.folder == tmp_path / "figures/quick/toy/01_alpha" and (outcome.folder / "study.json").is_file()
    assert outcome.log is not None and outcome.log.read_text() == "words"
    assert executed_path(tmp_path, "quick", 0, NAME).is_file() and not failed.exists()
    assert is_done(tmp_path, "quick", NAME, KEYS)
    again = conclude(attempt_in(tmp_path), tmp_path, "quick", 0, KEYS, outcome.folder)
    assert again.comparison == "same bytes"


def test_another_seed_goes_to_scratch_and_is_never_recorded(tmp_path: Path) -> None:
    outcome = conclude(attempt_in(tmp_path, seed=7), tmp_path, "quick", 7, KEYS, tmp_path / "none")
    assert outcome.status == "done" and "scratch" in str(outcome.folder)
    assert not (tmp_path / "figures").exists() and not (tmp_path / ".twelvefold/done").exists()


def test_failed_attempt_keeps_its_traces_and_the_earlier_result(tmp_path: Path) -> None:
    folder = make_result(result_folder(tmp_path, "quick", 0, NAME), runs="r\n0\n")
    before = contents(folder)
    outcome = conclude(attempt_in(tmp_path, ok=False, message="cell 3: no"), tmp_path, "quick", 0, KEYS, folder)
    copy = executed_path(tmp_path, "quick", 0, NAME).with_suffix(".failed.ipynb")
    assert outcome.status == "failed" and outcome.message == f"cell 3: no (executed copy: {copy})"
    assert copy.is_file() and outcome.log == copy.with_suffix(".log")
    assert contents(folder) == before and not is_done(tmp_path, "quick", NAME, KEYS)


def test_attempt_that_left_nothing_has_only_its_message(tmp_path: Path) -> None:
    outcome = conclude(Attempt(NAME, False, tmp_path, 0.0, "its worker died"), tmp_path, "quick", 0, KEYS, tmp_path)
    assert (outcome.message, outcome.log) == ("its worker died", None)


def test_result_of_sources_that_changed_meanwhile_is_not_recorded(tmp_path: Path) -> None:
    outcome = conclude(attempt_in(tmp_path, content_key="z" * 64), tmp_path, "quick", 0, KEYS, tmp_path / "none")
    assert outcome.status == "done" and "changed while it ran" in outcome.message
    assert not is_done(tmp_path, "quick", NAME, KEYS)


def test_full_disk_at_publishing_is_a_failure_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(stage: Path, target: Path) -> list[Path]:
        with publish.explain(target):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr("twelvefold.run.conclude.publish_results", full)
    outcome = conclude(attempt_in(tmp_path), tmp_path, "quick", 0, KEYS, tmp_path / "none")
    assert outcome.status == "failed" and "Free some space" in outcome.message


def test_keys_come_from_the_tree(finished: Any) -> None:
    ours = done.current_keys(finished.root, NAME, "cpu")
    assert ours != done.current_keys(finished.root, NAME, "cuda")
    assert ours.content_key == finished.study(NAME)["content_key"]
    assert is_done(finished.root, "quick", NAME, ours)
