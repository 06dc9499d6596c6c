"""One fit of a double-sided Crystal Ball to the residuals of a signal sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.weights import effective_events
from darksieve.errors import InputError
from darksieve.evaluation.crystal_ball import CrystalBall

FIT_SIGMA = 8.0  # half-width of the interval in which the shape is fitted and trusted

# Weak log-normal constraints keep tails that the sample cannot see from running away: value, log spread.
_TAIL_CONSTRAINTS = {
    "alpha_left": (1.5, 0.7),
    "n_left": (4.0, 1.2),
    "alpha_right": (1.5, 0.7),
    "n_right": (4.0, 1.2),
}
FITTED = ("shift", "sigma", "alpha_left", "n_left", "alpha_right", "n_right")


@dataclass(frozen=True)
class ShapeFit:
    """One Crystal Ball fit to the signal around one mass, in mass units (GeV).

    Attributes:
        mass: Mean generated mass of the events.
        parameters: shift, sigma, alpha_left, n_left, alpha_right, n_right.
        errors: Of the logarithm of sigma, the alphas and n - 1; of the shift itself.
        contained: Share of the events within FIT_SIGMA fitted sigma of the fitted shift.
        n_effective: (sum w)^2 / sum w^2 of the fitted events.
        chi2: Of the binned fit, bins of at least five effective events.
        n_degrees: Degrees of freedom that go with it.
        status: ``converged`` or ``failed``; a failed fit does not enter the smooth curves.
    """

    mass: float
    parameters: dict[str, float]
    errors: dict[str, float]
    contained: float
    contained_error: float
    n_effective: float
    chi2: float
    n_degrees: int
    status: Literal["converged", "failed"]


def _weighted_quantile(values: NDArray, weight: NDArray, probabilities: Sequence[float]) -> NDArray:
    order = np.argsort(values)
    cumulative = np.cumsum(weight[order]) - 0.5 * weight[order]
    return np.interp(probabilities, cumulative / weight.sum(), values[order])


def fit_residuals(
    residual: NDArray, mass: NDArray, weight: NDArray, fixed_tails: Mapping[str, float] | None = None
) -> ShapeFit:
    """Fit the residuals of one group by a binned multinomial likelihood, weights scaled to effective counts.

    Args:
        residual: Observable minus its ideal position, in mass units, shape (n,).
        mass: Generated masses, shape (n,).
        weight: Weights, > 0, shape (n,).
        fixed_tails: Logarithms of the alphas and of n - 1, where the tails are not to be fitted.
    """
    from iminuit import Minuit

    centre, width = _core(residual, weight)
    edges = centre + width * np.linspace(-FIT_SIGMA, FIT_SIGMA, int(12 * FIT_SIGMA) + 1)
    inside = (residual >= edges[0]) & (residual < edges[-1])
    sums = np.histogram(residual[inside], edges, weights=weight[inside])[0]
    squares = np.histogram(residual[inside], edges, weights=weight[inside] ** 2)[0]
    scale = squares.sum() / sums.sum()
    counts = sums / scale
    total = counts.sum()
    scaled_edges = (edges - centre) / width

    def fractions(p: NDArray) -> NDArray:
        a_l, n_l, a_r, n_r = np.exp(p[2:])
        cdf = CrystalBall(p[0], float(np.exp(p[1])), a_l, 1 + n_l, a_r, 1 + n_r).cdf(scaled_edges)
        return np.maximum(np.diff(cdf), 1e-12) / (cdf[-1] - cdf[0])

    filled = counts > 0
    constraints = [
        (np.log(v - (1 if n[0] == "n" else 0)), spread) for n, (v, spread) in _TAIL_CONSTRAINTS.items()
    ]

    def deviance(p: NDArray) -> float:
        likelihood = -2 * float(counts[filled] @ np.log(fractions(p)[filled] * total / counts[filled]))
        return likelihood + sum(((p[2 + i] - c) / s) ** 2 for i, (c, s) in enumerate(constraints))

    starts = [(1.5, 3.0), (1.0, 6.0), (2.2, 1.5)]
    for alpha, n_minus_one in starts:
        start = np.log([1.0, 0.95, alpha, n_minus_one, alpha, n_minus_one])
        start[0] = 0.0
        if fixed_tails is not None:
            start[2:] = [fixed_tails[n] for n in FITTED[2:]]
        minuit = Minuit(deviance, start, name=FITTED)
        minuit.errordef = Minuit.LEAST_SQUARES
        minuit.errors = [0.05, 0.05, 0.1, 0.2, 0.1, 0.2]
        minuit.limits = [(-3, 3), (-2, 2)] + [(np.log(0.15), np.log(6)), (np.log(0.05), np.log(200))] * 2
        for n in FITTED[2:] if fixed_tails is not None else ():
            minuit.fixed[n] = True
        minuit.migrad(ncall=4000)
        if not minuit.valid:
            minuit.strategy = 2
            minuit.simplex().migrad(ncall=4000)
        minuit.hesse()
        if minuit.valid and minuit.covariance is not None:
            break
    p, e = np.array(minuit.values), np.array(minuit.errors)
    expected = fractions(p) * total
    shown = expected >= 5
    chi2 = float(np.sum((counts - expected)[shown] ** 2 / expected[shown]))
    n_free = 6 if fixed_tails is None else 2
    shift, sigma = float(centre + width * p[0]), float(width * np.exp(p[1]))
    share = float(weight[np.abs(residual - shift) < FIT_SIGMA * sigma].sum() / weight.sum())
    n_effective = effective_events(weight)
    return ShapeFit(
        mass=float(np.average(mass, weights=weight)),
        parameters={
            "shift": shift,
            "sigma": sigma,
            **{n: float(np.exp(v) + (n[0] == "n")) for n, v in zip(FITTED[2:], p[2:], strict=True)},
        },
        errors={n: float(v * (width if n == "shift" else 1)) for n, v in zip(FITTED, e, strict=True)},
        contained=share,
        contained_error=float(np.sqrt((share * (1 - share) + 1 / n_effective) / n_effective)),
        n_effective=n_effective,
        chi2=chi2,
        n_degrees=max(int(shown.sum()) - 1 - n_free, 0),
        status="converged" if minuit.valid else "failed",
    )


def _core(residual: NDArray, weight: NDArray) -> tuple[float, float]:
    """Robust centre and width of the peak: the median and 68 % half-width inside a shrinking interval.

    Raises:
        InputError: If all residuals are equal.
    """
    low, centre, high = _weighted_quantile(residual, weight, (0.16, 0.5, 0.84))
    width = (high - low) / 2
    if not width > 0:
        raise InputError(
            "the signal's observable has no resolution: it differs from the generated mass by the same amount"
            " everywhere; is it reconstructed?"
        )
    for _ in range(3):
        rows = np.abs(residual - centre) < 4 * width
        low, centre, high = _weighted_quantile(residual[rows], weight[rows], (0.16, 0.5, 0.84))
        width = max((high - low) / 2, 1e-9)
    return float(centre), float(width)
