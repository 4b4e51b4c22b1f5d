"""Drawings of the choice of tests: quality against bias, and where among the beliefs each rule tests."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twelvefold.core import plotting
from twelvefold.papers.igda.plots.discovery import NEAR, SOFT, legend_below, mean_band
from twelvefold.papers.igda.plots.policies import POLICIES, STYLES

BIAS = "bias (logits)"
_SHORT = {"uncertainty": "uncertain", "top": "most probable", "random": "random"}


def bias_figure(curves: pd.DataFrame, gains: pd.DataFrame, graphs: Sequence[str]) -> Figure:
    """Mean F1 of every rule (upper row), differences between rules (lower row) against the bias.

    Args:
        curves: columns graph, bias, policy, area, area_se. gains: columns graph, bias, first, second, gain, low, high.
        graphs: one column of panels each.
    """
    fig, axes = plotting.subplots(2, len(graphs), width="page", height=4.6, sharex=True, sharey="row", squeeze=False)
    policies = list(dict.fromkeys(curves["policy"]))
    for column, graph in enumerate(graphs):
        part, (upper, lower) = curves[curves["graph"] == graph], axes[:, column]
        for policy in policies:
            mean_band(upper, part[part["policy"] == policy], "bias", "area", policy)
        upper.set_title(graph)
        lower.axhline(0, color=SOFT, linewidth=0.9)
        for (first, second), rows in gains[gains["graph"] == graph].groupby(["first", "second"], sort=False):
            error = [rows["gain"] - rows["low"], rows["high"] - rows["gain"]]
            label = f"{_SHORT[str(first)]} - {_SHORT[str(second)]}"
            lower.errorbar(rows["bias"], rows["gain"], yerr=error, capsize=2, label=label, **STYLES[str(first)].line)
        lower.set_xlabel(BIAS)
    axes[0, 0].set_ylabel("mean F1 over rounds")
    axes[1, 0].set_ylabel("difference")
    axes[1, -1].legend(loc="upper right")
    legend_below(fig, policies, ncols=2)
    return fig


def belief_panel(ax: Axes, counts: pd.DataFrame, rules: Sequence[str]) -> None:
    """Numbers of pairs by log-odds of their first belief: all, edges, and those that rules test.

    Args:
        counts: columns logit (equally spaced), pairs, true (edges) and the rules.
    """
    rows = counts.sort_values("logit")
    ax.fill_between(rows["logit"], rows["pairs"], step="mid", color="#d9d9d9", linewidth=0, label="all pairs")
    ax.step(rows["logit"], rows["true"], where="mid", color="black", linewidth=1, label="edges")
    for rule in rules:
        style = STYLES[rule]
        tested = rows[rule].where(rows[rule] > 0)
        ax.step(rows["logit"], tested, where="mid", color=style.color, linestyle=style.linestyle,
                label=f"tested: {POLICIES[rule].split(',')[0]}")  # fmt: skip
    ax.axvline(0, color=SOFT, linewidth=0.9)
    ax.set_xlabel("log-odds of the first belief")


def beliefs_figure(rows: pd.DataFrame, rules: Sequence[str] = ("uncertainty", "top")) -> Figure:
    """One `belief_panel` per bias, side by side; columns bias and those of a panel."""
    biases = sorted(rows["bias"].unique())
    fig, axes = plotting.subplots(1, len(biases), width="page", height=2.7, sharex=True, sharey=True, squeeze=False)
    for ax, bias in zip(axes[0], biases, strict=True):
        belief_panel(ax, rows[rows["bias"] == bias], rules)
        ax.set_title(f"bias {bias:+g}" if bias else "no bias")
    axes[0, 0].set_ylabel("pairs per replicate")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4, handlelength=3)
    return fig


def hits_figure(ends: pd.DataFrame, control: pd.DataFrame) -> Figure:
    """Share of tests that met an edge; then, by graph, how much better one rule is than another.

    Args:
        ends: of one graph; columns bias, policy, variables, edges, hits, hits_se.
        control: columns graph, density, and for "mean" and "last" the gain and its `_se`.
    """
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=3.2)
    policies = list(dict.fromkeys(ends["policy"]))
    for policy in policies:
        mean_band(left, ends[ends["policy"] == policy], "bias", "hits", policy)
    left.set_xlabel(BIAS)
    left.set_ylabel("share of the tests that meet an edge")
    left.set_ylim(0, None)
    _control_panel(right, control)
    legend_below(fig, policies, ncols=2)
    return fig


def _control_panel(ax: Axes, control: pd.DataFrame) -> None:
    """Gains with their intervals, one graph a line, the sparsest on top."""
    rows, color = control.sort_values("density", ascending=False), STYLES["top"].color
    for name, marker, face, shift in (("mean", "^", color, 0.15), ("last", "o", "white", -0.15)):
        places = [place + shift for place in range(len(rows))]
        ax.errorbar(rows[name], places, xerr=NEAR * rows[f"{name}_se"], capsize=2, fmt=marker, mfc=face, color=color)
    ax.axvline(0, color=SOFT, linewidth=0.9)
    names = [f"{graph}, {100 * density:.0f} %" for graph, density in zip(rows["graph"], rows["density"], strict=True)]
    ax.set_yticks(range(len(rows)), names)
    ax.set_xlabel("F1, most probable - uncertain")


def rule_figure(counts: pd.DataFrame, rounds: pd.DataFrame, rule: str) -> Figure:
    """Which pairs one rule tests, and the F1 it reaches beside that of random tests.

    Args:
        counts: as `belief_panel`. rounds: columns policy, tested, f1, f1_se.
    """
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=2.8)
    belief_panel(left, counts, [rule])
    left.set_ylabel("pairs per replicate")
    left.legend(loc="upper right")
    lines = [mean_band(right, rounds[rounds["policy"] == key], "tested", "f1", key)
             for key in dict.fromkeys((rule, "random"))]  # fmt: skip
    right.set_xlabel("share of the pairs tested")
    right.set_ylabel("F1, all pairs")
    right.set_ylim(0, 1)
    right.legend(handles=lines, loc="upper left")
    return fig
