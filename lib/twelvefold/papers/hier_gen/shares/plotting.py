"""Drawings of 02 and 03; a share of centre-embedded sentences has the same colour in every figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from twelvefold.core import plotting
from twelvefold.core.plotting import Style
from twelvefold.core.reporting import band_of
from twelvefold.papers.hier_gen.reporting import per_replicate
from twelvefold.tasks.rule_following import COMMITMENTS, HIGH, LEARNED, LOW

LINEAR, HIERARCHICAL = plotting.PALETTE[0], plotting.PALETTE[3]
INK, SOFT = "#222222", "#9a9a9a"
_NATURAL = 0.31  # share of centre-embedded sentences in the natural mix, for its colour
_FEW = 12  # up to so many runs, thin lines can be told apart
_MEAN: Any = {"linewidth": 2.2, "path_effects": [withStroke(linewidth=3.4, foreground="white")], "zorder": 3}


def share_color(share: float) -> str:
    """Colour of a share of centre-embedded sentences, from dark (0) to light (1); ValueError outside 0 to 1."""
    if not 0 <= share <= 1:
        raise ValueError(f"share = {share!r}; a number from 0 to 1 is needed")
    return to_hex(mpl.colormaps["cividis"](0.76 * share))  # the light end would not be seen on white


STYLES: dict[str, Style] = {
    "right-branching": Style(share_color(0.0), "o", ()),
    "centre-embedded": Style(share_color(1.0), "s", ()),
    "questions only": Style("#b0487f", "D", (1, 1)),
    "natural mix": Style(share_color(_NATURAL), "^", (4, 1.5)),
    "subject gaps only": Style("#029e73", "v", (6, 1.5, 1, 1.5)),
    "object gaps only": Style("#de8f05", "P", (3, 1, 1, 1, 1, 1)),
}
CLASS_STYLES: dict[str, Style] = dict(
    zip(
        COMMITMENTS,
        (Style(LINEAR, "o", ()), Style(HIERARCHICAL, "s", ()), Style(INK, "^", (4, 1.5)),
         Style(plotting.PALETTE[1], "D", (6, 1.5, 1, 1.5)), Style(SOFT, "v", (1, 1))),
        strict=True,
    )
)  # fmt: skip


def _curves(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Curves `[steps, replicates]` of one condition."""
    return frame.pivot(index="step", columns="replicate", values=column)


def _thin(runs: int) -> dict[str, Any]:
    if runs <= _FEW:
        return {"linewidth": 0.7, "alpha": 0.7}
    return {"linewidth": 0.4, "alpha": 0.4, "rasterized": True}  # hundreds of curves would make a large SVG


def _marks(ax: Axes, *heights: float) -> None:
    for height in heights:
        ax.axhline(height, color=SOFT, linewidth=0.7, linestyle=(0, (1, 2)), zorder=0)


def _thousands(ax: Axes, steps: Sequence[float]) -> None:
    ax.set_xlabel("updates")
    ax.locator_params(axis="x", nbins=4)
    if max(steps) >= 10_000:
        ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")


def trajectories_figure(runs: pd.DataFrame) -> Figure:
    """Three panels over updates: hierarchical answers (all clauses, object gaps) and ID accuracy, per condition."""
    fig, axes = plotting.subplots(1, 3, width="page", height=2.6)
    panels = (("hierarchical", "all clauses", (LOW, HIGH)), ("hierarchical_object_gap", "object gaps", (LOW, HIGH)),
              ("id_accuracy", "ID accuracy", (LEARNED,)))  # fmt: skip
    for ax, (column, title, marks) in zip(axes, panels, strict=True):
        _marks(ax, *marks)
        for name in runs["condition"].unique():
            curves, style = _curves(runs[runs["condition"] == name], column), STYLES[name]
            if name in list(STYLES)[:2]:  # the two conditions of the claims; the others would bury them
                ax.plot(curves.index, curves, color=style.color, **_thin(curves.shape[1]))
            mean = curves.mean(axis=1)
            ax.plot(mean.index, mean, color=style.color, linestyle=style.linestyle, label=name, **_MEAN)
        ax.set_title(title)
        ax.set_ylim(-0.03, 1.03)
        _thousands(ax, runs["step"])
    axes[0].set_ylabel("hierarchical answers")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


def _swarm(ax: Axes, place: float, values: np.ndarray, learned: np.ndarray, style: Style, width: float) -> np.ndarray:
    """Dots of one column, hollow where not learned; returns their places `[n]`, spread in the order of runs."""
    places = place + np.linspace(-width, width, len(values)) if len(values) > 1 else np.array([place])
    faces = [style.color if fine else "white" for fine in learned]
    ax.scatter(places, values, s=16 if len(values) <= _FEW else 8, marker=style.marker, facecolor=faces,
               edgecolor=style.color, linewidth=0.8, zorder=3, clip_on=False)  # fmt: skip
    return places


def _mean_bar(ax: Axes, place: float, values: np.ndarray, width: float, color: str = INK) -> float:
    centre, low, high = band_of(values)
    ax.plot([place, place], [low, high], color=color, linewidth=1.4, zorder=4)
    ax.plot([place - width, place + width], [centre, centre], color=color, linewidth=1.8, zorder=4)
    return centre


_KINDS = {"hierarchical": "all clauses", "hierarchical_subject_gap": "subject gap",
          "hierarchical_object_gap": "object gap"}  # fmt: skip


def kinds_figure(last: pd.DataFrame) -> Figure:
    """Final hierarchical answers: one group per kind of clause, one column of dots per condition."""
    fig, ax = plotting.subplots(width="page", height=2.7)
    names = list(last["condition"].unique())
    wide = 0.8 / len(names)
    _marks(ax, LOW, HIGH)
    for group, column in enumerate(_KINDS):
        ends = []
        for number, name in enumerate(names):
            place = group + (number - (len(names) - 1) / 2) * wide
            values, learned = (per_replicate(last, key, condition=name) for key in (column, "learned"))
            ends.append((_swarm(ax, place, values, learned, STYLES[name], 0.22 * wide), values))
            _mean_bar(ax, place + 0.34 * wide, values, 0.06 * wide, STYLES[name].color)
        if len(ends[0][1]) <= _FEW:
            (x0, y0), (x1, y1) = ends[:2]
            ax.plot([x0, x1], [y0, y1], color=SOFT, linewidth=0.4, zorder=1)
    for name in names:
        style = STYLES[name]
        ax.plot([], [], linestyle="none", marker=style.marker, color=style.color, label=name)
    ax.set_xticks(range(len(_KINDS)), list(_KINDS.values()))
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("hierarchical answers at the end")
    fig.legend(loc="outside lower center", ncols=4)
    return fig


def _share_columns(ax: Axes, frame: pd.DataFrame, column: str) -> None:
    """Dots of every share at evenly spaced places, means with intervals joined by a line."""
    shares = sorted(frame["share"].unique())
    means = []
    for place, share in enumerate(shares):
        values, learned = (per_replicate(frame, key, share=share) for key in (column, "learned"))
        _swarm(ax, place, values, learned, Style(share_color(share), "o", ()), 0.2)
        means.append(_mean_bar(ax, place + 0.33, values, 0.05))
    ax.plot(np.arange(len(shares)) + 0.33, means, color=INK, linewidth=0.8, zorder=2)
    ax.set_xticks(range(len(shares)), [f"{share:g}" for share in shares])
    ax.set_xlim(-0.5, len(shares) - 0.35)
    ax.set_xlabel("share of centre-embedded copies")


def variation_figure(frame: pd.DataFrame) -> Figure:
    """Total variation and deviation from the median against the share; one row per run with both columns."""
    fig, axes = plotting.subplots(1, 2, width="page", height=2.7)
    labels = {"variation": "total variation", "deviation": "final: distance from the median"}
    for ax, (column, label) in zip(axes, labels.items(), strict=True):
        _share_columns(ax, frame, column)
        ax.set_ylabel(label)
        low, high = ax.get_ylim()
        ax.set_ylim(bottom=min(low, -0.03 * high))  # dots at 0 are seen whole
    return fig


def final_shares_figure(last: pd.DataFrame) -> Figure:
    """Final hierarchical answers against the share, all clauses and object gaps."""
    fig, axes = plotting.subplots(1, 2, width="page", height=2.7, sharey=True)
    for ax, column in zip(axes, ("hierarchical", "hierarchical_object_gap"), strict=True):
        _marks(ax, LOW, HIGH)
        _share_columns(ax, last, column)
        ax.set_title(_KINDS[column])
        ax.set_ylim(-0.03, 1.03)
    axes[0].set_ylabel("hierarchical answers at the end")
    return fig


def _before_window(ax: Axes, steps: pd.Series) -> None:
    ax.axvspan(0, steps.max() / 3, color="#efefef", linewidth=0, zorder=0)


def panels_figure(runs: pd.DataFrame) -> Figure:
    """Curves of every run, one small panel per share."""
    shares = sorted(runs["share"].unique())
    across = min(5, len(shares))
    down = -(-len(shares) // across)
    fig, axes = plotting.subplots(down, across, width="page", height=0.5 + 1.7 * down, sharex=True, sharey=True,
                                  squeeze=False)  # fmt: skip
    learned = runs[runs["step"] == runs["step"].max()].set_index(["share", "replicate"])["id_accuracy"] >= LEARNED
    for ax, share in zip(axes.flat, shares, strict=False):
        curves, color = _curves(runs[runs["share"] == share], "hierarchical"), share_color(share)
        _before_window(ax, runs["step"])
        _marks(ax, LOW, HIGH)
        for replicate, curve in curves.items():
            dashes = "-" if learned[share, replicate] else (0, (3, 1.5))
            ax.plot(curve.index, curve, color=color, linestyle=dashes, **_thin(curves.shape[1]))
        ax.plot(curves.index, curves.mean(axis=1), color=color, **_MEAN)
        ax.set_title(f"share {share:g}")
        ax.set_ylim(-0.03, 1.03)
        ax.tick_params(labelbottom=True)  # the panel below may be missing
        _thousands(ax, runs["step"])
    for ax in axes.flat[len(shares):]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("hierarchical answers")
    return fig


def classes_figure(curves: pd.DataFrame, classes: pd.Series, share: float, stable: float) -> Figure:
    """Curves of the runs of one share, coloured by class; `classes` by replicate."""
    fig, ax = plotting.subplots(height=2.8)
    table = _curves(curves[curves["share"] == share], "hierarchical")
    _before_window(ax, curves["step"])
    _marks(ax, LOW, HIGH)
    for name, style in CLASS_STYLES.items():
        chosen = [replicate for replicate in table.columns if classes[replicate] == name]
        lines = ax.plot(table.index, table[chosen], color=style.color, linestyle=style.linestyle, linewidth=1.1)
        if lines:
            lines[0].set_label(f"{name} ({len(lines)})")
    ax.set_title(f"share {share:g}, stable up to a variation of {stable:g}")
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("hierarchical answers")
    _thousands(ax, curves["step"])
    fig.legend(loc="outside lower center", ncols=2)
    return fig


_FOLLOWS = {"hierarchical": HIERARCHICAL, "linear": LINEAR, "both": INK, "neither": SOFT}


def answers_figure(sentence: str, answers: Mapping[str, pd.DataFrame]) -> Figure:
    """Probability of each auxiliary as first word, one panel per condition and one row per run of `kept_answers`; the
    likeliest is framed in the colour of the rule it follows."""
    height = 1.2 + 0.3 * max(len(frame) for frame in answers.values())
    fig, axes = plotting.subplots(1, len(answers), width="page", height=height, squeeze=False)
    for ax, (name, frame) in zip(axes[0], answers.items(), strict=True):
        words = [column for column in frame.columns if column not in ("replicate", "answer", "follows")]
        ax.imshow(frame[words], cmap="Greys", vmin=0, vmax=2, aspect="auto")
        for row, run in enumerate(frame.to_dict("records")):
            for column, word in enumerate(words):
                ax.text(column, row, f"{run[word]:.2f}", ha="center", va="center", fontsize=8)
            place, color = (words.index(run["answer"]) - 0.46, row - 0.43), _FOLLOWS[run["follows"]]
            ax.add_patch(Rectangle(place, 0.92, 0.86, fill=False, linewidth=2, edgecolor=color))
            ax.text(len(words) - 0.4, row, run["follows"], va="center", fontsize=8, color=color)
        ax.set_xticks(range(len(words)), words)
        ax.set_yticks(range(len(frame)), [f"run {replicate}" for replicate in frame["replicate"]])
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set_title(name)
    fig.suptitle(f"{sentence.removesuffix('.').rstrip()} .")
    return fig
