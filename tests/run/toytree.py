"""A small project for the tests of the runner: three notebooks of a second or two, their package, a way to run it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

NAMES = ("toy/01_alpha", "toy/02_beta", "toy/03_gamma")

_PACKAGE = {
    "__init__.py": '"""A toy package."""\n',
    "shared.py": '"""Shared by alpha and beta."""\n\n\nSTEP = 2.0\n',
    "plotting.py": '"""Drawing."""\n\n\nCOLOUR = "#0072b2"\n',
    "alone.py": '"""Used by gamma only."""\n\n\nSTEP = 3.0\n',
}
_COMPUTE = '''
"""Toy computations, a few short points each."""

import os
import time

import numpy as np

from toylib import {shared}


def draw(seed: int, replicate: int) -> dict:
    """One run: a mean of normal numbers; every call is noted, so that the tests can count."""
    log = os.environ.get("TOY_CALLS")
    if log:
        with open(log, "a") as stream:
            stream.write(f"{name} {{replicate}}\\n")
    time.sleep(float(os.environ.get("TOY_PAUSE", "0")))
    numbers = np.random.default_rng([seed, replicate]).normal(size=50)
    return {{"mean": float(numbers.mean()) + {shared}.STEP, "numbers": numbers}}
'''
_NOTEBOOK = """
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Toy {name}

# %% tags=["parameters"]
preset: str = "quick"  # scale
seed: int = 0  # base seed
device: str = "auto"  # where

# %%
import pandas as pd

from toylib import {name}, plotting
from twelvefold.core import statistics
from twelvefold.core.claims import Claim, above, equals
from twelvefold.core.plotting import subplots
from twelvefold.core.study import Study
from twelvefold.core.sweep import sweep

study = Study("toy/{number}_{name}", preset=preset, seed=seed, device=device)
scale = study.scale(quick=dict(runs=5), gpu=dict(runs=6), paper=dict(runs=7))
study.declare([
    Claim("positive", "the mean is above zero", "mechanism", "toy", above(0.0), "training run"),
    Claim("five", "there are five runs", "mechanism", "toy", equals(5), "deterministic"),
])

# %%
points = [dict(seed=study.seed, replicate=r) for r in range(scale.runs)]
found = sweep({name}.draw, points, label="drawing")
print("drawn", len(found))

# %%
runs = study.runs(pd.DataFrame(dict(replicate=range(scale.runs), mean=[f["mean"] for f in found])))
estimate = statistics.mean(runs["mean"], unit="training run", level=study.level)
summary = pd.DataFrame(dict(mean=[estimate.value], mean_se=[float(runs["mean"].sem())]))
study.table(summary, "summary", "Means over runs.", "summary")

# %%
fig, ax = subplots(1, 1, "column", 2.0)
_ = ax.plot(runs["replicate"], runs["mean"], color=plotting.COLOUR)
study.figure(fig, "means", "The mean of each run.", "A line of five means.")

# %%
_ = study.decide("positive", estimate)
_ = study.decide("five", statistics.exact(len(runs), n=1))
study.done()
"""


_LIGHT = """
# %% [markdown]
# # Toy {name}

# %% tags=["parameters"]
preset: str = "quick"  # scale
seed: int = 0  # base seed
device: str = "auto"  # where

# %%
from toylib import light

# %%
light.note("{name}")
print("drawn", 5)

# %%
light.finish("toy/{number}_{name}", preset, seed)
"""
# Writes what a study writes, without the seconds that torch and its company take to be imported.
_LIGHT_MODULE = """
import os
import sys
from pathlib import Path

from toylib import shared

sys.path.insert(0, {tests!r})
from toytree import make_result

from twelvefold.core import sources


def note(name: str) -> None:
    with open(os.environ.get("TOY_CALLS", os.devnull), "a") as stream:
        stream.write(name + "\\n")


def finish(name: str, preset: str, seed: int) -> None:
    key = sources.content_key(Path(__file__).parents[2], name)
    make_result(Path(os.environ["TWELVEFOLD_OUT"], name), name=name, preset=preset, seed=seed, content_key=key)
"""


def _heeds_interrupts() -> None:
    """In the child: interrupts count again, which a suite in the background of a shell inherits as ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Result:
    """What a runner process left: exit status, its outcomes (None when it raised) and what it printed."""

    code: int
    outcomes: list[dict[str, Any]] | None
    output: str

    def status(self) -> dict[str, str]:
        assert self.outcomes is not None, self.output
        return {outcome["name"]: outcome["status"] for outcome in self.outcomes}

    def of(self, name: str) -> dict[str, Any]:
        assert self.outcomes is not None, self.output
        return next(outcome for outcome in self.outcomes if outcome["name"] == name)


class ToyTree:
    """A generated project below `root`; `run` starts the runner in a process of its own.

    Its notebooks are real studies; with `light` they only write what a study writes, and take a tenth of the time.
    Every point of a sweep takes `pause` seconds.
    """

    pause = "0"

    def __init__(self, root: Path, light: bool = False) -> None:
        self.root, self.light = root, light
        self.calls = root / "calls.txt"
        for name in ("notebooks/toy", "lib/toylib"):
            (root / name).mkdir(parents=True)
        (root / "pyproject.toml").write_text('[project]\nname = "toy"\nversion = "0"\n')
        (root / "requirements.txt").write_text("# nothing\n")
        for name, text in _PACKAGE.items():
            (root / "lib/toylib" / name).write_text(text)
        (root / "lib/toylib/light.py").write_text(_LIGHT_MODULE.format(tests=str(Path(__file__).parent)))
        for full in NAMES:
            self.write_notebook(full)
            shared = "alone" if full.endswith("gamma") else "shared"
            name = full[7:]
            text = _COMPUTE.format(name=name, shared=shared).lstrip()
            (root / "lib/toylib" / f"{name}.py").write_text(text)

    def copy(self, root: Path) -> ToyTree:
        """A copy of the whole tree, work folder and all."""
        shutil.copytree(self.root, root)
        return self.at(root)

    def at(self, root: Path) -> ToyTree:
        """The same kind of tree, which lies at `root` already."""
        other = object.__new__(ToyTree)
        other.root, other.light, other.calls = root, self.light, root / "calls.txt"
        return other

    def source(self, name: str) -> Path:
        return self.root / "notebooks" / f"{name}.py"

    def write_notebook(self, name: str, *changes: tuple[str, str]) -> None:
        """Write the text of a toy notebook, with parts of it replaced."""
        text = (_LIGHT if self.light else _NOTEBOOK).lstrip().format(number=name[4:6], name=name[7:])
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        self.source(name).write_text(text)

    def environment(self) -> dict[str, str]:
        hidden = ("TWELVEFOLD_", "OMP_", "PYTEST_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        return kept | {"TOY_CALLS": str(self.calls), "TOY_PAUSE": self.pause}

    def command(self, names: tuple[str, ...] = NAMES, before: str = "", **arguments: Any) -> list[str]:
        """The command line of a runner; `before` is Python text executed first (to make something fail)."""
        arguments.setdefault("preset", "quick")
        arguments.setdefault("jobs", 1)
        return [sys.executable, "-c", _DRIVER, str(self.root), json.dumps(names), json.dumps(arguments), before]

    def start(self, *args: Any, **arguments: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*args, **arguments), env=self.environment(), cwd=self.root, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_heeds_interrupts,
        )  # fmt: skip

    def run(self, *args: Any, timeout: float = 120, **arguments: Any) -> Result:
        process = self.start(*args, **arguments)
        try:
            return self.finish(process, timeout)
        finally:
            process.kill()

    @staticmethod
    def finish(process: subprocess.Popen[str], timeout: float = 120) -> Result:
        output, _ = process.communicate(timeout=timeout)
        lines = [line for line in output.splitlines() if line.startswith("OUTCOMES ")]
        return Result(process.returncode, json.loads(lines[-1][9:]) if lines else None, output)

    def folder(self, name: str, preset: str = "quick") -> Path:
        return self.root / "figures" / preset / name

    def study(self, name: str, preset: str = "quick") -> dict[str, Any]:
        return json.loads((self.folder(name, preset) / "study.json").read_text())

    def calls_made(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def processes(self) -> list[psutil.Process]:
        """All living processes that were started for this tree: runner, workers, kernels."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TOY_CALLS") == str(self.calls) and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kernels(self) -> list[psutil.Process]:
        return [process for process in self.processes() if "launcher.py" in " ".join(process.cmdline())]

    def end_all(self) -> None:
        for process in self.processes():
            process.kill()

    def bytes(self, preset: str = "quick") -> dict[str, str]:
        """Digest of every result file; of study.json without `run`, which alone may differ."""
        digests = {}
        for path in sorted((self.root / "figures" / preset).rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                if path.name == "study.json":
                    study = json.loads(content)
                    del study["run"]
                    content = json.dumps(study, sort_keys=True).encode()
                digests[path.relative_to(self.root).as_posix()] = hashlib.sha256(content).hexdigest()
        return digests


def wait_for(
    condition: Callable[[], Any], what: str, seconds: float = 90, runner: subprocess.Popen[str] | None = None
) -> Any:
    """Wait until `condition` gives something true and return it; the limit only ends a broken test.

    With a `runner`, its early end is an error as well.
    """
    limit = time.monotonic() + seconds
    while not (found := condition()):
        if runner is not None and runner.poll() is not None:
            raise AssertionError(f"the runner ended before {what}: {runner.communicate()[0]}")
        assert time.monotonic() < limit, f"waited {seconds} s in vain for {what}"
        time.sleep(0.005)
    return found


def write_notebook(path: Path, *cells: str) -> Path:
    """Write a py:percent text; a cell that begins with `preset` is tagged `parameters`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tagged = [('# %% tags=["parameters"]\n' if cell.startswith("preset") else "# %%\n") + cell for cell in cells]
    path.write_text("\n\n".join(tagged) + "\n")
    return path


def make_claim(
    id: str = "up", verdict: str = "holds", value: float = 1.0, unit: str = "training run"
) -> dict[str, Any]:
    """A claim `above 0` as study.json holds it, with an interval that gives the wanted verdict."""
    spread = {"holds": 0.5, "fails": 0.5, "undecided": 3.0, "not tested": 0.0}[verdict]
    value = -abs(value) if verdict == "fails" else value
    exact = unit == "deterministic"
    low, high = (value, value) if exact else (value - spread, value + spread)
    estimate: dict[str, Any] | None = {
        "value": value, "low": low, "high": high, "level": 1.0 if exact else 0.95, "n": 5, "unit": unit,
        "method": "exact" if exact else "Student t",
    }  # fmt: skip
    return {
        "id": id, "says": "it goes up", "scope": "mechanism", "source": "Figure 1", "paper_value": None,
        "paper_says": "", "estimate": None if verdict == "not tested" else estimate,
        "holds_if": {"rule": "above", "args": [0.0]}, "verdict": verdict, "note": "",
    }  # fmt: skip


def make_result(folder: Path, *, table: str = "x,x_se\n1.0,0.1\n", tolerance: Any = "summary", runs: str = "r\n1\n",
                claims: list[dict[str, Any]] | None = None, cpu: str = "CPU A", **changes: Any) -> Path:  # fmt: skip
    """A result folder with a study.json of the right form, one table, one figure and runs."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"summary.csv": table, "runs.csv": runs, "plot.png": "png", "plot.svg": "svg"}
    for name, content in contents.items():
        (folder / name).write_text(content)
    sha = {name: hashlib.sha256(content.encode()).hexdigest() for name, content in contents.items()}
    study = {
        "name": "toy/01_alpha", "preset": "quick", "seed": 0, "seeds": [0], "device": "cpu", "dtype": "float32",
        "threads": 1, "content_key": "k" * 64, "versions": {"torch": "2.11.0+cpu", "numpy": "2.4"},
        "parameters": {"preset": "quick", "seed": 0, "device": "auto"}, "scale": {"runs": 5},
        "runs": {"file": "runs.csv", "sha256": sha["runs.csv"]},
        "tables": [{"name": "summary", "file": "summary.csv", "sha256": sha["summary.csv"], "caption": "c",
                    "tolerance": tolerance}],
        "figures": [{"name": "plot", "files": ["plot.png", "plot.svg"], "caption": "c", "alt": "a"}],
        "claims": [make_claim()] if claims is None else claims,
        "run": {"started": "2026-01-01T00:00:00+00:00", "seconds": 1.0, "cpu_seconds": 1.0, "peak_rss_mb": 10.0,
                "cpu": cpu, "gpu": None, "commit": None, "python": "3.11.7"},
    }  # fmt: skip
    (folder / "study.json").write_text(json.dumps(study | changes))
    return folder


# The runner as a process: prints the outcomes as one line of JSON. Status 0, 1 (some failed) or the error's exit code.
_DRIVER = """
import json, sys
from pathlib import Path
root, names, arguments, before = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4]
exec(before)
from twelvefold.run.jobs import PlainReporter, RunError, discover
from twelvefold.run.schedule import run_notebooks
notebooks = [n for n in discover(root) if n.name in names]
try:
    outcomes = run_notebooks(root, notebooks, reporter=PlainReporter(), **arguments)
except RunError as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(error.exit_code)
heavy = [name for name in ("papermill", "distributed", "torch") if name in sys.modules]
print("HEAVY", *heavy)
keys = ("name", "status", "seconds", "verdicts", "comparison", "message")
rows = [{k: getattr(o, k) for k in keys} | {"folder": str(o.folder), "log": str(o.log)} for o in outcomes]
print("OUTCOMES " + json.dumps(rows), flush=True)
sys.exit(any(o.status == "failed" for o in outcomes))
"""
