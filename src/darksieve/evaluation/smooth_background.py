"""A smooth model of a whole background spectrum and its narrow peaks, to draw pseudo-data from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2 as chi2_distribution

from darksieve.datasets.weights import effective_events
from darksieve.errors import InputError
from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.crystal_ball_fit import fit_residuals
from darksieve.evaluation.smoothing import SmoothCurve, smooth_counts

_BINS_PER_GROUP = 6  # one resolution: finer bins add nothing to a smooth curve
_BINS_PER_KNOT = 36
_SCALE_GROUPS = 20  # over which the typical event weight is averaged
MINIMUM_PEAK_EVENTS = 40
FEWEST_EVENTS = 100.0  # effective ones, of which a smooth model is made


@dataclass(frozen=True)
class PeakingBackground:
    """A narrow peak in the background, of known position.

    Attributes:
        name: The process; equal names share one normalisation in a fit.
        shape: Its shape in the unit of the observable.
        expected: Events on the whole real line, at the search's luminosity.
        uncertainty: Relative, of the normalisation.
        sizes: Relative change for one standard deviation of nuisances that it shares with the signal.
    """

    name: str
    shape: CrystalBall
    expected: float
    uncertainty: float
    sizes: Mapping[str, float] = field(default_factory=dict, compare=False)

    def counts(self, edges: ArrayLike) -> NDArray[np.float64]:
        """Expected events per bin, shape (n_bins,)."""
        return self.expected * self.shape.bin_fractions(edges)


def fit_peaking_background(
    observable: ArrayLike, weight: ArrayLike, *, name: str, uncertainty: float
) -> PeakingBackground:
    """Fit the shape of a peak to its simulated candidates.

    Args:
        observable: Of the candidates that peak, shape (n,).
        weight: Expected events per candidate, > 0, shape (n,).
        name: The process.
        uncertainty: Relative uncertainty of its normalisation.

    Raises:
        InputError: If there are fewer than MINIMUM_PEAK_EVENTS effective candidates, a weight is negative, or
            the fit does not converge.
    """
    observable, weight = np.asarray(observable, float), np.asarray(weight, float)
    if (weight < 0).any():
        raise InputError(
            f"{name}: {int((weight < 0).sum())} candidates of a peak have a negative weight; say"
            " negative_weights: drop or rescale for its sample"
        )
    n_effective = effective_events(weight)
    if n_effective < MINIMUM_PEAK_EVENTS:
        raise InputError(
            f"{name}: {n_effective:.0f} effective candidates are too few to fit a peak ({MINIMUM_PEAK_EVENTS}"
            " are needed); simulate more, or do not flag the sample as peaking"
        )
    fit = fit_residuals(observable, np.zeros(len(observable)), weight)
    if fit.status != "converged":
        raise InputError(f"{name}: the fit of its peak did not converge; look at the sample's spectrum")
    p = fit.parameters
    shape = CrystalBall(p["shift"], p["sigma"], p["alpha_left"], p["n_left"], p["alpha_right"], p["n_right"])
    return PeakingBackground(name, shape, float(weight.sum()), uncertainty)


@dataclass(frozen=True)
class SmoothClosure:
    """Agreement of a smooth model with the simulation it was fitted to, in bins of about one resolution."""

    chi2: float
    n_degrees: float
    p_value: float
    largest_pull: float


@dataclass(frozen=True, eq=False)
class SmoothBackground:
    """Expected background events per bin of a whole spectrum.

    Attributes:
        edges: Bin edges in the unit of the observable, shape (n_bins + 1,).
        log_density: Logarithm of the smooth part's events per bin, against the bin number.
        peaks: Narrow components beside the smooth part.
        closure: Check of the smooth part against its simulation.
        effective_events: Of that simulation.
    """

    edges: NDArray[np.float64]
    log_density: SmoothCurve
    peaks: tuple[PeakingBackground, ...]
    closure: SmoothClosure
    effective_events: float

    @property
    def smooth_counts(self) -> NDArray[np.float64]:
        """Expected events per bin without the peaks, shape (n_bins,)."""
        return np.exp(self.log_density(np.arange(len(self.edges) - 1) + 0.5))

    @property
    def expected_counts(self) -> NDArray[np.float64]:
        """Expected events per bin, peaks included, shape (n_bins,)."""
        expected = self.smooth_counts
        for peak in self.peaks:
            expected = expected + peak.counts(self.edges)
        return expected


def fit_smooth_background(
    edges: ArrayLike, sums: ArrayLike, squares: ArrayLike, *, peaks: Sequence[PeakingBackground] = ()
) -> SmoothBackground:
    """Fit a penalised spline to the logarithm of a weighted spectrum; its smoothness is chosen by the data.

    Knots are equidistant in bin numbers, hence in resolutions when the bins follow the resolution.

    Args:
        edges: Bin edges, increasing, shape (n_bins + 1,).
        sums: Sums of weights of the smooth processes per bin, shape (n_bins,).
        squares: Sums of squared weights per bin, shape (n_bins,).
        peaks: Narrow components, which must not be in ``sums``.

    Raises:
        InputError: If there are fewer than 100 effective events.
        ValueError: If lengths do not fit or numbers are negative or not finite.
    """
    edges, sums, squares = (np.asarray(values, float) for values in (edges, sums, squares))
    n_bins = len(edges) - 1
    if sums.shape != (n_bins,) or squares.shape != (n_bins,):
        raise ValueError(f"{sums.shape} sums and {squares.shape} squares for {n_bins} bins")
    if not all(np.isfinite(values).all() and (values >= 0).all() for values in (sums, squares)):
        raise ValueError("sums of weights and of their squares must be finite and not negative")
    n_effective = float(sums.sum() ** 2 / squares.sum()) if squares.sum() > 0 else 0.0
    if n_effective < FEWEST_EVENTS:
        raise InputError(
            f"{n_effective:.0f} effective background events are too few for a smooth model"
            f" ({FEWEST_EVENTS:.0f} are needed);"
            " simulate more background"
        )
    starts = np.arange(0, n_bins, _BINS_PER_GROUP)
    n_in_group = np.diff(np.append(starts, n_bins))
    grouped, grouped_squares = np.add.reduceat(sums, starts), np.add.reduceat(squares, starts)
    centres = starts + n_in_group / 2
    scale = _typical_weight(grouped, grouped_squares)
    counts, exposure = grouped / scale, n_in_group / scale
    curve = smooth_counts(centres, counts, exposure, n_intervals=max(6, n_bins // _BINS_PER_KNOT))
    expected = exposure * np.exp(curve(centres))
    shown = expected >= 5
    pulls = (counts - expected)[shown] / np.sqrt(expected[shown])
    n_degrees = max(float(shown.sum() - curve.effective_parameters), 1.0)
    chi2 = float(np.sum(pulls**2))
    closure = SmoothClosure(
        chi2=chi2,
        n_degrees=n_degrees,
        p_value=float(chi2_distribution.sf(chi2, n_degrees)),
        largest_pull=float(np.max(np.abs(pulls), initial=0.0)),
    )
    return SmoothBackground(edges, curve, tuple(peaks), closure, n_effective)


def _typical_weight(sums: NDArray, squares: NDArray) -> NDArray[np.float64]:
    """sum w^2 / sum w around each group: slowly varying, defined also where groups are empty."""
    window = np.ones(min(_SCALE_GROUPS, len(sums)))
    near = np.convolve(sums, window, mode="same")
    near_squares = np.convolve(squares, window, mode="same")
    overall = squares.sum() / sums.sum()
    return np.divide(near_squares, near, out=np.full(len(sums), overall), where=near > 0)
