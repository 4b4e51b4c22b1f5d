"""Language models made of GGUF files, kept in the cache folder: made once, by one process, and checked at each use."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from twelvefold.core.data import file_sha256
from twelvefold.core.project import cache_folder
from twelvefold.core.store import CacheWarning, Store
from twelvefold.nn import gguf_conversion

_FORMAT = 1  # raise it when gguf_conversion writes other files from the same source
_CHECKSUMS = "checksums.json"


def converted_folder(source: Path, name: str) -> Path:
    """Return the folder with the float32 form of a GGUF file, made when it is not there or damaged.

    It holds model.safetensors, config.json, tokenizer.json, tokenizer_config.json and their checksums, and appears as
    a whole or not at all. A second process that asks meanwhile waits.

    Args:
        source: the GGUF file. name: begins the folder's name; the contents of `source` decide the rest.

    Raises:
        ValueError: the file is damaged or not supported. ImportError: the package gguf is missing.
        CacheError: the cache folder is full or cannot be written to. RuntimeError: the conversion broke off.
    """
    key = hashlib.sha256(f"{_FORMAT} {file_sha256(source)}".encode()).hexdigest()[:16]
    folder = cache_folder() / "language_models" / f"{name}-{key}"
    if _problem(folder) is None:
        return folder
    with _locked(folder):
        problem = _problem(folder)  # another process may have made it meanwhile
        if problem is not None:
            _renew(source, folder, problem)
    return folder


def _problem(folder: Path) -> str | None:
    """Return why the folder cannot be used, None when it can; "" when it was never made."""
    if not folder.exists():
        return ""
    try:
        recorded = json.loads((folder / _CHECKSUMS).read_bytes())
        changed = [name for name, checksum in recorded.items() if file_sha256(folder / name) != checksum]
    except (OSError, ValueError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return f"{', '.join(changed)} changed" if changed else None


def _renew(source: Path, folder: Path, problem: str) -> None:
    if problem:
        warnings.warn(f"{folder} is damaged ({problem}); it is made again", CacheWarning, stacklevel=4)
    if importlib.util.find_spec("gguf") is None:
        raise ImportError(f"reading {source.name} needs the package gguf: pip install gguf")
    print(f"making float32 weights of {source.name}, once (about 20 s)", file=sys.stderr, flush=True)
    with Store(cache_folder()).explained():
        for leftover in folder.parent.glob(f"{folder.name}.*.tmp"):  # of a killed process: we hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        made = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            made.mkdir()
            _convert(source, made)
            recorded = {file.name: file_sha256(file) for file in sorted(made.iterdir())}
            (made / _CHECKSUMS).write_text(json.dumps(recorded, indent=1) + "\n")
            if folder.exists():
                shutil.rmtree(folder)
            made.rename(folder)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise


def _convert(source: Path, folder: Path) -> None:
    """Run `gguf_conversion` in a process of its own."""
    command = [sys.executable, "-P", gguf_conversion.__file__, str(source), str(folder)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode == gguf_conversion.UNSUPPORTED:
        raise ValueError(reason)
    if done.returncode == gguf_conversion.NO_SPACE:
        raise OSError(errno.ENOSPC, reason, str(folder))
    if done.returncode:
        raise RuntimeError(f"converting {source} ended with status {done.returncode} (was it killed for memory?): "
                           f"{reason}")  # fmt: skip


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time make a folder; another one says that it waits."""
    lock = filelock.FileLock(folder.with_name(f"{folder.name}.lock"))
    with Store(cache_folder()).explained():
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=5, poll_interval=0.05)
        except filelock.Timeout:
            print(f"waiting for another process that makes {folder.name}", file=sys.stderr, flush=True)
            lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()
