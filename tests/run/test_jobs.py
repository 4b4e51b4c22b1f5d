"""Finding notebooks and telling about them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from twelvefold.run.jobs import Outcome, PlainReporter, RunError, RunnerBusy, UnknownNotebook, discover


@pytest.fixture
def root(tmp_path: Path) -> Path:
    good = ("b_paper/01_one", "a_paper/02_two", "a_paper/01_one")
    for name in (*good, "a_paper/helper", "a_paper/1_bad", "a_paper/01_Big"):
        path = tmp_path / "notebooks" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "notebooks/a_paper/03_three.ipynb").write_text("")
    return tmp_path


def test_discover_lists_notebooks_by_name_and_nothing_else(root: Path) -> None:
    found = discover(root)
    assert [n.name for n in found] == ["a_paper/01_one", "a_paper/02_two", "b_paper/01_one"]
    assert found[0].source == root / "notebooks/a_paper/01_one.py"
    assert found[0].paired == root / "notebooks/a_paper/01_one.ipynb"


@pytest.mark.parametrize(
    ("only", "expected"),
    [("a_paper/*", 2), ("*/01_*", 2), ("b_paper/01_one", 1), ("b_paper", 1), ("*", 3)],
)
def test_only_is_a_glob_over_names_or_a_paper(root: Path, only: str, expected: int) -> None:
    assert len(discover(root, only)) == expected


def test_pattern_that_fits_nothing_names_the_known_ones(root: Path) -> None:
    with pytest.raises(UnknownNotebook, match=r"only='c_paper/\*' fits no notebook.*a_paper/01_one.*b_paper/01_one"):
        discover(root, "c_paper/*")


def test_tree_without_notebooks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNotebook, match="no notebook below"):
        discover(tmp_path)


def test_errors_carry_the_exit_status() -> None:
    assert RunnerBusy.exit_code == 3
    assert UnknownNotebook.exit_code == RunError.exit_code == 2


def test_plain_reporter_prints_one_line_per_finished_notebook(root: Path) -> None:
    stream = io.StringIO()
    reporter = PlainReporter(stream)
    reporter.start(discover(root))
    for state in ("waiting", "running", "done"):
        reporter.update("a_paper/01_one", state, "2 s")
    reporter.update("a_paper/02_two", "failed", "cell 3: ValueError: no")
    reporter.finish([Outcome("a_paper/01_one", "done", 2.0), Outcome("a_paper/02_two", "failed", 1.0)])
    assert stream.getvalue().splitlines() == [
        "3 notebooks",
        "done    a_paper/01_one  2 s",
        "failed  a_paper/02_two  cell 3: ValueError: no",
        "1 done, 0 skipped, 1 failed",
    ]
