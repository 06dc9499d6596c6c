"""The negative log-likelihood of one problem, as compiled kernels.

The value is in saturated form, Σ [a ν − n + n ln(n/ν)] + ½ Σ (θ − θ_measured)², so that differences of fits
do not cancel. Rows without events get a logarithmic barrier of 1e-7 events, which keeps every expectation
positive where the background or a negative signal could turn it negative; below its threshold the logarithm
is continued as a parabola, so that any start value has a finite likelihood.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math

import numpy as np

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.problem import ADDITIVE, LINEAR, LOG_NORMAL

FAST = {"reassoc", "contract", "nsz", "arcp"}
_LN_2 = math.log(2.0)
_MANTISSA = 0x000FFFFFFFFFFFFF
_ROOT_HALF = 0x3FE6A09E667F3BCD  # bits of √½
_TO_ROOT_HALF = 0x3FF0000000000000 - _ROOT_HALF


@compiled(inner=True)
def _set_factor(scratch, c, kinds, sizes, m, x, shared):
    # value of Π y_t(θ_t) and its first and second derivatives, by the logarithmic derivatives
    n_active = scratch.n_active[c]
    value = 1.0
    first = scratch.factor_first
    second = scratch.factor_second
    for i in range(n_active):
        t = scratch.active[c, i]
        theta = x[shared + t]
        kind = kinds[t]
        first[m, i] = 0.0
        second[m, i, i] = 0.0
        if kind == LOG_NORMAL:
            slope = math.log1p(sizes[t])
            value *= math.exp(slope * theta)
            first[m, i] = slope
            second[m, i, i] = slope * slope
        elif kind == LINEAR:
            y = max(1.0 + sizes[t] * theta, 1e-9)
            value *= y
            first[m, i] = sizes[t] / y
        elif kind == ADDITIVE:  # alone by construction
            scratch.factor_value[m] = sizes[t] * theta
            for k in range(n_active):
                first[m, k] = 0.0
                for u in range(n_active):
                    second[m, k, u] = 0.0
            first[m, i] = sizes[t]
            return
    for i in range(n_active):
        for k in range(i):
            both = first[m, i] * first[m, k] * value
            second[m, i, k] = both
            second[m, k, i] = both
        second[m, i, i] *= value
    for i in range(n_active):
        first[m, i] *= value
    scratch.factor_value[m] = value


@compiled(inner=True)
def set_factors(structure, p, c, x, shared, scratch):
    """Yield factors of a channel and their derivatives by the active nuisances."""
    _set_factor(scratch, c, structure.yield_kind[p, c], structure.yield_size[p, c], 0, x, shared)
    for m in range(structure.n_components[p, c]):
        kinds = structure.component_kind[p, c, m]
        _set_factor(scratch, c, kinds, structure.component_size[p, c, m], 1 + m, x, shared)


@compiled(inner=True, fastmath=FAST)
def _add(target, begin, factor, values, origin, size):
    # slices, since an offset that might be negative keeps numba from vectorising
    to = target[begin : begin + size]
    of = values[origin : origin + size]
    for r in range(size):
        to[r] += factor * of[r]


@compiled(inner=True, fastmath=FAST)
def dot(a, i, b, k, size):
    """Σ a[i + r] b[k + r]."""
    left = a[i : i + size]
    right = b[k : k + size]
    total = 0.0
    for r in range(size):
        total += left[r] * right[r]
    return total


@compiled(inner=True, fastmath=FAST)
def _scale(target, begin, factor, values, origin, size):
    to = target[begin : begin + size]
    of = values[origin : origin + size]
    for r in range(size):
        to[r] = factor * of[r]


@compiled(inner=True, fastmath=FAST)
def _set_slope(rows, begin, size, beta, slope, base, scratch, place):
    # f(λ) = scale e^{λt} sinh(z)/z, z = λw/2, normalised to one over the window, and its derivatives by λ
    total, mean, square = 0.0, 0.0, 0.0
    for r in range(size):
        t = rows.slope_position[begin + r]
        half = 0.5 * rows.slope_width[begin + r]
        z = slope * half
        if abs(z) < 1e-2:
            z2 = z * z
            ratio = 1.0 + z2 / 6.0 * (1.0 + z2 / 20.0)
            log_first = z / 3.0 * (1.0 - z2 / 15.0)
            log_second = (1.0 - z2 / 5.0) / 3.0
        else:
            ratio = math.sinh(z) / z
            coth = 1.0 / math.tanh(z)
            log_first = coth - 1.0 / z
            log_second = 1.0 / (z * z) - (coth * coth - 1.0)
        value = rows.slope_scale[begin + r] * math.exp(slope * t) * ratio
        first = t + half * log_first
        second = half * half * log_second
        scratch.templates[place + r] = value
        scratch.slope_first[base + r] = first
        scratch.slope_second[base + r] = second
        weight = rows.exposure[begin + r] * value
        total += weight
        mean += weight * first
        square += weight * (first * first + second)
    mean /= total
    variance = square / total - mean * mean
    for r in range(size):
        value = scratch.templates[place + r] / total
        first = scratch.slope_first[base + r] - mean
        second = scratch.slope_second[base + r] - variance
        scratch.templates[place + r] = value
        scratch.templates[place + size + r] = beta * value * first
        scratch.slope_first[base + r] = value * first
        scratch.slope_second[base + r] = beta * value * (first * first + second)


@compiled()
def set_expectation(rows, structure, p, x, scratch):
    """Expected events ν of every row, and the templates that depend on the parameters."""
    n_channels = structure.n_linear.shape[1]
    n_morphs = structure.morph_nuisance.size
    curved = structure.curved[0]
    strength = scratch.block_start[n_channels]
    shared = strength + 1
    for c in range(n_channels):
        begin = rows.start[p, c]
        size = rows.start[p, c + 1] - begin
        if size == 0:
            continue
        base = begin - rows.start[p, 0]
        n_components = structure.n_components[p, c]
        n_linear = structure.n_linear[p, c]
        start = scratch.template_start[c]
        origin = rows.column_start[p, c]
        set_factors(structure, p, c, x, shared, scratch)
        templates = scratch.templates
        if n_morphs > 0:
            _scale(templates, start, 1.0, rows.columns, origin, size)
            for j in range(n_morphs):
                theta = x[shared + structure.morph_nuisance[j]]
                _add(templates, start, theta, rows.columns, origin + (1 + j) * size, size)
        if curved == 1:
            _scale(templates, start + size, 1.0, rows.columns, origin + size, n_morphs * size)
            pair = origin + (1 + n_morphs) * size
            for i in range(n_morphs):
                theta_i = x[shared + structure.morph_nuisance[i]]
                for j in range(i, n_morphs):
                    theta_j = x[shared + structure.morph_nuisance[j]]
                    half = theta_i * theta_j * (0.5 if i == j else 1.0)
                    _add(templates, start, half, rows.columns, pair, size)
                    _add(templates, start + (1 + i) * size, theta_j, rows.columns, pair, size)
                    if i != j:
                        _add(templates, start + (1 + j) * size, theta_i, rows.columns, pair, size)
                    pair += size
        factor = x[strength] * scratch.factor_value[0]
        nu = scratch.nu
        _scale(nu, base, factor, templates, start, size)
        place = start + (1 + n_morphs) * size
        for m in range(n_components):
            _add(nu, base, scratch.factor_value[1 + m], templates, place, size)
            place += size
        block = scratch.block_start[c]
        for k in range(n_linear):
            _add(nu, base, x[block + k], templates, place, size)
            place += size
        if structure.has_slope[p, c] == 1:
            beta = x[block + n_linear]
            slope = x[block + n_linear + 1]
            _set_slope(rows, begin, size, beta, slope, base, scratch, place)
            _add(nu, base, beta, templates, place, size)


@compiled(inner=True, fastmath=FAST)
def _sum_rows(nu, positive, threshold, counts, observed, exposure, inverse, logarithm):
    for r in range(nu.size):
        positive[r] = nu[r] if nu[r] > threshold[r] else threshold[r]
    for r in range(nu.size):
        logarithm[r] = positive[r] * inverse[r]
    # ln of all rows, without a call per row: the exponent, and a series in (m − 1)/(m + 1) of the mantissa
    bits = logarithm.view(np.int64)
    value = 0.0
    for r in range(nu.size):
        raw = bits[r] + _TO_ROOT_HALF
        exponent = (raw >> 52) - 1023
        bits[r] = (raw & _MANTISSA) + _ROOT_HALF
        value += counts[r] * float(exponent)
    value *= -_LN_2
    for r in range(nu.size):
        m = logarithm[r]
        t = (m - 1.0) / (m + 1.0)
        u = t * t
        series = 1.0 / 17.0 + u * (1.0 / 19.0 + u * (1.0 / 21.0))
        series = 1.0 / 11.0 + u * (1.0 / 13.0 + u * (1.0 / 15.0 + u * series))
        series = 1.0 / 5.0 + u * (1.0 / 7.0 + u * (1.0 / 9.0 + u * series))
        ln = 2.0 * t * (1.0 + u * (1.0 / 3.0 + u * series))
        below = nu[r] / positive[r] - 1.0
        ln += below - 0.5 * below * below
        value += exposure[r] * (nu[r] - observed[r]) - counts[r] * ln
    return value


@compiled()
def barrier_value(scratch):
    """What the barrier of the empty rows adds to the value at the last ν; not part of the likelihood."""
    total = 0.0
    for r in range(scratch.nu.size):
        extra = scratch.counts[r] - scratch.observed[r]
        if extra > 0.0:
            s = scratch.positive[r]
            below = scratch.nu[r] / s - 1.0
            total -= extra * (math.log(s / scratch.counts[r]) + below - 0.5 * below * below)
    return total


@compiled()
def evaluate(rows, structure, p, x, scratch):
    """Negative log-likelihood at x in saturated form; sets ν."""
    set_expectation(rows, structure, p, x, scratch)
    n_rows = scratch.nu.size
    begin = rows.start[p, 0]
    value = _sum_rows(
        scratch.nu,
        scratch.positive,
        scratch.threshold,
        scratch.counts,
        scratch.observed,
        rows.exposure[begin : begin + n_rows],
        scratch.inverse,
        scratch.product,
    )
    shared = scratch.block_start[structure.n_linear.shape[1]] + 1
    for t in range(scratch.auxiliary.size):
        pull = x[shared + t] - scratch.auxiliary[t]
        value += 0.5 * pull * pull
    return value
