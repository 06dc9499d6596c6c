"""Smooth curves through points or counts: penalised cubic B-splines whose smoothness the data choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline
from scipy.optimize import minimize_scalar

_DEGREE = 3
_LOG_PENALTY_RANGE = (-12.0, 16.0)


@dataclass(frozen=True, eq=False)
class SmoothCurve:
    """A cubic spline on equidistant knots from ``lower`` to ``upper``, continued by straight lines.

    Attributes:
        lower: Where the spline begins.
        upper: Where it ends; equal to ``lower`` for a constant.
        coefficients: B-spline coefficients, shape (n_intervals + 3,); one number for a constant.
        effective_parameters: Trace of the smoother, from the penalty's order to the number of coefficients.
    """

    lower: float
    upper: float
    coefficients: NDArray[np.float64]
    effective_parameters: float

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """Values of the curve, in the shape of x."""
        x = np.asarray(x, float)
        if len(self.coefficients) == 1:
            return np.full(x.shape, self.coefficients[0])
        spline = BSpline(_knots(self.lower, self.upper, len(self.coefficients)), self.coefficients, _DEGREE)
        inside = np.clip(x, self.lower, self.upper)
        return np.asarray(spline(inside) + spline(inside, 1) * (x - inside), np.float64)

    def as_dict(self) -> dict[str, Any]:
        """The curve as JSON-ready numbers."""
        return {
            "lower": self.lower,
            "upper": self.upper,
            "coefficients": self.coefficients.tolist(),
            "effective_parameters": self.effective_parameters,
        }

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> SmoothCurve:
        """The inverse of ``as_dict``."""
        return cls(
            float(entry["lower"]),
            float(entry["upper"]),
            np.asarray(entry["coefficients"], float),
            float(entry["effective_parameters"]),
        )


def smooth_points(
    x: ArrayLike, y: ArrayLike, errors: ArrayLike, *, n_intervals: int = 24, penalty_order: int = 2
) -> SmoothCurve:
    """The smooth curve through points with known Gaussian errors.

    The smoothness maximises the restricted likelihood. One distinct x gives a constant, two a straight line.

    Args:
        x: Positions, shape (n,).
        y: Values, shape (n,).
        errors: Standard deviations, > 0, shape (n,).
        n_intervals: Knot intervals over the range of x.
        penalty_order: Order of the coefficient differences that are penalised.

    Raises:
        ValueError: If there are no points, or they are not finite, or an error is not positive.

    References:
        P. Eilers and B. Marx, Statist. Sci. 11 (1996) 89; S. Wood, J. R. Statist. Soc. B 73 (2011) 3.
    """
    x, y, errors = (np.asarray(values, float) for values in (x, y, errors))
    if not (x.size and np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a smooth curve needs at least one point, and finite ones")
    if not (np.isfinite(errors).all() and (errors > 0).all()):
        raise ValueError(f"errors of points must be finite and positive, not {errors}")
    weights = errors**-2.0
    distinct = len(np.unique(x))
    if distinct == 1:
        return SmoothCurve(float(x[0]), float(x[0]), np.array([np.average(y, weights=weights)]), 1.0)
    order = min(penalty_order, distinct)
    design, penalty = _basis(x, float(x.min()), float(x.max()), n_intervals, order)

    def fit(log_penalty: float) -> tuple[float, NDArray, float]:
        information = design.T @ (weights[:, None] * design)
        hessian = information + np.exp(log_penalty) * penalty
        beta = np.linalg.solve(hessian, design.T @ (weights * y))
        misfit = float(weights @ (y - design @ beta) ** 2)
        return (
            _restricted(misfit, beta, hessian, penalty, log_penalty),
            beta,
            _trace(hessian, information),
        )

    # rescale so that the range of penalties does not depend on the unit of y
    shift = float(np.log(weights.sum()))
    beta, parameters = _best(lambda log_penalty: fit(log_penalty + shift))
    return SmoothCurve(float(x.min()), float(x.max()), beta, parameters)


def smooth_counts(
    x: ArrayLike,
    counts: ArrayLike,
    exposure: ArrayLike,
    *,
    n_intervals: int = 60,
    penalty_order: int = 3,
) -> SmoothCurve:
    """The smooth log density whose integral describes Poisson counts.

    The smoothness maximises the Laplace approximation of the restricted likelihood.

    Args:
        x: Bin centres in the coordinate in which knots are equidistant, shape (n,).
        counts: Events per bin, not necessarily whole, >= 0, shape (n,). For weighted events: sums of weights
            over the local event weight, so that the variance of each is its mean.
        exposure: Expected counts for unit density (bin widths over the local event weight), > 0, shape (n,).
        n_intervals: Knot intervals over the range of x.
        penalty_order: Order of the penalised differences; 3 leaves a parabola in the logarithm free.

    Returns:
        The logarithm of the density.

    Raises:
        ValueError: If a count is negative or not finite, all are zero, or an exposure is not positive.

    References:
        S. Wood, J. R. Statist. Soc. B 73 (2011) 3.
    """
    x, counts, exposure = (np.asarray(values, float) for values in (x, counts, exposure))
    if not (np.isfinite(counts).all() and (counts >= 0).all() and counts.sum() > 0):
        raise ValueError("counts must be finite, not negative, and not all zero")
    if not (np.isfinite(exposure).all() and (exposure > 0).all()):
        raise ValueError("exposures must be finite and positive")
    n_intervals = max(4, min(n_intervals, int(counts.sum() / 4)))
    design, penalty = _basis(x, float(x.min()), float(x.max()), n_intervals, penalty_order)
    # the start: a weighted least squares to the logarithm of coarsely positive counts
    floor = 0.5 * counts.sum() / exposure.sum() * 1e-2
    start_log = np.log(np.maximum(counts / exposure, floor))
    start_weights = counts + 0.1
    beta_start = np.linalg.solve(
        design.T @ (start_weights[:, None] * design)
        + counts.sum() * 1e-3 * penalty
        + 1e-9 * np.eye(len(penalty)),
        design.T @ (start_weights * start_log),
    )
    last = [beta_start]

    def fit(log_penalty: float) -> tuple[float, NDArray, float]:
        strength = np.exp(log_penalty)

        def objective(beta: NDArray) -> float:
            return _deviance(design @ beta, counts, exposure) + strength * float(beta @ penalty @ beta)

        beta = last[0]
        value = objective(beta)
        for _ in range(60):
            mean = exposure * np.exp(np.clip(design @ beta, -60, 60))
            information = design.T @ (mean[:, None] * design)
            hessian = information + strength * penalty + 1e-10 * counts.sum() * np.eye(len(penalty))
            step = np.linalg.solve(hessian, design.T @ (counts - mean) - strength * (penalty @ beta))
            length, new = 1.0, objective(beta + step)
            while new > value + 1e-9 * abs(value) and length > 1e-6:
                length /= 2
                new = objective(beta + length * step)
            converged = value - new < 1e-7 * (1 + abs(value))
            beta, value = beta + length * step, new
            if converged:
                break
        last[0] = beta
        score = _restricted(_deviance(design @ beta, counts, exposure), beta, hessian, penalty, log_penalty)
        return score, beta, _trace(hessian, information)

    shift = float(np.log(counts.sum())) - 6.0
    beta, parameters = _best(lambda log_penalty: fit(log_penalty + shift))
    return SmoothCurve(float(x.min()), float(x.max()), beta, parameters)


def _deviance(log_density: NDArray, counts: NDArray, exposure: NDArray) -> float:
    """Poisson deviance of the counts."""
    mean = exposure * np.exp(np.clip(log_density, -60, 60))
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.where(counts > 0, np.log(counts / mean), 0.0)
    return float(2 * np.sum(counts * log_ratio - counts + mean))


def _knots(lower: float, upper: float, n_coefficients: int) -> NDArray[np.float64]:
    step = (upper - lower) / (n_coefficients - _DEGREE)
    return np.asarray(lower + step * np.arange(-_DEGREE, n_coefficients + 1), np.float64)


def _basis(x: NDArray, lower: float, upper: float, n_intervals: int, order: int) -> tuple[NDArray, NDArray]:
    """Design matrix (n, n_intervals + 3) and penalty matrix of the differences of the given order."""
    n_coefficients = n_intervals + _DEGREE
    knots = _knots(lower, upper, n_coefficients)
    design = BSpline.design_matrix(np.clip(x, lower, upper), knots, _DEGREE, extrapolate=True).toarray()
    differences = np.diff(np.eye(n_coefficients), n=order, axis=0)
    return design, differences.T @ differences


def _restricted(
    misfit: float, beta: NDArray, hessian: NDArray, penalty: NDArray, log_penalty: float
) -> float:
    """Minus twice the logarithm of the (Laplace) restricted likelihood, up to a constant."""
    _, log_determinant = np.linalg.slogdet(hessian)
    rank = np.linalg.matrix_rank(penalty)
    roughness = np.exp(log_penalty) * float(beta @ penalty @ beta)
    return misfit + roughness + float(log_determinant) - rank * log_penalty


def _trace(hessian: NDArray, information: NDArray) -> float:
    return float(np.trace(np.linalg.solve(hessian, information)))


def _best(fit: Callable[[float], tuple[float, NDArray, float]]) -> tuple[NDArray, float]:
    """Coefficients and effective parameters at the best penalty: a grid, then its best interval refined."""
    grid = np.linspace(*_LOG_PENALTY_RANGE, 11)
    scores = [fit(g)[0] for g in grid[::-1]][
        ::-1
    ]  # from smooth to rough: each fit starts from a smoother one
    best = int(np.argmin(scores))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(lambda g: fit(g)[0], bounds=(low, high), method="bounded", options={"xatol": 0.1})
    _, beta, parameters = fit(found.x)
    return beta, parameters
