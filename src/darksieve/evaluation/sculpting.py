"""Sculpting: the signal that a scan's fit finds in background alone after a cut, and how sure that is.

The fit is the search's own in its linear form: the signal's shape on the background's function in the window
of each hypothesis, weighted with the expected counts. What it finds is then a sum over events, so its error
from finite simulation, and that of the difference of two cuts on the same events, are sums of squares. A bias
that the function has without any cut is no fault of the cut: both are compared on the same events.

References:
    ATLAS Collaboration, Phys. Rev. D 90 (2014) 112015 (spurious signal).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.evaluation.background_model import WindowBackgrounds, expected_counts, fit_windows
from darksieve.evaluation.scan_grid import Interval, Resolution, place_windows
from darksieve.evaluation.search_building import BackgroundChoice
from darksieve.evaluation.signal_shape import SignalShape

# effective events in a window, for each coefficient of its background, and in the half of it about the peak
EVENTS_PER_COEFFICIENT = 10.0
WORRYING = 0.5  # standard deviations of the fitted signal: a bias above moves an expected limit by a quarter
SIGNIFICANT = 3.0  # errors from simulation: a scan has many masses
LARGEST_ERROR = 1.0  # standard deviations of the fitted signal: simulation as large as the data gives some 1
NEIGHBOURS = 2.0  # resolutions: a bias is no smaller where its sign changes than beside
MEASURED, TOO_FEW = "measured", "too_few_events"


@dataclass(frozen=True, eq=False)
class CutSculpting:
    """What the fits of a scan find in background alone; arrays of shape (n,), NaN where it is not measured.

    Attributes:
        masses: Hypotheses, GeV.
        events: Fitted signal after the cut, in events at the luminosity of the weights.
        events_error: Its error from finite simulation.
        sigma: Statistical error of the fitted signal in data of that luminosity, in events.
        uncut: What would be fitted after a cut that keeps the same share of background whatever its mass.
        difference: ``events`` less ``uncut``: what the cut itself adds.
        difference_error: Its error from finite simulation, of the same events.
        effective_events: Of the background that passes, in the window.
    """

    masses: NDArray[np.float64]
    events: NDArray[np.float64]
    events_error: NDArray[np.float64]
    sigma: NDArray[np.float64]
    uncut: NDArray[np.float64]
    difference: NDArray[np.float64]
    difference_error: NDArray[np.float64]
    effective_events: NDArray[np.float64]

    @property
    def in_sigma(self) -> NDArray[np.float64]:
        """Spurious signal in standard deviations of the fitted signal."""
        return self.events / self.sigma

    @property
    def in_sigma_error(self) -> NDArray[np.float64]:
        """Its error from finite simulation."""
        return self.events_error / self.sigma

    @property
    def is_measured(self) -> NDArray[np.bool_]:
        """Masses with enough simulation."""
        return np.isfinite(self.events)

    @property
    def is_worrying(self) -> NDArray[np.bool_]:
        """Masses whose spurious signal is beyond half a standard deviation, and beyond three errors."""
        with np.errstate(invalid="ignore"):
            large = np.abs(self.in_sigma) > WORRYING
            return large & (np.abs(self.events) > SIGNIFICANT * self.events_error)

    def to_json(self) -> dict[str, Any]:
        """Plain lists by mass, all but the events in standard deviations; None where it is not measured."""
        columns = {
            "masses": self.masses,
            "in_sigma": self.in_sigma,
            "in_sigma_error": self.in_sigma_error,
            "uncut_in_sigma": self.uncut / self.sigma,
            "difference_in_sigma": self.difference / self.sigma,
            "difference_in_sigma_error": self.difference_error / self.sigma,
            "events": self.events,
            "events_error": self.events_error,
            "sigma_events": self.sigma,
            "effective_events": self.effective_events,
        }
        return {
            name: [float(v) if np.isfinite(v) else None for v in values] for name, values in columns.items()
        }


@dataclass(frozen=True, eq=False)
class _Fit:
    """A fit of one window as a linear map of its counts: signal in events for one more event in each bin."""

    row: NDArray[np.float64]
    sigma: float


def measure_sculpting(
    observable: ArrayLike,
    weight: ArrayLike,
    passed: ArrayLike,
    key: ArrayLike,
    *,
    masses: ArrayLike,
    shape: SignalShape,
    sigma: Resolution,
    edges: ArrayLike,
    choice: BackgroundChoice | None = None,
    exclude: tuple[Interval, ...] = (),
    expected: tuple[ArrayLike, ArrayLike] | None = None,
    reference: ArrayLike | None = None,
) -> CutSculpting:
    """Spurious signal of a cut at every mass, and of no cut, or of another one, on the same events.

    Args:
        observable: What is scanned, of background candidates, shape (n,).
        weight: Events that each stands for at the luminosity of the search, not negative, shape (n,).
        passed: Candidates after the cut, shape (n,).
        key: Hash of each candidate's event, whose candidates fluctuate together, shape (n,).
        masses: Hypotheses in GeV, shape (n_masses,).
        shape: Of the signal.
        sigma: Resolution in GeV of mass: the unit of the windows.
        edges: Bin edges in the unit of the observable.
        choice: The background's function and the windows; those of ``BackgroundChoice`` where absent.
        exclude: Intervals in GeV of mass that are in no fit.
        expected: Expected events per bin after the cut and their sums of squared weights, where a model of
            them is better than the counts of the candidates; they weigh the bins of the fits.
        reference: Candidates after the cut that this one is compared with, such as one on another score,
            shape (n,); all of them where absent. Its spurious signal, for as much background, is ``uncut``.

    Raises:
        InputError: If a mass lies outside the edges.
    """
    choice = choice or BackgroundChoice()
    edges, at = np.asarray(edges, np.float64), np.atleast_1d(np.asarray(masses, np.float64))
    x, w = np.asarray(observable, np.float64), np.asarray(weight, np.float64)
    keep, keys = np.asarray(passed, bool), np.asarray(key)
    inside = (x >= edges[0]) & (x < edges[-1]) & (w > 0)
    order = np.flatnonzero(inside)[np.argsort(x[inside], kind="stable")]
    x, w, keep, keys = x[order], w[order], keep[order], keys[order]
    other = np.ones(len(x), bool) if reference is None else np.asarray(reference, bool)[order]
    place = np.searchsorted(edges, x, side="right") - 1
    pairs = _pairs_of_an_event(keys)
    windows = place_windows(
        at, sigma, edges, window_sigma=choice.window_sigma, position=shape.position, exclude=exclude
    )
    n_bins = len(edges) - 1
    before = (np.bincount(place, w * other, n_bins), np.bincount(place, w**2 * other, n_bins))
    after = (np.bincount(place, w * keep, n_bins), np.bincount(place, w**2 * keep, n_bins))
    models = [
        fit_windows(sums, squares, windows, family=choice.family, order=choice.order)
        for sums, squares in (after if expected is None else expected, before)
    ]
    n_coefficients = 2 if choice.family in ("exponential", "power") else choice.order + 1
    names = ("events", "events_error", "sigma", "uncut", "difference", "difference_error", "effective_events")
    out = {name: np.full(len(at), np.nan) for name in names}
    for i in range(len(at)):
        bins = slice(int(windows.first[i]), int(windows.last[i]))
        usable = windows.usable[bins]
        own = edges[bins.start : bins.stop + 1]
        total, squared = (float(np.sum(values[bins][usable])) for values in after)
        out["effective_events"][i] = total**2 / squared if squared > 0 else 0.0
        under = usable & (np.abs(0.5 * (own[1:] + own[:-1]) - shape.at(at[i]).mean) < 0.25 * np.ptp(own))
        near, near_squared = (float(np.sum(values[bins][under])) for values in after)
        enough = out["effective_events"][i] >= EVENTS_PER_COEFFICIENT * n_coefficients
        if not (enough and near**2 >= EVENTS_PER_COEFFICIENT * near_squared > 0):
            continue
        peak = shape.at(at[i : i + 1]).one(0).bin_fractions(own)
        fits = [
            _fit(peak, own, usable, model, expected_counts(model, windows, i), choice) for model in models
        ]
        rows = slice(*np.searchsorted(place, (bins.start, bins.stop)))
        local = place[rows] - bins.start
        share = total / max(float(np.sum(before[0][bins][usable])), 1e-300)
        cut = w[rows] * np.where(keep[rows], fits[0].row[local], 0.0)
        uncut = share * w[rows] * np.where(other[rows], fits[1].row[local], 0.0)
        inner = pairs[:, (pairs >= rows.start).all(axis=0) & (pairs < rows.stop).all(axis=0)] - rows.start
        out["events"][i], out["sigma"][i] = cut.sum(), fits[0].sigma
        out["uncut"][i], out["difference"][i] = uncut.sum(), (cut - uncut).sum()
        out["events_error"][i] = _error(cut, inner)
        out["difference_error"][i] = _error(cut - uncut, inner)
    return CutSculpting(masses=at, **out)


def combine(parts: list[CutSculpting], yields: ArrayLike) -> CutSculpting:
    """Several spectra that are fitted together, as one: in events of all of them together.

    Categories of one selection share no candidate, and few events: their errors are taken as independent.

    Args:
        parts: At the same masses.
        yields: Expected signal of each at one strength, shape (n_parts, n_masses).
    """
    y = np.asarray(yields, np.float64)
    y_sum = y.sum(axis=0)
    sigma = np.stack([part.sigma for part in parts])
    seen = np.isfinite(sigma) & (y > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.where(seen, y**2 / sigma**2, 0.0)
        factor = (
            np.where(seen, y / sigma**2, 0.0) / information.sum(axis=0) * y_sum
        )  # events of all per event
        measured = seen.all(axis=0)

        def summed(name: str) -> NDArray[np.float64]:
            values = np.stack([getattr(part, name) for part in parts])
            return np.where(measured, np.sum(factor * np.nan_to_num(values), axis=0), np.nan)

        def in_squares(name: str) -> NDArray[np.float64]:
            values = np.stack([getattr(part, name) for part in parts])
            return np.where(measured, np.sqrt(np.sum((factor * np.nan_to_num(values)) ** 2, axis=0)), np.nan)

        width = np.where(measured, y_sum / np.sqrt(information.sum(axis=0)), np.nan)
    return CutSculpting(
        masses=parts[0].masses,
        events=summed("events"),
        events_error=in_squares("events_error"),
        sigma=width,
        uncut=summed("uncut"),
        difference=summed("difference"),
        difference_error=in_squares("difference_error"),
        effective_events=np.sum([part.effective_events for part in parts], axis=0),
    )


def nuisance_sizes(found: CutSculpting, sigma: Resolution) -> NDArray[np.float64]:
    """Sizes of a spurious signal as a nuisance, in events: the largest within two resolutions of each mass.

    NaN where simulation is so thin that its error is above a standard deviation of the fitted signal: there
    it would be the fluctuations of simulation that one takes for a bias.

    Args:
        found: Of one spectrum of the fit, shape (n,).
        sigma: Resolution in GeV of mass.
    """
    with np.errstate(invalid="ignore"):
        known = found.in_sigma_error <= LARGEST_ERROR
    width = np.asarray(sigma(found.masses), np.float64)
    near = np.abs(found.masses[:, None] - found.masses) <= NEIGHBOURS * width[:, None]  # (n, n)
    largest = np.max(np.where(near & known, np.abs(np.nan_to_num(found.events)), 0.0), axis=1)
    return np.where(known, largest, np.nan)


def _fit(
    peak: NDArray,
    edges: NDArray,
    usable: NDArray[np.bool_],
    model: WindowBackgrounds,
    background: NDArray,
    choice: BackgroundChoice,
) -> _Fit:
    """The weighted least-squares fit of one window, to first order in the background's parameters."""
    middle = 0.5 * (edges[1:] + edges[:-1])
    floor = 1e-3 * max(float(background[usable].mean()), 1e-300)
    expected = np.maximum(background, floor)
    if choice.family in ("exponential", "power"):
        x = np.log(middle) if choice.family == "power" else middle
        basis = expected[:, None] * np.stack([np.ones(len(x)), (x - x.mean()) / x.std()], axis=1)
    else:  # polynomials of either basis are the same functions
        u = 2 * (middle - edges[0]) / (edges[-1] - edges[0]) - 1
        basis = np.polynomial.legendre.legvander(u, model.order) * np.diff(edges)[:, None]
        basis *= expected[usable].sum() / np.diff(edges)[usable].sum()
    design = np.column_stack([peak, basis]) * usable[:, None]
    weighted = design / expected[:, None]
    covariance = np.linalg.pinv(design.T @ weighted)
    return _Fit((covariance @ weighted.T)[0], float(np.sqrt(covariance[0, 0])))


def _pairs_of_an_event(key: NDArray) -> NDArray[np.int64]:
    """Pairs of rows that are of one event, shape (2, n_pairs)."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    found = [np.empty((2, 0), np.int64)]
    for lag in range(1, len(key)):
        same = np.flatnonzero(ordered[lag:] == ordered[:-lag])
        if not len(same):
            break
        found.append(np.stack([order[same], order[same + lag]]))
    return np.concatenate(found, axis=1)


def _error(values: NDArray[np.float64], pairs: NDArray[np.int64]) -> float:
    """Root of the sum over events of the squared sums of their candidates' values."""
    square = float(values @ values) + 2 * float(values[pairs[0]] @ values[pairs[1]])
    return float(np.sqrt(max(square, 0.0)))
