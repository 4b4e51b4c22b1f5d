"""Drawings of 04 and 05: one colour per rule, and per share of centre-embedded declaratives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from twelvefold.core import plotting
from twelvefold.core.reporting import band_of
from twelvefold.papers.hier_gen.seeds.regimes import REGIMES, levels_of, most_frequent
from twelvefold.papers.hier_gen.shares.plotting import share_color
from twelvefold.tasks.rule_following import HIGH, LOW

LINEAR, HIERARCHICAL, NEITHER = plotting.PALETTE[0], plotting.PALETTE[3], "#6b6b6b"
SEEN, UNSEEN = plotting.PALETTE[2], plotting.PALETTE[4]
INK, SOFT = "#222222", "#b5b5b5"
REGIME_COLORS = {
    "not learned": SOFT, "memorises": plotting.PALETTE[1], "unstable": plotting.PALETTE[4], "no rule": NEITHER,
    "linear rule": LINEAR, "hierarchical rule": HIERARCHICAL,
}  # fmt: skip
_BINS = np.linspace(0, 1, 21).tolist()


def _zones(ax: Axes) -> None:
    ax.axhspan(0, LOW, color=LINEAR, alpha=0.08, linewidth=0)
    ax.axhspan(HIGH, 1, color=HIERARCHICAL, alpha=0.08, linewidth=0)
    ax.set_ylim(-0.04, 1.04)


def _name_zones(ax: Axes, x: float = 0.98) -> None:
    """The rules' names inside their zones, at the place `x` of the width."""
    options: dict[str, Any] = {"ha": "right", "transform": ax.get_yaxis_transform(), "fontsize": 8}
    ax.text(x, 0.02, "linear rule", color=LINEAR, va="bottom", **options)
    ax.text(x, 0.98, "hierarchical rule", color=HIERARCHICAL, va="top", **options)


def commitment_figure(frame: pd.DataFrame, stable: pd.DataFrame) -> Figure:
    """Scatter of final share against total variation, one mark per row of `frame`, and histograms of both frames."""
    fig, (ax, side) = plotting.subplots(1, 2, width="page", height=2.9, sharey=True, width_ratios=(2.2, 1))
    _zones(ax)
    for share, part in frame.groupby("share"):
        color = share_color(float(share))
        for learned, face in ((True, color), (False, "none")):
            chosen = part[part["learned"] == learned]
            ax.plot(chosen["variation"], chosen["final"], "o", markersize=5, color=color, markerfacecolor=face)
    ax.axvline(frame["variation"].median(), color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
    ax.set_xlim(left=-0.03 * max(frame["variation"].max(), 1e-3))
    _name_zones(ax)
    ax.set_xlabel("total variation of H")
    ax.set_ylabel("final share H")
    _finals(side, frame, stable, "lower half of total variation")
    colors = {f"{share:.0%} embedded": share_color(float(share)) for share in sorted(frame["share"].unique())}
    marks = [Line2D([], [], marker="o", linestyle="none", color=color, label=name) for name, color in colors.items()]
    handles = marks + side.get_legend_handles_labels()[0]
    fig.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), handletextpad=0.4)
    return fig


def _finals(ax: Axes, frame: pd.DataFrame, stable: pd.DataFrame, name: str) -> None:
    _zones(ax)
    ax.hist(frame["final"], bins=_BINS, orientation="horizontal", histtype="step", color=INK, label="all runs")
    ax.hist(stable["final"], bins=_BINS, orientation="horizontal", color=NEITHER, alpha=0.6, label=name)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("number of runs")


def stable_histogram(frame: pd.DataFrame, threshold: float) -> Figure:
    """Finals of all runs of `frame`, and of those with a total variation of at most `threshold`."""
    fig, ax = plotting.subplots(width="column", height=2.4)
    stable = frame[frame["variation"] <= threshold]
    _finals(ax, frame, stable, f"TV at most {threshold:.2f}")
    ax.set_ylabel("final share H")
    fig.legend(loc="outside lower center", ncols=2)
    ax.set_title(f"{len(stable)} of {len(frame)} runs are stable")
    return fig


def thresholds_figure(frame: pd.DataFrame, marked: Sequence[float]) -> Figure:
    """Number of learned runs with a total variation up to each threshold, by where they end."""
    fig, ax = plotting.subplots(width="column", height=2.3)
    learned, end = frame[frame["learned"]], 1.05 * max(float(frame["variation"].max()), *marked)
    ends = {"linear": learned["final"] < LOW, "hierarchical": learned["final"] > HIGH}
    ends["neither"] = ~(ends["linear"] | ends["hierarchical"])
    looks = {name: plotting.Style(color, "", dashes) for name, color, dashes in
             zip(ends, (LINEAR, HIERARCHICAL, NEITHER), plotting.DASHES, strict=False)}  # fmt: skip
    for mark in marked:
        ax.axvline(mark, color="#dddddd", linewidth=0.8, zorder=0)
    for name, chosen in ends.items():
        steps = np.sort(learned.loc[chosen, "variation"].to_numpy())
        x, y = np.concatenate([[0], steps, [end]]), np.concatenate([[0], np.arange(1, len(steps) + 1), [len(steps)]])
        look = looks[name]
        ax.step(x, y, where="post", color=look.color, linestyle=look.linestyle, label=f"{name} ({len(steps)})")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlim(0, end)
    ax.set_xlabel("threshold of total variation")
    ax.set_ylabel("number of stable runs")
    fig.legend(loc="outside lower center", ncols=3, handlelength=1.6, columnspacing=0.8, handletextpad=0.4)
    return fig


def _curves(ax: Axes, runs: pd.DataFrame, color: Any) -> None:
    """Thin curves of H, one per replicate."""
    for _, run in runs.groupby("replicate"):
        ordered = run.sort_values("step")
        ax.plot(ordered["step"], ordered["hierarchical"], color=color, linewidth=0.9, alpha=0.75)


def split_figure(runs: pd.DataFrame, finals: pd.DataFrame, arms: Mapping[str, str]) -> Figure:
    """Curves of the arms "init" and "order", and a strip of the finals of every arm."""
    fig, axes = plotting.subplots(1, 3, width="page", height=2.4, sharey=True)
    colors = dict(zip(arms, (plotting.PALETTE[2], plotting.PALETTE[1], INK), strict=True))
    for ax, arm in zip(axes, ("init", "order"), strict=False):
        _zones(ax)
        _curves(ax, runs[runs["arm"] == arm], colors[arm])
        ax.set_title(f"{arms[arm].removeprefix('initial ')} alone")
        ax.set_xlabel("update")
        ax.xaxis.set_major_locator(MaxNLocator(4))
    axes[0].set_ylabel("share H")
    _zones(axes[2])
    names = [arm for arm in arms if (finals["arm"] == arm).any()]
    for place, arm in enumerate(names):
        part = finals[finals["arm"] == arm].sort_values("final")
        x = place + np.linspace(-0.22, 0.22, len(part)) if len(part) > 1 else np.array([place])
        face = [colors[arm] if learned else "none" for learned in part["learned"]]
        axes[2].scatter(x, part["final"], s=18, facecolors=face, edgecolors=colors[arm], linewidths=1.0)
        axes[2].hlines(part["final"].median(), place - 0.32, place + 0.32, color=colors[arm], linewidth=1.6)
    axes[2].set_xticks(range(len(names)), [arms[arm].replace(" ", "\n", 1).replace(" and ", "\nand ") for arm in names])
    axes[2].set_xlim(-0.5, len(names) - 0.5)
    axes[2].set_title("finals, by what differs")
    return fig


def _level_names(levels: Sequence[int]) -> list[str]:
    return [str(level) for level in levels[:-1]] + [f"all ({levels[-1]})"]


def regimes_figure(runs: pd.DataFrame, frame: pd.DataFrame) -> Figure:
    """Curves of every condition of `runs`: more trees to the right, a larger share upwards, and its regime."""
    levels, shares = levels_of(frame), sorted(frame["share"].unique(), reverse=True)
    fig, grid = plotting.subplots(len(shares), len(levels), width="page", height=0.8 + 1.6 * len(shares), sharex=True,
                                  sharey=True, squeeze=False)  # fmt: skip
    for row, share in enumerate(shares):
        for column, level in enumerate(levels):
            ax, here = grid[row, column], (frame["share"] == share) & (frame["trees"] == level)
            of_runs = frame.loc[here, "regime"]
            _, count = most_frequent(of_runs)
            # all that are equally frequent: to name one of them would be a choice
            names = [name for name in REGIMES if int((of_runs == name).sum()) == count]
            _curves_by_regime(ax, runs[(runs["share"] == share) & (runs["trees"] == level)], frame[here])
            each = " each" if len(names) > 1 else ""
            ax.set_title("\n".join([*names, f"{count}{each} of {len(of_runs)} runs"]), color=INK, fontsize=8)
            ax.set_ylim(-0.04, 1.04)
            ax.xaxis.set_major_locator(MaxNLocator(3))
    _name_margins(fig, grid, levels, [float(share) for share in shares])
    found = [name for name in REGIMES if (frame["regime"] == name).any()]
    handles = [Line2D([], [], color=REGIME_COLORS[name], label=name) for name in found]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(found), handlelength=1.4, columnspacing=1.2)
    return fig


def _curves_by_regime(ax: Axes, runs: pd.DataFrame, frame: pd.DataFrame) -> None:
    """Curves of one condition, each in the colour of its regime, with a mark at the end: hollow where not learned."""
    ends = runs[runs["step"] == runs["step"].max()].set_index("replicate")
    for replicate, name, learned in zip(frame["replicate"], frame["regime"], frame["learned"], strict=True):
        color = REGIME_COLORS[name]
        _curves(ax, runs[runs["replicate"] == replicate], color)
        ax.plot(*ends.loc[replicate, ["step", "hierarchical"]], "o", markersize=3, color=color,
                markerfacecolor=color if learned else "white")  # fmt: skip


def _name_margins(fig: Figure, grid: np.ndarray, levels: Sequence[int], shares: Sequence[float]) -> None:
    for ax, name in zip(grid[-1], _level_names(levels), strict=True):
        ax.set_xlabel(f"update\n{name} trees")
    for ax, share in zip(grid[:, 0], shares, strict=True):
        ax.set_ylabel(f"{share:.0%} embedded\nH")
    fig.supxlabel("data diversity \N{RIGHTWARDS ARROW}", fontsize=9)
    fig.supylabel("data complexity \N{RIGHTWARDS ARROW}", fontsize=9)


def _dots(ax: Axes, places: Sequence[float], columns: Sequence[np.ndarray], style: plotting.Style, label: str) -> None:
    """Means with 95 % intervals at `places`, over thin lines of single runs (`columns[k] [R]`)."""
    for run in np.stack(columns, axis=1):
        ax.plot(places, run, color=style.color, linewidth=0.5, alpha=0.35)
    bands = np.array([band_of(values) for values in columns])
    errors = [bands[:, 0] - bands[:, 1], bands[:, 2] - bands[:, 0]]
    ax.errorbar(places, bands[:, 0], errors, **style.line, markersize=5, capsize=2, label=label)


def _matrix(frame: pd.DataFrame, column: str, share: float) -> pd.DataFrame:
    """Replicates by levels; levels without any value are left out."""
    table = frame[frame["share"] == share].pivot(index="replicate", columns="trees", values=column)
    return table.dropna(axis=1)


def diversity_figure(frame: pd.DataFrame, share: float) -> Figure:
    """Accuracy on seen and unseen trees at one share, and total variation at every share, against the trees kept."""
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=2.8)
    for column, style in (("seen", plotting.Style(SEEN, "o", ())), ("unseen", plotting.Style(UNSEEN, "s", (4, 1.5)))):
        table = _matrix(frame, column, share)
        _dots(left, [float(level) for level in table.columns], list(table.to_numpy().T), style, f"{column} trees")
    left.set_ylabel("accuracy on fresh questions")
    for place, other in enumerate(sorted(frame["share"].unique())):
        table = _matrix(frame, "variation", other)
        style = plotting.Style(share_color(float(other)), plotting.MARKERS[place],
                               plotting.DASHES[place % len(plotting.DASHES)])  # fmt: skip
        aside = [float(level) * 1.04**place for level in table.columns]  # so that intervals do not hide each other
        _dots(right, aside, list(table.to_numpy().T), style, f"{other:.0%} embedded")
    right.set_ylabel("total variation of H")
    right.set_ylim(bottom=0)
    levels = levels_of(frame)
    for ax in (left, right):
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        ax.set_xscale("log")
        ax.set_xticks(levels, _level_names(levels))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("number of trees kept")
    return fig


def condition_figure(runs: pd.DataFrame, share: float, trees: int, kept: Sequence[str], most: int = 14) -> Figure:
    """Curves of the runs of one condition, beside the names of the question trees that its first run was shown."""
    fig, (ax, text) = plotting.subplots(1, 2, width="page", height=2.6, width_ratios=(1.4, 1))
    here = runs[(runs["share"] == share) & (runs["trees"] == trees)]
    _zones(ax)
    _curves(ax, here, share_color(share))
    ax.plot([], [], color=share_color(share), linewidth=0.9, label="H, one line per run")
    _name_zones(ax)
    ax.set_xlabel("update")
    ax.set_ylabel("share H")
    ax.set_title(f"{trees} trees, {share:.0%} embedded, {here['replicate'].nunique()} runs")
    lines = list(kept[:most]) + ([f"and {len(kept) - most} more"] if len(kept) > most else [])
    text.axis("off")
    text.set_title(f"{len(kept)} question trees of run 0")
    text.text(0, 1, "\n".join(lines), va="top", family="monospace", fontsize=7, transform=text.transAxes)
    return fig
