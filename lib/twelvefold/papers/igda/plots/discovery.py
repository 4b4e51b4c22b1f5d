"""Drawings of the loop: F1 against tests, gains between policies, and a graph while it is being discovered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from twelvefold.core import plotting
from twelvefold.papers.igda.plots.policies import POLICIES, STYLES

SOFT = "#8a8a8a"
NEAR = 1.96  # standard errors to either side of a mean: 95 % where many replicates are averaged
# of edges while a graph is discovered: colour, dashes, width, legend
EDGES: Mapping[str, tuple[str, Any, float, str]] = {
    "confirmed": ("#0173b2", "-", 2.2, "tested, and there"),
    "predicted": ("#0173b2", "-", 0.9, "predicted rightly"),
    "missed": ("#595959", (0, (4, 2)), 0.9, "missed"),
    "wrong": ("#d55e00", (0, (1, 1.2)), 1.4, "predicted wrongly"),
}
NOW = ("#ece133", "tested in this round")


def mean_band(ax: Axes, part: pd.DataFrame, x: str, y: str, policy: str) -> Line2D:
    """Mean of `y` over replicates with its 95 % band, in the look of a policy; columns `x`, `y` and `y_se`."""
    style, rows = STYLES[policy], part.sort_values(x)
    spread = NEAR * rows[f"{y}_se"]
    return plotting.band(ax, rows[x], rows[y], rows[y] - spread, rows[y] + spread, style, POLICIES[policy])


def legend_below(fig: Figure, policies: Sequence[str], ncols: int = 3) -> None:
    """One legend of policies for all panels, under them."""
    handles = [Line2D([], [], color=STYLES[p].color, linestyle=STYLES[p].linestyle, label=POLICIES[p])
               for p in policies]  # fmt: skip
    fig.legend(handles=handles, loc="outside lower center", ncols=ncols, handlelength=3)


def curves_figure(rounds: pd.DataFrame, graphs: Mapping[str, str]) -> Figure:
    """F1 over all pairs (upper row) and over untested pairs (lower row) against the share of pairs tested.

    Args:
        rounds: columns graph, policy, tested, f1, f1_se, f1_untested, f1_untested_se.
        graphs: titles by graph, one column of panels each.
    """
    fig, axes = plotting.subplots(2, len(graphs), width="page", height=4.6, sharex=True, sharey="row", squeeze=False)
    policies = list(dict.fromkeys(rounds["policy"]))
    for column, (graph, title) in enumerate(graphs.items()):
        part = rounds[rounds["graph"] == graph]
        for ax, name in zip(axes[:, column], ("f1", "f1_untested"), strict=True):
            for policy in policies:
                mean_band(ax, part[part["policy"] == policy], "tested", name, policy)
        axes[0, column].set_title(title)
    axes[0, 0].set_ylabel("F1, all pairs")
    axes[1, 0].set_ylabel("F1, untested pairs")
    for ax in axes[1]:
        ax.set_xlabel("share of the pairs tested")
    legend_below(fig, policies)
    return fig


def gains_figure(gains: pd.DataFrame, panels: Mapping[str, Sequence[str]]) -> Figure:
    """Paired differences with their intervals in two panels, graphs from top to bottom.

    Args:
        gains: columns graph, contrast, policy (whose look is taken), gain, low, high.
        panels: contrasts by title of their panel.
    """
    graphs = list(dict.fromkeys(gains["graph"]))
    height = 1.7 + 0.3 * len(graphs)
    fig, axes = plotting.subplots(1, len(panels), width="page", height=height, sharey=True, squeeze=False)
    for ax, (title, contrasts) in zip(axes[0], panels.items(), strict=True):
        drawn: set[str] = set()
        for place, contrast in enumerate(contrasts):
            rows = gains[gains["contrast"] == contrast].set_index("graph").reindex(graphs)
            y = np.arange(len(graphs)) + 0.6 * ((place + 0.5) / len(contrasts) - 0.5)
            error = [rows["gain"] - rows["low"], rows["high"] - rows["gain"]]
            policy = str(rows["policy"].iloc[0])
            style = STYLES[policy]  # filled where a policy is met first in a panel, open the second time
            face = "white" if policy in drawn else style.color
            ax.errorbar(rows["gain"], y, xerr=error, fmt=style.marker, color=style.color, mfc=face, label=contrast,
                        capsize=2, elinewidth=1)  # fmt: skip
            drawn.add(policy)
        ax.axvline(0, color=SOFT, linewidth=0.9)
        ax.set_title(title)
        ax.set_xlabel("difference of mean F1")
    left, right = (ax.get_legend_handles_labels()[0] for ax in axes[0])
    fig.legend(handles=left, loc="outside lower left")
    fig.legend(handles=right, loc="outside lower right")
    axes[0, 0].set_yticks(range(len(graphs)), graphs)
    axes[0, 0].invert_yaxis()
    return fig


def graph_figure(
    names: Sequence[str], true: Sequence[tuple[int, int]], kinds: Mapping[str, Sequence[tuple[int, int]]], title: str
) -> Figure:  # fmt: skip
    """A graph in the middle of its discovery; where variables stand depends on the true graph alone.

    Args:
        names: of n variables. true: edges of the true graph. kinds: as `walkthrough.judged_edges`.
    """
    import networkx  # an extra, "graphs"

    whole = networkx.Graph(list(true))
    whole.add_nodes_from(range(len(names)))
    flat = networkx.kamada_kawai_layout(whole)
    fig, ax = plotting.subplots(width="page", height=4.2)
    ax.set_title(title)
    ax.axis("off")
    ax.set_xlim(-1.15, 1.15)
    ax.set_ylim(-1.1, 1.1)
    box = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": SOFT, "lw": 0.6}
    boxes = [ax.text(*flat[node], name, ha="center", va="center", bbox=box) for node, name in enumerate(names)]
    handles = [Line2D([], [], color=color, linestyle=dashes, linewidth=width, label=text)
               for color, dashes, width, text in EDGES.values()]  # fmt: skip
    handles.append(Line2D([], [], color=NOW[0], linewidth=4.5, label=NOW[1]))
    fig.legend(handles=handles, loc="outside lower center", ncols=5, handlelength=2, columnspacing=1.2)
    fig.draw_without_rendering()  # boxes get their sizes, at which arrows end
    for line in ("now", *EDGES):
        for i, j in kinds["tested now" if line == "now" else line]:
            _arrow(ax, boxes[i], boxes[j], (NOW[0], "-", 4.5) if line == "now" else EDGES[line][:3], line == "now")
    return fig


def _arrow(ax: Axes, start: Text, end: Text, look: tuple[str, Any, float], headless: bool) -> None:
    """An arrow from box to box, a little bent, so that it keeps apart from its reverse."""
    color, dashes, width = look
    form = {"arrowstyle": "-" if headless else "-|>", "connectionstyle": "arc3,rad=0.12", "color": color,
            "linestyle": dashes, "linewidth": width, "patchA": start.get_bbox_patch(), "patchB": end.get_bbox_patch(),
            "shrinkA": 1, "shrinkB": 1, "zorder": 1 if headless else 2, "mutation_scale": 10}  # fmt: skip
    ax.annotate("", end.get_position(), start.get_position(), arrowprops=form, zorder=form["zorder"])
