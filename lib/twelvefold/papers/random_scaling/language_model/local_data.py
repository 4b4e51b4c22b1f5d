"""What the study needs on this machine: the weights and the two datasets that the user supplies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd

from twelvefold.core import data as datasets

WEIGHTS, QUESTIONS, TEXT = "qwen2.5-0.5b", "mmlu", "c4_sample"
NEEDED = (WEIGHTS, QUESTIONS, TEXT)


def language_model_data() -> pd.DataFrame:
    """What has to be supplied, the same on every machine: name, what, gigabytes (about), licence, how to get it."""
    entries = [datasets.registry()[name] for name in NEEDED]
    return pd.DataFrame({
        "name": [entry.name for entry in entries],
        "what": [entry.title for entry in entries],
        "gigabytes": [round(entry.size / 1e9, 2) for entry in entries],
        "licence": [entry.licence for entry in entries],
        "how": [entry.cure for entry in entries],
    })


def require_data() -> str:
    """Check that everything is there and return a fingerprint of it: 16 hexadecimal digits.

    The fingerprint covers names and sizes of all files (not their contents: a gigabyte would be read for every point).
    It is part of every point, so that results of one set of files are never taken for those of another.

    Raises:
        DataMissing, DataDamaged: of everything that is missing or damaged, size, licence and what to type.
    """
    found, problems = {}, []
    for name in NEEDED:
        try:
            found[name] = datasets.load(name)
        except datasets.DataError as error:
            problems.append(error)
    if problems:
        missing = any(isinstance(problem, datasets.DataMissing) for problem in problems)
        kind = datasets.DataMissing if missing else datasets.DataDamaged
        raise kind(f"the language-model study needs {', '.join(NEEDED)} on this machine.\n"
                   + "\n".join(str(problem) for problem in problems))
    listed = [[name, file.relative_to(item["root"]).as_posix(), file.stat().st_size]
              for name, item in found.items() for files in item["files"].values() for file in files]
    return hashlib.sha256(json.dumps(sorted(listed)).encode()).hexdigest()[:16]


def files(name: str, pattern: str) -> tuple[Path, ...]:
    """The files of dataset `name` that match one of the patterns in its registry entry, sorted by name.

    Raises:
        DataMissing, DataDamaged: as `twelvefold.core.data.load`. KeyError: the entry has no such pattern.
    """
    found: tuple[Path, ...] = datasets.load(name)["files"][pattern]
    return found
