"""Drawings of notebooks 01 and 02."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from twelvefold.core import display, plotting
from twelvefold.papers.random_scaling.bimodal.inspection import Look, as_written
from twelvefold.papers.random_scaling.bimodal.measures import COPYING, RULES
from twelvefold.papers.random_scaling.plotting import CONTENT, INK, POSITION, SOFT, runs_histogram

_COLORS = {RULES[0]: POSITION, RULES[1]: CONTENT, "runs": SOFT}
_BINS = np.linspace(0, 1, 21).tolist()
_MARKERS = dict(zip(RULES, ("s", "o"), strict=True))


def show_drawing(fig: Figure, alt: str) -> None:
    """Show a drawing that is not a result, so that it enters no folder, and close it."""
    display.show_png(plotting.png_bytes(fig, dpi=100), alt)
    plt.close(fig)


# notebook 01


def _boxes(ax: Axes, left: float, color: str, shape: str, names: Sequence[str], apart: float) -> None:
    """A stack of rectangles, the first one in front, with the shape below and a name on each."""
    for depth in range(len(names) - 1, -1, -1):
        x, y = left + apart * depth, apart * depth
        ax.add_patch(Rectangle((x, y), 1.25, 1.0, facecolor=color, edgecolor=INK, linewidth=0.8))
        ax.text(x + 0.06, y + 0.98, names[depth], fontsize=8, va="top", color=INK)
    ax.text(left + 0.62, -0.14, shape, ha="center", va="top", fontsize=8)


def product_drawing() -> Figure:
    """How the linear maps of P networks become one batched matrix product."""
    fig, ax = plotting.subplots(width="page", height=1.7)
    ax.set_axis_off()
    sizes = [("[P, N, d$_{in}$]", "#cfe3f1", "X"), ("[P, d$_{in}$, d$_{out}$]", "#f7dcb4", "W"),
             ("[P, N, d$_{out}$]", "#cdeadd", "Y")]  # fmt: skip
    for place, (shape, color, letter) in enumerate(sizes):
        _boxes(ax, 2.7 * place, color, shape, [f"{letter}$_{number}$" for number in (1, 2, 3)], 0.22)
    for place, sign in enumerate(("×", "=")):
        ax.text(2.7 * place + 2.2, 0.7, sign, fontsize=14, ha="center", va="center")
    ax.text(7.5, 0.7, "one call of torch.bmm:\n$Y_p = X_p W_p$ for every\nnetwork p = 1 ... P", fontsize=8.5,
            va="center")  # fmt: skip
    ax.set_xlim(-0.1, 10.4)
    ax.set_ylim(-0.5, 1.6)
    return fig


def differences_figure(runs: pd.DataFrame, ways: Sequence[str], exact_ways: Sequence[str], bound: float) -> Figure:
    """Largest relative difference from the population's losses at each shown update, a panel per network.

    Zeros lie on a line of their own below the logarithmic axis.
    """
    rows = runs[runs["way"].isin(ways) & runs["loss"].notna()]
    networks, floor = list(dict.fromkeys(rows["network"])), 1e-9
    looks = plotting.styles([way for way in ways if way not in exact_ways] + list(exact_ways))
    fig, axes = plotting.subplots(1, len(networks), width="page", height=2.5, sharey=True, squeeze=False)
    for ax, network in zip(axes[0], networks, strict=True):
        part = rows[rows["network"] == network].groupby(["way", "update"])["relative_difference"].max()
        for way in [way for way in ways[1:] if way in part.index]:
            x, y, look = part[way].index, part[way].clip(lower=floor), looks[way]
            ax.plot(x, y, **look.line, markersize=9 - 2 * exact_ways.index(way) if way in exact_ways else 4,
                    markerfacecolor="none" if way in exact_ways else look.color, label=way)  # fmt: skip
        ax.axhline(bound, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
        ax.set_title(network)
        ax.set_xlabel("update")
    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylim(floor / 2, 5 * bound)
    axes[0, 0].set_yticks([floor, 1e-8, 1e-7, 1e-6], ["0", "$10^{-8}$", "$10^{-7}$", "$10^{-6}$"])
    axes[0, 0].yaxis.set_minor_locator(NullLocator())
    axes[0, 0].set_ylabel("largest difference / loss")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, handlelength=2.6)
    return fig


def two_curves(alone: ArrayLike, together: ArrayLike) -> Figure:
    """Losses of one network `[updates]`, trained alone and in a population."""
    fig, ax = plotting.subplots(width="column", height=2.3)
    first, second = np.asarray(alone, dtype=float), np.asarray(together, dtype=float)
    updates, looks = np.arange(1, len(first) + 1), plotting.styles(["alone", "together"])
    ax.plot(updates, first, color=looks["alone"].color, linewidth=4, alpha=0.4, label="alone")
    ax.plot(updates, second, **looks["together"].line, label="in the population")
    ax.set_title(f"largest difference {np.abs(first - second).max():.1g}")
    ax.set_xlabel("update")
    ax.set_ylabel("training loss")
    ax.legend()
    return fig


# notebook 02


def _histogram(ax: Axes, task: str, length: int, scores: np.ndarray, rules: np.ndarray, bins: Sequence[float]) -> None:
    """Runs by exact match; those of copying in the colours of their rules, those of other tasks in plain grey."""
    if task == COPYING:
        runs_histogram(ax, {rule: scores[rules == rule] for rule in RULES}, _COLORS, bins)
    else:
        runs_histogram(ax, {"runs": scores}, _COLORS, bins)
    for bar in list(ax.patches):
        if task != COPYING:
            bar.set_hatch("")
        if isinstance(bar, Rectangle) and not bar.get_height():
            bar.remove()  # most bins are empty, and an SVG would hold them all
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.set_title(f"{task}, {f'length {length}' if length else 'as trained'}")
    ax.set_xlim(-0.02, 1.02)


def histograms_figure(
    lengths: Mapping[str, Sequence[int]], scores: Mapping[str, Sequence[np.ndarray]], rules: np.ndarray, success: float
) -> Figure:
    """Histograms of exact match over runs: a column per task, a row per test length (0: as trained).

    Args:
        lengths: test lengths by task.
        scores: at each of them one exact match per run, `[R]`.
        rules: the rule of each copying run, `[R]`.
        success: exact match from which on a run succeeds.
    """
    rows = max(len(own) for own in lengths.values())
    fig, grid = plotting.subplots(rows, len(lengths), width="page", height=1.5 * rows + 0.5, squeeze=False,
                                  sharex=True)  # fmt: skip
    for column, (task, own) in zip(grid.T, lengths.items(), strict=True):
        for ax, length, values in zip(column, own, scores[task], strict=True):
            _histogram(ax, task, length, values, rules, _BINS)
            ax.axvline(success, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
            ax.set_ylabel("")
        column[-1].set_xlabel("exact match")
    for ax in grid[:, 0]:
        ax.set_ylabel("number of runs")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower left", ncols=2, title="copying: rule found by the probe")
    return fig


def one_histogram(task: str, length: int, scores: np.ndarray, rules: np.ndarray, bins: int) -> Figure:
    """One of these histograms with another number of bins."""
    fig, ax = plotting.subplots(width="column", height=2.3)
    _histogram(ax, task, length, scores, rules, np.linspace(0, 1, bins + 1).tolist())
    ax.set_xlabel("exact match")
    if task == COPYING:
        fig.legend(loc="outside lower center", ncols=2)
    return fig


def _token(ax: Axes, place: float, word: str, edge: str = SOFT) -> None:
    ax.add_patch(Rectangle((place - 0.42, -0.42), 0.84, 0.84, facecolor="white", edgecolor=edge, linewidth=1.2))
    ax.text(place, 0, word, ha="center", va="center", fontsize=9, color=INK)


def _arrow(ax: Axes, start: float, end: float, height: float, color: str, dashes: Any) -> None:
    side = 1 if height > 0 else -1
    ax.add_patch(FancyArrowPatch(
        (start, 0.5 * side), (end, 0.5 * side), connectionstyle=f"arc3,rad={height}", arrowstyle="-|>",
        mutation_scale=9, color=color, linewidth=1.4, linestyle=dashes,
    ))  # fmt: skip


def probe_drawing(ax: Axes) -> None:
    """The probe on the string abcdef: at the third place of the copy stands e, and the two rules part."""
    for place, word in enumerate("abcdef"):
        _token(ax, place, word, {"d": POSITION, "f": CONTENT}.get(word, SOFT))
    ax.text(6, 0, ">", ha="center", va="center", fontsize=9)
    for place, word in enumerate("abe"):
        _token(ax, 7 + place, word, "#c00000" if word == "e" else SOFT)
    ax.text(10, 0, "?", ha="center", va="center", fontsize=10, weight="bold")
    ax.text(9.35, 0.6, "instead of c", va="bottom", fontsize=8, color="#c00000")
    _arrow(ax, 9, 5, 0.45, CONTENT, "-")
    _arrow(ax, 9, 3, -0.4, POSITION, (0, (4, 1.5)))
    ax.text(6.2, 1.85, "content: the letter after e, f", ha="center", fontsize=8, color=CONTENT)
    ax.text(5.6, -2.1, "position: 6 places back, d", ha="center", fontsize=8, color=POSITION)
    ax.set_xlim(-0.6, 12.2)
    ax.set_ylim(-2.6, 2.4)
    ax.set_aspect("equal")
    ax.set_axis_off()


def mechanism_figure(content: ArrayLike, scores: ArrayLike, rules: np.ndarray, success: float) -> Figure:
    """The probe drawn, and the content share of every run `[R]` against its exact match at a new length `[R]`."""
    fig, (left, ax) = plotting.subplots(1, 2, width="page", height=2.6, width_ratios=(1.15, 1))
    probe_drawing(left)
    x, y = np.asarray(content), np.asarray(scores)
    for rule in RULES:
        chosen = rules == rule
        ax.plot(x[chosen], y[chosen], _MARKERS[rule], color=_COLORS[rule], markerfacecolor="none", markersize=5,
                label=f"{rule} ({chosen.sum()} runs)")  # fmt: skip
    ax.axhline(success, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
    ax.text(0.5, success + 0.02, "success", ha="center", fontsize=8)
    ax.set_xlim(-0.04, 1.04)
    ax.set_ylim(-0.04, 1.04)
    ax.set_xlabel("share of probe cases continued by content")
    ax.set_ylabel("exact match, new length")
    fig.legend(loc="outside lower right", ncols=2)
    return fig


def _map(ax: Axes, look: Look, layer: int, head: int) -> Any:
    """Attention from the output places (rows) to all tokens (columns), with the two places of interest marked."""
    n, first = len(look.far), len(look.words) - len(look.far) - 1
    image = ax.imshow(look.maps[layer, head, first:], cmap="Greys", vmin=0, vmax=1, aspect="auto")
    queries = np.arange(n)
    ax.plot(look.far, queries, "o", color=CONTENT, markerfacecolor="none", markersize=10)
    seen = look.near >= 0
    ax.plot(look.near[seen], queries[seen], "s", color=POSITION, markerfacecolor="none", markersize=8)
    ax.set_xticks(range(len(look.words)), ["" if word == look.words[0] else word for word in look.words])
    ax.set_yticks(range(n + 1), look.words[first:])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image


def attention_figure(looks: Mapping[str, Look]) -> Figure:
    """Where the heads of several networks look while they copy one string: a row per network, a column per head.

    Args:
        looks: by the name of the network; all with equally many layers and heads.
    """
    layers, heads = next(iter(looks.values())).maps.shape[:2]
    fig, grid = plotting.subplots(len(looks), layers * heads, width="page", height=2.35 * len(looks), squeeze=False)
    for row, (name, look) in zip(grid, looks.items(), strict=True):
        for number, ax in enumerate(row):
            layer, head = divmod(number, heads)
            image = _map(ax, look, layer, head)
            own = f"layer {layer + 1}" + (f", head {head + 1}" if heads > 1 else "")
            ax.set_title(f"{name}: writes {as_written(look)}\n{own}" if number == 0 else f"\n{own}")
        row[0].set_ylabel("token it reads")
        for place, word in enumerate(look.predicted):
            row[-1].text(len(look.words) - 0.2, place, f"→ {word}", fontsize=8, va="center")
    for ax in grid[-1]:
        ax.set_xlabel("token it looks at")
    fig.colorbar(image, ax=grid[:, -1].tolist(), label="attention", shrink=0.6, pad=0.12)
    return fig
