"""Events in files that several processes map: each is sent their description, and all share one copy."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.events import Events, SampleInfo

_OWN = ("sample_index", "weight", "mass", "key", "candidate")


@dataclass(frozen=True)
class SharedEvents:
    """Where the columns of some events lie, one file each, as they are in memory.

    Attributes:
        folder: It has to stay as long as a process is to map them.
        samples: Of the events.
        columns: Names and types, in the order of the files; the events' own arrays come first.
    """

    folder: Path
    samples: tuple[SampleInfo, ...]
    columns: tuple[tuple[str, str], ...]

    @classmethod
    def write(cls, events: Events, folder: Path) -> SharedEvents:
        """Write events into an empty folder.

        Raises:
            OSError: If the disk is full.
        """
        arrays = [*((name, getattr(events, name)) for name in _OWN), *events.columns.items()]
        for i, (_, values) in enumerate(arrays):
            np.ascontiguousarray(values).tofile(folder / str(i))
        return cls(folder, events.samples, tuple((name, values.dtype.str) for name, values in arrays))

    def map(self) -> Events:
        """The events, as read-only maps of the files: pages are read when they are looked at."""
        arrays = [_mapped(self.folder / str(i), dtype) for i, (_, dtype) in enumerate(self.columns)]
        own = dict(zip(_OWN, arrays, strict=False))
        names = [name for name, _ in self.columns[len(_OWN) :]]
        return Events(columns=dict(zip(names, arrays[len(_OWN) :], strict=True)), samples=self.samples, **own)


def _mapped(path: Path, dtype: str) -> NDArray:
    with open(path, "rb") as file:
        if not path.stat().st_size:
            return np.zeros(0, dtype)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype)
