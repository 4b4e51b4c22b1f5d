"""One look for all figures: style, widths, colours with markers and dashes, and files that are the same every time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from .folder import write_bytes

WIDTHS = {"column": 3.4, "page": 7.0}  # inches
# the colour-blind palette of seaborn without its grey, which is the paper's own colour here
PALETTE: tuple[str, ...] = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#ece133", "#56b4e9",
)
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
# in points: (on, off, ...); () is a solid line
DASHES: tuple[tuple[float, ...], ...] = (
    (), (4, 1.5), (1, 1), (6, 1.5, 1, 1.5), (3, 1, 1, 1, 1, 1), (8, 2), (2, 2),
)
PAPER_GREY = "#7f7f7f"
RASTER_FROM = 2_000
_HALO = [withStroke(linewidth=2, foreground="white")]  # a label stays readable where it meets a line
_STYLE: Any = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.prop_cycle": cycler(color=PALETTE),
    "axes.axisbelow": True, "axes.linewidth": 0.8, "axes.titlesize": 9, "axes.labelsize": 8,
    "axes.titlelocation": "left", "figure.titlesize": 10,
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8, "legend.title_fontsize": 8,
    "legend.frameon": False, "lines.linewidth": 1.4, "lines.markersize": 4, "figure.dpi": 100,
    "figure.constrained_layout.use": True, "image.cmap": "cividis",
}
_SAVING: Any = {"svg.hashsalt": "twelvefold", "svg.fonttype": "path", "savefig.bbox": None}


@dataclass(frozen=True)
class Style:
    """How one method is drawn: its colour, its marker and its dashes (in points, () for a solid line)."""

    color: str
    marker: str
    dashes: tuple[float, ...]

    @property
    def linestyle(self) -> Any:
        """The dashes as matplotlib's `linestyle`."""
        return (0, self.dashes) if self.dashes else "-"

    @property
    def line(self) -> dict[str, Any]:
        """Keyword arguments for `Axes.plot` with a marker."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.linestyle}


def styles(methods: Sequence[str]) -> dict[str, Style]:
    """Give every method its colour, marker and dashes by its place in `methods`.

    A paper keeps ONE such list for all its figures, so a method looks the same everywhere. Colours repeat after nine
    methods, then with another marker and other dashes.

    Raises:
        ValueError: no method, or one twice.
    """
    names = list(methods)
    if not names or len(set(names)) != len(names):
        raise ValueError(f"methods = {names!r}; at least one method and each only once is needed.")
    return {
        name: Style(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
        for i, name in enumerate(names)
    }


def seaborn_styles(methods: Sequence[str]) -> dict[str, Any]:
    """Return `hue_order`, `palette`, `style_order`, `markers` and `dashes` of `styles(methods)` for seaborn's plots."""
    look = styles(methods)
    return {
        "hue_order": list(look), "palette": {name: style.color for name, style in look.items()},
        "style_order": list(look), "markers": {name: style.marker for name, style in look.items()},
        "dashes": {name: style.dashes or "" for name, style in look.items()},
    }


def use_style() -> None:
    """Set the project's style in matplotlib, over matplotlib's own defaults (a user's settings do not leak in)."""
    plt.style.use("default")
    mpl.rcParams.update(_STYLE)


def subplots(
    nrows: int = 1, ncols: int = 1, width: str = "column", height: float | None = None, **options: Any
) -> tuple[Figure, Any]:
    """Make a figure in the project's style at its final width.

    Args:
        nrows, ncols: the grid of axes.
        width: "column" (3.4 in) or "page" (7 in).
        height: inches; default 0.72 of the width of one axes, per row.
        options: passed to `matplotlib.pyplot.subplots`, e.g. `sharey=True`.

    Returns:
        figure and axes, as `matplotlib.pyplot.subplots` does.

    Raises:
        ValueError: unknown width, or a height that is not positive.
    """
    if width not in WIDTHS:
        raise ValueError(f"width = {width!r}; accepted are {', '.join(map(repr, WIDTHS))}.")
    if height is not None and not height > 0:
        raise ValueError(f"height = {height!r}; a positive number of inches is needed.")
    use_style()
    inches = WIDTHS[width]
    return plt.subplots(nrows, ncols, figsize=(inches, height or 0.72 * inches / ncols * nrows), **options)


def paper_line(ax: Axes, value: float | None, axis: str = "y", label: str = "paper", end: str = "high") -> None:
    """Draw the paper's own value as a grey dashed line labelled "paper"; nothing when it is not known (None).

    Args:
        ax: the axes.
        value: the paper's number in data units.
        axis: "y" for a horizontal line at y = value, "x" for a vertical one.
        label: the text at an end of the line.
        end: "high" (right or top) or "low" (left or bottom): choose the one where nothing else is drawn.

    Raises:
        ValueError: unknown axis or end.
    """
    if axis not in ("x", "y"):
        raise ValueError(f"axis = {axis!r}; accepted are 'x' and 'y'.")
    if end not in ("low", "high"):
        raise ValueError(f"end = {end!r}; accepted are 'low' and 'high'.")
    if value is None:
        return
    place, inwards = (1, -2) if end == "high" else (0, 2)
    text: dict[str, Any] = {"color": "#595959", "fontsize": 8, "textcoords": "offset points", "path_effects": _HALO}
    draw = ax.axhline if axis == "y" else ax.axvline
    draw(value, color=PAPER_GREY, linestyle=(0, (4, 2)), linewidth=1.0, zorder=1)
    if axis == "y":
        side = "right" if end == "high" else "left"
        where: Any = {"xy": (place, value), "xycoords": ("axes fraction", "data"), "xytext": (inwards, 2)}
        ax.annotate(label, **where, ha=side, va="bottom", **text)
    else:
        side = "top" if end == "high" else "bottom"
        where = {"xy": (value, place), "xycoords": ("data", "axes fraction"), "xytext": (3, inwards)}
        ax.annotate(label, **where, ha="left", va=side, **text)


def band(ax: Axes, x: Any, centre: Any, low: Any, high: Any, style: Style, label: str | None = None) -> Line2D:
    """Draw a line with the band of its interval; the caption must name the interval, its unit and n.

    Args:
        ax: the axes.
        x, centre, low, high: [points], of one length.
        style: from `styles`.
        label: for `direct_label` or a legend.

    Returns:
        the line.

    Raises:
        ValueError: lengths that differ.
    """
    lengths = [len(values) for values in (x, centre, low, high)]
    if len(set(lengths)) != 1:
        raise ValueError(f"x, centre, low and high have {lengths} points; equal numbers are needed.")
    ax.fill_between(x, low, high, color=style.color, alpha=0.18, linewidth=0)
    (line,) = ax.plot(x, centre, color=style.color, linestyle=style.linestyle, label=label)
    return line


def direct_label(ax: Axes, lines: Sequence[Line2D] | None = None, most: int = 4) -> None:
    """Write each line's label at its right end, moved apart where labels would meet; above `most` make a legend.

    Call it last: places are found from the limits of the axes at that moment.

    Args:
        ax: the axes.
        lines: the labelled lines, default all of the axes.
        most: largest number of direct labels.
    """
    chosen = list(ax.get_lines()) if lines is None else list(lines)
    chosen = [line for line in chosen if not str(line.get_label()).startswith("_") and _points(line)]
    if not chosen:
        return
    if len(chosen) > most:
        ax.legend(handles=chosen, loc="upper left", bbox_to_anchor=(1, 1), handlelength=2.8)
        return
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    ends = [(float(np.asarray(line.get_xdata())[-1]), float(np.asarray(line.get_ydata())[-1])) for line in chosen]
    points_per_pixel = 72 / figure.dpi
    heights = np.array([ax.transData.transform(end)[1] for end in ends]) * points_per_pixel
    for line, end, shift in zip(chosen, ends, _apart(heights, 9.0) - heights, strict=True):
        ax.annotate(
            str(line.get_label()), end, xytext=(5, shift), textcoords="offset points", va="center", fontsize=8,
            color=line.get_color(), annotation_clip=False, path_effects=_HALO,
        )


def _apart(heights: np.ndarray, gap: float) -> np.ndarray:
    """Move `heights` as little as a single upward pass can so that neighbours are `gap` apart, then centre the move."""
    order = np.argsort(heights, kind="stable")
    placed = heights.astype(float).copy()
    for lower, upper in zip(order[:-1], order[1:], strict=True):
        placed[upper] = max(placed[upper], placed[lower] + gap)
    return placed - (placed - heights).mean()


def _points(artist: Artist) -> int:
    if isinstance(artist, Line2D):
        return int(np.size(artist.get_xdata()))
    if not isinstance(artist, Collection):
        return 0
    cells = artist.get_array()
    vertices = sum(len(np.asarray(path.vertices)) for path in artist.get_paths())
    places = np.atleast_2d(np.asarray(artist.get_offsets()))
    return max(len(places), vertices, 0 if cells is None else int(np.size(cells)))


def rasterise(figure: Figure, above: int = RASTER_FROM) -> int:
    """Mark every line and collection with more than `above` points to be a picture inside an SVG; returns how many."""
    crowded = [artist for artist in figure.findobj(Artist) if _points(artist) > above]
    for artist in crowded:
        artist.set_rasterized(True)
    return len(crowded)


def png_bytes(figure: Figure, dpi: int = 150) -> bytes:
    """Return the figure as a PNG file of 256 colours without a Software tag: equal drawings give equal bytes.

    A palette makes a plot three to four times smaller, and plots have few colours; dithering would add dots.
    """
    from PIL import Image  # comes with matplotlib

    buffer = io.BytesIO()
    with mpl.rc_context(_SAVING):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    picture = Image.open(buffer).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small = io.BytesIO()
    picture.save(small, format="png", optimize=True, dpi=(dpi, dpi))
    return small.getvalue()


def svg_bytes(figure: Figure) -> bytes:
    """Return the figure as an SVG file without date and with fixed ids; crowded artists are rasterised at 150 dpi."""
    rasterise(figure)
    buffer = io.BytesIO()
    with mpl.rc_context(_SAVING):
        figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def save_png(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write `png_bytes` to `path`, at once or not at all."""
    write_bytes(path, png_bytes(figure, dpi))


def save_svg(figure: Figure, path: Path) -> None:
    """Write `svg_bytes` to `path`, at once or not at all."""
    write_bytes(path, svg_bytes(figure))
