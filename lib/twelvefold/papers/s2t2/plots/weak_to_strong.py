"""Drawings of weak-to-strong transfer: bits of all arms, agreement of plans, learning curves, and one target token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from twelvefold.core import plotting
from twelvefold.core.plotting import Style
from twelvefold.core.reporting import band_of
from twelvefold.papers.s2t2.anatomy import Share
from twelvefold.papers.s2t2.plots.arms import ARMS, REFERENCES

LABELS = {
    "own": "plan of the large model", "transferred": "plan of the small model",
    "permuted_alike": "... like tokens exchanged", "permuted": "... all tokens exchanged",
    "untrained": "untrained plan", "pieces": ARMS["pieces"], "gaussian": ARMS["gaussian"],
    "small": "small model with its plan",
}  # fmt: skip
PAIRS = {
    "models": "small model, large model", "again": "small model, two starts",
    "permuted_alike": "... like tokens exchanged", "permuted": "... all tokens exchanged",
    "small_start": "small model, its start", "large_start": "large model, its start", "starts": "two untrained plans",
}  # fmt: skip
STAGES = {"zero_shot": "before finetuning", "finetuned": "after finetuning"}
ROLES = {"small": "small model", "large": "large model"}
# arms keep the looks of the other figures, where "own" is the sparse Sinkhorn plan; controls are grey
_OWN = plotting.styles([*ARMS, "", "transferred"])
SOFT = "#6b6b6b"
FAR = 2.5  # times the range of all other rows
STYLES: dict[str, Style] = {
    "own": _OWN["sparse_sinkhorn"], "transferred": _OWN["transferred"], "pieces": _OWN["pieces"],
    "gaussian": _OWN["gaussian"], "permuted_alike": Style(SOFT, "v", ()), "permuted": Style(SOFT, "D", ()),
    "untrained": Style(SOFT, "P", ()),
}  # fmt: skip


def bits_figure(panels: Mapping[str, Mapping[str, ArrayLike]], references: Mapping[str, float]) -> Figure:
    """Bits per residue of training runs by arm, one panel per stage, with references as vertical lines.

    Args:
        panels: per stage and arm one value per run. references: mean bits by name, see `plots.arms`.
    """
    names = [arm for arm in LABELS if any(arm in arms for arms in panels.values())]
    height = 0.9 + 0.24 * len(names)
    fig, axes = plotting.subplots(1, len(panels), width="page", height=height, sharey=True, squeeze=False)
    for ax, (stage, arms) in zip(axes[0], panels.items(), strict=True):
        _rows(ax, {LABELS[arm]: arms.get(arm, []) for arm in names}, [STYLES[arm] for arm in names])
        ax.set_title(STAGES[stage])
        ax.set_xlabel("bits per residue")
        for dash, (name, value) in zip(((4, 2), (1, 1.5)), references.items(), strict=False):
            ax.axvline(value, color=SOFT, linewidth=0.9, linestyle=(0, dash), zorder=0, label=REFERENCES[name])
        _cut(ax, [np.asarray(arms.get(arm, []), dtype=float) for arm in names])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if handles:
        fig.legend(handles, labels, loc="outside lower center", ncols=len(handles))
    return fig


def _cut(ax: Axes, rows: Sequence[np.ndarray]) -> None:
    """End the axis before a row that lies far above all others, and write its mean and interval at the edge."""
    means = {place: float(values.mean()) for place, values in enumerate(rows) if values.size}
    *others, (last, largest) = sorted(means.items(), key=lambda item: item[1])
    low, high = others[0][1], others[-1][1]
    if largest - low < FAR * (high - low):
        return
    most = max(float(rows[place].max()) for place, _ in others)
    ax.set_xlim(right=most + 0.35 * (most - low))
    mean, lower, upper = band_of(rows[last])
    ax.annotate(f"{mean:.2f} [{lower:.2f}, {upper:.2f}] \N{RIGHTWARDS ARROW}", (1, last), (-2, 0), ha="right",
                va="center", xycoords=("axes fraction", "data"), textcoords="offset points",
                color=SOFT, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip


def agreement_figure(panels: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Agreement of pairs of plans, one panel per measure (its name is the axis label), one value per run and pair."""
    most = max(len(pairs) for pairs in panels.values())
    fig, axes = plotting.subplots(1, len(panels), width="page", height=0.7 + 0.24 * most, sharey=True, squeeze=False)
    for ax, (measure, pairs) in zip(axes[0], panels.items(), strict=True):
        looks = [STYLES["transferred"] if pair == "models" else Style(SOFT, "o", ()) for pair in pairs]
        _rows(ax, {PAIRS[pair]: values for pair, values in pairs.items()}, looks)
        ax.axvline(0, color=SOFT, linewidth=0.6, zorder=0)
        ax.set_xlabel(measure)
    return fig


def _rows(ax: Axes, rows: Mapping[str, ArrayLike], looks: Sequence[Style]) -> None:
    """Every run as a small dot, and below it the mean with its 95 % interval; the first row stands at the top."""
    for place, (values, style) in enumerate(zip(rows.values(), looks, strict=True)):
        if not np.size(values):  # a row of another panel
            continue
        ax.plot(values, [place - 0.17] * np.size(values), linestyle="", marker=".", markersize=3, color=SOFT)
        centre, low, high = band_of(values)
        ax.plot([low, high], [place + 0.12] * 2, color=style.color, linewidth=1.8)
        ax.plot(centre, place + 0.12, marker=style.marker, color=style.color, markeredgecolor="black",
                markeredgewidth=0.4, markersize=5)  # fmt: skip
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.6)


def learning_figure(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Loss while a plan is learnt, per role a frame with index step and columns low, middle, high."""
    fig, ax = plotting.subplots(width="column", height=2.2)
    looks = {"small": STYLES["transferred"], "large": STYLES["own"]}
    for role, frame in curves.items():
        plotting.band(ax, frame.index, frame["middle"], frame["low"], frame["high"], looks[role], ROLES[role])
    ax.set_xlabel("updates of the plan")
    ax.set_ylabel("bits per residue")
    ax.legend(handlelength=2.6)
    return fig


def token_figure(token: str, sources: Mapping[str, Sequence[Share]]) -> Figure:
    """The source tokens with the largest weights in one target token, per role of a model."""
    most = max(1, *(len(shares) for shares in sources.values()))
    fig, axes = plotting.subplots(1, len(sources), width="page", height=0.9 + 0.22 * most, sharex=True, squeeze=False)
    common = set.intersection(*({share.source for share in shares} for shares in sources.values()))
    for ax, (role, shares) in zip(axes[0], sources.items(), strict=True):
        color = STYLES["transferred" if role == "small" else "own"].color
        hatches = ["///" if share.source in common else "" for share in shares]
        ax.barh(range(len(shares)), [share.weight for share in shares], color=color, edgecolor="black", linewidth=0.4,
                hatch=hatches)  # fmt: skip
        ax.set_yticks(range(len(shares)), [_shown(share.source) for share in shares])
        ax.set_ylim(most - 0.5, -0.5)
        ax.set_xlabel("weight P(source | target)")
        ax.set_title(f"{token!r}, learnt on the {ROLES[role]}")
    return fig


def _shown(piece: bytes) -> str:
    """Bytes of a token between quotation marks, with the ones that are no text as escapes; $ would start a formula."""
    return repr(piece.decode(errors="backslashreplace")).replace("$", r"\$")
