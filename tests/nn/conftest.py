"""The bundled language model, converted once in a session into a cache folder that is removed afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def real_model_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder that holds the bundled model."""
    from twelvefold.nn.pretrained import load_language_model

    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWELVEFOLD_CACHE", str(folder))
        load_language_model()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def real_model(real_model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bundled model, loaded from that cache."""
    from twelvefold.nn.pretrained import load_language_model

    monkeypatch.setenv("TWELVEFOLD_CACHE", str(real_model_cache))
    return load_language_model()
