"""`script`: runs the text of a notebook as a plain script, for machines that have only torch and the core dependencies.

    python -m twelvefold.run.script SOURCE PARAMETERS      one notebook in this process (PARAMETERS: JSON)

Each notebook gets a process of its own, so that its CPU seconds and memory are its own, too.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twelvefold.core.presets import DeviceError, resolve_device
from twelvefold.run import done
from twelvefold.run.jobs import Notebook, ParameterProblem, RunError, discover
from twelvefold.run.ledger import verdict_counts, write_ledger
from twelvefold.run.lock import runner_lock
from twelvefold.run.publish import publish_results, read_stage

_CELL = re.compile(r"# %%(?!%)(?P<options>.*)")
_TAGS = re.compile(r"tags=(\[[^\]]*\])")


@dataclass(frozen=True)
class Cell:
    """One cell of a py:percent text: `kind` is code, markdown or raw; `line` is the first line of `source`, from 1."""

    kind: str
    tags: tuple[str, ...]
    line: int
    source: str


def read_cells(text: str) -> list[Cell]:
    """Return the cells of a py:percent text without its header; code before the first marker is a cell, too."""
    lines = text.splitlines()
    first = _after_header(lines)
    starts = [i for i, line in enumerate(lines) if i >= first and _CELL.match(line)]
    ends = [*starts, len(lines)]
    cells = [_cell("", first, lines[first : ends[0]])]
    for start, end in zip(starts, ends[1:], strict=True):
        cells.append(_cell(lines[start].partition("%%")[2], start + 1, lines[start + 1 : end]))
    return [cell for cell in cells if cell.source.strip()]


def _after_header(lines: Sequence[str]) -> int:
    if not lines or lines[0].rstrip() != "# ---":
        return 0
    return next((i + 1 for i, line in enumerate(lines) if i and line.rstrip() == "# ---"), 0)


def _cell(options: str, start: int, lines: Sequence[str]) -> Cell:
    kind = next((kind for kind in ("markdown", "raw") if f"[{kind}]" in options), "code")
    tags = _TAGS.search(options)
    return Cell(kind, tuple(json.loads(tags[1])) if tags else (), start + 1, "\n".join(lines))


def check_parameters(cells: Sequence[Cell], parameters: Mapping[str, Any], title: str) -> None:
    """Refuse parameters that the notebook would ignore.

    Raises:
        ParameterProblem: without a cell tagged `parameters`, or when it does not assign one of them.
    """
    found = [cell for cell in cells if "parameters" in cell.tags]
    if len(found) != 1:
        raise ParameterProblem(f'{title} has {len(found)} cells tagged "parameters": it needs exactly one')
    names = {node.id for node in ast.walk(ast.parse(found[0].source))
             if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    unknown = sorted(set(parameters) - names)
    if unknown:
        raise ParameterProblem(f"{title}: its parameters cell does not assign {', '.join(unknown)}; add them there")


def execute(source: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Execute the code cells of a text one by one in one namespace and return it.

    The parameters are set after the cell tagged `parameters`. Tracebacks show the lines of the text.

    Raises:
        ParameterProblem: see `check_parameters`.
        Exception: whatever a cell raises.
    """
    cells = read_cells(source.read_text(encoding="utf-8"))
    check_parameters(cells, parameters, source.name)
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(source)}
    for cell in cells:
        if cell.kind != "code":
            continue
        code = compile("\n" * (cell.line - 1) + cell.source, str(source), "exec", dont_inherit=True)
        exec(code, namespace)
        if "parameters" in cell.tags:
            namespace.update(parameters)
    return namespace


def run_scripts(root: Path, notebook: str, *, preset: str, seed: int = 0, device: str = "auto",
                force: bool = False) -> int:
    """Run the notebooks that fit and publish their results as `run` does; return 1 when one failed.

    Args:
        root: the project.
        notebook: a name, a path to a .py or .ipynb, or a glob over names.
        preset: quick, gpu or paper.
        seed: base seed; results of any but 0 go to `.twelvefold/scratch`.
        device: auto, cpu, mps, cuda or cuda:<index>.
        force: run even what is up to date.

    Raises:
        RunError: no such notebook, a device that is not there, or another runner at work.
    """
    notebooks = discover(root, as_name(root, notebook))
    try:
        device_class = resolve_device(device, preset).type
    except DeviceError as error:
        raise RunError(str(error)) from None
    parameters = {"preset": preset, "seed": seed, "device": device}
    with runner_lock(root):
        failed = sum(not _run_one(root, item, parameters, device_class, force) for item in notebooks)
        if seed == 0:
            write_ledger(root, preset)
    return 1 if failed else 0


def as_name(root: Path, text: str) -> str:
    """Return the name or glob that a typed path stands for; names and globs are returned as they are."""
    path = Path(text)
    if path.suffix in (".py", ".ipynb"):
        caller = Path(os.environ.get("TWELVEFOLD_CALLER_DIR") or ".")
        for place in ((caller / path).resolve(), (root / path).resolve()):
            if place.is_relative_to(root / "notebooks"):
                return place.relative_to(root / "notebooks").with_suffix("").as_posix()
    return text


def _run_one(root: Path, notebook: Notebook, parameters: dict[str, Any], device_class: str, force: bool) -> bool:
    preset, seed, name = parameters["preset"], parameters["seed"], notebook.name
    mark = f"script-{preset}"  # a record of its own: `run` must not take it for an executed notebook
    began = time.monotonic()
    stage = root / ".twelvefold" / "staging" / uuid.uuid4().hex
    try:
        keys = done.current_keys(root, name, device_class)
        if seed == 0 and not force and done.is_done(root, mark, name, keys):
            print(f"{name}: up to date")
            return True
        print(f"{name}: running", flush=True)
        stage.mkdir(parents=True)
        _run_child(root, notebook, parameters, stage)
        study = read_stage(stage / name, name, preset, seed)
        folder = done.result_folder(root, preset, seed, name)
        files = publish_results(stage / name, folder)
        if seed == 0 and study["content_key"] == keys.content_key:
            done.write_record(root, mark, name, keys, files)
    except Exception as error:  # one notebook's failure must not hide the others
        print(f"{name}: failed after {time.monotonic() - began:.1f} s: {error}", file=sys.stderr)
        return False
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    print(f"{name}: {verdict_counts(study)}; {time.monotonic() - began:.1f} s; {folder.relative_to(root).as_posix()}")
    return True


def _run_child(root: Path, notebook: Notebook, parameters: dict[str, Any], stage: Path) -> None:
    here = str(Path(__file__).resolve().parents[2])
    paths = [str(root / "lib"), here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "TWELVEFOLD_OUT": str(stage), "TWELVEFOLD_BATCH": "1", "MPLBACKEND": "Agg",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    command = [sys.executable, "-m", "twelvefold.run.script", str(notebook.source), json.dumps(parameters)]
    status = subprocess.run(command, cwd=notebook.source.parent, env=environment).returncode
    if status:
        raise RunError(f"its process ended with status {status}; the traceback stands above")


def main(arguments: Sequence[str]) -> int:
    """Execute one text in this process; print the traceback of a failure from the text on."""
    source, parameters = Path(arguments[0]), json.loads(arguments[1])
    try:
        execute(source, parameters)
    except Exception as error:
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename != str(source):
            frames = frames.tb_next
        traceback.print_exception(error.with_traceback(frames or error.__traceback__))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
