"""LEDGER.md per preset and the generated tables of README.md, made from study.json files and nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twelvefold.core.folder import write_bytes
from twelvefold.core.presets import PRESETS
from twelvefold.core.schema import SchemaError, check_study
from twelvefold.core.sources import SourceError, content_key
from twelvefold.run.jobs import RunError

VERDICTS = ("holds", "fails", "undecided", "not tested")
_HEAD = ("claim", "scope", "source in the paper", "paper", "ours", "holds if", "verdict", "run", "see")
_SYMBOLS = {"above": "> {}", "below": "< {}", "within": "in [{}, {}]", "outside": "outside [{}, {}]", "equals": "= {}"}


class LedgerError(RunError):
    """A result that cannot be entered, or a README without its markers."""

    exit_code = 1


@dataclass(frozen=True)
class Entry:
    """One result: its study.json and whether it was made by the code as it stands (`older` is empty then)."""

    name: str
    preset: str
    study: dict[str, Any]
    older: str


def read_entries(root: Path, preset: str) -> list[Entry]:
    """Return the results of a preset, sorted by name.

    Raises:
        LedgerError: for a study.json that is damaged or lies in the wrong folder.
    """
    folder = root / "figures" / preset
    return [_read(root, preset, path) for path in sorted(folder.glob("*/*/study.json"))]


def _read(root: Path, preset: str, path: Path) -> Entry:
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
        check_study(study)
    except (ValueError, SchemaError) as error:
        raise LedgerError(f"{path} is damaged: {error} Restore it from version control or run it again") from None
    name = path.parent.relative_to(root / "figures" / preset).as_posix()
    if (study["name"], study["preset"]) != (name, preset):
        raise LedgerError(f"{path} says {study['preset']!r}, {study['name']!r}: it lies in the wrong folder")
    return Entry(name, preset, study, _older(root, name, study))


def _older(root: Path, name: str, study: dict[str, Any]) -> str:
    """Return the mark of a result that the code as it stands would not give, empty when it would."""
    try:
        if study["content_key"] == content_key(root, name):
            return ""
    except SourceError:
        return "older code: its notebook is gone or cannot be read"
    commit = study["run"]["commit"]
    return f"older code (commit {commit[:10]})" if commit else "older code (commit not known)"


def number(value: float) -> str:
    """Return a number with four significant digits."""
    return f"{value:.4g}"


def rule_text(holds_if: dict[str, Any]) -> str:
    """Return a rule in symbols, like `> 0` or `in [-0.1, 0.1]`."""
    return _SYMBOLS[holds_if["rule"]].format(*map(number, holds_if["args"]))


def ours_text(estimate: dict[str, Any] | None) -> str:
    """Return an estimate with interval, level and number of units; a deterministic check with its number of cases."""
    if estimate is None:
        return "-"
    if estimate["unit"] == "deterministic":
        return f"{number(estimate['value'])} ({_count(estimate['n'], 'case')})"
    interval = f"[{number(estimate['low'])}, {number(estimate['high'])}]"
    level = f"{100 * estimate['level']:.4g} %"
    return f"{number(estimate['value'])} {interval} ({level}, {_count(estimate['n'], estimate['unit'])})"


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def paper_text(claim: dict[str, Any]) -> str:
    """Return the paper's number and what it says; "not known" where it gives no number."""
    value = "not known" if claim["paper_value"] is None else number(claim["paper_value"])
    return f"{value}<br>says: {claim['paper_says']}" if claim["paper_says"] else value


def verdict_counts(study: dict[str, Any]) -> str:
    """Return counts like `3 holds, 1 undecided`."""
    counts = Counter(claim["verdict"] for claim in study["claims"])
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])


def cell(text: str) -> str:
    """Return text that fits into one cell of a Markdown table."""
    return re.sub(r"\s+", " ", text).strip().replace("\\", "\\\\").replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells are expected to be escaped already."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _device(study: dict[str, Any]) -> str:
    return study["device"] if study["run"]["gpu"] is None else f"{study['device']}, {study['run']['gpu']}"


def _links(entry: Entry, notebooks: str, figures: str) -> str:
    """Return links to the notebook and its figures; the arguments are the folders as seen from the page."""
    files = [figure["files"][0] for figure in entry.study["figures"]]
    return ", ".join([f"[notebook]({notebooks}/{entry.name}.ipynb)",
                      *(f"[{Path(file).stem}]({figures}/{entry.name}/{file})" for file in files)])


def _claim_row(entry: Entry, claim: dict[str, Any]) -> list[str]:
    says = f"{claim['says']} ({claim['note']})" if claim["note"] else claim["says"]
    verdict = f"**{claim['verdict']}**" + (f"<br>{entry.older}" if entry.older else "")
    texts = [says, claim["scope"], claim["source"], paper_text(claim), ours_text(claim["estimate"]),
             rule_text(claim["holds_if"])]
    run = cell(f"{entry.preset}, {_device(entry.study)}")
    links = _links(entry, "../../notebooks", ".")
    return [f"`{claim['id']}` {cell(texts[0])}", *map(cell, texts[1:]), verdict, run, links]


def _papers(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    papers: dict[str, list[Entry]] = {}
    for entry in entries:
        papers.setdefault(entry.name.partition("/")[0], []).append(entry)
    return papers


def ledger_text(root: Path, preset: str) -> str:
    """Return LEDGER.md of a preset: one table per paper, one row per claim.

    Raises:
        LedgerError: for a damaged result.
    """
    parts = [f"# Ledger, preset {preset}",
             "Generated from the study.json files below this folder. \"ours\" is the estimate with its interval, level "
             "and number of units; the verdict follows from the interval and the rule, which was fixed before the run. "
             "\"older code\" marks results that the code of this tree has not computed."]
    for paper, entries in _papers(read_entries(root, preset)).items():
        rows = [_claim_row(entry, claim) for entry in entries for claim in entry.study["claims"]]
        parts += [f"## {paper}", table(_HEAD, rows)]
    return "\n\n".join(parts) + "\n"


def write_ledger(root: Path, preset: str) -> Path | None:
    """Write figures/<preset>/LEDGER.md; where there is no result there is no ledger (None).

    Raises:
        LedgerError: for a damaged result.
    """
    path = root / "figures" / preset / "LEDGER.md"
    if not any(path.parent.glob("*/*/study.json")):
        return None
    write_atomically(path, ledger_text(root, preset).encode())
    return path


def write_atomically(path: Path, data: bytes) -> bool:
    """Replace a file at once; return whether its bytes changed. An equal file is not touched."""
    if path.is_file() and path.read_bytes() == data:
        return False
    write_bytes(path, data)
    return True


def _summary_cell(entry: Entry | None) -> str:
    if entry is None:
        return "-"
    return verdict_counts(entry.study) + (f"<br>{entry.older}" if entry.older else "")


def results_block(root: Path) -> str:
    """Return README's result tables: verdicts per notebook and preset, then the claims of each paper, folded."""
    by_preset = {preset: {entry.name: entry for entry in read_entries(root, preset)} for preset in PRESETS}
    shown = [preset for preset in PRESETS if preset != "paper" or by_preset[preset]]
    names = sorted({name for entries in by_preset.values() for name in entries})
    if not names:
        return "No results yet: `./run_all.sh` makes them."
    rows = [[f"[{name}](notebooks/{name}.ipynb)", *(_summary_cell(by_preset[preset].get(name)) for preset in shown)]
            for name in names]
    parts = [table(["notebook", *(f"[{p}](figures/{p}/LEDGER.md)" if by_preset[p] else p for p in shown)], rows)]
    entries = [by_preset[preset][name] for name in names for preset in shown if name in by_preset[preset]]
    return "\n\n".join([*parts, *(_folded(paper, found) for paper, found in _papers(entries).items())])


def _folded(paper: str, entries: Sequence[Entry]) -> str:
    rows = [[f"{cell(claim['says'])} ({claim['scope']})", cell(paper_text(claim)), cell(ours_text(claim["estimate"])),
             rule_text(claim["holds_if"]), f"**{claim['verdict']}**" + (f"<br>{entry.older}" if entry.older else ""),
             cell(f"{entry.preset}, {_device(entry.study)}"), _links(entry, "notebooks", f"figures/{entry.preset}")]
            for entry in entries for claim in entry.study["claims"]]
    head = ("claim (scope)", "paper", "ours", "holds if", "verdict", "run", "see")
    return f"<details><summary>{paper}: every claim</summary>\n\n{table(head, rows)}\n\n</details>"


def budget_block(root: Path) -> str:
    """Return README's table of minutes and memory: per paper, preset and hardware, computed from the `run` records."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for entry in (entry for preset in PRESETS for entry in read_entries(root, preset)):
        run = entry.study["run"]
        cpu = run["cpu"].partition(", flags")[0]  # the digest tells machines apart, not readers
        hardware = cpu if run["gpu"] is None else f"{run['gpu']} ({cpu})"
        groups.setdefault((entry.name.partition("/")[0], entry.preset, hardware), []).append(run)
    if not groups:
        return "No results yet: `./run_all.sh` makes them."
    rows = [[paper, preset, cell(hardware), *_budget_cells(runs)]
            for (paper, preset, hardware), runs in sorted(groups.items(), key=_budget_order)]
    head = ("paper", "preset", "hardware", "notebooks", "CPU minutes, cold cache", "the longest", "peak memory, GB")
    return table(head, rows)


def _budget_cells(runs: Sequence[dict[str, Any]]) -> list[str]:
    minutes = [run["cpu_seconds"] / 60 for run in runs]
    gigabytes = max(run["peak_rss_mb"] for run in runs) / 1000
    return [str(len(runs)), f"{sum(minutes):.1f}", f"{max(minutes):.1f}", f"{gigabytes:.2f}"]


def _budget_order(item: tuple[tuple[str, str, str], Any]) -> tuple[str, int, str]:
    paper, preset, hardware = item[0]
    return paper, PRESETS.index(preset), hardware


def picture_block(root: Path, text: str) -> str:
    """Return a figure with alternative text and caption: the one that README shows already, else the first there is."""
    found = [(f"figures/quick/{entry.name}/{figure['files'][0]}", figure, entry.name)
             for entry in read_entries(root, "quick") for figure in entry.study["figures"]]
    if not found:
        return ""
    shown = [item for item in found if f"]({item[0]})" in text.partition("<!-- picture:end -->")[0]]
    path, figure, name = (shown or found)[0]
    alt = re.sub(r"\s+", " ", figure["alt"]).replace("[", "(").replace("]", ")")
    return f"![{alt}]({path})\n\n*{cell(figure['caption'])}* ([{name}](notebooks/{name}.ipynb))"


def replace_block(text: str, name: str, body: str) -> str:
    """Return `text` with what lies between `<!-- name:begin -->` and `<!-- name:end -->` replaced by `body`.

    Raises:
        LedgerError: unless each marker occurs exactly once, in this order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise LedgerError(f"README.md: expected {begin} and {end} once each, in this order")
    head, rest = text.split(begin)
    inner = f"\n{body}\n" if body else "\n"
    return head + begin + inner + end + rest.split(end)[1]


def update_readme(root: Path) -> bool:
    """Write README.md's blocks `results` and `budget`; return whether its bytes changed.

    Raises:
        LedgerError: without README.md or its markers, or for a damaged result.
    """
    path = root / "README.md"
    if not path.is_file():
        raise LedgerError(f"{path} is missing")
    text = path.read_text(encoding="utf-8")
    text = replace_block(text, "results", results_block(root))
    text = replace_block(text, "budget", budget_block(root))
    if "<!-- picture:begin -->" in text:
        text = replace_block(text, "picture", picture_block(root, text))
    return write_atomically(path, text.encode())
