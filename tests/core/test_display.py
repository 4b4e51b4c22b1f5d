"""Showing things in a kernel (its display channel captured) and in a plain script."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pandas as pd
import pytest
from twelvefold.core import display


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, str], Any]]:
    published: list[tuple[dict[str, str], Any]] = []
    monkeypatch.setattr(display, "in_kernel", lambda: True)
    monkeypatch.setattr(display, "_publish", lambda data, metadata=None: published.append((data, metadata)))
    return published


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({
        "method": ["a<b", None], "accuracy": [0.123456, np.nan], "count": [12345, 7], "large": [123456.7, 0.00001234],
        "single": np.array([0.1, 2.0], dtype=np.float32), "fine": [True, False],
    })  # fmt: skip


def test_a_plain_script_prints(frame: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    assert not display.in_kernel()
    display.show_table(frame, "**t.** A caption.")
    display.show_markdown("some *text*")
    display.show_png(b"png", "two lines")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "**t.** A caption."
    assert lines[2].split() == ["a<b", "0.1235", "12345", "123457", "0.1", "True"]
    assert lines[3].split() == ["7", "1.234e-05", "2", "False"]
    assert lines[4:] == ["some *text*", "[figure] two lines"]


def test_a_kernel_gets_html_and_text(frame: pd.DataFrame, kernel: list[Any]) -> None:
    display.show_table(frame, "caption")
    (caption, _), (table, _) = kernel
    assert caption["text/markdown"] == "caption"
    assert "a&lt;b" in table["text/html"]
    assert "0.1235" in table["text/html"] and "0.123456" not in table["text/html"]
    assert "NaN" not in table["text/html"] + table["text/plain"]
    assert "None" not in table["text/html"]


def test_a_standard_error_stands_beside_its_number(kernel: list[Any]) -> None:
    rows = pd.DataFrame({"method": ["a", "b"], "id": [0.79834, 24.0], "id_se": [0.00312, 0.0], "odd_se": [1.0, 2.0]})
    display.show_table(rows)
    ((table, _),) = kernel
    assert table["text/plain"].splitlines()[0].split() == ["method", "id", "(±", "s.e.)", "odd_se"]
    assert "0.7983 ± 0.0031" in table["text/html"] and ">24<" in table["text/html"]
    assert '<td style="text-align: left">a</td>' in table["text/html"]
    assert '<td style="text-align: right; white-space: nowrap">24</td>' in table["text/html"]


@pytest.mark.parametrize(("value", "error", "shown"), [
    (0.5, 0.25, "0.50 ± 0.25"), (-12.345, 0.1, "-12.35 ± 0.10"), (5.25, 31.0, "5 ± 31"), (0.5, 0.0, "0.5"),
    (0.5, float("nan"), "0.5"), (float("nan"), 0.1, ""),
])  # fmt: skip
def test_digits_follow_the_error(value: float, error: float, shown: str) -> None:
    assert display.with_error(value, error) == shown


def test_long_texts_are_not_cut(kernel: list[Any]) -> None:
    display.show_table(pd.DataFrame({"x": ["word " * 60]}))
    ((table, _),) = kernel
    assert "word " * 59 in table["text/html"]
    assert "word " * 59 in table["text/plain"]


def test_a_picture_has_its_alternative_text(kernel: list[Any]) -> None:
    display.show_png(b"\x89PNG", 'a "curve"')
    ((bundle, metadata),) = kernel
    assert base64.b64decode(bundle["image/png"]) == b"\x89PNG"
    assert bundle["text/plain"] == 'Figure: a "curve"'
    assert metadata == {"image/png": {"alt": 'a "curve"'}}


def test_it_works_in_a_real_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell.instance()
    try:
        assert not display.in_kernel()  # a terminal cannot show HTML
        monkeypatch.setattr(shell, "kernel", object(), raising=False)
        assert display.in_kernel()
        with capture_output() as captured:
            display.show_table(pd.DataFrame({"x": [1]}), "caption")
            display.show_png(b"png", "alt")
    finally:
        InteractiveShell.clear_instance()
    assert [sorted(output.data) for output in captured.outputs] == [
        ["text/markdown", "text/plain"], ["text/html", "text/plain"], ["image/png", "text/plain"],
    ]


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(TypeError, match="list"):
        display.show_table([1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1"), (0.12344, "0.1234"), (999.96, "1000"), (12345.6, "12346"), (1e12, "1e+12"),
     (-2e-7, "-2e-07"),
     (float("nan"), ""), (float("inf"), "inf")],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert display.format_number(value) == text
