"""Maps of a score: its mean in bins of two variables, and its spread among the models of an ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """Mean score in cells.

    Attributes:
        x_edges: Shape (n_x + 1,).
        y_edges: Shape (n_y + 1,).
        mean: Weighted mean of the score, NaN where there is no row, shape (n_x, n_y).
        error: Its statistical error, NaN for fewer than two rows, same shape.
        rows: Rows in the cell, same shape.
    """

    x_edges: NDArray[np.float64]
    y_edges: NDArray[np.float64]
    mean: NDArray[np.float64]
    error: NDArray[np.float64]
    rows: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; None for what does not exist."""
        numbers = {name: _plain(getattr(self, name)) for name in ("mean", "error")}
        edges = {"x_edges": self.x_edges.tolist(), "y_edges": self.y_edges.tolist()}
        return edges | numbers | {"rows": self.rows.tolist()}


def score_map(
    score: ArrayLike, x: ArrayLike, y: ArrayLike, weight: ArrayLike, *, x_edges: ArrayLike, y_edges: ArrayLike
) -> ScoreMap:
    """Mean of a score in cells; rows outside all edges are left out.

    Args:
        score: Shape (n,).
        x, y: Of the same rows.
        weight: Not negative.
        x_edges, y_edges: Rising.
    """
    s, w = np.asarray(score, np.float64), np.asarray(weight, np.float64)
    first, second = np.asarray(x_edges, np.float64), np.asarray(y_edges, np.float64)
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def summed(weights: NDArray) -> NDArray[np.float64]:
        return np.histogram2d(a, b, bins=(first, second), weights=weights)[0]

    rows = summed(np.ones(len(s))).astype(np.int64)
    total = summed(w)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = summed(w * s) / total
        variance = np.maximum(summed(w * s * s) / total - mean**2, 0.0)
        error = np.sqrt(variance * summed(w * w)) / total
    return ScoreMap(first, second, mean, np.where(rows >= 2, error, np.nan), rows)


@dataclass(frozen=True, eq=False)
class ScoreSpread:
    """Spread of the score among the models of an ensemble, in bins of the mean score. Shapes (n_bins,).

    Attributes:
        score: Mean of the ensemble's mean score in the bin.
        median: Median over rows of the standard deviation among models.
        upper: Its 84 % quantile.
        rows: Rows in the bin.
    """

    score: NDArray[np.float64]
    median: NDArray[np.float64]
    upper: NDArray[np.float64]
    rows: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {name: getattr(self, name).tolist() for name in ("score", "median", "upper", "rows")}


def score_spread(mean: ArrayLike, spread: ArrayLike, *, n_bins: int = 15) -> ScoreSpread:
    """Bins of equal numbers of rows in the mean score; as many as there are rows at most.

    Args:
        mean: Mean score of the ensemble, shape (n,).
        spread: Standard deviation among its models, shape (n,).
        n_bins: Most bins.
    """
    m, s = np.asarray(mean, np.float64), np.asarray(spread, np.float64)
    parts = [part for part in np.array_split(np.argsort(m, kind="stable"), n_bins) if len(part)]
    quantiles = np.array([np.quantile(s[part], [0.5, 0.84]) for part in parts]).reshape(-1, 2)
    centres = np.array([m[part].mean() for part in parts])
    return ScoreSpread(centres, quantiles[:, 0], quantiles[:, 1], np.array([len(part) for part in parts]))


def _plain(values: NDArray) -> list[list[float | None]]:
    return [[float(v) if np.isfinite(v) else None for v in row] for row in values]
