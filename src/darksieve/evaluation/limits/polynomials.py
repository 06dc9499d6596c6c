"""Polynomial background templates, integrated over bins or taken at events."""

# mypy: allow-untyped-defs
from __future__ import annotations

import math

import numpy as np

from darksieve.evaluation.limits.compilation import compiled

NO_BASIS, CHEBYSHEV, BERNSTEIN, EXPONENTIAL, POWER = 0, 1, 2, 3, 4


@compiled(inner=True)
def _bernstein(order, x, values):
    # all Bernstein polynomials of an order at x, by de Casteljau's recurrence
    values[0] = 1.0
    for n in range(1, order + 1):
        values[n] = x * values[n - 1]
        for k in range(n - 1, 0, -1):
            values[k] = x * values[k - 1] + (1.0 - x) * values[k]
        values[0] *= 1.0 - x


@compiled(inner=True)
def _bernstein_below(order, x, scratch, values):
    # (order + 1) ∫_0^x B_k, which reaches one at x = 1
    _bernstein(order + 1, x, scratch)
    total = 0.0
    for k in range(order, -1, -1):
        total += scratch[k + 1]
        values[k] = total


@compiled(inner=True)
def _chebyshev(order, u, values):
    values[0] = 1.0
    if order > 0:
        values[1] = u
    for k in range(2, order + 1):
        values[k] = 2.0 * u * values[k - 1] - values[k - 2]


@compiled(inner=True)
def _chebyshev_below(order, u, scratch, values):
    # ½ ∫ T_k du
    _chebyshev(order + 1, u, scratch)
    values[0] = 0.5 * u
    if order > 0:
        values[1] = 0.25 * u * u
    for k in range(2, order + 1):
        values[k] = 0.25 * (scratch[k + 1] / (k + 1) - scratch[k - 1] / (k - 1))


@compiled(inner=True)
def fill_polynomials(family, order, window_low, window_high, low, high, out):
    """P_0 … P_order of one channel; over a whole window, T_0 and every Bernstein polynomial sum to one."""
    scratch = np.zeros(order + 3)
    before = np.zeros(order + 2)
    after = np.zeros(order + 2)
    width = window_high - window_low
    last = math.nan
    for r in range(low.size):
        x0 = (low[r] - window_low) / width
        x1 = (high[r] - window_low) / width
        if high[r] > low[r]:
            if low[r] != last:
                if family == CHEBYSHEV:
                    _chebyshev_below(order, 2.0 * x0 - 1.0, scratch, before)
                else:
                    _bernstein_below(order, x0, scratch, before)
            last = high[r]
            if family == CHEBYSHEV:
                _chebyshev_below(order, 2.0 * x1 - 1.0, scratch, after)
            else:
                _bernstein_below(order, x1, scratch, after)
            for k in range(order + 1):
                out[k, r] = after[k] - before[k]
                before[k] = after[k]
        else:
            if family == CHEBYSHEV:
                _chebyshev(order, 2.0 * x0 - 1.0, after)
            else:
                _bernstein(order, x0, after)
            scale = (order + 1) / width if family == BERNSTEIN else 1.0 / width
            for k in range(order + 1):
                out[k, r] = after[k] * scale
