"""Expected limits of counting experiments with a background that sidebands determine, many at once.

Complements ``limits.asimov.expected_limits_counting`` (background known) with a floating background and
with the exact Poisson limit where few events are expected.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.special import gammaincc, gammainccinv

from darksieve.evaluation.limits.asimov import expected_limits_counting, limit_significance

_LEAST_BACKGROUND = 1e-6  # events; what is fewer changes no limit
_TINY = 1e-12  # events; keeps logarithms finite in bins without background


def checked_yields(signal: ArrayLike, background: ArrayLike) -> tuple[NDArray, NDArray]:
    """Both yields as float64 arrays of one shape (..., n_bins).

    Raises:
        ValueError: If a yield is negative or not finite, or the shapes do not fit.
    """
    s, b = np.broadcast_arrays(np.asarray(signal, np.float64), np.asarray(background, np.float64))
    for name, values in (("signal", s), ("background", b)):
        if not np.all(np.isfinite(values) & (values >= 0)):
            raise ValueError(f"{name} yields must be finite and not negative")
    return np.atleast_1d(s), np.atleast_1d(b)


def solve_strength(
    significance: Callable[[NDArray], NDArray], target: ArrayLike, start: NDArray, n_steps: int = 60
) -> NDArray[np.float64]:
    """The signal strength at which a growing significance reaches its target, elementwise.

    Secant steps on ln(significance) against ln(strength), which is nearly straight: slope 1 where background
    dominates, 1/2 where there is none.

    Args:
        significance: Strengths of the shape of ``start`` -> significances of that shape.
        target: Value to reach, > 0.
        start: First guess, > 0; not finite where there is no signal, and stays so.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        log_target = np.log(np.asarray(target, float))
        x = np.log(start)
        y = np.log(significance(np.exp(x))) - log_target
        slope = np.ones_like(x)
        for _ in range(n_steps):
            step = np.clip(-y / slope, -3.0, 3.0)
            new_x = x + step
            new_y = np.log(significance(np.exp(new_x))) - log_target
            secant = (new_y - y) / np.where(step == 0, 1.0, step)
            slope = np.where((np.abs(step) > 1e-9) & np.isfinite(secant), np.clip(secant, 0.3, 1.5), slope)
            x, y = new_x, new_y
            if not np.any(np.abs(y) > 1e-10):  # NaN, where there is no signal, counts as done
                break
        return np.where(np.isfinite(start) & np.isfinite(x), np.exp(x), np.inf)


def sideband_ratio(window_sigma: float = 20.0, peak_sigma: float = 2.0, order: int = 3) -> float:
    """How many times better than counting under the peak the sidebands know the background there.

    A polynomial of the given order is fitted to a locally flat background in ±window_sigma without
    ±peak_sigma; its integral under the peak has the relative variance 1/(ratio · background).

    Args:
        window_sigma: Half width of the fit window in resolutions.
        peak_sigma: Half width of the peak region in resolutions.
        order: Of the polynomial.

    Raises:
        ValueError: If the window does not reach beyond the peak, or the order is negative.
    """
    if not window_sigma > peak_sigma > 0 or order < 0:
        raise ValueError(f"no sidebands: window ±{window_sigma}, peak ±{peak_sigma} sigma, order {order}")
    nodes, weights = legendre.leggauss(order + 8)
    inner = peak_sigma / window_sigma

    def integrals(low: float, high: float, *, products: bool) -> NDArray:
        x = (low + high) / 2 + (high - low) / 2 * nodes
        values = legendre.legvander(x, order)
        w = weights * (high - low) / 2
        return values.T @ (w[:, None] * values) if products else w @ values

    information = integrals(-1, -inner, products=True) + integrals(inner, 1, products=True)
    peak = integrals(-inner, inner, products=False)
    variance = peak @ np.linalg.solve(information, peak)  # for unit density
    return float(2 * inner / variance)


def _less_its_logarithm(x: NDArray) -> NDArray[np.float64]:
    """x − ln(1 + x), which cancels for small x: there its series."""
    series = np.full(np.shape(x), 1 / 8)
    for power in (7, 6, 5, 4, 3, 2):
        series = 1 / power - x * series
    return np.where(np.abs(x) < 1e-2, x * x * series, x - np.log1p(x))


def _floating_q(strength: NDArray, signal: NDArray, background: NDArray, ratio: NDArray) -> NDArray:
    """q_A summed over bins; in each bin b is known from ratio·b events beside the peak (on/off, profiled)."""
    relative = strength[..., None] * signal / background
    # the profiled background is b(1 + d) with d² + (1 + σ)d + σ/(1 + τ) = 0, σ = μs/b; stable form of the
    # root
    four_c = 4 * relative / (1 + ratio)
    root = np.sqrt(np.maximum((1 + relative) ** 2 - four_c, 0.0))
    d = -0.5 * four_c / (1 + relative + root)
    total = relative + d
    per_bin = _less_its_logarithm(total) + ratio * _less_its_logarithm(d)
    return np.asarray(2 * np.sum(background * per_bin, axis=-1))


def expected_limits_floating(
    signal: ArrayLike, background: ArrayLike, confidence_level: float = 0.95, *, ratio: ArrayLike
) -> NDArray[np.float64]:
    """Median asymptotic CLs limits on the strength; each bin's background floats and sidebands constrain it.

    Args:
        signal: Expected signal for unit strength, shape (..., n_bins), >= 0.
        background: Expected background under the peak, same shape, >= 0.
        confidence_level: Of the CLs limit.
        ratio: Sideband events per background event under the peak (``sideband_ratio``), a number or by bin.

    Returns:
        Shape (...,); infinite where there is no signal.

    Raises:
        ValueError: If a yield is negative or not finite, or the ratio is not positive.

    References:
        G. Cowan et al., arXiv:1007.1727; on/off likelihood: T.-P. Li and Y.-Q. Ma, ApJ 272 (1983) 317.
    """
    s, b = checked_yields(signal, background)
    tau = np.asarray(ratio, np.float64)
    if not np.all(tau > 0):
        raise ValueError("sideband ratios must be positive")
    b = np.maximum(b, _TINY)
    target = float(limit_significance(confidence_level))
    with np.errstate(divide="ignore"):
        information = np.sum(s * s / (b * (1 + 1 / tau)), axis=-1)
        start = np.maximum(target / np.sqrt(information), target**2 / (2 * np.sum(s, axis=-1)))
    return solve_strength(lambda mu: np.sqrt(_floating_q(mu, s, b, tau)), target, start)


def counting_limit_exact(
    n_observed: ArrayLike, background: ArrayLike, confidence_level: float = 0.95
) -> NDArray[np.float64]:
    """Exact Poisson CLs limit on the signal yield of one bin with known background.

    ``n_observed`` may be real: the Poisson sum is continued by the incomplete gamma function.

    Raises:
        ValueError: If a number is negative or not finite.
    """
    n, b = checked_yields(n_observed, background)
    limit = gammainccinv(n + 1, (1 - confidence_level) * gammaincc(n + 1, b)) - b
    return limit if np.ndim(n_observed) or np.ndim(background) else limit[0]


def median_limit_exact(background: ArrayLike, confidence_level: float = 0.95) -> NDArray[np.float64]:
    """Median exact CLs limit on the yield without signal, smooth in the background.

    The median of a Poisson count jumps; its smooth part is b - 1/6 (the mid-distribution median), and zero
    below.
    """
    b = np.asarray(background, np.float64)
    return counting_limit_exact(np.maximum(b - 1 / 6, 0.0), b, confidence_level)


def low_count_correction(
    signal: ArrayLike,
    background: ArrayLike,
    confidence_level: float = 0.95,
    *,
    exact_below: float = 300.0,
    asymptotic_above: float = 3000.0,
) -> NDArray[np.float64]:
    """Exact over asymptotic median limit, by which an asymptotic limit is multiplied where events are few.

    It is the ratio of one bin with the bins' effective background (Σs)²/Σ(s²/b): exact for one bin, an
    approximation for several. It fades to 1 between the two backgrounds, where it is
    below 0.7 %: a faster fade makes minima of its own (0.5 %, measured).

    Returns:
        Shape (...,).
    """
    s, b = checked_yields(signal, background)
    b = np.maximum(b, _TINY)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.sum(s, axis=-1) ** 2 / np.sum(s * s / b, axis=-1)
    effective = np.where(np.isfinite(effective), effective, np.inf)
    few = effective < asymptotic_above
    correction = np.ones(effective.shape)
    if np.any(few):
        at = np.log(np.clip(effective[few], _LEAST_BACKGROUND, None))
        fade = np.clip((np.log(asymptotic_above) - at) / np.log(asymptotic_above / exact_below), 0.0, 1.0)
        correction[few] = 1 + fade * (_exact_over_asymptotic(confidence_level, asymptotic_above)(at) - 1)
    return correction


@lru_cache(maxsize=32)
def _exact_over_asymptotic(confidence_level: float, largest: float) -> CubicSpline:
    """Ratio of the median limits of one bin against the logarithm of its background.

    A curve, since the inverse incomplete gamma function is good to 1e-8 only, which gradients do not forgive.
    """
    at = np.exp(np.linspace(np.log(_LEAST_BACKGROUND), np.log(largest), 800))
    exact = median_limit_exact(at, confidence_level)
    asymptotic = expected_limits_counting(np.ones((len(at), 1)), at[:, None], confidence_level)
    return CubicSpline(np.log(at), exact / asymptotic)
