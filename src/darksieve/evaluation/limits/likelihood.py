"""The negative log-likelihood of one problem, its exact gradient and Hessian, as compiled kernels.

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
def _set_factors(structure, p, c, x, shared, scratch):
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
def _dot(a, i, b, k, size):
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
        _set_factors(structure, p, c, x, shared, scratch)
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


@compiled(inner=True, fastmath=FAST)
def _set_weights(nu, positive, counts, exposure, residual, weight):
    for r in range(nu.size):
        s = positive[r]
        ratio = counts[r] / s
        residual[r] = exposure[r] - ratio * (2.0 - nu[r] / s)
        weight[r] = ratio / s


@compiled(inner=True, fastmath=FAST)
def _set_gram(templates, start, size, n_raw, weight, residual, base, product, gamma, gram):
    # γ_i = Σ residual T_i and G_ij = Σ weight T_i T_j, four sums at a time
    w = weight[base : base + size]
    p = product[:size]
    for i in range(n_raw):
        of = templates[start + i * size : start + (i + 1) * size]
        for r in range(size):
            p[r] = w[r] * of[r]
        gamma[i] = _dot(residual, base, templates, start + i * size, size)
        j = 0
        while j + 3 <= i:
            at = start + j * size
            t0 = templates[at : at + size]
            t1 = templates[at + size : at + 2 * size]
            t2 = templates[at + 2 * size : at + 3 * size]
            t3 = templates[at + 3 * size : at + 4 * size]
            a, b, c, d = 0.0, 0.0, 0.0, 0.0
            for r in range(size):
                a += p[r] * t0[r]
                b += p[r] * t1[r]
                c += p[r] * t2[r]
                d += p[r] * t3[r]
            gram[i, j], gram[i, j + 1], gram[i, j + 2], gram[i, j + 3] = a, b, c, d
            j += 4
        while j <= i:
            gram[i, j] = _dot(product, 0, templates, start + j * size, size)
            j += 1


@compiled()
def differentiate(rows, structure, p, x, scratch, exact):
    """Gradient and Hessian (lower triangle) at the x of the last ``evaluate``.

    Without ``exact`` the second derivatives of ν are left out: positive semi-definite where the exact Hessian
    is not.
    """
    n_channels = structure.n_linear.shape[1]
    n_morphs = structure.morph_nuisance.size
    n_nuisances = scratch.auxiliary.size
    strength = scratch.block_start[n_channels]
    shared = strength + 1
    gradient = scratch.gradient
    hessian = scratch.hessian
    gradient[:] = 0.0
    hessian[:, :] = 0.0
    n_rows = scratch.nu.size
    begin = rows.start[p, 0]
    _set_weights(
        scratch.nu,
        scratch.positive,
        scratch.counts,
        rows.exposure[begin : begin + n_rows],
        scratch.residual,
        scratch.weight,
    )
    for t in range(n_nuisances):
        gradient[shared + t] = x[shared + t] - scratch.auxiliary[t]
        hessian[shared + t, shared + t] = 1.0
    gamma = scratch.raw_gradient
    gram = scratch.raw_gram
    transform = scratch.transform
    for c in range(n_channels):
        size = rows.start[p, c + 1] - rows.start[p, c]
        if size == 0:
            continue
        base = rows.start[p, c] - begin
        n_components = structure.n_components[p, c]
        n_signal = 1 + n_morphs + n_components
        block = scratch.block_start[c]
        n_free = scratch.block_start[c + 1] - block
        n_raw = n_signal + n_free
        start = scratch.template_start[c]
        _set_gram(
            scratch.templates, start, size, n_raw, scratch.weight, scratch.residual, base, scratch.product,
            gamma, gram,
        )  # fmt: skip
        # the background's own block
        for k in range(n_free):
            gradient[block + k] = gamma[n_signal + k]
            for i in range(k + 1):
                hessian[block + k, block + i] = gram[n_signal + k, n_signal + i]
        if structure.has_slope[p, c] == 1 and exact:
            last = block + n_free - 1
            hessian[last, last] += _dot(scratch.residual, base, scratch.slope_second, base, size)
            hessian[last, last - 1] += _dot(scratch.residual, base, scratch.slope_first, base, size)
        # what all channels share
        _set_factors(structure, p, c, x, shared, scratch)
        mu = x[strength]
        n_active = scratch.n_active[c]
        for i in range(1 + n_active):
            for u in range(n_signal):
                transform[i, u] = 0.0
        transform[0, 0] = scratch.factor_value[0]
        for i in range(n_active):
            transform[1 + i, 0] = mu * scratch.factor_first[0, i]
            for m in range(n_components):
                transform[1 + i, 1 + n_morphs + m] = scratch.factor_first[1 + m, i]
        for j in range(n_morphs):
            transform[1 + j, 1 + j] = mu * scratch.factor_value[0]
        _add_shared(scratch, c, strength, block, n_free, n_signal)
        if exact:
            _add_second(rows, structure, p, c, x, scratch, base, size, n_components)


@compiled(inner=True)
def _add_shared(scratch, c, strength, block, n_free, n_signal):
    # first derivatives: through the transform of the raw templates
    gamma = scratch.raw_gradient
    gram = scratch.raw_gram
    transform = scratch.transform
    transformed = scratch.transformed
    n_active = scratch.n_active[c]
    for s in range(1 + n_active):
        row = strength if s == 0 else strength + 1 + scratch.active[c, s - 1]
        for v in range(n_signal):
            transformed[s, v] = 0.0
        for u in range(n_signal):
            a = transform[s, u]
            if a == 0.0:
                continue
            scratch.gradient[row] += a * gamma[u]
            for k in range(n_free):
                scratch.hessian[row, block + k] += a * gram[n_signal + k, u]
            for v in range(n_signal):
                transformed[s, v] += a * (gram[u, v] if u >= v else gram[v, u])
        for i in range(s + 1):
            column = strength if i == 0 else strength + 1 + scratch.active[c, i - 1]
            total = 0.0
            for v in range(n_signal):
                total += transformed[s, v] * transform[i, v]
            scratch.hessian[max(row, column), min(row, column)] += total


@compiled(inner=True)
def _add_second(rows, structure, p, c, x, scratch, base, size, n_components):
    # Σ ∂NLL/∂ν ∂²ν for μ and θ
    n_morphs = structure.morph_nuisance.size
    strength = scratch.block_start[structure.n_linear.shape[1]]
    shared = strength + 1
    mu = x[strength]
    hessian = scratch.hessian
    gamma = scratch.raw_gradient
    value = scratch.factor_value
    first = scratch.factor_first
    second = scratch.factor_second
    n_active = scratch.n_active[c]
    for i in range(n_active):
        t = shared + scratch.active[c, i]
        hessian[t, strength] += first[0, i] * gamma[0]
        for k in range(i + 1):
            u = shared + scratch.active[c, k]
            total = mu * second[0, i, k] * gamma[0]
            for m in range(n_components):
                total += second[1 + m, i, k] * gamma[1 + n_morphs + m]
            hessian[max(t, u), min(t, u)] += total
    pair = rows.column_start[p, c] + (1 + n_morphs) * size
    for j in range(n_morphs):
        t = shared + scratch.active[c, j]
        hessian[t, strength] += value[0] * gamma[1 + j]
        for i in range(n_active):
            u = shared + scratch.active[c, i]
            extra = mu * first[0, i] * gamma[1 + j]
            hessian[max(t, u), min(t, u)] += 2.0 * extra if u == t else extra
        if structure.curved[0] == 0:
            continue
        for i in range(j, n_morphs):
            u = shared + scratch.active[c, i]
            bend = _dot(scratch.residual, base, rows.columns, pair, size)
            pair += size
            hessian[max(t, u), min(t, u)] += mu * value[0] * bend
