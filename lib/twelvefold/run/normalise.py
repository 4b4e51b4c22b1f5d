"""The committed .ipynb: cells from the text, outputs from the executed copy, everything that varies taken out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from twelvefold.run.jobs import RunError

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_WIDGET = "application/vnd.jupyter.widget-view+json"
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


class NormaliseError(RunError):
    """An executed copy that cannot become the committed notebook; the message names the cell."""

    exit_code = 1


def normalise(source: Path, executed: Path, private: Sequence[str] = ()) -> bytes:
    """Return the bytes of the committed .ipynb.

    Two executions that print the same give the same bytes: cell ids come from the sources, execution counts are
    1..n, stderr, widget views and the metadata of the run are dropped.

    Args:
        source: the text, py:percent.
        executed: the executed copy made from it.
        private: paths of this machine that must not appear in an output.

    Raises:
        NormaliseError: when the sources differ, a cell failed, or an output holds a memory address or a private path.
    """
    import jupytext
    import nbformat
    from nbformat import v4

    text = jupytext.read(source)
    ran = [cell for cell in nbformat.read(executed, as_version=4).cells if not _injected(cell)]
    if [(cell.cell_type, cell.source) for cell in text.cells] != [(cell.cell_type, cell.source) for cell in ran]:
        raise NormaliseError(f"{executed} was not executed from {source.name} as it is now: run the notebook again")
    kernel = dict(text.metadata.get("kernelspec", _KERNEL))
    notebook = v4.new_notebook(metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    notebook.cells = list(_cells(text.cells, ran, source.name, private))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return (nbformat.writes(notebook).rstrip("\n") + "\n").encode()


def _cells(text: Sequence[Any], ran: Sequence[Any], title: str, private: Sequence[str]) -> Iterator[Any]:
    from nbformat import v4

    make = {"code": v4.new_code_cell, "markdown": v4.new_markdown_cell, "raw": v4.new_raw_cell}
    count = 0
    for index, (cell, done, identity) in enumerate(zip(text, ran, _ids(text), strict=True)):
        metadata = {"tags": list(cell.metadata["tags"])} if cell.metadata.get("tags") else {}
        new = make[cell.cell_type](cell.source, metadata=metadata, id=identity)
        if cell.cell_type == "code" and cell.source.strip():
            count += 1
            new.execution_count = count
            new.outputs = _outputs(done.outputs, count, f"{title}, cell {index + 1}", private)
        yield new


def _injected(cell: Any) -> bool:
    return "injected-parameters" in cell.metadata.get("tags", [])


def _ids(cells: Sequence[Any]) -> Iterator[str]:
    """Yield an id per cell from its type and source; a repeated cell gets `-2`, `-3` and so on."""
    seen: dict[str, int] = {}
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        yield digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def _outputs(outputs: Sequence[Any], count: int, where: str, private: Sequence[str]) -> list[Any]:
    kept: list[Any] = []
    for output in outputs:
        if output.output_type == "error":
            raise NormaliseError(f"{where} failed with {output.ename}: only a run without errors is committed")
        if output.output_type == "stream" and output.name == "stderr" or _WIDGET in output.get("data", {}):
            continue
        if output.output_type == "stream" and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text
            continue
        if output.output_type == "execute_result":
            output.execution_count = count
        kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = overwrite(output.text)
        _refuse_volatile(output, where, private)
    return [output for output in kept if output.output_type != "stream" or output.text]


def overwrite(text: str) -> str:
    """Apply carriage returns as a terminal does: what follows one overwrites the line from its beginning."""
    return "\n".join(_overwritten(line) for line in text.replace("\r\n", "\n").split("\n"))


def _overwritten(line: str) -> str:
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part):]
    return shown


def _refuse_volatile(output: Any, where: str, private: Sequence[str]) -> None:
    """Refuse what would differ elsewhere instead of masking it: the notebook should not print it."""
    texts = [output.text] if output.output_type == "stream" else [
        value for kind, value in output.data.items() if isinstance(value, str) and not kind.startswith("image/png")]
    for text in texts:
        address = _ADDRESS.search(text)
        if address is not None:
            raise NormaliseError(f"{where} prints the memory address {address[0]}: print something that stays the same")
        found = [path for path in private if path and f"{path.rstrip('/')}/" in text]
        if found:
            raise NormaliseError(f"{where} prints a path of this machine, {found[0]}: print it relative to the project")
