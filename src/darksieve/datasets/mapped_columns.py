"""Columns on disk: events of more rows than memory holds, as read-only maps of files that have no name.

The files lose their name as soon as they are made, so that nothing is left behind however a process ends.
Pages that were read are given back with :func:`release`; they stay in the system's cache while there is room.
"""

from __future__ import annotations

import mmap
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.events import Events, SampleInfo, map_of, merge_samples

_OWN = {"weight": np.float64, "mass": np.float64, "key": np.uint64, "candidate": np.int32}
_ROWS_AT_ONCE = 100_000


class _ColumnFile:
    """One column on its way to disk; a wider type of a later part widens what is there."""

    def __init__(self, folder: Path, dtype: np.dtype) -> None:
        self.folder = folder
        self.dtype = dtype
        self.file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed when it is mapped

    def append(self, values: NDArray) -> None:
        dtype = np.result_type(self.dtype, values.dtype)
        if dtype != self.dtype:
            wider = _ColumnFile(self.folder, dtype)
            self.file.seek(0)
            while some := self.file.read(_ROWS_AT_ONCE * self.dtype.itemsize):
                wider.append(np.frombuffer(some, self.dtype).astype(dtype))
            self.file.close()
            self.file, self.dtype = wider.file, dtype
        self.file.write(np.ascontiguousarray(values, dtype=self.dtype).data)

    def mapped(self) -> NDArray:
        """The column, shape (n,), read-only."""
        with self.file as file:
            file.flush()
            if not file.tell():
                return np.zeros(0, self.dtype)
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), self.dtype)


def keep_on_disk(parts: Iterable[Events], folder: str | Path) -> Events:
    """Rows of all parts, in order, with every column on disk; in memory is one part at a time.

    As ``concatenate``, but a column that one part lacks is dropped.

    Args:
        parts: As a reader's ``chunks()`` gives them.
        folder: Where the files lie, as long as the events are in use: on a disk, not in memory.

    Raises:
        ValueError: If there are no parts, or one name has two roles.
        OSError: If the disk is full; the message names the folder.
    """
    folder = Path(folder)
    samples: list[SampleInfo] = []
    own = {name: _ColumnFile(folder, np.dtype(dtype)) for name, dtype in _OWN.items()}
    index = _ColumnFile(folder, np.dtype(np.int16))
    columns: dict[str, _ColumnFile] | None = None
    try:
        for part in parts:
            if columns is None:
                columns = {name: _ColumnFile(folder, v.dtype) for name, v in part.columns.items()}
            for name in set(columns) - set(part.columns):
                columns.pop(name).file.close()
            for name, column in columns.items():
                column.append(part.columns[name])
            for name, column in own.items():
                column.append(getattr(part, name))
            index.append(merge_samples(samples, part.samples)[part.sample_index])
    except OSError as error:
        free = shutil.disk_usage(folder).free
        raise OSError(
            error.errno,
            f"{error.strerror}: columns cannot be kept in {folder} ({free / 1e9:.2f} GB are free)",
        ) from error
    if columns is None:
        raise ValueError("there are no events to keep")
    return Events(
        columns={name: column.mapped() for name, column in columns.items()},
        samples=tuple(samples),
        sample_index=index.mapped(),
        **{name: column.mapped() for name, column in own.items()},
    )


def on_disk(events: Events) -> bool:
    """Whether the columns of some events are maps of files."""
    return any(map_of(values) is not None for values in events.columns.values())


def select_rows(events: Events, rows: NDArray[np.bool_], folder: str | Path) -> Events:
    """Some rows, in memory or on disk as the events are; as ``Events.select``.

    Args:
        rows: Mask, shape (n,).
        folder: As of :func:`keep_on_disk`.
    """
    positions = np.flatnonzero(rows)
    if not on_disk(events):
        return events.select(positions)
    starts = range(0, max(len(positions), 1), _ROWS_AT_ONCE)
    return keep_on_disk((events.select(positions[i : i + _ROWS_AT_ONCE]) for i in starts), folder)


def release(*arrays: NDArray[Any]) -> None:
    """Give back the memory of pages that were read; arrays that are not on disk stay as they are."""
    for values in arrays:
        mapping = map_of(values)
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)
