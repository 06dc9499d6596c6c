"""Windows of a scan that only counts: the background of each is an average of the simulation around it.

Where next to no background is left there is nothing to fit. The simulated spectrum is averaged over the least
interval around a window that holds enough events, and the statistical error of that average is the
background's uncertainty. An interval without any event counts as one event: none is known to be zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError
from darksieve.evaluation.scan_grid import Interval, ScanWindows, place_windows

if TYPE_CHECKING:
    from darksieve.evaluation.search_building import ScanChannel


@dataclass(frozen=True)
class CountingChoice:
    """How a scan counts.

    Attributes:
        window_sigma: Half width of the window that is counted in, in resolutions.
        average_sigma: Largest half width of what the background is averaged over, in resolutions.
        events: Effective simulated events that make the average good enough; it widens until there are so
            many.
        uncertainty: Relative, of the background's normalisation, beside its statistical error.
    """

    window_sigma: float = 2.0
    average_sigma: float = 20.0
    events: float = 10.0
    uncertainty: float = 0.0


def counting_entries(
    channel: ScanChannel, masses: NDArray, choice: CountingChoice, vetoes: Sequence[Interval]
) -> list[dict[str, Any] | None]:
    """What a search document says of a channel that counts at these masses; None where it has no signal.

    A window ends at a veto that it would touch, and the signal beyond is not counted on.

    Raises:
        InputError: If the channel has no simulated background, nor says what one event of it is worth.
    """
    windows = place_windows(
        masses,
        channel.sigma,
        channel.edges,
        window_sigma=choice.window_sigma,
        position=channel.shape.position,
        exclude=vetoes,
    )
    first, last = _without_vetoes(windows, channel)
    low, high = channel.edges[first], channel.edges[np.maximum(last, first)]
    yields = channel.yield_per_unit(masses) * channel.shape.fraction_between(masses, low, high)
    expected, errors = _expected_background(channel, masses, choice, windows, first, last)
    sizes = {} if channel.sizes is None else channel.sizes(masses)
    entries: list[dict[str, Any] | None] = []
    for i in range(len(masses)):
        if not (last[i] > first[i] and yields[i] > 0):
            entries.append(None)
            continue
        entry: dict[str, Any] = {
            "window": [float(low[i]), float(high[i])],
            "yield_per_unit": float(yields[i]),
            "background": {
                "family": "known",
                "yield": float(expected[i]),
                "uncertainty": float(errors[i]),
            },
        }
        if sizes:
            entry["sizes"] = {name: float(of_mass[i]) for name, of_mass in sizes.items()}
        entries.append(entry)
    return entries


def _without_vetoes(
    windows: ScanWindows, channel: ScanChannel
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First bins and ends of the runs of usable bins around each mass; empty where its own bin is vetoed."""
    position = channel.shape.at(windows.masses).mean
    own = np.clip(np.searchsorted(windows.edges, position, side="right") - 1, windows.first, windows.last - 1)
    first, last = windows.first.copy(), windows.last.copy()
    for i, bin_ in enumerate(own):
        blocked = np.flatnonzero(~windows.usable[first[i] : last[i]]) + first[i]
        first[i] = max([first[i], *(blocked[blocked <= bin_] + 1)])
        last[i] = min([last[i], *blocked[blocked >= bin_]])
    return first, last


def _expected_background(
    channel: ScanChannel,
    masses: NDArray,
    choice: CountingChoice,
    windows: ScanWindows,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected events in each window and their errors, shape (n_masses,)."""
    squares, sums = channel.squares, channel.expected_counts
    one_event = channel.event_weight
    if not one_event > 0:
        if not sums.sum() > 0:
            raise InputError(
                f"channel {channel.name}: no simulated background is left, and nothing says what one event of"
                " it is worth; simulate more, or loosen the selection"
            )
        one_event = float(squares.sum() / sums.sum())
    usable = windows.usable
    totals = [
        np.concatenate([[0.0], np.cumsum(np.where(usable, values, 0.0))])
        for values in (sums, squares, np.diff(channel.edges))
    ]
    events, width = np.zeros(len(masses)), np.zeros(len(masses))
    effective = np.full(len(masses), -1.0)
    half = choice.window_sigma
    while True:
        wide = place_windows(
            masses, channel.sigma, channel.edges, window_sigma=half, position=channel.shape.position
        )
        here = [total[wide.last] - total[wide.first] for total in totals]
        with np.errstate(invalid="ignore", divide="ignore"):
            n = np.where(here[1] > 0, here[0] ** 2 / here[1], 0.0)
        more = effective < choice.events
        events[more], width[more], effective[more] = here[0][more], here[2][more], n[more]
        if half >= choice.average_sigma:
            break
        half = min(2 * half, choice.average_sigma)
    events, effective = np.maximum(events, one_event), np.maximum(effective, 1.0)
    share = (channel.edges[np.maximum(last, first)] - channel.edges[first]) / np.maximum(width, 1e-300)
    expected = events * np.minimum(share, 1.0)
    return expected, expected * np.hypot(1 / np.sqrt(effective), choice.uncertainty)
