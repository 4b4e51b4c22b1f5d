"""A project whose results are made up: texts, valid study.json files and their files, without running anything."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from twelvefold.core.schema import check_study
from twelvefold.core.sources import content_key

NOTEBOOK = '''\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A title
#
# One sentence.

# %% tags=["parameters"]
preset: str = "quick"  # scale
seed: int = 0  # base seed
device: str = "auto"  # where

# %%
import toylib.made

print(toylib.made.VALUE)
'''
README = """\
# Toy

<!-- badges:begin -->
<!-- badges:end -->

<!-- results:begin -->
old
<!-- results:end -->
between
<!-- budget:begin -->
<!-- budget:end -->
"""
HOLDS = {"value": 0.5, "low": 0.25, "high": 0.75, "level": 0.95, "n": 8, "unit": "training run", "method": "Student t"}
EXACT = {"value": 3.0, "low": 3.0, "high": 3.0, "level": 1.0, "n": 12, "unit": "deterministic", "method": "exact"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_tree(root: Path, names: tuple[str, ...] = ("toy/01_alpha", "toy/02_beta")) -> Path:
    """Write a project with a package and the given notebooks; return its root."""
    (root / "lib" / "toylib").mkdir(parents=True)
    (root / "lib/toylib/__init__.py").write_text("")
    (root / "lib/toylib/made.py").write_text("VALUE = 1\n")
    (root / "pyproject.toml").write_text('[project]\nname = "toy"\nversion = "0"\n')
    (root / "requirements.txt").write_text("# nothing\n")
    (root / "README.md").write_text(README)
    for name in names:
        path = root / "notebooks" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NOTEBOOK)
    return root


def claim(**changes: Any) -> dict[str, Any]:
    """A claim as it stands in study.json; the verdict must fit what is changed."""
    fields: dict[str, Any] = {
        "id": "positive", "says": "the mean is above zero", "scope": "direction", "source": "Figure 2",
        "paper_value": None, "paper_says": "", "estimate": dict(HOLDS), "holds_if": {"rule": "above", "args": [0.0]},
        "verdict": "holds", "note": "",
    }
    return fields | changes


def make_result(root: Path, name: str, preset: str = "quick", **changes: Any) -> Path:
    """Write a whole result into figures/ and return its folder; `changes` replace fields of study.json."""
    folder = root / "figures" / preset / name
    folder.mkdir(parents=True, exist_ok=True)
    files = {"runs.csv": b"replicate,x\n0,1.5\n", "means.csv": b"x,x_se\n1.5,0.5\n", "curve.png": b"\x89PNG made up",
             "curve.svg": b"<svg/>\n"}
    for file, data in files.items():
        (folder / file).write_bytes(data)
    study: dict[str, Any] = {
        "name": name, "preset": preset, "seed": 0, "seeds": [0, 1], "device": "cpu", "dtype": "float32", "threads": 1,
        "content_key": content_key(root, name), "versions": {"torch": "2.0"},
        "parameters": {"preset": preset, "seed": 0, "device": "auto"}, "scale": {"runs": 8},
        "runs": {"file": "runs.csv", "sha256": sha256(files["runs.csv"])},
        "tables": [{"name": "means", "file": "means.csv", "sha256": sha256(files["means.csv"]), "caption": "Means.",
                    "tolerance": "summary"}],
        "figures": [{"name": "curve", "files": ["curve.png", "curve.svg"], "caption": "A curve.", "alt": "It rises."}],
        "claims": [claim()],
        "run": {"started": "2026-01-01T00:00:00+00:00", "seconds": 5.0, "cpu_seconds": 60.0, "peak_rss_mb": 500.0,
                "cpu": "a | processor", "gpu": None, "commit": "0123456789abcdef", "python": "3.11.7"},
    }
    study |= changes
    check_study(study)
    (folder / "study.json").write_text(json.dumps(study, indent=1))
    return folder


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
