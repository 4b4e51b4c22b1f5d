"""Readers of data files: each turns the checked files of one dataset into arrays or tensors, never by pickle."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def digits_csv(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """Read rows of 784 pixel values and a label.

    Returns:
        images: uint8 [n, 28, 28]; labels: int64 [n].
    """
    text = gzip.decompress(files[0].read_bytes())
    rows = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8, ndmin=2)
    return {"images": np.ascontiguousarray(rows[:, :-1]).reshape(-1, 28, 28), "labels": rows[:, -1].astype(np.int64)}


def digits_idx(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """Read the four files of a digits collection: training images and labels, test images and labels.

    Returns:
        images, test_images: uint8 [n, 28, 28]; labels, test_labels: int64 [n].
    """
    arrays = [_idx(path) for path in files]
    return {"images": arrays[0], "labels": arrays[1].astype(np.int64),
            "test_images": arrays[2], "test_labels": arrays[3].astype(np.int64)}


def table_csv(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """Read a table of numbers with a header line: one float64 array per column."""
    lines = files[0].read_text(encoding="utf-8").splitlines()
    columns = np.loadtxt(lines[1:], delimiter=",", ndmin=2)
    return {name.strip(): columns[:, i] for i, name in enumerate(lines[0].split(","))}


def tensors(files: Sequence[Path]) -> dict[str, Any]:
    """Read a safetensors file: tensors by name, on the CPU."""
    from safetensors.torch import load_file

    return dict(load_file(files[0]))


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Return the shapes that the header of a safetensors file (8 bytes length, then JSON) states, by tensor name.

    Raises:
        ValueError: not a safetensors file.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= 100_000_000:
            raise ValueError("it does not begin like a safetensors file")
        header = json.loads(file.read(length))
    return {name: item["shape"] for name, item in header.items() if name != "__metadata__"}


def _idx(path: Path) -> np.ndarray:
    """Read one IDX file: two zero bytes, the type (8: uint8), the number of axes, the axes (big-endian), the values."""
    data = gzip.decompress(path.read_bytes())
    if data[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    axes = data[3]
    shape = np.frombuffer(data, dtype=">i4", count=axes, offset=4)
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape).copy()


LOADERS: dict[str, Callable[[Sequence[Path]], dict[str, Any]]] = {
    "digits_csv": digits_csv,
    "digits_idx": digits_idx,
    "table_csv": table_csv,
    "tensors": tensors,
}
