"""Drawings of result 2: accuracies of classifiers, curves, and one digit with its particles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from twelvefold.core import plotting
from twelvefold.core.reporting import band_of
from twelvefold.papers.ddeq.plots.looks import INK, STYLES, dots


def accuracy_figure(values: Mapping[str, np.ndarray]) -> Figure:
    """Dots with intervals; the first line of a label names the method."""
    fig, ax = plotting.subplots(width="page", height=0.5 * len(values) + 0.6)
    dots(ax, values, {label: STYLES[label.split("\n")[0]] for label in values})
    ax.set_xlabel("test accuracy")
    return fig


def curves_figure(rows: pd.DataFrame) -> Figure:
    """Mean accuracy of every arm against updates, with the interval of the mean."""
    fig, ax = plotting.subplots(width="page", height=2.6)
    for arm in dict.fromkeys(rows["arm"]):
        own = rows[rows["arm"] == arm]
        updates = sorted(own["update"].unique())
        bands = np.array([band_of(own.loc[own["update"] == update, "accuracy"]) for update in updates])
        plotting.band(ax, updates, bands[:, 0], bands[:, 1], bands[:, 2], STYLES[arm], label=arm)
    ax.set_xlabel("updates")
    ax.set_ylabel("test accuracy")
    ax.set_xlim(0)
    plotting.direct_label(ax, most=6)
    return fig


def cloud_figure(points: np.ndarray, residuals: np.ndarray, probabilities: np.ndarray, label: int) -> Figure:
    """A digit's cloud, MMD^2(Z_t, F(Z_t)) along the inner steps, and the class probabilities at the end."""
    fig, axes = plotting.subplots(1, 3, width="page", height=2.2)
    axes[0].scatter(points[:, 0], points[:, 1], s=9, color=INK)
    axes[0].set_aspect("equal")
    axes[0].set_title(f"input: a {label}")
    style = STYLES["DDEQ"]
    axes[1].plot(range(len(residuals)), residuals, color=style.color, marker=style.marker, markersize=3)
    axes[1].set_ylim(0)
    axes[1].set_title("residual")
    axes[1].set_xlabel("inner step t")
    axes[1].set_ylabel("MMD$^2$(Z, F(Z))")
    colors = [style.color if digit == label else "#c8c8c8" for digit in range(len(probabilities))]
    axes[2].bar(range(len(probabilities)), probabilities, color=colors)
    axes[2].set_xticks(range(len(probabilities)))
    axes[2].set_ylim(0, 1)
    axes[2].set_title("class probabilities")
    axes[2].set_xlabel("class (blue: the true one)")
    return fig
