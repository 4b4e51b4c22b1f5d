"""All drawings of this paper; a method has the same colour, marker and dashes in every figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from twelvefold.core import plotting
from twelvefold.core.plotting import Style
from twelvefold.core.reporting import band_of, rows_of
from twelvefold.papers.weight_ensembles.reporting import per_replicate

_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _BROWN, _PINK, _YELLOW, _SKY = plotting.PALETTE
INK, SOFT = "#222222", "#9a9a9a"

# forced and accepting forms of one rule share its colour
STYLES: dict[str, Style] = {
    "greedy": Style(_BLUE, "o", ()),
    "greedier": Style(_ORANGE, "s", ()),
    "greedier, replacement": Style(_BROWN, "P", (4, 1.5)),
    "farthest d_D": Style(_GREEN, "^", (6, 1.5, 1, 1.5)),
    "farthest d_E": Style(_PURPLE, "v", (3, 1, 1, 1)),
    "nearest d_D": Style(_RED, "D", (1, 1)),
    "top-k": Style(_SKY, "X", (4, 1.5)),
    "random": Style(SOFT, "*", (2, 2)),
    "best single": Style(INK, "h", ()),
    "uniform": Style("#8a6d00", "<", (8, 2)),
    "prediction ensemble": Style("#5b3fa0", ">", (2, 2)),
}
_ALIASES = {
    "greedy (strict)": "greedy", "greedier (strict)": "greedier", "ranked R1 d_D": "farthest d_D",
    "ranked R1 d_E": "farthest d_E", "ranked R3 d_D": "farthest d_D", "ranked R3 d_E": "farthest d_E",
    "mean individual": "best single", "initial": "best single",
}  # fmt: skip
DISTANCE_LABELS = {"d_D": "functional distance $d_D$", "d_E": "weight distance $d_E$"}


def style_of(method: str) -> Style:
    """The style of a method, in any of its forms; KeyError for an unknown one."""
    name = method.removeprefix("forced ")
    return STYLES[_ALIASES.get(name, name)]


def label_of(name: str) -> str:
    """A method's name with its distance set as mathematics."""
    return name.replace("d_D", "$d_D$").replace("d_E", "$d_E$")


METHODS = (
    "mean individual", "best single", "uniform", "prediction ensemble", "forced random", "forced nearest d_D",
    "forced farthest d_D", "forced top-k", "ranked R3 d_E", "ranked R3 d_D", "ranked R1 d_E", "ranked R1 d_D",
    "greedy", "greedier", "greedier, replacement",
)  # fmt: skip


def _dots(ax: Axes, methods: Sequence[str], vectors: Mapping[str, np.ndarray]) -> None:
    for row, method in enumerate(methods):
        centre, low, high = band_of(vectors[method])
        style = style_of(method)
        ax.plot([low, high], [row, row], color=style.color, linewidth=1.6)
        ax.plot(centre, row, marker=style.marker, color=style.color, markersize=5, linestyle="none")
    ax.set_ylim(-0.7, len(methods) - 0.3)
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)


def methods_figure(runs: pd.DataFrame) -> Figure:
    """Dots with intervals: ID accuracy, OOD accuracy, and paired differences from greedy (ID filled, OOD open)."""
    fig, axes = plotting.subplots(1, 3, width="page", height=3.5, sharey=True)
    vectors = {column: {m: per_replicate(runs, column, method=m) for m in METHODS} for column in ("id", "ood")}
    for ax, column, title in zip(axes[:2], ("id", "ood"), ("in distribution", "out of distribution"), strict=True):
        _dots(ax, METHODS, vectors[column])
        ax.set_title(title)
        ax.set_xlabel("test accuracy")
    ax = axes[2]
    for shift, column, face in ((0.17, "id", None), (-0.17, "ood", "white")):
        for row, method in enumerate(METHODS):
            if method == "greedy":
                continue
            centre, low, high = band_of(vectors[column][method] - vectors[column]["greedy"])
            style = style_of(method)
            ax.plot([low, high], [row + shift] * 2, color=style.color, linewidth=1.2)
            ax.plot(
                centre,
                row + shift,
                marker=style.marker,
                color=style.color,
                markersize=4,
                markerfacecolor=face or style.color,
            )
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    ax.set_title("difference from greedy")
    ax.set_xlabel("filled ID, open OOD")
    axes[0].set_yticks(range(len(METHODS)), [label_of(method) for method in METHODS])
    return fig


def regimes_figure(runs: pd.DataFrame) -> Figure:
    """OOD accuracy of four methods in every regime."""
    methods = ("best single", "uniform", "prediction ensemble", "greedy")
    regimes = list(dict.fromkeys(runs["regime"]))
    fig, ax = plotting.subplots(width="column", height=2.3)
    for column, regime in enumerate(regimes):
        for place, method in enumerate(methods):
            style, x = style_of(method), column + 0.14 * (place - 1.5)
            centre, low, high = band_of(per_replicate(runs, "ood", regime=regime, method=method))
            ax.plot([x, x], [low, high], color=style.color, linewidth=1.6)
            ax.plot(
                x,
                centre,
                marker=style.marker,
                color=style.color,
                linestyle="none",
                label=method if not column else None,
            )
    ax.set_xticks(range(len(regimes)), regimes)
    ax.set_xlim(-0.5, len(regimes) - 0.5)
    ax.set_ylabel("OOD test accuracy")
    fig.legend(loc="outside lower center", ncols=2, handletextpad=0.2)
    return fig


_BANDED = ("greedier", "farthest d_D")
FORCED_ORDER = ("greedier", "greedier, replacement", "top-k", "farthest d_E", "farthest d_D", "nearest d_D", "random")


def _curve(runs: pd.DataFrame, column: str, method: str, reference: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Sizes `[K]` and per size (mean, low, high) `[K, 3]`, of accuracies or of paired differences from a reference."""
    sizes = np.array(sorted(runs["members"].unique()))
    values = []
    for size in sizes:
        heights = per_replicate(runs, column, method=method, members=size)
        if reference is not None:
            heights = per_replicate(runs, column, method=reference, members=size) - heights
        values.append(band_of(heights))
    return sizes, np.array(values)


def dynamics_figure(runs: pd.DataFrame) -> Figure:
    """Accuracy against number of ingredients, ID and OOD, one line per rule."""
    fig, axes = plotting.subplots(1, 2, width="page", height=2.9)
    for ax, column, title in zip(axes, ("id", "ood"), ("in distribution", "out of distribution"), strict=True):
        for method in FORCED_ORDER:
            style = style_of(method)
            sizes, values = _curve(runs, column, method)
            if method in _BANDED:
                ax.fill_between(sizes, values[:, 1], values[:, 2], color=style.color, alpha=0.16, linewidth=0)
            ax.plot(sizes, values[:, 0], **style.line, markersize=4, label=label_of(method))
        ax.set_title(title)
        ax.set_xlabel("number of ingredients")
        ax.set_xticks(sizes)
    axes[0].set_ylabel("test accuracy of the average")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def differences_figure(runs: pd.DataFrame) -> Figure:
    """Greedier minus three other rules, ID, with bands."""
    fig, ax = plotting.subplots(width="column", height=2.5)
    lines = []
    for method in ("farthest d_D", "random", "top-k"):
        style = style_of(method)
        sizes, values = _curve(runs, "id", method, reference="greedier")
        lines.append(
            plotting.band(ax, sizes, values[:, 0], values[:, 1], values[:, 2], style, label=f"$-$ {label_of(method)}")
        )
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set_xticks(sizes)
    ax.set_xlabel("number of ingredients")
    ax.set_ylabel("ID accuracy: greedier minus rule")
    plotting.direct_label(ax, lines)
    return fig


def _binned(x: np.ndarray, y: np.ndarray, bins: int = 10) -> tuple[np.ndarray, np.ndarray]:
    groups = np.array_split(np.argsort(x, kind="stable"), bins)
    return np.array([x[group].mean() for group in groups]), np.array([y[group].mean() for group in groups])


def pairs_figure(runs: pd.DataFrame, correlations: Mapping[str, np.ndarray]) -> Figure:
    """Clouds of pairs with binned means, and the rank correlation of every training run."""
    fig, axes = plotting.subplots(1, 3, width="page", height=2.6, width_ratios=(1, 1, 0.9))
    pairs = rows_of(runs, kind="pair")
    for ax, kind in zip(axes[:2], ("d_D", "d_E"), strict=True):
        x, y = pairs[kind].to_numpy(), pairs["id_gain"].to_numpy()
        ax.scatter(x, y, s=5, color=STYLES["farthest d_D" if kind == "d_D" else "farthest d_E"].color, alpha=0.4,
                   linewidth=0, rasterized=True)  # fmt: skip
        ax.plot(*_binned(x, y), color=INK, marker="o", markersize=3, linewidth=1)
        ax.axhline(0, color=SOFT, linewidth=0.8)
        ax.set_xlabel(DISTANCE_LABELS[kind])
    axes[1].sharey(axes[0])
    axes[0].set_ylabel("ID gain of averaging the pair")
    ax = axes[2]
    for row, (name, values) in enumerate(correlations.items()):
        distance = name.split()[0]
        style = STYLES["farthest d_D" if distance == "d_D" else "farthest d_E"]
        centre, low, high = band_of(values)
        ax.plot(values, row + np.linspace(-0.16, 0.16, len(values)), ".", color=style.color, alpha=0.5, markersize=4)
        ax.plot([low, high], [row - 0.3] * 2, color=INK, linewidth=1.4)
        ax.plot(centre, row - 0.3, "o", color=INK, markersize=4)
    names = [f"${distance}$, {gain.split('_')[0].upper()}" for distance, gain in map(str.split, correlations)]
    ax.set_yticks(range(len(correlations)), names)
    ax.set_ylim(len(correlations) - 0.4, -0.6)
    ax.axvline(0, color=SOFT, linewidth=0.8)
    ax.set_xlabel("Spearman correlation")
    return fig


def sets_figure(runs: pd.DataFrame) -> Figure:
    """Mean pairwise distance of forced sets against ID accuracy of their average; one cross per rule."""
    sets = rows_of(runs, kind="set")
    fig, axes = plotting.subplots(1, 2, width="page", height=2.7, sharey=True)
    for ax, kind in zip(axes, ("d_D", "d_E"), strict=True):
        for rule in sets["rule"].unique():
            x, y = (band_of(per_replicate(sets, column, rule=rule)) for column in (kind, "id"))
            style = style_of(rule)
            ax.plot(x[1:], [y[0]] * 2, color=style.color, linewidth=1.2)
            ax.plot([x[0]] * 2, y[1:], color=style.color, linewidth=1.2)
            ax.plot(
                x[0], y[0], marker=style.marker, color=style.color, linestyle="none", markersize=5, label=label_of(rule)
            )
        ax.set_xlabel(f"mean pairwise {DISTANCE_LABELS[kind]}")
    axes[0].set_ylabel("ID accuracy of the average")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside right center")
    return fig


MAP_PATHS = ("greedy", "greedier", "ranked R1 d_D", "ranked R1 d_E")


def maps_figure(runs: pd.DataFrame) -> Figure:
    """The weight map and the functional map of one population with the ways of four selections."""
    points = rows_of(runs, kind="point")
    fig, axes = plotting.subplots(1, 2, width="page", height=3.5)
    for ax, kind in zip(axes, ("d_E", "d_D"), strict=True):
        place = points[[f"{kind}_x", f"{kind}_y"]].to_numpy(dtype=float)
        name, value = points["name"].to_numpy(), points["value"].to_numpy(dtype=float)
        members = name == "ingredient"
        cloud = ax.scatter(*place[members].T, c=value[members], s=26, edgecolor="white", linewidth=0.5, zorder=2)
        start = place[members][value[members].argmax()]
        for width, path in zip((4.5, 2.2, 1.4, 1.0), MAP_PATHS, strict=True):  # paths may coincide: wider ones below
            way = np.vstack([start, place[name == path]])
            ax.plot(*way.T, **style_of(path).line, markersize=3.5 + 1.2 * width, linewidth=width,
                    label=label_of(path), zorder=3)  # fmt: skip
        first = place[name == "initial"][0]
        ax.plot(*first, marker="*", color=INK, markersize=9, linestyle="none", label="initial weights", zorder=3)
        ax.set_title(DISTANCE_LABELS[kind])
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    fig.colorbar(cloud, ax=axes, label="validation accuracy of ingredients", shrink=0.85)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=5, columnspacing=1.2)
    return fig


def shepard_figure(runs: pd.DataFrame) -> Figure:
    """Embedded against true distance for pairs of points of the two maps."""
    points, pairs = rows_of(runs, kind="point"), rows_of(runs, kind="pair")
    fig, axes = plotting.subplots(1, 2, width="page", height=2.6)
    first, second = pairs["first"].to_numpy(dtype=int), pairs["second"].to_numpy(dtype=int)
    for ax, kind in zip(axes, ("d_E", "d_D"), strict=True):
        place = points[[f"{kind}_x", f"{kind}_y"]].to_numpy(dtype=float)
        shown, true = np.linalg.norm(place[first] - place[second], axis=1), pairs[kind].to_numpy(dtype=float)
        shown = shown * (true @ shown) / (shown @ shown)  # the functional map was scaled onto the other one
        color = STYLES["farthest d_D" if kind == "d_D" else "farthest d_E"].color
        ax.scatter(true, shown, s=4, color=color, alpha=0.35, linewidth=0, rasterized=True)
        top = float(max(true.max(), shown.max()))
        ax.plot([0, top], [0, top], color=INK, linewidth=0.8)
        ax.set_xlabel(f"true {DISTANCE_LABELS[kind]}")
        ax.set_ylabel("distance on the map")
    return fig


_ARMS = {"shared": Style(_BLUE, "o", ()), "different": Style(_RED, "D", (4, 1.5))}


def segments_figure(runs: pd.DataFrame) -> Figure:
    """Accuracy along the segments of both arms, ID and OOD, with bands over training runs."""
    fig, axes = plotting.subplots(1, 2, width="page", height=2.7)
    alphas = np.array(sorted(runs["alpha"].unique()))
    for ax, column, title in zip(axes, ("id", "ood"), ("in distribution", "out of distribution"), strict=True):
        for arm, style in _ARMS.items():
            part = rows_of(runs, initialisation=arm)
            few = part[part["replicate"] == part["replicate"].min()].pivot_table(
                index="pair", columns="alpha", values=column
            )
            ax.plot(alphas, few.to_numpy().T, color=style.color, alpha=0.45, linewidth=0.5)
            values = np.array([band_of(per_replicate(part, column, alpha=alpha)) for alpha in alphas])
            line = plotting.band(ax, alphas, values[:, 0], values[:, 1], values[:, 2], style)
            middle = len(alphas) // 2
            ax.annotate(f"{arm} initialisation", (alphas[middle], values[middle, 0]), ha="center", fontsize=8,
                        xytext=(0, 10 if arm == "shared" else -14), textcoords="offset points",
                        color=line.get_color(), zorder=5,
                        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8})  # fmt: skip
        ax.set_title(title)
        ax.set_xlabel(r"$\alpha$ (0: first ingredient, 1: second)")
        ax.margins(y=0.12)
    axes[0].set_ylabel("test accuracy")
    return fig


def pair_figure(first: int, second: int, distance: float, accuracies: Mapping[str, Tensor]) -> Figure:
    """Accuracies `{column: [3]}` of two ingredients (their numbers are given) and of their average."""
    fig, ax = plotting.subplots(height=2.4)
    places = np.arange(3)
    for shift, (column, values) in zip((-0.18, 0.18), accuracies.items(), strict=True):
        ax.bar(places + shift, values, width=0.34, label=column)
    ax.set_xticks(places, [f"ingredient {first}", f"ingredient {second}", "average"])
    ax.set_title(f"$d_D$ = {distance:.2f}")
    ax.set_ylabel("test accuracy")
    ax.legend(ncols=2, loc="lower center", framealpha=1.0, frameon=True)
    return fig


def settling_figure(places: Tensor, individual: Tensor, stress: float) -> Figure:
    """A map `places [n, 2]`: the ingredients, coloured by their accuracy `individual [N]`, then averages if n > N."""
    fig, ax = plotting.subplots(height=3.0)
    members = len(individual)
    dots = ax.scatter(*places[:members].T, c=individual, s=24)
    if len(places) > members:
        ax.plot(*places[members:].T, marker="s", color=STYLES["greedier"].color, label="averages of greedier")
        ax.legend(loc="lower left")
    ax.set_title(f"stress-1 = {stress:.3f}")
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xticks([])
    ax.set_yticks([])
    fig.colorbar(dots, label="validation accuracy")
    return fig
