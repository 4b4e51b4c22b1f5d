"""Times our code and its peer in turn, so that a machine that slows down slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

Work = Callable[[], Any]


def measure(ours: Work, peer: Work, rounds: int) -> tuple[float, float]:
    """Median seconds of one call of each, over `rounds` turns after one that is not counted.

    Counted are this process's CPU seconds on one thread, so that other work on the machine does not enter.
    """
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for turn in range(rounds + 1):
        for name, work in (("ours", ours), ("peer", peer)):
            before = time.process_time()
            work()
            if turn:
                seconds[name].append(time.process_time() - before)
    return statistics.median(seconds["ours"]), statistics.median(seconds["peer"])


def record(benchmark: Any, seconds: tuple[float, float], target: float, what: str, peer: str) -> float:
    """Attach seconds, ratio (peer / ours), target and words to the benchmark's record, and return the ratio."""
    ratio = seconds[1] / seconds[0]
    benchmark.extra_info.update(what=what, peer=peer, ours_seconds=seconds[0], peer_seconds=seconds[1])
    benchmark.extra_info.update(ratio=ratio, target=target)
    return ratio


def on_device(work: Callable[[], Any], rounds: int) -> float:
    """Median seconds of one call, the device waited for."""
    seconds = []
    for _ in range(rounds + 3):
        torch.cuda.synchronize()
        before = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - before)
    return sorted(seconds[3:])[rounds // 2]
