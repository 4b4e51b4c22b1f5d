"""The committed .ipynb is its text, executed and cleaned: same cells, nothing that changes from run to run."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jupytext
import pytest
from jupytext.compare import compare_notebooks
from twelvefold.core.presets import PRESETS
from twelvefold.run.jobs import Notebook

from tests.notebooks.project import ROOT, name_of, notebooks, paired

LARGEST = 600_000  # bytes of all committed artefacts of one notebook
ABSOLUTE_PATH = re.compile(r"(?<![\w.<:/-])/(?:home|Users|root|tmp|work|mnt|opt|usr|var)/\w")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
every_notebook = pytest.mark.parametrize("notebook", notebooks(), ids=name_of)


def outputs(notebook: Notebook) -> Iterator[Any]:
    for cell in paired(notebook).cells:
        yield from cell.get("outputs", [])


def texts(notebook: Notebook) -> Iterator[str]:
    """Everything in the outputs that a person reads."""
    for output in outputs(notebook):
        yield output.get("text", "")
        yield from (value for kind, value in output.get("data", {}).items() if kind.startswith("text/"))


@every_notebook
def test_text_and_ipynb_have_the_same_cells(notebook: Notebook) -> None:
    text = jupytext.read(notebook.source, fmt="py:percent")
    compare_notebooks(paired(notebook), text, fmt="py:percent", compare_outputs=False)
    assert [c.source for c in text.cells] == [c.source for c in paired(notebook).cells]
    assert [c.metadata.get("tags") for c in text.cells] == [c.metadata.get("tags") for c in paired(notebook).cells]


@every_notebook
def test_every_code_cell_was_executed_in_order_and_without_error(notebook: Notebook) -> None:
    code = [cell for cell in paired(notebook).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))


@every_notebook
def test_metadata_is_the_kernel_and_the_tags_alone(notebook: Notebook) -> None:
    raw = json.loads(notebook.paired.read_text(encoding="utf-8"))
    assert set(raw["metadata"]) <= {"kernelspec", "language_info"}
    assert raw["metadata"]["language_info"] == {"name": "python"}
    assert set(raw["metadata"]["kernelspec"]) == {"display_name", "language", "name"}
    assert (raw["nbformat"], raw["nbformat_minor"]) == (4, 5)
    assert all(set(cell["metadata"]) <= {"tags"} for cell in raw["cells"])
    assert not any("injected-parameters" in cell["metadata"].get("tags", []) for cell in raw["cells"])


@every_notebook
def test_ids_follow_from_the_source(notebook: Notebook) -> None:
    seen: Counter[str] = Counter()
    for cell in paired(notebook).cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] += 1
        assert cell.id == (digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")


@every_notebook
def test_outputs_hold_nothing_of_one_run_or_one_machine(notebook: Notebook) -> None:
    for output in outputs(notebook):
        assert output.get("name") != "stderr"
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
        assert not output.get("metadata", {}).get("papermill")
    for text in texts(notebook):
        assert not ABSOLUTE_PATH.search(text), text
        assert not ADDRESS.search(text), text
        assert "\r" not in text and "it/s" not in text


@every_notebook
def test_the_file_ends_with_one_newline(notebook: Notebook) -> None:
    data = notebook.paired.read_bytes()
    assert data.endswith(b"}\n") and not data.endswith(b"\n\n")


@every_notebook
def test_checked_cells_have_an_output_to_check(notebook: Notebook) -> None:
    checked = [c for c in paired(notebook).cells if "nbval-check-output" in c.metadata.get("tags", [])]
    assert checked and all(cell.outputs for cell in checked)
    assert not any("image/png" in output.get("data", {}) for cell in checked for output in cell.outputs)


@every_notebook
def test_all_artefacts_of_a_notebook_are_small(notebook: Notebook) -> None:
    files = [f for preset in PRESETS for f in (ROOT / "figures" / preset / notebook.name).glob("*")]
    sizes = {f.name: f.stat().st_size for f in [notebook.paired, *files]}
    assert sum(sizes.values()) <= LARGEST, sorted(sizes.items(), key=lambda item: -item[1])[:5]
