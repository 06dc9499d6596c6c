"""Counting experiments: exact CLs for a known background, and closed asymptotic forms with a measured one.

One count n ~ Poisson(μ s + b). With b known the count is the whole of the information, so CLs is a ratio of
two Poisson sums. A background with an uncertainty is profiled: on/off (``gamma``), Gaussian or log-normal.

References:
    A. L. Read, J. Phys. G 28 (2002) 2693 (CLs); G. Cowan et al., arXiv:1007.1727 (asymptotic forms);
    T.-P. Li and Y.-Q. Ma, ApJ 272 (1983) 317 (on/off significance).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincc, gammaln, log_ndtr, ndtr, ndtri
from scipy.stats import poisson

from darksieve.evaluation.limits.asimov import SIGMA_LEVELS, limit_significance

Constraint = Literal["gamma", "gaussian", "log_normal"]


def log_poisson_cdf(n: float, expectation: float) -> float:
    """ln P(N ≤ n) for N ~ Poisson(expectation), without underflow; n is rounded down."""
    n = math.floor(n)
    if n < 0:
        return -math.inf
    if expectation <= 0:
        return 0.0
    probability = float(gammaincc(n + 1, expectation))
    if probability > 1e-280:
        return math.log(probability)
    # far below the mean: the last term, times the falling series Σ n!/(n−j)! λ^−j
    total = term = 1.0
    for j in range(n):
        term *= (n - j) / expectation
        total += term
        if term < 1e-17 * total:
            break
    return -expectation + n * math.log(expectation) - float(gammaln(n + 1)) + math.log(total)


def exact_cls(n: float, signal: float, background: float) -> float:
    """CLs of a signal expectation: P(N ≤ n | s + b) / P(N ≤ n | b)."""
    return math.exp(log_poisson_cdf(n, signal + background) - log_poisson_cdf(n, background))


def exact_limit(n: float, background: float, confidence_level: float = 0.95) -> float:
    """Exact CLs upper limit on the signal events for a count n over a known background.

    Raises:
        ValueError: If an argument is negative or not finite, or the confidence level not between 0 and 1.
    """
    _check(n, background, confidence_level)
    alpha = math.log1p(-confidence_level)

    def excess(signal: float) -> float:
        return log_poisson_cdf(n, signal + background) - log_poisson_cdf(n, background) - alpha

    high = 3.0 + max(0.0, n - background) + 5 * math.sqrt(n + 1)
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-12, rtol=1e-13))


def exact_expected_counts(background: float, levels: Sequence[float] = SIGMA_LEVELS) -> tuple[int, ...]:
    """Counts at the band's levels under background only: the smallest n with P(N ≤ n | b) ≥ Φ(level)."""
    return tuple(int(poisson.ppf(ndtr(level), background)) if background > 0 else 0 for level in levels)


def exact_expected_limits(
    background: float, confidence_level: float = 0.95, levels: Sequence[float] = SIGMA_LEVELS
) -> tuple[float, ...]:
    """Exact CLs limits of the counts at the band's levels (whole counts, so levels may share a value)."""
    return tuple(
        exact_limit(n, background, confidence_level) for n in exact_expected_counts(background, levels)
    )


def exact_p0(n: float, background: float) -> float:
    """P(N ≥ n | b): local p-value of the count under background only; a fraction of a count is rounded up."""
    n = math.ceil(n)
    if n <= 0:
        return 1.0
    return float(gammainc(n, background)) if background > 0 else 0.0


def significance_of(p: float) -> float | None:
    """One-sided significance Φ⁻¹(1 − p); None for p = 0 or 1, where it is infinite."""
    return float(-ndtri(p)) if 0 < p < 1 else None


def _check(n: float, background: float, confidence_level: float) -> None:
    if not (math.isfinite(n) and n >= 0 and math.isfinite(background) and background >= 0):
        raise ValueError(f"count {n} and background {background} must be finite and not negative")
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence level {confidence_level}: must lie between 0 and 1")


@dataclass(frozen=True)
class Count:
    """A count over a background that is known, or measured with an absolute uncertainty.

    ``gamma``: an auxiliary count m = (b/σ)², which expects τ b' with τ = b/σ² (on/off, N_off = m).
    ``gaussian``: b measured with σ. ``log_normal``: b (1 + σ/b)^θ.
    """

    n: float
    background: float
    uncertainty: float = 0.0
    constraint: Constraint = "gamma"

    def __post_init__(self) -> None:
        _check(self.n, self.background, 0.5)
        if not (math.isfinite(self.uncertainty) and self.uncertainty >= 0):
            raise ValueError(f"uncertainty {self.uncertainty} must be finite and not negative")
        if self.uncertainty > 0 and self.background == 0:
            raise ValueError("a background of zero cannot have an uncertainty")

    def profiled_background(self, signal: float) -> float:
        """The background that fits best for a given signal."""
        b, sigma, n = self.background, self.uncertainty, self.n
        if sigma == 0:
            return b
        if self.constraint == "gamma":  # n/(s+b') + m/b' = 1 + τ: a quadratic
            m, tau = (b / sigma) ** 2, b / sigma**2
            p = (1 + tau) * signal - n - m
            return (-p + math.sqrt(p * p + 4 * (1 + tau) * m * signal)) / (2 * (1 + tau))
        if self.constraint == "gaussian":  # (b' − b + σ²)(s + b') = n σ²
            p = signal - b + sigma**2
            q = signal * (sigma**2 - b) - n * sigma**2
            return max(0.0, (-p + math.sqrt(max(p * p - 4 * q, 0.0))) / 2)
        width = math.log1p(sigma / b)

        def slope(theta: float) -> float:
            value = b * math.exp(width * theta)
            return width * value * (1 - n / (signal + value)) + theta

        reach = 10 + width * (n + b)
        low = -reach
        if signal < 0:  # the expectation stays positive
            low = max(low, math.log(-signal / b) / width + 1e-9)
        return b * math.exp(width * float(brentq(slope, low, reach, xtol=1e-13)))

    def _two_nll(self, signal: float, background: float) -> float:
        expectation = signal + background
        if expectation < 0 or (expectation == 0 and self.n > 0):
            return math.inf
        value = 2 * expectation - (2 * self.n * math.log(expectation) if self.n > 0 else 0.0)
        b, sigma = self.background, self.uncertainty
        if sigma == 0:
            return value
        if self.constraint == "gamma":
            m, tau = (b / sigma) ** 2, b / sigma**2
            return value + 2 * (tau * background - m * math.log(tau * background))
        if self.constraint == "gaussian":
            return value + ((background - b) / sigma) ** 2
        return value + (math.log(background / b) / math.log1p(sigma / b)) ** 2

    def profile(self, signal: float) -> float:
        """−2 ln L at a signal with the background profiled, up to a constant."""
        return self._two_nll(signal, self.profiled_background(signal))

    @property
    def best_fit(self) -> float:
        """Signal events that fit best, n − b: negative for a deficit."""
        return self.n - self.background

    def asimov(self, signal: float = 0.0) -> Count:
        """The Asimov set with a signal, at the background that fits best for it (the measurement too)."""
        b = self.profiled_background(signal)
        sigma = self.uncertainty
        if sigma > 0 and self.constraint == "gamma":
            sigma = math.sqrt(b * self.uncertainty**2 / self.background)  # the same τ
        elif sigma > 0 and self.constraint == "log_normal":
            sigma = b * sigma / self.background  # the same κ
        return Count(signal + b, b, sigma, self.constraint)

    def q_tilde(self, signal: float) -> float:
        """q̃ of a tested signal: 0 above it, and against 0 signal where the best fit is negative."""
        if self.best_fit >= signal:
            return 0.0
        return max(0.0, self.profile(signal) - self.profile(max(0.0, self.best_fit)))

    def asymptotic_cls(self, signal: float) -> float:
        """Observed asymptotic CLs of a signal from q̃."""
        return asymptotic_cls(self.q_tilde(signal), self.asimov().q_tilde(signal))

    def asymptotic_limit(self, confidence_level: float = 0.95) -> float:
        """Observed asymptotic CLs limit on the signal events."""
        alpha = 1 - confidence_level
        high = 2 * self.asymptotic_expected_limits(confidence_level)[-1] + max(0.0, self.best_fit)
        while self.asymptotic_cls(high) > alpha:
            high *= 2
        return float(
            brentq(lambda s: self.asymptotic_cls(s) - alpha, 1e-9 * high, high, xtol=1e-12, rtol=1e-12)
        )

    def asymptotic_expected_limits(
        self, confidence_level: float = 0.95, levels: Sequence[float] = SIGMA_LEVELS
    ) -> tuple[float, ...]:
        """Expected asymptotic CLs limits on the signal events, from the post-fit Asimov set."""
        asimov = self.asimov()
        limits = []
        for root in np.atleast_1d(limit_significance(confidence_level, list(levels))):
            high = 1.0
            while asimov.q_tilde(high) < root**2:
                high *= 2
            limits.append(float(brentq(lambda s, q=root**2: asimov.q_tilde(s) - q, 0.0, high, xtol=1e-13)))
        return tuple(limits)

    def discovery_significance(self) -> float:
        """√q0, signed: negative for a deficit."""
        q0 = max(0.0, self.profile(0.0) - self.profile(self.best_fit))
        return math.copysign(math.sqrt(q0), self.best_fit)

    def interval(self) -> tuple[float, float]:
        """Errors (negative, positive) of the best fit where −2 ln L rises by one, down to zero events."""
        least = self.profile(self.best_fit)

        def rise(signal: float) -> float:
            return self.profile(signal) - least - 1

        reach = math.sqrt(self.n + self.uncertainty**2 + 1)
        high = reach
        while rise(self.best_fit + high) < 0:
            high *= 2
        upper = brentq(rise, self.best_fit, self.best_fit + high)
        lowest = -self.background if self.uncertainty == 0 else self.best_fit - 40 * reach
        lowest += 1e-12 * max(1.0, self.background)
        if self.n == 0 or not rise(lowest) > 0:
            return (min(0.0, -self.background - self.best_fit), float(upper) - self.best_fit)
        return (float(brentq(rise, lowest, self.best_fit)) - self.best_fit, float(upper) - self.best_fit)


def asymptotic_cls(q: float, q_asimov: float) -> float:
    """Asymptotic CLs from q̃ observed and of the background-only Asimov set, stable far in the tails.

    References:
        G. Cowan et al., arXiv:1007.1727, eq. 66.
    """
    if q_asimov <= 0:
        return 1.0
    root, root_asimov = math.sqrt(max(q, 0.0)), math.sqrt(q_asimov)
    if q <= q_asimov:
        signal, background = root, root - root_asimov
    else:
        signal = (q + q_asimov) / (2 * root_asimov)
        background = (q - q_asimov) / (2 * root_asimov)
    return math.exp(float(log_ndtr(-signal)) - float(log_ndtr(-background)))


def li_ma_significance(n_on: float, n_off: float, tau: float) -> float:
    """Significance of n_on over a background measured by n_off in a region τ times larger; signed.

    References:
        T.-P. Li and Y.-Q. Ma, ApJ 272 (1983) 317, eq. 17, with α = 1/τ.
    """
    if n_on < 0 or n_off < 0 or tau <= 0:
        raise ValueError(f"n_on {n_on}, n_off {n_off}, tau {tau}: counts must be >= 0 and tau > 0")
    total = n_on + n_off
    q = 0.0
    if n_on > 0:
        q += n_on * math.log((1 + tau) * n_on / total)
    if n_off > 0:
        q += n_off * math.log((1 + tau) * n_off / (total * tau))
    return math.copysign(math.sqrt(max(0.0, 2 * q)), n_on - n_off / tau)


def asimov_significance(signal: float, background: float, uncertainty: float = 0.0) -> float:
    """Median expected discovery significance of a counting experiment, with a measured background (on/off).

    References:
        G. Cowan et al., arXiv:1007.1727, eq. 97; with uncertainty through ``li_ma_significance`` at τ = b/σ².
    """
    _check(signal, background, 0.5)
    if background == 0:
        return math.inf if signal > 0 else 0.0
    if uncertainty > 0:
        tau = background / uncertainty**2
        return li_ma_significance(signal + background, tau * background, tau)
    x = signal / background
    return math.sqrt(max(0.0, 2 * background * ((1 + x) * math.log1p(x) - x)))
