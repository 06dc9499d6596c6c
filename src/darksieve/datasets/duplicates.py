"""Rows that are there twice: a file that was listed twice, a job that ran twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.events import Events
from darksieve.errors import InputError


def find_duplicates(events: Events) -> NDArray[np.intp]:
    """Rows that repeat an earlier row's sample, event key and candidate, in increasing order."""
    # keys are uniform hashes, so adding an odd multiple of the small numbers keeps different rows apart
    small = events.sample_index.astype(np.int64) * 100_003 + events.candidate
    mark = events.key + (small + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    in_order = np.sort(mark)
    if not (in_order[1:] == in_order[:-1]).any():
        return np.zeros(0, dtype=np.intp)  # as a rule, and far faster than the stable sort below
    order = np.argsort(mark, kind="stable")
    repeats = mark[order][1:] == mark[order][:-1]
    return np.sort(order[1:][repeats])


def refuse_duplicates(
    events: Events, origins: Sequence[tuple[Path, NDArray[np.int64]]], place: str, event_key: Sequence[str]
) -> None:
    """Refuse rows that repeat an earlier row's event key and candidate.

    Args:
        events: The rows.
        origins: Files and entries that the rows come from, in their order.
        place: Whose events they are, for the message.
        event_key: Branches that make the event key.

    Raises:
        InputError: Says how many there are and where the first is.
    """
    twice = find_duplicates(events)
    if not len(twice):
        return
    second = int(twice[0])
    same = (events.key == events.key[second]) & (events.candidate == events.candidate[second])
    first = int(np.flatnonzero(same)[0])
    ends = np.cumsum([len(entries) for _, entries in origins])

    def origin(row: int) -> str:
        part = int(np.searchsorted(ends, row, side="right"))
        path, entries = origins[part]
        return f"{path} entry {entries[row - (ends[part] - len(entries))]}"

    raise InputError(
        f"{place}: {len(twice)} of {len(events)} rows are there twice (same {', '.join(event_key)} and "
        f"candidate), first {origin(second)}, which repeats {origin(first)}; is a file listed twice, or does "
        "the event key lack a branch? duplicates: keep reads them all"
    )
