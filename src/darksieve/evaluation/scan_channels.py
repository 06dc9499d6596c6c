"""From scored candidates with their categories to the channels of a scan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2 as chi2_distribution

from darksieve.errors import InputError
from darksieve.evaluation.background_model import expected_counts, fit_windows
from darksieve.evaluation.correction_sizes import Correction, Sizes, signal_sizes
from darksieve.evaluation.peaks import KnownPeak, split_peaks
from darksieve.evaluation.scan_grid import (
    Interval,
    Resolution,
    ScanWindows,
    data_range,
    place_windows,
    scan_edges,
)
from darksieve.evaluation.search_building import BackgroundChoice, ScanChannel
from darksieve.evaluation.signal_efficiency import SignalEfficiency
from darksieve.evaluation.signal_shape import (
    Position,
    SignalShape,
    fit_signal_shape,
    fit_signal_shapes,
)
from darksieve.evaluation.smooth_background import (
    SmoothBackground,
    fit_smooth_background,
)

SHAPE_MARGIN_GEV = 0.5  # signal beyond the hypotheses that still steadies the shape at their ends
MARGIN_STEPS = (16.0, 12.0, 10.0, 8.0, 6.5, 5.0)  # resolutions beyond the outermost hypotheses
SOUND_P_VALUE = 0.1


@dataclass(frozen=True, eq=False)
class ScanCandidates:
    """Candidates of one channel's selection, all samples together, with their category.

    Attributes (arrays of shape (n,)):
        observable: What is scanned.
        mass: Generated mass in GeV, NaN where there is none.
        weight: As in ``Events``.
        label: 1 for correctly paired signal, 0 for background, NaN for what is neither.
        is_data: Rows of data (or of events that stand in for data).
        sample: Name of the sample.
        category: 1 … n, 0 for rejected rows.
        bins: Correction -> bins of its table that each row uses, shape (n, n_objects).
        families: Branch that tells the decays of a sample apart -> its values, NaN where there is none.
    """

    observable: NDArray[np.float64]
    mass: NDArray[np.float64]
    weight: NDArray[np.float64]
    label: NDArray[np.float64]
    is_data: NDArray[np.bool_]
    sample: NDArray[np.str_]
    category: NDArray[np.int64]
    bins: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    families: Mapping[str, NDArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = {name: values for name, values in vars(self).items() if name not in ("bins", "families")}
        columns = own | dict(self.bins) | dict(self.families)
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns of different lengths: {lengths}")
        bad = (self.category > 0) & ~np.isfinite(self.observable)
        if bad.any():
            samples = sorted(set(self.sample[bad].tolist()))
            raise InputError(
                f"{int(bad.sum())} selected candidates of {samples} have an observable that is not finite;"
                " select them away"
            )


@dataclass(frozen=True, eq=False)
class CommonResolution:
    """What the categories of a channel share: the pooled shape of the signal and the binning.

    Attributes:
        shape: Of the signal of all categories; its ``sigma`` is the unit of the grid, the bins and the
            windows.
        edges: Bin edges in the unit of the observable.
        margins: How far the edges go beyond the outermost hypotheses, below and above, in resolutions.
    """

    shape: SignalShape
    edges: NDArray[np.float64]
    margins: tuple[float, float]

    @property
    def sigma(self) -> Resolution:
        """Resolution in GeV of mass at given masses."""
        return self.shape.sigma


def common_resolution(
    candidates: ScanCandidates,
    *,
    mass_range: Interval,
    position: Position,
    margin_sigma: float,
    bins_per_sigma: int = 6,
    limits: Interval = (0.0, np.inf),
    background: BackgroundChoice | None = None,
    name: str = "signal",
) -> CommonResolution:
    """Fit the signal of all categories together and make the binning from its resolution.

    The spectrum often ends soon after the last hypothesis: at a kinematic edge, where photons merge, or at a
    peak. So each margin is the largest at which the background's function describes the simulation in the
    outermost window, less one step for what the simulation is too small to show.

    Args:
        candidates: Of the channel.
        mass_range: Its first and last hypothesis, GeV.
        position: How its peak moves with the mass.
        margin_sigma: How far the data go beyond the outermost hypotheses at most, in resolutions.
        bins_per_sigma: Bins per resolution.
        limits: What the data cannot exceed, in GeV of mass.
        background: The function that will be fitted; Chebyshev of order 3 in ±20 resolutions where absent.
        name: What messages call the channel.
    """
    rows = (candidates.label == 1) & (candidates.category > 0) & _near(candidates.mass, mass_range)
    shape = fit_signal_shape(
        candidates.observable[rows],
        candidates.mass[rows],
        candidates.weight[rows],
        position=position,
        name=f"{name}, all categories",
    )
    choice = background or BackgroundChoice()
    rows = (candidates.label == 0) & (candidates.category > 0)
    observable, weight = candidates.observable[rows], candidates.weight[rows]

    def edges_for(below: float, above: float) -> NDArray[np.float64]:
        low, _ = data_range(mass_range, shape.sigma, margin_sigma=below, limits=limits)
        _, high = data_range(mass_range, shape.sigma, margin_sigma=above, limits=limits)
        return scan_edges((low, high), shape.sigma, bins_per_sigma=bins_per_sigma, position=position)

    def describes(mass: float, below: float, above: float) -> bool:
        edges = edges_for(below, above)
        windows = place_windows(
            [mass], shape.sigma, edges, window_sigma=choice.window_sigma, position=position
        )
        sums, squares = histogram(observable, weight, edges)
        return window_p_value(sums, squares, windows, choice, bins_per_sigma) > SOUND_P_VALUE

    steps = [step for step in MARGIN_STEPS if step < margin_sigma]
    steps = [margin_sigma, *steps] if margin_sigma > MARGIN_STEPS[-1] else [margin_sigma]
    margins = []
    for mass, end in zip(mass_range, (0, 1), strict=True):
        sound = (
            i
            for i, step in enumerate(steps)
            if describes(mass, *((step, steps[-1]) if end == 0 else (steps[-1], step)))
        )
        found = next(sound, len(steps) - 1)
        margins.append(steps[min(found + (found > 0), len(steps) - 1)])
    return CommonResolution(shape, edges_for(*margins), (margins[0], margins[1]))


def window_p_value(
    sums: ArrayLike,
    squares: ArrayLike,
    windows: ScanWindows,
    choice: BackgroundChoice,
    bins_per_group: int = 6,
) -> float:
    """Goodness of the background's function in the first window, in bins of about one resolution."""
    sums, squares = np.asarray(sums, float), np.asarray(squares, float)
    fitted = fit_windows(sums, squares, windows, family=choice.family, order=choice.order)
    run = slice(int(windows.first[0]), int(windows.last[0]))
    starts = np.arange(0, run.stop - run.start, bins_per_group)
    kept = windows.usable[run]
    seen, variance, expected = (
        np.add.reduceat(np.where(kept, values, 0.0), starts)
        for values in (sums[run], squares[run], expected_counts(fitted, windows, 0))
    )
    # the variance that the fit expects: that of the simulation is small where it is empty
    scale = variance.sum() / max(seen.sum(), 1e-300)
    shown = expected > scale
    chi2 = float(np.sum((seen - expected)[shown] ** 2 / (expected[shown] * scale)))
    n_degrees = int(shown.sum()) - (2 if choice.family in ("exponential", "power") else choice.order + 1)
    return float(chi2_distribution.sf(chi2, n_degrees)) if n_degrees > 0 else 1.0


def make_channels(
    candidates: ScanCandidates,
    common: CommonResolution,
    *,
    name: str,
    n_categories: int,
    efficiency: SignalEfficiency,
    yield_per_efficiency: float,
    peaking: Collection[str] = (),
    known_peaks: Sequence[KnownPeak] = (),
    peaking_uncertainty: float = 0.2,
    mass_range: Interval | None = None,
    background: BackgroundChoice | None = None,
    corrections: Sequence[Correction] = (),
    unblind: bool = False,
) -> tuple[ScanChannel, ...]:
    """One channel for each category: shapes and expected backgrounds from simulation, data if unblinded.

    Args:
        candidates: Of the channel.
        common: Its resolution and binning.
        name: Of the channel; its categories are ``name_1``, ``name_2`` …, or ``name`` if there is one.
        n_categories: Number of categories.
        efficiency: Absolute efficiencies by category.
        yield_per_efficiency: As in ``ScanChannel``.
        peaking: Names of background samples with a narrow peak, which is modelled by itself.
        known_peaks: Peaks of background samples with several.
        peaking_uncertainty: Relative uncertainty of their normalisation.
        mass_range: Hypotheses that this channel sees.
        background: What is fitted, where it differs from the scan's choice.
        corrections: What was applied to the weights, whose uncertainty moves signal and peaks.
        unblind: Whether rows of data are counted.

    Raises:
        InputError: If a category has too little signal for a shape, or a sample in ``peaking`` no peak.
    """
    signal = (candidates.label == 1) & _near(candidates.mass, mass_range)
    shapes = fit_signal_shapes(
        candidates.observable[signal],
        candidates.mass[signal],
        candidates.weight[signal],
        candidates.category[signal],
        range(1, n_categories + 1),
        position=common.shape.position,
        name=name,
    )
    smooth, peaks = split_peaks(
        candidates,
        common,
        n_categories,
        peaking=peaking,
        known=known_peaks,
        uncertainty=peaking_uncertainty,
        corrections=corrections,
    )
    channels = []
    for c in range(1, n_categories + 1):
        rows = candidates.category == c
        sums, squares = histogram(candidates.observable[rows], smooth[rows], common.edges)
        counts = None
        if unblind:
            data = candidates.is_data & (candidates.category == c)
            counts = np.histogram(candidates.observable[data], common.edges)[0]
        channels.append(
            ScanChannel(
                name=name if n_categories == 1 else f"{name}_{c}",
                shape=shapes[c],
                sigma=common.sigma,
                efficiency=of_category(efficiency, c),
                yield_per_efficiency=yield_per_efficiency,
                edges=common.edges,
                sums=sums,
                squares=squares,
                peaks=peaks[c],
                counts=counts,
                mass_range=_range_of_category(shapes[c], common.shape, mass_range),
                background=background,
                selection=name,
                sizes=_signal_sizes(candidates, signal & (candidates.category == c), corrections),
            )
        )
    return tuple(channels)


def _range_of_category(own: SignalShape, common: SignalShape, mass_range: Interval | None) -> Interval | None:
    """Hypotheses that a category sees: not those at an end where all of the simulated signal is in others."""
    low, high = (-np.inf, np.inf) if mass_range is None else mass_range
    if own.mass_range[0] > common.mass_range[0]:
        low = max(low, own.mass_range[0])
    if own.mass_range[1] < common.mass_range[1]:
        high = min(high, own.mass_range[1])
    return (low, high) if np.isfinite([low, high]).any() else None


def smooth_backgrounds(
    candidates: ScanCandidates,
    common: CommonResolution,
    channels: Sequence[ScanChannel],
    peaking: Collection[str] = (),
    known_peaks: Sequence[KnownPeak] = (),
) -> dict[str, SmoothBackground | ScanChannel]:
    """The smooth model of each category's whole spectrum, for pseudo-data.

    A category that simulation is too thin to fill is its own model: its scan expects what is drawn.

    Args:
        candidates: Of the channel.
        common: Its resolution and binning.
        channels: Made by ``make_channels``, in the order of the categories.
        peaking, known_peaks: As in ``make_channels``.
    """
    smooth, peaks = split_peaks(candidates, common, len(channels), peaking=peaking, known=known_peaks)
    models: dict[str, SmoothBackground | ScanChannel] = {}
    for c, channel in enumerate(channels, start=1):
        if channel.modelled:
            models[channel.name] = channel
            continue
        rows = candidates.category == c
        sums, squares = histogram(candidates.observable[rows], smooth[rows], common.edges)
        models[channel.name] = fit_smooth_background(common.edges, sums, squares, peaks=peaks[c])
    return models


def histogram(observable: ArrayLike, weight: ArrayLike, edges: ArrayLike) -> tuple[NDArray, NDArray]:
    """Sums of weights and of squared weights per bin.

    Raises:
        InputError: If a sum is negative: a smooth background cannot be fitted to it.
    """
    weight, edges = np.asarray(weight, float), np.asarray(edges, float)
    sums = np.histogram(observable, edges, weights=weight)[0]
    if (sums < 0).any():
        lowest = int(sums.argmin())
        raise InputError(
            f"the weights of {int((sums < 0).sum())} of {len(sums)} bins of a simulated background add up to"
            f" less than zero, the least in {edges[lowest]:.4g} to {edges[lowest + 1]:.4g}; simulate more,"
            " take wider bins (scan.bins_per_sigma), or say negative_weights: rescale or drop for its sample"
        )
    return sums, np.histogram(observable, edges, weights=weight**2)[0]


def _signal_sizes(
    candidates: ScanCandidates, rows: NDArray[np.bool_], corrections: Sequence[Correction]
) -> Callable[[ArrayLike], Sizes] | None:
    if not corrections:
        return None
    bins = {name: of_rows[rows] for name, of_rows in candidates.bins.items()}
    return signal_sizes(corrections, candidates.mass[rows], candidates.weight[rows], bins)


def _near(mass: NDArray, mass_range: Interval | None) -> NDArray[np.bool_]:
    """Generated masses in the range of the hypotheses, with a margin."""
    if mass_range is None:
        return np.ones(len(mass), dtype=bool)
    margin = max(SHAPE_MARGIN_GEV, 0.25 * (mass_range[1] - mass_range[0]))
    return (mass >= mass_range[0] - margin) & (mass <= mass_range[1] + margin)


def of_category(efficiency: SignalEfficiency, category: int) -> Callable[[NDArray], NDArray]:
    """Efficiency of one category as a function of mass."""
    return lambda masses: efficiency(masses)[category - 1]
