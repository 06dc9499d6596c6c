"""Sums over mass windows for thousands of masses at once, by prefix sums over the sorted window edges."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Windows:
    """Half-open windows [low, high) in the observable, which may overlap.

    Attributes:
        low: Lower edges, shape (n_windows,).
        high: Upper edges, shape (n_windows,).
        edges: All edges, sorted, each once.
        first: Position of each lower edge among them, shape (n_windows,).
        last: Position of each upper edge, shape (n_windows,).
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    edges: NDArray[np.float64] = field(init=False)
    first: NDArray[np.int64] = field(init=False)
    last: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        edges = np.unique(np.concatenate([self.low, self.high]))
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "first", np.searchsorted(edges, self.low))
        object.__setattr__(self, "last", np.searchsorted(edges, self.high))

    @classmethod
    def around(cls, masses: ArrayLike, half_width: ArrayLike) -> Windows:
        """Windows of mass ± half_width."""
        masses = np.asarray(masses, np.float64)
        half_width = np.broadcast_to(np.asarray(half_width, np.float64), masses.shape)
        return cls(masses - half_width, masses + half_width)

    def __len__(self) -> int:
        return len(self.low)

    @property
    def n_cells(self) -> int:
        """Number of cells between, below and above the edges."""
        return len(self.edges) + 1

    def cells(self, observable: ArrayLike) -> NDArray[np.int64]:
        """The cell of each row, shape (n,): how many edges lie at or below its observable."""
        observable = np.asarray(observable)
        edges = self.edges
        if len(observable) > len(edges) and not np.any(observable[1:] < observable[:-1]):
            # sorted rows: one look-up for each edge instead of one for each row
            starts = np.searchsorted(observable, edges, side="left")
            return np.repeat(np.arange(len(edges) + 1), np.diff(starts, prepend=0, append=len(observable)))
        return np.searchsorted(edges, observable, side="right")

    def from_cells(self, by_cell: NDArray) -> NDArray:
        """Sums over each window of a quantity by cell: shape (..., n_cells, k) -> (..., n_windows, k)."""
        total = np.cumsum(by_cell, axis=-2)
        return total[..., self.last, :] - total[..., self.first, :]

    def sums(
        self, observable: ArrayLike, column: ArrayLike, weight: ArrayLike | None, n_columns: int
    ) -> NDArray[np.float64]:
        """Sum of weights in each window by column.

        Args:
            observable: Shape (n,).
            column: Column of each row, 0 … n_columns - 1; rows outside this range are left out. Shape (n,).
            weight: Shape (n,), or None to count rows.
            n_columns: Number of columns.

        Returns:
            Shape (n_windows, n_columns); exactly 0 where no row contributes.
        """
        column = np.asarray(column)
        use = (column >= 0) & (column < n_columns)
        index = self.cells(np.asarray(observable)[use]) * n_columns + column[use]
        shape = (self.n_cells, n_columns)
        counts = self.from_cells(np.bincount(index, minlength=shape[0] * shape[1]).reshape(shape))
        if weight is None:
            return counts.astype(np.float64)
        by_cell = np.bincount(index, np.asarray(weight)[use], minlength=shape[0] * shape[1]).reshape(shape)
        # differences of prefix sums leave rounding dust where there is nothing
        return np.where(counts > 0, np.maximum(self.from_cells(by_cell), 0.0), 0.0)
