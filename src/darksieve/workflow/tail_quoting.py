"""How far limits hang on the tail of the score beyond the simulation, quoted with every limit of a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.full_limit import objective_at
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.objectives import Objective
from darksieve.evaluation.search_building import ScanChannel
from darksieve.evaluation.tails import FAMILIES, tail_ratios
from darksieve.evaluation.working_points import tail_background_of

_NONE = np.ones(len(FAMILIES))  # background of a category without signal: of no importance


@dataclass(frozen=True, eq=False)
class TailSpread:
    """What the families of the tail do to the limits of a fit.

    Attributes:
        lowest: Smallest limit of a family over the expected one, shape (n_masses,).
        highest: The largest; both are NaN where no simulated event is near.
        more_simulation: Times more background simulation that every category of the fit needs for events
            enough of its own, shape (n_masses,).
    """

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    more_simulation: NDArray[np.float64]


def tail_spread_of(
    channels: Sequence[ScanChannel],
    points: Sequence[Mapping[str, Any]],
    masses: NDArray[np.float64],
    limit: Objective,
) -> TailSpread:
    """The spread between the tail families in a fit of some channels together.

    Args:
        channels: Of the fit: categories of selections, in the order of their category.
        points: Of ``working_points.json``.
        masses: Of the scan, GeV, shape (n_masses,).
        limit: Of yields of shape (n_masses, n_categories) in windows of ±2 resolutions.
    """
    signal, background, tails = [], [], []
    more = np.ones(len(masses))
    found: dict[str, int] = {}
    for channel in channels:
        category = found[channel.selection] = found.get(channel.selection, 0) + 1
        own = {
            round(p["mass"], 9): p
            for p in points
            if p["channel"] == channel.selection and p["category"] == category
        }
        here = [own.get(round(float(mass), 9)) for mass in masses]
        usable = np.array([p is not None and p["n_background"] is not None for p in here])
        usable &= channel.sees(masses)
        expected = np.zeros(len(masses))
        expected[usable] = channel.yield_per_unit(masses[usable])  # beyond the end of a decay there is none
        signal.append(expected)
        background.append([p["n_background"] if u and p else 1.0 for p, u in zip(here, usable, strict=True)])
        tails.append([tail_background_of(p) if u and p else _NONE for p, u in zip(here, usable, strict=True)])
        wanted = [p["more_simulation"] if u and p else None for p, u in zip(here, usable, strict=True)]
        more = np.maximum(more, [1.0 if value is None else value for value in wanted])
    ratios = tail_ratios(
        np.stack(signal, axis=1),
        np.stack(background, axis=1),
        np.array(tails).transpose(2, 1, 0),
        objective_at(limit, masses),
    )
    known = np.isfinite(ratios).all(axis=0)
    lowest, highest = (np.where(known, ends, np.nan) for ends in (ratios.min(axis=0), ratios.max(axis=0)))
    return TailSpread(np.minimum(lowest, 1.0), np.maximum(highest, 1.0), more)


def with_tails(curve: LimitCurve, masses: NDArray[np.float64], spread: TailSpread) -> LimitCurve:
    """The limits with their spread; a point without numbers keeps none."""
    middle = curve.band_keys[2]
    at = {round(float(mass), 9): i for i, mass in enumerate(masses)}
    points = []
    for point in curve.points:
        i = None if point.mass is None else at.get(round(point.mass, 9))
        median = (point.expected or {}).get(middle)
        if i is None or median is None:
            points.append(point)
            continue
        changed: dict[str, Any] = {"more_simulation": float(spread.more_simulation[i])}
        low, high = float(spread.lowest[i]), float(spread.highest[i])
        if np.isfinite(low):
            changed |= {"tail_spread": high / low - 1, "tail_expected": (median * low, median * high)}
        points.append(point.model_copy(update=changed))
    return curve.model_copy(update={"points": tuple(points)})


def tail_summary(curve: LimitCurve) -> str:
    """One line on the spread, where there is any; empty else."""
    spread = curve.values("tail_spread")
    if not np.nanmax(np.append(spread, 0.0)) > 0.005:
        return ""
    i = int(np.nanargmax(spread))
    more = curve.points[i].more_simulation
    return (
        f"; tails of the score beyond the simulation: limits differ by up to {100 * spread[i]:.3g} %"
        f" (at {curve.masses[i]:.3f} GeV, where {more:.3g} times more background would settle it)"
    )
