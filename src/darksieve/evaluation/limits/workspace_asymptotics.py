"""Asymptotic CLs limits of a HistFactory workspace.

References:
    G. Cowan, K. Cranmer, E. Gross, O. Vitells, arXiv:1007.1727.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from darksieve.evaluation.limits.asimov import SIGMA_LEVELS, limit_significance
from darksieve.evaluation.limits.counting import asymptotic_cls
from darksieve.evaluation.limits.histfactory import Fit, Likelihood, TestStatistic, has_signal
from darksieve.evaluation.limits.workspace import Workspace


@dataclass(frozen=True)
class AsymptoticAnswer:
    """Asymptotic numbers of one workspace; None where the fit failed or there is no signal."""

    observed: float | None
    expected: tuple[float, ...] | None
    best_fit: float | None
    best_fit_error: tuple[float | None, float | None] | None
    p0: float | None
    significance: float | None
    cls_observed: float | None
    cls_expected: tuple[float, ...] | None
    status: Literal["converged", "converged_by_minuit", "failed", "no_signal"]


def asymptotic_answer(
    workspace: Workspace,
    confidence_level: float = 0.95,
    *,
    test_statistic: TestStatistic = "qtilde",
    levels: Sequence[float] = SIGMA_LEVELS,
    cls_at: float | None = None,
) -> AsymptoticAnswer:
    """Observed and expected asymptotic CLs limits, best fit, p0 and, on request, CLs at a strength.

    The Asimov set is the post-fit background-only expectation, as in pyhf.

    Args:
        workspace: Model and data.
        confidence_level: Of the limits.
        test_statistic: ``qtilde`` or ``q``.
        levels: Of the band, in standard deviations.
        cls_at: Strength at which CLs is wanted, too.
    """
    nothing = AsymptoticAnswer(None, None, None, None, None, None, None, None, "failed")
    if not has_signal(workspace):
        return AsymptoticAnswer(None, None, None, None, None, None, None, None, "no_signal")
    data = Likelihood(workspace)
    zero, best = data.fit(0.0), data.fit()
    if "failed" in (zero.status, best.status):
        return nothing
    asimov = data.asimov()
    roots = np.atleast_1d(limit_significance(confidence_level, list(levels)))
    expected: list[float] = []
    start = 1.0
    for root in roots:
        found = _expected_limit(asimov, float(root), start)
        if found is None:
            return nothing
        expected.append(found)
        start = found
    mu = float(best.parameters[workspace.poi])
    log_alpha = math.log1p(-confidence_level)

    def log_cls(strength: float) -> float:
        q, q_asimov = data.q(strength, test_statistic), max(0.0, 2 * asimov.fit(strength).value)
        return log_asymptotic_cls(q, q_asimov, test_statistic) - log_alpha

    low = max(1e-3 * expected[0], mu if mu > 0 else 0.0)
    high = max(expected[len(expected) // 2], mu)
    observed: float | None = None
    try:
        while log_cls(low) < 0 and low > 1e-9 * expected[0]:
            high, low = low, low / 4
        for _ in range(200):
            value = log_cls(high)
            if value < 0:
                break
            low, high = high, high + max(0.5 * expected[len(expected) // 2], 0.3 * (high - mu))
        if log_cls(low) >= 0 > log_cls(high):
            observed = float(brentq(log_cls, low, high, xtol=1e-10 * high, rtol=1e-10))
    except (ValueError, OverflowError):
        observed = None
    q_zero = max(0.0, 2 * (zero.value - best.value))
    significance = math.copysign(math.sqrt(q_zero), mu) if mu != 0 else 0.0
    cls_observed, cls_expected = None, None
    if cls_at is not None:
        q_asimov = max(0.0, 2 * asimov.fit(cls_at).value)
        q_observed = data.q(cls_at, test_statistic)
        cls_observed = math.exp(log_asymptotic_cls(q_observed, q_asimov, test_statistic))
        root = math.sqrt(q_asimov)
        cls_expected = tuple(float(np.exp(log_ndtr(level - root) - log_ndtr(level))) for level in levels)
    failed = observed is None or not math.isfinite(zero.value + best.value)
    by_minuit = data.by_minuit or asimov.by_minuit
    return AsymptoticAnswer(
        observed,
        tuple(expected),
        mu,
        _interval(data, best, mu, expected[-1]),
        float(ndtr(-significance)),
        significance,
        cls_observed,
        cls_expected,
        "failed" if failed else "converged_by_minuit" if by_minuit else "converged",
    )


def _expected_limit(asimov: Likelihood, root: float, start: float) -> float | None:
    """The strength where √q_A meets a value: Newton, as √q_A is nearly straight."""
    mu = start
    for _ in range(100):
        fit = asimov.fit(mu)
        if fit.status == "failed":
            return None
        value = math.sqrt(max(2 * fit.value, 0.0))
        if value < 1e-6 or not fit.slope > 0:
            mu *= 10
            continue
        step = (root - value) * value / fit.slope  # d√q/dμ = slope/√q
        new = min(max(mu + step, mu / 10), mu * 10)
        if abs(new - mu) <= 1e-9 * mu:
            return new
        mu = new
    return None


def log_asymptotic_cls(q: float, q_asimov: float, statistic: TestStatistic = "qtilde") -> float:
    """ln CLs from the observed and the Asimov test statistic."""
    if statistic == "qtilde":
        return math.log(max(asymptotic_cls(q, q_asimov), 1e-300))
    root, root_asimov = math.sqrt(q), math.sqrt(q_asimov)
    return float(log_ndtr(-root)) - float(log_ndtr(root_asimov - root))


def _interval(data: Likelihood, best: Fit, mu: float, scale: float) -> tuple[float | None, float | None]:
    # where −ln L rises by a half; None where a bound of the parameter comes first
    def rise(strength: float) -> float:
        return data.fit(strength).value - best.value - 0.5

    bounds = (data.workspace.lower[data.workspace.poi], data.workspace.upper[data.workspace.poi])
    errors: list[float | None] = []
    for bound, sign in zip(bounds, (-1, 1), strict=True):
        step, error = 0.1 * scale, None
        inner = mu
        for _ in range(60):
            outer = mu + sign * step
            if sign * (outer - bound) > 0:
                outer = float(bound)
            value = rise(outer)
            if value > 0:
                if math.isfinite(value):
                    error = float(brentq(rise, inner, outer, xtol=1e-9 * scale)) - mu
                break
            if outer == bound:
                break
            inner, step = outer, 1.7 * step
        errors.append(error)
    return (errors[0], errors[1])
