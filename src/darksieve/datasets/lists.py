"""Lists: a branch that holds several numbers per row, as two flat arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Lists:
    """One list of numbers for each of n rows.

    Attributes:
        values: The numbers of all rows, one list after the other, shape (n_values,).
        offsets: Row i has ``values[offsets[i]:offsets[i + 1]]``, shape (n + 1,), from 0 to n_values.

    Raises:
        ValueError: If the offsets do not divide the values.
    """

    values: NDArray
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        offsets = np.asarray(self.offsets, dtype=np.int64)
        if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != len(self.values):
            raise ValueError(f"offsets do not go from 0 to the number of values, {len(self.values)}")
        object.__setattr__(self, "offsets", offsets)

    @classmethod
    def from_counts(cls, values: NDArray, counts: NDArray) -> Lists:
        """Lists of the given lengths, shape (n,)."""
        return cls(values, np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers."""
        return self.values.dtype

    @property
    def counts(self) -> NDArray[np.int64]:
        """Length of each list, shape (n,)."""
        return np.diff(self.offsets)

    def astype(self, dtype: Any, copy: bool = True) -> Lists:
        """The same lists with numbers of another type."""
        return Lists(self.values.astype(dtype, copy=copy), self.offsets)

    def take(self, rows: NDArray[np.integer]) -> Lists:
        """The lists of some rows, by positions."""
        counts = self.counts[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        index = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], counts)
        return Lists(self.values[index], offsets)

    def __getitem__(self, rows: NDArray) -> Lists:
        positions = np.asarray(rows)
        return self.take(np.flatnonzero(positions) if positions.dtype == bool else positions)

    def part(self, start: int, stop: int) -> Lists:
        """The lists of consecutive rows, without a copy of their numbers."""
        offsets = self.offsets[start : stop + 1]
        return Lists(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def repeated(self, values: NDArray) -> NDArray:
        """One number per row, shape (n,), as many times as the row's list is long, shape (n_values,)."""
        return np.repeat(values, self.counts)

    def _where_filled(self, kernel: np.ufunc, empty: float) -> NDArray[np.float64]:
        out = np.full(len(self), empty)
        filled = self.counts > 0
        if filled.any():
            # the lists that are not empty follow each other without gaps
            out[filled] = kernel.reduceat(self.values.astype(np.float64), self.offsets[:-1][filled])
        return out

    def count(self) -> NDArray[np.float64]:
        """Length of each list; of conditions, how many are true. Shape (n,)."""
        return self.sum() if self.dtype == bool else self.counts.astype(np.float64)

    def sum(self) -> NDArray[np.float64]:
        """Sum of each list, 0 for an empty one, shape (n,)."""
        return self._where_filled(np.add, 0.0)

    def mean(self) -> NDArray[np.float64]:
        """Mean of each list, NaN for an empty one, shape (n,)."""
        with np.errstate(invalid="ignore"):
            return self.sum() / self.counts

    def min_of(self) -> NDArray[np.float64]:
        """Smallest number of each list, NaN for an empty one, shape (n,)."""
        return self._where_filled(np.minimum, np.nan)

    def max_of(self) -> NDArray[np.float64]:
        """Largest number of each list, NaN for an empty one, shape (n,)."""
        return self._where_filled(np.maximum, np.nan)

    def first(self) -> NDArray[np.float64]:
        """First number of each list, NaN for an empty one, shape (n,)."""
        out = np.full(len(self), np.nan)
        filled = self.counts > 0
        out[filled] = self.values[self.offsets[:-1][filled]]
        return out


REDUCTIONS = ("count", "sum", "mean", "min_of", "max_of", "first")
