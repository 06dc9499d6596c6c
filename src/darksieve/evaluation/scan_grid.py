"""Where a scan looks: its mass hypotheses, the common binning, and the window of each hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError
from darksieve.evaluation.signal_shape import Position, peak_position

Resolution = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Interval = tuple[float, float]

_MASS_DIGITS = 6  # keV: far below any resolution, and short labels


def mass_grid(mass_range: Interval, sigma: Resolution, step_sigma: float) -> NDArray[np.float64]:
    """Mass hypotheses from end to end of the range, at most ``step_sigma`` resolutions apart.

    Args:
        mass_range: First and last hypothesis, GeV.
        sigma: Mass resolution at given masses, GeV (``SignalShape.sigma``).
        step_sigma: Largest distance between neighbours in units of the resolution.

    Raises:
        InputError: If the range is empty, the step is not positive, or a resolution is not.
    """
    low, high = mass_range
    if not step_sigma > 0:
        raise InputError(f"step_sigma is {step_sigma}; it must be positive")
    masses = _walk(low, high, sigma, 1 / step_sigma)
    return np.unique(np.round(masses, _MASS_DIGITS))


def scan_edges(
    data_range: Interval, sigma: Resolution, *, bins_per_sigma: int = 6, position: Position = "mass"
) -> NDArray[np.float64]:
    """Bin edges whose distance follows the resolution, in the unit of the observable.

    Args:
        data_range: Ends of the binned data, in GeV of mass.
        sigma: Mass resolution at given masses, GeV.
        bins_per_sigma: Bins per resolution; 6 keeps the median expected limit within 0.1 % of an unbinned
            fit.
        position: How the peak in the observable moves with the mass.

    Raises:
        InputError: If the range is empty, starts below zero for a squared observable, or a resolution is not
            positive.
    """
    low, high = data_range
    if position == "mass_squared" and low < 0:
        raise InputError(f"a squared observable cannot start at a mass of {low} GeV; start at 0 or above")
    return peak_position(_walk(low, high, sigma, bins_per_sigma), position)


def data_range(
    mass_range: Interval, sigma: Resolution, *, margin_sigma: float, limits: Interval = (0.0, np.inf)
) -> Interval:
    """The scan's range with a margin on both sides for the windows of its outermost masses, in GeV of mass.

    Args:
        mass_range: First and last hypothesis, GeV.
        sigma: Mass resolution at given masses, GeV.
        margin_sigma: Margin in units of the resolution at that end.
        limits: What the data cannot exceed, such as the kinematic ends of the spectrum.
    """
    ends = np.asarray(mass_range, float)
    width = sigma(ends)
    return (
        float(max(ends[0] - margin_sigma * width[0], limits[0])),
        float(min(ends[1] + margin_sigma * width[1], limits[1])),
    )


@dataclass(frozen=True, eq=False)
class ScanWindows:
    """The bins that each hypothesis is fitted in: a run of bins, from which excluded ones are left out.

    Attributes:
        masses: Hypotheses, GeV, shape (n,).
        edges: Common bin edges in the unit of the observable, shape (n_bins + 1,).
        first: First bin of each window, shape (n,).
        last: One past its last bin, shape (n,).
        usable: Bins that touch no excluded interval, shape (n_bins,).
        exclude: The excluded intervals in the unit of the observable.
    """

    masses: NDArray[np.float64]
    edges: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    usable: NDArray[np.bool_]
    exclude: tuple[Interval, ...]

    @property
    def low(self) -> NDArray[np.float64]:
        """Lower ends, in the unit of the observable, shape (n,)."""
        return self.edges[self.first]

    @property
    def high(self) -> NDArray[np.float64]:
        """Upper ends, in the unit of the observable, shape (n,)."""
        return self.edges[self.last]

    def excluded_in(self, i: int) -> tuple[Interval, ...]:
        """Excluded intervals that overlap window i."""
        low, high = self.low[i], self.high[i]
        return tuple((a, b) for a, b in self.exclude if b > low and a < high)

    def padded(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Bin numbers of all windows, shape (n, longest), and whether each is in its window and kept."""
        longest = int((self.last - self.first).max(initial=0))
        bins = self.first[:, None] + np.arange(longest)
        valid = bins < self.last[:, None]
        bins = np.minimum(bins, len(self.edges) - 2)
        return bins, valid & self.usable[bins]


def place_windows(
    masses: ArrayLike,
    sigma: Resolution,
    edges: ArrayLike,
    *,
    window_sigma: float,
    position: Position = "mass",
    exclude: Sequence[Interval] = (),
) -> ScanWindows:
    """Windows of ± ``window_sigma`` resolutions around each mass, in whole bins, trimmed at the ends of
    the data.

    Args:
        masses: Hypotheses in GeV, shape (n,).
        sigma: Mass resolution at given masses, GeV.
        edges: Common bin edges in the unit of the observable, increasing.
        window_sigma: Half-width in units of the resolution.
        position: How the peak in the observable moves with the mass.
        exclude: Intervals to leave out of every fit, in GeV of mass.

    Raises:
        InputError: If a mass lies outside the edges.
    """
    masses, edges = np.asarray(masses, float), np.asarray(edges, float)
    at = peak_position(masses, position)
    outside = (at < edges[0]) | (at > edges[-1])
    if outside.any():
        ends = edges if position == "mass" else np.sqrt(edges)
        raise InputError(
            f"mass {masses[outside][0]:.6g} GeV lies outside the data, which cover {ends[0]:.6g} to"
            f" {ends[-1]:.6g} GeV"
        )
    reach = window_sigma * sigma(masses)
    low = peak_position(np.maximum(masses - reach, 0 if position == "mass_squared" else -np.inf), position)
    high = peak_position(masses + reach, position)
    # the nearest whole bins: a window may lose or gain half a bin, never more
    middles = (edges[1:] + edges[:-1]) / 2
    first = np.minimum(np.searchsorted(middles, low), len(edges) - 2)
    last = np.maximum(np.searchsorted(middles, high), first + 1)
    intervals = tuple(
        (float(a), float(b))
        for a, b in (peak_position(np.asarray(interval, float), position) for interval in exclude)
    )
    usable = np.ones(len(edges) - 1, dtype=bool)
    for a, b in intervals:
        usable &= (edges[1:] <= a) | (edges[:-1] >= b)
    return ScanWindows(masses, edges, first.astype(np.int64), last.astype(np.int64), usable, intervals)


def _walk(low: float, high: float, sigma: Resolution, steps_per_sigma: float) -> NDArray[np.float64]:
    """Points from low to high, both included, equidistant in the integral of dm / sigma(m)."""
    if not low < high:
        raise InputError(f"the range {low} to {high} GeV is empty: the first number must be the smaller one")
    fine = np.linspace(low, high, 20001)
    width = sigma(fine)
    if not (np.isfinite(width).all() and (width > 0).all()):
        raise InputError(f"the resolution between {low} and {high} GeV is not positive everywhere")
    rate = 1 / width
    distance = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(fine))])
    n_steps = max(1, int(np.ceil(distance[-1] * steps_per_sigma - 1e-9)))
    points = np.interp(np.linspace(0, distance[-1], n_steps + 1), distance, fine)
    points[0], points[-1] = low, high
    return points
