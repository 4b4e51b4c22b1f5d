"""The form of study.json, checked in plain Python so that it can be checked wherever a result is read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from .claims import SCOPES, UNITS, VERDICTS, Claim, ClaimError, Estimate, Rule, verdict
from .presets import PRESETS

KEYS = (
    "name", "preset", "seed", "seeds", "device", "dtype", "threads", "content_key", "versions", "parameters", "scale",
    "runs", "tables", "figures", "claims", "run",
)
CLAIM_KEYS = (
    "id", "says", "scope", "source", "paper_value", "paper_says", "estimate", "holds_if", "verdict", "note",
)
ESTIMATE_KEYS = ("value", "low", "high", "level", "n", "unit", "method")
RUN_KEYS = ("started", "seconds", "cpu_seconds", "peak_rss_mb", "cpu", "gpu", "commit", "python")
TOLERANCE_CLASSES = ("summary", "same machine")
_NAME = re.compile(r"[a-z0-9_]+/\d\d_[a-z0-9_]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class StudyError(ValueError):
    """A study used in the wrong order, or something given to it that it cannot record."""


class SchemaError(ValueError):
    """A study.json that does not have the agreed form; the message names the field."""


def _require(condition: bool, where: str, value: object, accepted: str) -> None:
    if not condition:
        raise SchemaError(f"{where} = {value!r}; {accepted} is needed.")


def _keys(where: str, value: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    _require(isinstance(value, dict), where, value, "an object")
    missing = [key for key in keys if key not in value]
    surplus = [key for key in value if key not in keys]
    if missing or surplus:
        raise SchemaError(
            f"{where} must have exactly the keys {', '.join(keys)}; "
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(map(str, surplus)) or 'none'}."
        )
    return value


def _string(where: str, value: Any, empty: bool = False) -> None:
    fine = isinstance(value, str) and (empty or bool(value.strip()))
    _require(fine, where, value, "a text" if empty else "a text that is not empty")


def _number(where: str, value: Any, least: float = -math.inf) -> None:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= least
    _require(fine, where, value, "a finite number" + (f" of at least {least:g}" if least > -math.inf else ""))


def _whole(where: str, value: Any, least: int = 0) -> None:
    fine = isinstance(value, int) and not isinstance(value, bool) and value >= least
    _require(fine, where, value, f"a whole number of at least {least}")


def _sha256(where: str, value: Any) -> None:
    fine = isinstance(value, str) and bool(_SHA256.fullmatch(value))
    _require(fine, where, value, "a sha256 in 64 hexadecimal digits")


def _file(where: str, value: Any, suffix: str) -> None:
    plain = isinstance(value, str) and PurePosixPath(value).name == value and value.endswith(suffix)
    _require(plain, where, value, f"the name of a {suffix} file without a folder")


def _list(where: str, value: Any, check: Callable[[str, Any], None]) -> list[Any]:
    _require(isinstance(value, list), where, value, "a list")
    for index, item in enumerate(value):
        check(f"{where}[{index}]", item)
    return value


def _distinct(where: str, names: list[Any]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SchemaError(f"{where} holds {', '.join(map(repr, twice))} more than once.")


def check_values(where: str, value: Any) -> None:
    """Refuse everything that strict JSON cannot hold, NaN and infinity among it.

    Args:
        where: how the message calls the value, e.g. "scale".
        value: what is to be written.

    Raises:
        SchemaError: names the first field at fault.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            _require(isinstance(key, str), f"a key of {where}", key, "a text")
            check_values(f"{where}.{key}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_values(f"{where}[{index}]", item)
    elif isinstance(value, float):
        _require(math.isfinite(value), where, value, "a finite number (study.json holds no NaN)")
    else:
        _require(value is None or isinstance(value, str | int), where, value, "a JSON value")


def plain(value: Any) -> Any:
    """Turn numpy scalars, arrays, tuples and ranges into what JSON knows; anything else comes back as it is."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | range):
        return [plain(item) for item in value]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value


def _texts(where: str, value: Any) -> None:
    _require(isinstance(value, dict), where, value, "an object")
    for key, item in value.items():
        _string(f"{where}.{key}", item)


def _object(where: str, value: Any) -> None:
    _require(isinstance(value, dict), where, value, "an object")


def _table(where: str, value: Any) -> None:
    _keys(where, value, ("name", "file", "sha256", "caption", "tolerance"))
    _string(f"{where}.name", value["name"])
    _file(f"{where}.file", value["file"], ".csv")
    _sha256(f"{where}.sha256", value["sha256"])
    _string(f"{where}.caption", value["caption"])
    if isinstance(value["tolerance"], str):
        accepted = " or ".join(map(repr, TOLERANCE_CLASSES)) + " or a number"
        _require(value["tolerance"] in TOLERANCE_CLASSES, f"{where}.tolerance", value["tolerance"], accepted)
    else:
        _number(f"{where}.tolerance", value["tolerance"], 0)


def _figure(where: str, value: Any) -> None:
    _keys(where, value, ("name", "files", "caption", "alt"))
    for key in ("name", "caption", "alt"):
        _string(f"{where}.{key}", value[key])
    _require(isinstance(value["files"], list), f"{where}.files", value["files"], "a list")
    wanted = [f"{value['name']}.png", f"{value['name']}.svg"]
    _require(value["files"] == wanted, f"{where}.files", value["files"], repr(wanted))


def _estimate(where: str, value: Any) -> Estimate | None:
    if value is None:
        return None
    _keys(where, value, ESTIMATE_KEYS)
    try:
        return Estimate(**value)
    except ClaimError as error:
        raise SchemaError(f"{where}: {error}") from error


def _claim(where: str, value: Any) -> None:
    _keys(where, value, CLAIM_KEYS)
    _require(value["scope"] in SCOPES, f"{where}.scope", value["scope"], " or ".join(SCOPES))
    _require(value["verdict"] in VERDICTS, f"{where}.verdict", value["verdict"], " or ".join(VERDICTS))
    _string(f"{where}.note", value["note"], empty=True)
    holds_if = _keys(f"{where}.holds_if", value["holds_if"], ("rule", "args"))
    _list(f"{where}.holds_if.args", holds_if["args"], _number)
    estimate = _estimate(f"{where}.estimate", value["estimate"])
    try:
        rule = Rule(holds_if["rule"], tuple(holds_if["args"]))
        unit = estimate.unit if estimate else UNITS[0]
        fields = {key: value[key] for key in ("id", "says", "scope", "source", "paper_value", "paper_says")}
        Claim(**fields, holds_if=rule, unit=unit)
    except ClaimError as error:
        raise SchemaError(f"{where}: {error}") from error
    decided = verdict(rule, estimate)
    accepted = f"{decided!r}, which its rule and estimate give,"
    _require(value["verdict"] == decided, f"{where}.verdict", value["verdict"], accepted)


def _run(where: str, value: Any) -> None:
    _keys(where, value, RUN_KEYS)
    try:
        started = datetime.fromisoformat(value["started"])
    except (TypeError, ValueError):
        started = None
    fine = started is not None and started.utcoffset() is not None
    _require(fine, f"{where}.started", value["started"], "an ISO time with its zone")
    for key in ("seconds", "cpu_seconds", "peak_rss_mb"):
        _number(f"{where}.{key}", value[key], 0)
    for key in ("cpu", "python"):
        _string(f"{where}.{key}", value[key])
    for key in ("gpu", "commit"):
        if value[key] is not None:
            _string(f"{where}.{key}", value[key])


def _head(study: dict[str, Any]) -> None:
    name = study["name"]
    _require(isinstance(name, str) and bool(_NAME.fullmatch(name)), "name", name, "<paper>/<NN_result>")
    _require(study["preset"] in PRESETS, "preset", study["preset"], " or ".join(PRESETS))
    _whole("seed", study["seed"])
    _require(bool(_list("seeds", study["seeds"], _whole)), "seeds", study["seeds"], "a list of at least one seed")
    for key in ("device", "dtype", "content_key"):
        _string(key, study[key])
    _whole("threads", study["threads"], 1)
    _texts("versions", study["versions"])
    for key in ("parameters", "scale"):
        _object(key, study[key])


def check_study(study: dict[str, Any]) -> None:
    """Refuse a study.json, already read from JSON, that is not exactly of the agreed form.

    Args:
        study: the object of the file.

    Raises:
        SchemaError: names the field, the value received and what is accepted.
    """
    _keys("study.json", study, KEYS)
    check_values("study.json", study)
    _head(study)
    _keys("runs", study["runs"], ("file", "sha256"))
    _require(study["runs"]["file"] == "runs.csv", "runs.file", study["runs"]["file"], "'runs.csv'")
    _sha256("runs.sha256", study["runs"]["sha256"])
    _distinct("tables", [table["name"] for table in _list("tables", study["tables"], _table)])
    _distinct("figures", [figure["name"] for figure in _list("figures", study["figures"], _figure)])
    claims = _list("claims", study["claims"], _claim)
    _require(bool(claims), "claims", claims, "at least one claim")
    _distinct("claims", [claim["id"] for claim in claims])
    _run("run", study["run"])
