"""English prose of docstrings: what counts as prose, and what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from twelvefold.tasks import docstring_prose
from twelvefold.tasks.docstring_prose import docstring_paragraphs, prose

SENTENCE = "This sentence is long enough to be a paragraph of prose, because it has many plain words and says nothing."
MODULE = f'''"""{SENTENCE}"""
class Thing:
    """Short."""
    def method(self):
        """Another one.

        {SENTENCE.replace("This", "That")}

        >>> print("{SENTENCE}")
        """
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "speaking"
    (root / "tests").mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('a package that is read, not imported')\n")
    (root / "thing.py").write_text(MODULE)
    (root / "broken.py").write_text("def (:\n")
    (root / "tests" / "test_thing.py").write_text(f'"""{SENTENCE.replace("This", "Every")}"""\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(docstring_prose.pydoc_data.topics, "topics", {"help": SENTENCE.replace("This", "Their")})
    return root


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Too short.", "short"),
        (SENTENCE[0].lower() + SENTENCE[1:], "no capital"),
        (SENTENCE.replace("nothing", "naïveté"), "not ASCII"),
        ("Returns " + "x_1 = f(y_2) " * 12, "code"),
        (f"Parameters ---------- {SENTENCE}", "a heading underlined"),
    ],
)
def test_what_is_not_prose(text: str, why: str) -> None:
    assert list(prose(text)) == [], why


def test_white_space_is_collapsed_and_paragraphs_are_apart() -> None:
    folded = SENTENCE.replace(" ", "\n    ", 4)
    assert list(prose(f"{folded}\n   \n{SENTENCE}")) == [SENTENCE, SENTENCE]


def test_topics_then_packages_without_tests_and_without_repeats(package: Path) -> None:
    found = docstring_paragraphs(["speaking"])
    assert found == [SENTENCE.replace("This", word) for word in ("Their", "This", "That")]


def test_a_package_that_is_not_there(package: Path) -> None:
    with pytest.raises(ValueError, match="no_such_package.*not an installed package"):
        docstring_paragraphs(["no_such_package"])


def test_an_installed_package_gives_english(package: Path) -> None:
    found = docstring_paragraphs(["networkx"])
    assert len(found) > 500
    assert sum(" the " in paragraph for paragraph in found) > 0.6 * len(found)
