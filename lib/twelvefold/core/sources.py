"""What a result depends on: the modules that a file imports, read from the source, and digests of their code.

Nothing is imported to find out: `ast` sees imports inside functions too. What it cannot see, imports with a computed
name, `forbidden_imports` finds so that a test can refuse them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from twelvefold.core.project import check_name, notebook_path
from twelvefold.core.syntax import Source, SourceError, parse, read_source

__all__ = [
    "SourceError", "canonical", "closure", "content_key", "display_key", "environment_key", "forbidden_imports",
    "function_key",
]

Scope = dict[str, Path]  # name of a top-level package or module -> the folder that holds it

# It holds the public address of the repository, on which no number depends.
_COLAB_CELL = re.compile(rb'^# %% tags=\["colab"\]\n.*?(?=^# %%)', re.DOTALL | re.MULTILINE)

_loaded: dict[str, tuple[Any, str]] = {}  # module -> (its spec, digest of its code) when this process first asked


def closure(root: Path, entry: Path | str) -> dict[str, Path]:
    """Return the modules under `<root>/lib` that `entry` imports, transitively, with their files, sorted by name.

    Imports inside functions count, and every module brings the `__init__` of its parent packages. A module named as
    `entry` (or a file that is one) is part of its own closure.

    Args:
        root: the project.
        entry: a file (anywhere), or the dotted name of a module under `<root>/lib`.

    Raises:
        SourceError: `entry` does not exist, or a file of the closure is not valid Python (named with its line).
    """
    return _closure(_project_scope(Path(root)), entry)


def canonical(path: Path) -> bytes:
    """Return the code of a Python file without comments, docstrings and layout: equal bytes on Python 3.11 to 3.14.

    Raises:
        SourceError: the file is missing or not valid Python.
    """
    return read_source(Path(path)).canonical


def forbidden_imports(path: Path) -> list[str]:
    """Return one line for each import in `path` whose name is computed, which `closure` therefore cannot follow."""
    return [f"{path}:{line}: {what} with a computed name" for line, what in read_source(Path(path)).computed_imports]


def content_key(root: Path, name: str) -> str:
    """Return the digest of everything in the tree that the numbers of notebook `name` depend on.

    That is: its code, the code of the modules it imports (except those called `plotting`), the registry entries of the
    datasets whose names occur in either, and those of their files that lie inside the tree. Prose, comments,
    docstrings and the generated cell that sets up Colab do not count.

    Raises:
        SourceError: the notebook does not exist, or a file is not valid Python.
    """
    root = Path(root)
    notebook = notebook_path(root, name)
    modules = {key: path for key, path in closure(root, notebook).items() if not _draws(key)}
    sources = [_without_colab(notebook), *(read_source(path) for path in modules.values())]
    digest = _Digest("content", check_name(name), sources[0].digest)
    for module, source in zip(modules, sources[1:], strict=True):
        digest.add(module, source.digest)
    for dataset in _datasets(root, frozenset().union(*(source.strings for source in sources))):
        digest.add(*dataset)
    return digest.value()


def display_key(root: Path, name: str) -> str:
    """Return the digest of what only the looks of notebook `name` depend on: its full text and the plotting modules.

    Raises:
        SourceError: the notebook does not exist, or a file is not valid Python.
    """
    root = Path(root)
    notebook = notebook_path(root, name)
    modules = {key: path for key, path in closure(root, notebook).items() if _draws(key)}
    digest = _Digest("display", check_name(name), notebook.read_text(encoding="utf-8"))
    for module, path in modules.items():
        digest.add(module, read_source(path).digest)
    return digest.value()


def environment_key(root: Path, device_class: str) -> str:
    """Return the digest of the lock file, Python's minor version, the installed torch and numpy, and the device class.

    Args:
        root: the project; its `requirements.txt` is the lock file (none is as good as an empty one).
        device_class: "cpu", "cuda" or "mps".
    """
    if device_class not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device_class: {device_class!r} is not known; accepted are 'cpu', 'cuda', 'mps'")
    lock = Path(root) / "requirements.txt"
    pins = lock.read_text(encoding="utf-8") if lock.exists() else ""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _Digest("environment", pins, python, _version("torch"), _version("numpy"), device_class).value()


def function_key(fn: Callable[..., Any]) -> str:
    """Return the digest of `fn`'s name, of the code of its module and all project modules that it imports, and of the
    registry entries (and files inside the tree) of the datasets that they name.

    Project modules are those beside `fn`'s top-level package (or that package alone when it is installed) and
    twelvefold itself; modules called `plotting` do not count.

    Raises:
        TypeError: `fn` is a lambda, nested, private, a method, or not in an importable module with a source file.
        SourceError: a file is not valid Python, or a module was edited after this process had imported it, so that the
            code in memory is not the code on disk.
    """
    module, file = _home(fn)
    scope = _function_scope(module, file)
    digest = _Digest("function", module.__name__, fn.__qualname__)
    strings: set[str] = set()
    for name, path in _closure(scope, module.__name__).items():
        if not _draws(name):
            source = read_source(path)
            _refuse_stale(name, path, source.digest)
            digest.add(name, source.digest)
            strings |= source.strings
    base = scope[module.__name__.partition(".")[0]]
    for dataset in _datasets(base.parent if base.name == "lib" else base, frozenset(strings)):
        digest.add(*dataset)
    return digest.value()


class _Digest:
    """sha256 over a sequence of texts, each with its length, so that no two sequences run together."""

    def __init__(self, *texts: str) -> None:
        self._sha = hashlib.sha256()
        self.add(*texts)

    def add(self, *texts: str) -> None:
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            self._sha.update(b"%d:" % len(data))
            self._sha.update(data)

    def value(self) -> str:
        return self._sha.hexdigest()


def _without_colab(notebook: Path) -> Source:
    text = notebook.read_bytes()
    kept = _COLAB_CELL.sub(b"", text)
    return read_source(notebook) if kept == text else parse(kept, str(notebook))


def _draws(module: str) -> bool:
    return module.rpartition(".")[2] == "plotting"


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _project_scope(root: Path) -> Scope:
    return _packages_in(root / "lib")


def _packages_in(folder: Path) -> Scope:
    if not folder.is_dir():
        return {}
    found = {}
    for item in folder.iterdir():
        if item.is_dir() and item.name.isidentifier() and item.name != "__pycache__":
            found[item.name] = folder
        elif item.suffix == ".py" and item.stem.isidentifier():
            found[item.stem] = folder
    return found


def _locate(scope: Scope, module: str) -> Path | None:
    """Return the file of `module`, or None when it is not a module of the scope (or a folder without `__init__`)."""
    folder = scope.get(module.partition(".")[0])
    if folder is None:
        return None
    base = folder.joinpath(*module.split("."))
    for candidate in (base / "__init__.py", base.with_name(base.name + ".py")):
        if candidate.is_file():
            return candidate
    return None


def _closure(scope: Scope, entry: Path | str) -> dict[str, Path]:
    todo = _entry_names(scope, entry)
    found: dict[str, Path] = {}
    while todo:
        name = todo.pop()
        path = None if name in found else _locate(scope, name)
        if path is not None:
            found[name] = path
            todo.extend(_imported(read_source(path), name, path.name == "__init__.py"))
    return dict(sorted(found.items()))


def _entry_names(scope: Scope, entry: Path | str) -> list[str]:
    """Return the modules to start from: the named one with its parents, or those which the given file imports."""
    if isinstance(entry, str):
        if _locate(scope, entry) is None:
            raise SourceError(f"entry: no module {entry!r} among {', '.join(sorted(scope)) or 'no packages at all'}")
        return _with_parents(entry)
    path = Path(entry).absolute()
    name = _module_name(scope, path)
    return _with_parents(name) if name else _imported(read_source(path), "", False)


def _module_name(scope: Scope, path: Path) -> str | None:
    for folder in set(scope.values()):
        if path.is_relative_to(folder.absolute()):
            parts = path.relative_to(folder.absolute()).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found = _locate(scope, name)
            if found is not None and found.absolute() == path:
                return name
    return None


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _imported(source: Source, module: str, is_package: bool) -> list[str]:
    """Return every dotted name that may be a module which `source` imports, with parents (many will not exist)."""
    package = module if is_package else module.rpartition(".")[0]
    names: list[str] = []
    for level, base, name in source.imports:
        if level:
            parts = package.split(".") if package else []
            if level - 1 >= len(parts):
                continue  # a relative import that leaves the package: an error when it runs, no dependency
            base = ".".join([*parts[: len(parts) - level + 1], *([base] if base else [])])
        names.extend(_with_parents(f"{base}.{name}" if name else base))
    return names


def _datasets(root: Path, strings: frozenset[str]) -> Iterable[tuple[str, ...]]:
    """Yield the name, the registry entry and the digests of in-tree files of each dataset named among `strings`."""
    from twelvefold.core import data  # here, because a project without datasets needs no YAML reader

    for name, entry in sorted(data.registry(root).items()):
        if name in strings:
            yield (name, json.dumps(entry.raw, sort_keys=True), *data.tree_digests(root, entry))


def _home(fn: Callable[..., Any]) -> tuple[ModuleType, Path]:
    """Return module and file of a public function at the top level of an importable module."""
    shown = getattr(fn, "__qualname__", None) or repr(fn)
    cure = "accepted is a public function at the top level of a module that can be imported (put it into the library)"
    if not inspect.isfunction(fn):
        raise TypeError(f"fn: {shown} is a {type(fn).__name__}, not a Python function; {cure}")
    if "<" in fn.__qualname__ or "." in fn.__qualname__:
        raise TypeError(f"fn: {shown} is a lambda, a method or a nested function; {cure}")
    if fn.__name__.startswith("_"):
        raise TypeError(f"fn: {shown} is private (its name begins with an underscore); {cure}")
    module = sys.modules.get(fn.__module__)
    file = getattr(module, "__file__", None)
    if module is None or fn.__module__ == "__main__" or not file or not str(file).endswith(".py"):
        raise TypeError(f"fn: {shown} is defined in {fn.__module__!r}, which has no importable source file; {cure}")
    if getattr(module, fn.__qualname__, None) is not fn:
        raise TypeError(f"fn: {fn.__module__}.{shown} is not what that name means in its module (decorated?); {cure}")
    return module, Path(file).absolute()


def _function_scope(module: ModuleType, file: Path) -> Scope:
    """Return where project modules of a function lie: beside its top-level package, and twelvefold itself."""
    depth = module.__name__.count(".") + (1 if file.name == "__init__.py" else 0)
    base = file.parents[depth]
    own = module.__name__.partition(".")[0]
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")}
    scope = {own: base} if base.resolve() in installed else _packages_in(base)
    twelvefold = Path(__file__).absolute().parents[2]
    return {"twelvefold": twelvefold} | scope


def _refuse_stale(name: str, path: Path, digest: str) -> None:
    """Refuse a module whose file changed since this process first asked: its code in memory is the older one.

    A reload gives the module a new spec; then the new file is what runs.
    """
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is None:
        return
    known_spec, known_digest = _loaded.setdefault(name, (spec, digest))
    if known_spec is not spec:
        _loaded[name] = (spec, digest)
    elif known_digest != digest:
        raise SourceError(
            f"module {name} ({path}) was edited after this process had imported it, so results would be filed under "
            "code that did not compute them; restart the kernel (or reload the module) and run again"
        )
