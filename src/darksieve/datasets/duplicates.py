"""Rows that are there twice: a file that was listed twice, a job that ran twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.rows import Rows
from darksieve.errors import InputError

_ROWS_AT_FIRST = 2_000_000
_GROWTH = 1.25  # of the memory for marks, where it is full


def marks_of(key: NDArray[np.uint64], candidate: NDArray[np.int32]) -> NDArray[np.uint64]:
    """One number per row that is the same for the same event key and candidate, shape (n,).

    Keys are uniform hashes, so adding an odd multiple of the small numbers keeps different rows apart.
    """
    return key + (candidate + np.int64(1)).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


class DuplicateSearch:
    """Marks of the rows of a stream: 8 bytes per row that passed the selections, 10 at most."""

    def __init__(self) -> None:
        self._marks = np.empty(_ROWS_AT_FIRST, dtype=np.uint64)  # takes memory only as it is filled
        self._n = 0

    def add(self, marks: NDArray[np.uint64]) -> None:
        """Keep the marks of one chunk."""
        end = self._n + len(marks)
        if end > len(self._marks):
            # in place where the system can: no second copy of what is there
            self._marks.resize(max(end, int(_GROWTH * len(self._marks))), refcheck=False)
        self._marks[self._n : end] = marks
        self._n = end

    def repeated(self) -> tuple[NDArray[np.uint64], int]:
        """The marks that are there more than once, in increasing order, and how many rows repeat another."""
        marks = self._marks[: self._n]
        marks.sort()
        repeats = marks[1:] == marks[:-1]
        n = int(np.count_nonzero(repeats))
        return (np.unique(marks[1:][repeats]), n) if n else (np.zeros(0, dtype=np.uint64), 0)


def duplicate_error(
    rows: Iterable[tuple[Path, Rows]],
    repeated: NDArray[np.uint64],
    n_repeats: int,
    place: str,
    event_key: Sequence[str],
) -> InputError:
    """The error that says how many rows are there twice, and where the first two are.

    Args:
        rows: All rows again, with their files.
        repeated: Marks that are there more than once.
        n_repeats: Rows that repeat another.
        place: Whose events they are, for the message.
        event_key: Branches that make the event key.
    """
    seen: dict[int, str] = {}
    n_rows = 0
    where = ""
    for path, chunk in rows:
        n_rows += len(chunk)
        marks = marks_of(chunk.key, chunk.candidate)
        for row in np.flatnonzero(np.isin(marks, repeated)) if not where else ():
            origin = f"{path} entry {chunk.entry[row]}"
            first = seen.setdefault(int(marks[row]), origin)
            if first != origin:
                where = f"first {origin}, which repeats {first}"
                break
    return InputError(
        f"{place}: {n_repeats} of {n_rows} rows are there twice (same {', '.join(event_key)} and "
        f"candidate), {where}; is a file listed twice, or does "
        "the event key lack a branch? duplicates: keep reads them all"
    )
