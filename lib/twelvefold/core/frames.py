"""What a study accepts as rows and tables, and how they become CSV files that are the same every time."""

from __future__ import annotations

import math
import re
from collections.abc import Container
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from .schema import TOLERANCE_CLASSES, StudyError

Rounded = TypeVar("Rounded", pd.Series, pd.DataFrame)
_NAME = re.compile(r"[a-z0-9_]+")
# pandas 3 reads floats exactly and deprecates the argument that asks for it
_EXACT: dict[str, Any] = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}


def read_runs(path: Path) -> pd.DataFrame:
    """Read a runs.csv as a study does: only empty cells are missing, floats come back exactly."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""], **_EXACT)


def runs_bytes(frame: pd.DataFrame) -> bytes:
    """Return raw rows as CSV, every float with all its digits."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def table_bytes(frame: pd.DataFrame) -> bytes:
    """Return a table as CSV, every float with nine significant digits."""
    return frame.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()


def significant(value: float, digits: int) -> float:
    """A number with so many significant digits; NaN stays."""
    return float(f"{value:.{digits}g}")


def rounded(values: Rounded, digits: int) -> Rounded:
    """A column, or columns, of floats with so many significant digits each, as rows are kept."""
    return values.map(lambda value: significant(value, digits))


def shape_line(what: str, frame: pd.DataFrame) -> str:
    """Return e.g. `runs: 12 rows x 3 columns`."""
    return f"{what}: {frame.shape[0]} rows x {frame.shape[1]} columns"


def check_text(where: str, text: object) -> None:
    """Refuse (StudyError) a text that is empty or none at all."""
    if not isinstance(text, str) or not text.strip():
        raise StudyError(f"{where} = {text!r}; a text that is not empty is needed.")


def check_file_name(kind: str, name: object, taken: Container[str]) -> None:
    """Refuse (StudyError) a table or figure name with other signs than a-z, 0-9, "_", or one used already."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise StudyError(f"{kind} name = {name!r}; a name is made of a-z, 0-9 and '_', e.g. 'accuracy'.")
    if name in taken:
        raise StudyError(f"{kind} name = {name!r} is used already in this study.")


def check_frame(where: str, frame: object) -> pd.DataFrame:
    """Return `frame` when a CSV file can hold all of it, refuse it (StudyError) otherwise.

    It has rows, distinct named columns, cells that are numbers, texts, bools or empty, and an index without meaning.
    """
    if not isinstance(frame, pd.DataFrame):
        raise StudyError(f"{where}: received a {type(frame).__name__}; a pandas DataFrame is needed.")
    if frame.empty:
        raise StudyError(f"{where}: the frame has shape {frame.shape}; at least one row and one column are needed.")
    columns = list(frame.columns)
    if not all(isinstance(column, str) and column for column in columns) or len(set(columns)) != len(columns):
        raise StudyError(f"{where}: columns = {columns!r}; distinct names that are not empty are needed.")
    if frame.index.nlevels > 1 or frame.index.name is not None or not pd.api.types.is_integer_dtype(frame.index):
        raise StudyError(f"{where}: the index is not written to the file; call reset_index() to keep it as columns.")
    for column in columns:
        _check_objects(where, column, frame[column])
    return frame


def _check_objects(where: str, column: str, values: pd.Series) -> None:
    if values.dtype != object:
        return
    for value in values:
        if not (value is None or value is pd.NA or isinstance(value, str | bool | int | float | np.generic)):
            accepted = "a cell is a number, a text, a bool or empty"
            raise StudyError(f"{where}: column {column!r} holds {value!r}; {accepted}.")


def check_table_cells(name: str, frame: pd.DataFrame, empty: str) -> None:
    """Refuse (StudyError) infinite cells, and empty ones unless `empty` says what they mean."""
    for column in frame.columns:
        values = frame[column]
        numbers = pd.to_numeric(values, errors="coerce") if values.dtype == object else values
        if pd.api.types.is_float_dtype(numbers) and np.isinf(numbers.to_numpy(dtype=float, na_value=np.nan)).any():
            raise StudyError(f"table {name}: column {column!r} holds an infinite value; finite numbers are needed.")
        if values.isna().any() and not empty:
            row = int(np.flatnonzero(values.isna())[0])
            cure = "say with empty='...' what an empty cell means"
            raise StudyError(f"table {name}: column {column!r} has no value in row {row}; {cure}.")


def check_tolerance(name: str, frame: pd.DataFrame, tolerance: object) -> float | str:
    """Return the tolerance of a table as it is recorded, refuse (StudyError) one that is unknown or does not fit."""
    where = f"tolerance of table {name} = {tolerance!r}"
    if isinstance(tolerance, str):
        if tolerance not in TOLERANCE_CLASSES:
            accepted = ", ".join(map(repr, TOLERANCE_CLASSES))
            raise StudyError(f"{where}; accepted are a number of at least 0, {accepted}.")
        if tolerance == "summary":
            _check_errors(name, frame)
        return tolerance
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        raise StudyError(f"{where}; a finite number of at least 0 is needed, or 'summary' or 'same machine'.")
    return float(tolerance)


def _check_errors(name: str, frame: pd.DataFrame) -> None:
    errors = [column for column in frame.columns if column.endswith("_se")]
    if not errors:
        raise StudyError(f"table {name}: 'summary' needs a standard error x_se beside every estimated column x.")
    for column in errors:
        if column.removesuffix("_se") not in frame.columns:
            raise StudyError(f"table {name}: column {column!r} is the standard error of no column of the table.")
        if not pd.api.types.is_numeric_dtype(frame[column]) or (frame[column] < 0).any():
            raise StudyError(f"table {name}: column {column!r} must hold standard errors, numbers of at least 0.")
