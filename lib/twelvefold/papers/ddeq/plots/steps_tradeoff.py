"""Drawings of result 5: accuracy and residual against inner steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twelvefold.core import plotting
from twelvefold.core.plotting import Style
from twelvefold.core.reporting import band_of
from twelvefold.papers.ddeq.plots.looks import SOFT, STYLES

_PANELS = (("found", "accuracy of Z"), ("applied", "accuracy of F(Z)"), ("log_residual", "residual MMD$^2$(Z, F(Z))"))


def _looks(numbers: Sequence[int]) -> dict[int, Style]:
    """One application and the main number of steps look as everywhere; further ones take what is left."""
    spare = [style for name, style in STYLES.items() if name not in ("DDEQ", "one application")]
    looks = {number: style for number, style in zip(numbers, [STYLES["DDEQ"], *spare], strict=False) if number}
    return {number: STYLES["one application"] if number == 0 else looks[number] for number in numbers}


def curves_figure(runs: pd.DataFrame) -> Figure:
    """Three panels against the number of inner steps in evaluation."""
    numbers = sorted((int(number) for number in runs["trained_steps"].unique()), reverse=True)
    looks = _looks(numbers)
    fig, axes = plotting.subplots(1, 3, width="page", height=2.5)
    for ax, (column, title) in zip(axes, _PANELS, strict=True):
        for number in numbers:
            _curve(ax, runs[runs["trained_steps"] == number], column, looks[number], f"trained with {number}")
        ax.set_xscale("symlog", linthresh=1)
        shown = sorted(int(step) for step in runs["steps"].unique())
        ax.set_xticks(shown, [str(step) for step in shown])
        ax.minorticks_off()
        ax.set_xlabel("inner steps in evaluation")
        ax.set_title(title)
    axes[2].set_yscale("log")
    axes[0].legend(loc="best", handlelength=2.6)
    return fig


def _curve(ax: Axes, rows: pd.DataFrame, column: str, style: Style, label: str) -> None:
    steps = sorted(rows["steps"].unique())
    bands = np.array([band_of(rows.loc[rows["steps"] == step, column]) for step in steps])
    if column == "log_residual":
        bands = np.exp(bands)
    plotting.band(ax, steps, bands[:, 0], bands[:, 1], bands[:, 2], style, label=label)
    number = int(rows["trained_steps"].iloc[0])
    if number:
        ax.axvline(number, color=style.color, linestyle=":", linewidth=0.8)


def training_figure(rows: pd.DataFrame) -> Figure:
    """Accuracy by the number of inner steps in training."""
    fig, ax = plotting.subplots(width="column", height=2.3)
    numbers = sorted(int(number) for number in rows["trained_steps"].unique())
    looks = _looks(sorted(numbers, reverse=True))
    for _, own in rows.groupby("replicate"):
        ordered = own.sort_values("trained_steps")
        ax.plot([numbers.index(n) for n in ordered["trained_steps"]], ordered["applied"], color=SOFT, linewidth=0.6,
                marker=".", markersize=3, zorder=1)  # fmt: skip
    for place, number in enumerate(numbers):
        centre, low, high = band_of(rows.loc[rows["trained_steps"] == number, "applied"])
        ax.plot([place + 0.08] * 2, [low, high], color=looks[number].color, linewidth=1.8)
        ax.plot(place + 0.08, centre, marker=looks[number].marker, color=looks[number].color, markersize=5)
    ax.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    ax.set_xlim(-0.5, len(numbers) - 0.5)
    ax.set_xlabel("inner steps in training")
    ax.set_ylabel("test accuracy of F(Z)")
    return fig


def response_figure(steps: Sequence[int], chances: np.ndarray, residuals: np.ndarray, label: int) -> Figure:
    """Probability of the true class from Z and from F(Z) `[2, S]`, and the residual `[S]`, along the inner steps."""
    fig, axes = plotting.subplots(1, 2, width="page", height=2.2)
    for row, name in enumerate(("Z", "F(Z)")):
        style = STYLES["DDEQ"] if row else STYLES["PointNet"]
        axes[0].plot(steps, chances[row], color=style.color, linestyle=style.linestyle, label=f"from {name}")
    axes[0].set_ylim(0, 1)
    axes[0].set_ylabel(f"probability of class {label}")
    axes[0].legend(loc="best")
    axes[1].plot(steps, residuals, color=STYLES["DDEQ"].color)
    axes[1].set_yscale("log")
    axes[1].set_ylabel("MMD$^2$(Z, F(Z))")
    for ax in axes:
        ax.set_xlabel("inner step t")
    return fig
