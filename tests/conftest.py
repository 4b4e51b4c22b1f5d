"""Shared by all tests: the root of the project is importable, whatever way pytest was started; no figure stays open."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture(autouse=True)
def _figures_are_closed() -> Iterator[None]:
    """Pyplot keeps every figure until it is closed: tests that draw would leave theirs to those that count figures."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
