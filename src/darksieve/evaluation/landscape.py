"""The objective of a single cut over the whole plane of mass and signal efficiency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.evaluation.full_limit import FullLimit, objective_at
from darksieve.evaluation.objectives import Objective, make_objective
from darksieve.evaluation.pooling import effective_events
from darksieve.evaluation.quantiles import fit_signal_quantiles
from darksieve.evaluation.scored_rows import (
    Resolution,
    ScoredCandidates,
    as_resolution,
    efficiency_of_all,
    scored_rows,
)
from darksieve.evaluation.tails import Tails, middle_of
from darksieve.evaluation.windows import Windows


@dataclass(frozen=True, eq=False)
class Landscape:
    """Objective of one cut by mass and by share of the signal that it keeps.

    Attributes:
        masses: GeV, shape (n_masses,).
        kept_signal: Share of the signal candidates that passes, growing to 1 (no cut), shape (n_cuts,).
        threshold: Score of the cut, shape (n_masses, n_cuts).
        signal_efficiency: Absolute efficiency in the window, shape (n_masses, n_cuts).
        n_background: Expected events in the window, shape (n_masses, n_cuts).
        effective_events: Of the simulated background that passes, at most as many as are of the typical
            weight (``telling_events``), shape (n_masses, n_cuts).
        value: What the objective says, shape (n_masses, n_cuts); NaN where fewer effective events pass
            than asked and there is no model.
        is_modelled: Where the background is that of the score's tail, shape (n_masses, n_cuts).
    """

    masses: NDArray[np.float64]
    kept_signal: NDArray[np.float64]
    threshold: NDArray[np.float64]
    signal_efficiency: NDArray[np.float64]
    n_background: NDArray[np.float64]
    effective_events: NDArray[np.float64]
    value: NDArray[np.float64]
    is_modelled: NDArray[np.bool_]

    @property
    def best_cut(self) -> NDArray[np.int64]:
        """Position of the best cut at each mass, of those that can be judged; the loosest where none can."""
        judged = np.where(np.isfinite(self.value), self.value, np.inf)
        return np.where(np.isfinite(judged).any(axis=1), np.argmin(judged, axis=1), len(self.kept_signal) - 1)


def cut_landscape(
    scores: ScoredCandidates,
    masses: ArrayLike,
    resolution: Resolution | ArrayLike,
    *,
    n_cuts: int = 100,
    objective: str | Objective = "expected_limit",
    full_limit: FullLimit | None = None,
    confidence_level: float = 0.95,
    mass_range: tuple[float, float] | None = None,
    peak_sigma: float = 2.0,
    window_sigma: float = 20.0,
    background_order: int = 3,
    min_effective_events: float = 10.0,
    tails: Tails | None = None,
) -> Landscape:
    """The landscape at all masses, in the plain counts of each window: nothing pooled, nothing smoothed.

    Where too few events pass it is that of the score's tail, if that is given.

    Args:
        scores: As for ``choose_working_points``.
        masses: GeV, shape (n_masses,).
        resolution: In GeV, as a function of mass or at the masses.
        n_cuts: Cuts at equal steps of signal efficiency.
        objective: See ``make_objective``.
        full_limit: The model of the expected limit.
        confidence_level: Of expected limits.
        mass_range: Range of a flat signal sample.
        peak_sigma: Half width of the counting window in resolutions.
        window_sigma: Half width of the fit window.
        background_order: Order of the background polynomial.
        min_effective_events: A cut that fewer background events pass is not judged by their count.
        tails: Background beyond the simulation.

    Raises:
        InputError: As for ``choose_working_points``.
    """
    masses = np.atleast_1d(np.asarray(masses, np.float64))
    sigma = as_resolution(resolution, masses)
    rows = scored_rows(scores, sigma, peak_sigma, n_folds=1)
    judge = make_objective(
        objective,
        confidence_level=confidence_level,
        window_sigma=window_sigma,
        peak_sigma=peak_sigma,
        background_order=background_order,
        full_limit=full_limit,
    )
    quantiles = fit_signal_quantiles(
        rows.signal_mass, rows.signal_score, rows.signal_weight, observable=rows.signal_observable,
        n_bins=n_cuts,
    )  # fmt: skip
    efficiency = efficiency_of_all(rows, mass_range)(masses)[0]
    window = Windows.around(masses, peak_sigma * sigma(masses))
    column = quantiles.bins(rows.observable, rows.score)
    background = np.cumsum(window.sums(rows.observable, column, rows.weight, n_cuts), axis=1)
    squares = np.cumsum(window.sums(rows.observable, column, rows.weight**2, n_cuts), axis=1)
    kept = quantiles.efficiencies[1:]
    signal = efficiency[:, None] * kept
    passing = effective_events(background, squares)
    # the last cut keeps everything: its weight is the typical one (telling_events)
    with np.errstate(invalid="ignore", divide="ignore"):
        typical = np.where(squares[:, -1:] > 0, background * background[:, -1:] / squares[:, -1:], 0.0)
    passing = np.minimum(passing, typical)
    counted = passing >= min_effective_events
    modelled = np.zeros(counted.shape, bool)
    if tails is not None:
        modelled = ~counted & tails.is_near(masses)[:, None]
        n_nodes = len(tails.table.masses)
        of_tail = [middle_of(tails.by_family(np.full((n_nodes, 1), k), masses))[:, 0] for k in kept]
        background = np.where(modelled, np.stack(of_tail, axis=1), background)
    # (n_cuts, n_masses, 1): the masses are the second last axis
    of_masses = objective_at(judge, masses)(signal.T[..., None], background.T[..., None]).T
    value = np.where(counted | modelled, of_masses, np.nan)
    threshold = np.stack(
        [np.interp(masses, quantiles.mass_grid, level) for level in quantiles.scores[:, 1:].T], axis=1
    )
    threshold[:, -1] = -np.inf  # the last cut keeps everything
    return Landscape(masses, kept, threshold, signal, background, passing, value, modelled)
