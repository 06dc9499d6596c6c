"""What stands in for data: draws from simulation, always labelled, and a signal injected on request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError
from darksieve.evaluation.crystal_ball import CrystalBall

EVENTS_LABEL = "pseudo-data (simulated events)"
SMOOTH_LABEL = "pseudo-data (smooth background model)"
HISTOGRAM_LABEL = "pseudo-data (simulated histogram)"
EFFECTIVE_EVENTS_PER_EVENT = 10.0  # a histogram with fewer is too coarse a copy of nature to draw from

_BACKGROUND_STREAM = 0
_SIGNAL_STREAM = 1


class ExpectedSpectrum(Protocol):
    """What a channel is expected to hold: a smooth model of its simulation, or what its scan expects."""

    @property
    def expected_counts(self) -> NDArray[np.float64]:
        """Events per bin, peaks included, shape (n_bins,)."""


@dataclass(frozen=True)
class Injection:
    """A signal that was added to pseudo-data.

    Attributes:
        mass: Injected mass, GeV.
        strength: In the unit of the limits' parameter.
        expected: Selected signal events over all channels, before the Poisson draw.
        drawn: Signal events that were drawn, over all channels; None where they came with simulated
            events, which do not tell.
    """

    mass: float
    strength: float
    expected: float
    drawn: int | None


@dataclass(frozen=True, eq=False)
class PseudoData:
    """Counts per bin of each channel that stand in for data.

    Attributes:
        counts: Channel -> whole numbers, shape (n_bins,).
        label: What every table and picture calls them.
        seed: Of the random streams; None for simulated events, which have their own.
        injection: The signal in it, None where there is none.
    """

    counts: Mapping[str, NDArray[np.int64]]
    label: str
    seed: int | None
    injection: Injection | None = None


def count_events(observables: Mapping[str, ArrayLike], edges: Mapping[str, ArrayLike]) -> PseudoData:
    """Pseudo-data from unweighted simulated events of their own stream.

    Args:
        observables: Channel -> observable of each selected event.
        edges: Channel -> bin edges.

    Raises:
        InputError: If an observable is not finite.
    """
    counts = {}
    for channel, given in observables.items():
        values = np.asarray(given, float)
        if not np.isfinite(values).all():
            n_bad = int(np.sum(~np.isfinite(values)))
            raise InputError(f"channel {channel}: {n_bad} events have an observable that is not finite")
        counts[channel] = np.histogram(values, np.asarray(edges[channel], float))[0]
    return PseudoData(counts, EVENTS_LABEL, None)


def draw_pseudo_data(backgrounds: Mapping[str, ExpectedSpectrum], *, seed: int) -> PseudoData:
    """Poisson draws from the model of each channel.

    The stream of a channel depends on the seed and the channel's position only, so that adding channels at
    the end changes none before them.
    """
    counts = {
        channel: _stream(seed, i, _BACKGROUND_STREAM).poisson(background.expected_counts)
        for i, (channel, background) in enumerate(backgrounds.items())
    }
    return PseudoData(counts, SMOOTH_LABEL, seed)


def draw_from_histograms(
    sums: Mapping[str, ArrayLike], squares: Mapping[str, ArrayLike], *, seed: int
) -> PseudoData:
    """Poisson draws from simulated histograms, refused where these are too coarse.

    Args:
        sums: Channel -> sums of weights per bin, >= 0.
        squares: Channel -> sums of squared weights per bin.
        seed: Of the random streams.

    Raises:
        InputError: If a histogram has fewer effective events than ten times its yield.
    """
    counts = {}
    for i, (channel, given) in enumerate(sums.items()):
        weights = np.asarray(given, float)
        refuse_coarse_source(weights, squares[channel], channel=channel)
        counts[channel] = _stream(seed, i, _BACKGROUND_STREAM).poisson(weights)
    return PseudoData(counts, HISTOGRAM_LABEL, seed)


def refuse_coarse_source(sums: ArrayLike, squares: ArrayLike, *, channel: str = "spectrum") -> None:
    """Refuse a histogram whose own fluctuations would show in what is drawn from it.

    Raises:
        InputError: If the effective events, (sum w)^2 / sum w^2, are fewer than ten times the yield, sum w.
    """
    total, total_squares = float(np.sum(sums)), float(np.sum(squares))
    effective = total**2 / total_squares if total_squares > 0 else 0.0
    if effective < EFFECTIVE_EVENTS_PER_EVENT * total:
        raise InputError(
            f"{channel}: pseudo-data of {total:.0f} events cannot be drawn from {effective:.0f} effective"
            f" events (at least {EFFECTIVE_EVENTS_PER_EVENT:.0f} times the yield are needed): its"
            " fluctuations would be repeated; draw from the smooth background model, or simulate more"
        )


def inject_signal(
    data: PseudoData,
    edges: Mapping[str, ArrayLike],
    *,
    mass: float,
    strength: float,
    yields_per_unit: Mapping[str, float],
    seed: int,
    shapes: Mapping[str, CrystalBall] | None = None,
    events: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
) -> PseudoData:
    """Add a signal: simulated events where there are any, draws from the fitted shape otherwise.

    Args:
        data: What it is added to, which stays as it is.
        edges: Channel -> bin edges; events outside them are lost, as they would be in data.
        mass: Of the signal, GeV; recorded only.
        strength: In the unit of the limits' parameter.
        yields_per_unit: Channel -> selected signal events on the whole real line for one unit of the
            parameter.
        seed: Of the random streams.
        shapes: Channel -> shape to draw from.
        events: Channel -> (observables, weights) of simulated signal of this mass to draw from.

    Raises:
        InputError: If a signal is in the data already, the strength is not positive, or a source is empty.
        ValueError: If neither or both of shapes and events are given.
    """
    if (shapes is None) == (events is None):
        raise ValueError("inject from shapes or from events: give one of them")
    if data.injection is not None:
        raise InputError(f"a signal of {data.injection.mass} GeV is in the pseudo-data already")
    if not strength > 0:
        raise InputError(f"an injected strength of {strength} is not positive")
    counts = dict(data.counts)
    n_expected = n_drawn = 0.0
    for i, channel in enumerate(counts):
        if channel not in yields_per_unit:
            continue
        expected = strength * yields_per_unit[channel]
        rng = _stream(seed, i, _SIGNAL_STREAM)
        n = int(rng.poisson(expected))
        n_expected, n_drawn = n_expected + expected, n_drawn + n
        if n == 0:
            continue
        if shapes is not None:
            values = shapes[channel].draw(n, rng)
        else:
            assert events is not None
            values = _draw_rows(*events[channel], n, rng, channel)
        counts[channel] = counts[channel] + np.histogram(values, np.asarray(edges[channel], float))[0]
    return replace(data, counts=counts, injection=Injection(mass, strength, float(n_expected), int(n_drawn)))


def nearby_signal(
    observable: ArrayLike,
    mass: ArrayLike,
    weight: ArrayLike,
    *,
    at: float,
    half_width: float,
    slope: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Simulated signal of neighbouring masses, shifted to one mass: what ``inject_signal`` draws from.

    Args:
        observable, mass, weight: Of the true signal candidates of a channel, each of shape (n,).
        at: Mass to inject, GeV.
        half_width: Largest distance of the neighbours, GeV; a few resolutions, over which nothing else
            changes.
        slope: Change of the observable's peak with the mass there (2 m for a squared mass).

    Returns:
        Observables and weights of the neighbours.
    """
    observable, mass, weight = (np.asarray(values, float) for values in (observable, mass, weight))
    near = np.abs(mass - at) <= half_width
    return observable[near] + slope * (at - mass[near]), weight[near]


def _draw_rows(
    observable: ArrayLike, weight: ArrayLike, n: int, rng: np.random.Generator, channel: str
) -> NDArray[np.float64]:
    observable, weight = np.asarray(observable, float), np.asarray(weight, float)
    if not weight.sum() > 0:
        raise InputError(f"{channel}: no simulated signal to inject near this mass; simulate it there")
    if np.ptp(weight) <= 1e-9 * weight.max() and n <= len(observable):
        return rng.choice(observable, size=n, replace=False)
    return rng.choice(observable, size=n, p=weight / weight.sum())


def _stream(seed: int, channel: int, what: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(channel, what)))
