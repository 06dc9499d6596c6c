"""What a run says while it works: bars on a terminal, plain lines elsewhere, and all of it in the log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger("darksieve")

Progress = Callable[[float, float], None]
"""Called with (done, total); what a long function takes to say how far it is."""

_SECONDS_BETWEEN_LINES = 20.0


@contextmanager
def bar(label: str) -> Iterator[Progress]:
    """A progress callback that draws a bar on a terminal and prints a line now and then elsewhere."""
    if sys.stderr.isatty():
        yield from _terminal_bar(label)
    else:
        yield _line_printer(label)


def _terminal_bar(label: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns: list[Any] = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=1.0)
        yield lambda done, total: progress.update(task, completed=done / total if total else 1.0)


def _line_printer(label: str) -> Progress:
    last = time.monotonic()

    def report(done: float, total: float) -> None:
        nonlocal last
        now = time.monotonic()
        if total and done < total and now - last > _SECONDS_BETWEEN_LINES:
            last = now
            say(f"{label}: {100 * done / total:.0f} %")

    return report


def say(message: str) -> None:
    """One line for the user, on standard output and in the run's log."""
    log.info(message)
    print(message, flush=True)
