"""The negative log-likelihood of one problem of a batch, its exact gradient and Hessian, as compiled kernels.

The value is in saturated form, Σ [a ν − n + n ln(n/ν)] + ½ Σ (θ − θ_measured)², so that differences of fits do not
cancel. Rows without events get a logarithmic barrier of 1e-10 events, which keeps every expectation positive where
the background or a negative signal could turn it negative; below its threshold the logarithm is continued as a
parabola, so that any start value has a finite likelihood.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.problem import ADDITIVE, LINEAR, LOG_NORMAL, Floats, Integers

FAST = {"reassoc", "contract", "nsz", "arcp"}
BARRIER = 1e-10  # events


class Scratch(NamedTuple):
    """Working memory of one thread for one problem; n_raw templates per channel, n parameters."""

    template_start: Integers  # of each channel in ``templates``
    block_start: Integers  # first parameter of each channel's background; the last entry is μ's position
    first: Integers  # first column of each row of the Hessian that is not zero
    templates: Floats  # per channel (n_raw, n_rows): M, D'_j, F_m, P_k
    slope_first: Floats  # f'(λ) of each row
    slope_second: Floats  # β f''(λ) of each row
    nu: Floats  # expected events of each row
    nu_before: Floats
    positive: Floats  # max(ν, threshold)
    counts: Floats  # n, or the barrier
    observed: Floats  # n
    threshold: Floats
    residual: Floats  # ∂NLL/∂ν
    weight: Floats  # ∂²NLL/∂ν²
    product: Floats  # a row of weight × template
    auxiliary: Floats
    raw_gradient: Floats
    raw_gram: Floats
    transform: Floats  # (1 + T, 1 + J + M): derivatives of ν by μ and θ in terms of the raw templates
    transformed: Floats
    factor_first: Floats  # (1 + M, T): derivatives of the yield factors by θ
    factor_second: Floats  # (1 + M, T, T)
    factor_value: Floats  # (1 + M,)
    gradient: Floats
    hessian: Floats
    cholesky: Floats
    floor: Floats  # smallest curvature that is believed, per parameter
    step: Floats
    right: Floats
    trial: Floats
    best: Floats
    free: Integers


@compiled()
def make_scratch(rows, structure, p):  # type: ignore[no-untyped-def]
    """Working memory for problem p, with the constant templates copied in."""
    n_channels = structure.n_linear.shape[1]
    n_nuisances = structure.auxiliary.shape[1]
    n_morphs = structure.morph_nuisance.size
    n_rows = rows.start[p, n_channels] - rows.start[p, 0]
    n = structure.n_parameters[p]
    template_start = np.zeros(n_channels + 1, np.int64)
    block_start = np.zeros(n_channels + 1, np.int64)
    max_raw = 1
    max_components = 0
    for c in range(n_channels):
        n_free = structure.n_linear[p, c] + 2 * structure.has_slope[p, c]
        n_raw = 1 + n_morphs + structure.n_components[p, c] + n_free
        size = rows.start[p, c + 1] - rows.start[p, c]
        template_start[c + 1] = template_start[c] + n_raw * size
        block_start[c + 1] = block_start[c] + n_free
        max_raw = max(max_raw, n_raw)
        max_components = max(max_components, structure.n_components[p, c])
    first = np.zeros(n, np.int64)
    for c in range(n_channels):
        for i in range(block_start[c], block_start[c + 1]):
            first[i] = block_start[c]
    n_signal = 1 + n_morphs + max_components
    scratch = Scratch(
        template_start,
        block_start,
        first,
        np.zeros(template_start[n_channels]),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_nuisances),
        np.zeros(max_raw),
        np.zeros((max_raw, max_raw)),
        np.zeros((1 + n_nuisances, n_signal)),
        np.zeros((1 + n_nuisances, n_signal)),
        np.zeros((1 + max_components, n_nuisances)),
        np.zeros((1 + max_components, n_nuisances, n_nuisances)),
        np.zeros(1 + max_components),
        np.zeros(n),
        np.zeros((n, n)),
        np.zeros((n, n)),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n, np.int64),
    )
    n_pairs = n_morphs * (n_morphs + 1) // 2 * structure.curved[0]
    for c in range(n_channels):
        size = rows.start[p, c + 1] - rows.start[p, c]
        n_components = structure.n_components[p, c]
        to = template_start[c] + (1 + n_morphs) * size
        origin = rows.column_start[p, c] + (1 + n_morphs + n_pairs) * size
        for r in range((n_components + structure.n_linear[p, c]) * size):
            scratch.templates[to + r] = rows.columns[origin + r]
        # the curvature floor of a coefficient: (its expected events)², times 1e-10
        offset = (1 + n_morphs + n_components) * size
        for k in range(structure.n_linear[p, c]):
            total = 0.0
            for r in range(size):
                total += rows.exposure[rows.start[p, c] + r] * abs(
                    scratch.templates[template_start[c] + offset + k * size + r]
                )
            scratch.floor[block_start[c] + k] = 1e-10 * total * total + 1e-30
        if structure.has_slope[p, c] == 1:
            total = 0.0
            for r in range(size):
                i = rows.start[p, c] + r
                total += rows.exposure[i] * rows.slope_scale[i]
            scratch.floor[block_start[c + 1] - 2] = 1e-10 * total * total + 1e-30
            scratch.floor[block_start[c + 1] - 1] = 1e-7
    scratch.floor[block_start[n_channels]] = 1e-10
    return scratch


@compiled()
def set_counts(scratch, rows, p, counts, origin, auxiliary):  # type: ignore[no-untyped-def]
    """The data of the following fits: counts from ``origin`` on, and the constraints' measured values."""
    begin = rows.start[p, 0]
    for r in range(scratch.nu.size):
        n = counts[origin + r]
        scratch.observed[r] = n
        if n > 0.0:
            scratch.counts[r] = max(n, BARRIER)
            scratch.threshold[r] = max(1e-6 * n, BARRIER)
        else:  # an empty row
            scratch.counts[r] = BARRIER if rows.exposure[begin + r] > 0.0 else 0.0
            scratch.threshold[r] = BARRIER
    for t in range(auxiliary.size):
        scratch.auxiliary[t] = auxiliary[t]


@compiled()
def _set_factor(scratch, kinds, sizes, m, x, shared):  # type: ignore[no-untyped-def]
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


@compiled()
def _set_factors(structure, p, c, x, shared, scratch):  # type: ignore[no-untyped-def]
    _set_factor(scratch, structure.yield_kind[p, c], structure.yield_size[p, c], 0, x, shared)
    for m in range(structure.n_components[p, c]):
        _set_factor(
            scratch, structure.component_kind[p, c, m], structure.component_size[p, c, m], 1 + m, x, shared
        )


@compiled(fastmath=FAST)
def _add(target, factor, values):  # type: ignore[no-untyped-def]
    for r in range(target.size):
        target[r] += factor * values[r]


@compiled(fastmath=FAST)
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for r in range(a.size):
        total += a[r] * b[r]
    return total


@compiled(fastmath=FAST)
def _set_slope(rows, begin, size, beta, slope, base, scratch, f, derivative):  # type: ignore[no-untyped-def]
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
def set_expectation(rows, structure, p, x, scratch):  # type: ignore[no-untyped-def]
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


@compiled(fastmath=FAST)
def _sum_rows(nu, positive, threshold, counts, observed, exposure):  # type: ignore[no-untyped-def]
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
def evaluate(rows, structure, p, x, scratch):  # type: ignore[no-untyped-def]
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


@compiled(fastmath=FAST)
def _set_weights(nu, positive, counts, exposure, residual, weight):  # type: ignore[no-untyped-def]
    for r in range(nu.size):
        s = positive[r]
        ratio = counts[r] / s
        residual[r] = exposure[r] - ratio * (2.0 - nu[r] / s)
        weight[r] = ratio / s


@compiled(fastmath=FAST)
def _multiply(a, b, product):  # type: ignore[no-untyped-def]
    for r in range(product.size):
        product[r] = a[r] * b[r]


@compiled()
def differentiate(rows, structure, p, x, scratch, exact):  # type: ignore[no-untyped-def]
    """Gradient and Hessian (lower triangle) at the x of the last ``evaluate``.

    Without ``exact`` the second derivatives of ν are left out: positive semi-definite, for where the exact Hessian
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


@compiled()
def _add_shared(structure, scratch, strength, block, n_free, n_signal, n_nuisances):  # type: ignore[no-untyped-def]
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


@compiled()
def _add_second(rows, structure, p, c, x, scratch, residual, size, n_components):  # type: ignore[no-untyped-def]
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
