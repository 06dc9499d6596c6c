"""Spurious signal of a cut on a score: what a peak fit finds in background alone, and how sure that is.

The fit is the searches' own in its linear form: a Gaussian of the mass resolution on a parabola, within ± 20
standard deviations. Its signal is a sum over events, so its Monte-Carlo error, and that of the difference of
two cuts on the same events, are sums of squares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from benchmarks.photon_samples import PROPOSALS, Columns, Window, weighted_pairs
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.models.likelihood_ratio import log_likelihood_ratio, mean_ratio_in_mass

LUMINOSITY_FB = 408.0
WINDOW_SIGMA = 20.0
BINS_PER_SIGMA = 4
NEAR = 0.15  # of ln(likelihood ratio) about the threshold: pairs beyond are thinned out,
FAR_SHARE = 0.05  # to this share: measured to give the least error in a given time
LEAST_BLOCKS = 20  # before an error is believed


@dataclass(frozen=True, eq=False)
class PeakFit:
    """The fit as a sum over events.

    Attributes:
        edges: Of the window's bins in GeV, shape (n_bins + 1,).
        row: What an event in each bin adds to the fitted signal over its error, shape (n_bins,).
    """

    edges: NDArray[np.float64]
    row: NDArray[np.float64]

    @classmethod
    def of(cls, mass: NDArray, weight: NDArray, centre: float, width: float) -> PeakFit:
        """The fit of a peak at a mass to background of these masses and weights (fb)."""
        edges = centre + width * np.linspace(
            -WINDOW_SIGMA, WINDOW_SIGMA, int(2 * WINDOW_SIGMA * BINS_PER_SIGMA) + 1
        )
        counts = np.histogram(mass, edges, weights=LUMINOSITY_FB * weight)[0]
        middle = 0.5 * (edges[1:] + edges[:-1])
        x = (middle - centre) / (WINDOW_SIGMA * width)
        parabola = legendre.legvander(x, 2)
        smooth = parabola @ np.linalg.lstsq(parabola, counts, rcond=None)[0]
        peak = np.exp(-0.5 * ((middle - centre) / width) ** 2)
        design = np.column_stack([peak / peak.sum(), parabola])
        weighted = design / np.maximum(smooth, 1e-9)[:, None]
        covariance = np.linalg.inv(design.T @ weighted)
        return cls(edges, (covariance @ weighted.T)[0] / np.sqrt(covariance[0, 0]))

    def of_events(self, mass: NDArray, weight: NDArray) -> NDArray[np.float64]:
        """What each event adds to the fitted signal over its error, shape (n,)."""
        place = np.clip(np.searchsorted(self.edges, mass, side="right") - 1, 0, len(self.row) - 1)
        inside = (mass > self.edges[0]) & (mass < self.edges[-1])
        return np.where(inside, LUMINOSITY_FB * weight * self.row[place], 0.0)


@dataclass(frozen=True, eq=False)
class Cuts:
    """A cut on a network and one on the likelihood ratio, with the same signal efficiency.

    Attributes:
        score: Columns -> the network's score, shape (n,).
        ratio: Columns -> ln of the likelihood ratio at the candidate's own mass, shape (n,).
        threshold_of_score, threshold_of_ratio: Where each is cut.
    """

    score: Callable[[Columns], NDArray]
    ratio: Callable[[Columns], NDArray]
    threshold_of_score: float
    threshold_of_ratio: float

    def passed(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which candidates pass the cut on the network, and that on the ratio."""
        return (
            self.score(columns) >= self.threshold_of_score,
            self.ratio(columns) >= self.threshold_of_ratio,
        )


def best_cuts(
    test: Window, width: float, score: Callable[[Columns], NDArray], sqrt_s: float
) -> tuple[Cuts, float, Callable[[NDArray], NDArray]]:
    """Cuts at the ratio's best efficiency; that efficiency; and ln of the mean ratio in mass."""
    own = test.background["M_gg"]
    mean = mean_ratio_in_mass(log_likelihood_ratio(test.background, sqrt_s=sqrt_s), own, test.weight)

    def ratio(columns: Columns) -> NDArray:
        return log_likelihood_ratio(columns, sqrt_s=sqrt_s) - mean(columns["M_gg"])

    of_signal, near = ratio(test.signal), np.abs(own - test.mass) < 2 * width
    efficiency = best_efficiency(ratio(test.background)[near], test.weight[near], of_signal)
    thresholds = (float(np.quantile(values, 1 - efficiency)) for values in (score(test.signal), of_signal))
    return Cuts(score, ratio, *thresholds), efficiency, mean


def spurious_signals(test: Window, cuts: Cuts, width: float) -> dict[str, tuple[float, float]]:
    """Spurious signal of each cut with its Monte-Carlo error, in standard deviations of the fitted signal."""
    own, found = test.background["M_gg"], {}
    for name, passed in zip(("network", "likelihood_ratio"), cuts.passed(test.background), strict=True):
        fit = PeakFit.of(own[passed], test.weight[passed], test.mass, width)
        values = fit.of_events(own[passed], test.weight[passed])
        found[name] = float(values.sum()), float(np.sqrt((values**2).sum()))
    return found


def difference_on_same_events(
    settings: PhotonSettings,
    test: Window,
    cuts: Cuts,
    mean: Callable[[NDArray], NDArray],
    width: float,
    *,
    largest_error: float,
    seed: int,
) -> tuple[float, float, int]:
    """Network's less the likelihood ratio's spurious signal in σ, its Monte-Carlo error, and its events.

    Only events that one cut keeps and the other does not count, and those lie near the threshold: pairs whose
    true ratio is far from it are thinned out before they are measured. Events are added until the error is
    small enough.

    Args:
        mean: ln of the mean ratio in mass.
        largest_error: In σ.
    """
    own = test.background["M_gg"]
    kept = cuts.passed(test.background)[1]
    fit = PeakFit.of(own[kept], test.weight[kept], test.mass, width)

    def keep(log_ratio: NDArray, masses: NDArray) -> NDArray:
        far = np.abs(log_ratio - mean(masses) - cuts.threshold_of_ratio) > NEAR
        return np.where(far, FAR_SHARE, 1.0)

    rng = np.random.default_rng([seed, 23])
    total, squares, n_events, n_blocks = 0.0, 0.0, 0, 0
    while n_blocks < LEAST_BLOCKS or np.sqrt(squares) / (n_blocks * PROPOSALS) > largest_error:
        columns, weight = weighted_pairs(settings, test.mass, 28 * width, rng, keep)
        of_network, of_ratio = cuts.passed(columns)
        sign = of_network.astype(float) - of_ratio
        values = sign * fit.of_events(columns["M_gg"], weight)
        total, squares = total + float(values.sum()), squares + float((values**2).sum())
        n_events, n_blocks = n_events + int(np.count_nonzero(values)), n_blocks + 1
    n = n_blocks * PROPOSALS
    return total / n, float(np.sqrt(squares)) / n, n_events


def best_efficiency(score: NDArray, weight: NDArray, signal: NDArray) -> float:
    """Signal efficiency at which signal over the root of background is best."""
    efficiencies = np.linspace(0.1, 0.99, 90)
    thresholds = np.quantile(signal, 1 - efficiencies)
    background = np.array([weight[score >= t].sum() for t in thresholds])
    return float(efficiencies[np.argmax(efficiencies / np.sqrt(background))])
