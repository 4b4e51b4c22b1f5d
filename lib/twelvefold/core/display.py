"""Showing tables, text and pictures: rich in a notebook, plain print in a script."""

from __future__ import annotations

import base64
import math
import sys

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


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    columns = [[_cell(value) for value in frame.iloc[:, index]] for index in range(frame.shape[1])]
    return pd.DataFrame(list(zip(*columns, strict=True)), columns=[str(name) for name in frame.columns])


def show_table(frame: pd.DataFrame, caption: str = "") -> None:
    """Show a table with rounded numbers under its caption; the index is not shown.

    Args:
        frame: the table; floats are shown with four significant digits, missing values as empty cells.
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
    _publish({"text/html": readable.to_html(index=False, border=0, justify="left"), "text/plain": plain})


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
