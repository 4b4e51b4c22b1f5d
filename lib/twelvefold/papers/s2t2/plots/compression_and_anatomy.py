"""Drawings of what tokenizers save and what plans are made of."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, StrMethodFormatter

from twelvefold.core import plotting
from twelvefold.papers.s2t2.plots import arms

SPARSE, SOFTMAX = "sparse_sinkhorn", "column_softmax"
# a variant of the method is no arm of the comparisons: it has a look of its own, the unchanged method that of its arm
STYLES = {
    "convex": arms.STYLES[SPARSE], SOFTMAX: arms.STYLES[SOFTMAX],
    "printed": plotting.Style("#0b5d78", "P", (4, 1.5)), "bayes": plotting.Style("#333333", "X", (1, 1)),
    "unigram": plotting.Style("#7a3e9d", "<", (6, 1.5, 1, 1.5)),
}  # fmt: skip
LABELS = {
    "convex": "sparse Sinkhorn", "printed": "normalised as printed", "bayes": "normalised by Bayes",
    "T1": "T = 1", "T2": "T = 2", "T20": "T = 20", "unigram": "unigram marginals", SOFTMAX: "column softmax",
}  # fmt: skip
TOKENIZER = plotting.Style("#02674b", "o", ())
SOFT = "#6b6b6b"
LINEAR = 0.1  # bits, up to which the axis of differences is linear


def compression_figure(targets: pd.DataFrame, sources: Mapping[str, float], unigram: float) -> Figure:
    """Bytes per token (left) and bits per residue of independent tokens (right) against the number of target tokens.

    Args:
        targets: index u; columns bytes, bytes_low, bytes_high, bits, bits_low, bits_high.
        sources: bytes per token of source tokenizers by the name to print.
        unigram: bits per residue of independent residues.
    """
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=2.7)
    style = TOKENIZER
    for ax, name in ((left, "bytes"), (right, "bits")):
        errors = [targets[name] - targets[f"{name}_low"], targets[f"{name}_high"] - targets[name]]
        ax.errorbar(targets.index, targets[name], yerr=errors, capsize=2, **style.line)
        ax.set_xscale("log", base=2)
        ax.set_xticks(list(targets.index), [f"{u}" for u in targets.index])
        ax.minorticks_off()
        ax.set_xlabel("target tokens u")
    for name, value in sources.items():
        _level(left, value, name)
    _level(right, unigram, arms.REFERENCES["unigram"])
    left.set_ylabel("bytes per token")
    right.set_ylabel("bits per residue")
    left.set_title("compression")
    right.set_title("cost of independent target tokens")
    left.set_ylim(bottom=min(0.93, *sources.values()) - 0.02)
    return fig


def _level(ax: Axes, value: float, label: str) -> None:
    ax.axhline(value, color=SOFT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    ax.annotate(label, (1, value), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points",
                ha="right", va="bottom", color=SOFT)  # fmt: skip


def training_figure(curves: Mapping[str, Mapping[str, pd.DataFrame]], titles: Mapping[str, str]) -> Figure:
    """What a plan is made of, against the steps of learning.

    Args:
        curves: per measure and variant a frame with index step and columns centre, low, high.
        titles: per measure, in the order of the panels.
    """
    fig, axes = plotting.subplots(1, len(titles), width="page", height=2.8, squeeze=False)
    for ax, (measure, title) in zip(axes[0], titles.items(), strict=True):
        for name, frame in curves[measure].items():
            x, style = frame.index.to_numpy(dtype=float), STYLES[name]
            plotting.band(ax, x, frame["centre"], frame["low"], frame["high"], style)
            ax.plot(x, frame["centre"], color=style.color, marker=style.marker, linestyle="none")
        ax.set_title(title)
        ax.set_xlabel("steps of learning")
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
    names = list(dict.fromkeys(name for frames in curves.values() for name in frames))
    handles = [Line2D([], [], label=LABELS[name], **STYLES[name].line) for name in names]
    fig.legend(handles=handles, loc="outside lower center", ncols=min(3, len(names)), handlelength=3.2)
    return fig


def variants_figure(runs: Mapping[str, pd.Series], bands: Mapping[str, tuple[float, float, float]]) -> Figure:
    """Bits per residue of variants minus those of the unchanged method: a dot per run, and the mean.

    Args:
        runs: differences by variant. bands: mean and ends of its interval by variant.
    """
    fig, ax = plotting.subplots(width="page", height=0.9 + 0.32 * len(runs))
    ax.axvline(0, color=SOFT, linewidth=0.9, linestyle=(0, (4, 2)))
    for place, (name, values) in enumerate(runs.items()):
        style = STYLES.get(name, STYLES["convex"])
        centre, low, high = bands[name]
        ax.plot(values, [place - 0.22] * len(values), ".", color=SOFT, markersize=3)
        ax.errorbar(centre, place, xerr=[[centre - low], [high - centre]], color=style.color, marker=style.marker,
                    markersize=5, capsize=3)  # fmt: skip
    ax.set_yticks(range(len(runs)), [LABELS[name] for name in runs])
    ax.set_ylim(len(runs) - 0.5, -0.6)
    ax.set_xscale("symlog", linthresh=LINEAR)
    ends = ax.get_xlim()
    marks = [-1, -0.2, -0.1, -0.05, 0, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    ax.set_xticks([mark for mark in marks if ends[0] <= mark <= ends[1]])
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    for edge in (-LINEAR, LINEAR):
        ax.axvline(edge, color=SOFT, linewidth=0.6, linestyle=(0, (1, 2)))
    ax.set_xlim(ends)
    ax.set_xlabel("added bits per residue (linear to the dotted lines, logarithmic beyond)")
    return fig
