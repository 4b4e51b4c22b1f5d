"""`doctor`: what a bug report needs, and for whatever is wrong the cure."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from twelvefold.run import pins

LEAST_FREE_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """One line of the report. `state` is `ok`, `note` (nothing is wrong, something is absent) or `wrong`."""

    topic: str
    state: str
    text: str
    cure: str = ""


def examine(root: Path) -> list[Finding]:
    """Return everything worth knowing about this machine and tree; a check that fails is itself a finding."""
    checks: list[Callable[[Path], Iterator[Finding]]] = [
        _python, _versions, _environment, _torch, _data, _folders, _space,
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check(root)
        except Exception as error:
            topic = check.__name__.strip("_")
            findings.append(Finding(topic, "wrong", f"{type(error).__name__}: {error}", "report this as a bug"))
    return findings


def _python(root: Path) -> Iterator[Finding]:
    yield Finding("project", "ok", f"twelvefold {_version('twelvefold')} in {root}")
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable}), {platform.platform()}")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _versions(root: Path) -> Iterator[Finding]:
    names = ("numpy", "scipy", "pandas", "matplotlib", "scikit-learn", "papermill", "dask", "jupyterlab", "jupytext")
    yield Finding("packages", "ok", ", ".join(f"{name} {_version(name)}" for name in names))


def _environment(root: Path) -> Iterator[Finding]:
    try:
        problems = pins.check(root)
    except pins.SetupError as error:
        yield Finding("pins", "wrong", str(error), "./run_all.sh lock")
        return
    if not problems:
        yield Finding("pins", "ok", "the environment has the versions of requirements.txt and this tree's project")
        return
    more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
    cure = "start through ./run_all.sh, which makes .venv; or pip install -r requirements.txt && pip install -e ."
    yield Finding("pins", "wrong", "; ".join(problems[:5]) + more, cure)


def _torch(root: Path) -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        cure = "pip install the torch version in requirements.txt, or start through ./run_all.sh"
        yield Finding("torch", "wrong", f"cannot be imported: {error}", cure)
        return
    yield Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, "
                  f"OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            text = f"cuda:{index} {device.name}, {device.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"
            yield Finding("device", "ok", text)
    elif torch.version.cuda and shutil.which("nvidia-smi"):
        yield Finding("device", "wrong", f"nvidia-smi is here, but torch ({torch.__version__}) sees no GPU",
                      "update the NVIDIA driver to one that serves this CUDA version, and check CUDA_VISIBLE_DEVICES")
    elif shutil.which("nvidia-smi"):
        yield Finding("device", "wrong", f"nvidia-smi is here, but torch {torch.__version__} is a build without CUDA",
                      "install the CUDA build of the same torch version into this environment")
    else:
        yield Finding("device", "note", "CPU only: presets gpu and paper need --device cpu here, and much patience")


def _data(root: Path) -> Iterator[Finding]:
    from twelvefold.core import data

    for name, entry in sorted(data.registry(root).items()):
        found = data.status(name)
        size = f"{found.size / 1e6:.1f} MB, {found.licence}"
        if found.present:
            yield Finding("data", "ok", f"{name}: {found.where} ({size})")
        else:  # what a package carries must be there; what the user brings is only needed where it is used
            bundled = any(file.package or file.tree for file in entry.files)
            yield Finding("data", "wrong" if bundled else "note", f"{name}: missing ({size})", found.cure)


def _folders(root: Path) -> Iterator[Finding]:
    out, cache = os.environ.get("TWELVEFOLD_OUT"), os.environ.get("TWELVEFOLD_CACHE")
    named = {"figures": root / "figures", "working folder": root / ".twelvefold",
             "results": Path(out) if out else None, "cache": Path(cache) if cache else None}
    for topic, folder in named.items():
        if folder is None:
            continue
        problem = write_problem(folder)
        if problem:
            yield Finding("write", "wrong", f"{topic} {folder}: {problem}",
                          f"chown -R $(id -u) {folder}, or work in a copy of the tree that you own")
        else:
            yield Finding("write", "ok", f"{topic} {folder}")


def write_problem(folder: Path) -> str:
    """Return why nothing can be written in a folder (or where it would be made), empty when something can."""
    while not folder.exists():
        folder = folder.parent
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _space(root: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(root).free / 1e9
    state, cure = ("ok", "") if free >= LEAST_FREE_GB else ("wrong", f"free {LEAST_FREE_GB:.0f} GB; .twelvefold/cache "
                                                            "holds nothing that cannot be computed again")
    yield Finding("disk", state, f"{free:.1f} GB free at {root}", cure)


def print_report(root: Path) -> int:
    """Print the report; return 1 when something is wrong."""
    findings = examine(root)
    for finding in findings:
        mark = {"ok": "  ", "note": "- ", "wrong": "! "}[finding.state]
        print(f"{mark}{finding.topic:<15}{' '.join(finding.text.split())}")
        if finding.cure:
            print(f"{'':17}cure: {' '.join(finding.cure.split())}")
    wrong = sum(finding.state == "wrong" for finding in findings)
    print(f"{wrong} wrong" if wrong else "nothing is wrong")
    return 1 if wrong else 0
