"""What a file holds: the same description for a TTree, an RNTuple and a Parquet table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np

from darksieve.datasets.names import BranchNames


class Format(StrEnum):
    """How a file keeps its rows."""

    TTREE = "TTree"
    RNTUPLE = "RNTuple"
    PARQUET = "Parquet"


@dataclass(frozen=True)
class TreeInfo:
    """What one file holds.

    Attributes:
        path: The file.
        tree: The tree's name; empty for a Parquet file, which is one table.
        n_entries: Rows.
        types: Branch -> type of its numbers, None for a branch that holds no single numbers.
        lists: Branch that holds a list of numbers per row -> type of those numbers.
        format: TTree, RNTuple or Parquet.
    """

    path: Path
    tree: str
    n_entries: int
    types: Mapping[str, np.dtype | None]
    lists: Mapping[str, np.dtype] = field(default_factory=dict)
    format: Format = Format.TTREE

    @property
    def place(self) -> str:
        """File and tree, for messages."""
        return f"{self.path}:{self.tree}" if self.tree else str(self.path)

    @cached_property
    def names(self) -> BranchNames:
        """The branch names, to be found in basf2's or ROOT's form."""
        return BranchNames(self.types, self.place)


def number_type(dtype: np.dtype | None) -> np.dtype | None:
    """The type in this machine's byte order if it is one of numbers or flags, else None."""
    if dtype is None or dtype.kind not in "biuf" or dtype.shape != ():
        return None
    return dtype.newbyteorder("=")


def rows_within(chunk_rows: int, chunk_bytes: int, bytes_per_row: float) -> int:
    """Rows of a chunk that keeps both bounds; one at least."""
    return max(1, min(chunk_rows, int(chunk_bytes / max(bytes_per_row, 1e-9))))
