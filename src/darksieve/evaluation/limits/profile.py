"""Profile-likelihood curves of one problem: where √(2ΔNLL) and ln CLs take a value, as compiled kernels."""

# mypy: allow-untyped-defs
from __future__ import annotations

import math

import numpy as np

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.minimiser import CONVERGED, minimise, profile_curvature, strength_derivative

ROOT_TWO = math.sqrt(2.0)
LOG_TWO_PI = math.log(2.0 * math.pi)
# inside root findings; value and slope are corrected by the last step: errors of the order LOOSE^1.5
LOOSE = 1e-4


@compiled(inner=True)
def normal_cdf(z):
    """Φ(z)."""
    return 0.5 * math.erfc(-z / ROOT_TWO)


@compiled(inner=True)
def log_normal_cdf(z):
    """ln Φ(z), also far in the lower tail."""
    if z > -20.0:
        return math.log(0.5 * math.erfc(-z / ROOT_TWO))
    inverse = 1.0 / (z * z)
    series = 1.0 - inverse * (1.0 - 3.0 * inverse * (1.0 - 5.0 * inverse * (1.0 - 7.0 * inverse)))
    return -0.5 * z * z - math.log(-z) - 0.5 * LOG_TWO_PI + math.log(series)


@compiled(inner=True)
def hazard(z):
    """d ln Φ(z)/dz = φ(z)/Φ(z)."""
    return math.exp(-0.5 * (z * z + LOG_TWO_PI) - log_normal_cdf(z))


@compiled(inner=True)
def log_cls(q, q_slope, q_asimov, q_asimov_slope, tilde):
    """ln CLs and its derivative by μ, from q and q_A and their derivatives.

    References:
        G. Cowan et al., arXiv:1007.1727, eqs. 57 to 66.
    """
    root_a = math.sqrt(max(q_asimov, 1e-300))
    slope_a = 0.5 * q_asimov_slope / root_a
    if tilde and q > q_asimov:
        z_sb = 0.5 * (q + q_asimov) / root_a
        z_b = 0.5 * (q - q_asimov) / root_a
        slope_sb = 0.5 * (q_slope + q_asimov_slope) / root_a - z_sb * slope_a / root_a
        slope_b = 0.5 * (q_slope - q_asimov_slope) / root_a - z_b * slope_a / root_a
    else:
        root = math.sqrt(max(q, 0.0))
        slope = 0.5 * q_slope / root if root > 0.0 else 0.0
        z_sb = root
        z_b = root - root_a
        slope_sb = slope
        slope_b = slope - slope_a
    value = log_normal_cdf(-z_sb) - log_normal_cdf(-z_b)
    return value, -hazard(-z_sb) * slope_sb + hazard(-z_b) * slope_b


@compiled(inner=True)
def fit_at(rows, structure, p, scratch, x, mu, moved, tolerance):
    """Fit at fixed μ, starting along the tangent ``moved`` = dx/dμ from x, both updated in place.

    Returns:
        (status, NLL, ∂NLL/∂μ, EDM).
    """
    strength = scratch.block_start[structure.n_linear.shape[1]]
    change = mu - x[strength]
    for i in range(x.size):
        if i != strength:
            x[i] += moved[i] * change
    x[strength] = mu
    status, value, edm, _ = minimise(rows, structure, p, x, scratch, strength, tolerance)
    if status != CONVERGED:
        moved[:] = 0.0
        return status, math.nan, math.nan, edm
    derivative = strength_derivative(scratch, strength)
    profile_curvature(scratch, strength)
    for i in range(x.size):
        # the step that was not taken, and the tangent for the next μ
        if i != strength:
            x[i] = min(max(x[i] + scratch.step[i], structure.lower[p, i]), structure.upper[p, i])
        moved[i] = -scratch.right[i] if i != strength and scratch.free[i] == 1 else 0.0
    return status, value, derivative, edm


@compiled(inner=True, inline="always")
def find_root(
    rows, structure, p, scratch, x, moved, reference, sign, target, mu, minimum, precision, tolerance
):
    """The μ on one side of ``minimum`` where √(2(NLL(μ) − reference)) is ``target``, by Newton's method.

    Args:
        mu: Start value.
        minimum: Where the curve has its minimum; the root lies above (sign 1) or below (−1).
        precision: Of the root, relative to its distance from the minimum.

    Returns:
        (status, root, derivative of the square root by μ).
    """
    near = 0.0
    far = math.inf
    distance = abs(mu - minimum)
    slope = math.nan
    loose = max(tolerance, LOOSE)
    # the error after a Newton step is of the order of the step squared
    short = math.sqrt(precision)
    for _ in range(60):
        status, value, derivative, _ = fit_at(
            rows, structure, p, scratch, x, minimum + sign * distance, moved, loose
        )
        if status != CONVERGED:
            return status, math.nan, math.nan
        root = math.sqrt(max(2.0 * (value - reference), 0.0))
        if root < target:
            near = distance
        else:
            far = distance
        slope = sign * derivative / root if root > 0.0 else 0.0
        new = distance + (target - root) / slope if slope > 0.0 else math.inf
        if not near < new < far:
            if abs(new - distance) <= short * distance:
                return CONVERGED, minimum + sign * distance, slope
            new = 0.5 * (near + far) if far < math.inf else 3.0 * distance
        new = min(new, 5.0 * distance)
        change = abs(new - distance)
        distance = new
        if change <= short * distance:
            return CONVERGED, minimum + sign * distance, slope
        if distance > 1e12:
            break
    return 1, math.nan, math.nan


@compiled(inner=True, inline="always")
def observed_limit(
    data,
    bins,
    structure,
    p,
    on_data,
    on_bins,
    x,
    moved,
    x_asimov,
    moved_asimov,
    reference,
    best,
    alpha,
    tilde,
    mu,
    precision,
    tolerance,
):
    """The strength where CLs = α: Newton on ln(CLs/α) inside a bracket, both branches of q̃.

    Returns:
        (status, limit).
    """
    log_alpha = math.log(alpha)
    loose = max(tolerance, LOOSE)
    short = math.sqrt(precision)
    low = 0.0
    high = math.inf
    for _ in range(60):
        status, value, derivative, _ = fit_at(data, structure, p, on_data, x, mu, moved, loose)
        if status != CONVERGED:
            return status, math.nan
        status, value_a, derivative_a, _ = fit_at(
            bins, structure, p, on_bins, x_asimov, mu, moved_asimov, loose
        )
        if status != CONVERGED:
            return status, math.nan
        q = max(2.0 * (value - reference), 0.0)
        q_slope = 2.0 * derivative
        if mu <= best:
            q = 0.0
            q_slope = 0.0
        f, slope = log_cls(q, q_slope, 2.0 * value_a, 2.0 * derivative_a, tilde)
        f -= log_alpha
        if f > 0.0:
            low = mu
        else:
            high = mu
        new = mu - f / slope if slope < 0.0 else math.inf
        if not low <= new <= high:
            new = 0.5 * (low + high) if high < math.inf else 2.0 * mu
        new = min(new, 5.0 * mu)
        change = abs(new - mu)
        mu = new
        if change <= short * mu:
            return CONVERGED, mu
        if mu > 1e12:
            break
    return 1, math.nan


@compiled(inner=True)
def extrapolate_curve(t, t_0, y_0, slope_0, t_1, y_1, slope_1):
    """y(t) beyond two points with known dy/dt: the cubic through both."""
    width = t_1 - t_0
    u = (t - t_0) / width
    start = width * slope_0
    end = width * slope_1
    rise = y_1 - y_0
    return y_0 + u * (start + u * (3.0 * rise - 2.0 * start - end + u * (start + end - 2.0 * rise)))


@compiled(inner=True)
def extrapolate(r, r_0, mu_0, slope_0, r_1, mu_1, slope_1):
    """μ(r) beyond two points with known dr/dμ."""
    return extrapolate_curve(r, r_0, mu_0, 1.0 / slope_0, r_1, mu_1, 1.0 / slope_1)


@compiled(inner=True)
def copy_expectation(scratch, target):
    """ν of the last evaluation as counts, not negative."""
    for r in range(scratch.nu.size):
        target[r] = max(scratch.nu[r], 0.0)


@compiled(inner=True)
def empty_like(x):
    """Zeros of the shape of a parameter vector."""
    return np.zeros(x.size)
