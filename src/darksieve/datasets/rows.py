"""Rows of a file on their way to Events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        return Rows(
            {name: values.take(rows) for name, values in self.columns.items()},
            self.key.take(rows),
            self.candidate.take(rows),
            self.mass.take(rows),
            self.weight.take(rows),
            self.entry.take(rows),
        )


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Rows of several parts that have the same columns, in their order; no lists."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("key", "candidate", "mass", "weight", "entry")
        ),
    )


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
