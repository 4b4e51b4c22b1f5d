"""Drawings of 05 (continuous scores by the rule a run follows, distances between scales, the mirage) and of 06 (parts
of the mean along a scale, language models)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from twelvefold.core import plotting
from twelvefold.core.claims import TRAINING_RUN
from twelvefold.core.reporting import FIGURE_LEVEL, band_of
from twelvefold.core.statistics import share
from twelvefold.papers.random_scaling.decomposition import SUCCESS
from twelvefold.papers.random_scaling.metrics.scores import ENDS, SCORES, by_content, ends_of, score
from twelvefold.papers.random_scaling.mirage import matching_mode, mean_exact, scores_of
from twelvefold.papers.random_scaling.plotting import (
    CONTENT,
    FAILURE,
    INK,
    POSITION,
    SOFT,
)
from twelvefold.papers.random_scaling.plotting import SUCCESS as SUCCEEDS
from twelvefold.papers.random_scaling.reporting import AS_TRAINED, per_run, scales_of

RULES = {"position": (POSITION, "////"), "content": (CONTENT, "")}  # colour and hatch
MIRAGE = plotting.PALETTE[1]
DRAWN = ("exact", "sequence_loss", "worst_log")  # columns of the scores' figure
_AXIS = {"sequence_loss": "sequence loss (nats)", "worst_log": "worst token, log-probability"}
_BINS = 20


def _edges(values: np.ndarray, name: str) -> np.ndarray:
    low, high = ends_of(name, values)
    return np.linspace(low, high if high > low else low + 1e-6, _BINS + 1)


def _mark_thirds(ax: Axes, values: np.ndarray, name: str) -> None:
    low, high = ends_of(name, values)
    for part in (1, 2):
        ax.axvline(low + part * (high - low) / 3, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))


def _score_histogram(ax: Axes, runs: pd.DataFrame, scale: str, length: int, name: str) -> None:
    """Stacked outlines of the runs of both rules: one path each, whatever the number of bins."""
    values, content = score(runs, scale, length, name), by_content(runs, scale, length)
    edges, below = _edges(values, name), np.zeros(_BINS)
    for chosen, (color, hatch) in zip((~content, content), RULES.values(), strict=True):
        here = np.histogram(values[chosen], edges)[0]
        counts = below + here
        # an empty bin drawn would only make the file larger
        ax.stairs(np.where(here, counts, np.nan), edges, baseline=np.where(here, below, np.nan), fill=True,
                  facecolor=color, hatch=hatch, edgecolor="white", linewidth=0)  # fmt: skip
        below = counts
    _mark_thirds(ax, values, name)
    ax.set_xlabel(_AXIS.get(name, SCORES[name]))
    ax.set_ylim(0, 1.05 * below.max())
    if name in ENDS:
        ax.set_xticks([0, 0.5, 1])
        ax.set_xlim(-0.04, 1.04)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4 if np.ptp(values) > 1 else 2))
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _title(length: int) -> str:
    return "drawn as in training" if length == AS_TRAINED else f"length {length}"


def _rule_legend(fig: Figure) -> None:
    handles = [Patch(facecolor=color, hatch=hatch, edgecolor="white", label=f"run follows {rule}")
               for rule, (color, hatch) in RULES.items()]  # fmt: skip
    fig.legend(handles=handles, loc="outside upper center", ncols=2)


def scores_figure(runs: pd.DataFrame, scale: str, lengths: Sequence[int]) -> Figure:
    """Histograms over runs of one scale: a row per length, a column per score of `DRAWN`."""
    fig, grid = plotting.subplots(len(lengths), len(DRAWN), width="page", height=0.4 + 1.6 * len(lengths),
                                  squeeze=False)  # fmt: skip
    for axes, length in zip(grid, lengths, strict=True):
        for ax, name in zip(axes, DRAWN, strict=True):
            _score_histogram(ax, runs, scale, length, name)
            ax.set_ylabel("")
        axes[0].set_ylabel("number of runs")
        axes[0].set_title(_title(length))
    _rule_legend(fig)
    return fig


def score_figure(runs: pd.DataFrame, scale: str, length: int, name: str) -> Figure:
    """One histogram over the runs of a scale."""
    fig, ax = plotting.subplots(width="column", height=2.4)
    _score_histogram(ax, runs, scale, length, name)
    ax.set_title(_title(length))
    _rule_legend(fig)
    return fig


def distances_figure(frame: pd.DataFrame) -> Figure:
    """One panel per score of `continuous_metric.step_rows`: distances with their intervals over the null band."""
    panels = list(frame.groupby(["measure", "sequences"], sort=False))
    fig, grid = plotting.subplots(1, len(panels), width="page", height=2.5, squeeze=False, sharey=True)
    for ax, ((measure, sequences), part) in zip(grid[0], panels, strict=True):
        place = np.arange(len(part))
        ax.bar(place, part["null"], width=0.7, color=SOFT, alpha=0.6, linewidth=0)
        middle, half = (part["high"] + part["low"]) / 2, (part["high"] - part["low"]) / 2
        # a basic bootstrap interval need not hold the value
        ax.errorbar(place, middle, half, fmt="none", ecolor=INK, capsize=3)
        ax.plot(place, part["distance"], "o", color=INK, markersize=5)
        ax.set_xticks(place, part["step"].str.replace(" ", "\n", n=1))
        ax.set_xlim(-0.6, len(part) - 0.4)
        ax.set_title(f"{measure}\n{sequences}")
    grid[0, 0].set_ylabel("W2 of adjacent scales")
    grid[0, 0].set_ylim(bottom=-0.02)
    handles = [Line2D([], [], marker="o", linestyle="none", color=INK, label="distance, 95 % interval"),
               Patch(facecolor=SOFT, alpha=0.6, label="95 % of permuted runs")]  # fmt: skip
    fig.legend(handles=handles, loc="outside lower center", ncols=2)
    return fig


def mirage_figure(
    trained: pd.DataFrame, matched: pd.DataFrame, main: str, length: int, concentration: float
) -> Figure:
    """Means along the axis (of the mirage those of its distributions), and the runs of the main scale by exact match
    and loss: trained beside simulated."""
    fig, (means, exact, loss) = plotting.subplots(1, 3, width="page", height=2.5)
    labels = scales_of(trained)
    modes = [matching_mode(per_run(trained, label, length).mean(), concentration, length + 1) for label in labels]
    lines = {
        "trained, exact match": ([per_run(trained, label, length).mean() for label in labels], INK, "o", ()),
        "mirage, exact match": ([mean_exact(mode, concentration, length + 1) for mode in modes], MIRAGE, "s", (4, 1.5)),
        "mirage, per token": ([mean_exact(mode, concentration, 1) for mode in modes], MIRAGE, "^", (1, 1)),
    }  # fmt: skip
    for label, (y, color, marker, dashes) in lines.items():
        means.plot(range(len(labels)), y, label=label, **plotting.Style(color, marker, dashes).line)
    means.set_xticks(range(len(labels)), labels)
    means.set_xlabel("scale")
    means.set_ylabel("mean over runs")
    means.set_ylim(-0.04, 1.04)
    pairs = {column: [per_run(trained, main, length, column), matched[column].to_numpy()]
             for column in ("exact", "sequence_loss")}  # fmt: skip
    _outlines(exact, pairs["exact"], np.linspace(0, 1, _BINS + 1))
    exact.set_xlabel("exact match")
    both = np.concatenate(pairs["sequence_loss"])
    _outlines(loss, pairs["sequence_loss"], np.geomspace(max(both.min(), 1e-6), max(both.max(), 1e-5), _BINS + 1))
    loss.set_xscale("log")
    loss.set_xlabel("sequence loss (nats)")
    fig.legend(*means.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig


def _outlines(ax: Axes, pair: Sequence[np.ndarray], edges: np.ndarray) -> None:
    """Trained runs filled, simulated ones as a dashed outline over the same bins."""
    trained, matched = (np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] for values in pair)
    ax.stairs(trained, edges, fill=True, color=INK, alpha=0.75)
    ax.stairs(matched, edges, color=MIRAGE, linewidth=1.6, linestyle=(0, (4, 1.5)))
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_ylabel("number of runs")


def power_figure(accuracy: np.ndarray, tokens: int) -> Figure:
    """Per-token accuracies over runs, the exact match of an answer of `tokens` tokens, and its sequence loss."""
    fig, axes = plotting.subplots(1, 3, width="page", height=2.1)
    scores = scores_of(accuracy, tokens)
    loss = scores["sequence_loss"].to_numpy()
    panels = {"per-token accuracy a": (accuracy, 1.0), f"exact match a^{tokens}": (scores["exact"].to_numpy(), 1.0),
              "sequence loss (nats)": (loss, float(np.quantile(loss, 0.995)))}  # fmt: skip
    for ax, (label, (values, end)) in zip(axes, panels.items(), strict=True):
        ax.hist(np.minimum(values, end), bins=np.linspace(0, end, 2 * _BINS + 1).tolist(), color=MIRAGE)
        ax.set_xlabel(label)
        ax.xaxis.set_major_locator(MaxNLocator(4))
    axes[0].set_ylabel("number of runs")
    return fig


def _strip(ax: Axes, rows: pd.DataFrame, labels: Sequence[str], threshold: float) -> None:
    """One mark per run above its scale, side by side in the order of the scores."""
    for place, label in enumerate(labels):
        values = np.sort(rows.loc[rows["scale"] == label, "score"].to_numpy())
        x = place + (np.linspace(-0.3, 0.3, len(values)) if len(values) > 1 else np.zeros(1))
        for chosen, color, marker in ((values <= threshold, FAILURE, "v"), (values > threshold, SUCCEEDS, "o")):
            ax.scatter(x[chosen], values[chosen], s=14, color=color, marker=marker, linewidths=0)
    ax.axhline(threshold, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))


def _parts(values: np.ndarray, threshold: float) -> dict[int, tuple[float, float, float]]:
    """Value and ends of the interval of P(success), panel 1, and of the mean of successes, panel 2 (if there are)."""
    good = values[values > threshold]
    made = share(len(good), len(values), unit=TRAINING_RUN, level=FIGURE_LEVEL)
    bands = {1: (made.value, made.low, made.high)}
    return bands | ({2: band_of(good)} if len(good) else {})


def parts_figure(rows: pd.DataFrame, gates: Mapping[str, bool], name: str, threshold: float = SUCCESS) -> Figure:
    """Runs by score, probability of success and mean of successes by scale; hollow where the gate fails."""
    fig, axes = plotting.subplots(1, 3, width="page", height=2.4, sharey=True)
    labels = scales_of(rows)
    _strip(axes[0], rows, labels, threshold)
    for place, label in enumerate(labels):
        values = rows.loc[rows["scale"] == label, "score"].to_numpy()
        for panel, (value, low, high) in _parts(values, threshold).items():
            axes[panel].errorbar(
                place, value, [[value - low], [high - value]], fmt="o", color=INK, capsize=3, markersize=6,
                markerfacecolor=INK if gates[label] else "white",
            )  # fmt: skip
    for ax, title in zip(axes, (name, f"P(score > {threshold:g})", "mean of successes"), strict=True):
        ax.set_title(title)
        ax.set_xticks(range(len(labels)), [label.replace(" ", "\n") for label in labels])
        ax.set_xlim(-0.6, len(labels) - 0.4)
        ax.set_ylim(-0.04, 1.04)
    return fig


def language_figure(rows: pd.DataFrame, chance: float) -> Figure:
    """Histograms over language models, a column per share: accuracy above the loss on web text."""
    labels = scales_of(rows)
    fig, grid = plotting.subplots(2, len(labels), width="page", height=3.4, squeeze=False, sharex="row")
    for column, label in enumerate(labels):
        part = rows[rows["scale"] == label]
        for ax, name, color in zip(grid[:, column], ("score", "loss"), (CONTENT, SOFT), strict=True):
            every = rows[name].to_numpy()
            ax.hist(part[name], bins=np.linspace(every.min(), max(every.max(), every.min() + 1e-3), 25), color=color)
            ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        grid[0, column].axvline(chance, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
        grid[0, column].set_title(f"{label} of questions")
        grid[0, column].set_xlabel("accuracy on MMLU")
        grid[1, column].set_xlabel("loss on web text (nats per token)")
    for ax in grid[:, 0]:
        ax.set_ylabel("number of runs")
    return fig
