"""What happens after an execution: check, compare, publish and record a good one; keep the traces of a bad one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from twelvefold.run.compare import compare_results
from twelvefold.run.done import Keys, executed_path, result_folder, write_record
from twelvefold.run.execute import Attempt
from twelvefold.run.jobs import Outcome
from twelvefold.run.publish import StageProblem, TreeProblem, explain, move_file, publish_results, read_stage


def conclude(attempt: Attempt, root: Path, preset: str, seed: int, keys: Keys, older: Path) -> Outcome:
    """Turn an attempt into an outcome; called in the runner, which holds the tree's lock.

    `older` is the folder that the result is compared with. Results appear file by file, then the executed copy, and at
    last (seed 0 only) the record that lets the next run skip this notebook: killed in between, it is simply run again.
    """
    executed = executed_path(root, preset, seed, attempt.name)
    results = attempt.stage / "results" / attempt.name
    try:
        if not attempt.ok:
            return _keep_failed(attempt, executed, attempt.message)
        study = read_stage(results, attempt.name, preset, seed)
        comparison = compare_results(results, older).kind
        folder = result_folder(root, preset, seed, attempt.name)
        files = publish_results(results, folder)
        log = _keep_executed(attempt, executed)
        current = study["content_key"] == keys.content_key
        if seed == 0 and current:
            with explain(root):
                write_record(root, preset, attempt.name, keys, [*files, executed])
    except StageProblem as problem:
        return _keep_failed(attempt, executed, str(problem))
    except TreeProblem as problem:
        return failed(attempt.name, attempt.seconds, str(problem))
    message = "" if current else "its sources changed while it ran: run again"
    return Outcome(
        attempt.name, "done", attempt.seconds, verdict_counts(study), comparison, message, folder, log
    )  # fmt: skip


def failed(name: str, seconds: float, message: str, log: Path | None = None) -> Outcome:
    """An outcome for a notebook that has no new result."""
    return Outcome(name, "failed", seconds, message=message, log=log)


def verdict_counts(study: dict[str, Any]) -> dict[str, int]:
    """How many claims of a study hold, fail and so on."""
    return dict(Counter(claim["verdict"] for claim in study["claims"]))


def _keep_executed(attempt: Attempt, executed: Path) -> Path:
    log = executed.with_suffix(".log")
    move_file(attempt.stage / "out.ipynb", executed)
    move_file(attempt.stage / "log.txt", log)
    for path in (executed.with_suffix(".failed.ipynb"), executed.with_suffix(".failed.log")):
        path.unlink(missing_ok=True)
    return log


def _keep_failed(attempt: Attempt, executed: Path, message: str) -> Outcome:
    """Keep the executed copy and the log of a failure beside those of the last success, and name the copy."""
    copy, log = executed.with_suffix(".failed.ipynb"), executed.with_suffix(".failed.log")
    kept = []
    for source, target in ((attempt.stage / "out.ipynb", copy), (attempt.stage / "log.txt", log)):
        if source.is_file():
            move_file(source, target)
            kept.append(target)
    if copy in kept:
        message = f"{message} (executed copy: {copy})"
    return failed(attempt.name, attempt.seconds, message, log if log in kept else None)
