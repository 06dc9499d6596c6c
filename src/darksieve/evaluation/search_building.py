"""From channels with their spectra and signal to the hand-over document of the limit tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError
from darksieve.evaluation.background_model import Family, WindowBackgrounds, expected_counts, fit_windows
from darksieve.evaluation.correction_sizes import Sizes
from darksieve.evaluation.counting_windows import CountingChoice, counting_entries
from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.limits.document import FORMAT, SearchModel
from darksieve.evaluation.scan_grid import Interval, Resolution, ScanWindows, place_windows
from darksieve.evaluation.signal_shape import SignalShape
from darksieve.evaluation.smooth_background import PeakingBackground

SMALLEST_PEAK = 1.0  # expected events in a window from which a peaking component is part of its fit


@dataclass(frozen=True)
class BackgroundChoice:
    """The function that is fitted under each hypothesis.

    Attributes:
        family: Its name.
        order: Of the polynomials.
        window_sigma: Half-width of the fitted window in units of the resolution.
    """

    family: Family = "chebyshev"
    order: int = 3
    window_sigma: float = 20.0


@dataclass(frozen=True)
class NamedUncertainty:
    """A relative uncertainty of the signal yield, one parameter in all channels that have it.

    Attributes:
        name: Of the nuisance: tracking, number of B pairs, …
        size: Relative, above 0.
        selections: Selections whose channels have it; None for all.
        sizes: Of selections in which it is another than ``size``.
    """

    name: str
    size: float
    selections: tuple[str, ...] | None = None
    sizes: Mapping[str, float] = field(default_factory=dict)

    def of_selection(self, name: str) -> float:
        """Its size in a selection, 0 where it has none."""
        has_it = self.selections is None or name in self.selections
        return self.sizes.get(name, self.size) if has_it else 0.0


@dataclass(frozen=True)
class Uncertainties:
    """Sizes of the nuisances; zero leaves one out.

    Attributes:
        luminosity: Relative, on the signal yield of every channel.
        efficiency: Relative, on the signal yield of every channel.
        width: Relative, on the resolution.
        scale_sigma: Of the peak's position, in units of the resolution.
        spurious_signal: Signal that the background's function may fake, relative to the background within ±2
            resolutions of the peak; of its own in each channel.
        named: On the signal yields of some selections.
    """

    luminosity: float = 0.0
    efficiency: float = 0.0
    width: float = 0.0
    scale_sigma: float = 0.0
    spurious_signal: float = 0.0
    named: tuple[NamedUncertainty, ...] = ()

    def of_selection(self, name: str) -> Uncertainties:
        """As one selection alone sees them: the named ones are part of its efficiency's."""
        own = [one.of_selection(name) for one in self.named]
        return replace(self, efficiency=float(np.hypot.reduce([self.efficiency, *own])), named=())


@dataclass(frozen=True, eq=False)
class ScanChannel:
    """One spectrum of the fit: one category of one selection.

    Attributes:
        name: Of the channel in the document.
        shape: The signal's shape in its observable.
        sigma: Resolution in GeV of mass, the unit of its windows (common to the categories of a selection).
        efficiency: Masses, shape (n,), to absolute efficiencies of correctly reconstructed signal, shape
            (n,).
        yield_per_efficiency: Signal events for one unit of the parameter at full efficiency: the luminosity
            in 1/fb for a cross section in fb, parents times secondary branching fractions for a branching
            fraction.
        edges: Bin edges in the unit of the observable, shape (n_bins + 1,).
        sums: Expected smooth background per bin, shape (n_bins,).
        squares: Its sums of squared weights, shape (n_bins,).
        peaks: Narrow backgrounds beside it.
        counts: Data, shape (n_bins,); None while blind.
        mass_range: Hypotheses that this channel sees, both ends included; None for all.
        background: What is fitted, where it differs from the scan's choice.
        ratio: Masses, shape (n,), to what one unit of the parameter is in this channel, shape (n,): the
            branching fraction of its decay over that which is the parameter; None for 1.
        selection: Name of the selection that the channel is a category of.
        sizes: Masses, shape (n,), to relative changes of the signal yield, shape (n,), for one standard
            deviation of nuisances that channels and masses share; None for none.
        modelled: Whether ``sums`` are a model, since simulation is too thin to count.
        event_weight: Data events that one simulated background event stands for; 0 where unknown.
    """

    name: str
    shape: SignalShape
    sigma: Resolution
    efficiency: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    yield_per_efficiency: float
    edges: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    peaks: tuple[PeakingBackground, ...] = ()
    counts: NDArray | None = None
    mass_range: Interval | None = None
    background: BackgroundChoice | None = None
    ratio: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    selection: str = ""
    sizes: Callable[[ArrayLike], Sizes] | None = None
    modelled: bool = False
    event_weight: float = 0.0

    @property
    def expected_counts(self) -> NDArray[np.float64]:
        """Expected background per bin, peaks included, shape (n_bins,)."""
        return sum((peak.counts(self.edges) for peak in self.peaks), self.sums)

    def sees(self, masses: ArrayLike) -> NDArray[np.bool_]:
        """Whether each hypothesis is in the channel's range."""
        masses = np.asarray(masses, float)
        if self.mass_range is None:
            return np.ones(masses.shape, dtype=bool)
        return (masses >= self.mass_range[0] - 1e-9) & (masses <= self.mass_range[1] + 1e-9)

    def yield_per_unit(self, masses: ArrayLike) -> NDArray[np.float64]:
        """Selected signal events on the whole real line for one unit of the parameter, shape (n,)."""
        masses = np.atleast_1d(np.asarray(masses, float))
        yields = self.yield_per_efficiency * np.asarray(self.efficiency(masses), float).reshape(masses.shape)
        return yields if self.ratio is None else yields * self.ratio(masses)


def build_search_model(
    channels: Sequence[ScanChannel],
    masses: ArrayLike,
    *,
    parameter: tuple[str, str],
    background: BackgroundChoice | None = None,
    uncertainties: Uncertainties | None = None,
    vetoes: Sequence[Interval] = (),
    counting: CountingChoice | None = None,
) -> SearchModel:
    """The search document of a scan: windows, signals, expected backgrounds, nuisances, and data if there
    are any.

    Args:
        channels: Spectra that are fitted together; all with data, or none.
        masses: Hypotheses in GeV, shape (n,).
        parameter: Name and unit of what the limits are on.
        background: What is fitted under each hypothesis; Chebyshev of order 3 in ±20 resolutions where
            absent.
        uncertainties: Sizes of the nuisances; none where absent.
        vetoes: Mass intervals in GeV that are left out: hypotheses inside have the status "vetoed", bins that
            touch them are in no fit.
        counting: How windows are counted in; None to fit them.

    Returns:
        The document, whose windows are whole bins of the channels' edges.

    Raises:
        InputError: If there are no channels or masses, or a mass lies outside the simulated signal or the
            data.
    """
    background = background or BackgroundChoice()
    sizes = uncertainties or Uncertainties()
    masses = np.atleast_1d(np.asarray(masses, float))
    if not channels:
        raise InputError("a search needs at least one channel")
    if not masses.size:
        raise InputError("a scan needs at least one mass hypothesis")
    vetoed = in_vetoes(masses, vetoes)
    labels = point_labels(masses)
    points: list[dict[str, Any]] = [
        {"label": label, "mass": float(mass)} for label, mass in zip(labels, masses, strict=True)
    ]
    of_points: list[dict[str, Any]] = [{} for _ in points]
    for channel in channels:
        seen = np.flatnonzero(channel.sees(masses) & ~vetoed)
        if seen.size:
            choice = channel.background or background
            _refuse_without_signal(channel, masses[seen])
            if counting is None:
                entries = _channel_entries(channel, masses[seen], choice, vetoes, sizes.spurious_signal)
            else:
                entries = counting_entries(channel, masses[seen], counting, vetoes)
            own = {
                o.name: o.of_selection(channel.selection) for o in sizes.named if channel.selection in o.sizes
            }
            for i, entry in zip(seen, entries, strict=True):
                if entry is not None:
                    of_points[i][channel.name] = _with_sizes(entry, own)
    for point, of_point, is_vetoed in zip(points, of_points, vetoed, strict=True):
        if of_point:
            point["channels"] = of_point
        else:
            point["status"] = "vetoed" if is_vetoed else "no_signal"
    return SearchModel.parse(
        {
            "format": FORMAT,
            "parameter": {"name": parameter[0], "unit": parameter[1]},
            "channels": [
                _channel_head(channel, None if counting else channel.background or background)
                for channel in channels
            ],
            "points": points,
            "nuisances": [
                *_nuisances(sizes, channels),
                *_shared_nuisances(of_points, [one.name for one in sizes.named]),
            ],
        },
        source="search document of the run",
    )


def with_counts(
    channels: Sequence[ScanChannel], counts: Mapping[str, ArrayLike] | None
) -> tuple[ScanChannel, ...]:
    """The same channels with these data, or blind."""
    return tuple(
        replace(channel, counts=None if counts is None else np.asarray(counts[channel.name]))
        for channel in channels
    )


def in_vetoes(masses: ArrayLike, vetoes: Sequence[Interval]) -> NDArray[np.bool_]:
    """Whether each mass lies in a vetoed interval, ends included."""
    masses = np.asarray(masses, float)
    vetoed = np.zeros(masses.shape, dtype=bool)
    for low, high in vetoes:
        vetoed |= (masses >= low) & (masses <= high)
    return vetoed


def point_labels(masses: ArrayLike) -> list[str]:
    """Labels of hypotheses, as short as keeps them different."""
    masses = np.asarray(masses, float)
    for digits in range(3, 10):
        labels = [f"m{mass:.{digits}f}" for mass in masses]
        if len(set(labels)) == len(labels):
            return labels
    raise InputError("two mass hypotheses are equal; give each once")


def _channel_head(channel: ScanChannel, choice: BackgroundChoice | None) -> dict[str, Any]:
    data: dict[str, Any] = {"edges": channel.edges.tolist()}
    if channel.counts is not None:
        data["counts"] = [float(n) for n in channel.counts]
    head = {"name": channel.name, "data": data}
    return head if choice is None else head | {"background": _family(choice)}


def _family(choice: BackgroundChoice) -> dict[str, Any]:
    if choice.family in ("exponential", "power"):
        return {"family": choice.family}
    return {"family": choice.family, "order": choice.order}


def _refuse_without_signal(channel: ScanChannel, masses: NDArray) -> None:
    low, high = channel.shape.mass_range
    outside = (masses < low - 1e-6) | (masses > high + 1e-6)
    if outside.any():
        raise InputError(
            f"channel {channel.name}: mass {masses[outside][0]:.6g} GeV lies outside the simulated signal,"
            f" which covers {low:.6g} to {high:.6g} GeV; simulate more, or change scan.range"
        )


def _channel_entries(
    channel: ScanChannel,
    masses: NDArray,
    choice: BackgroundChoice,
    vetoes: Sequence[Interval],
    spurious_signal: float = 0.0,
) -> list[dict[str, Any] | None]:
    """What the document says of this channel at each of these masses; None where it has no signal."""
    windows = place_windows(
        masses,
        channel.sigma,
        channel.edges,
        window_sigma=choice.window_sigma,
        position=channel.shape.position,
        exclude=vetoes,
    )
    fitted = fit_windows(channel.sums, channel.squares, windows, family=choice.family, order=choice.order)
    shape = channel.shape.at(masses)
    inside = channel.shape.fraction_between(masses, windows.low, windows.high)
    yields = channel.yield_per_unit(masses) * inside
    peak_fractions = [peak.counts(channel.edges) for peak in channel.peaks]
    in_peaks = [np.concatenate([[0.0], np.cumsum(np.where(windows.usable, n, 0.0))]) for n in peak_fractions]
    sizes = {} if channel.sizes is None else channel.sizes(masses)
    entries: list[dict[str, Any] | None] = []
    for i in range(len(masses)):
        kept = windows.usable[windows.first[i] : windows.last[i]]
        if not (yields[i] > 0 and kept.any()):
            entries.append(None)
            continue
        peaks = [
            _peak(peak)
            for peak, total in zip(channel.peaks, in_peaks, strict=True)
            if total[windows.last[i]] - total[windows.first[i]] >= SMALLEST_PEAK
        ]
        entry: dict[str, Any] = {
            "window": [float(windows.low[i]), float(windows.high[i])],
            "yield_per_unit": float(yields[i]),
            "shape": "double_sided_crystal_ball",
            **shape.one(i).as_dict(),
            "background": _family(choice) | _expectation(fitted, i) | ({"peaking": peaks} if peaks else {}),
        }
        if sizes:
            entry["sizes"] = {name: float(of_mass[i]) for name, of_mass in sizes.items()}
        if spurious_signal > 0:
            entry["spurious_signal"] = spurious_signal * _under_peak(fitted, windows, i, shape.one(i))
        excluded = windows.excluded_in(i)
        if excluded:
            entry["exclude"] = [list(interval) for interval in excluded]
        entries.append(entry)
    return entries


def _under_peak(fitted: WindowBackgrounds, windows: ScanWindows, i: int, peak: CrystalBall) -> float:
    """Expected background within ±2 resolutions of the peak."""
    edges = windows.edges[windows.first[i] : windows.last[i] + 1]
    low, high = float(peak.mean - 2 * peak.sigma), float(peak.mean + 2 * peak.sigma)
    overlap = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0.0, None)
    return float(np.maximum(expected_counts(fitted, windows, i), 0.0) @ (overlap / np.diff(edges)))


def _expectation(fitted: WindowBackgrounds, i: int) -> dict[str, Any]:
    return {"yield": float(fitted.yields[i]), "coefficients": fitted.coefficients[i].tolist()}


def _peak(peak: PeakingBackground) -> dict[str, Any]:
    return {
        "name": peak.name,
        "shape": "double_sided_crystal_ball",
        **peak.shape.as_dict(),
        "yield": peak.expected,
        "uncertainty": peak.uncertainty,
        **({"sizes": dict(peak.sizes)} if peak.sizes else {}),
    }


def _with_sizes(entry: dict[str, Any], own: Mapping[str, float]) -> dict[str, Any]:
    """An entry of a channel with the sizes that shared nuisances have in it."""
    return entry | {"sizes": dict(own) | entry.get("sizes", {})} if own else entry


def _shared_nuisances(of_points: Sequence[Mapping[str, Any]], named: Sequence[str]) -> list[dict[str, Any]]:
    """Those whose sizes are given at the points alone."""
    names = dict.fromkeys(
        name for of_point in of_points for entry in of_point.values() for name in entry.get("sizes", ())
    )
    return [{"name": name, "on": "yield", "kind": "log_normal"} for name in names if name not in named]


def _nuisances(sizes: Uncertainties, channels: Sequence[ScanChannel]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for one in sizes.named:
        entry: dict[str, Any] = {"name": one.name, "on": "yield", "kind": "log_normal", "size": one.size}
        if one.selections is not None:
            entry["channels"] = [c.name for c in channels if c.selection in one.selections]
            if not entry["channels"]:
                continue  # the fit has none of them
        entries.append(entry)
    for name in ("luminosity", "efficiency"):
        size = getattr(sizes, name)
        if size > 0:
            entries.append({"name": name, "on": "yield", "kind": "log_normal", "size": size})
    if sizes.width > 0:
        entries.append({"name": "width", "on": "sigma", "kind": "linear", "size": sizes.width})
    if sizes.scale_sigma > 0:
        entries.append({"name": "scale", "on": "mean", "kind": "linear", "size_sigma": sizes.scale_sigma})
    return entries
