"""The style, the drawing helpers, and files that are the same in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from twelvefold.core import plotting


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    plt.close("all")


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(("width", "inches"), [("column", 3.4), ("page", 7.0)])
def test_widths_and_fonts(width: str, inches: float) -> None:
    fig, _ = plotting.subplots(width=width)
    assert fig.get_size_inches()[0] == inches
    sizes = [mpl.rcParams[key] for key in ("font.size", "axes.labelsize", "xtick.labelsize", "legend.fontsize")]
    assert min(sizes) >= 8
    assert Image.open(_saved(fig)).width == round(inches * 150)  # no cropping: the width is the width


def _saved(fig: Any) -> Any:
    import io

    return io.BytesIO(plotting.png_bytes(fig, dpi=150))


def test_top_and_right_spines_are_off() -> None:
    _, ax = plotting.subplots()
    assert {name: spine.get_visible() for name, spine in ax.spines.items()} == {
        "left": True, "bottom": True, "top": False, "right": False,
    }


def test_a_users_settings_do_not_leak_in() -> None:
    mpl.rcParams["axes.facecolor"] = "black"
    plotting.use_style()
    assert mpl.rcParams["axes.facecolor"] == "white"


def test_subplots_passes_options_and_grid_on() -> None:
    fig, axes = plotting.subplots(2, 3, width="page", height=4, sharey=True)
    assert axes.shape == (2, 3)
    assert fig.get_size_inches()[1] == 4
    assert axes[0, 0].get_shared_y_axes().joined(axes[0, 0], axes[1, 2])


@pytest.mark.parametrize("options", [{"width": "wide"}, {"height": 0}, {"height": -1}])
def test_bad_sizes_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        plotting.subplots(**options)


def test_the_palette_is_seaborns_without_its_grey() -> None:
    seaborn = pytest.importorskip("seaborn")
    colours = [colour.lower() for colour in seaborn.color_palette("colorblind").as_hex()]
    assert set(colours) - set(plotting.PALETTE) == {"#949494"}
    assert set(plotting.PALETTE) <= set(colours)


def test_methods_differ_in_colour_and_marker_and_dashes() -> None:
    look = list(plotting.styles([f"m{i}" for i in range(7)]).values())
    for field in ("color", "marker", "dashes"):
        assert len({getattr(style, field) for style in look}) == 7


def test_no_look_repeats_among_many_methods() -> None:
    look = plotting.styles([f"m{i}" for i in range(60)])
    assert len(set(look.values())) == 60


def test_a_longer_list_keeps_the_look_of_the_first() -> None:
    assert plotting.styles(["a", "b"])["b"] == plotting.styles(["a", "b", "c"])["b"]


@pytest.mark.parametrize("methods", [[], ["a", "a"]])
def test_bad_methods_are_refused(methods: list[str]) -> None:
    with pytest.raises(ValueError, match="methods"):
        plotting.styles(methods)


def test_styles_serve_seaborn_and_matplotlib() -> None:
    seaborn = pytest.importorskip("seaborn")
    data = {"x": [0, 1, 0, 1], "y": [0, 1, 1, 0], "m": ["a", "a", "b", "b"]}
    _, ax = plotting.subplots()
    options = plotting.seaborn_styles(["a", "b"])
    seaborn.lineplot(data, x="x", y="y", hue="m", style="m", errorbar=None, ax=ax, **options)
    ax.plot([0, 1], [0, 1], **plotting.styles(["a", "b"])["b"].line)
    drawn = [mpl.colors.to_hex(line.get_color()) for line in ax.lines if len(line.get_xdata())]
    assert drawn == [plotting.PALETTE[0], plotting.PALETTE[1], plotting.PALETTE[1]]


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("end", ["low", "high"])
def test_the_papers_value_is_a_grey_dashed_labelled_line(axis: str, end: str) -> None:
    _, ax = plotting.subplots()
    plotting.paper_line(ax, 0.3, axis=axis, end=end)
    (line,) = ax.lines
    data = line.get_xdata() if axis == "x" else line.get_ydata()
    assert list(data) == [0.3, 0.3]
    assert line.get_color() == plotting.PAPER_GREY
    assert line.is_dashed()
    assert texts(ax) == ["paper"]


def test_an_unknown_value_draws_nothing() -> None:
    _, ax = plotting.subplots()
    plotting.paper_line(ax, None)
    assert (len(ax.lines), texts(ax)) == (0, [])


@pytest.mark.parametrize("options", [{"axis": "z"}, {"end": "middle"}])
def test_bad_paper_lines_are_refused(options: dict[str, str]) -> None:
    _, ax = plotting.subplots()
    with pytest.raises(ValueError, match=next(iter(options))):
        plotting.paper_line(ax, 1, **options)


def test_a_band_has_its_limits() -> None:
    _, ax = plotting.subplots()
    style = plotting.styles(["a"])["a"]
    line = plotting.band(ax, [0, 1], [1, 2], [0, 1], [2, 4], style, "a")
    box = ax.collections[0].get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (0, 4)
    assert line.get_label() == "a"
    with pytest.raises(ValueError, match=r"\[2, 2, 1, 2\]"):
        plotting.band(ax, [0, 1], [1, 2], [0], [2, 4], style)


def test_up_to_four_lines_are_labelled_directly_without_overlap_inside_the_figure() -> None:
    fig, ax = plotting.subplots()
    for i in range(4):
        ax.plot([0, 1], [0, 1 + 0.001 * i], label=f"a rather long label {i}")
    ax.plot([0, 1], [0, 0])  # no label
    plotting.direct_label(ax)
    fig.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert texts(ax) == [f"a rather long label {i}" for i in range(4)]
    assert ax.get_legend() is None
    boxes.sort(key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in zip(boxes[:-1], boxes[1:], strict=True))
    assert all(box.x1 <= fig.bbox.x1 for box in boxes)


def test_five_lines_get_a_legend() -> None:
    _, ax = plotting.subplots()
    for i in range(5):
        ax.plot([0, 1], [0, i], label=str(i))
    plotting.direct_label(ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list("01234")
    assert texts(ax) == []


def test_nothing_to_label_is_fine() -> None:
    _, ax = plotting.subplots()
    plotting.direct_label(ax)
    assert texts(ax) == []


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=6))
def test_labels_moved_apart_keep_order_distance_and_centre(heights: list[float]) -> None:
    before = np.array(heights)
    after = plotting._apart(before, 9.0)
    order = np.argsort(before, kind="stable")
    assert (np.diff(after[order]) >= 9.0 - 1e-9).all()
    assert after.mean() == pytest.approx(before.mean(), abs=1e-9)


@pytest.mark.parametrize(("points", "expected"), [(2_000, 0), (2_001, 3)])
def test_crowded_artists_are_rasterised(points: int, expected: int) -> None:
    fig, ax = plotting.subplots()
    x = np.linspace(0, 1, points)
    ax.plot(x, x)
    ax.scatter(x, x)
    ax.scatter(x[:10], x[:10])
    ax.vlines(x[: points // 2 + 1] if points > 2_000 else x[:9], 0, 1)
    assert plotting.rasterise(fig) == expected


def test_a_crowded_scatter_keeps_the_svg_small() -> None:
    fig, ax = plotting.subplots()
    x = np.random.default_rng(0).random((2, 20_000))
    ax.scatter(*x, s=2)
    svg = plotting.svg_bytes(fig)
    assert b"data:image/png" in svg
    assert len(svg) < 200_000


def test_files_carry_no_date_and_no_software(tmp_path: Path) -> None:
    fig, ax = plotting.subplots()
    ax.plot([0, 1], label="a")
    plotting.save_png(fig, tmp_path / "a.png")
    plotting.save_svg(fig, tmp_path / "a.svg")
    assert "Software" not in Image.open(tmp_path / "a.png").info
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg"]


def test_a_users_svg_salt_does_not_change_the_file() -> None:
    fig, ax = plotting.subplots()
    ax.plot([0, 1])
    ax.scatter([0, 1], [0, 1])
    first = plotting.svg_bytes(fig)
    with mpl.rc_context({"svg.hashsalt": "other", "savefig.bbox": "tight"}):
        assert plotting.svg_bytes(fig) == first


DRAWING = """
import sys, numpy as np
from pathlib import Path
from twelvefold.core import plotting
fig, ax = plotting.subplots()
x = np.random.default_rng(0).random((2, 2500))
ax.scatter(*x, s=1)
for name, style in plotting.styles(["a", "b"]).items():
    plotting.band(ax, [0, 1], [0, 1], [0, .5], [1, 2], style, name)
plotting.paper_line(ax, .5)
plotting.direct_label(ax)
plotting.save_png(fig, Path(sys.argv[1]) / "a.png")
plotting.save_svg(fig, Path(sys.argv[1]) / "a.svg")
"""


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    for hash_seed in ("1", "2"):
        (tmp_path / hash_seed).mkdir()
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "MPLBACKEND": "agg"}
        subprocess.run([sys.executable, "-c", DRAWING, str(tmp_path / hash_seed)], check=True, env=environment)
    for file in ("a.png", "a.svg"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()
