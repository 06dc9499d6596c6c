"""What working points reach, counted on one part of the events, with errors by event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError
from darksieve.evaluation.bootstrap import bootstrap_sums
from darksieve.evaluation.ceiling import Ceiling, FineTable, choose_order, fine_table, smooth_shares
from darksieve.evaluation.objectives import Objective
from darksieve.evaluation.pooling import BackgroundEstimate, BackgroundRows, estimate_background
from darksieve.evaluation.quantiles import SignalQuantiles
from darksieve.evaluation.signal_efficiency import SignalEfficiency, efficiency_points, fit_signal_efficiency

_SIGNAL_ROWS_OF_A_NODE = 4000


class ScoredCandidates(Protocol):
    """What choosing needs of scores; ``darksieve.models.scores.Scores`` has it. Arrays of shape (n,)."""

    @property
    def key(self) -> NDArray: ...
    @property
    def label(self) -> NDArray: ...
    @property
    def weight(self) -> NDArray: ...
    @property
    def mass(self) -> NDArray: ...
    @property
    def observable(self) -> NDArray: ...
    @property
    def part(self) -> NDArray: ...
    @property
    def score(self) -> NDArray: ...


Resolution = Callable[[NDArray], NDArray]


@dataclass(frozen=True, eq=False)
class Figures:
    """What working points reach at each mass, on the events that did not choose them.

    By mass and category, shape (n_masses, n_categories), all in the window of ±``peak_sigma`` resolutions:

    Attributes:
        masses: GeV, shape (n_masses,).
        signal_efficiency: Absolute efficiency.
        n_background: Expected events.
        effective_events: (Σw)²/Σw² of the simulated background.
        pooled_effective_events: Of the wider window where the category's share had to be borrowed.
        status: "ok", "pooled" (share of the background borrowed from neighbouring masses),
            "too_few_events" (not enough even there), "no_signal".
        expected_limit: Median expected limit of all categories together, shape (n_masses,).
        percent_of_ceiling: Ceiling's limit over this one, in percent, shape (n_masses,).
        optimism: Limit on these events over the limit on the events that chose: above 1 where the latter
            flatter.
        objective_value: The objective that was minimised, in events produced, shape (n_masses,).
        expected_limit_no_cut: Limit without the score, shape (n_masses,).
        errors: Name -> bootstrap error of the figure, of its shape.
    """

    masses: NDArray[np.float64]
    signal_efficiency: NDArray[np.float64]
    n_background: NDArray[np.float64]
    effective_events: NDArray[np.float64]
    pooled_effective_events: NDArray[np.float64]
    status: NDArray[np.str_]
    expected_limit: NDArray[np.float64]
    percent_of_ceiling: NDArray[np.float64]
    optimism: NDArray[np.float64]
    objective_value: NDArray[np.float64]
    expected_limit_no_cut: NDArray[np.float64]
    errors: dict[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Part:
    """Signal and background of one part, weighted up to the whole."""

    signal_mass: NDArray
    signal_observable: NDArray
    signal_score: NDArray
    signal_weight: NDArray
    signal_key: NDArray
    observable: NDArray
    score: NDArray
    weight: NDArray
    key: NDArray
    pool_range: tuple[float, float]

    def background_rows(self, column: NDArray, n_columns: int, rows: NDArray | None = None) -> BackgroundRows:
        pick = slice(None) if rows is None else rows
        scale = 1.0 if rows is None else 2.0
        return BackgroundRows(
            self.observable[pick],
            np.asarray(column[pick], np.int64),
            self.weight[pick] * scale,
            self.key[pick],
            n_columns,
            self.pool_range,
        )


def as_resolution(resolution: Resolution | ArrayLike, masses: NDArray) -> Resolution:
    if callable(resolution):
        at = np.asarray(resolution(masses), np.float64)
        function: Resolution = resolution
    else:
        at = np.broadcast_to(np.asarray(resolution, np.float64), masses.shape)

        def function(m: NDArray) -> NDArray:
            return np.interp(m, masses, at)

    if not np.all(np.isfinite(at) & (at > 0)):
        raise InputError("the mass resolution must be positive and finite at every mass")
    return function


def part_of_scores(scores: ScoredCandidates, which: str, sigma: Resolution, peak_sigma: float) -> Part:
    """Rows of one part; signal in the counting window only; weights ×2, as a part is half the events."""
    label = np.asarray(scores.label, np.float64)
    here = np.asarray(scores.part) == which
    if not here.any():
        raise InputError(
            f"no candidate has part {which!r}: working points need events to choose and others to quote"
        )
    weight = np.asarray(scores.weight, np.float64)
    used = here & ((label == 0) | (label == 1))
    if not np.isfinite(weight[used]).all() or (weight[used] < 0).any():
        raise InputError(
            f"weights go down to {np.nanmin(weight[used]):g}: working points need finite weights >= 0; "
            "remove or reweight these events in the samples' selection"
        )
    score = np.asarray(scores.score, np.float64)
    if not np.isfinite(score[used]).all():
        raise InputError(
            f"{int((~np.isfinite(score[used])).sum())} of {int(used.sum())} scores are NaN or infinite: "
            "working points need finite scores"
        )
    observable = np.asarray(scores.observable, np.float64)
    mass = np.asarray(scores.mass, np.float64)
    signal = here & (label == 1)
    background = here & (label == 0) & np.isfinite(observable) & (weight > 0)
    if not signal.any() or not background.any():
        missing = "signal" if not signal.any() else "background"
        raise InputError(f"no {missing} candidate in part {which!r}: a working point needs both")
    if not np.isfinite(mass[signal]).all():
        raise InputError("signal candidates without a generated mass: name the sample's mass in the config")
    background = np.flatnonzero(background)
    background = background[
        np.argsort(observable[background], kind="stable")
    ]  # windows are fast on sorted rows
    signal = np.flatnonzero(signal)
    inside = np.abs(observable[signal] - mass[signal]) < peak_sigma * sigma(mass[signal])
    signal = signal[inside & (weight[signal] > 0)]
    if not len(signal):
        raise InputError(
            f"no signal candidate of part {which!r} lies within ±{peak_sigma:g} resolutions of its mass"
        )
    key = np.asarray(scores.key, np.uint64)
    ends = np.array([mass[signal].min(), mass[signal].max()])
    low, high = ends + np.array([-1, 1]) * peak_sigma * sigma(ends)
    return Part(
        mass[signal], observable[signal], score[signal], 2 * weight[signal], key[signal],
        observable[background], score[background], 2 * weight[background], key[background],
        (float(low), float(high)),
    )  # fmt: skip


def efficiency_of_all(part: Part, mass_range: tuple[float, float] | None) -> SignalEfficiency:
    return fit_signal_efficiency(
        part.signal_mass, part.signal_weight, np.ones(len(part.signal_mass)), 1, mass_range=mass_range
    )


def quoted_fine_table(
    part: Part,
    quantiles: SignalQuantiles,
    nodes: NDArray,
    node_width: NDArray,
    mass_range: tuple[float, float] | None,
    *,
    n_bootstrap: int,
    seed: int,
) -> FineTable:
    """Fine bins on the part that quotes; its signal does not fill the bins quite equally."""
    order = np.argsort(part.signal_mass, kind="stable")
    bins = quantiles.bins(part.signal_observable, part.signal_score)[order]
    weight = part.signal_weight[order]
    half = _SIGNAL_ROWS_OF_A_NODE // 2
    middle = np.searchsorted(part.signal_mass[order], nodes)
    # symmetric about the node, so that the score's slope in mass cancels, as far as the range allows
    reach = np.minimum(np.minimum(middle, len(order) - middle), half)
    reach = np.maximum(reach, half // 4)
    start = np.maximum(middle - reach, 0)
    stop = np.minimum(middle + reach, len(order))
    counts = np.array(
        [
            np.bincount(bins[a:b], weight[a:b], quantiles.n_bins) / weight[a:b].mean()
            for a, b in zip(start, stop, strict=True)
        ]
    )
    shares, _ = smooth_shares(counts, order=choose_order(counts, (0, 1, 2, 3)))
    efficiency = efficiency_of_all(part, mass_range)(nodes)[0]
    rows = part.background_rows(quantiles.bins(part.observable, part.score), quantiles.n_bins + 1)
    return fine_table(
        rows, efficiency[:, None] * shares, nodes, node_width, n_replicates=n_bootstrap, seed=seed
    )


@dataclass(frozen=True, eq=False)
class Counted:
    """Yields of one part by mass and category, with replicates; the background's column 0 is rejected."""

    efficiency: NDArray  # (n_masses, n_categories)
    efficiency_replicates: NDArray  # (n_replicates, n_masses, n_categories)
    all_efficiency: NDArray  # (n_masses,)
    background: BackgroundEstimate
    floor: float

    def yields(self) -> tuple[NDArray, NDArray]:
        return self.efficiency, self._filled(self.background.expected[:, 1:])

    def replicate_yields(self) -> tuple[NDArray, NDArray]:
        return self.efficiency_replicates, self._filled(self.background.replicates[..., 1:])

    def _filled(self, background: NDArray) -> NDArray:
        """No category is free of background: an empty one counts one simulated event."""
        return np.where(background > 0, background, self.floor)


def count(
    part: Part,
    categorise: Callable[[NDArray, NDArray], NDArray],
    n_categories: int,
    *,
    masses: NDArray,
    half_width: NDArray,
    mass_range: tuple[float, float] | None,
    min_effective_events: float,
    n_bootstrap: int,
    seed: int,
) -> Counted:
    n = n_categories
    points = efficiency_points(part.signal_mass, mass_range)
    category = categorise(part.signal_observable, part.signal_score)
    fit = fit_signal_efficiency(part.signal_mass, part.signal_weight, category, n, points=points)
    everything = fit_signal_efficiency(
        part.signal_mass, part.signal_weight, np.ones(len(category)), 1, points=points
    )
    replicates = np.zeros((0, len(masses), n))
    if n_bootstrap:
        n_points = len(points.masses)
        sums = bootstrap_sums(
            category.astype(np.int64) * n_points + points.point, part.signal_weight, part.signal_key,
            n_cells=(n + 1) * n_points, n_replicates=n_bootstrap, seed=seed,
        )  # fmt: skip
        values = sums.reshape(n_bootstrap, n + 1, n_points)[:, 1:] / points.widths
        replicates = np.maximum(np.moveaxis(fit.refitted(values) @ fit.design(masses).T, 1, 2), 0.0)
    rows = part.background_rows(categorise(part.observable, part.score), n + 1)
    background = estimate_background(
        rows, masses, half_width,
        min_effective_events=min_effective_events, first_column=1, n_replicates=n_bootstrap, seed=seed + 1,
    )  # fmt: skip
    floor = float(np.sum(part.weight**2) / np.sum(part.weight))
    return Counted(fit(masses).T, replicates, everything(masses)[0], background, floor)


def make_figures(
    masses: NDArray,
    quoted: Counted,
    seen: Counted,
    ceiling: Ceiling,
    limit: Objective,
    objective: Objective,
    yield_per_efficiency: float,
    min_effective_events: float,
) -> Figures:
    signal, background = quoted.yields()
    value = limit(signal, background)
    no_cut_background = np.maximum(quoted.background.expected.sum(axis=1, keepdims=True), quoted.floor)
    no_cut = limit(quoted.all_efficiency[:, None], no_cut_background)
    best = ceiling.at(masses) * no_cut
    with np.errstate(invalid="ignore", divide="ignore"):
        percent = 100 * best / value
        on_seen = limit(*seen.yields())
        optimism = value / on_seen
    scale = 1 / yield_per_efficiency
    errors: dict[str, NDArray] = {}
    if len(quoted.efficiency_replicates):
        drawn = limit(*quoted.replicate_yields())
        drawn_seen = limit(*seen.replicate_yields())
        drawn_total = np.maximum(quoted.background.replicates.sum(axis=-1), quoted.floor)[..., None]
        drawn_no_cut = limit(np.broadcast_to(quoted.all_efficiency[:, None], drawn_total.shape), drawn_total)
        # the efficiency of all signal cancels between the ceiling and the categories' sum, as far as it can
        drawn_sum = quoted.efficiency_replicates.sum(axis=-1) / np.maximum(signal.sum(axis=-1), 1e-300)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn_best = ceiling.replicates_at(masses) * drawn_no_cut / np.maximum(drawn_sum, 1e-300)
            errors = {
                "signal_efficiency": quoted.efficiency_replicates.std(axis=0, ddof=1),
                "n_background": quoted.background.replicates[..., 1:].std(axis=0, ddof=1),
                "expected_limit": _spread(drawn) * scale,
                "percent_of_ceiling": _spread(100 * drawn_best / drawn),
                "optimism": optimism * np.hypot(_spread(np.log(drawn)), _spread(np.log(drawn_seen))),
            }
    status = np.full(signal.shape, "ok", dtype="<U14")
    estimate = quoted.background
    status[(estimate.factor[:, 1:] > 1) | (estimate.total_factor[:, None] > 1)] = "pooled"
    status[estimate.pooled_effective_events[:, 1:] < min_effective_events] = "too_few_events"
    status[signal <= 0] = "no_signal"
    return Figures(
        masses=masses,
        signal_efficiency=signal,
        n_background=estimate.expected[:, 1:],
        effective_events=estimate.effective_events[:, 1:],
        pooled_effective_events=estimate.pooled_effective_events[:, 1:],
        status=status,
        expected_limit=value * scale,
        percent_of_ceiling=percent,
        optimism=optimism,
        objective_value=objective(signal, background),
        expected_limit_no_cut=no_cut * scale,
        errors=errors,
    )


def _spread(replicates: NDArray) -> NDArray:
    with np.errstate(invalid="ignore"):
        return np.std(np.where(np.isfinite(replicates), replicates, np.nan), axis=0, ddof=1)


def mean_optimism_of(
    figures: Figures, quoted: Counted, seen: Counted, limit: Objective
) -> dict[str, float | None]:
    """Geometric mean of the optimism over the masses and its error, which knows that masses share events."""
    logs = np.log(figures.optimism)
    use = np.isfinite(logs)
    if not use.any():
        return {"mean_optimism": None, "mean_optimism_error": None}
    error = None
    if len(quoted.efficiency_replicates):
        means = [
            np.nanmean(np.log(limit(*part.replicate_yields()))[:, use], axis=1) for part in (quoted, seen)
        ]
        error = float(np.hypot(*(m.std(ddof=1) for m in means)))
    return {"mean_optimism": float(np.exp(logs[use].mean())), "mean_optimism_error": error}
