"""Drawings of methods that learn from rows: F1 against their number, by round, and which way edges point."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from twelvefold.core import plotting
from twelvefold.papers.igda.plots.discovery import NEAR
from twelvefold.papers.igda.plots.policies import CHOOSING, POLICIES, STYLES

METHODS: Mapping[str, str] = {
    "expert": "by names (simulated)",
    "found": "hill climbing",
    "class": "hill climbing, directions left open",
    "ENCO": "ENCO-lite, interventional rows",
}
LOOKS: Mapping[str, plotting.Style] = {
    "found": plotting.Style("#000000", "o", ()),
    "class": plotting.Style("#595959", "s", (4, 1.5)),
    "ENCO": plotting.Style("#8c2d55", "^", (6, 1.5, 1, 1.5)),
}
SHARES = {"right": "#029e73", "open": "#d0d0d0", "wrong": "#d55e00"}
WAYS = {"right": "right", "open": "open", "wrong": "wrong direction"}


def rows_figure(means: pd.DataFrame) -> Figure:
    """Mean F1 against the number of rows, one panel per graph.

    Args:
        means: columns graph, method, size, skill, area, low, high.
    """
    graphs = list(dict.fromkeys(means["graph"]))
    columns = min(len(graphs), 3)
    lines = -(-len(graphs) // columns)
    fig, axes = plotting.subplots(lines, columns, width="page", height=0.9 + 2.5 * lines, sharex=True, sharey=True,
                                  squeeze=False)  # fmt: skip
    ticks = sorted({int(size) for size in means["size"] if size})
    for ax, graph in zip(axes.flat, graphs, strict=False):
        part = means[means["graph"] == graph]
        for method, look in LOOKS.items():
            rows = part[part["method"] == method].sort_values("size")
            error = [rows["area"] - rows["low"], rows["high"] - rows["area"]]
            ax.errorbar(rows["size"], rows["area"], error, capsize=2, elinewidth=0.9, **look.line)
        ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{size:,}" for size in ticks], rotation=45)
        ax.minorticks_off()
        _experts(ax, part[part["method"] == "expert"])
        ax.set_title(graph)
    for ax in axes.flat[len(graphs) :]:
        ax.set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("rows")
    axes[0, 0].set_ylabel("mean F1")
    handles = [Line2D([], [], label=METHODS[method], **LOOKS[method].line)
               for method in LOOKS if (means["method"] == method).any()]  # fmt: skip
    handles.append(Line2D([], [], color=STYLES["uncertainty+local"].color, label="IGDA, simulated expert by names"))
    fig.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=3)
    return fig


def _experts(ax: Axes, rows: pd.DataFrame) -> None:
    """Level of each expert, with its interval, and its skill at the right end."""
    color = STYLES["uncertainty+local"].color
    for row in rows.itertuples():
        ax.axhspan(row.low, row.high, color=color, alpha=0.15, linewidth=0)
        ax.axhline(row.area, color=color, linewidth=1.2, zorder=1)
        ax.annotate(f"d' = {row.skill:g}", (1.0, row.area), xycoords=("axes fraction", "data"), xytext=(2, 0),
                    textcoords="offset points", va="center", color=color, annotation_clip=False)  # fmt: skip


def rounds_figure(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """F1 against the share of tested pairs: columns policy, tested, f1, f1_se, one panel per title."""
    fig, axes = plotting.subplots(1, len(panels), width="page", height=3.1, sharey=True, squeeze=False)
    for ax, (title, rows) in zip(axes[0], panels.items(), strict=True):
        for policy in dict.fromkeys(rows["policy"]):
            part = rows[rows["policy"] == policy].sort_values("tested")
            spread = NEAR * part["f1_se"]
            plotting.band(ax, part["tested"], part["f1"], part["f1"] - spread, part["f1"] + spread, STYLES[policy])
        ax.set_title(title)
        ax.set_xlabel("share of the pairs tested")
    axes[0, 0].set_ylabel("F1")
    names = {**POLICIES, **CHOOSING}
    handles = [Line2D([], [], color=style.color, linestyle=style.linestyle, label=names[policy])
               for policy, style in STYLES.items()
               if any((rows["policy"] == policy).any() for rows in panels.values())]  # fmt: skip
    fig.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=3)
    return fig


def directions_figure(start: pd.DataFrame, orders: Mapping[str, ArrayLike]) -> Figure:
    """Left: directions of joined edges by method and number of rows. Right: mean F1 by order of columns.

    Args:
        start: columns method, size, columns, searched, skeleton, right, open, wrong. orders: one number a data draw.
    """
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=3.4, width_ratios=(2.3, 1))
    rows = start[(start["columns"] == "random") & (start["searched"] == "all")].copy()
    rows["place"] = rows["method"].map({method: k for k, method in enumerate(LOOKS)})
    rows = rows.sort_values(["place", "size"])
    x = np.arange(len(rows)) + 0.6 * rows["place"].to_numpy()
    base = np.zeros(len(rows))
    for name, color in SHARES.items():
        left.bar(x, rows[name], bottom=base, color=color, label=WAYS[name], width=0.8)
        base += rows[name].to_numpy()
    left.plot(x, rows["skeleton"], "kD", label="F1 of joined pairs")
    left.set_xticks(x, [f"{size:,}" for size in rows["size"]], rotation=45)
    for method, part in rows.assign(x=x).groupby("method"):
        name = METHODS[str(method)].replace(", ", ",\n")
        left.annotate(name, (part["x"].mean(), 1.03), ha="center", annotation_clip=False)
    left.set_ylim(0, 1)
    left.set_xlabel("rows")
    left.set_ylabel("share of joined true edges")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.32), ncols=4, columnspacing=1, handlelength=1.2)
    for place, values in enumerate(orders.values()):
        points = np.sort(np.asarray(values, dtype=float))
        right.plot(place + np.linspace(-0.15, 0.15, len(points)), points, "o", color=LOOKS["found"].color, alpha=0.4)
        right.plot([place - 0.3, place + 0.3], [points.mean()] * 2, color=LOOKS["found"].color)
    right.set_xticks(range(len(orders)), [f"{order}" for order in orders])
    right.set_ylim(0, 1)
    right.set_xlabel("order of columns")
    right.set_ylabel("mean F1")
    return fig


def beliefs_figure(beliefs: ArrayLike, edges: ArrayLike, f1: ArrayLike, tested: ArrayLike, names: list[str], title: str
                   ) -> Figure:  # fmt: skip
    """Beliefs beside the true edges, and F1 round by round.

    Args:
        beliefs: `[n, n]`. edges: true ones `[n, n]`, bool. f1: by round `[R + 1]`. tested: pairs known `[n, n]`, bool.
        names: of variables. title: over both.
    """
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=3.3)
    picture = left.imshow(np.asarray(beliefs), vmin=0, vmax=1, cmap="Blues")
    fig.colorbar(picture, ax=left, label="belief", shrink=0.8)
    for (i, j), true in np.ndenumerate(np.asarray(edges)):
        if true:
            left.plot(j, i, marker="s", markersize=13, markerfacecolor="none", color="#d55e00", linestyle="none")
    at = np.argwhere(np.asarray(tested))
    left.plot(at[:, 1], at[:, 0], "k.", markersize=3)
    left.set_xticks(range(len(names)), names, rotation=90)
    left.set_yticks(range(len(names)), names)
    left.set_xlabel("effect")
    left.set_ylabel("cause")
    fig.suptitle(title)
    right.plot(np.arange(len(np.asarray(f1))), np.asarray(f1), color=LOOKS["found"].color, marker="o")
    right.set_ylim(0, 1.02)
    right.set_xlabel("round")
    right.set_ylabel("F1")
    return fig
