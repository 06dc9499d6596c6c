"""Minimisation of the HistFactory likelihood: Newton's, bounds as an active set, Levenberg's damping.

Rates with interpolation codes 0 and 1 have a kink where their parameter is zero: a step stops there, and both
sides are looked at.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.histfactory_kernel import derivatives, negative_log_likelihood

CONVERGED, FAILED = 0, 1
TINY = 1e-12  # a parameter this small is at its kink
LEFT = -1e-300  # zero, seen from below


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
    derivatives(model, x, counts, auxiliary, gradient, hessian)
    below = x.copy()
    for p in range(n_parameters):
        if model.kinked[p] and free[p] and x[p] == 0.0:
            below[p] = LEFT
    slope_below = np.empty(n_parameters)
    derivatives(model, below, counts, auxiliary, slope_below, hessian)
    for p in range(n_parameters):
        if below[p] != LEFT:
            continue
        if gradient[p] >= 0.0 and slope_below[p] <= 0.0:
            held[p] = True
        elif gradient[p] >= 0.0:
            x[p] = LEFT
    derivatives(model, x, counts, auxiliary, gradient, hessian)


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
        derivatives(model, x, counts, auxiliary, gradient, hessian)
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
                    derivatives(model, x, counts, auxiliary, gradient, hessian)
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
