"""The compiled HistFactory likelihood: expected rates, exact gradient and Hessian, and its minimisation.

A block is one sample in one channel. In a bin it expects ν = (nominal + Σ_j Δ_j(α_j)) Π_k f_k, with additive
shape variations Δ (histosys) and factors f (normfactor, lumi, normsys, and per bin shapesys, staterror,
shapefactor). The fit is Newton's with the bounds as an active set and Levenberg's damping.

References:
    K. Cranmer et al., CERN-OPEN-2012-016 (HistFactory and its interpolation codes).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.limits.compilation import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

UNCONSTRAINED, NORMAL, POISSON = 0, 1, 2
CONVERGED, FAILED = 0, 1
PLAIN = -1  # a factor that is the parameter itself
FLOOR = 1e-10  # events
TINY = 1e-12  # a parameter this small is at its kink
LEFT = -1e-300  # zero, seen from below


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
def _derivatives(model, x, counts, auxiliary, gradient, hessian):  # type: ignore[no-untyped-def]
    # exact gradient and lower triangle of the Hessian at a point where every rate with a count is positive
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
def _cholesky(matrix, n):  # type: ignore[no-untyped-def]
    # in place, lower triangle; False where the matrix is not positive definite
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                matrix[i, i] = math.sqrt(total)
            else:
                matrix[i, j] = total / matrix[j, j]
    return True


@compiled()
def _solve(factor, n, vector):  # type: ignore[no-untyped-def]
    for i in range(n):
        total = vector[i]
        for k in range(i):
            total -= factor[i, k] * vector[k]
        vector[i] = total / factor[i, i]
    for i in range(n - 1, -1, -1):
        total = vector[i]
        for k in range(i + 1, n):
            total -= factor[k, i] * vector[k]
        vector[i] = total / factor[i, i]


@compiled()
def _settle_kinks(model, x, free, counts, auxiliary, gradient, hessian, held):  # type: ignore[no-untyped-def]
    # parameters at their kink stay there where −ln L rises to both sides; else they take the side that falls
    held[:] = False
    n_parameters = x.size
    any_kink = False
    for p in range(n_parameters):
        if model.kinked[p] and free[p] and abs(x[p]) < TINY:
            x[p] = 0.0
            any_kink = True
    if not any_kink:
        return
    _derivatives(model, x, counts, auxiliary, gradient, hessian)
    below = x.copy()
    for p in range(n_parameters):
        if model.kinked[p] and free[p] and x[p] == 0.0:
            below[p] = LEFT
    slope_below = np.empty(n_parameters)
    _derivatives(model, below, counts, auxiliary, slope_below, hessian)
    for p in range(n_parameters):
        if below[p] != LEFT:
            continue
        if gradient[p] >= 0.0 and slope_below[p] <= 0.0:
            held[p] = True
        elif gradient[p] >= 0.0:
            x[p] = LEFT
    _derivatives(model, x, counts, auxiliary, gradient, hessian)


@compiled(nogil=True)
def minimise(model, x, free, lower, upper, counts, auxiliary, tolerance):  # type: ignore[no-untyped-def]
    """Minimise −ln L over the free parameters inside their bounds; ``x`` is start and result.

    Returns:
        −ln L at the minimum, the estimated distance to it, the slope of −ln L in every parameter (the
        envelope theorem's derivative for the fixed ones), and ``CONVERGED`` or ``FAILED``.
    """
    n_parameters = x.size
    rates = np.empty(counts.size)
    gradient = np.empty(n_parameters)
    hessian = np.empty((n_parameters, n_parameters))
    matrix = np.empty((n_parameters, n_parameters))
    step = np.empty(n_parameters)
    trial = np.empty(n_parameters)
    index = np.empty(n_parameters, np.int64)
    for p in range(n_parameters):
        if free[p]:
            x[p] = min(max(x[p], lower[p]), upper[p])
    value = negative_log_likelihood(model, x, counts, auxiliary, rates)
    if not math.isfinite(value):
        return math.inf, math.inf, gradient * 0.0, FAILED
    damping = 0.0
    distance = math.inf
    held = np.zeros(n_parameters, np.bool_)
    for _ in range(400):
        _derivatives(model, x, counts, auxiliary, gradient, hessian)
        if np.any(model.kinked):
            _settle_kinks(model, x, free, counts, auxiliary, gradient, hessian, held)
        n_free = 0
        for p in range(n_parameters):
            if not free[p] or held[p]:
                continue
            if (x[p] <= lower[p] and gradient[p] > 0.0) or (x[p] >= upper[p] and gradient[p] < 0.0):
                continue  # held at its bound
            index[n_free] = p
            n_free += 1
        if n_free == 0:
            return value, 0.0, gradient, CONVERGED
        accepted = False
        for _attempt in range(60):
            for u in range(n_free):
                p = index[u]
                for v in range(u + 1):
                    q = index[v]
                    matrix[u, v] = hessian[max(p, q), min(p, q)]
                matrix[u, u] += damping * max(abs(hessian[p, p]), 1e-8)
                step[u] = -gradient[p]
            if not _cholesky(matrix, n_free):
                damping = max(1e-4, 10.0 * damping)
                continue
            _solve(matrix, n_free, step)
            distance = 0.0
            for u in range(n_free):
                distance -= 0.5 * gradient[index[u]] * step[u]
            # the predicted gain of an undamped step is the distance to the minimum
            inside = True
            for p in range(n_parameters):
                trial[p] = x[p]
            for u in range(n_free):
                p = index[u]
                trial[p] = x[p] + step[u]
                if model.kinked[p] and (
                    (x[p] >= TINY and trial[p] < 0.0) or (x[p] <= -TINY and trial[p] > 0.0)
                ):
                    trial[p] = 0.0  # stop at the kink and look at both sides
                    inside = False
                if trial[p] < lower[p] or trial[p] > upper[p]:
                    trial[p] = min(max(trial[p], lower[p]), upper[p])
                    inside = False
            if damping < 1e-6 and inside and distance < tolerance:
                new = negative_log_likelihood(model, trial, counts, auxiliary, rates)
                if new <= value + 1e-12 * (1.0 + abs(value)):
                    for p in range(n_parameters):  # the last step is free
                        x[p] = trial[p]
                    value = min(new, value)
                    _derivatives(model, x, counts, auxiliary, gradient, hessian)
                return value, distance, gradient, CONVERGED
            new = negative_log_likelihood(model, trial, counts, auxiliary, rates)
            if new < value:
                accepted = True
                break
            moved = 0.0
            for u in range(n_free):
                moved = max(moved, abs(trial[index[u]] - x[index[u]]) / (1.0 + abs(x[index[u]])))
            if new <= value + 1e-12 * (1.0 + abs(value)) and (distance < 100.0 * tolerance or moved < 1e-12):
                return value, distance, gradient, CONVERGED  # at the precision of the sum
            damping = max(1e-4, 10.0 * damping)
            if damping > 1e14:
                break
        if not accepted:
            return value, distance, gradient, CONVERGED if distance < 1e-6 else FAILED
        for p in range(n_parameters):
            x[p] = trial[p]
        value = new
        damping = 0.0 if damping < 1e-6 else 0.1 * damping
    return value, distance, gradient, FAILED


@compiled(parallel=True)
def minimise_toys(  # type: ignore[no-untyped-def]
    model, starts, free, lower, upper, counts, auxiliary, tolerance, values, results, status
):
    """Fit many data sets of one model, in parallel.

    Args:
        starts: Start values, shape (n_parameters,).
        counts: Shape (n_toys, n_bins).
        auxiliary: Shape (n_toys, n_parameters).
        values: Output, −ln L, shape (n_toys,).
        results: Output, fitted parameters, shape (n_toys, n_parameters).
        status: Output, shape (n_toys,).
    """
    for t in numba.prange(counts.shape[0]):
        x = starts.copy()
        value, _distance, _slope, state = minimise(
            model, x, free, lower, upper, counts[t], auxiliary[t], tolerance
        )
        values[t] = value
        results[t] = x
        status[t] = state


@compiled()
def value_and_gradient(model, x, counts, auxiliary, gradient):  # type: ignore[no-untyped-def]
    """−ln L, and its exact gradient into ``gradient``, shape (n_parameters,)."""
    hessian = np.empty((x.size, x.size))
    _derivatives(model, x, counts, auxiliary, gradient, hessian)
    return negative_log_likelihood(model, x, counts, auxiliary, np.empty(counts.size))
