"""Compares a new result with an old one, each part as far as the two machines let it be compared."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twelvefold.core.claims import DETERMINISTIC
from twelvefold.run.publish import study_files

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("same bytes", "within tolerance", "verdict changed", "differs", "new")
# two independent means differ by sqrt(2) standard errors; four of those happen by chance once in 16,000 cells
SUMMARY_FACTOR = 4 * math.sqrt(2)
DETERMINISTIC_TOLERANCE = 1e-6
_IDENTITY = ("name", "preset", "seed", "seeds", "dtype", "parameters", "scale")
_CIRCUMSTANCES = ("device", "threads", "versions", "content_key")


@dataclass(frozen=True)
class Comparison:
    """How a result stands to an older one: `kind` is one of KINDS, `details` holds one line per finding."""

    kind: str
    details: list[str] = field(default_factory=list)


@dataclass
class _Findings:
    """Collects lines; those that break the comparison apart from those that only inform."""

    differs: list[str] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def comparison(self) -> Comparison:
        details = self.verdicts + self.differs + self.notes
        if self.verdicts:
            return Comparison("verdict changed", details)
        return Comparison("differs" if self.differs else "within tolerance", details)


def compare_results(new: Path, old: Path) -> Comparison:
    """Compare two result folders (each with a study.json).

    - `new`: there is no old result.
    - `same bytes`: all files are identical, study.json apart from `run`, versions and the content key.
    - `verdict changed`: a claim went from holds to fails or the reverse. Steps to or from undecided are only details.
    - `differs`: a table outside its tolerance, a deterministic estimate off by more than 1e-6, other runs on the same
      machine class (processor, torch build, threads, graphics processor), or another set of claims, tables or figures.
    - `within tolerance`: everything else. Pixels are never compared.

    Raises:
        FileNotFoundError: when `new` holds no study.json.
    """
    study = _read(new)
    if study is None:
        raise FileNotFoundError(f"new: {new} holds no study.json; a folder that a study has written is needed")
    before = _read(old)
    if before is None:
        return Comparison("new")
    found = _Findings()
    _compare_identity(study, before, found)
    _compare_claims(study, before, found)
    _compare_tables(study, before, new, old, found)
    if not found.differs and not found.verdicts and _same_bytes(study, before, new, old):
        return Comparison("same bytes", found.notes)
    return found.comparison()


def same_machine(study: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two studies come from one machine class, so that their runs must agree to the last digit."""
    return _machine(study) == _machine(other)


def head_results(root: Path, folders: Iterable[str], into: Path) -> bool:
    """Write the committed (HEAD) version of result folders, given relative to `root`, below `into`.

    Returns False when `root` is not in a git work tree or git is not there: what lay on disk before is then the only
    older version. A folder that was never committed is simply left out.
    """
    folders = list(folders)
    prefix = _git(root, ["rev-parse", "--show-prefix"])
    if prefix is None:
        return False
    base = prefix.decode().strip()
    listing = _git(root, ["ls-tree", "-r", "-z", "--full-tree", "HEAD", "--", *(base + name for name in folders)])
    entries = [line.split("\t", 1) for line in (listing or b"").decode().split("\0") if line]
    blobs = _blobs(root, [head.split()[2] for head, _ in entries])
    for (_, path), content in zip(entries, blobs, strict=True):
        target = into / path[len(base) :]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return True


def _git(root: Path, arguments: Sequence[str], given: bytes = b"") -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], input=given, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def _blobs(root: Path, ids: Sequence[str]) -> list[bytes]:
    """Read blobs with one git process; each answer is `<id> blob <size>`, a newline, the bytes, a newline."""
    rest = _git(root, ["cat-file", "--batch"], "".join(f"{blob}\n" for blob in ids).encode()) if ids else b""
    contents, position = [], 0
    for _ in ids:
        end = (rest or b"").index(b"\n", position)
        size = int((rest or b"")[position:end].split()[2])
        contents.append((rest or b"")[end + 1 : end + 1 + size])
        position = end + size + 2
    return contents


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((folder / "study.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _machine(study: dict[str, Any]) -> tuple[Any, ...]:
    run = study["run"]
    gpu = run["gpu"] if study["device"].startswith("cuda") else None
    return run["cpu"], study["versions"].get("torch"), study["threads"], study["device"], gpu


def _same_bytes(study: dict[str, Any], before: dict[str, Any], new: Path, old: Path) -> bool:
    skipped = ("run", "versions", "content_key")
    if any(study[key] != before[key] for key in study if key not in skipped):
        return False
    return all((old / f).is_file() and (new / f).read_bytes() == (old / f).read_bytes() for f in study_files(study))


def _compare_identity(study: dict[str, Any], before: dict[str, Any], found: _Findings) -> None:
    for key in _IDENTITY:
        if study[key] != before[key]:
            found.differs.append(f"{key}: {_short(before[key])} became {_short(study[key])}")
    for key in _CIRCUMSTANCES:
        if study[key] != before[key]:
            found.notes.append(f"{key}: {_short(before[key])} became {_short(study[key])}")
    for kind in ("tables", "figures"):
        _compare_sets(kind, [x["name"] for x in study[kind]], [x["name"] for x in before[kind]], found)
        texts = {x["name"]: x["caption"] for x in before[kind]}
        changed = [x["name"] for x in study[kind] if texts.get(x["name"], x["caption"]) != x["caption"]]
        found.notes += [f"{kind}: another caption of {name}" for name in changed]


def _compare_sets(kind: str, names: Sequence[str], before: Sequence[str], found: _Findings) -> None:
    for name in sorted(set(names) - set(before)):
        found.differs.append(f"{kind}: {name} is new")
    for name in sorted(set(before) - set(names)):
        found.differs.append(f"{kind}: {name} is gone")


def _compare_claims(study: dict[str, Any], before: dict[str, Any], found: _Findings) -> None:
    claims = {claim["id"]: claim for claim in study["claims"]}
    older = {claim["id"]: claim for claim in before["claims"]}
    _compare_sets("claims", list(claims), list(older), found)
    for name in [name for name in claims if name in older]:
        claim, was = claims[name], older[name]
        if claim["holds_if"] != was["holds_if"]:
            found.differs.append(f"claim {name}: the rule was {was['holds_if']} and is {claim['holds_if']}")
        if claim["verdict"] != was["verdict"]:
            flipped = {claim["verdict"], was["verdict"]} == {"holds", "fails"}
            line = f"claim {name}: {was['verdict']} became {claim['verdict']}"
            (found.verdicts if flipped else found.notes).append(line)
        _compare_estimates(name, claim["estimate"], was["estimate"], same_machine(study, before), found)


def _compare_estimates(
    name: str, estimate: dict[str, Any] | None, was: dict[str, Any] | None, same: bool, found: _Findings
) -> None:
    if estimate is None or was is None:
        if estimate is not was:
            found.notes.append(f"claim {name}: only one of the two results has an estimate")
        return
    if estimate["unit"] != DETERMINISTIC and not same:
        return  # another machine draws other runs: the verdict is what counts
    value, older = estimate["value"], was["value"]
    if not math.isclose(value, older, rel_tol=DETERMINISTIC_TOLERANCE, abs_tol=DETERMINISTIC_TOLERANCE):
        found.differs.append(f"claim {name}: the estimate was {older!r} and is {value!r}")


def _compare_tables(study: dict[str, Any], before: dict[str, Any], new: Path, old: Path, found: _Findings) -> None:
    same = same_machine(study, before)
    if same and study["runs"]["sha256"] != before["runs"]["sha256"]:
        found.differs.append("runs: not the same rows, although processor, torch build and threads are the same")
    older = {table["name"]: table for table in before["tables"]}
    for table in [table for table in study["tables"] if table["name"] in older]:
        was = older[table["name"]]
        if table["sha256"] == was["sha256"] or (table["tolerance"] == "same machine" and not same):
            continue
        try:
            problem = compare_tables(_table(new / table["file"]), _table(old / was["file"]), table["tolerance"])
        except (OSError, ValueError, TypeError) as error:
            problem = f"cannot be read ({error})"
        if problem:
            found.differs.append(f"table {table['name']}: {problem}")
        else:
            found.notes.append(f"table {table['name']}: other bytes, within its tolerance")


def compare_tables(new: pd.DataFrame, old: pd.DataFrame, tolerance: float | str) -> str:
    """Return what is wrong between two tables, an empty text when they agree within `tolerance`.

    A number is the absolute tolerance of all numeric columns. `"summary"`: a column `x` with a sibling `x_se` may
    differ by 4 * sqrt(2) * the larger standard error, row by row; the standard errors themselves are not compared. All
    other columns, and everything at `"same machine"`, must be equal (numbers to twelve digits).

    Raises:
        ValueError: unknown tolerance.
    """
    if isinstance(tolerance, str) and tolerance not in ("summary", "same machine"):
        raise ValueError(f"tolerance={tolerance!r} is unknown: a number, 'summary' or 'same machine' is needed")
    if list(new.columns) != list(old.columns):
        return f"the columns were {', '.join(old.columns)} and are {', '.join(new.columns)}"
    if len(new) != len(old):
        return f"it had {len(old)} rows and has {len(new)}"
    for column in new.columns:
        if tolerance == "summary" and column.endswith("_se") and column[:-3] in new.columns:
            continue
        problem = _compare_column(new, old, column, tolerance)
        if problem:
            return problem
    return ""


def _compare_column(new: pd.DataFrame, old: pd.DataFrame, column: str, tolerance: float | str) -> str:
    import numpy as np
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    a, b = new[column], old[column]
    numeric = all(is_numeric_dtype(x) and not is_bool_dtype(x) for x in (a, b))
    if not numeric:
        wrong = ~((a == b) | (a.isna() & b.isna()))
    else:
        allowed: Any = 0.0 if isinstance(tolerance, str) else float(tolerance)
        if tolerance == "summary" and f"{column}_se" in new.columns:
            allowed = SUMMARY_FACTOR * np.fmax(new[f"{column}_se"], old[f"{column}_se"]).fillna(0.0)
        # a rounding error of the text form must not decide where the tolerance itself is hit exactly
        near = (a - b).abs() <= allowed + 1e-12 * b.abs()
        wrong = ~(near | (a == b) | (a.isna() & b.isna()))
    if not wrong.any():
        return ""
    row = int(wrong.to_numpy().argmax())
    return f"{column} in row {row + 1} was {old[column].iloc[row]} and is {new[column].iloc[row]}"


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:77]}..."
