"""Rows of a file on their way to Events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.lists import Lists

_OWN = ("key", "candidate", "mass", "weight", "entry")
_MARGIN = 1.05  # of the expected number of rows


def take(values: Any, rows: NDArray[Any]) -> Any:
    """Values, or lists of values, of some rows, by positions that are all there."""
    # without numpy's check of each position, which takes most of the time
    return values.take(rows) if isinstance(values, Lists) else values.take(rows, mode="clip")


@dataclass
class Rows:
    """Rows of one file; all arrays have the same length.

    Attributes:
        columns: Name -> values, or lists of values, of each row.
        key: Hash of the event key.
        candidate: Number of the candidate within its event.
        mass: Generated mass in GeV, NaN where there is none.
        weight: Weight.
        entry: Entry of the file's tree that the row comes from.
    """

    columns: dict[str, Any]
    key: NDArray[np.uint64]
    candidate: NDArray[np.int32]
    mass: NDArray[np.float64]
    weight: NDArray[np.float64]
    entry: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.entry)

    def take(self, rows: NDArray[Any]) -> Rows:
        """Some rows, by positions."""
        own = {name: take(getattr(self, name), rows) for name in _OWN}
        return Rows({name: take(values, rows) for name, values in self.columns.items()}, **own)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Rows of several parts that have the same columns, in their order; no lists."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        *(np.concatenate([getattr(part, name) for part in parts]) for name in _OWN),
    )


class RowBuffer:
    """Rows of a whole sample, put together chunk by chunk in arrays of their own, each copied once.

    Args:
        n_entries: Entries that will be read; the arrays are made for as many rows as the chunks so far let
            expect of them, and grow where that is too few.
    """

    def __init__(self, n_entries: int) -> None:
        self._n_entries = n_entries
        self._arrays: dict[str, NDArray] = {}
        self._capacity = 0
        self._n = 0

    def add(self, rows: Rows, n_read: int) -> None:
        """Append a chunk; ``n_read`` entries were read for all chunks so far."""
        end = self._n + len(rows)
        given = {**rows.columns, **{name: getattr(rows, name) for name in _OWN}}
        if end > self._capacity or not self._arrays:
            self._capacity = max(end, int(_MARGIN * end / max(n_read, 1) * self._n_entries))
            if not self._arrays:
                self._arrays = {name: np.empty(self._capacity, v.dtype) for name, v in given.items()}
            for array in self._arrays.values():
                array.resize(self._capacity, refcheck=False)
        for name, values in given.items():
            self._arrays[name][self._n : end] = values
        self._n = end

    def rows(self) -> Rows:
        """All rows; the buffer is empty afterwards.

        Raises:
            ValueError: If no chunk was added.
        """
        if not self._arrays:
            raise ValueError("no chunk was added")
        for array in self._arrays.values():
            array.resize(self._n, refcheck=False)
        columns, self._arrays = self._arrays, {}
        own = {name: columns.pop(name) for name in _OWN}
        return Rows(columns, **own)


def whole_events(
    chunks: Iterable[tuple[Path, Rows]], starts: Callable[[NDArray[np.uint64]], None]
) -> Iterator[tuple[Path, Rows]]:
    """The same rows in chunks that end where an event ends.

    The last event of a chunk is held back until it is known to be whole.

    Args:
        chunks: Rows with their files, in order.
        starts: Called with the keys at which an event begins, shape (n_events,): where one is there twice,
            the candidates of that event are not together.
    """
    held: tuple[Path, Rows] | None = None
    for path, rows in chunks:
        if not len(rows):
            continue
        together = rows if held is None else join_rows([held[1], rows])
        key = together.key
        begins = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        last = int(begins[-1])
        starts(key[begins[:-1]])
        if last:
            yield path, together.take(np.arange(last))
        held = path, together.take(np.arange(last, len(together)))
    if held is not None:
        starts(held[1].key[:1])
        yield held
