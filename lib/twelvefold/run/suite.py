"""`test`: the whole suite in three steps: tests, notebooks executed once, tests that read what they made."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

NO_TESTS = 5  # pytest's exit status when it collected nothing
_PLACES = ["tests", "--ignore=tests/notebooks", "--ignore=tests/benchmarks"]
_NOT_INHERITED = ("TWELVEFOLD_OUT", "TWELVEFOLD_BATCH", "TWELVEFOLD_PROGRESS", "TWELVEFOLD_JOBS",
                  "TWELVEFOLD_CALLER_DIR")
Step = tuple[str, list[str], dict[str, str]]


def steps(root: Path, out: str) -> list[Step]:
    """Return title, pytest arguments and extra environment of each step; notebooks write their results to `out`."""
    spread = ["-n", "2", "--dist", "loadfile"] if (os.cpu_count() or 1) > 1 else []
    batch = {"TWELVEFOLD_OUT": out, "TWELVEFOLD_BATCH": "1"}
    found: list[Step] = [("tests", ["-q", "-p", "no:benchmark", *_PLACES, *spread], {})]
    if any((root / "notebooks").glob("*/*.ipynb")):
        plugin = ["-p", "tests.notebooks.nbval_plugin"] if (root / "tests/notebooks/nbval_plugin.py").is_file() else []
        words = ["-q", "-p", "no:benchmark", "--nbval-lax", *plugin, "notebooks", *spread]
        found.append(("notebooks, executed once", words, batch))
    if (root / "tests" / "notebooks").is_dir():
        found.append(("results of the notebooks", ["-q", "tests/notebooks"], batch))
    return found


def run_suite(root: Path, arguments: Sequence[str]) -> int:
    """Run the suite and return 0 when every step passed, else the first bad exit status of pytest.

    With arguments only pytest runs, with these; on the first step's tests unless a path is among them.
    """
    if arguments:
        places = [] if any((root / word.partition("::")[0]).exists() for word in arguments) else _PLACES
        return pytest_status(root, [*places, *arguments], {})
    statuses = {}
    with tempfile.TemporaryDirectory(prefix="twelvefold-test-") as out:
        for title, words, extra in steps(root, out):
            print(f"== {title}: pytest {' '.join(words)}", flush=True)
            statuses[title] = pytest_status(root, words, extra)
    bad = {title: status for title, status in statuses.items() if status not in (0, NO_TESTS)}
    print("== " + (f"failed: {', '.join(bad)}" if bad else "all steps passed"), flush=True)
    return next(iter(bad.values()), 0)


def pytest_status(root: Path, arguments: Sequence[str], extra: Mapping[str, str]) -> int:
    """Run pytest in the root of the tree, on one thread per process, and return its exit status."""
    kept = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
    environment = {"OMP_NUM_THREADS": "1"} | kept | dict(extra)
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=root, env=environment).returncode
