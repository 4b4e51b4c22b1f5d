"""English prose that every installation of this project carries: paragraphs of the docstrings of its packages.

A small corpus of technical English, about 4 MB, with which tiny language models can be trained without any download.
What it holds follows from the versions of the packages, which requirements.txt pins, and of Python.
"""

from __future__ import annotations

import ast
import importlib.util
import pydoc_data.topics
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

PACKAGES = ("numpy", "scipy", "pandas", "matplotlib", "torch", "sklearn", "networkx", "statsmodels", "transformers")
_SHORTEST = 100  # characters of a paragraph: shorter ones are headings and lists of parameters
_PROSE = 0.9  # share of plain words that a paragraph needs
_WORD = re.compile(r"\(?[A-Za-z][a-z']*(-[a-z]+)*[,.;:)]*|[0-9]+[.,]?")


def docstring_paragraphs(packages: Sequence[str] = PACKAGES) -> list[str]:
    """Distinct paragraphs of English prose, white space collapsed: Python's own help topics, then the packages.

    Args:
        packages: names of installed packages, read in this order; their tests are left out and nothing is imported.

    Raises:
        ValueError: a package that is not installed.
    """
    texts = [text for _, text in sorted(pydoc_data.topics.topics.items())]
    for name in packages:
        texts += [text for file in _modules(name) for text in _docstrings(file)]
    return list(dict.fromkeys(paragraph for text in texts for paragraph in prose(text)))


def prose(text: str) -> Iterator[str]:
    """Yield the paragraphs of a text that are prose: long, ASCII, a capital first, nine words in ten plain ones."""
    for block in re.split(r"\n\s*\n", text):
        words = block.split()
        paragraph = " ".join(words)
        if len(paragraph) < _SHORTEST or not paragraph[0].isupper() or not paragraph.isascii():
            continue
        if "--" not in paragraph and _plain(words) >= _PROSE * len(words):
            yield paragraph


def _plain(words: Iterable[str]) -> int:
    return sum(_WORD.fullmatch(word) is not None for word in words)


def _modules(package: str) -> list[Path]:
    """Source files of a package in a fixed order, without its tests."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"packages holds {package!r}, which is not an installed package; install requirements.txt")
    root = Path(next(iter(found.submodule_search_locations)))
    files = (file.relative_to(root) for file in root.rglob("*.py"))
    return [root / file for file in sorted(files) if not {"test", "tests"} & {*file.parts}]


def _docstrings(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # a template, or a file for another version of Python
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(node):
                yield text
