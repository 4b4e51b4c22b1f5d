"""Style that a tool can decide: ruff, mypy, docstrings and annotations of everything public, no leftovers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.quality.tree import LIBRARY, ROOT, library_modules, parsed, project_files, relative, text_of

Function = ast.FunctionDef | ast.AsyncFunctionDef
LONGEST_MODULE = 400  # lines; the aim is 300
LEFTOVERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
STUB = re.compile(r"raise NotImplemented" r"Error")


def tool(*command: str) -> None:
    answer = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=1500)
    if answer.returncode:
        pytest.fail("\n".join(line[:300] for line in (answer.stdout + answer.stderr).splitlines()[-60:]), pytrace=False)


def test_ruff_finds_nothing() -> None:
    tool("ruff", "check", "--no-cache", "lib", "tests", "notebooks")


def test_mypy_finds_nothing() -> None:
    tool("mypy", str(LIBRARY.relative_to(ROOT)))


def public_definitions(file: Path) -> Iterator[tuple[str, ast.Module | ast.ClassDef | Function]]:
    """The module itself, its public classes and functions, and the public methods of its public classes."""
    tree = parsed(file)
    yield "module", tree
    for node in tree.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{m.name}", m) for m in node.body
                        if isinstance(m, Function) and not m.name.startswith("_") and not inherits_text(node, m))


def inherits_text(owner: ast.ClassDef, method: Function) -> bool:
    """Methods of a subclass, or required by a protocol, may leave their description to that; setters to the getter."""
    decorators = {ast.unparse(d).rsplit(".", 1)[-1] for d in method.decorator_list}
    return bool(owner.bases) or bool(decorators & {"setter", "overload"}) or method.name in protocol_methods()


@cache
def protocol_methods() -> set[str]:
    """Names of the methods of all protocols of the library; a protocol's own docstring describes them."""
    classes = [node for f in library_modules() for node in ast.walk(parsed(f)) if isinstance(node, ast.ClassDef)]
    protocols = [node for node in classes if any("Protocol" in ast.unparse(base) for base in node.bases)]
    return {m.name for node in protocols for m in node.body if isinstance(m, Function)}


@pytest.mark.parametrize("file", library_modules(), ids=relative)
def test_everything_public_has_a_docstring(file: Path) -> None:
    if not file.read_text().strip():
        pytest.skip("an empty file")
    bare = [name for name, node in public_definitions(file) if ast.get_docstring(node) is None]
    assert not bare, ", ".join(bare)


@pytest.mark.parametrize("file", library_modules(), ids=relative)
def test_everything_public_is_annotated(file: Path) -> None:
    bare = []
    for name, node in public_definitions(file):
        if not isinstance(node, Function):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments += [a for a in (node.args.vararg, node.args.kwarg) if a is not None]
        bare += [f"{name}({a.arg})" for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        bare += [f"{name} -> ?"] if node.returns is None else []
    assert not bare, ", ".join(bare)


@pytest.mark.parametrize("file", library_modules(), ids=relative)
def test_no_module_outgrows_a_reader(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LONGEST_MODULE


def test_no_leftovers() -> None:
    code = [f for f in project_files() if f.suffix in (".py", ".sh", ".toml", ".yml", ".yaml")]
    found = [f"{relative(f)}: {m.group()}" for f in code for m in [LEFTOVERS.search(text_of(f) or "")] if m]
    found += [f"{relative(f)}: a stub" for f in library_modules() if STUB.search(f.read_text())]
    assert not found, "\n".join(found)
