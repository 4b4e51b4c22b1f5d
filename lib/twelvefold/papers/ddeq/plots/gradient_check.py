"""Drawings of the gradient check: one colour, marker and dash per kind of gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from twelvefold.core import plotting
from twelvefold.core.reporting import band_of

INK, SOFT = "#222222", "#b5b5b5"
NAMES = {
    "cosine_1": "k = 1 (the paper's)", "cosine_2": "k = 2", "cosine_5": "k = 5", "cosine_10": "k = 10",
    "cosine_implicit": "implicit",
}  # fmt: skip
STYLES = plotting.styles(list(NAMES))
_FAMILIES = plotting.styles(["as drawn", "doubled", "repelling"])


def cosines_figure(
    panels: Mapping[str, Mapping[str, Sequence[ArrayLike]]], stages: Sequence[int | None]
) -> Figure:
    """Mean cosines with their intervals, one panel per family and one line per estimator.

    Args:
        panels: per family and estimator the cosines of the replicates at every stage.
        stages: numbers of flow steps, then None for the equilibrium.
    """
    fig, axes = plotting.subplots(1, len(panels), width="page", height=3.0, sharey=True, squeeze=False)
    for ax, (family, curves) in zip(axes[0], panels.items(), strict=True):
        for place, (name, values) in enumerate(curves.items()):
            _curve(ax, name, np.array([band_of(value) for value in values]), 0.13 * (place - (len(curves) - 1) / 2))
        last = len(stages) - 1
        ax.set_xticks([*range(last), last + 0.4], [*(str(steps) for steps in stages[:-1]), "equi-\nlibrium"])
        ax.axhline(0, color=INK, linewidth=0.8)
        ax.set_title(f"networks {family}" if family == "as drawn" else f"{family} networks")
        ax.set_xlabel("flow steps T")
    axes[0, 0].set_ylabel("cosine with the implicit gradient\nat the equilibrium")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(NAMES), handlelength=2.4, columnspacing=1.4)
    return fig


def _curve(ax: Axes, name: str, values: np.ndarray, shift: float) -> None:
    """Mean, low, high `[S, 3]`: a banded line over flow steps, and a mark apart for the equilibrium."""
    style, x = STYLES[name], np.arange(len(values) - 1)
    ax.fill_between(x, values[:-1, 1], values[:-1, 2], color=style.color, alpha=0.13, linewidth=0)
    ax.plot(x, values[:-1, 0], label=NAMES[name], **style.line)
    end = len(values) - 0.6 + shift
    ax.plot([end, end], values[-1, 1:], color=style.color, linewidth=1.2)
    ax.plot(end, values[-1, 0], color=style.color, marker=style.marker)


def radius_figure(found: Mapping[str, pd.DataFrame], names: Sequence[str]) -> Figure:
    """Cosines of the estimators `names` against the spectral radius, one panel each, one mark per replicate."""
    fig, axes = plotting.subplots(1, len(names), width="page", height=2.7, sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        for family, rows in found.items():
            style = _FAMILIES[family]
            ax.plot(rows["radius"], rows[name], marker=style.marker, color=style.color, linestyle="none", alpha=0.75,
                    markeredgewidth=0, label=family)  # fmt: skip
        ax.axhline(0, color=INK, linewidth=0.8)
        ax.axvline(1, color=SOFT, linewidth=0.8)
        ax.set_title(NAMES[name])
        ax.set_xlabel("spectral radius of the Jacobian")
    axes[0, 0].set_ylabel("cosine with the implicit gradient")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(found), handletextpad=0.2)
    return fig


def flow_figure(flows: pd.DataFrame) -> Figure:
    """Residual of every replicate against the step on a logarithmic axis, one panel per schedule (column family)."""
    schedules = list(dict.fromkeys(flows["family"]))
    fig, axes = plotting.subplots(1, len(schedules), width="page", height=2.6, sharey=True, squeeze=False)
    for ax, schedule, color in zip(axes[0], schedules, plotting.PALETTE, strict=False):
        curves = flows[flows["family"] == schedule].pivot(index="steps", columns="replicate", values="mmd2")
        curves = curves.clip(lower=1e-12)  # a residual of 0 has no place on a logarithmic axis
        ax.plot(curves.index, curves, color=color, linewidth=0.6, alpha=0.35)
        ax.plot(curves.index, curves.median(axis=1), color=color, linewidth=2.2)
        ax.set_yscale("log")
        ax.set_title(f"{schedule} step")
        ax.set_xlabel("flow step t")
    axes[0, 0].set_ylabel(r"MMD$^2(Z_t, F(Z_t))$")
    return fig


def slopes_figure(made: ArrayLike, exact: ArrayLike, applications: int, title: str) -> Figure:
    """Bars: slopes of the k-step and of the implicit gradient along the same random directions."""
    first, second = np.asarray(made), np.asarray(exact)
    fig, ax = plotting.subplots(width="column", height=2.4)
    x = np.arange(len(first))
    ax.bar(x - 0.2, first, 0.4, color=STYLES["cosine_1"].color, label=f"{applications} applications")
    ax.bar(x + 0.2, second, 0.4, color=STYLES["cosine_implicit"].color, hatch="////", edgecolor="white", linewidth=0.3,
           label="implicit")  # fmt: skip
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set_xticks(x, [str(number + 1) for number in x])
    ax.set_xlabel("random direction in weight space")
    ax.set_ylabel("slope of the loss")
    ax.set_title(title)
    fig.legend(loc="outside lower center", ncols=2)
    return fig
