"""What may stand in the tree: sizes, names of papers, paths of machines."""

from __future__ import annotations

import re

from tests.quality.tree import LIBRARY, ROOT, project_files, relative, text_of

LARGEST_TREE = 50e6  # bytes
LARGEST_FILE = 5e6
# Folders of one person's machine. /home/jovyan is the home of every Binder; /root/notebooks serves as an example.
MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/(?:home/(?!jovyan)|Users/|root/(?!notebooks)|work/|mnt/|media/)[\w.-]+")
REGISTRY_OPTION = re.compile(r"^\s*(--(?:extra-)?index-url|--find-links|-i |-f )", re.MULTILINE)
SHARED_FLOORS = ("lib/twelvefold/", "tests/core/", "tests/ot/", "tests/nn/", "tests/tasks/", "tests/run/",
                 "tests/browser/", "tests/quality/", "run_all.sh", "environment.yml")


def test_the_tree_is_small() -> None:
    sizes = {relative(f): f.stat().st_size for f in project_files()}
    assert sum(sizes.values()) < LARGEST_TREE
    assert {name: size for name, size in sizes.items() if size > LARGEST_FILE} == {}


def test_no_paper_is_named_outside_its_own_places() -> None:
    papers = [p.parent.name for p in (LIBRARY / "papers").glob("*/__init__.py")]
    if not papers:
        return
    word = re.compile(r"\b(" + "|".join(papers) + r")\b")
    offenders = [
        f"{relative(f)}: {m.group()}" for f in project_files()
        if relative(f).startswith(SHARED_FLOORS) and "/papers/" not in relative(f)
        for m in [word.search(text_of(f) or "")] if m
    ]
    assert not offenders, "\n".join(offenders)


def test_no_path_of_somebodys_machine() -> None:
    found = [f"{relative(f)}: {m.group()}" for f in project_files() for m in MACHINE_PATH.finditer(text_of(f) or "")
             if relative(f) != "tests/quality/test_quality_tree.py"]
    assert not found, "\n".join(found)


def test_requirements_do_not_choose_a_package_index() -> None:
    for name in ("requirements.txt", "requirements-data.txt"):
        assert not REGISTRY_OPTION.search((ROOT / name).read_text()), name


def test_nothing_made_by_a_tool_is_tracked() -> None:
    unwanted = re.compile(r"(\.pyc|\.egg-info/|\.ipynb_checkpoints/|\.DS_Store|_cache/)")
    assert [relative(f) for f in project_files() if unwanted.search(relative(f))] == []
