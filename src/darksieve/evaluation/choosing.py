"""From scores to working points: chosen on one part of the events, quoted on the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from darksieve.datasets.folds import fold_of
from darksieve.errors import InputError
from darksieve.evaluation.categories import choose_quantiles
from darksieve.evaluation.ceiling import fine_table, node_masses, score_ceiling
from darksieve.evaluation.objectives import Objective, make_objective
from darksieve.evaluation.quantiles import fit_signal_quantiles
from darksieve.evaluation.quoting import (
    Resolution,
    ScoredCandidates,
    as_resolution,
    count,
    efficiency_of_all,
    make_figures,
    mean_optimism_of,
    part_of_scores,
    quoted_fine_table,
)
from darksieve.evaluation.working_points import Boundaries, Kind, WorkingPoints

_FOLD_SALT = 7771  # folds within the part that chooses, independent of the training's


def choose_working_points(
    scores: ScoredCandidates,
    masses: ArrayLike,
    resolution: Resolution | ArrayLike,
    *,
    objective: str | Objective = "expected_limit",
    kind: Kind = "categories",
    n_categories: int = 4,
    equal_categories: bool = False,
    yield_per_efficiency: float = 1.0,
    limit_unit: str = "events produced",
    confidence_level: float = 0.95,
    mass_range: tuple[float, float] | None = None,
    channel: str = "",
    peak_sigma: float = 2.0,
    window_sigma: float = 20.0,
    background_order: int = 3,
    min_effective_events: float = 400.0,
    n_fine_bins: int = 120,
    n_bootstrap: int = 40,
    seed: int = 0,
) -> WorkingPoints:
    """Score categories, or one threshold, that minimise an objective and are smooth in mass.

    Boundaries are curves of constant signal efficiency, whose efficiencies are splines in mass with the
    freedom that cross-validation allows. They are chosen on the candidates of part "choose" and every
    figure is quoted on those of part "quote"; errors are from a bootstrap by event.

    Args:
        scores: Signal rows (label 1; true pairs; weights that sum to absolute efficiencies, see ``Events``),
            background rows (label 0; weights in expected data events), other rows are left out.
            ``observable`` in GeV peaks at the mass.
        masses: Masses of the scan, GeV, increasing.
        resolution: Resolution in GeV as a function of mass, or an array at the masses.
        objective: Name from ``objectives.OBJECTIVES``, or a function (signal, background) -> what to
            minimise.
        kind: "categories" or "threshold".
        n_categories: 1 to 10; ignored for a threshold.
        equal_categories: Categories of equal signal, of which only the total is optimised.
        yield_per_efficiency: Signal events for one unit of ``limit_unit`` at full efficiency: the
            luminosity in 1/fb for cross sections in fb, the number of parents for branching fractions.
        limit_unit: What limits are quoted in.
        confidence_level: Of the expected limits.
        mass_range: Range of a flat signal sample; that of its rows where absent.
        channel: Name of the channel.
        peak_sigma: Half width of the counting window in resolutions.
        window_sigma: Half width of the fit window, for the floating background.
        background_order: Order of the background polynomial in the fit.
        min_effective_events: Fewer in a category's window are pooled with neighbouring masses, and flagged
            where even that is not enough.
        n_fine_bins: Equal-signal bins of the ceiling, at least 20.
        n_bootstrap: Replicates; 0 for no errors.
        seed: Of the bootstrap.

    Raises:
        InputError: If a weight is negative or not finite, scores are constant or not finite, a part has no
            signal or no background, a mass lies outside the simulated range, or the objective is unknown.
    """
    masses = np.atleast_1d(np.asarray(masses, np.float64))
    if len(masses) == 0 or not np.isfinite(masses).all() or (np.diff(masses) <= 0).any():
        raise InputError("working points need at least one mass, finite and increasing")
    if kind not in ("categories", "threshold"):
        raise InputError(f"working_points.kind is {kind!r}: choose 'categories' or 'threshold'")
    n = 1 if kind == "threshold" else n_categories
    if not 1 <= n <= 10:
        raise InputError(f"working_points.n_categories is {n_categories}: it goes from 1 to 10")
    options: dict[str, Any] = {
        "confidence_level": confidence_level,
        "window_sigma": window_sigma,
        "peak_sigma": peak_sigma,
        "background_order": background_order,
    }
    to_choose = make_objective(objective, **options)
    name = objective if isinstance(objective, str) else getattr(objective, "__name__", "function")
    is_limit = isinstance(objective, str) and objective.startswith("expected_limit")
    limit = to_choose if is_limit else make_objective("expected_limit", **options)
    sigma = as_resolution(resolution, masses)
    half_width = peak_sigma * sigma(masses)
    chooses, quotes = (part_of_scores(scores, which, sigma, peak_sigma) for which in ("choose", "quote"))

    quantiles = fit_signal_quantiles(
        chooses.signal_mass, chooses.signal_score, chooses.signal_weight, n_bins=n_fine_bins
    )
    efficiency = efficiency_of_all(chooses, mass_range)
    nodes = node_masses(masses)
    node_width = np.interp(nodes, masses, half_width)
    flat_signal = np.repeat(efficiency(nodes)[0][:, None] / n_fine_bins, n_fine_bins, axis=1)
    bins = quantiles.bins(chooses.observable, chooses.score)
    table = fine_table(chooses.background_rows(bins, n_fine_bins + 1), flat_signal, nodes, node_width)
    fold = fold_of(chooses.key, 2, salt=_FOLD_SALT)
    halves = [
        fine_table(
            chooses.background_rows(bins, n_fine_bins + 1, fold == half), flat_signal, nodes, node_width
        )
        for half in (0, 1)
    ]
    span = (float(masses[0]), float(masses[-1]))
    curves, judged = choose_quantiles(
        table,
        [(halves[0], halves[1]), (halves[1], halves[0])],
        to_choose,
        n,
        span,
        equal=equal_categories,
    )
    edges = curves.edges(quantiles.mass_grid)  # purest first; categories count from the least pure
    boundaries = np.maximum.accumulate(quantiles.boundaries(edges)[:, ::-1], axis=1)

    ceiling_table = quoted_fine_table(
        quotes, quantiles, nodes, node_width, mass_range, n_bootstrap=n_bootstrap, seed=seed
    )
    ceiling = score_ceiling(ceiling_table, limit)
    common: dict[str, Any] = {
        "masses": masses,
        "half_width": half_width,
        "mass_range": mass_range,
        "min_effective_events": min_effective_events,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    categorise = Boundaries(quantiles.mass_grid, boundaries).category
    quoted = count(quotes, categorise, n, **common)
    seen = count(chooses, categorise, n, **common)
    figures = make_figures(
        masses, quoted, seen, ceiling, limit, to_choose, yield_per_efficiency, min_effective_events
    )
    return WorkingPoints(
        kind=kind,
        n_categories=n,
        mass_grid=quantiles.mass_grid,
        boundaries=boundaries,
        figures=figures,
        channel=channel,
        objective=name,
        confidence_level=confidence_level,
        yield_per_efficiency=yield_per_efficiency,
        limit_unit=limit_unit,
        peak_sigma=peak_sigma,
        choice={
            "freedom_in_mass": int(curves.coefficients.shape[1]),
            "mean_log_objective_left_out": {str(k): v for k, v in judged.items()},
            "signal_rows": {"choose": len(chooses.signal_mass), "quote": len(quotes.signal_mass)},
            "background_rows": {"choose": len(chooses.weight), "quote": len(quotes.weight)},
            "ceiling_bins": n_fine_bins,
            "ceiling_bias": float(np.nanmin(ceiling.bias)) if np.isfinite(ceiling.bias).any() else None,
            "window_sigma": window_sigma,
            "background_order": background_order,
            "min_effective_events": min_effective_events,
            **mean_optimism_of(figures, quoted, seen, limit),
        },
    )
