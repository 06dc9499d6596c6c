"""What working points reach, every event counted by boundaries that it did not choose."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.category_counts import Counted
from darksieve.evaluation.ceiling import Ceiling, FineTable, choose_order, fine_table, smooth_shares
from darksieve.evaluation.full_limit import objective_at
from darksieve.evaluation.objectives import Objective
from darksieve.evaluation.scored_rows import ScoredRows, efficiency_of_all
from darksieve.evaluation.tails import FAMILIES, tail_ratios

_SIGNAL_ROWS_OF_A_NODE = 4000


@dataclass(frozen=True, eq=False)
class Figures:
    """What working points reach at each mass, every event counted by boundaries that it did not choose.

    By mass and category, shape (n_masses, n_categories), all in the window of ±``peak_sigma`` resolutions:

    Attributes:
        masses: GeV, shape (n_masses,).
        signal_efficiency: Absolute efficiency.
        n_background: Expected events.
        effective_events: (Σw)²/Σw² of the simulated background.
        pooled_effective_events: Of the wider window where the category's share had to be borrowed.
        status: "ok", "pooled" (share of the background borrowed from neighbouring masses),
            "too_few_events" (not enough even there), "beyond_simulation" (hardly any event: the background is
            that of the tail's families, geometric mean), "no_signal".
        expected_limit: Median expected limit of all categories together, shape (n_masses,).
        percent_of_ceiling: Ceiling's limit over this one, in percent, shape (n_masses,); NaN where a category
            is "beyond_simulation".
        optimism: Limit by boundaries that other events chose over the limit, on the same events, by
            boundaries that these events helped to choose: above 1 where the latter flatter.
        objective_value: The objective that was minimised, in events produced, shape (n_masses,).
        tail_spread: Largest over smallest expected limit of the families that continue the background's tail
            beyond the simulation (``tails``), less 1, shape (n_masses,); NaN where no event is near.
        more_simulation: How many times more background simulation every category needs for
            ``min_effective_events`` of its own, without neighbours, shape (n_masses,); at least 1.
        expected_limit_no_cut: Limit without the score, shape (n_masses,).
        tail_background: Expected events as each of ``tails.FAMILIES`` continues the background, shape
            (n_families, n_masses, n_categories).
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
    tail_spread: NDArray[np.float64]
    more_simulation: NDArray[np.float64]
    tail_background: NDArray[np.float64]
    errors: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def quoted_fine_table(
    rows: ScoredRows,
    signal_bins: NDArray,
    bins: NDArray,
    n_bins: int,
    nodes: NDArray,
    node_width: NDArray,
    mass_range: tuple[float, float] | None,
    *,
    n_bootstrap: int = 0,
    seed: int = 0,
) -> FineTable:
    """Fine bins of all events; the signal does not fill bins that other events chose quite equally.

    Args:
        rows: All candidates.
        signal_bins: Bin of each signal candidate, shape (n_signal,).
        bins: Bin of each background candidate, shape (n_background,).
        n_bins: Number of bins; bin n_bins passes nothing.
        nodes: GeV.
        node_width: Half widths of the windows, GeV.
        mass_range: Range of a flat signal sample.
        n_bootstrap: Replicates.
        seed: Of the bootstrap.
    """
    shares, efficiency = np.zeros((len(nodes), n_bins)), np.zeros(len(nodes))
    if len(rows.signal_mass):
        shares = _signal_shares(rows, signal_bins, n_bins, nodes)
        of_all = efficiency_of_all(rows, mass_range)
        low, high = of_all.mass_range
        there = (nodes >= low) & (nodes <= high)  # a category may have signal at some masses only
        efficiency[there] = of_all(nodes[there])[0]
    return fine_table(
        rows.background_rows(bins, n_bins + 1), efficiency[:, None] * shares, nodes, node_width,
        n_replicates=n_bootstrap, seed=seed,
    )  # fmt: skip


def _signal_shares(
    rows: ScoredRows, signal_bins: NDArray, n_bins: int, nodes: NDArray
) -> NDArray[np.float64]:
    """Share of the signal in each bin at each node, smooth in mass, shape (n_nodes, n_bins)."""
    order = np.argsort(rows.signal_mass, kind="stable")
    in_bins = signal_bins[order]
    weight = rows.signal_weight[order]
    half = _SIGNAL_ROWS_OF_A_NODE // 2
    middle = np.searchsorted(rows.signal_mass[order], nodes)
    # symmetric about the node, so that the score's slope in mass cancels, as far as the range allows
    reach = np.minimum(np.minimum(middle, len(order) - middle), half)
    reach = np.maximum(reach, half // 4)
    start = np.maximum(middle - reach, 0)
    stop = np.minimum(middle + reach, len(order))
    counts = np.array(
        [
            np.bincount(in_bins[a:b], weight[a:b], n_bins + 1)[:n_bins] / weight[a:b].mean()
            for a, b in zip(start, stop, strict=True)
        ]
    )
    shares, _ = smooth_shares(counts, order=choose_order(counts, (0, 1, 2, 3)))
    return shares


def make_figures(
    masses: NDArray,
    quoted: Counted,
    seen: Counted,
    ceiling: Ceiling,
    limit: Objective,
    shortcut: Objective,
    objective: Objective,
    yield_per_efficiency: float,
    min_effective_events: float,
) -> Figures:
    """Figures from counts.

    Args:
        masses: GeV.
        quoted: Every event by boundaries that it did not choose.
        seen: Every event by boundaries that it helped to choose.
        ceiling: Of the score.
        limit: Expected limit that is quoted.
        shortcut: A fast one in which limits have the same ratios, for errors, optimism and the ceiling.
        objective: What was minimised.
        yield_per_efficiency: Divides the limits.
        min_effective_events: Fewer are flagged.
    """
    signal, background = quoted.yields()
    full, shortcut = objective_at(limit, masses), objective_at(shortcut, masses)
    value, fast = full(signal, background), shortcut(signal, background)
    no_cut_background = np.maximum(quoted.background.expected.sum(axis=1, keepdims=True), quoted.floor)
    no_cut_yields = quoted.all_efficiency[:, None], no_cut_background
    best = ceiling.at(masses) * shortcut(*no_cut_yields)
    by_family = tail_ratios(signal, background, quoted.tails, shortcut)
    with np.errstate(invalid="ignore", divide="ignore"):
        # beyond the simulation a modelled tail would be held to a ceiling that only knows events
        percent = np.where(quoted.beyond.any(axis=1), np.nan, 100 * best / fast)
        optimism = fast / shortcut(*seen.yields())
        spread = by_family.max(axis=0) / by_family.min(axis=0) - 1
    scale = 1 / yield_per_efficiency
    errors: dict[str, NDArray] = {}
    if len(quoted.efficiency_replicates):
        drawn = shortcut(*quoted.replicate_yields())
        drawn_seen = shortcut(*seen.replicate_yields())
        drawn_total = np.maximum(quoted.background.replicates.sum(axis=-1), quoted.floor)[..., None]
        drawn_no_cut = shortcut(
            np.broadcast_to(quoted.all_efficiency[:, None], drawn_total.shape), drawn_total
        )
        # the efficiency of all signal cancels between the ceiling and the categories' sum, as far as it can
        drawn_sum = quoted.efficiency_replicates.sum(axis=-1) / np.maximum(signal.sum(axis=-1), 1e-300)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn_best = ceiling.replicates_at(masses) * drawn_no_cut / np.maximum(drawn_sum, 1e-300)
            errors = {
                "signal_efficiency": quoted.efficiency_replicates.std(axis=0, ddof=1),
                "n_background": quoted.background.replicates[..., 1:].std(axis=0, ddof=1),
                "expected_limit": spread_of(drawn / fast) * value * scale,
                "percent_of_ceiling": spread_of(100 * drawn_best / drawn),
                "optimism": optimism * spread_of(np.log(drawn / drawn_seen)),
            }
    estimate = quoted.background
    status = np.full(signal.shape, "ok", dtype="<U17")
    status[(estimate.factor[:, 1:] > 1) | (estimate.total_factor[:, None] > 1)] = "pooled"
    status[estimate.pooled_effective_events[:, 1:] < min_effective_events] = "too_few_events"
    status[quoted.beyond] = "beyond_simulation"
    status[signal <= 0] = "no_signal"
    return Figures(
        masses=masses,
        signal_efficiency=signal,
        n_background=background,
        effective_events=estimate.effective_events[:, 1:],
        pooled_effective_events=estimate.pooled_effective_events[:, 1:],
        status=status,
        expected_limit=value * scale,
        percent_of_ceiling=percent,
        optimism=optimism,
        objective_value=objective_at(objective, masses)(signal, background),
        expected_limit_no_cut=full(*no_cut_yields) * scale,
        tail_spread=spread,
        more_simulation=_more_simulation(quoted, min_effective_events),
        tail_background=np.broadcast_to(quoted.tails, (len(FAMILIES), *signal.shape)),
        errors=errors,
    )


def _more_simulation(counted: Counted, min_effective_events: float) -> NDArray[np.float64]:
    """Factor on the simulation for events enough in the emptiest category's own window."""
    estimate = counted.background
    total = estimate.expected.sum(axis=1)
    own_total = estimate.effective_events.sum(axis=1)
    per_yield = np.where(own_total > 0, own_total / np.maximum(total, 1e-300), 1 / counted.floor)
    expected = counted.expected * per_yield[:, None]  # events it would hold at that yield
    with np.errstate(divide="ignore"):
        factor = min_effective_events / expected
    factor = np.where(counted.efficiency > 0, factor, 0.0)
    return np.maximum(factor.max(axis=1), 1.0)


def spread_of(replicates: NDArray) -> NDArray[np.float64]:
    """Standard deviation over the replicates, leaving out what is not finite."""
    with np.errstate(invalid="ignore"):
        return np.nanstd(np.where(np.isfinite(replicates), replicates, np.nan), axis=0, ddof=1)


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
        # both count the same events: most of their luck cancels
        judge = objective_at(limit, figures.masses)
        drawn = np.log(judge(*quoted.replicate_yields()) / judge(*seen.replicate_yields()))
        error = float(np.nanmean(drawn[:, use], axis=1).std(ddof=1))
    return {"mean_optimism": float(np.exp(logs[use].mean())), "mean_optimism_error": error}
