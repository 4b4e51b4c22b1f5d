"""Drawings of result 2: bits per residue of all arms, and their curves over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from twelvefold.core import plotting
from twelvefold.papers.s2t2.plots.arms import ARMS, REFERENCES, STYLES

Band = tuple[float, float, float]
# variants of an arm look as it does, but hollow
LABELS = {
    "source": ARMS["source"], "source_letters": "source tokenizer, letters only", "pieces": ARMS["pieces"],
    "start": "random sparse plan", "unconstrained_normal": "unconstrained, normal start",
    "unconstrained": ARMS["unconstrained"], "column_softmax": ARMS["column_softmax"],
    "entropic_sinkhorn": ARMS["entropic_sinkhorn"], "sparse_sinkhorn": ARMS["sparse_sinkhorn"],
}  # fmt: skip
_LOOKS_AS = {"source_letters": "source", "start": "sparse_sinkhorn", "unconstrained_normal": "unconstrained"}
_HOLLOW = ("source", "source_letters", "pieces", "start", "unconstrained_normal")
SOFT = "#8a8a8a"
_ZOOM = 0.35  # bits above the references that the second panel of curves shows
_DASHES = ((0, (4, 2)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))


def arms_figure(
    bands: Mapping[str, Band], singles: Mapping[str, ArrayLike], lines: Mapping[str, float],
    differences: Mapping[str, Band] | None = None,
) -> Figure:  # fmt: skip
    """One row of points per arm, in the order of `LABELS`; vertical lines for the references.

    Args:
        bands: mean and ends of its interval per arm. singles: values of runs or proteins per arm.
        lines: bits per residue per reference.
        differences: sparse Sinkhorn minus the arm, mean and ends of its interval, in a panel of its own; for the arms
            whose differences are small enough to share an axis.
    """
    names = [name for name in LABELS if name in bands]
    panels = {"ncols": 2, "sharey": True, "width_ratios": [3, 2]} if differences else {"ncols": 1}
    fig, axes = plotting.subplots(width="page", height=1.0 + 0.26 * len(names), squeeze=False, **panels)
    ax = axes[0, 0]
    for place, name in enumerate(names):
        each = np.asarray(singles[name])
        ax.plot(each, np.full(len(each), place + 0.3), linestyle="", marker=".", markersize=3,
                color=_style(name).color)  # fmt: skip
        _point(ax, place, name, bands[name])
    ax.set_yticks(range(len(names)), [LABELS[name] for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel("bits per residue")
    handles = [ax.axvline(value, color=SOFT, linewidth=1.0, linestyle=dash, zorder=0,
                          label=f"{REFERENCES[name]} ({value:.2f})")
               for (name, value), dash in zip(lines.items(), _DASHES, strict=True)]  # fmt: skip
    fig.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=3)
    if differences:
        _differences(axes[0, 1], names, differences)
    return fig


def _style(name: str) -> plotting.Style:
    return STYLES[_LOOKS_AS.get(name, name)]


def _face(name: str) -> str:
    return "white" if name in _HOLLOW else _style(name).color


def _point(ax: Axes, place: int, name: str, band: Band) -> None:
    """Mean and interval of an arm in its row."""
    (middle, low, high), style = band, _style(name)
    ax.plot([low, high], [place] * 2, color=style.color, linewidth=1.8)
    ax.plot(middle, place, marker=style.marker, color=style.color, markersize=5.5, markerfacecolor=_face(name))


def _differences(ax: Axes, names: Sequence[str], differences: Mapping[str, Band]) -> None:
    for name, band in differences.items():
        _point(ax, names.index(name), name, band)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel("sparse Sinkhorn minus this arm\n(negative: sparse Sinkhorn is better)")


def curves_figure(curves: Mapping[str, pd.Series], lines: Mapping[str, float]) -> Figure:
    """Mean bits against steps per arm, whole and near the references, which are horizontal lines.

    Args:
        curves: per arm bits by step. lines: bits per residue per reference.
    """
    fig, axes = plotting.subplots(1, 2, width="page", height=3.1)
    for ax in axes:
        for name, middle in curves.items():
            ax.plot(middle.index.to_numpy(dtype=float), middle, label=LABELS[name], **_style(name).line,
                    markerfacecolor=_face(name))  # fmt: skip
        for (name, value), dash in zip(lines.items(), _DASHES, strict=False):
            ax.axhline(value, color=SOFT, linewidth=1.0, linestyle=dash, label=REFERENCES[name])
        ax.set_xlabel("step")
    axes[0].set_ylabel("bits per residue")
    axes[1].set_ylim(min(lines.values()) - 0.04, max(lines.values()) + _ZOOM)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, handlelength=2.8)
    return fig


def explore_figure(losses: Sequence[float], bits: float, arm: str, lines: Mapping[str, float]) -> Figure:
    """Loss curve of one plan learnt at once, its held-out score, and the references."""
    fig, ax = plotting.subplots(width="page", height=2.4)
    ax.plot(losses, label="training texts", **_style(arm).line)
    ax.axhline(bits, color="black", linewidth=1.0, label="held out, learnt")
    for (name, value), dash in zip(lines.items(), _DASHES, strict=False):
        ax.axhline(value, color=SOFT, linewidth=1.0, linestyle=dash, label=REFERENCES[name])
    ax.set_xlabel("step")
    ax.set_ylabel("bits per residue")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig
