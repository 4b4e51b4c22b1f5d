"""Drawings of the inner solvers: one colour, marker and dash per solver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from torch import Tensor

from twelvefold.core import display, plotting
from twelvefold.core.reporting import band_of
from twelvefold.papers.ddeq.inner_solves import SOLVERS
from twelvefold.papers.ddeq.plots.looks import INK, SOFT

STYLES = plotting.styles(SOLVERS)


def show_drawing(fig: Figure, alt: str) -> None:
    """Show a drawing that is not a result, so that it enters no folder, and close it."""
    display.show_png(plotting.png_bytes(fig, dpi=100), alt)
    plt.close(fig)


def residual_figure(
    panels: Mapping[str, Mapping[str, Sequence[np.ndarray]]], axis: Sequence[int], rounding: float
) -> Figure:
    """Mean residual with its band against evaluations of F, one panel per kind of network.

    Args:
        panels: per kind and solver the log residuals of the runs at every place of the axis.
        axis: numbers of evaluations, from 0.
        rounding: smallest residual that is told from 0.
    """
    fig, axes = plotting.subplots(1, len(panels), width="page", height=3.4, sharey=True)
    for ax, (kind, curves) in zip(axes, panels.items(), strict=True):
        ax.set_yscale("log")
        ax.set_xscale("symlog", linthresh=3, linscale=0.5)
        for solver, logs in curves.items():
            centre, low, high = np.exp(np.array([band_of(values) for values in logs])).T
            style = STYLES[solver]
            ax.fill_between(axis, low, high, color=style.color, alpha=0.18, linewidth=0)
            ax.plot(axis, centre, **style.line, markersize=3.5, label=solver)
        ax.axhline(rounding, color=INK, linewidth=0.8, linestyle=(0, (1, 1.5)))
        ax.set_title(f"{kind} networks")
        ax.set_xlabel("evaluations of F")
        shown = axis if len(axis) < 9 else axis[::2]
        ax.set_xticks(shown, [str(at) for at in shown])
        ax.xaxis.set_minor_locator(NullLocator())
    axes[0].annotate("float32 rounding", (0, rounding), (2, 3), textcoords="offset points", fontsize=8, color=INK)
    axes[0].set_ylim(bottom=rounding / 4)
    axes[0].set_ylabel("residual $\\mathrm{MMD}^2(Z, F(Z))$")
    handles = {label: line for ax in axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    fig.legend([handles[name] for name in SOLVERS if name in handles], [name for name in SOLVERS if name in handles],
               loc="outside lower center", ncols=4, handlelength=3)  # fmt: skip
    return fig


def permutation_figure(
    ends: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]], rounding: float
) -> Figure:
    """How much a permutation of the images explains, and the spread of the particles, one row per solver.

    Args:
        ends: per kind of network ("trained" is drawn filled) and solver: quotient and spread of the runs.
        rounding: smallest distance that is told from 0.
    """
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=3.0, sharey=True)
    for kind, solvers in ends.items():
        for solver, (quotient, spread) in solvers.items():
            style, row = STYLES[solver], SOLVERS.index(solver) + (-0.17 if kind == "trained" else 0.17)
            face = style.color if kind == "trained" else "white"
            for ax, values in ((left, quotient), (right, spread)):
                ax.plot(values, np.full(len(values), row), marker=style.marker, color=style.color, linestyle="none",
                        markersize=4.5, markerfacecolor=face)  # fmt: skip
    left.set_xlim(0, 1.05)
    left.set_xlabel("distance to the images: matched / by rows")
    left.set_yticks(range(len(SOLVERS)), SOLVERS)
    left.set_ylim(len(SOLVERS) - 0.5, -0.5)
    right.set_xscale("log")
    right.axvline(rounding, color=INK, linewidth=0.8, linestyle=(0, (1, 1.5)))
    right.set_xlabel("mean distance between two particles")
    for ax in (left, right):
        ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    return fig


def falling_figure(shares: Mapping[str, Mapping[str, np.ndarray]], asked: float) -> Figure:
    """Share of falling steps per flow, a line at the share that a claim asks for.

    Args:
        shares: per kind of network ("trained" is drawn filled) and flow the shares of the runs.
        asked: where the dashed line stands.
    """
    flows = [solver for solver in SOLVERS if any(solver in own for own in shares.values())]
    fig, ax = plotting.subplots(width="column", height=2.5)
    for kind, own in shares.items():
        for solver, values in own.items():
            style, row = STYLES[solver], flows.index(solver) + (-0.17 if kind == "trained" else 0.17)
            centre, low, high = band_of(values)
            face = style.color if kind == "trained" else "white"
            ax.plot(values, np.full(len(values), row), ".", color=style.color, alpha=0.5, markersize=4)
            ax.plot([low, high], [row, row], color=style.color, linewidth=1.4)
            ax.plot(centre, row, marker=style.marker, color=style.color, markerfacecolor=face, markersize=5)
    ax.axvline(asked, color=SOFT, linewidth=0.9, linestyle=(0, (4, 2)))
    ax.set_yticks(range(len(flows)), flows)
    ax.set_ylim(len(flows) - 0.5, -0.5)
    ax.set_xlabel("share of falling steps")
    return fig


def turning_figure(paths: Mapping[str, Tensor], images: Mapping[str, Tensor]) -> Figure:
    """Ways `[S, N, 2]` of particles in the plane, and the images `[N, 2]` of where they end, one panel per solver."""
    fig, axes = plotting.subplots(1, len(paths), width="page", height=2.9, sharex=True, sharey=True)
    for ax, (solver, path) in zip(axes, paths.items(), strict=True):
        for number, (way, image) in enumerate(zip(path.transpose(0, 1).numpy(), images[solver].numpy(), strict=True)):
            color, marker = plotting.PALETTE[number], plotting.MARKERS[number]
            ax.plot(*way.T, color=color, linewidth=0.9, alpha=0.8)
            ax.plot(*way[0], marker=marker, color=color, markerfacecolor="white", markersize=6, zorder=3)
            ax.plot(*way[-1], marker=marker, color=color, markersize=6, zorder=4)
            ax.plot(*image, marker=marker, color=color, markerfacecolor="none", markersize=11, zorder=5)
        ax.set_title(solver)
        ax.set_aspect("equal")
        ax.set_xlim(-1.35, 1.35)
        ax.set_ylim(-1.35, 1.35)
        ax.set_xlabel("first coordinate")
    axes[0].set_ylabel("second coordinate")
    marks = [("start", 6, "white"), ("end", 6, INK), ("image of the end", 11, "none")]
    handles = [
        Line2D([], [], color=INK, marker="o", linestyle="none", markersize=size, markerfacecolor=face, label=name)
        for name, size, face in marks
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    return fig


def plane_figure(first: Tensor, particles: Tensor, images: Tensor, residuals: Tensor, rounding: float) -> Figure:
    """Particles and their images in the plane of the first ones' principal components, and the residual so far.

    Args:
        first: start particles and their images, `[K, d]`: they fix the plane.
        particles, images: Z_t and F(Z_t), `[N, d]`.
        residuals: at steps 0 to t, `[t + 1]`.
        rounding: smallest residual that is drawn.
    """
    fig, (left, right) = plotting.subplots(1, 2, width="page", height=3.0)
    centre = first.mean(0)
    axes = torch.linalg.svd(first - centre, full_matrices=False).Vh[:2]  # [2, d]
    frame, moved, mapped = (((rows - centre) @ axes.T).numpy() for rows in (first, particles, images))
    for a, b in zip(moved, mapped, strict=True):
        left.plot(*np.stack([a, b]).T, color=SOFT, linewidth=0.9)
    left.plot(*moved.T, "o", color=plotting.PALETTE[0], markersize=6, label="particles $Z_t$")
    left.plot(*mapped.T, "s", color=plotting.PALETTE[1], markersize=5, markerfacecolor="none", label="images $F(Z_t)$")
    _limits(left, np.concatenate([frame, moved, mapped]))
    left.set_xlabel("first principal component")
    left.set_ylabel("second principal component")
    left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, handletextpad=0.2, borderaxespad=0.1)
    right.plot(np.maximum(residuals.numpy(), rounding), color=INK, marker=".")
    right.axhline(rounding, color=INK, linewidth=0.8, linestyle=(0, (1, 1.5)))
    right.set_yscale("log")
    right.set_xlabel("inner step")
    right.set_ylabel("residual $\\mathrm{MMD}^2(Z, F(Z))$")
    return fig


def _limits(ax: Axes, points: np.ndarray) -> None:
    low, high = points.min(0), points.max(0)
    room = 0.08 * (high - low).max()
    ax.set_xlim(low[0] - room, high[0] + room)
    ax.set_ylim(low[1] - room, high[1] + room)
