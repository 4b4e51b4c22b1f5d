"""Drawings of updates: gains against shared errors, in the course of testing, and with wrong lessons."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from twelvefold.core import plotting
from twelvefold.papers.igda.plots.policies import POLICIES, STYLES

SOFT = "#8a8a8a"
NEAR = 2.0  # standard errors to either side of a mean
NAMES = {
    "any endpoint": "uncertain, local update (any endpoint)",
    "shuffled": "uncertain, local update, answers shuffled",
    "misplaced": "uncertain, local update, misplaced",
}
SHADES = ("#595959", "#56b4e9", "#0173b2", "#023e63")  # of rho from 0 on


def name_of(arm: str) -> str:
    """How an arm is called in figures and tables."""
    return NAMES.get(arm, POLICIES.get(arm, arm))


def rho_style(place: int) -> plotting.Style:
    """The look of the rho at a place in rising order, 0 first."""
    return plotting.Style(SHADES[place % len(SHADES)], plotting.MARKERS[place], plotting.DASHES[place % 7])


def _zero(ax: Axes) -> None:
    ax.axhline(0, color=SOFT, linewidth=0.9, zorder=1)


def gains_figure(grid: pd.DataFrame) -> Figure:
    """Gain against rho, one panel per graph: columns graph, arm, shared, gain, chosen, with `gain_se`, `chosen_se`."""
    graphs, arms = list(dict.fromkeys(grid["graph"])), ("uncertainty+global", "uncertainty+local")
    fig, axes = plotting.subplots(1, len(graphs), width="page", height=2.9, sharey=True, squeeze=False)
    for ax, graph in zip(axes[0], graphs, strict=True):
        _zero(ax)
        part = grid[grid["graph"] == graph].sort_values("shared")
        for arm in arms:
            rows = part[part["arm"] == arm]
            wide = {"linewidth": 3.2, "alpha": 0.6, "markersize": 8} if arm == arms[0] else {}
            ax.errorbar(rows["shared"], rows["gain"], NEAR * rows["gain_se"], label=POLICIES[arm], capsize=2,
                        **(STYLES[arm].line | wide))  # fmt: skip
        rows = part[part["arm"] == "uncertainty+local"]
        ax.plot(rows["shared"], rows["chosen"], color="#595959", marker="x", linestyle=(0, (1, 1)), zorder=4,
                label="of the local gain: choice of tests")  # fmt: skip
        ax.set_title(graph)
        ax.set_xlabel("shared error variance, rho")
        ax.set_xticks([0, 0.1, 0.2, 0.3, 0.4])
    axes[0, 0].set_ylabel("gain in mean F1")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    order = [labels.index(POLICIES[arm]) for arm in reversed(arms)]
    order += [place for place in range(len(labels)) if place not in order]
    fig.legend([handles[k] for k in order], [labels[k] for k in order], loc="outside lower center", ncols=3,
               handlelength=3)  # fmt: skip
    return fig


def rounds_figure(rounds: pd.DataFrame, shared: float) -> Figure:
    """Left: gain of the local update by share of tested pairs and rho. Right: F1 on untested pairs at one rho.

    Args:
        rounds: columns shared, arm, tested, gain, untested, with standard errors. shared: rho at the right.
    """
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=3.1)
    _zero(left)
    local = rounds[(rounds["arm"] == "uncertainty+local") & rounds["shared"].isin([0.1, shared, 0.4])]
    lines = [_band(left, rows, "gain", rho_style(place), f"rho = {rho:g}")
             for place, (rho, rows) in enumerate(local.groupby("shared"), 1)]  # fmt: skip
    left.set_ylabel("gain in F1, all pairs")
    left.set_title("uncertain pairs tested: local update - none")
    for arm in ("uncertainty+local", "uncertainty", "random+local", "random"):
        rows = rounds[(rounds["arm"] == arm) & (rounds["shared"] == shared)]
        _band(right, rows, "untested", STYLES[arm], POLICIES[arm])
    right.set_ylabel("F1, untested pairs")
    right.set_title(f"rho = {shared:g}")
    right.set_ylim(0, None)
    for ax in (left, right):
        ax.set_xlabel("share of the pairs tested")
    handles, labels = right.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2, handlelength=3)
    plotting.direct_label(left, lines)
    return fig


def _band(ax: Axes, rows: pd.DataFrame, name: str, style: plotting.Style, label: str) -> Line2D:
    ordered = rows.sort_values("tested")
    spread = NEAR * ordered[f"{name}_se"]
    return plotting.band(ax, ordered["tested"], ordered[name], ordered[name] - spread, ordered[name] + spread, style,
                         label)  # fmt: skip


def lessons_figure(rows: pd.DataFrame) -> Figure:
    """Gain against the believed rho, one line per true rho: columns shared, believed, gain, gain_se."""
    fig, ax = plotting.subplots(width="column", height=2.7)
    _zero(ax)
    lines = []
    for place, (rho, part) in enumerate(rows.groupby("shared")):
        ordered = part.sort_values("believed")
        style = rho_style(place)
        made = ax.errorbar(ordered["believed"], ordered["gain"], NEAR * ordered["gain_se"], capsize=2, **style.line)
        made[0].set_label(f"true rho {rho:g}")
        lines.append(made[0])
        true = ordered[ordered["believed"] == rho]
        ax.plot(true["believed"], true["gain"], "o", markersize=9, markerfacecolor="none", color=style.color)
    ax.set_xlabel("rho that the expert believes in")
    ax.set_ylabel("gain in mean F1")
    plotting.direct_label(ax, lines)
    return fig


def step_figure(before: ArrayLike, after: ArrayLike, tested: ArrayLike, edges: ArrayLike, names: list[str]) -> Figure:
    """Log-odds of all pairs of one expert before and after tests, and the change on untested pairs.

    Args:
        before, after: beliefs `[n, n]`. tested, edges: bool `[n, n]`. names: of n variables.
    """
    was, known, true = np.asarray(before, dtype=float), np.asarray(tested), np.asarray(edges)
    now = np.where(known, was, np.asarray(after, dtype=float))
    odds = [np.log(p.clip(1e-6, 1 - 1e-6) / (1 - p.clip(1e-6, 1 - 1e-6))) for p in (was, now)]
    panels = {"before": odds[0], "after": odds[1], "change": odds[1] - odds[0]}
    fig, axes = plotting.subplots(1, 3, width="page", height=3.0)
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        hidden = np.eye(len(values), dtype=bool) | (known if title == "change" else False)
        picture = ax.imshow(np.where(hidden, np.nan, values), cmap="PuOr", vmin=-6, vmax=6)
        for i, j in zip(*np.nonzero(known), strict=True):
            ax.text(j, i, "1" if true[i, j] else "0", ha="center", va="center", fontweight="bold")
        rest = np.nonzero(true & ~known)
        ax.scatter(rest[1], rest[0], marker="s", s=90, facecolors="none", edgecolors="black", linewidths=1.2)
        ax.set_title(title)
        ax.set_xticks(range(len(names)), names, rotation=90)
        ax.set_yticks(range(len(names)), names if title == "before" else [])
        ax.set_xlabel("effect")
    axes[0].set_ylabel("cause")
    fig.colorbar(picture, ax=axes, label="log-odds of an edge", shrink=0.8)
    return fig
