"""LEDGER.md and README's blocks: every field of a claim, stable bytes, marks of older code, damaged results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from twelvefold.run import ledger
from twelvefold.run.ledger import LedgerError

from tests.run.madeup import EXACT, claim, make_result, make_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows; an escaped bar does not divide cells."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[part.strip().replace("\0", "|") for part in line.replace("\\|", "\0").split("|")[1:-1]] for line in lines]


def test_a_row_has_everything_a_reader_needs(tree: Path) -> None:
    full = claim(paper_value=0.6, paper_says="rises (p. 4)", note="a note", scope="full")
    make_result(tree, "toy/01_alpha", claims=[full])
    row = rows(ledger.ledger_text(tree, "quick"))[-1]
    assert row[:7] == ["`positive` the mean is above zero (a note)", "full", "Figure 2", "0.6<br>says: rises (p. 4)",
                       "0.5 [0.25, 0.75] (95 %, 8 training runs)", "> 0", "**holds**"]
    assert row[7] == "quick, cpu"
    assert "(../../notebooks/toy/01_alpha.ipynb)" in row[8] and "(./toy/01_alpha/curve.png)" in row[8]


def test_links_of_the_ledger_lead_to_files(tree: Path) -> None:
    make_result(tree, "toy/01_alpha")
    path = ledger.write_ledger(tree, "quick")
    assert path is not None
    assert (path.parent / "./toy/01_alpha/curve.png").is_file()
    assert (path.parent / "../../notebooks/toy/01_alpha.py").is_file()


def test_a_paper_value_that_nobody_knows_is_called_so_and_an_untested_claim_has_no_number(tree: Path) -> None:
    make_result(tree, "toy/01_alpha", claims=[claim(estimate=None, verdict="not tested")])
    row = rows(ledger.ledger_text(tree, "quick"))[-1]
    assert (row[3], row[4], row[6]) == ("not known", "-", "**not tested**")


@pytest.mark.parametrize(("holds_if", "text"), [
    ({"rule": "above", "args": [0.5]}, "> 0.5"), ({"rule": "below", "args": [-1.0]}, "< -1"),
    ({"rule": "within", "args": [-0.1, 0.1]}, "in [-0.1, 0.1]"), ({"rule": "equals", "args": [3.0]}, "= 3"),
    ({"rule": "outside", "args": [0.0, 1.0]}, "outside [0, 1]"),
])
def test_each_rule_is_written_in_symbols(holds_if: dict, text: str) -> None:
    assert ledger.rule_text(holds_if) == text


def test_a_deterministic_check_tells_its_cases() -> None:
    assert ledger.ours_text(EXACT) == "3 (12 cases)"
    assert ledger.ours_text(EXACT | {"n": 1}) == "3 (1 case)"


def test_text_cannot_break_a_table(tree: Path) -> None:
    make_result(tree, "toy/01_alpha", claims=[claim(says="a | b\nc \\ d")])
    text = ledger.ledger_text(tree, "quick")
    row = rows(text)[-1]
    assert len(row) == 9 and row[0] == "`positive` a | b c \\\\ d"


def test_results_of_other_code_are_marked_with_their_commit(tree: Path) -> None:
    make_result(tree, "toy/01_alpha")
    assert "older code" not in rows(ledger.ledger_text(tree, "quick"))[-1][6]
    (tree / "lib/toylib/made.py").write_text("VALUE = 2\n")
    assert rows(ledger.ledger_text(tree, "quick"))[-1][6] == "**holds**<br>older code (commit 0123456789)"
    assert "older code (commit 0123456789)" in ledger.results_block(tree)


def test_comments_do_not_make_a_result_older(tree: Path) -> None:
    make_result(tree, "toy/01_alpha")
    (tree / "lib/toylib/made.py").write_text("# a remark\nVALUE = 1\n")
    assert "older" not in "".join(rows(ledger.ledger_text(tree, "quick"))[-1])


def test_a_result_whose_notebook_is_gone_stays_in_the_ledger(tree: Path) -> None:
    make_result(tree, "toy/01_alpha")
    (tree / "notebooks/toy/01_alpha.py").unlink()
    assert "its notebook is gone" in ledger.ledger_text(tree, "quick")


def test_the_same_results_give_the_same_bytes_and_no_write(tree: Path) -> None:
    for name in ("toy/02_beta", "toy/01_alpha"):
        make_result(tree, name)
    first = ledger.ledger_text(tree, "quick")
    assert first == ledger.ledger_text(tree, "quick")
    assert first.index("01_alpha") < first.index("02_beta")
    path = ledger.write_ledger(tree, "quick")
    assert path is not None
    before = path.stat().st_mtime_ns
    ledger.write_ledger(tree, "quick")
    assert path.stat().st_mtime_ns == before
    assert [p.name for p in path.parent.iterdir() if p.is_file()] == ["LEDGER.md"]


def test_without_results_there_is_no_ledger(tree: Path) -> None:
    assert ledger.write_ledger(tree, "gpu") is None
    assert not (tree / "figures/gpu").exists()


@pytest.mark.parametrize("damage", ["{", '{"name": "toy/01_alpha"}'])
def test_a_damaged_study_is_named_with_its_cure(tree: Path, damage: str) -> None:
    (make_result(tree, "toy/01_alpha") / "study.json").write_text(damage)
    with pytest.raises(LedgerError, match=r"01_alpha/study.json is damaged.*[Rr]estore"):
        ledger.ledger_text(tree, "quick")


def test_a_result_in_the_wrong_folder_is_refused(tree: Path) -> None:
    folder = make_result(tree, "toy/01_alpha")
    folder.rename(folder.with_name("02_beta"))
    with pytest.raises(LedgerError, match="wrong folder"):
        ledger.read_entries(tree, "quick")


def test_readme_gets_its_blocks_and_keeps_the_rest(tree: Path) -> None:
    make_result(tree, "toy/01_alpha", claims=[claim(), claim(id="two", estimate=None, verdict="not tested")])
    make_result(tree, "toy/01_alpha", "gpu")
    before = (tree / "README.md").read_text()
    assert ledger.update_readme(tree)
    text = (tree / "README.md").read_text()
    assert text.startswith(before[: before.index("old")]) and "\nbetween\n" in text and "\nold\n" not in text
    assert "| [toy/01_alpha](notebooks/toy/01_alpha.ipynb) | 1 holds, 1 not tested | 1 holds |" in text
    assert "| toy | quick | a \\| processor | 1 | 1.0 | 1.0 | 0.50 |" in text
    assert not ledger.update_readme(tree), "a second time there is nothing to change"


def test_budget_adds_minutes_and_takes_the_largest_memory(tree: Path) -> None:
    study = json.loads((make_result(tree, "toy/01_alpha") / "study.json").read_text())
    make_result(tree, "toy/02_beta", run=study["run"] | {"cpu_seconds": 150.0, "peak_rss_mb": 900.0})
    assert rows(ledger.budget_block(tree))[-1][3:] == ["2", "3.5", "2.5", "0.90"]


def test_the_picture_stays_the_one_that_was_chosen(tree: Path) -> None:
    for name in ("toy/01_alpha", "toy/02_beta"):
        make_result(tree, name)
    assert "(figures/quick/toy/01_alpha/curve.png)" in ledger.picture_block(tree, "")
    chosen = "![x](figures/quick/toy/02_beta/curve.png)<!-- picture:end -->"
    assert ledger.picture_block(tree, chosen).startswith("![It rises.](figures/quick/toy/02_beta/curve.png)")


@pytest.mark.parametrize("text", [
    "<!-- a:begin -->", "<!-- a:end --><!-- a:begin -->", "<!-- a:begin --><!-- a:end -->" * 2,
])
def test_missing_or_doubled_markers_are_refused(text: str) -> None:
    with pytest.raises(LedgerError, match="a:begin.*once each"):
        ledger.replace_block(text, "a", "body")


def test_a_tree_without_readme_is_refused(tree: Path) -> None:
    (tree / "README.md").unlink()
    with pytest.raises(LedgerError, match="README.md is missing"):
        ledger.update_readme(tree)
