"""Drawings of notebook 03: digits with holes and their completions, and scores by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Circle

from twelvefold.core import plotting
from twelvefold.core.plotting import Style
from twelvefold.papers.ddeq.plots.looks import INK, SOFT, STYLES, dots
from twelvefold.tasks.cloud_completion import RADIUS

_GREEN, _ORANGE, _PURPLE, _SKY = (plotting.PALETTE[i] for i in (2, 3, 4, 8))
LOOKS: dict[str, Style] = {
    "DDEQ": STYLES["DDEQ"], "one application": STYLES["one application"],
    "DDEQ, Z* itself": Style(_SKY, "h", ()), "PCN": Style(_GREEN, "^", (6, 1.5, 1, 1.5)),
    "copy": Style(INK, "X", ()), "copy, as many points": Style("#595959", "P", ()),
    "Gaussian start": Style(_PURPLE, "v", (1, 1)), "true points as fill": Style(SOFT, "*", ()),
}  # fmt: skip
TITLES = {
    "energy": "energy distance", "chamfer": "Chamfer distance", "coverage": "deleted point\nto nearest predicted",
    "precision": "added point\nto nearest true",
}  # fmt: skip
_REACH = 2.55  # standard deviations shown on each side


def _scatter(ax: Axes, rows: pd.DataFrame, color: str, marker: str = "o", size: float = 5.0) -> None:
    ax.scatter(rows["x"], rows["y"], s=size, c=color, marker=marker, linewidths=0.7 if marker == "x" else 0,
               rasterized=True, clip_on=False)  # fmt: skip


def _empty(ax: Axes) -> None:
    ax.set(xlim=(-_REACH, _REACH), ylim=(-_REACH, _REACH), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _holes(ax: Axes, centres: np.ndarray, radius: float = RADIUS) -> None:
    for x, y in centres:
        ax.add_patch(Circle((x, y), radius, facecolor="#dddddd", edgecolor="none", zorder=0))


def digits_figure(points: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """A column per digit; rows: whole digit, what is seen, then what each method placed, over the holes.

    Args:
        points: rows with cloud, part, arm, x, y.
        methods: arms whose added points are drawn, in the order of the rows; of "PCN" they are the whole cloud.
    """
    clouds = sorted(points["cloud"].unique())
    titles = ["whole digit", "observed", *methods]
    fig, axes = plotting.subplots(len(titles), len(clouds), width="page", height=0.84 * len(titles), squeeze=False)
    engine = fig.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)  # of the project's style
    engine.set(w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
    for column, cloud in enumerate(clouds):
        own = points[points["cloud"] == cloud]
        parts = {part: own[own["part"] == part] for part in ("kept", "deleted", "centre", "observed", "added")}
        for ax in axes[:, column]:
            _empty(ax)
            _holes(ax, parts["centre"][["x", "y"]].to_numpy())
        _scatter(axes[0, column], parts["kept"], INK, size=3)
        _scatter(axes[0, column], parts["deleted"], _ORANGE, "x", size=5)
        for row, method in enumerate(methods, start=2):
            if method != "PCN":
                _scatter(axes[row, column], parts["observed"], INK)
            _scatter(axes[row, column], parts["added"][parts["added"]["arm"] == method], LOOKS[method].color, size=8)
        _scatter(axes[1, column], parts["observed"], INK)
    for row, title in enumerate(titles):
        axes[row, 0].set_ylabel(title.replace(" ", "\n"), rotation=0, ha="right", va="center", fontsize=8)
    return fig


def scores_figure(values: Mapping[str, Mapping[str, np.ndarray]], arms: Sequence[str]) -> Figure:
    """A panel per score, a row per arm; an arm without a score has an empty row.

    Args:
        values: by score and arm, one number per run `[R]`.
        arms: the rows.
    """
    fig, axes = plotting.subplots(1, len(values), width="page", height=2.9)
    for ax, (name, by_arm) in zip(np.atleast_1d(axes), values.items(), strict=True):
        none = np.array([np.nan])
        dots(ax, {arm: by_arm.get(arm, none) for arm in arms}, LOOKS)
        ax.set_xlabel(TITLES[name])
        if ax is not np.atleast_1d(axes)[0]:
            ax.set_yticklabels([])
    return fig


def filled_figure(
    kept: np.ndarray, deleted: np.ndarray, observed: np.ndarray, stages: Mapping[str, np.ndarray],
    centre: tuple[float, float], radius: float,
) -> Figure:  # fmt: skip
    """One digit with a hole, and the free points at every stage.

    Args:
        kept, deleted: points of the whole digit `[n, 2]` outside and inside the hole.
        observed: what the network sees `[n, 2]`.
        stages: by title, the free points `[n, 2]`.
        centre, radius: of the hole.
    """
    fig, axes = plotting.subplots(1, 1 + len(stages), width="page", height=2.1)
    axes[0].scatter(*kept.T, s=6, c=INK, linewidths=0)
    axes[0].scatter(*deleted.T, s=10, c=_ORANGE, marker="x", linewidths=0.8)
    axes[0].set_title("whole digit")
    for ax, (title, free) in zip(axes[1:], stages.items(), strict=True):
        ax.scatter(*observed.T, s=8, c=INK, linewidths=0)
        ax.scatter(*free.T, s=16, c=LOOKS["DDEQ"].color, linewidths=0)
        ax.set_title(title)
    for ax in axes:
        _empty(ax)
        _holes(ax, np.array([centre]), radius)
    return fig
