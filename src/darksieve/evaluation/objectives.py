"""What a cut or a set of categories is worth: one number, the smaller the better.

Every objective maps (signal, background), both of shape (..., n_categories), to the smallest signal
strength that the search reaches, shape (...,): excludes, or discovers, by the objective's own definition.
Signal is given for unit strength, so the result is in units of the strength; it is infinite where nothing
is reached.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv
from scipy.stats import norm, poisson

from darksieve.errors import InputError, nearest
from darksieve.evaluation.counting import (
    checked_yields,
    low_count_correction,
    sideband_ratio,
    solve_strength,
)
from darksieve.evaluation.full_limit import FullLimit
from darksieve.evaluation.limits.asimov import expected_limits_counting
from darksieve.evaluation.search_building import BackgroundChoice

Objective = Callable[[NDArray, NDArray], NDArray]


def punzi_minimum_signal(
    n_background: ArrayLike, *, n_sigma: float = 3.0, power_sigma: float = 1.28155
) -> NDArray[np.float64]:
    """Smallest expected signal that is discovered at n_sigma, or else excluded, with the given power.

    Args:
        n_background: Expected background events, >= 0, any shape.
        n_sigma: Significance of the discovery in Gaussian standard deviations.
        power_sigma: Gaussian standard deviations of the power and of the exclusion: 1.28155 is 90 %.

    Returns:
        Expected signal events, same shape.

    Raises:
        ValueError: If a yield is negative or not finite.

    References:
        G. Punzi, arXiv:physics/0308063 (improved formula).
    """
    B = _checked(n_background)
    a, b = n_sigma, power_sigma
    return a**2 / 8 + 9 * b**2 / 13 + a * np.sqrt(B) + b / 2 * np.sqrt(b**2 + 4 * a * np.sqrt(B) + 4 * B)


def punzi_minimum_signal_simple(n_background: ArrayLike, *, n_sigma: float = 3.0) -> NDArray[np.float64]:
    """Punzi's simple denominator a/2 + √B (discovery and power both at n_sigma, up to a factor).

    Raises:
        ValueError: If a yield is negative or not finite.
    """
    return n_sigma / 2 + np.sqrt(_checked(n_background))


def punzi_minimum_signal_exact(
    n_background: ArrayLike, *, n_sigma: float = 3.0, power_sigma: float = 1.28155
) -> NDArray[np.float64]:
    """Punzi's minimum signal with Poisson probabilities instead of the Gaussian approximation.

    The critical count is the smallest n with P(>= n | B) at most the one-sided probability of n_sigma; the
    signal is the one that reaches it with the power.

    Raises:
        ValueError: If a yield is negative or not finite.
    """
    B = _checked(n_background)
    critical = poisson.isf(norm.sf(n_sigma), B) + 1
    return np.asarray(gammaincinv(critical, norm.cdf(power_sigma)) - B)


def asimov_significance(
    signal: ArrayLike, background: ArrayLike, background_error: ArrayLike = 0.0
) -> NDArray[np.float64]:
    """Median discovery significance of a counting experiment, with a background known to some error.

    Args:
        signal: Expected signal events, >= 0.
        background: Expected background events, >= 0.
        background_error: Absolute standard deviation of the background, >= 0.

    Returns:
        Standard deviations; infinite without background where there is signal.

    References:
        G. Cowan, "Discovery sensitivity for a counting experiment with background uncertainty" (2012).
    """
    s, b, error = np.broadcast_arrays(_checked(signal), _checked(background), _checked(background_error))
    with np.errstate(divide="ignore", invalid="ignore"):
        x = s / b
        v = error**2 / b  # variance in units of the Poisson variance
        known = 2 * b * ((1 + x) * np.log1p(x) - x)
        # with error: (s+b) ln[(s+b)(b+σ²)/(b²+(s+b)σ²)] − b²/σ² ln[1 + σ²s/(b(b+σ²))], in terms of x and v
        shift = v * x / (1 + v)
        uncertain = 2 * b * ((1 + x) * (np.log1p(x) - np.log1p(shift)) - np.log1p(shift) / v)
        q = np.where(v > 1e-9, uncertain, known)
    q = np.where(b > 0, q, np.where(s > 0, np.inf, 0.0))
    return np.sqrt(np.maximum(q, 0.0))


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if not np.all(np.isfinite(array) & (array >= 0)):
        raise ValueError("yields and their errors must be finite and not negative")
    return array


def _combined(reach: Callable[[NDArray], NDArray]) -> Objective:
    """Categories in quadrature of their reach: exact as far as significances are Gaussian."""

    def objective(signal: NDArray, background: NDArray) -> NDArray:
        s, b = checked_yields(signal, background)
        with np.errstate(divide="ignore"):
            return 1 / np.sqrt(np.sum((s / reach(b)) ** 2, axis=-1))

    return objective


def _expected_limit_counting(confidence_level: float) -> Objective:
    def objective(signal: NDArray, background: NDArray) -> NDArray:
        s, b = checked_yields(signal, background)
        limit = expected_limits_counting(s, b, confidence_level)
        return limit * low_count_correction(s, b, confidence_level)

    return objective


def _discovery(n_sigma: float, relative_error: float, ratio: float) -> Objective:
    def objective(signal: NDArray, background: NDArray) -> NDArray:
        s, b = checked_yields(signal, background)
        b = np.maximum(b, 1e-12)
        error = np.sqrt((relative_error * b) ** 2 + (b / ratio if np.isfinite(ratio) else 0.0))

        def significance(mu: NDArray) -> NDArray:
            mu = np.where(np.isfinite(mu), mu, 0.0)
            return np.sqrt(np.sum(asimov_significance(mu[..., None] * s, b, error) ** 2, axis=-1))

        with np.errstate(divide="ignore"):
            start = n_sigma / np.sqrt(np.sum(s * s / (b + error**2), axis=-1))
        return solve_strength(significance, n_sigma, start)

    return objective


OBJECTIVES = (
    "expected_limit",
    "expected_limit_sidebands",
    "expected_limit_counting",
    "discovery",
    "discovery_known_background",
    "punzi",
    "punzi_simple",
    "punzi_exact",
    "s_over_sqrt_b",
)


def make_objective(
    objective: str | Objective,
    *,
    confidence_level: float = 0.95,
    n_sigma: float = 3.0,
    power_sigma: float = 1.28155,
    window_sigma: float = 20.0,
    peak_sigma: float = 2.0,
    background_order: int = 3,
    background_error: float = 0.0,
    full_limit: FullLimit | None = None,
) -> Objective:
    """An objective by name, or a user's own function as it is.

    - ``expected_limit``: median CLs limit of the full model (``FullLimit``): shapes, floating background,
      nuisances, spurious signal;
    - ``expected_limit_sidebands``: counting, each category's background known from its sidebands;
    - ``expected_limit_counting``: counting with known background;
    - ``discovery``, ``discovery_known_background``: strength of an Asimov significance of ``n_sigma``;
    - ``punzi``, ``punzi_simple``, ``punzi_exact``: Punzi's minimum signal over efficiency;
    - ``s_over_sqrt_b``: for comparison only, it is drawn to empty corners.

    All limits are corrected to exact Poisson limits where few background events are expected, like the limit
    tool's.

    Args:
        objective: A name from ``OBJECTIVES``, or a function of (signal, background), each of shape
            (..., n_categories), that returns what is to be minimised, shape (...,).
        confidence_level: Of expected limits.
        n_sigma: Significance of a discovery (Punzi's a).
        power_sigma: Punzi's b.
        window_sigma: Half width of the fit window in resolutions, for the floating background.
        peak_sigma: Half width of the counting window in resolutions.
        background_order: Order of the background polynomial.
        background_error: Relative systematic error of the background, for ``discovery``.
        full_limit: The model of ``expected_limit``; one of Gaussian peaks without nuisances, of the other
            options, where absent.

    Raises:
        InputError: If there is no such objective.
    """
    if callable(objective):
        return objective
    ratio = sideband_ratio(window_sigma, peak_sigma, background_order)
    full = full_limit or FullLimit(
        confidence_level,
        BackgroundChoice("chebyshev", background_order, window_sigma),
        peak_sigma=peak_sigma,
    )
    makers: dict[str, Callable[[], Objective]] = {
        "expected_limit": lambda: full,
        "expected_limit_sidebands": full.shortcut,
        "expected_limit_counting": lambda: _expected_limit_counting(confidence_level),
        "discovery": lambda: _discovery(n_sigma, background_error, ratio),
        "discovery_known_background": lambda: _discovery(n_sigma, background_error, np.inf),
        "punzi": lambda: _combined(
            lambda b: punzi_minimum_signal(b, n_sigma=n_sigma, power_sigma=power_sigma)
        ),
        "punzi_simple": lambda: _combined(lambda b: punzi_minimum_signal_simple(b, n_sigma=n_sigma)),
        "punzi_exact": lambda: _combined(
            lambda b: punzi_minimum_signal_exact(b, n_sigma=n_sigma, power_sigma=power_sigma)
        ),
        "s_over_sqrt_b": lambda: _combined(lambda b: np.sqrt(np.maximum(b, 1e-12))),
    }
    if objective not in makers:
        raise InputError(
            f"working_points.objective is {objective!r}, which is none of {list(OBJECTIVES)}"
            + nearest(objective, OBJECTIVES)
        )
    return makers[objective]()
