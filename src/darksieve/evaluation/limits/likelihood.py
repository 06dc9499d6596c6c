"""The negative log-likelihood of one problem, its exact gradient and Hessian, as compiled kernels.

The value is in saturated form, Σ [a ν − n + n ln(n/ν)] + ½ Σ (θ − θ_measured)², so that differences of fits
do not cancel. Rows without events get a logarithmic barrier of 1e-10 events, which keeps every expectation
positive where the background or a negative signal could turn it negative; below its threshold the logarithm
is continued as a parabola, so that any start value has a finite likelihood.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import math

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.problem import ADDITIVE, LINEAR, LOG_NORMAL

FAST = {"reassoc", "contract", "nsz", "arcp"}


@compiled(inner=True)
def _set_factor(scratch, kinds, sizes, m, x, shared):
    # value of Π y_t(θ_t) and its first and second derivatives by the logarithmic derivatives
    n_nuisances = kinds.size
    value = 1.0
    first = scratch.factor_first
    second = scratch.factor_second
    for t in range(n_nuisances):
        first[m, t] = 0.0
        for u in range(n_nuisances):
            second[m, t, u] = 0.0
        if kinds[t] == ADDITIVE:  # alone by construction
            scratch.factor_value[m] = sizes[t] * x[shared + t]
            for u in range(n_nuisances):
                first[m, u] = 0.0
            first[m, t] = sizes[t]
            return
    for t in range(n_nuisances):
        theta = x[shared + t]
        if kinds[t] == LOG_NORMAL:
            slope = math.log1p(sizes[t])
            value *= math.exp(slope * theta)
            first[m, t] = slope
            second[m, t, t] = slope * slope
        elif kinds[t] == LINEAR:
            y = max(1.0 + sizes[t] * theta, 1e-9)
            value *= y
            first[m, t] = sizes[t] / y
    for t in range(n_nuisances):
        if kinds[t] == 0:
            continue
        for u in range(n_nuisances):
            if u != t:
                second[m, t, u] = first[m, t] * first[m, u] * value
            else:
                second[m, t, t] *= value
    for t in range(n_nuisances):
        first[m, t] *= value
    scratch.factor_value[m] = value


@compiled(inner=True)
def _set_factors(structure, p, c, x, shared, scratch):
    _set_factor(scratch, structure.yield_kind[p, c], structure.yield_size[p, c], 0, x, shared)
    for m in range(structure.n_components[p, c]):
        _set_factor(
            scratch, structure.component_kind[p, c, m], structure.component_size[p, c, m], 1 + m, x, shared
        )


@compiled(inner=True, fastmath=FAST)
def _add(target, factor, values):
    for r in range(target.size):
        target[r] += factor * values[r]


@compiled(inner=True, fastmath=FAST)
def _dot(a, b):
    total = 0.0
    for r in range(a.size):
        total += a[r] * b[r]
    return total


@compiled(inner=True, fastmath=FAST)
def _set_slope(rows, begin, size, beta, slope, base, scratch, f, derivative):
    # f(λ) = scale e^{λt} sinh(z)/z, z = λw/2, and its derivatives by λ
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
        f[r] = value
        derivative[r] = beta * value * first
        scratch.slope_first[base + r] = value * first
        scratch.slope_second[base + r] = beta * value * (first * first + half * half * log_second)


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
        signal = scratch.templates[start : start + size]
        signal[:] = rows.columns[origin : origin + size]
        for j in range(n_morphs):
            morph = scratch.templates[start + (1 + j) * size : start + (2 + j) * size]
            morph[:] = rows.columns[origin + (1 + j) * size : origin + (2 + j) * size]
            _add(signal, x[shared + structure.morph_nuisance[j]], morph)
        if curved == 1:
            pair = origin + (1 + n_morphs) * size
            for i in range(n_morphs):
                theta_i = x[shared + structure.morph_nuisance[i]]
                for j in range(i, n_morphs):
                    bend = rows.columns[pair : pair + size]
                    pair += size
                    theta_j = x[shared + structure.morph_nuisance[j]]
                    _add(signal, theta_i * theta_j * (0.5 if i == j else 1.0), bend)
                    _add(scratch.templates[start + (1 + i) * size : start + (2 + i) * size], theta_j, bend)
                    if i != j:
                        _add(
                            scratch.templates[start + (1 + j) * size : start + (2 + j) * size], theta_i, bend
                        )
        nu = scratch.nu[base : base + size]
        factor = x[strength] * scratch.factor_value[0]
        for r in range(size):
            nu[r] = factor * signal[r]
        place = start + (1 + n_morphs) * size
        for m in range(n_components):
            _add(nu, scratch.factor_value[1 + m], scratch.templates[place : place + size])
            place += size
        block = scratch.block_start[c]
        for k in range(n_linear):
            _add(nu, x[block + k], scratch.templates[place : place + size])
            place += size
        if structure.has_slope[p, c] == 1:
            beta = x[block + n_linear]
            slope = x[block + n_linear + 1]
            f = scratch.templates[place : place + size]
            derivative = scratch.templates[place + size : place + 2 * size]
            _set_slope(rows, begin, size, beta, slope, base, scratch, f, derivative)
            _add(nu, beta, f)


@compiled(inner=True, fastmath=FAST)
def _sum_rows(nu, positive, threshold, counts, observed, exposure):
    for r in range(nu.size):
        positive[r] = max(nu[r], threshold[r])
    value = 0.0
    for r in range(nu.size):
        s = positive[r]
        n = counts[r]
        below = (nu[r] - s) / s
        if n > 0.0:
            value += exposure[r] * (nu[r] - observed[r]) - n * (math.log(s / n) + below - 0.5 * below * below)
        else:
            value += exposure[r] * nu[r]
    return value


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
def _multiply(a, b, product):
    for r in range(product.size):
        product[r] = a[r] * b[r]


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
        residual = scratch.residual[base : base + size]
        weight = scratch.weight[base : base + size]
        product = scratch.product[base : base + size]
        for i in range(n_raw):
            template = scratch.templates[start + i * size : start + (i + 1) * size]
            gamma[i] = _dot(residual, template)
            _multiply(weight, template, product)
            for j in range(i + 1):
                gram[i, j] = _dot(product, scratch.templates[start + j * size : start + (j + 1) * size])
        # the background's own block
        for k in range(n_free):
            gradient[block + k] = gamma[n_signal + k]
            for i in range(k + 1):
                hessian[block + k, block + i] = gram[n_signal + k, n_signal + i]
        if structure.has_slope[p, c] == 1 and exact:
            last = block + n_free - 1
            hessian[last, last] += _dot(residual, scratch.slope_second[base : base + size])
            hessian[last, last - 1] += _dot(residual, scratch.slope_first[base : base + size])
        # what all channels share
        _set_factors(structure, p, c, x, shared, scratch)
        mu = x[strength]
        transform[:, :] = 0.0
        transform[0, 0] = scratch.factor_value[0]
        for t in range(n_nuisances):
            transform[1 + t, 0] = mu * scratch.factor_first[0, t]
            for m in range(n_components):
                transform[1 + t, 1 + n_morphs + m] = scratch.factor_first[1 + m, t]
        for j in range(n_morphs):
            transform[1 + structure.morph_nuisance[j], 1 + j] = mu * scratch.factor_value[0]
        _add_shared(structure, scratch, strength, block, n_free, n_signal, n_nuisances)
        if exact:
            _add_second(rows, structure, p, c, x, scratch, residual, size, n_components)


@compiled(inner=True)
def _add_shared(structure, scratch, strength, block, n_free, n_signal, n_nuisances):
    gamma = scratch.raw_gradient
    gram = scratch.raw_gram
    transform = scratch.transform
    for s in range(1 + n_nuisances):
        for v in range(n_signal):
            scratch.transformed[s, v] = 0.0
        for u in range(n_signal):
            a = transform[s, u]
            if a == 0.0:
                continue
            scratch.gradient[strength + s] += a * gamma[u]
            for k in range(n_free):
                scratch.hessian[strength + s, block + k] += a * gram[n_signal + k, u]
            for v in range(n_signal):
                scratch.transformed[s, v] += a * (gram[u, v] if u >= v else gram[v, u])
    for s in range(1 + n_nuisances):
        for i in range(s + 1):
            total = 0.0
            for v in range(n_signal):
                total += scratch.transformed[s, v] * transform[i, v]
            scratch.hessian[strength + s, strength + i] += total


@compiled(inner=True)
def _add_second(rows, structure, p, c, x, scratch, residual, size, n_components):
    # Σ ∂NLL/∂ν ∂²ν for μ and θ
    n_morphs = structure.morph_nuisance.size
    n_nuisances = scratch.auxiliary.size
    strength = scratch.block_start[structure.n_linear.shape[1]]
    shared = strength + 1
    mu = x[strength]
    hessian = scratch.hessian
    gamma = scratch.raw_gradient
    value = scratch.factor_value
    first = scratch.factor_first
    second = scratch.factor_second
    for t in range(n_nuisances):
        hessian[shared + t, strength] += first[0, t] * gamma[0]
        for u in range(t + 1):
            hessian[shared + t, shared + u] += mu * second[0, t, u] * gamma[0]
            for m in range(n_components):
                hessian[shared + t, shared + u] += second[1 + m, t, u] * gamma[1 + n_morphs + m]
    pair = rows.column_start[p, c] + (1 + n_morphs) * size
    for j in range(n_morphs):
        t = structure.morph_nuisance[j]
        hessian[shared + t, strength] += value[0] * gamma[1 + j]
        for u in range(n_nuisances):
            extra = mu * first[0, u] * gamma[1 + j]
            if u == t:
                hessian[shared + t, shared + t] += 2.0 * extra
            else:
                hessian[shared + max(t, u), shared + min(t, u)] += extra
        if structure.curved[0] == 0:
            continue
        for i in range(j, n_morphs):
            u = structure.morph_nuisance[i]
            bend = _dot(residual, rows.columns[pair : pair + size])
            pair += size
            hessian[shared + max(t, u), shared + min(t, u)] += mu * value[0] * bend
