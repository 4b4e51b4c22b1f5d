"""Checkpoints of a long computation: written while it runs, so that a killed one goes on where it was."""

from __future__ import annotations

import errno
import json
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from twelvefold.core.store import CacheError, CacheWarning, Cost, write_atomically

# Types numpy does not have travel as integers of the same width.
_BITS = {torch.bfloat16: torch.int16}
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError)


class Checkpoint:
    """The saved state of one computation: nested dicts, lists and tuples of tensors, numpy arrays and JSON values.

    `state_dict()` of a module or optimiser, `generator.get_state()` and numpy's `bit_generator.state` can be saved as
    they are. Tensors come back on the CPU, bit for bit.

    Args:
        path: the file; its folder is made when needed.
        every: seconds that must pass between two writes.
        cost: called at each write; gives what the computation has cost since this object was made. After `load`,
            `spent` is what the killed predecessors had cost when they saved.
    """

    def __init__(self, path: Path, every: float = 60.0, cost: Callable[[], Cost] | None = None) -> None:
        if not every >= 0:
            raise ValueError(f"every: {every!r} is not accepted; it is a number of seconds, 0 or more")
        self.path = Path(path)
        self.every = every
        self.spent = Cost(0.0, 0.0)
        self._cost = cost or (lambda: Cost(0.0, 0.0))
        self._last = time.monotonic()
        self._saved = False

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None when there is none or it is damaged (with a `CacheWarning`)."""
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                record = json.loads(file["record"].tobytes())
                state: dict[str, Any] = _decoded(record["state"], file)
            if not self._saved:
                self.spent = Cost(*record["spent"])
            return state
        except _UNREADABLE as error:
            warnings.warn(f"checkpoint {self.path} is damaged ({error}); the computation starts anew",
                          CacheWarning, stacklevel=2)
            return None

    def save(self, state: dict[str, Any], force: bool = False) -> bool:
        """Write `state` when `every` seconds have passed since the last write (or the start), or when `force` is set.

        A full disk costs the checkpoint, not the computation: it is warned about, and False returned.

        Returns:
            True when it was written.

        Raises:
            TypeError: something in `state` cannot be kept (named by its place).
            CacheError: the folder cannot be written to.
        """
        if not isinstance(state, dict):
            raise TypeError(f"state: a {type(state).__name__} is not accepted; it is a dict")
        if not force and time.monotonic() - self._last < self.every:
            return False
        arrays: dict[str, np.ndarray] = {}
        now = self._cost()
        spent = [self.spent.cpu_seconds + now.cpu_seconds, max(self.spent.peak_rss_mb, now.peak_rss_mb)]
        record = {"state": _encoded(state, arrays, "state"), "spent": spent}
        arrays["record"] = np.frombuffer(json.dumps(record).encode(), dtype=np.uint8)
        written = self._write(arrays)
        self._saved = self._saved or written
        self._last = time.monotonic()
        return written

    def remove(self) -> None:
        """Remove the file, if there is one."""
        with suppress(OSError):
            self.path.unlink()

    def _write(self, arrays: dict[str, np.ndarray]) -> bool:
        try:
            write_atomically(self.path, lambda file: _save(file, arrays))
            return True
        except OSError as error:
            if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
                warnings.warn(f"no space for the checkpoint {self.path}; the computation goes on without it",
                              CacheWarning, stacklevel=3)
                return False
            raise CacheError(f"cannot write the checkpoint {self.path}: {error.strerror or error}; make its folder "
                             "writable, or set TWELVEFOLD_CACHE to one that is") from error


def _save(file: IO[bytes], arrays: dict[str, np.ndarray]) -> None:
    np.savez(file, allow_pickle=False, **arrays)


def _encoded(value: Any, arrays: dict[str, np.ndarray], place: str) -> Any:
    """Return `value` as JSON in which `[kind, ...]` stands for everything JSON does not have; arrays go to `arrays`."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return _encoded(value.item(), arrays, place)
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return _encoded_array(value, arrays, place)
    if isinstance(value, (list, tuple)):
        return ["list" if isinstance(value, list) else "tuple",
                [_encoded(item, arrays, f"{place}[{i}]") for i, item in enumerate(value)]]
    if isinstance(value, dict):  # pairs, because an optimiser's state has integer keys
        return ["dict", [[_checked_key(key, place), _encoded(item, arrays, f"{place}[{key!r}]")]
                         for key, item in value.items()]]
    raise TypeError(f"{place}: a {type(value).__name__} cannot be kept; accepted are dicts, lists, tuples, tensors, "
                    "numpy arrays, numbers, strings, bools and None")


def _checked_key(key: Any, place: str) -> Any:
    if not isinstance(key, (str, int)):
        raise TypeError(f"{place}: key {key!r} cannot be kept; accepted are strings and integers")
    return key


def _encoded_array(value: torch.Tensor | np.ndarray, arrays: dict[str, np.ndarray], place: str) -> list[str]:
    name = f"a{len(arrays)}"
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError(f"{place}: an array of dtype object cannot be kept; use a numeric dtype")
        arrays[name] = value
        return ["array", name]
    tensor = value.detach().cpu()
    arrays[name] = tensor.contiguous().view(_BITS[tensor.dtype]).numpy() if tensor.dtype in _BITS else tensor.numpy()
    return ["tensor", name, str(tensor.dtype).removeprefix("torch.")]


def _decoded(value: Any, arrays: Any) -> Any:
    if not isinstance(value, list):
        return value
    kind, content = value[0], value[1]
    if kind == "tensor":
        tensor = torch.from_numpy(arrays[content])
        dtype = getattr(torch, value[2])
        return tensor.view(dtype) if dtype in _BITS else tensor
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {key: _decoded(item, arrays) for key, item in content}
    items = [_decoded(item, arrays) for item in content]
    return tuple(items) if kind == "tuple" else items
