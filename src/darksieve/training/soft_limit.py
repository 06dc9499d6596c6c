"""Expected limits and Punzi's figure of merit with their exact gradients, for losses."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

_N_STEPS = 60
Gradients = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def log_expected_limits(
    signal: ArrayLike, background: ArrayLike, *, confidence_level: float = 0.95, background_error: float = 0.0
) -> Gradients:
    """Logarithm of the median asymptotic CLs limit on the strength of counting experiments in categories.

    The limit μ solves √q_A(μ) = Φ⁻¹(1 − (1 − CL)/2), where q_A is profiled over each category's background in
    closed form; the gradient is that of the implicit function.

    Args:
        signal: Expected signal for unit strength, shape (n, n_categories), >= 0, not all 0.
        background: Expected background, same shape, > 0.
        confidence_level: Of the CLs limit.
        background_error: Relative standard deviation of the background, Gaussian, of each category on its
            own.

    Returns:
        The logarithm, shape (n,), and its derivatives by signal and background, shape (n, n_categories).

    References:
        G. Cowan et al., arXiv:1007.1727 (background-only Asimov set).
    """
    target = NormalDist().inv_cdf(1 - (1 - confidence_level) / 2)
    s, b = (np.ascontiguousarray(v, np.float64) for v in np.broadcast_arrays(signal, background))
    values, by_signal, by_background = np.empty(len(s)), np.empty_like(s), np.empty_like(b)
    _log_limits(s, b, target, background_error**2, values, by_signal, by_background)
    return values, by_signal, by_background


@numba.njit(cache=True, nogil=True)
def _log_limits(
    signal: Any, background: Any, target: float, error_squared: float, values: Any, by_s: Any, by_b: Any
) -> None:
    n, n_categories = signal.shape
    for i in range(n):
        information = 0.0
        for k in range(n_categories):
            b = background[i, k]
            information += signal[i, k] ** 2 / (b * (1 + error_squared * b))
        mu = target / math.sqrt(information)
        slope = 1.0
        for step in range(_N_STEPS + 1):
            q, slope = 0.0, 0.0
            for k in range(n_categories):
                b = background[i, k]
                v = error_squared * b  # variance in units of the Poisson variance
                r = mu * signal[i, k] / b
                total = 1 + r + v
                # profiled background b(1 + d): d² + (1 + r + v) d + r v = 0, in the stable form of its root
                share = -2 * r / (total + math.sqrt(max(total * total - 4 * r * v, 0.0)))  # d / v
                excess = r + share * v
                q += 2 * b * (excess - math.log1p(excess)) + b * share * share * v
                slope += 2 * signal[i, k] * excess / (1 + excess)  # envelope theorem: d stays where it is
                by_s[i, k] = 2 * mu * excess / (1 + excess)
                by_b[i, k] = -2 * (math.log1p(excess) + share + share * share * v)
            root = math.sqrt(q)
            move = (root - target) * 2 * root / (slope * mu)
            if abs(move) < 1e-9 or step == _N_STEPS:
                break
            mu *= 1 - min(max(move, -1.0), 0.7)
        values[i] = math.log(mu)
        for k in range(n_categories):
            by_s[i, k] /= -mu * slope
            by_b[i, k] /= -mu * slope


def log_punzi(
    efficiency: ArrayLike,
    background: ArrayLike,
    *,
    n_sigma: float = 3.0,
    power_sigma: float = 1.28155,
    background_error: float = 0.0,
) -> Gradients:
    """Logarithm of Punzi's minimum signal over the efficiency, and its two derivatives.

    Args:
        efficiency: Signal efficiency, any shape, > 0.
        background: Expected background events, same shape, > 0.
        n_sigma: Significance of a discovery.
        power_sigma: Gaussian standard deviations of power and exclusion.
        background_error: Relative standard deviation of the background: √B becomes √(B + (error·B)²), which
            is an approximation.

    References:
        G. Punzi, arXiv:physics/0308063 (improved formula).
    """
    a, c = n_sigma, power_sigma
    s, b = np.asarray(efficiency, np.float64), np.asarray(background, np.float64)
    root = np.sqrt(b + (background_error * b) ** 2)
    inner = np.sqrt(c**2 + 4 * a * root + 4 * root**2)
    minimum = a**2 / 8 + 9 * c**2 / 13 + a * root + c / 2 * inner
    by_root = a + c / 2 * (2 * a + 4 * root) / inner
    by_background = by_root * (1 + 2 * background_error**2 * b) / (2 * root) / minimum
    return np.log(minimum) - np.log(s), -1 / s, by_background
