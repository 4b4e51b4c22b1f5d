"""Readers of data: files become arrays or tensors (never by pickle), a user's folder its checked list of files."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
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


def file_paths(files: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """Return where the files lie, for a dataset that another module reads."""
    return {"files": tuple(files)}


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Return the shapes that the header of a safetensors file (8 bytes length, then JSON) states, by tensor name.

    Raises:
        ValueError: not a safetensors file, or shorter or longer than its header says.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= 100_000_000:
            raise ValueError("it does not begin like a safetensors file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not a table of tensors")
    tensors = {name: item for name, item in header.items() if name != "__metadata__"}
    stated = 8 + length + max((item["data_offsets"][1] for item in tensors.values()), default=0)
    if path.stat().st_size != stated:
        raise ValueError(f"it has {path.stat().st_size} bytes, its header states {stated}: it was cut off or changed")
    return {name: item["shape"] for name, item in tensors.items()}


def check_tensors(path: Path, shapes: Mapping[str, list[int]]) -> None:
    """Check that a safetensors file holds tensors of these names and shapes, and is as long as its header says.

    Raises:
        ValueError: it does not; the message names the file and the tensor.
    """
    try:
        found = tensor_shapes(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a safetensors file ({error})") from error
    for name, shape in shapes.items():
        if found.get(name) != list(shape):
            raise ValueError(f"{path} should hold {name} of shape {list(shape)}, found "
                             f"{found.get(name, 'no such tensor')} among {len(found)} tensors")


def image_folder(root: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Find the folders `<root>/<domain>/<class>` of a collection of images.

    Args:
        root: the folder that the user supplied.
        wanted: domains (domain: accepted spellings) and classes (how many each domain has).

    Returns:
        root; domains: folders by domain; classes: their names, sorted.

    Raises:
        ValueError: a domain is missing, or the domains do not have the same classes.
    """
    domains = {domain: _domain(root, domain, spellings) for domain, spellings in wanted["domains"].items()}
    found = {domain: _folders(folder) for domain, folder in domains.items()}
    every = sorted(set().union(*found.values()))
    if len(every) != wanted["classes"] or any(names != every for names in found.values()):
        counts = ", ".join(f"{domain} {len(names)}" for domain, names in found.items())
        raise ValueError(f"{root} should have the same {wanted['classes']} class folders in each domain; found "
                         f"{counts}, together {len(every)} different ones. Unpack the archive again")
    return {"root": root, "domains": domains, "classes": tuple(every)}


def file_folder(root: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Find the files of a folder and check what can be checked without a checksum.

    Args:
        root: the folder that the user supplied.
        wanted: needed (patterns below `root`, each with at least one file) and, optionally, tensors (shapes by tensor
            name for each named safetensors file).

    Returns:
        root; files: for each pattern its files, sorted by name (hidden ones are left out).

    Raises:
        ValueError: a pattern has no file, a file is empty, or a tensor is missing or of another shape.
    """
    files = {pattern: _matching(root, pattern) for pattern in wanted["needed"]}
    absent = [pattern for pattern, found in files.items() if not found]
    if absent:
        there = sorted(item.name for item in root.iterdir())[:10]
        raise ValueError(f"{root} lacks {', '.join(absent)}; it holds {', '.join(there) or 'nothing'}")
    for file in (file for found in files.values() for file in found):
        if not file.stat().st_size:
            raise ValueError(f"{file} is empty")
    for name, shapes in wanted.get("tensors", {}).items():
        check_tensors(root / name, shapes)
    return {"root": root, "files": files}


def _matching(root: Path, pattern: str) -> tuple[Path, ...]:
    return tuple(sorted(file for file in root.glob(pattern) if file.is_file() and not file.name.startswith(".")))


def _domain(root: Path, domain: str, spellings: Sequence[str]) -> Path:
    for spelling in spellings:
        if (root / spelling).is_dir():
            return root / spelling
    raise ValueError(f"{root} has no folder for domain {domain!r} (looked for {', '.join(spellings)}); found: "
                     f"{', '.join(_folders(root)) or 'no folder'}. Unpack the archive again")


def _folders(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))


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
    "file_paths": file_paths,
    "table_csv": table_csv,
    "tensors": tensors,
}
FOLDER_LOADERS: dict[str, Callable[[Path, Mapping[str, Any]], dict[str, Any]]] = {
    "file_folder": file_folder,
    "image_folder": image_folder,
}
