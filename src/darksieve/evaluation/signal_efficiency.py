"""Absolute signal efficiency as a smooth function of mass, from flat-mass or discrete-mass simulation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlog1py, xlogy

from darksieve.errors import InputError

_ROWS_OF_A_POINT = 20  # a mass generated at least so often is a point of its own
_MAX_ORDER = 12
_NEARLY_EQUAL = 4.0  # of AICc: K. Burnham and D. Anderson, Sociol. Methods Res. 33 (2004) 261


@dataclass(frozen=True, eq=False)
class SignalEfficiency:
    """Efficiency by category, a polynomial in mass (or in its logarithm), with its covariance.

    Attributes:
        mass_range: Lowest and highest simulated mass, GeV.
        coordinate: "mass" or "log_mass": what the polynomial is in.
        coefficients: Chebyshev coefficients, shape (n_categories, order + 1).
        covariance: Of the coefficients, shape (n_categories, order + 1, order + 1).
        masses: Masses of the measured points, shape (n_points,).
        values: Measured efficiencies, shape (n_categories, n_points).
        errors: Their statistical errors from the fitted efficiency, same shape.
        chi2_per_dof: Of all categories together.
    """

    mass_range: tuple[float, float]
    coordinate: str
    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]
    masses: NDArray[np.float64]
    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    chi2_per_dof: float

    @property
    def order(self) -> int:
        """Order of the polynomial."""
        return self.coefficients.shape[1] - 1

    def design(self, masses: ArrayLike) -> NDArray[np.float64]:
        """Chebyshev polynomials at the masses, shape (n_masses, order + 1).

        Raises:
            InputError: If a mass lies outside the simulated range.
        """
        masses = np.atleast_1d(np.asarray(masses, np.float64))
        low, high = self.mass_range
        slack = 1e-6 * max(high - low, high)
        outside = ~((masses >= low - slack) & (masses <= high + slack))
        if outside.any():
            raise InputError(
                f"no signal efficiency at {masses[outside][0]:g} GeV: signal was simulated from {low:g} to "
                f"{high:g} GeV; change the scan's masses or simulate more of them"
            )
        return chebyshev.chebvander(_scaled(masses, self.mass_range, self.coordinate), self.order)

    def __call__(self, masses: ArrayLike) -> NDArray[np.float64]:
        """Efficiencies, shape (n_categories, n_masses), at least 0.

        Raises:
            InputError: If a mass lies outside the simulated range.
        """
        return np.maximum(self.coefficients @ self.design(masses).T, 0.0)

    def error(self, masses: ArrayLike) -> NDArray[np.float64]:
        """Statistical errors, shape (n_categories, n_masses)."""
        design = self.design(masses)
        return np.sqrt(np.einsum("mi,cij,mj->cm", design, self.covariance, design))

    def refitted(self, values: NDArray) -> NDArray[np.float64]:
        """Coefficients for other measured values with the same errors, e.g. bootstrap replicates.

        Args:
            values: Shape (..., n_categories, n_points).

        Returns:
            Shape (..., n_categories, order + 1).
        """
        design = chebyshev.chebvander(_scaled(self.masses, self.mass_range, self.coordinate), self.order)
        return np.einsum("cij,...cj->...ci", self.covariance, (values / self.errors**2) @ design)


def _scaled(masses: NDArray, mass_range: tuple[float, float], coordinate: str) -> NDArray:
    low, high = mass_range
    if high <= low:
        return np.zeros_like(masses)
    if coordinate == "log_mass":
        offset = 0.02 * high  # so that a range from zero has a logarithm
        low, high, masses = np.log(low + offset), np.log(high + offset), np.log(masses + offset)
    return np.clip(2 * (masses - low) / (high - low) - 1, -1, 1)


@dataclass(frozen=True, eq=False)
class EfficiencyPoints:
    """Where each signal row counts: a bin of a flat sample, or one generated mass.

    Attributes:
        masses: Masses of the points, shape (n_points,).
        widths: Bin width in GeV, or 1 for a single mass, shape (n_points,): weights over it are efficiencies.
        is_mass: True for a single mass, whose number of trials is known; that of a bin fluctuates. Shape
            (n_points,).
        point: Point of each row, shape (n,).
        mass_range: Lowest and highest simulated mass.
    """

    masses: NDArray[np.float64]
    widths: NDArray[np.float64]
    is_mass: NDArray[np.bool_]
    point: NDArray[np.int64]
    mass_range: tuple[float, float]


def efficiency_points(
    mass: ArrayLike, mass_range: tuple[float, float] | None = None, max_bins: int = 64
) -> EfficiencyPoints:
    """Bins of the flat part and the masses of the discrete part of a signal sample.

    Bins are narrower at low mass, halfway between equal steps in mass and in its logarithm.

    Args:
        mass: Generated mass of all signal rows, shape (n,).
        mass_range: Range that the flat sample was generated in; the range of the rows where absent.
        max_bins: At most so many bins of the flat part.

    Raises:
        InputError: If there are no rows or a mass is not finite.
    """
    mass = np.asarray(mass, np.float64)
    if not len(mass) or not np.isfinite(mass).all():
        raise InputError("a signal efficiency needs signal rows, each with its generated mass")
    distinct, inverse, counts = np.unique(mass, return_inverse=True, return_counts=True)
    is_point = counts >= _ROWS_OF_A_POINT
    flat = ~is_point[inverse]
    low, high = mass_range or (float(mass.min()), float(mass.max()))
    point = np.zeros(len(mass), np.int64)
    masses: list[NDArray] = []
    widths: list[NDArray] = []
    n_flat = int(flat.sum())
    n_bins = int(np.clip(n_flat / 50, 1, max_bins)) if n_flat and high > low else 0
    if n_bins:
        fine = np.linspace(low, high, 4001)
        offset = 0.02 * high
        steps = (fine - low) / (high - low) + np.log((fine + offset) / (low + offset)) / np.log(
            (high + offset) / (low + offset)
        )
        edges = np.interp(np.linspace(0, 2, n_bins + 1), steps, fine)
        point[flat] = np.clip(np.searchsorted(edges, mass[flat], side="right") - 1, 0, n_bins - 1)
        masses.append((edges[1:] + edges[:-1]) / 2)
        widths.append(np.diff(edges))
    if is_point.any():
        number = n_bins + np.cumsum(is_point) - 1
        point[~flat] = number[inverse[~flat]]
        masses.append(distinct[is_point])
        widths.append(np.ones(int(is_point.sum())))
    is_mass = np.arange(sum(map(len, masses))) >= n_bins
    return EfficiencyPoints(
        np.concatenate(masses), np.concatenate(widths), is_mass, point, (float(low), float(high))
    )


def fit_signal_efficiency(
    mass: ArrayLike,
    weight: ArrayLike,
    category: ArrayLike,
    n_categories: int,
    *,
    mass_range: tuple[float, float] | None = None,
    points: EfficiencyPoints | None = None,
) -> SignalEfficiency:
    """Absolute efficiency of categories 1 … n as a function of mass.

    Weighted least squares with the errors expected from the fit itself (measured ones pull low); the order
    and the coordinate are those of the freest fit whose AICc is nearly the least, the same for all
    categories so that they add up.

    Args:
        mass: Generated mass in GeV of signal candidates, shape (n,).
        weight: 1 over the number generated per GeV (flat sample) or at that mass (discrete), shape (n,).
        category: 0 for rejected rows, 1 … n_categories, shape (n,).
        n_categories: Number of categories.
        mass_range: Generated range of a flat sample; the range of the rows where absent.
        points: Made by ``efficiency_points`` from all rows; made here where absent.

    Raises:
        InputError: If no row is left, or a weight is negative.
    """
    mass, weight = np.asarray(mass, np.float64), np.asarray(weight, np.float64)
    category = np.asarray(category, np.int64)
    if (weight < 0).any():
        raise InputError(
            f"signal weights go down to {weight.min():g}: an efficiency needs weights >= 0;"
            " say negative_weights: drop or rescale for their sample"
        )
    points = points or efficiency_points(mass, mass_range)
    n_points = len(points.masses)
    kept = category >= 1
    if not kept.any():
        raise InputError("no signal candidate is left after the selection: there is no efficiency to fit")
    index = (category[kept] - 1) * n_points + points.point[kept]
    shape = (n_categories, n_points)
    values = np.bincount(index, weight[kept], n_categories * n_points).reshape(shape) / points.widths
    # what one effective row weighs at each point
    totals = np.bincount(points.point, weight, n_points)
    row_weight = np.bincount(points.point, weight**2, n_points) / np.where(totals > 0, totals, 1.0)
    typical = float((weight[kept] ** 2).sum() / max(weight[kept].sum(), 1e-300))
    # rows that weigh next to nothing tell no more than that there is no efficiency
    row_weight = np.where(row_weight > 1e-6 * typical, row_weight, typical) / points.widths
    max_order = min(_MAX_ORDER, n_points - 1 if n_points < 4 else max(n_points // 2 - 1, 2))
    fits = [
        _fit(points, values, row_weight, coordinate, order)
        for coordinate in (("mass", "log_mass") if n_points > 2 else ("mass",))
        for order in range(max_order + 1)
    ]
    # information criteria tolerate a local bias of their own size; the freest of the nearly equal models
    # has least
    least = min(score for score, _ in fits)
    near = [(fitted.order, -score, fitted) for score, fitted in fits if score <= least + _NEARLY_EQUAL]
    return max(near, key=lambda entry: entry[:2])[2]


def _fit(
    points: EfficiencyPoints, values: NDArray, row_weight: NDArray, coordinate: str, order: int
) -> tuple[float, SignalEfficiency]:
    design = chebyshev.chebvander(_scaled(points.masses, points.mass_range, coordinate), order)
    expected = np.broadcast_to(values.mean(axis=1, keepdims=True), values.shape)
    for _ in range(4):
        # w·ε, or w·ε(1 − ε) with known trials; at least that of a tenth of a row, so that empty points do
        # not rule
        failing = np.where(points.is_mass, 1 - np.clip(expected, 0, 1), 1.0)
        variance = row_weight * np.maximum(expected * failing, 0.1 * row_weight)
        information = np.einsum("pi,cp,pj->cij", design, 1 / variance, design)
        covariance = np.linalg.inv(information)
        coefficients = np.einsum("cij,cj->ci", covariance, (values / variance) @ design)
        expected = np.maximum(coefficients @ design.T, 0.0)
    chi2 = float(np.sum((values - coefficients @ design.T) ** 2 / variance))
    n_data, n_parameters = values.size, coefficients.size
    spare = n_data - n_parameters - 1
    penalty = 2 * n_parameters * n_data / spare if spare > 0 else 2 * n_parameters + 10.0 * n_parameters
    fitted = SignalEfficiency(
        mass_range=points.mass_range,
        coordinate=coordinate,
        coefficients=coefficients,
        covariance=covariance,
        masses=points.masses,
        values=values,
        errors=np.sqrt(variance),
        chi2_per_dof=chi2 / max(n_data - n_parameters, 1),
    )
    return _deviance(values, expected, row_weight, points.is_mass) + penalty, fitted


def _deviance(values: NDArray, expected: NDArray, row_weight: NDArray, is_mass: NDArray) -> float:
    """Twice the log likelihood ratio: Poisson, or binomial with known trials; fair to few events."""
    fitted = np.maximum(expected, 1e-9)
    poisson = xlogy(values, values / fitted) - values + fitted
    seen, fitted = np.clip(values, 0.0, 1.0), np.clip(fitted, 1e-9, 1 - 1e-9)
    binomial = xlogy(seen, seen / fitted) + xlog1py(1 - seen, (fitted - seen) / (1 - fitted))
    return float(2 * np.sum(np.where(is_mass, binomial, poisson) / row_weight))
