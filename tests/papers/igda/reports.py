"""What the tests of igda's result modules share: a study written from rows, its verdicts, and its replay."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pandas as pd
from twelvefold.core.study import Study


def written_study(
    name: str, module: ModuleType, scale: dict[str, Any], runs: pd.DataFrame, writers: Sequence[Any] | None = None
) -> tuple[dict[str, Any], Study]:
    """study.json of a notebook with the claims of a result module; writers: of its report, by default all."""
    study = Study(name, "quick", 10_000, "cpu")
    study.scale(quick=scale, gpu=scale, paper=scale)
    study.declare(module.CLAIMS)
    _write(study, study.runs(runs), module.REPORT if writers is None else writers)
    return json.loads((study.folder / "study.json").read_text()), study


def _write(study: Study, runs: pd.DataFrame, writers: Sequence[Any]) -> None:
    for write in writers:
        write(study, runs)
    study.done()


def verdicts(written: dict[str, Any]) -> dict[str, str]:
    """Verdict of each claim."""
    return {claim["id"]: claim["verdict"] for claim in written["claims"]}


def check_replay(study: Study, module: ModuleType) -> None:
    """From runs.csv alone a finished study gets the same bytes again."""
    before = {path.name: path.read_bytes() for path in study.folder.iterdir()}
    again = Study.replay(study.folder)
    again.declare(module.CLAIMS)
    _write(again, again.runs(), module.REPORT)
    assert before == {path.name: path.read_bytes() for path in study.folder.iterdir()}
