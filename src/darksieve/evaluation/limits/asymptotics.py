"""Best fits, p-values and asymptotic CLs limits of a whole batch: the compiled loop over its problems."""

# mypy: allow-untyped-defs
from __future__ import annotations

import math

import numpy as np

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.likelihood import set_expectation
from darksieve.evaluation.limits.minimiser import CONVERGED, minimise, profile_curvature
from darksieve.evaluation.limits.profile import (
    copy_expectation,
    extrapolate,
    extrapolate_curve,
    find_root,
    fit_at,
    log_cls,
    log_normal_cdf,
    normal_cdf,
    observed_limit,
)
from darksieve.evaluation.limits.scratch import make_scratch, set_counts

# columns of the numbers of one problem
BEST, ERROR_LOW, ERROR_HIGH, NLL_BEST, NLL_ZERO, SIGNIFICANCE, OBSERVED, EDM, CLS, NEAR_PEAK = range(10)
FIRST_LEVEL = 10  # then one column per level of the band, then as many CLs
# what failed, as bits
FIT_FAILED, ERROR_FAILED, EXPECTED_FAILED, OBSERVED_FAILED = 1, 2, 4, 8
# what is asked for, as bits
WANT_FIT, WANT_ERRORS, WANT_EXPECTED, WANT_OBSERVED = 1, 2, 4, 8


@compiled(inner=True, inline="always")
def solve_one(
    data,
    bins,
    structure,
    p,
    blind,
    want,
    levels,
    targets,
    alpha,
    tilde,
    at,
    precision,
    tolerance,
    numbers,
    parameters,
):
    """All answers for problem p into ``numbers``; returns what failed as bits.

    Args:
        at: Strength at which CLs is asked, NaN for none.
        numbers: Filled, shape (10 + 2 n_levels,).
        parameters: Filled, shape (2, max. parameters): at the best fit and at μ = 0.
    """
    numbers[:] = math.nan
    parameters[:, :] = math.nan
    failed = 0
    n = structure.n_parameters[p]
    on_data = make_scratch(data, structure, p)
    strength = on_data.block_start[structure.n_linear.shape[1]]
    x = structure.start[p, :n].copy()
    x[strength] = 0.0
    moved = np.zeros(n)
    best = 0.0
    width = math.nan
    nll_zero = 0.0
    reference = 0.0
    x_best = x.copy()
    tangent = np.zeros(n)
    numbers[EDM] = 0.0
    if not blind:
        set_counts(on_data, data.counts, data.start[p, 0], structure.auxiliary[p])
        status, nll_zero, slope, edm = fit_at(data, structure, p, on_data, x, 0.0, moved, tolerance)
        if status != CONVERGED:
            return FIT_FAILED
        curvature = profile_curvature(on_data, strength)
        parameters[1, :n] = x
        numbers[EDM] = edm
        numbers[NLL_ZERO] = nll_zero
        x_best = x.copy()
        first = -slope / curvature if curvature > 0.0 else 0.0
        for i in range(n):
            x_best[i] += first * moved[i]
        x_best[strength] = first
        status, nll_best, edm, _ = minimise(data, structure, p, x_best, on_data, np.int64(-1), tolerance)
        if status != CONVERGED or nll_best > nll_zero + 1e-6:
            # a step into the wrong valley: start at zero signal
            x_best[:] = x
            status, nll_best, edm, _ = minimise(data, structure, p, x_best, on_data, np.int64(-1), tolerance)
        if status != CONVERGED:
            return FIT_FAILED
        for i in range(n):
            x_best[i] += on_data.step[i]
        best = x_best[strength]
        parameters[0, :n] = x_best
        numbers[EDM] = max(edm, numbers[EDM])
        numbers[BEST] = best
        numbers[NLL_BEST] = nll_best
        gain = math.sqrt(max(2.0 * (nll_zero - nll_best), 0.0))
        numbers[SIGNIFICANCE] = gain if best > 0.0 else -gain
        on_data.free[strength] = 0
        curvature = profile_curvature(on_data, strength)
        width = 1.0 / math.sqrt(curvature) if curvature > 0.0 else max(abs(best), 1.0)
        reference = nll_zero if tilde and best < 0.0 else nll_best
        for i in range(n):
            if i != strength and on_data.free[i] == 1:
                tangent[i] = -on_data.right[i]
        if want & WANT_ERRORS:
            for side in range(2):
                sign = 2.0 * side - 1.0
                x_side = x_best.copy()
                moved_side = tangent.copy()
                status, root, _ = find_root(
                    data,
                    structure,
                    p,
                    on_data,
                    x_side,
                    moved_side,
                    nll_best,
                    sign,
                    1.0,
                    best + sign * width,
                    best,
                    1e-4,
                    tolerance,
                )
                if status != CONVERGED:
                    failed |= ERROR_FAILED
                else:
                    numbers[ERROR_LOW + side] = root - best
    if not want & (WANT_EXPECTED | WANT_OBSERVED):
        return failed
    # the Asimov set: post-fit background, or the nominal one where there are no data
    on_bins = make_scratch(bins, structure, p)
    set_expectation(bins, structure, p, x, on_bins)
    asimov = np.zeros(on_bins.nu.size)
    copy_expectation(on_bins, asimov)
    near_peak = 0.0
    for r in range(asimov.size):
        near_peak += asimov[r] * bins.near_peak[bins.start[p, 0] + r]
    numbers[NEAR_PEAK] = near_peak
    set_counts(on_bins, asimov, 0, x[strength + 1 :])
    x_asimov = x.copy()
    moved_asimov = np.zeros(n)
    status, _, slope, edm = fit_at(bins, structure, p, on_bins, x_asimov, 0.0, moved_asimov, tolerance)
    if status != CONVERGED:
        return failed | EXPECTED_FAILED | OBSERVED_FAILED
    curvature = profile_curvature(on_bins, strength)
    sigma = 1.0 / math.sqrt(curvature) if curvature > 0.0 else 1.0
    median = math.nan
    # √q_A is nearly straight in μ: the last two roots and slopes give the next start
    target_0, root_0, slope_0 = 0.0, 0.0, 1.0 / sigma
    target_1, root_1, slope_1 = 0.0, 0.0, slope_0
    at_levels = np.zeros((levels.size, n))
    moved_at_levels = np.zeros((levels.size, n))
    x_before, moved_before = x_asimov.copy(), moved_asimov.copy()
    x_last, moved_last = x_asimov.copy(), moved_asimov.copy()
    for k in range(levels.size):
        start = targets[k] / slope_0
        if k > 0 and slope_1 > 0.0:
            start = extrapolate(targets[k], target_0, root_0, slope_0, target_1, root_1, slope_1)
            if not root_1 < start < 5.0 * root_1:
                start = root_1 * targets[k] / target_1
            # and so are the other parameters
            x_before[:], moved_before[:] = x_last, moved_last
            x_last[:], moved_last[:] = x_asimov, moved_asimov
            for i in range(n):
                if i != strength:
                    x_asimov[i] = extrapolate_curve(
                        start, x_before[strength], x_before[i], moved_before[i],
                        x_last[strength], x_last[i], moved_last[i],
                    )  # fmt: skip
            x_asimov[strength] = start
        status, root, slope = find_root(
            bins, structure, p, on_bins, x_asimov, moved_asimov, 0.0, 1.0, targets[k], start, 0.0, precision,
            tolerance,
        )  # fmt: skip
        if status != CONVERGED:
            failed |= EXPECTED_FAILED
            break
        numbers[FIRST_LEVEL + k] = root
        at_levels[k] = x_asimov
        moved_at_levels[k] = moved_asimov
        if k > 0:
            target_0, root_0, slope_0 = target_1, root_1, slope_1
        target_1, root_1, slope_1 = targets[k], root, slope
        if levels[k] <= 0.0:
            median = root
            sigma = root / targets[k]
    if failed & EXPECTED_FAILED:
        return failed | OBSERVED_FAILED
    if not math.isnan(at):
        failed |= _cls_at(
            data,
            bins,
            structure,
            p,
            on_data,
            on_bins,
            x_best,
            x_asimov,
            moved_asimov,
            blind,
            levels,
            reference,
            best,
            tilde,
            at,
            tolerance,
            numbers,
        )
    if blind or not want & WANT_OBSERVED:
        return failed
    start = _wald_limit(best, sigma, alpha)
    if not math.isfinite(start) or start <= 0.0:
        start = median
    # the Asimov fits are known along the band: start between its two nearest levels
    after = 1
    while after < levels.size - 1 and at_levels[after, strength] < start:
        after += 1
    inside = at_levels[0, strength] < start < at_levels[levels.size - 1, strength]
    for i in range(n):
        if inside and i != strength:
            x_asimov[i] = extrapolate_curve(
                start, at_levels[after - 1, strength], at_levels[after - 1, i], moved_at_levels[after - 1, i],
                at_levels[after, strength], at_levels[after, i], moved_at_levels[after, i],
            )  # fmt: skip
    if inside:
        x_asimov[strength] = start
        moved_asimov[:] = 0.0
    x_start = x_best.copy()
    if tilde and best < 0.0:
        x_start[:] = x
    else:
        moved[:] = tangent
    status, limit = observed_limit(
        data,
        bins,
        structure,
        p,
        on_data,
        on_bins,
        x_start,
        moved,
        x_asimov,
        moved_asimov,
        reference,
        best,
        alpha,
        tilde,
        start,
        precision,
        tolerance,
    )
    if status != CONVERGED:
        return failed | OBSERVED_FAILED
    numbers[OBSERVED] = limit
    return failed


@compiled(inner=True)
def _wald_limit(best, sigma, alpha):
    # the observed limit if q were (μ − μ̂)²/σ², by bisection: a start value
    shift = best / sigma
    low = max(shift, 0.0)
    high = low + 40.0
    log_alpha = math.log(alpha)
    for _ in range(40):
        mu = 0.5 * (low + high)
        root = mu - shift
        if shift < 0.0:
            q = mu * mu - 2.0 * mu * shift
            value = log_normal_cdf(-0.5 * (q + mu * mu) / mu) - log_normal_cdf(-0.5 * (q - mu * mu) / mu)
        else:
            value = log_normal_cdf(-root) - log_normal_cdf(mu - root)
        if value > log_alpha:
            low = mu
        else:
            high = mu
    return 0.5 * (low + high) * sigma


@compiled(inner=True, inline="always")
def _cls_at(
    data,
    bins,
    structure,
    p,
    on_data,
    on_bins,
    x_best,
    x_asimov,
    moved_asimov,
    blind,
    levels,
    reference,
    best,
    tilde,
    at,
    tolerance,
    numbers,
):
    status, value, _, _ = fit_at(bins, structure, p, on_bins, x_asimov, at, moved_asimov, tolerance)
    if status != CONVERGED:
        return EXPECTED_FAILED
    root = math.sqrt(max(2.0 * value, 0.0))
    for k in range(levels.size):
        numbers[FIRST_LEVEL + levels.size + k] = normal_cdf(levels[k] - root) / normal_cdf(levels[k])
    if blind:
        return 0
    x = x_best.copy()
    moved = np.zeros(x.size)
    status, nll, _, _ = fit_at(data, structure, p, on_data, x, at, moved, tolerance)
    if status != CONVERGED:
        return OBSERVED_FAILED
    q = 0.0 if at <= best else max(2.0 * (nll - reference), 0.0)
    log_value, _ = log_cls(q, 0.0, 2.0 * value, 0.0, tilde)
    numbers[CLS] = math.exp(log_value)
    return 0


@compiled()
def solve(
    data, bins, structure, blind, want, levels, targets, alpha, tilde, at, precision, tolerance,
    numbers, parameters, failed, begin, end,
):  # fmt: skip
    """``solve_one`` for the problems from begin to end."""
    for p in range(begin, end):
        failed[p] = solve_one(
            data, bins, structure, p, blind, want, levels, targets, alpha, tilde, at[p], precision, tolerance,
            numbers[p], parameters[p],
        )  # fmt: skip


@compiled(inner=True, inline="always")
def fit_one(data, structure, p, mu, tolerance, values, parameters):
    """Fit problem p to its data, at fixed μ unless it is NaN; fills NLL and EDM, and the parameters."""
    n = structure.n_parameters[p]
    scratch = make_scratch(data, structure, p)
    set_counts(scratch, data.counts, data.start[p, 0], structure.auxiliary[p])
    strength = scratch.block_start[structure.n_linear.shape[1]]
    x = structure.start[p, :n].copy()
    x[strength] = 0.0 if math.isnan(mu) else mu
    status, value, edm, _ = minimise(
        data, structure, p, x, scratch, -1 if math.isnan(mu) else strength, tolerance
    )
    if status != CONVERGED:
        return FIT_FAILED
    parameters[:n] = x
    for i in range(n):
        parameters[i] += scratch.step[i]
    values[0] = value
    values[1] = edm
    return 0


@compiled()
def fit_all(data, structure, mu, tolerance, values, parameters, failed, begin, end):
    """``fit_one`` for the problems from begin to end."""
    for p in range(begin, end):
        failed[p] = fit_one(data, structure, p, mu[p], tolerance, values[p], parameters[p])
