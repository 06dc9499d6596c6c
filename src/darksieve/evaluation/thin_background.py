"""Expected spectra of categories that simulation is too thin to fill: those that their working points state.

Raw counts of a few heavy events make a spectrum with holes; a fit in a hole finds no background, and a limit
that no data will give. Working points model what few events tell of (pooled over neighbouring masses, never
without one event), so where most of them lie beyond the simulation their model is the expectation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.scan_grid import Resolution
from darksieve.evaluation.search_building import ScanChannel
from darksieve.evaluation.signal_shape import Position

BEYOND = "beyond_simulation"
PEAK_SIGMA = 2.0  # half width of the window that working points count in, in resolutions


def modelled_density(
    points: Sequence[Mapping[str, Any]], sigma: Resolution
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Masses in GeV and expected events per GeV of one category; None where simulation fills it.

    Args:
        points: Its working points, by mass: ``mass``, ``n_background``, ``status``.
        sigma: Resolution in GeV as a function of mass.
    """
    known = [p for p in points if p["n_background"] is not None and np.isfinite(p["n_background"])]
    beyond = [p for p in known if p["status"] == BEYOND]
    if not known or 2 * len(beyond) <= len(known):
        return None
    masses = np.array([p["mass"] for p in known], np.float64)
    events = np.array([p["n_background"] for p in known], np.float64)
    return masses, events / (2 * PEAK_SIGMA * np.asarray(sigma(masses), np.float64))


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
    found = modelled_density(points, channel.sigma)
    if found is None:
        return channel
    masses, density = found
    edges = channel.edges
    in_mass = np.sqrt(np.maximum(edges, 0)) if position == "mass_squared" else edges
    centres = 0.5 * (in_mass[1:] + in_mass[:-1])
    sums = np.interp(centres, masses, density) * np.diff(in_mass)
    return replace(channel, sums=sums, squares=sums * weight)
