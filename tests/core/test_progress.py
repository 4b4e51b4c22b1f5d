"""Progress: what is yielded, lines in batch runs, the file for the runner, bars for readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twelvefold.core import progress as module
from twelvefold.core.progress import progress, report


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "_last_line", -100.0)
    monkeypatch.setattr(module, "_last_file", -100.0)
    monkeypatch.setenv("TWELVEFOLD_BATCH", "1")
    monkeypatch.delenv("TWELVEFOLD_PROGRESS", raising=False)
    return clock


@pytest.mark.parametrize("items", [[1, 2, 3], [], range(4)])
def test_all_items_come_through_in_order(clock: Clock, items: Any) -> None:
    assert list(progress(items, "x")) == list(items)
    assert list(progress(iter(items), "x")) == list(items)


def test_batch_prints_one_line_per_some_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in progress(range(20), "populations"):
        clock.now += 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"populations: {done} of 20" for done in (0, 5, 10, 15, 20)]


def test_an_unknown_total_is_said_so(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    list(progress(iter([1]), "x"))
    assert capsys.readouterr().err == "x: 0 of ?\n"


def test_nothing_reaches_standard_output(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    list(progress(range(3), "x"))
    assert capsys.readouterr().out == ""


def test_the_file_is_written_at_most_twice_a_second(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "progress.json"
    monkeypatch.setenv("TWELVEFOLD_PROGRESS", str(target))
    writes: list[dict[str, Any]] = []
    replace = module.os.replace

    def counting(source: Any, destination: Any) -> None:
        replace(source, destination)
        writes.append(json.loads(target.read_text()))

    monkeypatch.setattr(module.os, "replace", counting)
    for _ in progress(range(100), "steps"):
        clock.now += 0.1
    assert len(writes) == 21  # ten seconds and the first
    assert writes[0] == {"label": "steps", "done": 0, "total": 100}
    assert [write["done"] for write in writes] == list(range(0, 101, 5))
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]


def test_a_lost_folder_does_not_stop_the_loop(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWELVEFOLD_PROGRESS", str(tmp_path / "gone" / "progress.json"))
    assert list(progress(range(3), "x")) == [0, 1, 2]


class Bar:
    made: list[Bar] = []

    def __init__(self, label: str, total: int | None) -> None:
        self.label, self.total, self.n, self.closed = label, total, 0, False
        Bar.made.append(self)

    def update(self, steps: int) -> None:
        self.n += steps

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def bars(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    monkeypatch.setattr(Bar, "made", [])
    monkeypatch.setattr(module, "_shows_bars", lambda: True)
    monkeypatch.setattr(module, "_new_bar", Bar)
    return Bar.made


def test_a_bar_follows_and_closes(bars: list[Bar]) -> None:
    for _ in progress("abc", "letters"):
        pass
    assert [(bar.label, bar.total, bar.n, bar.closed) for bar in bars] == [("letters", 3, 3, True)]


def test_a_bar_closes_when_the_loop_breaks(bars: list[Bar]) -> None:
    with pytest.raises(RuntimeError):
        for item in progress(range(5), "x"):
            if item == 2:
                raise RuntimeError
    import gc

    gc.collect()
    assert [bar.closed for bar in bars] == [True]


def test_the_same_label_counted_anew_gets_a_new_bar(bars: list[Bar]) -> None:
    for done in (1, 2, 0, 1):
        report("x", done, 3)
    assert [(bar.n, bar.closed) for bar in bars] == [(2, True), (1, False)]
    module._close_bar("x")


def test_a_real_bar_can_be_drawn(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_shows_bars", lambda: True)
    assert list(progress(range(3), "x")) == [0, 1, 2]


def test_without_tqdm_lines_are_printed(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_shows_bars", lambda: True)
    monkeypatch.setitem(__import__("sys").modules, "tqdm.auto", None)
    for _ in progress(range(2), "x"):
        clock.now += 5
    assert capsys.readouterr().err.splitlines() == ["x: 0 of 2", "x: 1 of 2", "x: 2 of 2"]


def test_negative_steps_are_refused(clock: Clock) -> None:
    with pytest.raises(ValueError, match="done = -1"):
        report("x", -1, 3)
