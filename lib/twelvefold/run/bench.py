"""`bench`: runs tests/benchmarks and writes what they measured to figures/bench/ as json, csv and md."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twelvefold.core.determinism import cpu_name, versions
from twelvefold.run.jobs import RunError
from twelvefold.run.ledger import cell, table, write_atomically
from twelvefold.run.suite import pytest_status

FIELDS = ("benchmark", "what", "peer", "ours_seconds", "peer_seconds", "ratio", "target")


class BenchError(RunError):
    """There is nothing to measure, or nothing was measured."""

    exit_code = 1


def run_benchmarks(root: Path, arguments: Sequence[str] = ()) -> int:
    """Run the benchmarks, write figures/bench/bench.{json,csv,md}, print the table; return pytest's exit status.

    Raises:
        BenchError: without tests/benchmarks, or when no benchmark recorded a ratio.
    """
    if not (root / "tests" / "benchmarks").is_dir():
        raise BenchError(f"{root / 'tests' / 'benchmarks'} does not exist: this tree has no benchmarks")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        words = ["-q", "tests/benchmarks", f"--benchmark-json={report}", *arguments]
        status = pytest_status(root, words, {})
        found = read_report(json.loads(report.read_text())) if report.is_file() and report.stat().st_size else []
    if not found:
        raise BenchError(f"no benchmark recorded a ratio (pytest ended with status {status})")
    write_results(root, found)
    print(markdown(found))
    return status


def read_report(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the benchmarks of pytest-benchmark's report that recorded a ratio to a peer, sorted by name."""
    rows = [{"benchmark": entry["name"], **entry["extra_info"]} for entry in report["benchmarks"]]
    return sorted((row for row in rows if "ratio" in row), key=lambda row: str(row["benchmark"]))


def write_results(root: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write the three files and return their folder."""
    folder = root / "figures" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    machine = {"cpu": cpu_name(), "versions": versions()}
    payload = json.dumps({"machine": machine, "benchmarks": list(rows)}, indent=1, sort_keys=True, default=str)
    write_atomically(folder / "bench.json", (payload + "\n").encode())
    stream = io.StringIO()
    writer = csv.DictWriter(stream, FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / "bench.csv", stream.getvalue().encode())
    text = f"# Benchmarks\n\nMedians in one process on {machine['cpu']}, one thread; ratio = peer / ours.\n\n"
    write_atomically(folder / "bench.md", (text + markdown(rows) + "\n").encode())
    return folder


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of ratios."""
    lines = [[cell(str(row.get("what", row["benchmark"]))), cell(str(row.get("peer", ""))),
              _seconds(row.get("ours_seconds")), _seconds(row.get("peer_seconds")), f"{row['ratio']:.2f}",
              f"{row['target']:g}" if "target" in row else "-"] for row in rows]
    return table(("what", "peer", "ours, s", "peer, s", "ratio", "target"), lines)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
