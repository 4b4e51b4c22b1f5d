"""A browser page for the tests of this folder; they are skipped, with the reason, where there is no Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium without a window; Playwright's own downloads are not used."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("no Chromium on this machine (Debian and Ubuntu: apt-get install chromium)")
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=executable, args=OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """A fresh page, large enough that a notebook and its outputs fit; its last state is kept as a picture."""
    opened = browser.new_page(viewport={"width": 1300, "height": 1200})
    opened.set_default_timeout(30_000)
    yield opened
    opened.screenshot(path=tmp_path / "last.png")
    opened.close()
