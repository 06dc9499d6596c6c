"""Calibration: whether a score that is called a probability is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError


@dataclass(frozen=True, eq=False)
class CalibrationCurve:
    """Mean score and share of signal in bins of the score, at equal priors. Arrays of shape (n_bins,).

    Attributes:
        score: Mean score of the bin.
        signal_share: Share of signal among the bin's rows, classes at equal total weight.
        error: Its statistical error, binomial with effective numbers of events.
        weight: Share of all rows that lie in the bin.
        expected_error: Mean |score - share|, weighted with the rows (expected calibration error).
    """

    score: NDArray[np.float64]
    signal_share: NDArray[np.float64]
    error: NDArray[np.float64]
    weight: NDArray[np.float64]

    @property
    def expected_error(self) -> float:
        return float(np.sum(self.weight * np.abs(self.score - self.signal_share)))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        names = ("score", "signal_share", "error", "weight")
        rows = {name: getattr(self, name).tolist() for name in names}
        return rows | {"expected_error": self.expected_error}


def calibration_curve(
    score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, *, n_bins: int = 20
) -> CalibrationCurve:
    """Bins of equal weight in the score, from low to high; scores that are all equal give one bin.

    Args:
        score: Probability of signal at equal priors, in 0 to 1, shape (n,).
        label: 1 signal, 0 background, other rows are left out, shape (n,).
        weight: Not negative, shape (n,); ones where absent.
        n_bins: Most bins.

    Raises:
        InputError: If a class is absent, or a score lies outside 0 to 1.
    """
    s, y = np.asarray(score, np.float64), np.asarray(label, np.float64)
    w = np.ones(len(s)) if weight is None else np.asarray(weight, np.float64)
    used = (y == 0) | (y == 1)
    s, y, w = s[used], y[used], w[used].copy()
    if not ((s >= 0) & (s <= 1)).all():
        raise InputError("a calibration curve needs scores between 0 and 1: probabilities of signal")
    for value, name in ((1, "signal"), (0, "background")):
        of_class = w[y == value].sum()
        if not of_class > 0:
            raise InputError(f"a calibration curve needs both classes; there is no {name} with weight")
        w[y == value] *= 0.5 / of_class
    order = np.argsort(s, kind="stable")
    s, y, w = s[order], y[order], w[order]
    cumulated = np.cumsum(w)
    edges = s[np.searchsorted(cumulated, np.linspace(0, 1, n_bins + 1)[1:-1] * cumulated[-1])]
    which = np.searchsorted(np.unique(edges), s, side="right")

    def sums(values: NDArray) -> NDArray[np.float64]:
        return np.bincount(which, values, minlength=which.max() + 1).astype(np.float64)

    total = sums(w)
    kept = total > 0
    total = total[kept]
    share = sums(w * y)[kept] / total
    # each class has its own weights: the variance of the ratio of two weighted sums
    signal2, background2 = sums(w**2 * y)[kept], sums(w**2 * (1 - y))[kept]
    error = np.sqrt((1 - share) ** 2 * signal2 + share**2 * background2) / total
    return CalibrationCurve(sums(w * s)[kept] / total, share, error, total / total.sum())
