"""Drawings of the notebooks on the two rules: their data (01) and tense inflection (06)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

from twelvefold.core import plotting
from twelvefold.core.reporting import band_of
from twelvefold.papers.hier_gen.reporting import per_replicate
from twelvefold.papers.hier_gen.shares.plotting import HIERARCHICAL, INK, LINEAR, SOFT, share_color
from twelvefold.tasks import question_formation as questions
from twelvefold.tasks import tense_inflection as tenses
from twelvefold.tasks.rule_following import HIGH, LEARNED, LOW
from twelvefold.tasks.sentence_templates import letters_of, parse_template

_CLAUSE = re.compile("R(?:A?I|A?TDN|DNA?T)")
_SIZE, _GAP, _ARC = 10.0, 5.0, 30.0  # points: letters, space between words, height of an arc's control points
_BRACKET = 7.0  # points: more space at the brackets of a clause


def _places(words: Sequence[str], letters: str, start: float) -> NDArray[np.float64]:
    """Left and right end of every word `[n, 2]` in points, from `start` on."""
    widths = np.array([TextPath((0, 0), word, size=_SIZE).get_extents().width for word in words])
    gaps = np.full(len(words), _GAP)
    for clause in _CLAUSE.finditer(letters):
        gaps[[clause.start() - 1, clause.end() - 1]] += _BRACKET
    left = start + np.concatenate([[0.0], np.cumsum(widths + gaps)[:-1]])
    return np.stack([left, left + widths], axis=1)


def _arc(ax: Axes, start: float, end: float, up: bool, color: str, dashes: Any) -> None:
    """An arrow that leaves and reaches the line of words vertically."""
    level, height = (10.0, _ARC) if up else (-5.0, -_ARC)
    corners = [(start, level), (start, level + height), (end, level + height), (end, level)]
    path = Path(corners, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    ax.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=8, color=color, linewidth=1.3,
                                 linestyle=dashes, shrinkA=0, shrinkB=0))  # fmt: skip


def _answers(ax: Axes, asks: bool, words: list[str]) -> None:
    task = questions if asks else tenses
    hierarchical, linear = " ".join(task.hierarchical_rule(words)), " ".join(task.linear_rule(words))
    lines = [("both rules", hierarchical, INK)] if hierarchical == linear else [
        ("hierarchical rule", hierarchical, HIERARCHICAL), ("linear rule", linear, LINEAR),
    ]  # fmt: skip
    for row, (name, text, color) in enumerate(lines):
        y = -46.0 - 14 * row
        ax.text(0, y, f"{name}:", color=color, fontsize=8, va="baseline")
        ax.text(84, y, text, color=color, fontsize=_SIZE, va="baseline")


def draw_sentence(ax: Axes, task: str, words: list[str], title: str) -> None:
    """Draw a sentence with its relative clause in brackets, an arc per rule, and both answers.

    Args:
        ax: axes; their width counts as that of a page in points.
        task: "question formation" or "tense inflection".
        words: input sentence with its full stop.
        title: of the panel.
    """
    asks = task == "question formation"
    letters = letters_of(words[:-1], 1 if asks else 2)
    main = parse_template(letters).main
    places = _places(words, letters, 28.0 if asks else 0.0)
    middle = places.mean(axis=1)
    for word, (left, _) in zip(words, places, strict=True):
        ax.text(left, 0, word, fontsize=_SIZE, color=INK, va="baseline")
    for clause in _CLAUSE.finditer(letters):
        # words come out a little wider than measured
        left, right = places[clause.start(), 0] - 4, places[clause.end() - 1, 1] + 6
        ax.add_patch(Rectangle((left, -4), right - left, 13, color="#eeeeee", linewidth=0, zorder=0))
        for end, inwards in ((left, 2.5), (right, -2.5)):
            ax.plot([end + inwards, end, end, end + inwards], [9, 9, -4, -4], color=INK, linewidth=0.9)
    if asks:
        ax.add_patch(Rectangle((0, -3), 20, 12, fill=False, edgecolor=SOFT, linestyle=(0, (2, 2)), linewidth=0.9))
        ends = ((middle[main], 12.0), (middle[letters.index("A")], 8.0))
    else:
        ends = ((middle[1], middle[main] + 2), (middle[letters[:main].rindex("N")], middle[main] - 2))
    _arc(ax, *ends[0], up=True, color=HIERARCHICAL, dashes="-")
    _arc(ax, *ends[1], up=False, color=LINEAR, dashes=(0, (3, 1.5)))
    _answers(ax, asks, words)
    ax.set(xlim=(-2, 502), ylim=(-70, 36))
    ax.set_title(title, pad=2)
    ax.axis("off")


def rules_figure(sentences: Sequence[tuple[str, str, list[str]]]) -> Figure:
    """One panel per (task, kind of item, words)."""
    fig, axes = plotting.subplots(len(sentences), 1, width="page", height=1.44 * len(sentences), squeeze=False)
    for ax, (task, name, words) in zip(axes[:, 0], sentences, strict=True):
        draw_sentence(ax, task, words, f"{task}: {name}")
    return fig


def sentence_figure(task: str, words: list[str]) -> Figure:
    """A single sentence with both rules' answers."""
    return rules_figure([(task, "what each rule makes of it", words)])


_PANELS = (("questions", "quest", False), ("copied, no RC on the subject", "decl", False),
           ("copied, RC on the subject", "decl", True))  # fmt: skip
_TICKS = (30, 100, 300, 1000)


def templates_figure(
    counts: NDArray[np.float64], classes: Sequence[tuple[str, str]], published: Mapping[tuple[str, str], int]
) -> Figure:
    """Dots of generated frequencies (mean and range over draws, `counts [R, K]`) on marks of the published ones."""
    fig, axes = plotting.subplots(1, 3, width="page", height=3.9, sharex=True)
    total = sum(published.values())
    scaled = counts / counts.sum(axis=1, keepdims=True) * total
    for ax, (title, mark, embedded) in zip(axes, _PANELS, strict=True):
        chosen = [
            column for column, (task, name) in enumerate(classes)
            if task == mark and parse_template(name).subject.endswith("gap") == embedded
        ]  # fmt: skip
        rows = np.arange(len(chosen))[::-1]
        ax.plot([published.get(classes[column], np.nan) for column in chosen], rows, linestyle="none", marker="|",
                markersize=11, markeredgewidth=2.2, color=plotting.PAPER_GREY, label="published")  # fmt: skip
        ax.hlines(rows, scaled[:, chosen].min(0), scaled[:, chosen].max(0), color=INK, linewidth=1)
        ax.plot(scaled[:, chosen].mean(0), rows, "o", markersize=3, color=INK, label="generated")
        ax.set_yticks(rows, [classes[column][1] for column in chosen])
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.7, max(len(chosen) - 0.3, 11.7))
        ax.set_xscale("log")
        ax.set_xticks(_TICKS, [str(tick) for tick in _TICKS])
        ax.minorticks_off()
        ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        ax.set_title(title, loc="right")
    axes[1].set_xlabel("items per 11,000")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2, handletextpad=0.3)
    return fig


_KINDS = {"hierarchical": "all items", "hierarchical_pp": "PP", "hierarchical_subject_gap": "subject gap",
          "hierarchical_object_gap": "object gap"}  # fmt: skip
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


def _mixes(runs: pd.DataFrame) -> list[tuple[float, str, str]]:
    """Share of relative clauses, colour and marker of every mix, least clauses first."""
    shares = sorted(runs["rc"].unique())
    return [(rc, share_color(rc), _MARKERS[number % len(_MARKERS)]) for number, rc in enumerate(shares)]


def _marks(ax: Axes, *heights: float) -> None:
    for height in heights:
        ax.axhline(height, color=SOFT, linewidth=0.7, linestyle=(0, (1, 2)), zorder=0)


def tense_trajectories_figure(runs: pd.DataFrame) -> Figure:
    """Hierarchical answers by kind of subject and ID accuracy over updates, a colour per mix."""
    panels = dict(list(_KINDS.items())[1:]) | {"id_accuracy": "ID accuracy"}
    fig, axes = plotting.subplots(1, len(panels), width="page", height=2.5, sharey=True)
    mixes = _mixes(runs)
    dashes = dict(zip((mixes[0][0], mixes[-1][0]), ((), (4, 1.5)), strict=True))
    for ax, (column, title) in zip(axes, panels.items(), strict=True):
        _marks(ax, *((LEARNED,) if column == "id_accuracy" else (LOW, HIGH)))
        for rc, color, _ in mixes:
            curves = runs[runs["rc"] == rc].pivot(index="step", columns="replicate", values=column)
            if rc in dashes:  # the two mixes of the claims; the others would bury them
                ax.plot(curves.index, curves, color=color, linewidth=0.5, alpha=0.5)
            ax.plot(curves.index, curves.mean(axis=1), color=color, linewidth=2.0, linestyle=(0, dashes.get(rc, ())),
                    path_effects=[withStroke(linewidth=3.2, foreground="white")], zorder=3,
                    label=f"RC {rc:g}")  # fmt: skip
        ax.set_title(title)
        ax.set_ylim(-0.03, 1.03)
        ax.set_xlabel("updates")
        ax.locator_params(axis="x", nbins=3)
        if runs["step"].max() >= 10_000:
            ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
    axes[0].set_ylabel("hierarchical answers")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return fig


def tense_finals_figure(last: pd.DataFrame) -> Figure:
    """Final hierarchical answers by kind of subject: a column of dots per mix, hollow where not learned."""
    fig, axes = plotting.subplots(1, len(_KINDS), width="page", height=2.5, sharey=True)
    mixes = _mixes(last)
    for ax, (column, title) in zip(axes, _KINDS.items(), strict=True):
        _marks(ax, LOW, HIGH)
        for place, (rc, color, marker) in enumerate(mixes):
            values, learned = (per_replicate(last, key, rc=rc) for key in (column, "learned"))
            spread = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1)
            faces = [color if fine else "white" for fine in learned]
            ax.scatter(place + spread, values, s=14 if len(values) <= 12 else 7, marker=marker, facecolor=faces,
                       edgecolor=color, linewidth=0.8, zorder=3, clip_on=False)  # fmt: skip
            centre, low, high = band_of(values)
            ax.plot([place + 0.34] * 2, [low, high], color=INK, linewidth=1.3, zorder=4)
            ax.plot([place + 0.28, place + 0.4], [centre] * 2, color=INK, linewidth=1.8, zorder=4)
        labels = [f"{rc:g}" for rc, _, _ in mixes]
        ax.set_xticks(range(len(mixes)), labels, rotation=0 if len(mixes) <= 3 else 60)
        ax.set_xlim(-0.5, len(mixes) - 0.4)
        ax.set_ylim(-0.03, 1.03)
        ax.set_title(title)
    axes[0].set_ylabel("hierarchical at the end")
    fig.supxlabel("share of RC subjects", fontsize=8)
    return fig


_FOLLOWED = {"hierarchical": HIERARCHICAL, "linear": LINEAR, "both": INK, "neither": SOFT}


def forms_figure(sentence: str, answers: Mapping[str, pd.DataFrame]) -> Figure:
    """Share of the form that agrees with the head of the subject, one panel per mix and one bar per run of
    `kept_forms`; the form preferred stands beside, in the colour of the rule it follows."""
    fig, axes = plotting.subplots(1, len(answers), width="page", height=2.2, sharex=True, squeeze=False)
    for ax, (name, frame) in zip(axes[0], answers.items(), strict=True):
        rows = np.arange(len(frame))[::-1]
        colors = [_FOLLOWED[follows] for follows in frame["follows"]]
        ax.barh(rows, frame["share"], color=colors, height=0.6)
        for row, color, verb, follows in zip(rows, colors, frame["verb"], frame["follows"], strict=True):
            ax.text(1.03, row, f"{verb} ({follows})", va="center", fontsize=8, color=color)
        ax.axvline(0.5, color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)))
        ax.set_yticks(rows, [f"run {replicate}" for replicate in frame["replicate"]])
        ax.set_xlim(0, 1)
        ax.set_title(name)
        ax.set_xlabel("probability: agrees with the head")
    fig.suptitle(f"{sentence} . PRESENT")
    return fig
