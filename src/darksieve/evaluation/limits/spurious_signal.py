"""Spurious signal: what a fit finds where there is none, because the background has another shape.

Spectra of alternative shapes without any statistical fluctuation (another family fitted to the data, or a
simulated spectrum) are fitted with signal and the document's own background, at every mass. What comes out is
a bias of the fitted signal; its size can be put into the document as a nuisance.

References:
    ATLAS Collaboration, Phys. Rev. D 90 (2014) 112015 (spurious signal as a systematic uncertainty).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError, nearest
from darksieve.evaluation.limits.compile import compile_search, fitted_points
from darksieve.evaluation.limits.components import Background, CountingSignal
from darksieve.evaluation.limits.data import BinnedData
from darksieve.evaluation.limits.document import Point, SearchModel, kept_bins
from darksieve.evaluation.limits.engine import FAILED, fit, upper_limits
from darksieve.evaluation.limits.minuit import MinuitProblem
from darksieve.evaluation.limits.problem import Floats, ProblemBatch
from darksieve.evaluation.limits.response import response

BINS_PER_SIGMA = 8.0  # of data given as values


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A background spectrum from simulation, scaled to the luminosity of the data.

    Attributes:
        edges: Shape (n_bins + 1,).
        contents: Expected events, shape (n_bins,), >= 0.
        variances: Sums of squared weights, shape (n_bins,); None for a shape without statistical error.
    """

    edges: Floats
    contents: Floats
    variances: Floats | None = None

    def __post_init__(self) -> None:
        for name in ("edges", "contents", "variances"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        n = self.edges.size - 1
        if self.contents.shape != (n,) or (self.variances is not None and self.variances.shape != (n,)):
            raise ValueError("one content and one variance per bin")
        for values in (self.contents, self.variances):
            if values is not None and not (np.all(np.isfinite(values)) and np.all(values >= 0)):
                raise ValueError("contents and variances must be finite and not negative")

    @classmethod
    def from_events(cls, values: ArrayLike, weights: ArrayLike, edges: ArrayLike) -> Spectrum:
        """Weighted events put into bins."""
        x, w, e = (np.asarray(array, np.float64) for array in (values, weights, edges))
        contents, _ = np.histogram(x, e, weights=w)
        variances, _ = np.histogram(x, e, weights=w**2)
        return cls(e, contents, variances)


Alternative = Background | Mapping[str, Spectrum]


@dataclass(frozen=True, eq=False)
class SpuriousSignal:
    """Spurious signal of one alternative shape at every fitted point.

    Attributes:
        alternative: Its name.
        labels: Of the points.
        masses: GeV, NaN where unknown, shape (n_points,).
        events: Fitted signal, in events in the window of all channels, shape (n_points,); NaN where the fit
            fails.
        events_error: Statistical error of the alternative spectrum itself (from finite simulation), same
            shape; zero for shapes without one.
        sigma: Statistical error of the fitted signal in data of this size, in events, same shape.
        expected_limit: Median expected upper limit on such a spectrum, in events, same shape.
    """

    alternative: str
    labels: tuple[str, ...]
    masses: Floats
    events: Floats
    events_error: Floats
    sigma: Floats
    expected_limit: Floats

    @property
    def relative_to_sigma(self) -> Floats:
        """In units of the statistical error of the signal, shape (n_points,)."""
        return self.events / self.sigma

    @property
    def relative_to_limit(self) -> Floats:
        """In units of the expected limit, shape (n_points,)."""
        return self.events / self.expected_limit


def spurious_signals(
    model: SearchModel,
    alternatives: Mapping[str, Alternative],
    *,
    choice: Mapping[str, int] | int = 0,
    channel: str | None = None,
    confidence_level: float = 0.95,
    threads: int | None = None,
) -> list[SpuriousSignal]:
    """Fit signal plus the document's background to spectra of alternative shapes.

    Args:
        model: The document; spurious signals that it states already are left out of the fit.
        alternatives: By name; a background family takes the place of every fitted background of the
            document: fitted to its data without signal, or, blind, as its ``yield`` and ``coefficients``
            say. Or a simulated spectrum for every channel, by the channel's name.
        choice: Which of several backgrounds is tested.
        channel: Only this one is fitted; None fits all channels together.
        confidence_level: Of the expected limit.
        threads: At most so many.

    Returns:
        One result per alternative, in order.

    Raises:
        InputError: If an alternative does not fit the document, or no point can be tested.
    """
    tested = _tested(model, channel)
    results = []
    for name, alternative in alternatives.items():
        if isinstance(alternative, Mapping):
            results.append(_of_spectra(tested, name, alternative, choice, confidence_level, threads))
        else:
            results.append(_of_family(tested, name, alternative, choice, confidence_level, threads))
    return results


def largest_spurious_signal(results: Sequence[SpuriousSignal]) -> Floats:
    """Largest |spurious signal| of all alternatives at every point, in events, shape (n_points,).

    Raises:
        ValueError: If there is no result.
    """
    if not results:
        raise ValueError("no alternative was tested")
    return np.asarray(np.nanmax(np.abs([result.events for result in results]), axis=0))


def with_spurious_signal(model: SearchModel, sizes: Mapping[str, Mapping[str, float]]) -> SearchModel:
    """The document with spurious signals as nuisances of its points' channels.

    Args:
        model: The document.
        sizes: Events by the label of the point and the name of the channel.

    Raises:
        InputError: If there is no such point or channel.
    """
    labels = [point.label for point in model.points]
    for label in sizes:
        if label not in labels:
            raise InputError(f"spurious signal of {label!r}: no such point{nearest(label, labels)}")
    points = []
    for point in model.points:
        channels = dict(point.channels)
        for name, events in sizes.get(point.label, {}).items():
            if name not in channels:
                raise InputError(
                    f"spurious signal of {point.label!r}: no such channel {name!r}{nearest(name, channels)}"
                )
            channels[name] = channels[name].model_copy(update={"spurious_signal": float(events)})
        points.append(point.model_copy(update={"channels": channels}))
    return SearchModel.parse(model.model_copy(update={"points": tuple(points)}).to_json())


def _tested(model: SearchModel, channel: str | None) -> SearchModel:
    names = [one.name for one in model.channels]
    if channel is not None and channel not in names:
        raise InputError(f"spurious signal: no such channel {channel!r}{nearest(channel, names)}")
    wanted = {channel} if channel is not None else set(names)
    points: list[Point] = []
    for i in fitted_points(model):
        point = model.points[i]
        channels = {
            name: signal.model_copy(update={"spurious_signal": 0.0})
            for name, signal in point.channels.items()
            if name in wanted and not isinstance(signal, CountingSignal)
        }
        if any(signal.yield_per_unit > 0 for signal in channels.values()):
            points.append(point.model_copy(update={"channels": channels}))
    if not points:
        raise InputError("spurious signal: no point looks for a shape over a background; counts have none")
    kept = tuple(one for one in model.channels if one.name in wanted)
    return model.model_copy(update={"points": tuple(points), "channels": kept})


def _batch(model: SearchModel, choice: Mapping[str, int] | int, threads: int | None) -> ProblemBatch:
    return compile_search(
        model, choice=choice, unbinned=False, bins_per_sigma=BINS_PER_SIGMA, threads=threads
    )


def _of_family(
    model: SearchModel,
    name: str,
    family: Background,
    choice: Mapping[str, int] | int,
    confidence_level: float,
    threads: int | None,
) -> SpuriousSignal:
    channels = tuple(one.model_copy(update={"background": family}) for one in model.channels)
    points = tuple(
        point.model_copy(
            update={
                "channels": {
                    c: signal.model_copy(update={"background": None}) for c, signal in point.channels.items()
                }
            }
        )
        for point in model.points
    )
    changed = model.model_copy(update={"channels": channels, "points": points})
    changed = SearchModel.parse(changed.to_json(), source=f"alternative {name!r}")
    truth = _batch(changed, 0, threads)
    if truth.blind:
        parameters = np.array(truth.structure.start)
        good = np.ones(truth.n_problems, np.bool_)
    else:
        found = fit(truth, 0.0, threads=threads)
        parameters, good = found.parameters, np.array([status != FAILED for status in found.status])
    counts = np.array(truth.rows.counts)
    for p in np.flatnonzero(good):
        one = MinuitProblem(truth, int(p), truth.rows)
        x = np.array(parameters[p, : one.n])
        x[one.strength] = 0.0
        counts[truth.rows.start[p, 0] : truth.rows.start[p, -1]] = one.expectation(x)
    nominal = _batch(model, choice, threads)
    result = _fitted(nominal.with_counts(counts), name, None, confidence_level, threads)
    return replace(result, events=np.where(good, result.events, np.nan))


def _of_spectra(
    model: SearchModel,
    name: str,
    spectra: Mapping[str, Spectrum],
    choice: Mapping[str, int] | int,
    confidence_level: float,
    threads: int | None,
) -> SpuriousSignal:
    channels = []
    for one in model.channels:
        if one.name not in spectra:
            raise InputError(
                f"alternative {name!r}: no spectrum for channel {one.name!r}{nearest(one.name, spectra)}"
            )
        spectrum = spectra[one.name]
        data = BinnedData(edges=tuple(spectrum.edges.tolist()), counts=tuple(spectrum.contents.tolist()))
        channels.append(one.model_copy(update={"data": data}))
    changed = model.model_copy(update={"channels": tuple(channels)})
    changed = SearchModel.parse(changed.to_json(), source=f"alternative {name!r}")
    variances = []
    for point in changed.points:
        pieces = []
        for one in changed.channels:
            signal = point.channels.get(one.name)
            if signal is None or isinstance(signal, CountingSignal):
                continue
            spectrum = spectra[one.name]
            kept = kept_bins(spectrum.edges, signal.window, signal.exclude)
            pieces.append(
                np.zeros(int(kept.sum())) if spectrum.variances is None else spectrum.variances[kept]
            )
        variances.append(np.concatenate(pieces))
    return _fitted(_batch(changed, choice, threads), name, variances, confidence_level, threads)


def _fitted(
    batch: ProblemBatch,
    name: str,
    variances: Sequence[Floats] | None,
    confidence_level: float,
    threads: int | None,
) -> SpuriousSignal:
    limits = upper_limits(
        batch, confidence_level=confidence_level, observed=False, errors=False, threads=threads
    )
    free = fit(batch, threads=threads)
    good: NDArray[np.bool_] = np.array([status != FAILED for status in limits.status])
    error, sigma = np.full(good.size, np.nan), np.full(good.size, np.nan)
    both = good & np.array([status != FAILED for status in free.status])
    for p in np.flatnonzero(both).tolist():
        answer = response(batch, p, free.parameters[p])
        sigma[p] = np.sqrt(answer.covariance[answer.strength, answer.strength])
        error[p] = 0.0
        if variances is not None:
            error[p] = np.sqrt((answer.strength_per_event**2) @ variances[p])
    unit = batch.events_per_unit
    return SpuriousSignal(
        alternative=name,
        labels=batch.labels,
        masses=batch.masses,
        events=limits.best_fit * unit,
        events_error=error,
        sigma=sigma,
        expected_limit=limits.expected[:, limits.levels.size // 2] * unit,
    )
