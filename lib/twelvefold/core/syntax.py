"""One Python file, read once: its code in canonical form, its imports and its string constants."""

from __future__ import annotations

import ast
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Import = tuple[int, str, str]  # level (dots), module, imported name ("" for a plain import)


class SourceError(Exception):
    """A source file is missing, is not valid Python, or is not what this process has loaded."""


@dataclass(frozen=True)
class Source:
    """What is known of one file.

    `canonical` is its code without comments, docstrings and layout, `digest` the sha256 of that, `imports` all import
    statements at any depth, `strings` all string constants of the code, `computed_imports` the (line, function) of
    imports whose name is not written out.
    """

    canonical: bytes
    digest: str
    imports: tuple[Import, ...]
    strings: frozenset[str]
    computed_imports: tuple[tuple[int, str], ...]


_cache: dict[tuple[str, int, int], Source] = {}


def read_source(path: Path) -> Source:
    """Return what is known of the file at `path`, parsed again only when its size or time of change differ.

    Raises:
        SourceError: the file is missing or not valid Python.
    """
    try:
        stat = os.stat(path)
        key = (str(path), stat.st_mtime_ns, stat.st_size)
        if key not in _cache:
            _cache[key] = parse(Path(path).read_bytes(), str(path))
        return _cache[key]
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


def parse(text: bytes, filename: str) -> Source:
    """Return what is known of the given source text (see `Source`).

    Raises:
        SourceError: the text is not valid Python; the message names `filename` and the line.
    """
    try:
        tree = ast.parse(text, filename)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise SourceError(f"{filename}{line}: not valid Python: {getattr(error, 'msg', error)}") from error
    walker = _Walker()
    walker.node(tree)
    data = "".join(walker.out).encode("utf-8", "surrogatepass")
    return Source(
        canonical=data,
        digest=hashlib.sha256(data).hexdigest(),
        imports=tuple(walker.imports),
        strings=frozenset(walker.strings),
        computed_imports=tuple(walker.computed),
    )


# Fields that say nothing about what the code does, or that only some versions of Python fill in.
_DROPPED = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


class _Walker:
    """Writes a syntax tree as text: class names and non-empty fields, in a form all versions of Python agree on."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.imports: list[Import] = []
        self.strings: set[str] = set()
        self.computed: list[tuple[int, str]] = []
        self._fields: dict[type, tuple[str, ...]] = {}

    def node(self, node: ast.AST) -> None:
        """Append `Class(field=value;...)`, leaving out fields that are None or empty."""
        kind = type(node)
        if kind is ast.Constant:
            if type(node.value) is str:  # type: ignore[attr-defined]
                self.strings.add(node.value)  # type: ignore[attr-defined]
            self.constant(node.value)  # type: ignore[attr-defined]
            return
        self._note(node, kind)
        fields = self._fields.get(kind)
        if fields is None:
            fields = self._fields[kind] = tuple(name for name in kind._fields if name not in _DROPPED)
        out = self.out
        out.append(kind.__name__)
        out.append("(")
        for name in fields:
            value = getattr(node, name, None)
            if value is None or value == [] or (name == "format_spec" and not value.values):
                continue
            out.append(name)
            out.append("=")
            if isinstance(value, ast.AST):
                self.node(value)
            elif type(value) is list:
                self.sequence(_without_prose(value) if name == "body" else value, kind)
            else:
                self.constant(value)
            out.append(";")
        out.append(")")

    def sequence(self, items: list[Any], parent: type) -> None:
        """Append `[item,item,]`; an item can be a node, a name, or None (a `**` key, a missing default)."""
        self.out.append("[")
        for item in _merged(items) if parent is ast.JoinedStr else items:
            if isinstance(item, ast.AST):
                self.node(item)
            else:
                self.constant(item)
            self.out.append(",")
        self.out.append("]")

    def constant(self, value: Any) -> None:
        """Append a type letter and an exact text; strings carry their length, so nothing inside them can confuse."""
        kind = type(value)
        if kind is str:
            self.out.append(f"s{len(value)}:{value}")
        elif kind is bytes:
            self.out.append(f"b{value.hex()}")
        elif kind is int:
            self.out.append(f"i{value:x}")
        else:  # bool, float, complex, None, Ellipsis: repr is exact and the same everywhere
            self.out.append(f"{kind.__name__}:{value!r}")

    def _note(self, node: Any, kind: type) -> None:
        if kind is ast.Import:
            self.imports.extend((0, alias.name, "") for alias in node.names)
        elif kind is ast.ImportFrom:
            self.imports.extend((node.level, node.module or "", alias.name) for alias in node.names)
        elif kind is ast.Call:
            self._note_call(node)

    def _note_call(self, node: ast.Call) -> None:
        called = _dotted(node.func)
        if called not in ("__import__", "import_module", "importlib.import_module", "importlib.__import__"):
            return
        name = node.args[0] if node.args else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and not name.value.startswith("."):
            self.imports.append((0, name.value, ""))
        else:
            self.computed.append((node.lineno, called))


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def _without_prose(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements without those that are a bare string: docstrings, of whatever they stand beside."""
    return [item for item in body if not _is_bare_string(item)]


def _is_bare_string(item: ast.AST) -> bool:
    return type(item) is ast.Expr and type(item.value) is ast.Constant and type(item.value.value) is str


def _merged(parts: list[ast.expr]) -> list[ast.expr]:
    """Return the parts of an f-string with neighbouring texts joined and empty ones gone: versions cut differently."""
    merged: list[ast.expr] = []
    for part in parts:
        if isinstance(part, ast.Constant) and merged and isinstance(merged[-1], ast.Constant):
            merged[-1] = ast.Constant(str(merged[-1].value) + str(part.value))
        elif not (isinstance(part, ast.Constant) and part.value == ""):
            merged.append(part)
    return merged
