"""What the tests of result modules share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own around the working folder, with an empty notebook for every one of the real project."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'toy'\n")
    (tmp_path / "lib").mkdir()
    for notebook in ROOT.glob("notebooks/*/*.py"):
        place = tmp_path / notebook.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("# %%\n")
    for name, folder in (("TWELVEFOLD_CACHE", "cache"), ("TWELVEFOLD_OUT", "out")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("TWELVEFOLD_BATCH", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path
