"""Drawings of 03 and 04: parts of the mean over scales, histograms with their mode, lucky curves and their shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from numpy.typing import ArrayLike

from twelvefold.core import plotting
from twelvefold.core.distributions import density_of, mode_of
from twelvefold.papers.random_scaling.decomposition import SUCCESS as THRESHOLD
from twelvefold.papers.random_scaling.plotting import FAILURE, INK, SOFT, SUCCESS, runs_histogram

PARTS = {"mode": plotting.PALETTE[4], "mean": INK, "P(success)": plotting.PALETTE[2],
         "mean of successes": SUCCESS}  # fmt: skip
FIRST, SECOND = plotting.PALETTE[1], plotting.PALETTE[0]
PAIRINGS = {"same": plotting.PALETTE[0], "independent": plotting.PALETTE[1]}
SHOWN = 100  # curves drawn one by one, the first ones: more would fill the picture and its file
_BINS = np.linspace(0, 1, 21).tolist()
_SCORE = "exact match"


def _scale_axis(ax: Axes, labels: Sequence[str], name: str | None = None) -> None:
    ax.set_xticks(range(len(labels)), labels)
    ax.set_xlim(-0.25, len(labels) - 0.75)
    ax.set_ylim(-0.04, 1.04)
    if name:
        ax.set_xlabel(name)


def parts_figure(parts: pd.DataFrame, labels: Sequence[str], axis_name: str) -> Figure:
    """Mode, mean, P(success) and mean of successes against the scale, each with its band.

    Args:
        parts: columns part (a name of `PARTS`), number (of the scale), compared, value, low, high; scales that are not
            compared get a hollow mark apart from the line.
        labels: of the scales; axis_name: of the x axis.
    """
    fig, axes = plotting.subplots(2, 2, width="page", height=3.9, sharex=True, sharey=True)
    for ax, (name, color) in zip(axes.flat, PARTS.items(), strict=True):
        rows = parts[(parts["part"] == name) & parts["value"].notna()]
        line, alone = rows[rows["compared"]], rows[~rows["compared"]]
        ax.fill_between(line["number"], line["low"], line["high"], color=color, alpha=0.18, linewidth=0)
        ax.plot(line["number"], line["value"], "o-", color=color)
        ax.plot(alone["number"], alone["value"], "o", color=color, markerfacecolor="none")
        _scale_axis(ax, labels)
        ax.set_title(name)
    for ax in axes[-1]:
        ax.set_xlabel(axis_name)
    return fig


def _histogram(ax: Axes, scores: np.ndarray, bandwidth: float) -> None:
    """Histogram of failed and successful runs, their kernel density in runs per bin, and its highest point."""
    kinds = {"failed": scores[scores <= THRESHOLD], "succeeded": scores[scores > THRESHOLD]}
    runs_histogram(ax, kinds, {"failed": FAILURE, "succeeded": SUCCESS}, _BINS)
    for bar in [bar for bar in ax.patches if isinstance(bar, Rectangle) and bar.get_height() == 0]:
        bar.remove()  # nothing to see, but most of the file
    points, density = density_of(scores, bandwidth=bandwidth)
    runs_per_bin = density * len(scores) * (_BINS[1] - _BINS[0])
    ax.plot(points, runs_per_bin, color=INK, linewidth=1.0, label="kernel density")
    mode = mode_of(scores, bandwidth=bandwidth)
    ax.plot(mode, np.interp(mode, points, runs_per_bin), "v", color=INK, markersize=7, label="mode", clip_on=False)
    ax.set_xlim(0, 1)


def histograms_figure(
    scores: Mapping[str, np.ndarray], compared: Sequence[str], axis_name: str, bandwidth: float = 0.05
) -> Figure:
    """One histogram over runs per scale with the kernel density and its mode.

    Args:
        scores: exact match `[R]` by the label of the scale.
        compared: labels of the scales that are compared; the others say so in their titles.
        axis_name: what the labels stand for.
        bandwidth: of the kernels.
    """
    columns = min(4, len(scores))
    rows = -(-len(scores) // columns)
    fig, axes = plotting.subplots(rows, columns, width="page", height=0.5 + 1.7 * rows, sharex=True, sharey=True,
                                  squeeze=False)  # fmt: skip
    for ax, (label, values) in zip(axes.flat, scores.items(), strict=False):
        _histogram(ax, values, bandwidth)
        ax.set_title(label if label in compared else f"{label} (not compared)")
        ax.set_xticks([0, 0.5, 1])
        ax.label_outer()
    for ax in axes.flat[len(scores) :]:
        ax.set_axis_off()
    fig.supxlabel(f"{_SCORE} (above each panel: {axis_name})", fontsize=8)
    handles, names = axes.flat[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=4)
    return fig


def scale_histogram(scores: ArrayLike, label: str, bandwidth: float) -> Figure:
    """The histogram over runs of one scale, with the density of kernels of a chosen width and its mode."""
    fig, ax = plotting.subplots(width="column", height=2.6)
    values = np.asarray(scores, dtype=float)
    _histogram(ax, values, bandwidth)
    ax.set_xlabel(_SCORE)
    mode, share = mode_of(values, bandwidth=bandwidth), (values > THRESHOLD).mean()
    ax.set_title(f"{label}: mode {mode:.2f}, P(success) {share:.2f}")
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def _grey(ax: Axes, curves: np.ndarray) -> None:
    ax.plot(curves[:SHOWN].T, color=SOFT, linewidth=0.7, alpha=0.5, zorder=1)


def lucky_figure(
    curves: np.ndarray, chosen: Sequence[tuple[int, str]], labels: Sequence[str], axis_name: str
) -> Figure:
    """Two chosen curves, side by side, over all curves (at most `SHOWN`) in grey.

    Args:
        curves: `[n, m]`.
        chosen: number of a curve and the title of its panel, twice.
        labels: of the scales; axis_name: of the x axis.
    """
    fig, axes = plotting.subplots(1, 2, width="page", height=2.6, sharey=True)
    for ax, (number, title), color, marker in zip(axes, chosen, (FIRST, SECOND), "os", strict=True):
        _grey(ax, curves)
        ax.plot(curves[number], color=color, marker=marker, linewidth=2.2, clip_on=False)
        _scale_axis(ax, labels, axis_name)
        ax.set_title(title)
    axes[0].set_ylabel(_SCORE)
    return fig


def two_curves(curves: np.ndarray, chosen: Sequence[tuple[int, str]], labels: Sequence[str], axis_name: str) -> Figure:
    """Two chosen curves in one drawing over all curves in grey; arguments as `lucky_figure`."""
    fig, ax = plotting.subplots(width="column", height=2.8)
    _grey(ax, curves)
    for (number, title), color, marker, dashes in zip(chosen, (FIRST, SECOND), "os", ("-", "--"), strict=True):
        ax.plot(curves[number], color=color, marker=marker, linestyle=dashes, linewidth=2, label=title, clip_on=False)
    _scale_axis(ax, labels, axis_name)
    ax.set_ylabel(_SCORE)
    fig.legend(loc="outside upper center", ncols=1)
    return fig


def _shape_axis(ax: Axes, smallest: float) -> None:
    """A scale for B from its smallest value on, linear near 0 and logarithmic beyond 1."""
    ax.set_xscale("symlog", linthresh=1, linscale=0.6)
    ax.set_xlim(min(-0.2, 1.4 * smallest), 130)
    ax.xaxis.set_major_locator(FixedLocator([-100, -10, -1, 0, 1, 10, 100]))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())


def shapes_figure(shapes: pd.DataFrame) -> Figure:
    """B and L of single runs' curves and of averages: marks of curves, a bar from the 10th to the 90th percentile.

    Args:
        shapes: one row per curve with the columns of (runs averaged), pairing, B and L.
    """
    fig, axes = plotting.subplots(1, 2, width="page", height=2.9, sharey=True)
    numbers = sorted(shapes["of"].unique())
    for (of, pairing), group in shapes.groupby(["of", "pairing"]):
        place = -numbers.index(of) + (0.2 if pairing == "same" else -0.2)
        # an even comb instead of random jitter: the same picture every time
        shown = group[:SHOWN]
        height = place + 0.1 * (np.arange(len(shown)) % 7 / 3 - 1)
        for ax, name in zip(axes, ("B", "L"), strict=True):
            ax.plot(shown[name], height, ".", color=SOFT, markersize=2.5, zorder=1, rasterized=True)
            low, middle, high = np.quantile(group[name], [0.1, 0.5, 0.9])
            ax.plot([low, high], [place, place], color=PAIRINGS[str(pairing)], linewidth=2.4,
                    linestyle="-" if pairing == "same" else (0, (2, 0.7)))  # fmt: skip
            ax.plot(middle, place, "|", color=INK, markersize=9, markeredgewidth=1.6)
    axes[0].set_yticks([-place for place in range(len(numbers))],
                       ["one run" if of == 1 else f"average\nof {of}" for of in numbers])  # fmt: skip
    _shape_axis(axes[0], float(shapes["B"].min()))
    axes[0].set_xlabel("breakthroughness B")
    axes[1].set_xlabel("linearity L")
    for pairing, color in PAIRINGS.items():
        axes[1].plot([], [], color=color, linewidth=2.4, linestyle="-" if pairing == "same" else (0, (2, 0.7)),
                     label=f"{pairing} replicate{'s' * (pairing != 'same')}")  # fmt: skip
    fig.legend(loc="outside lower center", ncols=2)
    return fig
