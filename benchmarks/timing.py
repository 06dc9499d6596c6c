"""Times of several things measured in turns, so that a busy machine slows all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def interleaved_seconds(*runs: Callable[[], Any], repetitions: int) -> list[float]:
    """Median wall seconds of each, after one call of each that does not count."""
    for run in runs:
        run()
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repetitions):
        for run, of_run in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run()
            of_run.append(time.perf_counter() - start)
    return [statistics.median(of_run) for of_run in seconds]
