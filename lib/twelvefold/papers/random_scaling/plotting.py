"""What the drawings of all results share: one colour per kind of run, and histograms over runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from twelvefold.core import plotting

FAILURE, SUCCESS = plotting.PALETTE[3], plotting.PALETTE[0]
POSITION, CONTENT = FAILURE, SUCCESS  # the rule that fails at new lengths, and the one that works
INK, SOFT = "#222222", "#b5b5b5"
HATCHES = ("////", "")  # failure or position, success or content: the difference without colour


def runs_histogram(
    ax: Axes, values: Mapping[str, ArrayLike], colors: Mapping[str, str], bins: Sequence[float]
) -> None:
    """Stacked histogram of runs, one layer per kind with its colour; the y axis counts runs."""
    edges, below = np.asarray(bins, dtype=float), np.zeros(len(bins) - 1)
    hatches = dict(zip(values, (*HATCHES, *[""] * len(values)), strict=False))
    for kind, scores in values.items():
        counts = np.histogram(np.asarray(scores, dtype=float), edges)[0]
        ax.bar(
            edges[:-1], counts, np.diff(edges), bottom=below, align="edge", color=colors[kind], hatch=hatches[kind],
            edgecolor="white", linewidth=0.4, label=kind,
        )  # fmt: skip
        below = below + counts
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("number of runs")
