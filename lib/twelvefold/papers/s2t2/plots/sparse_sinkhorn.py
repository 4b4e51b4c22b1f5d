"""Drawings of the sparse Sinkhorn iteration: one colour, marker and dash per solver and per kind of plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from twelvefold.core import plotting

SOLVERS = {"dual": "dual ascent", "dykstra": "Dykstra", "alternation": "no corrections"}
KINDS = {"sparse_sinkhorn": "sparse Sinkhorn", "entropic_sinkhorn": "entropic Sinkhorn",
         "column_softmax": "column softmax"}  # fmt: skip
STYLES = plotting.styles(list(SOLVERS))
SOFT = "#8a8a8a"
FLOOR = 1e-16  # an error of 0 has no place on a logarithmic axis


def heat(ax: Axes, values: ArrayLike, title: str, largest: float, signed: bool = False) -> None:
    """One matrix, rows source and columns target tokens; darker is more, and zeros of a plan are blank."""
    matrix = np.asarray(values, dtype=float)
    if signed:
        ax.imshow(matrix, cmap="PuOr", vmin=-largest, vmax=largest, aspect="auto")
    else:
        # the scale begins below zero, so that the smallest weights can still be told from blank
        blank = np.where(matrix > 0, matrix, np.nan)
        ax.imshow(blank, cmap="Blues", vmin=-0.25 * largest, vmax=largest, aspect="auto")
    ax.set_title(title)
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)


def iterates_figure(entries: pd.DataFrame) -> Figure:
    """Scores (iterations 0) and plans of a small problem; columns iterations, row, column, value."""
    steps = sorted(int(t) for t in entries["iterations"].unique())
    panels = [entries[entries["iterations"] == t].pivot(index="row", columns="column", values="value") for t in steps]
    fig, axes = plotting.subplots(1, len(steps), width="page", height=2.5)
    for ax, t, panel in zip(axes, steps, panels, strict=True):
        zero = "" if t == 0 else f", {int((panel > 0).to_numpy().sum())} used"
        heat(ax, panel, "scores C" if t == 0 else f"T = {t}{zero}", float(np.abs(panel.to_numpy()).max()), t == 0)
    axes[0].set_ylabel("source tokens")
    fig.supxlabel("target tokens", fontsize="medium")
    return fig


def errors_figure(panels: Mapping[float, Mapping[str, pd.DataFrame]]) -> Figure:
    """Error against T, both logarithmic, one panel per scale of the scores.

    Args:
        panels: per scale and solver a frame with index T and columns low, middle, high.
    """
    fig, axes = plotting.subplots(1, len(panels), width="page", height=2.8, sharey=True, squeeze=False)
    for ax, (scale, curves) in zip(axes[0], panels.items(), strict=True):
        for name, frame in curves.items():
            x, style = frame.index.to_numpy(dtype=float), STYLES[name]
            ax.fill_between(x, frame["low"].clip(FLOOR), frame["high"].clip(FLOOR), color=style.color, alpha=0.15,
                            linewidth=0)  # fmt: skip
            ax.plot(x, frame["middle"].clip(FLOOR), label=SOLVERS[name], **style.line)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_title(f"scores N(0, {scale:g}$^2$)")
        ax.set_xlabel("iterations T")
    axes[0, 0].set_ylabel("largest error of an entry")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(SOLVERS), handlelength=2.6)
    return fig


def support_figure(frame: pd.DataFrame, bound: int, entries: int) -> Figure:
    """Number of positive entries against the scale of the scores: index scale, columns low, middle, high."""
    fig, ax = plotting.subplots(width="column", height=2.5)
    x, style = frame.index.to_numpy(dtype=float), STYLES["dual"]
    ax.fill_between(x, frame["low"], frame["high"], color=style.color, alpha=0.2, linewidth=0)
    ax.plot(x, frame["middle"], **style.line)
    for height, text in ((bound, "v + u - 1"), (entries, "all v u entries")):
        ax.axhline(height, color=SOFT, linewidth=0.9, linestyle=(0, (4, 2)))
        ax.annotate(text, (x[-1], height), xytext=(0, 2), textcoords="offset points", ha="right", va="bottom",
                    color=SOFT)  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(bound * 0.75, entries * 1.5)
    ax.set_xlabel("standard deviation of the scores")
    ax.set_ylabel("positive entries")
    return fig


def plans_figure(plans: Mapping[str, ArrayLike], borders: Sequence[float]) -> Figure:
    """Learnt plans with their rows sorted by class, and lines between classes; the right plan is block diagonal."""
    fig, axes = plotting.subplots(1, len(plans), width="page", height=2.6, squeeze=False)
    largest = max(float(np.max(np.asarray(plan))) for plan in plans.values())
    for ax, (kind, plan) in zip(axes[0], plans.items(), strict=True):
        heat(ax, plan, KINDS.get(kind, kind), largest)
        for border in borders:
            ax.axhline(border, color=SOFT, linewidth=0.5)
    axes[0, 0].set_ylabel("source symbols, by class")
    fig.supxlabel("target symbols", fontsize="medium")
    return fig


def solvers_figure(scores: ArrayLike, plans: Mapping[str, ArrayLike], iterations: int) -> Figure:
    """Scores of one problem, the exact plan, and the plans of all solvers with their largest errors."""
    exact = np.asarray(plans["exact"])
    largest = float(exact.max())
    fig, axes = plotting.subplots(1, 2 + len(SOLVERS), width="page", height=2.6)
    heat(axes[0], scores, "scores C", float(np.abs(np.asarray(scores)).max()), signed=True)
    heat(axes[1], exact, "exact plan", largest)
    for ax, (name, label) in zip(axes[2:], SOLVERS.items(), strict=True):
        heat(ax, plans[name], f"{label}\nT = {iterations}", largest)
        ax.set_xlabel(f"error {np.abs(np.asarray(plans[name]) - exact).max():.0e}")
    axes[0].set_ylabel("source tokens")
    return fig
