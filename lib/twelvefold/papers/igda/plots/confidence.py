"""Drawings of confidence: F1 against votes and temperature, and stated beliefs against what is true."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from twelvefold.core import plotting
from twelvefold.papers.igda.plots.policies import POLICIES, STYLES

SOFT = "#8a8a8a"
NEAR = 2.0  # standard errors to either side of a mean
EXACT = "exact"  # in the column of votes: infinitely many
DECIDED = {
    "labels": ("labels alone", plotting.Style("#56b4e9", "v", (1, 1))),
    "ranking": ("order of tests alone", plotting.Style("#023e63", "X", (6, 1.5, 1, 1.5))),
    "both": ("both", STYLES["uncertainty"]),
}
SHADES = ("#000000", *plotting.PALETTE[7:], "#595959", "#023e63", "#8c2d55")  # of ways to state a belief


def place_of(votes: str, largest: int) -> float:
    """Where a number of votes stands on an axis of doublings; exact beliefs stand two doublings beyond the largest."""
    return float(np.log2(largest) + 2 if votes == EXACT else np.log2(int(votes)))


def _votes_axis(ax: Axes, votes: list[str], largest: int) -> None:
    ax.set_xticks([place_of(v, largest) for v in votes], [r"$\infty$" if v == EXACT else v for v in votes])
    ax.set_xlabel("votes K")


def _with_bars(ax: Axes, x: ArrayLike, rows: pd.DataFrame, style: plotting.Style, label: str) -> None:
    ax.errorbar(np.asarray(x), rows["area"], NEAR * rows["area_se"], capsize=2, label=label, **style.line)


def votes_figure(rows: pd.DataFrame) -> Figure:
    """Mean F1 against votes, by policy and by what votes decide: columns votes, policy, of, area, area_se."""
    largest = max(int(v) for v in rows["votes"] if v != EXACT)
    rows = rows.assign(place=rows["votes"].map(lambda v: place_of(v, largest))).sort_values("place")
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=3.2, sharey=True)
    both = rows[rows["of"] == "both"]
    for policy in ("uncertainty+local", "uncertainty", "random"):
        part = both[both["policy"] == policy]
        _with_bars(left, part["place"], part, STYLES[policy], POLICIES[policy])
    chosen = rows[rows["policy"] == "uncertainty"]
    exact = chosen[(chosen["votes"] == EXACT) & (chosen["of"] == "both")]
    for of, (label, style) in DECIDED.items():
        part = chosen[chosen["of"] == of]
        part = part if of == "both" else pd.concat([part[part["votes"] != EXACT], exact])  # the same there
        _with_bars(right, part["place"], part, style, label)
    for ax, title in ((left, "votes decide everything"), (right, "uncertain pairs tested; votes decide ...")):
        _votes_axis(ax, list(dict.fromkeys(rows["votes"])), largest)
        ax.set_title(title)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), handlelength=3)
    left.set_ylabel("mean F1")
    return fig


def temperature_figure(rows: pd.DataFrame) -> Figure:
    """Mean F1 against temperature, one line per number of votes: columns votes, temperature, area, area_se."""
    fig, ax = plotting.subplots(width="column", height=2.7)
    tried = [votes for votes in dict.fromkeys(rows["votes"]) if votes != EXACT]
    lines = []
    for place, votes in enumerate(sorted(tried, key=int)):
        part = rows[rows["votes"] == votes].sort_values("temperature")
        style = plotting.Style(("#56b4e9", "#023e63")[place % 2], plotting.MARKERS[place], plotting.DASHES[place + 1])
        made = ax.errorbar(part["temperature"], part["area"], NEAR * part["area_se"], capsize=2, **style.line)
        made[0].set_label(f"K = {votes}")
        lines.append(made[0])
    level = float(rows[rows["votes"] == EXACT]["area"].iloc[0])
    ends = [rows["temperature"].min(), rows["temperature"].max()]
    lines += ax.plot(ends, [level, level], color=STYLES["uncertainty"].color, label="exact")
    ax.set_xscale("log", base=2)
    ticks = [t for t in sorted(rows["temperature"].unique()) if float(np.log2(t)).is_integer()]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_xlabel("temperature")
    ax.set_ylabel("mean F1")
    plotting.direct_label(ax, lines)
    return fig


def setting_of(votes: str, temperature: float, bias: float) -> str:
    """How an expert states its beliefs, in few words."""
    if votes != EXACT:
        return f"{votes} votes"
    if bias:
        return f"says yes too often (bias {bias:g})"
    words = {-1: "too sure", 0: "exact belief", 1: "too unsure"}[int(np.sign(temperature - 1))]
    return words if temperature == 1 else f"{words} (temperature {temperature:g})"


def _diagonal(ax: Axes, low: float, high: float) -> None:
    ax.plot([low, high], [low, high], color=SOFT, linewidth=0.9, zorder=1)


def _reliable(ax: Axes, rows: pd.DataFrame, style: plotting.Style, label: str) -> None:
    ordered = rows.sort_values("belief")
    error = np.sqrt(ordered["share"] * (1 - ordered["share"]) / ordered["pairs"].astype(float))
    ax.errorbar(ordered["belief"], ordered["share"], NEAR * error, capsize=0, elinewidth=0.8, label=label, **style.line)


def reliability_figure(bins: pd.DataFrame) -> Figure:
    """Share of edges against belief, before any test by setting (left) and after the last round by policy (right).

    Args:
        bins: columns moment, votes, temperature, bias, belief, share, pairs.
    """
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=4.1)
    _diagonal(left, 0, 1)
    before = bins[bins["moment"] == "before"]
    for place, (key, rows) in enumerate(before.groupby(["votes", "temperature", "bias"], sort=False)):
        style = plotting.Style(SHADES[place % len(SHADES)], plotting.MARKERS[place],
                               plotting.DASHES[place % 7])  # fmt: skip
        _reliable(left, rows, style, setting_of(*key))
    left.set_title("before any test")
    _diagonal(right, 2e-4, 1)
    after = bins[(bins["moment"] != "before") & (bins["pairs"] >= 20) & (bins["share"] > 0)]
    for policy, rows in after.groupby("moment", sort=False):
        _reliable(right, rows, STYLES[str(policy)], POLICIES[str(policy)])
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_ylim(2e-4, 1)
    right.set_title("after the last round, untested pairs")
    for ax in (left, right):
        ax.set_xlabel("stated belief")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), handlelength=3)
    left.set_ylabel("share of true edges")
    return fig


def stated_figure(exact: ArrayLike, stated: ArrayLike, edge: ArrayLike, title: str) -> Figure:
    """Left: share of edges by stated belief. Right: how many pairs state it, and how unsure they seem.

    Args:
        exact, stated: beliefs `[m]`. edge: whether there is one `[m]`, bool.
    """
    told, true = np.asarray(stated, dtype=float), np.asarray(edge, dtype=float)
    place = np.minimum((told * 10).astype(int), 9)
    counts = np.bincount(place, minlength=10)
    used = counts > 0
    mean, share = (np.bincount(place, weights=w, minlength=10)[used] / counts[used] for w in (told, true))
    rows = pd.DataFrame({"belief": mean, "share": share, "pairs": counts[used]})
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=2.7)
    _diagonal(left, 0, 1)
    _reliable(left, rows, plotting.Style("#000000", "o", ()), "stated")
    left.set_xlabel("stated belief")
    left.set_ylabel("share of true edges")
    left.set_title(title)
    right.scatter(np.asarray(exact), told, s=5, color=STYLES["uncertainty"].color, alpha=0.3, linewidths=0)
    _diagonal(right, 0, 1)
    right.set_xlabel("exact belief")
    right.set_ylabel("stated belief")
    right.set_title(f"{len(np.unique(told))} different beliefs in {len(told)} pairs")
    return fig
