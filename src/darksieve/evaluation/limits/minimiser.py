"""Newton's method with bounds for one problem, compiled: active set, line search, Levenberg fallback."""

# mypy: allow-untyped-defs
from __future__ import annotations

import math

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.derivatives import differentiate
from darksieve.evaluation.limits.likelihood import barrier_value, evaluate
from darksieve.evaluation.limits.scratch import BARRIER, set_barrier

CONVERGED, NOT_CONVERGED = 0, 1
MAX_ITERATIONS = 100
MAX_DAMPING = 1e9
FIRST_BARRIER = 0.1
TIGHT = 1e-9


@compiled(inner=True)
def _factorise(scratch, damping):
    # Cholesky of the free parameters; each row starts at its first column that is not zero (block arrow)
    n = scratch.gradient.size
    matrix = scratch.cholesky
    for i in range(n):
        if scratch.free[i] == 0:
            continue
        for j in range(scratch.first[i], i):
            if scratch.free[j] == 0:
                continue
            total = scratch.hessian[i, j]
            for k in range(max(scratch.first[i], scratch.first[j]), j):
                if scratch.free[k] == 1:
                    total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = total / matrix[j, j]
        diagonal = scratch.hessian[i, i]
        pivot = diagonal + scratch.floor[i] + damping * (abs(diagonal) + scratch.floor[i])
        scale = abs(pivot)
        for k in range(scratch.first[i], i):
            if scratch.free[k] == 1:
                pivot -= matrix[i, k] * matrix[i, k]
        if not pivot > 1e-13 * scale:
            return False
        matrix[i, i] = math.sqrt(pivot)
    return True


@compiled(inner=True)
def _substitute(scratch, vector):
    # solves L Lᵀ v = v in place for the free parameters
    n = scratch.gradient.size
    matrix = scratch.cholesky
    for i in range(n):
        if scratch.free[i] == 0:
            continue
        total = vector[i]
        for k in range(scratch.first[i], i):
            if scratch.free[k] == 1:
                total -= matrix[i, k] * vector[k]
        vector[i] = total / matrix[i, i]
    for i in range(n - 1, -1, -1):
        if scratch.free[i] == 0:
            continue
        value = vector[i] / matrix[i, i]
        vector[i] = value
        for k in range(scratch.first[i], i):
            if scratch.free[k] == 1:
                vector[k] -= matrix[i, k] * value


@compiled(inner=True)
def _step(structure, p, x, scratch, fixed, damping):
    # the Newton step inside the bounds; returns the predicted reduction of the NLL, negative where it fails
    n = scratch.gradient.size
    gradient = scratch.gradient
    hessian = scratch.hessian
    step = scratch.step
    for i in range(n):
        step[i] = 0.0
        scratch.free[i] = 1
        if (
            i == fixed
            or (x[i] <= structure.lower[p, i] and gradient[i] > 0.0)
            or (x[i] >= structure.upper[p, i] and gradient[i] < 0.0)
        ):
            scratch.free[i] = 0
    for _ in range(n + 1):
        if not _factorise(scratch, damping):
            return -1.0
        for i in range(n):
            total = -gradient[i]
            if scratch.free[i] == 1:
                for k in range(n):
                    if scratch.free[k] == 0 and step[k] != 0.0:
                        total -= (hessian[i, k] if i >= k else hessian[k, i]) * step[k]
            scratch.right[i] = total
        _substitute(scratch, scratch.right)
        inside = True
        for i in range(n):
            if scratch.free[i] == 0:
                continue
            target = x[i] + scratch.right[i]
            if target < structure.lower[p, i]:
                step[i] = structure.lower[p, i] - x[i]
            elif target > structure.upper[p, i]:
                step[i] = structure.upper[p, i] - x[i]
            else:
                continue
            scratch.free[i] = 0
            inside = False
        if inside:
            break
    linear = 0.0
    quadratic = 0.0
    for i in range(n):
        if scratch.free[i] == 1:
            step[i] = scratch.right[i]
    for i in range(n):
        linear += gradient[i] * step[i]
        if step[i] != 0.0:
            quadratic += 0.5 * hessian[i, i] * step[i] * step[i]
            for k in range(scratch.first[i], i):
                quadratic += hessian[i, k] * step[i] * step[k]
    return -(linear + quadratic)


@compiled(inner=True)
def _feasible_fraction(scratch):
    # the part of the step that stays 1 % short of the first expectation to reach zero
    fraction = 1.0
    for r in range(scratch.nu.size):
        if scratch.nu[r] < scratch.threshold[r] < scratch.nu_before[r] and scratch.counts[r] > 0.0:
            fraction = min(fraction, 0.99 * scratch.nu_before[r] / (scratch.nu_before[r] - scratch.nu[r]))
    return fraction


@compiled(inner=True)
def _near_barrier(scratch):
    # an expectation close to zero, where one step does not tell what the next will gain
    n_near = 0
    for r in range(scratch.nu.size):
        if scratch.nu[r] < 1e3 * scratch.threshold[r]:
            n_near += 1
    return n_near > 0


@compiled(inner=True)
def _descend(rows, structure, p, x, scratch, fixed, tolerance):
    n = x.size
    for i in range(n):
        if i != fixed:
            x[i] = min(max(x[i], structure.lower[p, i]), structure.upper[p, i])
    value = evaluate(rows, structure, p, x, scratch)
    damping = 0.0
    edm = math.inf
    stalled = False
    for iteration in range(MAX_ITERATIONS):
        if not math.isfinite(value):
            return NOT_CONVERGED, value, edm, iteration
        differentiate(rows, structure, p, x, scratch, True)
        exact = True
        scratch.nu_before[:] = scratch.nu
        accepted = False
        while not accepted:
            edm = _step(structure, p, x, scratch, fixed, damping)
            if edm < 0.0 or not math.isfinite(edm):
                if exact:
                    evaluate(rows, structure, p, x, scratch)
                    differentiate(rows, structure, p, x, scratch, False)
                    exact = False
                else:
                    damping = max(1e-3, 10.0 * damping)
                    if damping > MAX_DAMPING:
                        return NOT_CONVERGED, value, edm, iteration
                continue
            if edm < tolerance and damping == 0.0 and (edm < TIGHT or not _near_barrier(scratch)):
                return CONVERGED, value - barrier_value(scratch) - edm, edm, iteration
            if edm < 1e-3 * tolerance and stalled:
                return NOT_CONVERGED, value, edm, iteration
            fraction = 1.0
            for attempt in range(12):
                for i in range(n):
                    target = x[i] + fraction * scratch.step[i]
                    scratch.trial[i] = min(max(target, structure.lower[p, i]), structure.upper[p, i])
                if fixed >= 0:
                    scratch.trial[fixed] = x[fixed]
                trial_value = evaluate(rows, structure, p, scratch.trial, scratch)
                if trial_value <= value - 1e-4 * fraction * edm + 1e-13 * abs(value):
                    accepted = True
                    break
                shorter = _feasible_fraction(scratch)
                fraction *= shorter if attempt < 3 and shorter < 1.0 else 0.4
                if fraction < 1e-6:
                    break
            if accepted:
                x[:] = scratch.trial
                value = trial_value
                damping = damping / 10.0 if damping > 1e-3 else 0.0
            else:
                # the rows are left at the trial: the derivatives belong to x
                if edm < 1e3 * tolerance and damping == 0.0:
                    evaluate(rows, structure, p, x, scratch)
                    value -= barrier_value(scratch)
                    return CONVERGED if edm < 1e-6 else NOT_CONVERGED, value, edm, iteration
                damping = max(1e-3, 10.0 * damping)
                stalled = True
                if damping > MAX_DAMPING:
                    return NOT_CONVERGED, value, edm, iteration
    return NOT_CONVERGED, value, edm, MAX_ITERATIONS


@compiled(inner=True)
def minimise(rows, structure, p, x, scratch, fixed, tolerance):
    """Minimise the NLL from x, in place; parameter ``fixed`` (−1: none) stays where it is.

    Stops when the predicted reduction of the NLL (the EDM) falls below ``tolerance``; the last step is not
    taken, but its reduction is.

    Returns:
        (status, NLL, EDM, iterations). The gradient, Hessian and last step stay in the scratch; its Cholesky
        factor is of the free parameters.
    """
    scratch.begin[:] = x
    status, value, edm, iterations = _descend(rows, structure, p, x, scratch, fixed, tolerance)
    if status == CONVERGED:
        return status, value, edm, iterations
    # along the central path: a high barrier first, then lower and lower
    x[:] = scratch.begin
    barrier = FIRST_BARRIER
    while barrier > BARRIER:
        set_barrier(scratch, barrier)
        _descend(rows, structure, p, x, scratch, fixed, 1e-3 * barrier)
        barrier *= 0.2
    set_barrier(scratch, BARRIER)
    return _descend(rows, structure, p, x, scratch, fixed, tolerance)


@compiled(inner=True)
def strength_derivative(scratch, strength):
    """∂NLL/∂μ of the profiled NLL after a fit at fixed μ: envelope theorem, corrected by the last step."""
    total = scratch.gradient[strength]
    for i in range(scratch.gradient.size):
        if i != strength:
            h = scratch.hessian[strength, i] if strength >= i else scratch.hessian[i, strength]
            total += h * scratch.step[i]
    return total


@compiled(inner=True)
def profile_curvature(scratch, strength):
    """∂²NLL/∂μ² of the profiled NLL after a fit at fixed μ; sets ``right`` to −dx/dμ of the others."""
    n = scratch.gradient.size
    for i in range(n):
        scratch.right[i] = 0.0
        if i != strength:
            scratch.right[i] = scratch.hessian[strength, i] if strength >= i else scratch.hessian[i, strength]
    _substitute(scratch, scratch.right)
    total = scratch.hessian[strength, strength]
    for i in range(n):
        if i != strength and scratch.free[i] == 1:
            h = scratch.hessian[strength, i] if strength >= i else scratch.hessian[i, strength]
            total -= h * scratch.right[i]
    return total
