"""Drawings of a language model as the expert: F1 by names, AUROC of wordings, and beliefs beside the true graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from twelvefold.core import plotting
from twelvefold.papers.igda.plots.policies import STYLES

CONDITIONS: Mapping[str, str] = {
    "real": "real names", "anonymised": "anonymised names", "fictional": "fictional names", "words": "shared words",
    "random": "real names, random tests", "permuted": "real names, permuted",
}  # fmt: skip
# uncertain pairs are tested under all names: those of real names look as that policy does elsewhere
LOOKS: Mapping[str, plotting.Style] = {
    "real": STYLES["uncertainty"],
    "anonymised": plotting.Style("#000000", "v", (1, 1)),
    "fictional": plotting.Style("#56b4e9", "P", (6, 1.5, 1, 1.5)),
    "words": plotting.Style("#8c2d55", "X", ()),
    "random": STYLES["random"],
    "permuted": plotting.Style("#595959", "D", (2, 2)),
}
SOFT = "#8a8a8a"


def _legend(fig: Figure, conditions: Sequence[str], lines: bool) -> None:
    handles = []
    for name in conditions:
        look = LOOKS[name]
        shape = {"linestyle": look.linestyle} if lines else {"linestyle": "", "marker": look.marker}
        handles.append(Line2D([], [], color=look.color, label=CONDITIONS[name], **shape))  # type: ignore[arg-type]
    fig.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=3)


def curves_figure(rows: pd.DataFrame, networks: Sequence[str]) -> Figure:
    """F1 against the share of pairs tested: columns network, condition, round, tested, f1, f1_low, f1_high."""
    fig, axes = plotting.subplots(1, len(networks), width="page", height=3.0, sharey=True, squeeze=False)
    conditions = [name for name in CONDITIONS if name in set(rows["condition"])]
    for ax, network in zip(axes[0], networks, strict=True):
        for name in conditions:
            part = rows[(rows["network"] == network) & (rows["condition"] == name)]
            if part.empty:  # not every condition was put to every network
                continue
            part = part.sort_values("round")
            plotting.band(ax, part["tested"], part["f1"], part["f1_low"], part["f1_high"], LOOKS[name])
        ax.set_title(network)
        ax.set_xlabel("share of the pairs tested")
    axes[0, 0].set_ylabel("F1, all pairs")
    axes[0, 0].set_ylim(bottom=0)
    _legend(fig, conditions, lines=True)
    return fig


def quality_figure(rows: pd.DataFrame, networks: Sequence[str]) -> Figure:
    """AUROC of every wording: columns network, condition, number, auroc."""
    fig, axes = plotting.subplots(1, len(networks), width="page", height=2.8, sharey=True, squeeze=False)
    conditions = [name for name in CONDITIONS if name in set(rows["condition"])]
    for ax, network in zip(axes[0], networks, strict=True):
        for place, name in enumerate(conditions):
            values = rows[(rows["network"] == network) & (rows["condition"] == name)].sort_values("number")["auroc"]
            if values.empty:  # not every condition was put to every network
                continue
            values = values.iloc[:1] if name == "words" else values  # no wording in it
            look, spread = LOOKS[name], np.linspace(-0.25, 0.25, len(values)) if len(values) > 1 else np.zeros(1)
            ax.plot(place + spread, values, linestyle="", marker=look.marker, color=look.color, alpha=0.8)
            ax.plot([place - 0.35, place + 0.35], [values.mean()] * 2, color=look.color, linewidth=1.6)
        ax.axhline(0.5, color=SOFT, linewidth=0.9)
        ax.set_xticks([])
        ax.set_xlim(-0.6, len(conditions) - 0.4)
        ax.set_title(network)
    axes[0, 0].set_ylabel("AUROC")
    _legend(fig, conditions, lines=False)
    return fig


def matrix_figure(rows: pd.DataFrame) -> Figure:
    """Beliefs of all pairs with the true edges: columns condition, cause, effect, belief, edge ("yes" or "no")."""
    conditions = list(dict.fromkeys(rows["condition"]))
    names = list(dict.fromkeys(rows["cause"]))
    fig, axes = plotting.subplots(1, len(conditions), width="page", height=3.4, squeeze=False, sharey=True)
    scale = LogNorm(float(rows["belief"].min()), float(rows["belief"].max()))
    for ax, condition in zip(axes[0], conditions, strict=True):
        part = rows[rows["condition"] == condition]
        table = part.pivot_table(index="cause", columns="effect", values="belief").loc[names, names]
        picture = ax.pcolormesh(table.to_numpy(), norm=scale, cmap="cividis", rasterized=True)
        _circles(ax, part[part["edge"] == "yes"], names)
        ax.set_title(CONDITIONS[condition])
        places, numbers = np.arange(len(names)) + 0.5, range(1, len(names) + 1)
        ax.set_xticks(places[1::2], numbers[1::2])
        ax.set_yticks(places, [f"{name} {k}" for k, name in zip(numbers, names, strict=True)])
        ax.set_aspect("equal")
        ax.set_xlabel("number of the effect")
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_ylabel("cause")
    fig.colorbar(picture, ax=axes[0].tolist(), label="belief", shrink=0.7)
    return fig


def _circles(ax: Axes, edges: pd.DataFrame, names: Sequence[str]) -> None:
    place = {name: k + 0.5 for k, name in enumerate(names)}
    ax.plot([place[e] for e in edges["effect"]], [place[c] for c in edges["cause"]], linestyle="", marker="o",
            markersize=5, mfc="none", mec="#d55e00", mew=1.2)  # fmt: skip
