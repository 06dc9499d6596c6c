"""Spurious signal of a cut on a score: what a peak fit finds in background alone, and how sure that is.

The fit is the searches' own in its linear form: a Gaussian of the mass resolution on a parabola, within ± 20
standard deviations. Its signal is a sum over events, so its Monte-Carlo error, and that of the difference of
two scores on the same events, are sums of squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

LUMINOSITY_FB = 408.0
WINDOW_SIGMA = 20.0
BINS_PER_SIGMA = 4


@dataclass(frozen=True)
class Spurious:
    """Spurious signals of two scores in standard deviations of the fitted signal.

    Attributes:
        network, ratio: Of the network's and of the likelihood ratio's cut, and their Monte-Carlo errors.
        difference: Of the two on the same events, and its error.
    """

    network: float
    network_error: float
    ratio: float
    ratio_error: float
    difference: float
    difference_error: float


def _of_events(mass: NDArray, weight: NDArray, passed: NDArray, centre: float, width: float) -> NDArray:
    """What each event adds to the fitted signal over its error, shape (n,)."""
    edges = centre + width * np.linspace(
        -WINDOW_SIGMA, WINDOW_SIGMA, int(2 * WINDOW_SIGMA * BINS_PER_SIGMA) + 1
    )
    middle = 0.5 * (edges[1:] + edges[:-1])
    place = np.clip(np.searchsorted(edges, mass, side="right") - 1, 0, len(middle) - 1)
    inside = passed & (mass > edges[0]) & (mass < edges[-1])
    counts = np.bincount(place[inside], LUMINOSITY_FB * weight[inside], len(middle))
    x = (middle - centre) / (WINDOW_SIGMA * width)
    parabola = legendre.legvander(x, 2)
    smooth = parabola @ np.linalg.lstsq(parabola, counts, rcond=None)[0]
    peak = np.exp(-0.5 * ((middle - centre) / width) ** 2)
    design = np.column_stack([peak / peak.sum(), parabola])
    weighted = design / np.maximum(smooth, 1e-9)[:, None]
    covariance = np.linalg.inv(design.T @ weighted)
    row = (covariance @ weighted.T)[0] / np.sqrt(covariance[0, 0])  # signal over its error, by bin
    return np.where(inside, LUMINOSITY_FB * weight * row[place], 0.0)


def at_own_mass(ratio: NDArray, mass: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """ln of the likelihood ratio of the densities at each mass: its mean over background is 1 everywhere.

    The matrix element alone is known up to a factor that depends on the mass, which is found from the
    background's mean in slices of mass, smoothed by a parabola.
    """
    edges = np.quantile(mass, np.linspace(0, 1, 21))
    slices = np.clip(np.searchsorted(edges, mass, side="right") - 1, 0, 19)
    height = ratio.max()
    mean = np.bincount(slices, weight * np.exp(ratio - height), 20) / np.bincount(slices, weight, 20)
    centre = np.bincount(slices, mass, 20) / np.bincount(slices, minlength=20)
    smooth = np.polynomial.Polynomial.fit(centre, np.log(mean), 2)
    return ratio - height - smooth(mass)


def spurious_signals(
    mass: NDArray,
    weight: NDArray,
    network: NDArray,
    ratio: NDArray,
    thresholds: tuple[float, float],
    centre: float,
    width: float,
) -> Spurious:
    """Spurious signals of a cut on the network and of one on the likelihood ratio.

    Args:
        mass: M(γγ) of background candidates in GeV, shape (n,).
        weight: In fb, shape (n,).
        network: Score, shape (n,).
        ratio: ln of the likelihood ratio at the candidate's own mass, shape (n,).
        thresholds: Of network and ratio.
        centre: Mass hypothesis, GeV.
        width: Mass resolution, GeV.
    """
    a = _of_events(mass, weight, network >= thresholds[0], centre, width)
    b = _of_events(mass, weight, ratio >= thresholds[1], centre, width)

    def error(values: NDArray) -> float:
        return float(np.sqrt((values**2).sum()))

    return Spurious(float(a.sum()), error(a), float(b.sum()), error(b), float((a - b).sum()), error(a - b))


def best_efficiency(score: NDArray, weight: NDArray, signal: NDArray) -> float:
    """Signal efficiency at which signal over the root of background is best."""
    efficiencies = np.linspace(0.1, 0.99, 90)
    thresholds = np.quantile(signal, 1 - efficiencies)
    background = np.array([weight[score >= t].sum() for t in thresholds])
    return float(efficiencies[np.argmax(efficiencies / np.sqrt(background))])
