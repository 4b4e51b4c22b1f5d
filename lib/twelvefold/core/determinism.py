"""Determinism of one process, and the facts about the machine that a study records."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PACKAGES = ("numpy", "scipy", "pandas", "torch", "matplotlib", "statsmodels", "scikit-learn")


def setup(device: str | torch.device, threads: int = 1) -> None:
    """Make everything this process computes from here on repeatable bit for bit on this machine.

    Sets torch's deterministic algorithms, the cuBLAS workspace, float32 as the default type, the thread counts (torch,
    the BLAS libraries where threadpoolctl is installed, and the environment of child processes) and turns TF32 off.

    Args:
        device: the device of the study.
        threads: threads of one operation, at least 1. Sums depend on it, so it is part of every result's key.

    Raises:
        ValueError: `threads` is not a whole number of at least 1.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads = {threads!r}; a whole number, at least 1, is needed.")
    import torch

    device = torch.device(device)
    # cuBLAS reads this when its first handle is made
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    # the same switch as use_deterministic_algorithms(True), which loads torch's compiler: 0.7 CPU s and 70 MB a kernel
    torch.set_deterministic_debug_mode("error")
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)
    _limit_libraries(threads)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False  # autotuning picks kernels by time


def _limit_libraries(threads: int) -> None:
    try:
        import threadpoolctl
    except ModuleNotFoundError:
        return
    threadpoolctl.threadpool_limits(limits=threads)


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that can change a number."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "torch" in sys.modules:  # its own string tells CPU builds from CUDA builds
        found["torch"] = str(sys.modules["torch"].__version__)
    return found


def cpu_name() -> str:
    """Return model name, family, model, stepping and a digest of the instruction sets of the processor.

    Virtual machines hide the model behind a generic name, and libraries choose their kernels (and so their rounding) by
    the instruction sets: two machines count as equal only when all of it agrees. Where the system tells nothing, its
    architecture is returned.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine() or "unknown"
    entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    name = entries.get("model name") or platform.machine() or "unknown"
    numbers = [f"{key.split()[-1]} {entries[key]}" for key in ("cpu family", "model", "stepping") if key in entries]
    flags = " ".join(sorted(entries.get("flags", entries.get("Features", "")).split()))
    return ", ".join([name, *numbers, f"flags {hashlib.sha256(flags.encode()).hexdigest()[:8]}"])


def gpu_name(device: torch.device) -> str | None:
    """Return the name of the CUDA GPU behind `device`, None for any other device."""
    if device.type != "cuda":
        return None
    import torch

    return torch.cuda.get_device_name(device)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process since its start, with those of its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_rss_mb() -> float:
    """Return the largest resident memory of this process so far, in MB (10^6 bytes)."""
    try:
        # getrusage starts from the size of the process that launched this one; VmHWM does not
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return _peak_by_system_call()


def _peak_by_system_call() -> float:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def git_commit(root: Path) -> str | None:
    """Return the commit checked out in the work tree `root`, None when it is no git work tree or has no commit."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
