"""What the runner adds to a notebook that does nothing, against the `papermill` command called once per notebook."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import pytest
from twelvefold.core.sources import content_key

from tests.benchmarks.interleave import record

NOTEBOOKS = 5
# A result of the agreed form made with the standard library alone: importing the library would cost more than both.
TEXT = '''\
# %% tags=["parameters"]
preset: str = "quick"
seed: int = 0
device: str = "auto"

# %%
import hashlib, json, os
from pathlib import Path

# %%
name, rows = "{name}", b"replicate,value\\n0,1\\n"
folder = Path(os.environ.get("TWELVEFOLD_OUT", ".")) / name
folder.mkdir(parents=True, exist_ok=True)
(folder / "runs.csv").write_bytes(rows)
rule = dict(rule="equals", args=[1.0])
estimate = dict(value=1.0, low=1.0, high=1.0, level=1.0, n=1, unit="deterministic", method="exact")
claim = dict(id="one", says="one row", scope="mechanism", source="none", paper_value=None, paper_says="",
             estimate=estimate, holds_if=rule, verdict="holds", note="")
run = dict(started="2026-01-01T00:00:00+00:00", seconds=0.0, cpu_seconds=0.0, peak_rss_mb=0.0, cpu="any", gpu=None,
           commit=None, python="3.11")
study = dict(name=name, preset=preset, seed=seed, seeds=[seed], device="cpu", dtype="float32", threads=1,
             content_key=json.loads(Path("keys.json").read_text())[name], versions=dict(python="3.11"), scale=dict(),
             parameters=dict(preset=preset, seed=seed, device=device),
             runs=dict(file="runs.csv", sha256=hashlib.sha256(rows).hexdigest()),
             tables=[], figures=[], claims=[claim], run=run)
_ = (folder / "study.json").write_text(json.dumps(study))
'''


def tree(root: Path) -> list[Path]:
    """A project of notebooks that do almost nothing; the same cells as .ipynb for papermill."""
    for folder in ("lib", "notebooks/toy", "out"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "toy"\nversion = "0"\n')
    (root / "requirements.txt").write_text("")
    texts = []
    for number in range(1, NOTEBOOKS + 1):
        text = root / f"notebooks/toy/{number:02d}_nothing.py"
        text.write_text(TEXT.format(name=f"toy/{text.stem}"))
        notebook = jupytext.read(text, fmt="py:percent")
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        jupytext.write(notebook, root / f"out/{text.stem}.ipynb")
        texts.append(text)
    keys = {f"toy/{text.stem}": content_key(root, f"toy/{text.stem}") for text in texts}
    (root / "notebooks/toy/keys.json").write_text(json.dumps(keys))
    shutil.copy(root / "notebooks/toy/keys.json", root)  # papermill's command works where it was started
    return texts


def children_seconds() -> float:
    """CPU seconds of all processes that this one has started and that have ended, theirs included."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def command(root: Path, *words: str) -> None:
    answer = subprocess.run([sys.executable, "-m", *words], cwd=root, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("further", [False, True], ids=["with start", "further"])
def test_runner(benchmark: Any, tmp_path: Path, further: bool) -> None:
    """With its start (interpreter, scheduler, worker) over all notebooks, and what one more notebook costs."""
    texts = tree(tmp_path)

    def ours(pattern: str = "toy/*") -> float:
        before = children_seconds()
        command(tmp_path, "twelvefold", "run", "--force", "--jobs", "1", "--only", pattern)
        return children_seconds() - before

    def peer() -> float:
        before = children_seconds()
        for text in texts:
            command(tmp_path, "papermill", "-p", "preset", "quick", f"out/{text.stem}.ipynb", "out/done.ipynb")
        return (children_seconds() - before) / NOTEBOOKS

    everything = benchmark.pedantic(ours, rounds=1)
    assert len(list((tmp_path / "figures/quick/toy").glob("*/study.json"))) == NOTEBOOKS
    each = (everything - ours("toy/01_nothing")) / (NOTEBOOKS - 1) if further else everything / NOTEBOOKS
    words = "for each further empty notebook" if further else f"per empty notebook, start included, {NOTEBOOKS} in turn"
    ratio = record(
        benchmark, (each, peer()), target=2.0, what=f"CPU seconds of all processes {words}",
        peer="the papermill command, once per notebook",
    )
    assert ratio > 0
