"""Drawings of continual finetuning: curves of all arms, and paired differences between them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from twelvefold.core import plotting
from twelvefold.core.plotting import Style
from twelvefold.core.reporting import band_of
from twelvefold.papers.s2t2.plots import arms

NAMES = {**arms.ARMS, "no_pretraining": "no pretraining"}
STYLES = {**arms.STYLES, "no_pretraining": Style("#4d4d4d", ">", (2, 2))}
SOFT = "#8a8a8a"
Pair = tuple[str, str]


def curves_figure(curves: pd.DataFrame, steps: int, references: Mapping[str, float]) -> Figure:
    """Three panels: bits against residues, the same near the references, and against operations.

    Args:
        curves: one curve per arm and replicate: arm, replicate, step, residues, gflops, bits, frozen.
        steps: where curves over residues end. references: heights of lines, by a name of `arms.REFERENCES`.
    """
    fig, axes = plotting.subplots(1, 3, width="page", height=3.1)
    counted = curves[curves["step"] <= steps]
    low, high = _near(counted, references)
    for ax, column in zip(axes, ("residues", "residues", "gflops"), strict=True):
        for arm in [name for name in NAMES if name in set(counted["arm"])]:
            _curve(ax, counted[counted["arm"] == arm], column, STYLES[arm], NAMES[arm])
        ax.set_xlabel("residues seen" if column == "residues" else "operations (GFLOP)")
        ax.set_xlim(left=0)
    axes[0].set_ylabel("held-out bits per residue")
    for ax in axes[1:]:
        ax.set_ylim(low, high)
        reference_lines(ax, references)
    axes[0].set_title("whole curves")
    axes[1].set_title("near the references")
    axes[2].set_title("at equal cost")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels), handlelength=2.6, columnspacing=1.2)
    return fig


def _near(curves: pd.DataFrame, references: Mapping[str, float]) -> tuple[float, float]:
    """Heights that show all ends of curves, all references and some of the way down."""
    ends = curves[curves["step"] == curves["step"].max()]["bits"]
    low, high = min(ends.min(), *references.values()), max(ends.max(), *references.values())
    return float(low - 0.2 * (high - low)), float(high + 1.2 * (high - low))


def _curve(ax: Axes, rows: pd.DataFrame, column: str, style: Style, label: str) -> None:
    """Mean and 95 % interval over replicates at every recorded step; open markers while the body is frozen."""
    grouped = [part for _, part in rows.groupby("step")]
    x = np.array([part[column].astype(float).mean() for part in grouped])
    centre, low, high = np.array([band_of(part["bits"]) for part in grouped]).T
    plotting.band(ax, x, centre, low, high, style)
    frozen = np.array([bool(part["frozen"].max()) for part in grouped])
    ax.plot([], [], label=label, **style.line)
    for where, face, size in ((frozen, "white", 5.5), (~frozen, style.color, 3.5)):
        ax.plot(x[where], centre[where], linestyle="none", marker=style.marker, color=style.color,
                markerfacecolor=face, markersize=size)  # fmt: skip


def reference_lines(ax: Axes, references: Mapping[str, float]) -> None:
    """Dashed lines with their names at the right end."""
    for name, height in references.items():
        ax.axhline(height, color=SOFT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        ax.annotate(arms.REFERENCES[name], (1, height), xycoords=("axes fraction", "data"), xytext=(-2, -2),
                    color="#595959", textcoords="offset points", ha="right", va="top")  # fmt: skip


def differences_figure(values: Mapping[str, Mapping[Pair, np.ndarray]]) -> Figure:
    """One panel per quantity ("area", "final"), one row per pair of arms; every difference, and mean with interval."""
    titles = {"area": "mean over the residues seen (area)", "final": "at the end"}
    fig, axes = plotting.subplots(1, len(values), width="page", height=2.7, sharey=True, squeeze=False)
    for ax, (what, by_pair) in zip(axes[0], values.items(), strict=True):
        for place, (pair, differences) in enumerate(by_pair.items()):
            centre, low, high = band_of(differences)
            style = STYLES[pair[1]]
            ax.plot(differences, np.full(len(differences), place + 0.18), ".", color=SOFT, markersize=4)
            ax.plot([low, high], [place, place], color=style.color, linewidth=1.8)
            ax.plot(centre, place, marker=style.marker, color=style.color, markersize=5)
        ax.axvline(0, color=SOFT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set_title(titles[what])
        ax.set_xlabel("difference in bits per residue")
    pairs = list(next(iter(values.values())))
    axes[0, 0].set_yticks(range(len(pairs)), [f"{NAMES[a]}\nminus {NAMES[b]}" for a, b in pairs])
    axes[0, 0].set_ylim(len(pairs) - 0.5, -0.5)
    return fig


def live_figure(curves: Mapping[str, pd.DataFrame], references: Mapping[str, float]) -> Figure:
    """Curves of single runs by arm, over residues seen."""
    fig, ax = plotting.subplots(width="column", height=2.6)
    for arm, curve in curves.items():
        _curve(ax, curve, "residues", STYLES[arm], NAMES[arm])
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, *references.values()) - 0.15 * (high - low), high)
    reference_lines(ax, references)
    ax.set_xlabel("residues seen")
    ax.set_ylabel("held-out bits per residue")
    ax.legend(loc="upper right", handlelength=2.6)
    return fig
