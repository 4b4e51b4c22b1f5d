"""The committed .ipynb: stable bytes, nothing that varies, refusals instead of masks, accepted by jupytext."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from jupytext.compare import compare_notebooks
from nbformat import v4
from twelvefold.run.normalise import NormaliseError, normalise, overwrite

TEXT = '''\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Title

# %% tags=["parameters"]
preset: str = "quick"

# %%
print("a")

# %%
print("a")

# %%
1 + 1
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "01_alpha.py"
    path.write_text(TEXT)
    (tmp_path / "jupytext.toml").write_text(
        'formats = "ipynb,py:percent"\nnotebook_metadata_filter = "kernelspec,-jupytext"\n'
        'cell_metadata_filter = "tags,-all"\n'
    )
    return path


def stream(text: str, name: str = "stdout") -> Any:
    return v4.new_output("stream", name=name, text=text)


def executed(source: Path, outputs: dict[int, list[Any]], injected: bool = True, **metadata: Any) -> Path:
    """What papermill leaves: new ids, metadata of the run, counts shifted by the injected cell; outputs by cell."""
    notebook = jupytext.read(source)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for index, cell in enumerate(code):
        cell.outputs = outputs.get(index, [])
        cell.execution_count = index + 1 + (index > 0)
        cell.metadata["papermill"] = {"duration": 0.1234, "start_time": "now"}
    if injected:
        position = notebook.cells.index(code[0]) + 1
        cell = v4.new_code_cell("preset = 'quick'", metadata={"tags": ["injected-parameters"]})
        notebook.cells.insert(position, cell)
    notebook.metadata |= {"papermill": {"duration": 1.0, "parameters": {}}, "widgets": {"x": 1}} | metadata
    path = source.with_name("executed.ipynb")
    nbformat.write(notebook, path)
    return path


def cells(data: bytes) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(data)["cells"] if cell["cell_type"] == "code"]


def test_two_executions_give_the_same_bytes(source: Path) -> None:
    outputs = {1: [stream("a\n")], 3: [v4.new_output("execute_result", {"text/plain": "2"}, execution_count=5)]}
    first = normalise(source, executed(source, outputs))
    assert first == normalise(source, executed(source, outputs, papermill={"duration": 9.0}))
    assert first.endswith(b"}\n") and not first.endswith(b"\n\n")


def test_nothing_of_the_run_is_left(source: Path) -> None:
    data = json.loads(normalise(source, executed(source, {1: [stream("a\n")]})))
    assert data["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert (data["nbformat"], data["nbformat_minor"]) == (4, 5)
    assert [cell["metadata"] for cell in data["cells"]] == [{}, {"tags": ["parameters"]}, {}, {}, {}]
    assert len({cell["id"] for cell in data["cells"]}) == 5


def test_ids_depend_on_the_source_alone_and_repeats_are_numbered(source: Path) -> None:
    before = [cell["id"] for cell in cells(normalise(source, executed(source, {})))]
    assert before[2] == f"{before[1]}-2"
    source.write_text(TEXT.replace("1 + 1", "1 + 2"))
    after = [cell["id"] for cell in cells(normalise(source, executed(source, {})))]
    assert before[:3] == after[:3] and before[3] != after[3]


def test_counts_run_from_one_without_the_injected_cell(source: Path) -> None:
    result = v4.new_output("execute_result", {"text/plain": "2"}, execution_count=5)
    found = cells(normalise(source, executed(source, {3: [result]})))
    assert [cell["execution_count"] for cell in found] == [1, 2, 3, 4]
    assert found[3]["outputs"][0]["execution_count"] == 4


def test_streams_are_merged_and_stderr_and_widgets_dropped(source: Path) -> None:
    widget = v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "f00"},
                                            "text/plain": "interactive(children=...)"})
    outputs = [stream("a"), stream("warning", "stderr"), stream("b\n"), widget, stream("1 %\rc  \n")]
    found = cells(normalise(source, executed(source, {1: outputs})))[1]["outputs"]
    assert [(o["output_type"], "".join(o["text"])) for o in found] == [("stream", "ab\nc  \n")]


@pytest.mark.parametrize(("raw", "shown"), [
    ("1 %\r2 %\rdone\n", "done\n"), ("abc\rX\n", "Xbc\n"), ("a\r\nb", "a\nb"), ("plain\n", "plain\n"), ("\r", ""),
])
def test_carriage_returns_are_applied(raw: str, shown: str) -> None:
    assert overwrite(raw) == shown


@pytest.mark.parametrize("output", [
    stream("<object at 0x7f00dead1234>\n"),
    v4.new_output("execute_result", {"text/plain": "<f at 0x7f00dead1234>"}, execution_count=1),
    v4.new_output("display_data", {"text/html": "<b>0x7f00dead1234</b>"}),
])
def test_memory_addresses_are_refused_with_the_cell(source: Path, output: Any) -> None:
    with pytest.raises(NormaliseError, match=r"01_alpha.py, cell 3 prints the memory address 0x7f00dead1234"):
        normalise(source, executed(source, {1: [output]}))


def test_short_hexadecimal_numbers_are_no_addresses(source: Path) -> None:
    normalise(source, executed(source, {1: [stream("0x1F\n")]}))


def test_paths_of_the_machine_are_refused(source: Path) -> None:
    path = executed(source, {1: [stream("/somewhere/project/figures/x.png\n")]})
    with pytest.raises(NormaliseError, match="path of this machine, /somewhere/project"):
        normalise(source, path, ["/somewhere/project"])
    normalise(source, path, ["/somewhere/else"])


def test_failed_cells_are_refused(source: Path) -> None:
    error = v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    with pytest.raises(NormaliseError, match="cell 3 failed with ValueError"):
        normalise(source, executed(source, {1: [error]}))


@pytest.mark.parametrize(("old", "new"), [("1 + 1", "1 + 2"), ("# # Title", "# # Other"), ("# %%\n1 + 1\n", "")])
def test_a_copy_of_another_text_is_refused(source: Path, old: str, new: str) -> None:
    path = executed(source, {})
    source.write_text(TEXT.replace(old, new))
    with pytest.raises(NormaliseError, match="was not executed from 01_alpha.py as it is now"):
        normalise(source, path)


def test_jupytext_finds_the_pair_equal_and_sync_changes_nothing(source: Path) -> None:
    paired = source.with_suffix(".ipynb")
    paired.write_bytes(normalise(source, executed(source, {1: [stream("a\n")]})))
    compare_notebooks(nbformat.read(paired, as_version=4), jupytext.read(source), fmt="py:percent")
    before = (source.read_bytes(), paired.read_bytes())
    command = [sys.executable, "-m", "jupytext", "--sync", str(paired)]
    done = subprocess.run(command, cwd=source.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (source.read_bytes(), paired.read_bytes()) == before
