"""The compiled HistFactory likelihood: expected rates, exact gradient and Hessian.

A block is one sample in one channel. In a bin it expects ν = (nominal + Σ_j Δ_j(α_j)) Π_k f_k, with additive
shape variations Δ (histosys) and factors f (normfactor, lumi, normsys, and per bin shapesys, staterror,
shapefactor).

References:
    K. Cranmer et al., CERN-OPEN-2012-016 (HistFactory and its interpolation codes).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.limits.compilation import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

UNCONSTRAINED, NORMAL, POISSON = 0, 1, 2
PLAIN = -1  # a factor that is the parameter itself
FLOOR = 1e-10  # events


class Model(NamedTuple):
    """A workspace as flat arrays.

    Attributes:
        channel_block: First block of each channel, shape (n_channels + 1,).
        channel_bin: First bin of each channel, shape (n_channels + 1,).
        nominal: Nominal rates of the cells (block × bin), flat.
        block_cell: First cell of each block, shape (n_blocks,).
        factor_start: First scalar factor of each block, shape (n_blocks + 1,).
        factor_parameter: Parameter of the scalar factors.
        factor_code: Interpolation code of each, ``PLAIN`` for the parameter itself.
        factor_table: lo, hi and the six coefficients of code 4, shape (n_factors, 8).
        shift_start: First additive variation of each block, shape (n_blocks + 1,).
        shift_parameter: Parameter of the variations.
        shift_code: Interpolation code of each (0, 2 or 4 for 4p).
        shift_cell: Where the variation begins in ``shift_low`` and ``shift_high``.
        shift_low: nominal − low template, flat.
        shift_high: high template − nominal, flat.
        gamma_start: First per-bin factor of each block, shape (n_blocks + 1,).
        gamma_cell: Where the factor begins in ``gamma_parameter``.
        gamma_parameter: Parameter of each bin, −1 where it is one.
        constraint: Kind of each parameter's constraint, shape (n_parameters,).
        scale: Width of a normal constraint, or τ of a Poisson one, same shape.
        kinked: Whether the rates have a kink where the parameter is zero (codes 0 and 1), same shape.
    """

    channel_block: Integers
    channel_bin: Integers
    nominal: Floats
    block_cell: Integers
    factor_start: Integers
    factor_parameter: Integers
    factor_code: Integers
    factor_table: Floats
    shift_start: Integers
    shift_parameter: Integers
    shift_code: Integers
    shift_cell: Integers
    shift_low: Floats
    shift_high: Floats
    gamma_start: Integers
    gamma_cell: Integers
    gamma_parameter: Integers
    constraint: Integers
    scale: Floats
    kinked: NDArray[np.bool_]


@compiled()
def _factor(code, table, a):  # type: ignore[no-untyped-def]
    # value and two derivatives of a normalisation factor
    if code == PLAIN:
        return a, 1.0, 0.0
    low, high = table[0], table[1]
    if code == 4 and -1.0 < a < 1.0:
        value, first, second = 0.0, 0.0, 0.0
        for i in range(7, 1, -1):  # Horner over 1 + Σ c_i a^i
            second = second * a + 2.0 * first
            first = first * a + value
            value = value * a + table[i]
        second = second * a + 2.0 * first
        first = first * a + value
        value = value * a + 1.0
        return value, first, second
    if code == 0:
        return (
            (1.0 + a * (high - 1.0), high - 1.0, 0.0) if a >= 0 else (1.0 + a * (1.0 - low), 1.0 - low, 0.0)
        )
    if code == 2:
        curve = 0.5 * (high + low) - 1.0
        slope = 0.5 * (high - low)
        if a > 1.0:
            return high + (slope + 2.0 * curve) * (a - 1.0), slope + 2.0 * curve, 0.0
        if a < -1.0:
            return low + (slope - 2.0 * curve) * (a + 1.0), slope - 2.0 * curve, 0.0
        return 1.0 + a * (slope + curve * a), slope + 2.0 * curve * a, 2.0 * curve
    rate = math.log(high) if a >= 0 else -math.log(low)
    value = math.exp(rate * a)
    return value, rate * value, rate * rate * value


@compiled()
def _shift(code, low, high, a):  # type: ignore[no-untyped-def]
    # value and two derivatives of an additive variation; low = nominal - down, high = up - nominal
    if code == 0 or (code == 4 and (a > 1.0 or a < -1.0)):
        return (a * high, high, 0.0) if a >= 0 else (a * low, low, 0.0)
    slope = 0.5 * (high + low)
    if code == 2:
        curve = 0.5 * (high - low)
        if a > 1.0:
            return high + (slope + 2.0 * curve) * (a - 1.0), slope + 2.0 * curve, 0.0
        if a < -1.0:
            return -low + (slope - 2.0 * curve) * (a + 1.0), slope - 2.0 * curve, 0.0
        return a * (slope + curve * a), slope + 2.0 * curve * a, 2.0 * curve
    size = 0.0625 * (high - low)
    square = a * a
    value = a * slope + size * square * (15.0 + square * (-10.0 + 3.0 * square))
    first = slope + size * a * (30.0 + square * (-40.0 + 18.0 * square))
    second = size * (30.0 + square * (-120.0 + 90.0 * square))
    return value, first, second


@compiled()
def expected_rates(model, x, rates):  # type: ignore[no-untyped-def]
    """Expected events of every bin, written to ``rates``, shape (n_bins,)."""
    n_channels = model.channel_bin.size - 1
    for c in range(n_channels):
        first_bin = model.channel_bin[c]
        n_bins = model.channel_bin[c + 1] - first_bin
        for j in range(n_bins):
            rates[first_bin + j] = 0.0
        for block in range(model.channel_block[c], model.channel_block[c + 1]):
            product = 1.0
            for k in range(model.factor_start[block], model.factor_start[block + 1]):
                p = model.factor_parameter[k]
                product *= _factor(model.factor_code[k], model.factor_table[k], x[p])[0]
            cell = model.block_cell[block]
            for j in range(n_bins):
                value = model.nominal[cell + j]
                for s in range(model.shift_start[block], model.shift_start[block + 1]):
                    i = model.shift_cell[s] + j
                    a = x[model.shift_parameter[s]]
                    value += _shift(model.shift_code[s], model.shift_low[i], model.shift_high[i], a)[0]
                for k in range(model.gamma_start[block], model.gamma_start[block + 1]):
                    p = model.gamma_parameter[model.gamma_cell[k] + j]
                    if p >= 0:
                        value *= x[p]
                rates[first_bin + j] += value * product


@compiled()
def _poisson(n, rate):  # type: ignore[no-untyped-def]
    # -ln P up to a constant, zero at rate = n; a count where nothing is expected costs much, not infinitely
    if rate < 0.0:
        return math.inf
    return rate - n + n * math.log(n / max(rate, FLOOR)) if n > 0.0 else rate


@compiled()
def negative_log_likelihood(model, x, counts, auxiliary, rates):  # type: ignore[no-untyped-def]
    """−ln L in saturated form (zero for a perfect fit); ``rates`` is scratch, shape (n_bins,)."""
    expected_rates(model, x, rates)
    total = 0.0
    for b in range(counts.size):
        total += _poisson(counts[b], rates[b])
    for p in range(x.size):
        if model.constraint[p] == NORMAL:
            total += 0.5 * ((x[p] - auxiliary[p]) / model.scale[p]) ** 2
        elif model.constraint[p] == POISSON:
            total += _poisson(auxiliary[p], model.scale[p] * x[p])
    return total


@compiled()
def derivatives(model, x, counts, auxiliary, gradient, hessian):  # type: ignore[no-untyped-def]
    """Exact gradient and lower triangle of the Hessian of −ln L where every rate with a count is positive."""
    n_parameters = x.size
    gradient[:] = 0.0
    hessian[:, :] = 0.0
    n_factors = model.factor_parameter.size
    factor = np.empty((n_factors, 3))
    for k in range(n_factors):
        value, first, second = _factor(
            model.factor_code[k], model.factor_table[k], x[model.factor_parameter[k]]
        )
        factor[k, 0], factor[k, 1], factor[k, 2] = value, first, second
    jacobian = np.zeros(n_parameters)
    touched = np.empty(n_parameters, np.int64)
    is_touched = np.zeros(n_parameters, np.bool_)
    most = 0
    for block in range(model.factor_start.size - 1):
        n = model.factor_start[block + 1] - model.factor_start[block]
        most = max(most, n + model.gamma_start[block + 1] - model.gamma_start[block])
    parameter = np.empty(most, np.int64)
    value = np.empty((most, 3))
    for c in range(model.channel_bin.size - 1):
        first_bin = model.channel_bin[c]
        for j in range(model.channel_bin[c + 1] - first_bin):
            n_touched = 0
            rate = 0.0
            weight = 0.0
            for step in range(2):  # first the rate and its gradient, then the curvature, which needs the rate
                if step == 1:
                    n = counts[first_bin + j]
                    if rate <= FLOOR:
                        weight = 1.0
                        inverse = 0.0
                    else:
                        weight = 1.0 - n / rate
                        inverse = n / (rate * rate)
                    for u in range(n_touched):
                        p = touched[u]
                        gradient[p] += weight * jacobian[p]
                        for v in range(u + 1):
                            q = touched[v]
                            hessian[max(p, q), min(p, q)] += inverse * jacobian[p] * jacobian[q]
                    for u in range(n_touched):
                        jacobian[touched[u]] = 0.0
                        is_touched[touched[u]] = False
                for block in range(model.channel_block[c], model.channel_block[c + 1]):
                    n_entries = 0
                    for k in range(model.factor_start[block], model.factor_start[block + 1]):
                        parameter[n_entries] = model.factor_parameter[k]
                        value[n_entries] = factor[k]
                        n_entries += 1
                    for k in range(model.gamma_start[block], model.gamma_start[block + 1]):
                        p = model.gamma_parameter[model.gamma_cell[k] + j]
                        if p >= 0:
                            parameter[n_entries] = p
                            value[n_entries, 0], value[n_entries, 1], value[n_entries, 2] = x[p], 1.0, 0.0
                            n_entries += 1
                    product = 1.0  # of the factors that are not zero
                    n_zeros = 0
                    for k in range(n_entries):
                        if value[k, 0] == 0.0:
                            n_zeros += 1
                        else:
                            product *= value[k, 0]
                    whole = product if n_zeros == 0 else 0.0
                    base = model.nominal[model.block_cell[block] + j]
                    for s in range(model.shift_start[block], model.shift_start[block + 1]):
                        i = model.shift_cell[s] + j
                        p = model.shift_parameter[s]
                        shift, slope, curve = _shift(
                            model.shift_code[s], model.shift_low[i], model.shift_high[i], x[p]
                        )
                        base += shift
                        if step == 0:
                            if not is_touched[p]:
                                is_touched[p] = True
                                touched[n_touched] = p
                                n_touched += 1
                            jacobian[p] += slope * whole
                        else:
                            hessian[p, p] += weight * curve * whole
                            for k in range(n_entries):
                                zero = value[k, 0] == 0.0
                                if n_zeros - (1 if zero else 0) == 0:
                                    rest = product if zero else product / value[k, 0]
                                    q = parameter[k]
                                    term = weight * slope * value[k, 1] * rest
                                    hessian[max(p, q), min(p, q)] += term if p != q else 2.0 * term
                    if step == 0:
                        rate += base * whole
                    for k in range(n_entries):
                        p = parameter[k]
                        zero = value[k, 0] == 0.0
                        without = product if zero else product / value[k, 0]
                        n_left = n_zeros - (1 if zero else 0)
                        if step == 0:
                            if not is_touched[p]:
                                is_touched[p] = True
                                touched[n_touched] = p
                                n_touched += 1
                            if n_left == 0:
                                jacobian[p] += base * value[k, 1] * without
                            continue
                        if n_left == 0:
                            hessian[p, p] += weight * base * value[k, 2] * without
                        for m in range(k):
                            other = value[m, 0] == 0.0
                            if n_left - (1 if other else 0) != 0:
                                continue
                            q = parameter[m]
                            rest = without if other else without / value[m, 0]
                            term = weight * base * value[k, 1] * value[m, 1] * rest
                            hessian[max(p, q), min(p, q)] += term if p != q else 2.0 * term
    for p in range(n_parameters):
        if model.constraint[p] == NORMAL:
            gradient[p] += (x[p] - auxiliary[p]) / model.scale[p] ** 2
            hessian[p, p] += 1.0 / model.scale[p] ** 2
        elif model.constraint[p] == POISSON:
            gradient[p] += model.scale[p] - auxiliary[p] / x[p]
            hessian[p, p] += auxiliary[p] / x[p] ** 2


@compiled()
def value_and_gradient(model, x, counts, auxiliary, gradient):  # type: ignore[no-untyped-def]
    """−ln L, and its exact gradient into ``gradient``, shape (n_parameters,)."""
    hessian = np.empty((x.size, x.size))
    derivatives(model, x, counts, auxiliary, gradient, hessian)
    return negative_log_likelihood(model, x, counts, auxiliary, np.empty(counts.size))
