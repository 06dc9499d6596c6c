"""Penalty: what a fit pays where its background scores tell of variables that they shall not know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.models.distance_correlation import distance_correlation


@dataclass(frozen=True, eq=False)
class Penalty:
    """``strength`` times the distance correlations of the background's scores with protected variables.

    The same for all models: it needs the scores alone, and gives their gradient.

    Attributes:
        variables: Protected variables of the fit's rows, shape (n, n_variables), finite.
        strength: Weight beside the mean cross-entropy; 0 is no penalty. A strength of some 1 to 10 removes
            most of a correlation (Kasieczka, Shih, arXiv:2001.05310).
        max_rows: Background rows of one evaluation; of more a random part stands for all.

    Raises:
        ValueError: If a value is not finite, or the strength or ``max_rows`` is out of range.
    """

    variables: NDArray[np.float64]
    strength: float
    max_rows: int = 20_000

    def __post_init__(self) -> None:
        if np.ndim(self.variables) != 2 or not np.isfinite(self.variables).all():
            raise ValueError("protected variables must be finite, of shape (n, n_variables)")
        if not (np.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"the penalty's strength is {self.strength}; it is a number of at least 0")
        if self.max_rows < 2:
            raise ValueError(f"max_rows is {self.max_rows}; it is at least 2")

    def __len__(self) -> int:
        return len(self.variables)

    def take(self, rows: NDArray) -> Penalty:
        """The penalty of some rows."""
        return Penalty(self.variables[rows], self.strength, self.max_rows)

    def __call__(
        self,
        score: NDArray,
        is_background: NDArray[np.bool_],
        weight: NDArray,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, NDArray[np.float64]]:
        """Value, and derivative by each score, which is 0 for signal.

        Args:
            score: Shape (n,).
            is_background: Rows that count, shape (n,).
            weight: Not negative, shape (n,).
            rng: Draws the rows where there are more than ``max_rows``.
        """
        rows = np.flatnonzero(is_background & (weight > 0))
        if len(rows) > self.max_rows:
            rng = rng or np.random.default_rng(0)
            rows = np.sort(rng.choice(rows, self.max_rows, replace=False))
        gradient = np.zeros(len(score))
        total = 0.0
        if len(rows) < 2 or not self.strength:
            return total, gradient
        for variable in self.variables[rows].T:
            value, of_rows = distance_correlation(score[rows], variable, weight[rows])
            total += self.strength * value
            gradient[rows] += self.strength * of_rows
        return total, gradient
