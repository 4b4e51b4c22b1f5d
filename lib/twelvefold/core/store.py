"""Entries of the sweep cache: one computed result each, kept as `.npz` (arrays) and `.json` (all else) under its key.

The JSON is written last and carries the checksum of the arrays, so an entry exists whole or not at all: a process
killed at any moment leaves at most a file that the next one overwrites.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

_FORMAT = 1
_MB = 1e6


class CacheError(Exception):
    """The cache folder cannot take a result: it is full, or must not be written to."""


class CacheWarning(UserWarning):
    """Something in the cache was unusable and is made again."""


@dataclass(frozen=True)
class Cost:
    """What one entry cost when it was computed: CPU seconds of its own (without nested entries), peak memory in MB."""

    cpu_seconds: float
    peak_rss_mb: float


@dataclass(frozen=True)
class Entry:
    """One stored result: `values` (arrays and JSON values by name), its `cost`, and the costs of all nested entries."""

    values: dict[str, Any]
    cost: Cost
    nested: dict[str, Cost]


class Store:
    """The entries below one cache folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def file(self, key: str, suffix: str) -> Path:
        """Return the path of the file of entry `key` that ends in `suffix`."""
        return self.folder / "sweep" / key[:2] / f"{key}{suffix}"

    def read(self, key: str) -> Entry | None:
        """Return the entry, or None when it is not there, or is damaged (with a `CacheWarning`)."""
        try:
            text = self.file(key, ".json").read_bytes()
        except OSError:
            return None
        try:
            record = _checked_record(text, key)
            arrays = self._read_arrays(key, record["arrays"], record["arrays_sha256"])
            found = record["values"] | arrays
            values = {name: found[name] for name in record["names"]}
            return Entry(values, Cost(*record["cost"]), _costs_of(record["nested"]))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            warnings.warn(f"cache entry {self.file(key, '.json')} is damaged ({error}); it is computed again",
                          CacheWarning, stacklevel=2)
            return None

    def write(self, key: str, values: Mapping[str, Any], cost: Cost, nested: Mapping[str, Cost],
              about: Mapping[str, Any]) -> None:
        """Store a result atomically.

        Args:
            key: the entry's name.
            values: numpy arrays (of any dtype but object) and JSON values, by name.
            cost: own cost; `nested`: costs of every entry it asked for.
            about: what was computed, for people who read the file.

        Raises:
            CacheError: the folder is full or cannot be written to.
        """
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        record: dict[str, Any] = {
            "format": _FORMAT,
            "key": key,
            "about": dict(about),
            "values": {name: value for name, value in values.items() if name not in arrays},
            "names": list(values),
            "arrays": list(arrays),
            "arrays_sha256": None,
            "cost": [cost.cpu_seconds, cost.peak_rss_mb],
            "nested": {name: [item.cpu_seconds, item.peak_rss_mb] for name, item in nested.items()},
        }
        needed = sum(array.nbytes for array in arrays.values())
        with self.explained(needed):
            if arrays:
                target = self.file(key, ".npz")
                write_atomically(target, lambda file: _save_arrays(file, list(arrays.values())))
                record["arrays_sha256"] = _sha256(target)
            record["checksum"] = _checksum(record)
            text = json.dumps(record, indent=1).encode()
            write_atomically(self.file(key, ".json"), lambda file: file.write(text))

    def remove_leftovers(self, key: str) -> None:
        """Remove what a killed process left half-written for this key. Call it while holding the key's lock."""
        for path in self.file(key, "").parent.glob(f"{key}*.tmp"):
            with suppress(OSError):
                path.unlink()

    @contextmanager
    def explained(self, needed_bytes: int = 0) -> Iterator[None]:
        """Turn an OSError of the folder inside the block into a `CacheError` with the cure."""
        try:
            yield
        except OSError as error:
            raise CacheError(_explanation(self.folder, error, needed_bytes)) from error

    def _read_arrays(self, key: str, names: list[str], sha256: str | None) -> dict[str, np.ndarray]:
        if not names:
            return {}
        path = self.file(key, ".npz")
        if _sha256(path) != sha256:
            raise ValueError(f"{path.name} does not have its recorded checksum")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[f"a{i}"] for i, name in enumerate(names)}


def write_atomically(target: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file through `write` under a temporary name and put it in place in one step; nothing stays on failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "xb") as file:
            write(file)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _save_arrays(file: IO[bytes], arrays: list[np.ndarray]) -> None:
    # Positions instead of names: a result's name may hold any character, a zip member's may not.
    np.savez(file, allow_pickle=False, **{f"a{i}": array for i, array in enumerate(arrays)})


def _checked_record(text: bytes, key: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(text)
    if not isinstance(record, dict) or record.pop("checksum", None) != _checksum(record):
        raise ValueError("it does not have its recorded checksum")
    if record["format"] != _FORMAT or record["key"] != key:
        raise ValueError(f"format {record['format']} and key {record['key'][:8]}... are not those expected")
    return record


def _checksum(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _costs_of(raw: Mapping[str, list[float]]) -> dict[str, Cost]:
    return {name: Cost(*item) for name, item in raw.items()}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _explanation(folder: Path, error: OSError, needed_bytes: int) -> str:
    other = "free space there, or set TWELVEFOLD_CACHE to a folder on another disk, and run again"
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        free = _free_bytes(folder)
        left = "" if free is None else f", {free / _MB:.1f} MB are free"
        return (
            f"the disk of the cache folder {folder} is full: the next result needs {needed_bytes / _MB:.1f} MB{left}. "
            f"What is stored already is kept: {other}"
        )
    return (
        f"cannot write to the cache folder {folder}: {error.strerror or error} ({error.filename or 'no file named'}). "
        "Make it writable, or set TWELVEFOLD_CACHE to a folder that is, and run again"
    )


def _free_bytes(folder: Path) -> int | None:
    for existing in (folder, *folder.parents):
        with suppress(OSError):
            return shutil.disk_usage(existing).free
    return None
