"""Shared by all tests: the root of the project is importable, whatever way pytest was started; no figure stays open;
tests marked `gpu` have a device, a pretended one where there is no CUDA."""

from __future__ import annotations

import contextlib
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


@pytest.fixture(autouse=True)
def _cuda(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests marked `gpu` run on CUDA, and elsewhere on a pretended device, which refuses what CUDA refuses."""
    if request.node.get_closest_marker("gpu") is None:
        yield
        return
    import torch

    from tests.pretended_cuda import pretended_cuda

    with contextlib.nullcontext() if torch.cuda.is_available() else pretended_cuda():
        yield


@pytest.fixture
def deterministic() -> Iterator[None]:
    """The mode in which studies run: an operation without a deterministic form is an error."""
    import torch

    torch.set_deterministic_debug_mode("error")
    yield
    torch.set_deterministic_debug_mode("default")
