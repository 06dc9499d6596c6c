"""Expected limits of counting bins that are fitted together: the objective of the working points."""

# mypy: allow-untyped-defs
from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from darksieve.evaluation.limits.compilation import compiled

SIGMA_LEVELS = (-2.0, -1.0, 0.0, 1.0, 2.0)
QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)


def band_levels(bands: str = "sigma") -> tuple[float, ...]:
    """The levels of the expected bands in standard deviations.

    Args:
        bands: ``"sigma"`` for −2 … +2, ``"quantile"`` for the quantiles 2.5, 16, 50, 84 and 97.5 %, or
            ``"median"`` for the median alone.

    Raises:
        ValueError: If the convention is none of these.
    """
    if bands == "sigma":
        return SIGMA_LEVELS
    if bands == "quantile":
        return tuple(float(ndtri(quantile)) for quantile in QUANTILES)
    if bands == "median":
        return (0.0,)
    raise ValueError(f"bands {bands!r}: choose 'sigma', 'quantile' or 'median'")


def limit_significance(confidence_level: float, level: ArrayLike = 0.0) -> NDArray[np.float64]:
    """√q_A of the Asimov set at the expected CLs limit of the band's given level, Φ⁻¹(1 − α Φ(N)) + N.

    References:
        G. Cowan et al., arXiv:1007.1727, eq. 89.
    """
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence level {confidence_level}: must lie between 0 and 1")
    n = np.asarray(level, np.float64)
    return np.asarray(-ndtri((1 - confidence_level) * ndtr(n)) + n)


@compiled(fastmath={"reassoc", "contract", "nsz"})
def _solve_counting(signal, background, target, limits):
    # Newton on √Q(μ), Q = 2 Σ [μs − b ln(1 + μs/b)]: nearly straight in μ: converges from below
    n_problems, n_bins = signal.shape
    n_levels = target.size
    for i in range(n_problems):
        information = 0.0
        straight = 0.0
        alone = 0.0  # signal in bins without background
        for j in range(n_bins):
            if background[i, j] > 0.0:
                information += signal[i, j] ** 2 / background[i, j]
            else:
                alone += signal[i, j]
            straight += signal[i, j]
        if straight <= 0.0:
            for k in range(n_levels):
                limits[i, k] = math.inf
            continue
        for k in range(n_levels):
            root = target[k]
            # Q ≤ 2μΣs and, with background in every bin, Q ≤ μ²Σs²/b: both give a strength below the solution
            mu = 0.5 * root * root / straight
            if information > 0.0 and alone == 0.0:
                mu = max(mu, root / math.sqrt(information))
            for _ in range(60):
                q = 0.0
                slope = 0.0
                for j in range(n_bins):
                    s = mu * signal[i, j]
                    b = background[i, j]
                    if s <= 0.0:
                        continue
                    if b <= 0.0:
                        q += s
                        slope += signal[i, j]
                        continue
                    x = s / b
                    if x < 1e-3:  # the closed form cancels: its series
                        q += b * x * x * (0.5 - x * (1.0 / 3.0 - x * (0.25 - 0.2 * x)))
                    else:
                        q += s - b * math.log1p(x)
                    slope += signal[i, j] * x / (1.0 + x)
                value = math.sqrt(2.0 * q)
                step = (root - value) * value / slope
                mu += step
                if abs(step) <= 1e-10 * mu:
                    break
            limits[i, k] = mu


def expected_limits_counting(
    signal: ArrayLike,
    background: ArrayLike,
    confidence_level: float = 0.95,
    *,
    levels: ArrayLike = 0.0,
) -> NDArray[np.float64]:
    """Expected asymptotic CLs limits on the strength of a signal in counting bins with known background.

    The bins of a problem are fitted together. Newton's method finds where √Q(μ) of the Asimov set,
    Q = 2 Σ [μs − b ln(1 + μs/b)], takes its value at the limit.

    Args:
        signal: Expected signal events for one unit of the strength, shape (..., n_bins), >= 0.
        background: Expected background events, same shape, >= 0; zero is allowed.
        confidence_level: Of the CLs limit.
        levels: Levels of the band in standard deviations; 0 is the median. A number or shape (n_levels,).

    Returns:
        Limits in units of the strength, shape (...,) for one level, (..., n_levels) for several; infinite
        where there is no signal.

    Raises:
        ValueError: If shapes differ, or a yield is negative or not finite.

    References:
        G. Cowan et al., arXiv:1007.1727.
    """
    s, b = np.broadcast_arrays(np.asarray(signal, np.float64), np.asarray(background, np.float64))
    if s.ndim == 0:
        s, b = s[None], b[None]
    for name, values in (("signal", s), ("background", b)):
        if not (np.all(np.isfinite(values)) and np.all(values >= 0)):
            raise ValueError(f"{name} yields must be finite and not negative")
    target = np.atleast_1d(limit_significance(confidence_level, levels))
    flat = s.reshape(-1, s.shape[-1])
    limits = np.empty((flat.shape[0], target.size))
    _solve_counting(
        np.ascontiguousarray(flat), np.ascontiguousarray(b.reshape(flat.shape)), target.ravel(), limits
    )
    shape = s.shape[:-1] if np.ndim(levels) == 0 else (*s.shape[:-1], target.size)
    return limits.reshape(shape)
