"""Whether two weighted histograms have the same shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2 as chi2_distribution

_LEAST_EFFECTIVE = 10.0  # effective events of each histogram in a bin, below which chi2 is not one


@dataclass(frozen=True)
class ShapeAgreement:
    """A chi-squared test of homogeneity.

    Attributes:
        chi2: Its value; None where fewer than two bins have enough events.
        n_degrees: Degrees of freedom, bins − 1.
        p_value: Probability of a larger one if the shapes are the same; None as ``chi2``.
    """

    chi2: float | None
    n_degrees: int
    p_value: float | None


def _merged(parts: tuple[NDArray[np.float64], ...]) -> list[NDArray[np.float64]]:
    """Neighbouring bins put together until both histograms have enough effective events in each."""
    sums, current = [], np.zeros(len(parts))

    def is_enough(total: NDArray[np.float64]) -> bool:
        first, first_squares, second, second_squares = total
        enough = (
            first**2 >= _LEAST_EFFECTIVE * first_squares,
            second**2 >= _LEAST_EFFECTIVE * second_squares,
        )
        return bool(first_squares > 0 and second_squares > 0 and all(enough))

    for column in np.stack(parts, axis=1):
        current = current + column
        if is_enough(current):
            sums.append(current)
            current = np.zeros(len(parts))
    if sums:
        sums[-1] = sums[-1] + current  # what is left at the upper end
    return sums


def compare_shapes(
    first: NDArray, first_squares: NDArray, second: NDArray, second_squares: NDArray
) -> ShapeAgreement:
    """Chi-squared of two weighted histograms, normalised to each other.

    Args:
        first: Sums of weights, shape (n_bins,).
        first_squares: Sums of squared weights, same shape.
        second: Of the other histogram.
        second_squares: Of the other histogram.

    References:
        N. D. Gagunashvili, arXiv:physics/0605123, eq. 14: Σ (W₂ w₁ᵢ − W₁ w₂ᵢ)² / (W₂² s₁ᵢ² + W₁² s₂ᵢ²).
    """
    parts = tuple(np.asarray(part, np.float64) for part in (first, first_squares, second, second_squares))
    merged = _merged(parts)
    if len(merged) < 2:
        return ShapeAgreement(None, 0, None)
    w1, s1, w2, s2 = np.stack(merged, axis=1)
    total1, total2 = w1.sum(), w2.sum()
    value = float(np.sum((total2 * w1 - total1 * w2) ** 2 / (total2**2 * s1 + total1**2 * s2)))
    n_degrees = len(merged) - 1
    return ShapeAgreement(value, n_degrees, float(chi2_distribution.sf(value, n_degrees)))
