"""Expected spectra of categories that simulation is too thin to fill: those that their working points state.

Raw counts of a few heavy events make a spectrum with holes; a fit in a hole finds no background, and a limit
that no data will give. Working points model what few events tell of (pooled over neighbouring masses, never
without one event), so where most of them lie beyond the simulation, or fewer effective events are left than a
smooth model takes, their model is the expectation, of the scan and of pseudo-data alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.scan_grid import Resolution
from darksieve.evaluation.search_building import ScanChannel
from darksieve.evaluation.signal_shape import Position, peak_position
from darksieve.evaluation.smooth_background import FEWEST_EVENTS, PeakingBackground

BEYOND = "beyond_simulation"
PEAK_SIGMA = 2.0  # half width of the window that working points count in, in resolutions
MOSTLY = 0.5  # a window of which peaks are a larger share says nothing of the smooth background


def is_thin(points: Sequence[Mapping[str, Any]], effective_events: float) -> bool:
    """Whether a category has too little simulation for its spectrum to be counted.

    Args:
        points: Its working points: ``n_background``, ``status``.
        effective_events: Simulated ones of its whole smooth spectrum.
    """
    known = [p for p in points if p["n_background"] is not None and np.isfinite(p["n_background"])]
    beyond = [p for p in known if p["status"] == BEYOND]
    return bool(known) and (2 * len(beyond) > len(known) or effective_events < FEWEST_EVENTS)


def modelled_density(
    points: Sequence[Mapping[str, Any]],
    sigma: Resolution,
    peaks: Sequence[PeakingBackground] = (),
    position: Position = "mass",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Masses in GeV and expected events per GeV of one category's smooth background.

    Working points count peaks, too: they are taken off, and where a window holds little else the density is
    that of its neighbours.

    Args:
        points: Its working points, by mass: ``mass``, ``n_background``; some have numbers.
        sigma: Resolution in GeV as a function of mass.
        peaks: Of the category.
        position: How peaks move with the mass.
    """
    known = [p for p in points if p["n_background"] is not None and np.isfinite(p["n_background"])]
    masses = np.array([p["mass"] for p in known], np.float64)
    events = np.array([p["n_background"] for p in known], np.float64)
    reach = PEAK_SIGMA * np.asarray(sigma(masses), np.float64)
    low, high = (peak_position(np.maximum(edge, 0), position) for edge in (masses - reach, masses + reach))
    of_peaks = sum(
        (p.expected * (p.shape.cdf(high) - p.shape.cdf(low)) for p in peaks), np.zeros(len(masses))
    )
    smooth = of_peaks <= MOSTLY * events
    if not smooth.any():
        return masses, np.maximum(events - of_peaks, (1 - MOSTLY) * events) / (2 * reach)
    return masses[smooth], (events - of_peaks)[smooth] / (2 * reach[smooth])


def with_modelled_background(
    channel: ScanChannel,
    points: Sequence[Mapping[str, Any]],
    position: Position,
    weight: float,
) -> ScanChannel:
    """The channel with the spectrum that its working points state, or as it is where simulation fills it.

    Args:
        channel: A category.
        points: Its working points.
        position: How the peak moves with the mass: whether the observable is a mass or its square.
        weight: Data events that one simulated event stands for; the error of the spectrum follows from it.
    """
    squares = float(channel.squares.sum())
    if not is_thin(points, float(channel.sums.sum()) ** 2 / squares if squares > 0 else 0.0):
        return channel
    masses, density = modelled_density(points, channel.sigma, channel.peaks, position)
    edges = channel.edges
    in_mass = np.sqrt(np.maximum(edges, 0)) if position == "mass_squared" else edges
    centres = 0.5 * (in_mass[1:] + in_mass[:-1])
    sums = np.interp(centres, masses, density) * np.diff(in_mass)
    return replace(channel, sums=sums, squares=sums * weight, modelled=True)
