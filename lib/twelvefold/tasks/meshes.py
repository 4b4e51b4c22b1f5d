"""Point clouds of the CAD models of ModelNet40: vertices of OFF files, thinned on a grid (a folder of the user).

After Geuter et al. 2025, arXiv 2503.01140. A cloud consists of the vertices (not of points sampled on the faces),
normalised, averaged within the cells of a grid, and normalised again. The aim is 500 to 800 points: the cells take the
first size of a rising list that leaves at most 800, so that a cloud may keep fewer than 500, and one that has at most
800 vertices keeps them all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from twelvefold.core import data as datasets
from twelvefold.tasks.examples import whole_number
from twelvefold.tasks.point_clouds import Clouds, clouds_of, normalised

LEAF_SIZES = (1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)  # edges of a cell, in standard deviations
PARTS = ("train", "test")
CLASSES = 40
_NAME = "modelnet40"


def read_off(path: Path) -> Tensor:
    """The vertices of a mesh in Object File Format, float64 `[m, 3]`.

    After the word OFF (which some files of ModelNet40 glue to the next number) come the numbers of vertices, faces and
    edges, then a line for each vertex and for each face. Comments (from # on), empty lines and what follows the faces
    are skipped; the faces are only counted, to notice a file that was cut off.

    Raises:
        ValueError: the file is damaged; the message names it, what is wrong and what is needed.
    """
    text = path.read_bytes().decode("latin-1")
    lines = [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]
    if not lines or not lines[0].startswith("OFF"):
        raise ValueError(f"{path} begins with {(lines or ['nothing'])[0][:40]!r}; an OFF file begins with the word OFF")
    glued = lines[0].removeprefix("OFF").strip()
    rest = [glued, *lines[1:]] if glued else lines[1:]
    vertices, faces = _counts(path, rest[0] if rest else "nothing")
    if len(rest) - 1 < vertices + faces:
        raise ValueError(f"{path} has {len(rest) - 1} lines after its header, which states {vertices} vertices and "
                         f"{faces} faces: it was cut off or changed")
    return _vertices(path, rest[1 : 1 + vertices])


def _counts(path: Path, line: str) -> tuple[int, int]:
    """Numbers of vertices and faces from the line that states them (and the number of edges)."""
    words = line.split()
    if not 2 <= len(words) <= 3 or not all(word.isdecimal() for word in words) or not int(words[0]):
        raise ValueError(f"{path} states the counts {line[:40]!r}; needed are the numbers of vertices (at least 1), "
                         "faces and edges")
    return int(words[0]), int(words[1])


def _vertices(path: Path, lines: list[str]) -> Tensor:
    try:
        # colours may follow the three coordinates
        table = np.loadtxt(lines, dtype=np.float64, usecols=(0, 1, 2), ndmin=2, comments=None)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} has a vertex that is not three numbers ({error})") from error
    bad = np.flatnonzero(~np.isfinite(table).all(1))
    if bad.size:
        raise ValueError(f"{path}: vertex {bad[0]} is {table[bad[0]].tolist()}; finite numbers are needed")
    return torch.from_numpy(table)


def voxel_means(points: Tensor, leaf: float) -> Tensor:
    """Means `[cells, d]` of the points `[m, d]` in each occupied cell of a grid.

    Args:
        points: m >= 1 points.
        leaf: edge of the cubic cells, in the units of the points; the grid starts at the smallest coordinates.

    Raises:
        ValueError: no points `[m, d]`, or a leaf that is not above 0.
    """
    if points.ndim != 2 or not points.numel():
        raise ValueError(f"points has shape {tuple(points.shape)}; [m, d] with at least one point is needed")
    if not leaf > 0:
        raise ValueError(f"leaf = {leaf!r}; a positive edge length is needed")
    cells = torch.floor((points - points.amin(0)) / leaf).long()
    key = torch.zeros_like(cells[:, 0])
    for axis in cells.unbind(1):
        # numbered anew after each axis, keys stay below m times the cells of one axis: no overflow at small leaves
        key = torch.unique(key * (axis.max() + 1) + axis, return_inverse=True)[1]
    counts = torch.bincount(key)
    return points.new_zeros(len(counts), points.shape[1]).index_add_(0, key, points) / counts[:, None]


def thinned(points: Tensor, most: int) -> Tensor:
    """A cloud `[m, d]` of at most `most` points: itself, or its `voxel_means` with the first of `LEAF_SIZES` that
    leaves so few.

    Raises:
        ValueError: `most` is not a positive whole number, or even cells of edge 1 leave more.
    """
    whole_number("most", most)
    fewer = points
    for leaf in LEAF_SIZES:
        if len(fewer) <= most:
            return fewer
        fewer = voxel_means(points, leaf)
    if len(fewer) > most:
        raise ValueError(f"most = {most}; cells of edge {LEAF_SIZES[-1]:g} still leave {len(fewer)} points")
    return fewer


def cloud_of_vertices(vertices: Tensor, most: int) -> Tensor:
    """Vertices `[m, 3]` normalised, thinned to at most `most` points and normalised again, `[m', 3]`; ValueError as
    `thinned`."""
    return _normalised(thinned(_normalised(vertices), most))


def _normalised(points: Tensor) -> Tensor:
    return normalised(points[None], torch.ones(1, len(points), dtype=torch.bool))[0]


def modelnet_classes() -> tuple[str, ...]:
    """The names of the 40 classes, sorted: a label is the place of its class in here.

    Raises:
        DataMissing, DataDamaged: the folder is not there, or not complete.
    """
    files = datasets.load(_NAME)["files"]
    found = {part: {file.parent.parent.name for file in files[f"*/{part}/*.off"]} for part in PARTS}
    if found["train"] != found["test"] or len(found["train"]) != CLASSES:
        counts = ", ".join(f"{part} {len(names)}" for part, names in found.items())
        raise datasets.damaged(_NAME, f"the same {CLASSES} classes are needed in both parts, found {counts}, together "
                                      f"{len(found['train'] | found['test'])} different ones")
    return tuple(sorted(found["train"]))


def modelnet_clouds(part: str = "train", most: int = 800) -> Clouds:
    """The clouds of all models of one part of ModelNet40, in the order of class and file name, d = 3.

    Args:
        part: "train" or "test" (9,843 and 2,468 models in the collection as published).
        most: points of the largest cloud that is accepted; larger ones are `thinned`.

    Raises:
        ValueError: unknown part, or `most` out of range or too small for a model (which is named).
        DataMissing, DataDamaged: the folder is not there, or a file in it is damaged (which is named).
    """
    if part not in PARTS:
        raise ValueError(f"part = {part!r}; accepted are {' and '.join(PARTS)}")
    whole_number("most", most)
    numbers = {name: number for number, name in enumerate(modelnet_classes())}
    files = datasets.load(_NAME)["files"][f"*/{part}/*.off"]
    labels = [numbers[file.parent.parent.name] for file in files]
    return clouds_of([_cloud_of_file(file, most) for file in files], labels)


def _cloud_of_file(file: Path, most: int) -> Tensor:
    try:
        vertices = read_off(file)
    except ValueError as error:
        raise datasets.damaged(_NAME, str(error)) from error
    try:
        return cloud_of_vertices(vertices, most).float()
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
