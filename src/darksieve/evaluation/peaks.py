"""Narrow peaks in a simulated background: what is taken for one, and what is left to the smooth part.

Two kinds of samples peak. All candidates of one kind near its fullest bin are one peak, whose shape is
fitted to them, or is that of a signal there where they are too few. Another kind holds many decays, each
with a peak at a place that is known, told apart by a branch; few candidates of each pass, so its shape
is that of a signal of that mass, and each candidate belongs to the peak with the probability that a
mixture of peak and flat rest gives it. The rest stays in the smooth part.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.weights import effective_events
from darksieve.evaluation.correction_sizes import Correction, yield_sizes
from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.signal_shape import SignalShape, peak_position, peak_slope
from darksieve.evaluation.smooth_background import (
    MINIMUM_PEAK_EVENTS,
    PeakingBackground,
    fit_peaking_background,
)

if TYPE_CHECKING:
    from darksieve.evaluation.scan_channels import CommonResolution, ScanCandidates

PEAK_SIGMA = 10.0  # candidates of a peaking sample within so many resolutions of its peak are the peak
OWN_PEAK_EVENTS = 300  # effective candidates from which a category fits the peak by itself
CORE_SIGMA = 5.0  # resolutions that hold nearly all of a known peak
FEWEST = 1.0  # candidates that a known peak has at least
_ITERATIONS = 500
_PRECISION = 1e-7


@dataclass(frozen=True)
class KnownPeak:
    """One of several peaks of a sample, at a known place.

    Attributes:
        name: Of the peak; equal names share one normalisation in a fit.
        sample: The sample that holds it.
        by: Branch that tells the decays of the sample apart.
        value: Its value for this one.
        mass: Mass of a signal that peaks at the same place, GeV.
    """

    name: str
    sample: str
    by: str
    value: int
    mass: float


def split_peaks(
    candidates: ScanCandidates,
    common: CommonResolution,
    n_categories: int,
    *,
    peaking: Collection[str] = (),
    known: Sequence[KnownPeak] = (),
    uncertainty: float = 0.0,
    corrections: Sequence[Correction] = (),
) -> tuple[NDArray[np.float64], dict[int, tuple[PeakingBackground, ...]]]:
    """Weights of the smooth background, and the peaks of each category.

    Args:
        candidates: Of the channel.
        common: Its resolution and binning.
        n_categories: Number of categories.
        peaking: Samples of one peak each.
        known: Peaks of samples with several.
        uncertainty: Relative, of the normalisation of each peak; that of their simulation comes on top where
            it is small.
        corrections: What was applied to the weights.

    Returns:
        Weight of each candidate in the smooth background, 0 where it is none, shape (n,); category -> peaks.
    """
    background = (candidates.label == 0) & (candidates.category > 0)
    weights = np.where(background, candidates.weight, 0.0)
    peaks: dict[int, list[PeakingBackground]] = {c: [] for c in range(1, n_categories + 1)}
    for sample in peaking:
        rows = background & rows_in_peak(candidates, common, sample)
        if not rows.any():
            continue  # nothing of it is selected
        weights[rows] = 0.0
        pooled = None
        for c, of_category in peaks.items():
            mine = rows & (candidates.category == c)
            weight = candidates.weight[mine]
            if not weight.sum() > 0:
                continue
            used = {name: bins[mine] for name, bins in candidates.bins.items()}
            sizes = yield_sizes(corrections, weight, used)
            if effective_events(weight) >= OWN_PEAK_EVENTS:
                own = fit_peaking_background(
                    candidates.observable[mine], weight, name=sample, uncertainty=uncertainty
                )
                of_category.append(replace(own, sizes=sizes))
                continue
            if pooled is None:
                pooled = _pooled_shape(candidates, common, rows, sample)
            relative = float(np.sqrt(np.sum(weight**2)) / weight.sum())
            of_category.append(
                PeakingBackground(
                    sample, pooled, float(weight.sum()), float(np.hypot(uncertainty, relative)), sizes
                )
            )
    limits = (float(common.edges[0]), float(common.edges[-1]))
    for peak in known:
        family = background & _family(candidates, peak)
        shape = shape_of_peak(common.shape, peak.mass)
        for c, of_category in peaks.items():
            mine = np.flatnonzero(family & (candidates.category == c))
            share = peak_shares(candidates.observable[mine], candidates.weight[mine], shape, limits)
            if share.sum() < FEWEST:
                continue
            in_peak = share * candidates.weight[mine]
            if not in_peak.sum() > 0:
                continue
            weights[mine] *= 1 - share
            relative = float(np.sqrt(np.sum(share * candidates.weight[mine] ** 2)) / in_peak.sum())
            used = {name: bins[mine] for name, bins in candidates.bins.items()}
            of_category.append(
                PeakingBackground(
                    peak.name,
                    shape,
                    float(in_peak.sum()),
                    float(np.hypot(uncertainty, relative)),
                    yield_sizes(corrections, in_peak, used),
                )
            )
    return weights, {c: tuple(of_category) for c, of_category in peaks.items()}


def _pooled_shape(
    candidates: ScanCandidates, common: CommonResolution, rows: NDArray[np.bool_], sample: str
) -> CrystalBall:
    """Shape of the peak of all categories together; that of a signal there if they are too few to fit it."""
    observable, weight = candidates.observable[rows], candidates.weight[rows]
    if effective_events(weight) >= MINIMUM_PEAK_EVENTS:
        return fit_peaking_background(observable, weight, name=sample, uncertainty=0.0).shape
    order = np.argsort(observable)
    middle = int(np.searchsorted(np.cumsum(weight[order]), 0.5 * weight.sum()))
    place = float(observable[order][min(middle, len(order) - 1)])
    masses = np.linspace(*common.shape.mass_range, 1001)
    return shape_of_peak(
        common.shape, float(np.interp(place, peak_position(masses, common.shape.position), masses))
    )


def rows_in_peak(candidates: ScanCandidates, common: CommonResolution, sample: str) -> NDArray[np.bool_]:
    """Candidates of a peaking sample that are its peak, rejected ones too; none where none is selected."""
    own = (candidates.label == 0) & (candidates.sample == sample)
    rows = own & (candidates.category > 0)
    if not rows.any():
        return rows
    low, high = _peak_interval(candidates.observable[rows], candidates.weight[rows], common)
    return own & (candidates.observable > low) & (candidates.observable < high)


def rows_in_known_peak(
    candidates: ScanCandidates, common: CommonResolution, peak: KnownPeak
) -> NDArray[np.bool_]:
    """Candidates of a decay within ``CORE_SIGMA`` resolutions of its peak, rejected ones too."""
    shape = shape_of_peak(common.shape, peak.mass)
    near = np.abs(candidates.observable - shape.mean) < CORE_SIGMA * shape.sigma
    return _family(candidates, peak) & near


def _family(candidates: ScanCandidates, peak: KnownPeak) -> NDArray[np.bool_]:
    own = (candidates.label == 0) & (candidates.sample == peak.sample)
    return own & (candidates.families[peak.by] == peak.value)


def shape_of_peak(shape: SignalShape, mass: float) -> CrystalBall:
    """The signal's shape at the mass of a peak; outside the simulated masses that of the nearest, moved."""
    nearest = float(np.clip(mass, *shape.mass_range))
    moved = float(peak_position(mass, shape.position) - peak_position(nearest, shape.position))
    at = shape.at(np.asarray(nearest))
    return CrystalBall(
        float(at.mean) + moved,
        *(float(getattr(at, name)) for name in ("sigma", "alpha_left", "n_left", "alpha_right", "n_right")),
    )


def peak_shares(
    observable: NDArray[np.float64],
    weight: NDArray[np.float64],
    shape: CrystalBall,
    limits: tuple[float, float],
) -> NDArray[np.float64]:
    """Probability of each candidate to belong to a peak of known shape rather than to a flat rest beside it.

    The share of the peak is that of the greatest weighted likelihood within ``PEAK_SIGMA`` resolutions.

    Args:
        observable: Of the candidates, shape (n,).
        weight: Their weights, shape (n,); negative ones have no say.
        shape: Of the peak.
        limits: The observable is looked at between these.

    Returns:
        Probabilities, 0 further away, shape (n,).
    """
    reach = PEAK_SIGMA * float(shape.sigma)
    low, high = max(float(shape.mean) - reach, limits[0]), min(float(shape.mean) + reach, limits[1])
    out = np.zeros(len(observable))
    if not low < high:
        return out
    inside = (observable >= low) & (observable <= high)
    positive = np.maximum(weight[inside], 0.0)
    total = positive.sum()
    if not total > 0:
        return out
    in_window = float(shape.cdf(high) - shape.cdf(low))
    of_peak = shape.density(observable[inside]) / max(in_window, 1e-300)
    of_rest = 1 / (high - low)
    share = 0.5
    for _ in range(_ITERATIONS):
        probability = share * of_peak / (share * of_peak + (1 - share) * of_rest)
        before, share = share, float(np.sum(positive * probability) / total)
        if abs(share - before) < _PRECISION:
            break
    out[inside] = share * of_peak / (share * of_peak + (1 - share) * of_rest)
    return out


def _peak_interval(observable: NDArray, weight: NDArray, common: CommonResolution) -> tuple[float, float]:
    """Around the fullest bin of about one resolution."""
    position = common.shape.position
    edges = common.edges[::6]
    sums = np.histogram(observable, edges, weights=weight)[0]
    fullest = int(np.argmax(sums))
    middle = (edges[fullest] + edges[fullest + 1]) / 2
    mass = np.sqrt(middle) if position == "mass_squared" else middle
    reach = PEAK_SIGMA * float(common.sigma(np.asarray(mass))) * float(peak_slope(mass, position))
    centre = float(peak_position(mass, position))
    return centre - reach, centre + reach
