"""Leakage: whether a classifier's features tell, in background, the variable that is scanned or fitted.

No single feature need do so by itself: a regression of the variable from all of them together is asked, on
events that it did not learn from, and each feature alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError
from darksieve.training.decorrelation import rank_correlation

LEAKS = 0.5  # rank correlation of the regression with the variable: a quarter of its variance is told
_BINS = 20
FEWEST_ROWS = 400  # of background: an error of 0.07 on half of them
_MOST_ROWS = 20_000


@dataclass(frozen=True)
class Leakage:
    """How well features tell a variable in background, on events that the regression did not learn from.

    Attributes:
        variable: Name of what shall not be told.
        together: Rank correlation of the variable with its regression from all features.
        error: Of a rank correlation on so many events.
        features: Features that tell most of it, the largest first, with what each tells alone.
    """

    variable: str
    together: float
    error: float
    features: tuple[tuple[str, float], ...]

    @property
    def leaks(self) -> bool:
        """Whether a cut on a score of these features can follow the variable."""
        return self.together > LEAKS

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "variable": self.variable,
            "together": self.together,
            "error": self.error,
            "features": [list(pair) for pair in self.features],
            "leaks": self.leaks,
        }


def measure_leakage(
    X: NDArray[np.float32],
    features: Sequence[str],
    variable: ArrayLike,
    name: str,
    *,
    n_named: int = 5,
    seed: int = 0,
) -> Leakage:
    """Regress a variable from features in one half of the background, and ask in the other.

    Args:
        X: Features of background events, NaN for missing, shape (n, n_features).
        features: Their names.
        variable: Shape (n,), finite.
        name: Of the variable.
        n_named: Features that are named.
        seed: Of the halves.

    Raises:
        InputError: If there are too few events.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    y = np.asarray(variable, np.float64)
    if len(y) < FEWEST_ROWS:
        raise InputError(f"{len(y)} background events tell of no leakage; {FEWEST_ROWS} are needed")
    order = np.random.default_rng(seed).permutation(len(y))[:_MOST_ROWS]
    learn, ask = np.array_split(order, 2)
    rank = np.argsort(np.argsort(y)) / len(y)  # an outlier is no better told than others
    model = HistGradientBoostingRegressor(
        max_iter=50, learning_rate=0.15, early_stopping=False, random_state=0
    )
    model.fit(X[learn], rank[learn])
    together = rank_correlation(model.predict(X[ask]), y[ask])
    alone = [_alone(X[learn, i], rank[learn], X[ask, i], y[ask]) for i in range(len(features))]
    named = sorted(zip(features, alone, strict=True), key=lambda pair: -pair[1])[:n_named]
    return Leakage(name, together, float(1 / np.sqrt(len(ask))), tuple(named))


def _alone(x: NDArray, rank: NDArray, x_ask: NDArray, y_ask: NDArray) -> float:
    """What one feature tells, also where its relation turns around: by means in bins of equal population."""
    finite = np.isfinite(x)
    edges = np.unique(np.quantile(x[finite], np.linspace(0, 1, _BINS + 1)[1:-1])) if finite.any() else x[:0]
    places = np.where(finite, np.searchsorted(edges, x, side="right"), _BINS)
    total = np.bincount(places, rank, _BINS + 1)
    count = np.bincount(places, minlength=_BINS + 1)
    mean = np.divide(total, count, out=np.full(_BINS + 1, 0.5), where=count > 0)
    places = np.where(np.isfinite(x_ask), np.searchsorted(edges, x_ask, side="right"), _BINS)
    return max(rank_correlation(mean[places], y_ask), 0.0)
