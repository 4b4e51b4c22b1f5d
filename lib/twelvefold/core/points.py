"""Points and results of a sweep in their stored form: what is accepted, what it becomes, and the key of a point."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

PASSED_BY_SWEEP = ("device", "dtype", "checkpoint")
_ACCEPTED = "integers, finite floats, strings, bools, None, and lists or dicts of them"


def normal_point(point: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return `point` as plain JSON values: numpy scalars become Python's, tuples become lists.

    Raises:
        TypeError: `point` is not a dict with string keys, or a value is of a kind JSON does not have (key named).
        ValueError: a value is NaN or infinite.
    """
    if not isinstance(point, Mapping):
        raise TypeError(f"{place}: a {type(point).__name__} is not accepted; a point is a dict of {_ACCEPTED}")
    return {_text_key(key, place): _normal(value, f"{place}[{key!r}]") for key, value in point.items()}


def check_arguments(fn: Callable[..., Any], point: Mapping[str, Any], place: str) -> None:
    """Check that `fn(**point)` is a possible call, `device`, `dtype` and `checkpoint` being passed by the sweep.

    Raises:
        TypeError: an argument is missing, unknown, or one that the sweep passes itself.
    """
    parameters = inspect.signature(fn).parameters
    for name in ("device", "checkpoint"):
        if name in point:
            raise TypeError(f"{place}: key {name!r} does not belong into a point; sweep passes it (sweep(..., {name}))")
    given = {name: None for name in PASSED_BY_SWEEP if name in parameters}
    try:
        inspect.signature(fn).bind(**{**given, **point})
    except TypeError as error:
        raise TypeError(f"{place}: {fn.__module__}.{fn.__qualname__} cannot be called with it: {error}; it accepts "
                        f"{', '.join(name for name in parameters if name not in given)}") from None


def point_key(point: Mapping[str, Any], surroundings: Mapping[str, Any]) -> str:
    """Return the sha256 of a normal point and all else the result depends on. 1, 1.0 and True are different points."""
    text = json.dumps({"point": point, **surroundings}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def stored_values(result: Any, place: str) -> dict[str, Any]:
    """Return what `fn` gave as numpy arrays and JSON values, by name.

    Tensors become arrays (bfloat16, which numpy lacks, becomes float32), numpy scalars Python's, tuples lists.

    Raises:
        TypeError: `result` is not a dict with string keys, or a value is of another kind (named).
    """
    if not isinstance(result, Mapping):
        raise TypeError(f"{place} returned a {type(result).__name__}; it has to return a dict (arrays, JSON values)")
    return {_text_key(name, place): _stored(value, f"{place}[{name!r}]") for name, value in result.items()}


def _text_key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{place}: key {key!r} is a {type(key).__name__}; keys are strings")
    return str(key)


def _normal(value: Any, place: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place}: {value!r} is not accepted; use a finite number, None or a string")
    return _json_value(value, place, _normal)


def _stored(value: Any, place: str) -> Any:
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError(f"{place}: an array of dtype object cannot be stored; use a numeric dtype")
        return np.asarray(value)
    return _result_value(value, place)


def _result_value(value: Any, place: str) -> Any:
    # Unlike a point, a result may be NaN: a diverged loss is a finding.
    return _json_value(value.item() if isinstance(value, np.generic) else value, place, _result_value)


def _json_value(value: Any, place: str, inner: Callable[[Any, str], Any]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, (list, tuple)):
        return [inner(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_text_key(key, place): inner(item, f"{place}[{key!r}]") for key, item in value.items()}
    hint = "; use .tolist()" if isinstance(value, (np.ndarray, torch.Tensor)) else ""
    raise TypeError(f"{place}: a {type(value).__name__} is not accepted; accepted are {_ACCEPTED}{hint}")
