"""Every notebook has the same anatomy, so that a reader knows where to look."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import Any

import pytest
from twelvefold.run.jobs import Notebook

from tests.notebooks.project import code_cells, name_of, notebooks, text_cells

MOST_CELLS = 32  # "about 30"
MOST_STATEMENTS = 16  # "about 15 lines of logic"
MOST_LINES = 36  # of code in one cell, calls spread over lines with a reason beside each value included
PARAMETERS = {"preset": ("str", "quick"), "seed": ("int", 0), "device": ("str", "auto")}
SWEEPS = ("sweep", "sweep_populations", "train_populations")  # what computes an experiment's points
every_notebook = pytest.mark.parametrize("notebook", notebooks(), ids=name_of)


def statements(source: str) -> list[ast.stmt]:
    """All statements of a cell, nested ones too, without imports and bare texts."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    return [
        node for node in nodes
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def calls(source: str) -> list[str]:
    """Names of everything a cell calls, e.g. `study.declare`."""
    return [ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


def where_called(notebook: Notebook, name: str) -> list[int]:
    """Numbers of the code cells that call `name`."""
    return [i for i, cell in enumerate(code_cells(notebook)) if name in calls(cell.source)]


def tagged(notebook: Notebook, tag: str) -> list[Any]:
    return [cell for cell in text_cells(notebook) if tag in cell.metadata.get("tags", [])]


def tokens(source: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(source).readline))


@every_notebook
def test_the_first_cell_is_a_title_and_the_last_finishes_the_study(notebook: Notebook) -> None:
    cells = text_cells(notebook)
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert cells[-1].cell_type == "code"
    last = statements(cells[-1].source)[-1]
    assert ast.unparse(last).removeprefix("_ = ").startswith("study.done(")
    assert len(where_called(notebook, "study.done")) == 1


@every_notebook
def test_the_parameters_begin_with_preset_seed_and_device_each_with_a_comment(notebook: Notebook) -> None:
    (cell,) = tagged(notebook, "parameters")
    found = {}
    for node in ast.parse(cell.source).body:
        assert isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
        found[node.target.id] = (ast.unparse(node.annotation), ast.literal_eval(node.value))
    assert list(found.items())[: len(PARAMETERS)] == list(PARAMETERS.items())  # what a reader may turn comes after them
    comments = [token for token in tokens(cell.source) if token.type == tokenize.COMMENT]
    assert len(comments) >= len(found)


@every_notebook
def test_the_study_bears_the_notebooks_name_and_takes_the_parameters(notebook: Notebook) -> None:
    (call,) = [
        node for cell in code_cells(notebook) for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rsplit(".", 1)[-1] == "Study"
    ]
    given = [ast.unparse(a) for a in call.args[1:]] + [ast.unparse(k.value) for k in call.keywords]
    assert isinstance(call.args[0], ast.Constant) and call.args[0].value == notebook.name
    assert given == list(PARAMETERS)


@every_notebook
def test_claims_and_scale_stand_before_anything_is_computed(notebook: Notebook) -> None:
    (declared,), (scaled,) = where_called(notebook, "study.declare"), where_called(notebook, "study.scale")
    (recorded,) = where_called(notebook, "study.runs")
    computed = [cell for name in SWEEPS for cell in where_called(notebook, name)]
    assert computed, "a notebook's experiment goes through sweep"
    assert max(declared, scaled) < min(computed) <= max(computed) <= recorded


@every_notebook
def test_a_notebook_is_short_and_holds_no_algorithm(notebook: Notebook) -> None:
    assert len(text_cells(notebook)) <= MOST_CELLS
    for number, cell in enumerate(code_cells(notebook)):
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
        assert len(statements(cell.source)) <= MOST_STATEMENTS, f"code cell {number}:\n{cell.source}"
        assert len(lines) <= MOST_LINES, f"code cell {number}:\n{cell.source}"


@every_notebook
def test_the_text_runs_as_a_plain_script(notebook: Notebook) -> None:
    for cell in code_cells(notebook):
        ast.parse(cell.source)
        assert not re.search(r"^\s*(#\s*)?[%!]\w", cell.source, re.MULTILINE), cell.source
        assert "get_ipython" not in cell.source
    compile(notebook.source.read_text(encoding="utf-8"), notebook.name, "exec")


@every_notebook
def test_no_cell_hides_its_value_with_a_semicolon(notebook: Notebook) -> None:
    for cell in code_cells(notebook):
        assert ";" not in [token.string for token in tokens(cell.source) if token.type == tokenize.OP], cell.source


@every_notebook
def test_something_is_checked_literally_by_nbval(notebook: Notebook) -> None:
    cells = tagged(notebook, "nbval-check-output")
    assert cells and all(cell.cell_type == "code" for cell in cells)


@every_notebook
def test_exploring_computes_no_result(notebook: Notebook) -> None:
    places = where_called(notebook, "explore")
    assert places, "section 10 of the anatomy: one or two controls that recompute a small case"
    for place in places:
        used = calls(code_cells(notebook)[place].source)
        assert not [name for name in used if name == "sweep" or name.startswith("study.")]


@every_notebook
def test_every_code_cell_is_introduced_by_prose(notebook: Notebook) -> None:
    """A reader should meet an explanation at least every third cell."""
    kinds = "".join(cell.cell_type[0] for cell in text_cells(notebook))
    assert "cccc" not in kinds
