"""How each method of this paper looks, the same in every figure, and dots with intervals over training runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from twelvefold.core import plotting
from twelvefold.core.plotting import Style
from twelvefold.core.reporting import band_of

_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _BROWN, _PINK, _YELLOW, _SKY = plotting.PALETTE
INK, SOFT = "#222222", "#8a8a8a"

STYLES: dict[str, Style] = {
    "DDEQ": Style(_BLUE, "o", ()),
    "one application": Style(_ORANGE, "s", (4, 1.5)),
    "PointNet": Style(_GREEN, "^", (6, 1.5, 1, 1.5)),
    "PointNet, matched": Style("#016b50", "v", (3, 1, 1, 1)),
    "DeepSets, matched": Style(_PURPLE, "D", (1, 1)),
    "Point Transformer": Style(_BROWN, "P", (8, 2)),
}


def dots(ax: Axes, values: Mapping[str, Sequence[float] | np.ndarray], looks: Mapping[str, Style] = STYLES) -> None:
    """One row per method, the first at the top: a small dot per run, and mean with 95 % interval of the mean."""
    for row, (name, vector) in enumerate(values.items()):
        style, array = looks[name], np.asarray(vector, dtype=float)
        centre, low, high = band_of(array)
        ax.plot(array, np.full(len(array), row - 0.22), marker=".", linestyle="none", color=style.color, alpha=0.6)
        ax.plot([low, high], [row, row], color=style.color, linewidth=1.8)
        ax.plot(centre, row, marker=style.marker, color=style.color, markersize=5, linestyle="none")
    ax.set_ylim(len(values) - 0.5, -0.6)
    ax.set_yticks(range(len(values)), list(values))
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
