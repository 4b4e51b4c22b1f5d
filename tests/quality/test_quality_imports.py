"""Which module may import which, and what an import drags in."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from tests.quality.tree import LIBRARY, ROOT, library_modules, parsed, relative

HEAVY = {"matplotlib", "dask", "distributed", "transformers", "papermill", "IPython", "jupytext", "nbclient"}
THIRD_PARTY = {"numpy", "torch", "scipy", "pandas", *HEAVY}
RUNNER_ONLY = HEAVY - {"matplotlib", "IPython"}


def loaded_by(module: str) -> set[str]:
    """Top-level packages in sys.modules of a fresh interpreter that imported `module` and nothing else."""
    code = f"import {module}, json, sys; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    return set(json.loads(answer.stdout))


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("twelvefold", THIRD_PARTY),
        ("twelvefold.papers", THIRD_PARTY),
        ("twelvefold.ot", HEAVY),
        ("twelvefold.nn", HEAVY),
        ("twelvefold.tasks", HEAVY),
        ("twelvefold.core.study", RUNNER_ONLY),  # a notebook needs no runner
        ("twelvefold.run.script", RUNNER_ONLY),  # made for machines that have only torch
    ],
)
def test_an_import_loads_only_what_it_needs(module: str, unwanted: set[str]) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} does not exist yet")
    assert not loaded_by(module) & unwanted


@pytest.mark.parametrize("package", ["", "papers"])
def test_packages_that_must_stay_empty_contain_only_a_docstring(package: str) -> None:
    body = parsed(LIBRARY / package / "__init__.py").body
    assert all(type(node).__name__ in ("Expr", "Assign", "AnnAssign") for node in body)


def test_the_floors_of_the_house_are_respected() -> None:
    linter = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    answer = subprocess.run([sys.executable, "-c", linter], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "kept, 0 broken" in answer.stdout


def test_the_contract_names_every_package_of_the_library() -> None:
    """A package that the contract forgets would be free to import anything."""
    import tomllib

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    named = json.dumps(contracts)
    packages = {p.parent.name for p in LIBRARY.glob("*/__init__.py")}
    assert {p for p in packages if f"twelvefold.{p}" not in named} == set()


@pytest.mark.parametrize("file", library_modules(), ids=relative)
def test_no_computed_imports_outside_the_runner(file: object) -> None:
    """Content keys are found by reading import statements; a computed name would be invisible to them."""
    import ast
    from pathlib import Path

    assert isinstance(file, Path)
    if relative(file).startswith("lib/twelvefold/run/"):
        pytest.skip("the runner computes module names of papers")
    calls = [node for node in ast.walk(parsed(file)) if isinstance(node, ast.Call)]
    computed = [
        f"line {call.lineno}" for call in calls
        if ast.unparse(call.func).rsplit(".", 1)[-1] in ("import_module", "__import__")
        and not (call.args and isinstance(call.args[0], ast.Constant))
    ]
    assert not computed
