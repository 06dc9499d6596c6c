"""Feature blocks: the rows of a feature matrix that is never whole in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.events import Events
from darksieve.datasets.mapped_columns import release

ROWS_PER_BLOCK = 65_536


def feature_matrix(events: Events, features: Sequence[str], rows: NDArray | slice) -> NDArray[np.float32]:
    """Features of some rows, shape (n_rows, n_features), float32, F-ordered; disk pages are given back."""
    n_rows = len(events.key[rows])
    matrix = np.empty((len(features), n_rows), dtype=np.float32)
    for values, name in zip(matrix, features, strict=True):
        values[:] = events[name][rows]
        release(events[name])
    return matrix.T


@dataclass(frozen=True, eq=False)
class FeatureBlocks:
    """Features of some rows of events, made block by block.

    Attributes:
        events: In memory or on disk.
        features: Columns, in the order of the matrix.
        rows: Positions in the events, rising, so that a disk is read from front to back; shape (n,).
        rows_per_block: Rows of a block.

    Raises:
        ValueError: If the rows do not rise.
    """

    events: Events
    features: tuple[str, ...]
    rows: NDArray[np.intp]
    rows_per_block: int = ROWS_PER_BLOCK

    def __post_init__(self) -> None:
        if len(self.rows) > 1 and not (np.diff(self.rows) > 0).all():
            raise ValueError("the rows of feature blocks rise")

    def __len__(self) -> int:
        """Rows of the matrix."""
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return len(self.rows), len(self.features)

    def block(self, part: slice) -> NDArray[np.float32]:
        """Some consecutive rows of the matrix, shape (n, n_features)."""
        return feature_matrix(self.events, self.features, self.rows[part])

    def take(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Some rows of the matrix, which rise, shape (n, n_features)."""
        return feature_matrix(self.events, self.features, self.rows[rows])

    def of(self, chosen: NDArray[np.bool_]) -> FeatureBlocks:
        """Blocks of the chosen rows, a mask of shape (n,)."""
        return replace(self, rows=self.rows[chosen])

    def parts(self) -> list[slice]:
        """Which rows of the matrix each block has."""
        starts = range(0, len(self.rows), self.rows_per_block)
        return [slice(start, min(start + self.rows_per_block, len(self.rows))) for start in starts]

    def __iter__(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Which rows of the matrix, and their features, block by block."""
        for part in self.parts():
            yield part, self.block(part)

    def digest(self) -> str:
        """SHA-256 over the features of all rows, which does not depend on the size of the blocks."""
        sha = hashlib.sha256()
        for _, matrix in self:
            sha.update(np.ascontiguousarray(matrix).data)
        return sha.hexdigest()
