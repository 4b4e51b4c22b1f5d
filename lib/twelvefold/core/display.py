"""Showing tables, text and pictures: rich in a notebook, plain print in a script."""

from __future__ import annotations

import base64
import html
import math
import sys
from collections.abc import Iterable

import pandas as pd


def in_kernel() -> bool:
    """Tell whether this process is a Jupyter kernel (a terminal IPython cannot show HTML)."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def _publish(data: dict[str, str], metadata: dict[str, dict[str, str]] | None = None) -> None:
    from IPython.display import display

    display(data, metadata=metadata or {}, raw=True)


def format_number(value: float) -> str:
    """Return `value` with four significant digits (all digits before the point), "" for NaN."""
    if not math.isfinite(value):
        return "" if math.isnan(value) else str(value)
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    # numpy's float64 is a float; its float32 is not
    if isinstance(value, float) or type(value).__name__ in ("float32", "float16"):
        return format_number(float(value))  # type: ignore[arg-type]
    return str(value)


def with_error(value: float, error: float) -> str:
    """Return `value ± error`, both to the second significant digit of the error; the value alone for an error of 0."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return format_number(value)
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as texts; a column `x` and its standard error `x_se` become one."""
    columns: dict[str, list[str]] = {}
    names = [str(name) for name in frame.columns]
    for index, name in enumerate(names):
        values = list(frame.iloc[:, index])
        if name.endswith("_se") and name[:-3] in names:
            continue
        if f"{name}_se" in names:
            errors = frame.iloc[:, names.index(f"{name}_se")]
            pairs = zip(values, errors, strict=True)
            columns[f"{name} (± s.e.)"] = [with_error(float(value), float(error)) for value, error in pairs]
        else:
            columns[name] = [_cell(value) for value in values]
    return pd.DataFrame(columns)


def _html(readable: pd.DataFrame, text: set[str]) -> str:
    """An HTML table; the columns named in `text` are set flush left, numbers flush right and never broken."""

    def row(tag: str, cells: Iterable[str]) -> str:
        styled = zip(readable.columns, cells, strict=True)
        number = "text-align: right" if tag == "th" else "text-align: right; white-space: nowrap"
        looks = [("text-align: left" if name in text else number, html.escape(cell)) for name, cell in styled]
        return "<tr>" + "".join(f'<{tag} style="{look}">{cell}</{tag}>' for look, cell in looks) + "</tr>"

    body = [row("td", cells) for cells in readable.itertuples(index=False)]
    head = f"<table>\n<thead>{row('th', readable.columns)}</thead>\n<tbody>\n"
    return head + "\n".join(body) + "\n</tbody>\n</table>"


def show_table(frame: pd.DataFrame, caption: str = "") -> None:
    """Show a table with rounded numbers under its caption; the index is not shown.

    Args:
        frame: the table; floats are shown with four significant digits, missing values as empty cells, and a column `x`
            with its standard error `x_se` as one column `x ± s.e.`.
        caption: Markdown, "" for none.

    Raises:
        TypeError: `frame` is not a DataFrame.
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"frame is a {type(frame).__name__}; a pandas DataFrame is needed.")
    readable = _readable(frame)
    plain = readable.to_string(index=False)
    if caption:
        show_markdown(caption)
    if not in_kernel():
        print(plain)
        return
    text = {str(name) for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])}
    _publish({"text/html": _html(readable, text), "text/plain": plain})


def show_markdown(text: str) -> None:
    """Show a text written in Markdown; a script prints it as it is."""
    if in_kernel():
        _publish({"text/markdown": text, "text/plain": text})
    else:
        print(text)


def show_png(data: bytes, alt: str) -> None:
    """Show a PNG picture; a script prints its alternative text.

    Args:
        data: bytes of the PNG file.
        alt: what the picture shows, for readers who cannot see it.
    """
    if in_kernel():
        bundle = {"image/png": base64.b64encode(data).decode("ascii"), "text/plain": f"Figure: {alt}"}
        _publish(bundle, {"image/png": {"alt": alt}})
    else:
        print(f"[figure] {alt}")
