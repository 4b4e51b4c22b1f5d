"""core.project: the root is found from inside, names have one form, the cache folder follows its variable."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twelvefold.core.project import ProjectError, cache_folder, check_name, find_root, notebook_path


def make_project(folder: Path) -> Path:
    (folder / "notebooks").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "pyproject.toml").touch()
    return folder


def test_root_is_found_from_any_depth(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project")
    deep = root / "notebooks" / "paper"
    deep.mkdir()
    assert find_root(deep) == root == find_root(root)
    monkeypatch.chdir(deep)
    assert find_root() == root


def test_the_nearest_project_wins(tmp_path):
    outer = make_project(tmp_path / "outer")
    inner = make_project(outer / "notebooks" / "inner")
    assert find_root(inner / "lib") == inner


@pytest.mark.parametrize("missing", ["pyproject.toml", "notebooks", "lib"])
def test_a_folder_without_one_of_the_three_is_no_project(tmp_path, missing):
    root = make_project(tmp_path / "project")
    path = root / missing
    path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(ProjectError, match="notebooks") as caught:
        find_root(root)
    assert str(root) in str(caught.value)


def test_notebook_path():
    assert notebook_path(Path("r"), "a_paper/01_result") == Path("r/notebooks/a_paper/01_result.py")


@pytest.mark.parametrize("name", ["a/01_b", "long_name_of_a_paper/01_selection", "x2y3/10_a1"])
def test_good_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["01_result", "paper/result", "paper/1_result", "paper/01_result.py", "Paper/01_result", "paper/01_", "a/b/01_c",
     "../01_result", "paper/../01_x", "/paper/01_x", "paper/01_x\n", "", None, 3],
)
def test_bad_names_are_shown_with_the_accepted_form(name):
    with pytest.raises(ProjectError) as caught:
        check_name(name)
    assert repr(name) in str(caught.value) and "<paper>/<NN_result>" in str(caught.value)


@given(st.text(max_size=20))
def test_no_text_escapes_the_notebooks_folder(text):
    try:
        path = notebook_path(Path("/top"), text)
    except ProjectError:
        return
    assert path.resolve().parent.parent == Path("/top/notebooks")


def test_cache_folder(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.delenv("TWELVEFOLD_CACHE", raising=False)
    assert cache_folder() == root / ".twelvefold" / "cache"
    monkeypatch.setenv("TWELVEFOLD_CACHE", "elsewhere")
    assert cache_folder() == root / "elsewhere"
    monkeypatch.setenv("TWELVEFOLD_CACHE", "")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match="TWELVEFOLD_CACHE"):
        cache_folder()
