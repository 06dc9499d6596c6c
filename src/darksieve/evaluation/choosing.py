"""From scores to working points: chosen on some folds of the events, quoted on the others, in rotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError
from darksieve.evaluation.boundaries import Boundaries, out_of_fold
from darksieve.evaluation.category_counts import Counted, count
from darksieve.evaluation.ceiling import Ceiling, FineTable, node_masses, score_ceiling
from darksieve.evaluation.full_limit import FullLimit
from darksieve.evaluation.objectives import Objective, make_objective
from darksieve.evaluation.quoting import make_figures, mean_optimism_of, quoted_fine_table
from darksieve.evaluation.rotation import Choice, Tables, choose, prepare
from darksieve.evaluation.scored_rows import (
    Resolution,
    ScoredCandidates,
    ScoredRows,
    as_resolution,
    scored_rows,
)
from darksieve.evaluation.tails import Tails
from darksieve.evaluation.working_points import Kind, WorkingPoints

_N_GRID = 400


@dataclass(frozen=True, eq=False)
class Chooser:
    """Everything that choices on one score share: checked rows, windows, and the tables of every rotation.

    Attributes:
        rows: Checked candidates.
        masses: Of the scan, GeV, shape (n_masses,).
        half_width: Of the counting windows, GeV, shape (n_masses,).
        limit: The expected limit that is quoted.
        shortcut: A fast one in which limits have the same ratios.
        mass_range: Range of a flat signal sample.
        min_effective_events: Fewer in a category's window are pooled, and flagged where that is not enough.
        n_fine_bins: Equal-signal bins of the ceiling.
        n_bootstrap: Replicates.
        seed: Of the bootstrap.
    """

    rows: ScoredRows
    masses: NDArray[np.float64]
    half_width: NDArray[np.float64]
    limit: Objective
    shortcut: Objective
    mass_range: tuple[float, float] | None
    min_effective_events: float
    n_fine_bins: int
    n_bootstrap: int
    seed: int

    @classmethod
    def of(
        cls,
        scores: ScoredCandidates,
        masses: ArrayLike,
        resolution: Resolution | ArrayLike,
        *,
        limit: Objective,
        mass_range: tuple[float, float] | None = None,
        peak_sigma: float = 2.0,
        n_folds: int = 2,
        min_effective_events: float = 400.0,
        n_fine_bins: int = 120,
        n_bootstrap: int = 40,
        seed: int = 0,
    ) -> Chooser:
        """Check everything; see ``choose_working_points``."""
        at = np.atleast_1d(np.asarray(masses, np.float64))
        if len(at) == 0 or not np.isfinite(at).all() or (np.diff(at) <= 0).any():
            raise InputError("working points need at least one mass, finite and increasing")
        if not 2 <= n_folds <= 10:
            raise InputError(f"working_points.folds is {n_folds}: it goes from 2 to 10")
        sigma = as_resolution(resolution, at)
        rows = scored_rows(scores, sigma, peak_sigma, n_folds)
        shortcut = limit.shortcut() if isinstance(limit, FullLimit) else limit
        return cls(
            rows, at, peak_sigma * sigma(at), limit, shortcut, mass_range, min_effective_events,
            n_fine_bins, n_bootstrap, seed,
        )  # fmt: skip

    @property
    def nodes(self) -> NDArray[np.float64]:
        """Masses at which choices are judged."""
        return node_masses(self.masses)

    @property
    def node_width(self) -> NDArray[np.float64]:
        """Half widths of their windows."""
        return np.interp(self.nodes, self.masses, self.half_width)

    @property
    def span(self) -> tuple[float, float]:
        """First and last mass."""
        return float(self.masses[0]), float(self.masses[-1])

    @cached_property
    def grid(self) -> NDArray[np.float64]:
        """Where boundaries are tabulated."""
        low, high = float(self.rows.signal_mass.min()), float(self.rows.signal_mass.max())
        if high - low < 1e-6:
            return np.array([low - 1e-6, high + 1e-6])
        return np.linspace(low, high, _N_GRID)

    @cached_property
    def tables(self) -> list[Tables]:
        """What each fold's complement chooses from."""
        return [
            prepare(self.rows.without(f), self.nodes, self.node_width, self.mass_range, self.n_fine_bins)
            for f in range(self.rows.n_folds)
        ]

    @cached_property
    def fine_table(self) -> FineTable:
        """All events at the nodes in fine bins that they did not choose, with replicates."""
        return self.fine_table_at(self.nodes)

    def fine_table_at(self, masses: NDArray[np.float64]) -> FineTable:
        """The same at any masses."""
        signal, background = (
            np.empty(len(self.rows.signal_fold), np.int64),
            np.empty(len(self.rows.fold), np.int64),
        )
        for f, tables in enumerate(self.tables):
            s, b = self.rows.signal_fold == f, self.rows.fold == f
            signal[s] = tables.quantiles.bins(self.rows.signal_observable[s], self.rows.signal_score[s])
            background[b] = tables.quantiles.bins(self.rows.observable[b], self.rows.score[b])
        half_width = np.interp(masses, self.masses, self.half_width)
        return quoted_fine_table(
            self.rows, signal, background, self.n_fine_bins, masses, half_width, self.mass_range,
            n_bootstrap=self.n_bootstrap, seed=self.seed,
        )  # fmt: skip

    @cached_property
    def tails(self) -> Tails:
        """The score's background beyond the simulation, the same for every choice."""
        return Tails(self.fine_table)

    @cached_property
    def ceiling(self) -> Ceiling:
        """What the score could give at most."""
        return score_ceiling(self.fine_table, self.shortcut)

    def choose(
        self,
        objective: Objective,
        n_categories: int,
        *,
        equal: bool = False,
        freedoms: Sequence[int] = (1, 2, 4, 7),
    ) -> list[Choice]:
        """Boundaries of every fold, chosen on its complement."""
        walked = objective.shortcut() if isinstance(objective, FullLimit) else objective
        return [
            choose(tables, walked, n_categories, self.grid, self.span, equal=equal, freedoms=freedoms)
            for tables in self.tables
        ]

    def count(self, choices: Sequence[Choice], *, seen: bool = False) -> Counted:
        """Yields of all events, each by boundaries that it did not choose, or (``seen``) helped to choose."""
        n_folds = self.rows.n_folds
        boundaries = [Boundaries(self.grid, choice.boundaries) for choice in choices]
        shift = 1 if seen else 0
        signal, background = (
            out_of_fold(boundaries, observable, score, (fold + shift) % n_folds)
            for observable, score, fold in (
                (self.rows.signal_observable, self.rows.signal_score, self.rows.signal_fold),
                (self.rows.observable, self.rows.score, self.rows.fold),
            )
        )
        n = choices[0].boundaries.shape[1]
        edges = np.mean([choice.curves.edges(self.nodes) for choice in choices], axis=0)
        return self.count_categories(signal, background, n, edges)

    def count_thresholds(self, thresholds: Sequence[float]) -> Counted:
        """Yields above one score for all masses, that of the fold of each event."""
        rows, at = self.rows, np.asarray(thresholds, np.float64)
        edges = np.mean(
            [
                tables.quantiles.kept(self.nodes, np.full((len(self.nodes), 1), threshold))
                for tables, threshold in zip(self.tables, thresholds, strict=True)
            ],
            axis=0,
        )
        signal = (rows.signal_score >= at[rows.signal_fold]).astype(np.int8)
        return self.count_categories(signal, (rows.score >= at[rows.fold]).astype(np.int8), 1, edges)

    def count_all(self) -> Counted:
        """Yields without a cut."""
        rows = self.rows
        every = (np.ones(len(rows.signal_row), np.int8), np.ones(len(rows.row), np.int8))
        return self.count_categories(*every, 1)

    def count_categories(
        self, signal: NDArray, background: NDArray, n_categories: int, edges: NDArray | None = None
    ) -> Counted:
        """Yields of any categories, 0 for rejected rows; with their edges where they divide the score."""
        return count(
            self.rows, signal, background, n_categories,
            masses=self.masses, half_width=self.half_width, mass_range=self.mass_range,
            min_effective_events=self.min_effective_events, n_bootstrap=self.n_bootstrap, seed=self.seed,
            tail=None if edges is None else (self.tails, edges),
        )  # fmt: skip


def choose_working_points(
    scores: ScoredCandidates,
    masses: ArrayLike,
    resolution: Resolution | ArrayLike,
    *,
    objective: str | Objective = "expected_limit",
    full_limit: FullLimit | None = None,
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
    n_folds: int = 2,
    min_effective_events: float = 400.0,
    n_fine_bins: int = 120,
    n_bootstrap: int = 40,
    seed: int = 0,
) -> WorkingPoints:
    """Score categories, or one threshold, that minimise an objective and are smooth in mass.

    Boundaries are curves of constant signal efficiency, whose efficiencies are splines in mass with the
    freedom that cross-validation allows. Those of a fold are chosen on all other folds, and every figure
    counts every event by the boundaries of its own fold; errors are from a bootstrap by event.

    Args:
        scores: Signal rows (label 1; true pairs; weights that sum to absolute efficiencies, see ``Events``),
            background rows (label 0; weights in expected data events), other rows are left out.
            ``observable`` in GeV peaks at the mass.
        masses: Masses of the scan, GeV, increasing.
        resolution: Resolution in GeV as a function of mass, or an array at the masses.
        objective: Name from ``objectives.OBJECTIVES``, or a function (signal, background) -> what to
            minimise.
        full_limit: The model of the expected limit; one of Gaussian peaks without nuisances where absent.
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
        n_folds: Folds in rotation, 2 to 10 (``choice_fold_of``).
        min_effective_events: Fewer in a category's window are pooled with neighbouring masses, and flagged
            where even that is not enough.
        n_fine_bins: Equal-signal bins of the ceiling, at least 20.
        n_bootstrap: Replicates; 0 for no errors.
        seed: Of the bootstrap.

    Raises:
        InputError: If a weight is negative or not finite, scores are constant or not finite, a fold has no
            signal or no background, a mass lies outside the simulated range, or the objective is unknown.
    """
    n = check_kind(kind, n_categories)
    options: dict[str, Any] = {
        "confidence_level": confidence_level,
        "window_sigma": window_sigma,
        "peak_sigma": peak_sigma,
        "background_order": background_order,
        "full_limit": full_limit,
    }
    to_choose = make_objective(objective, **options)
    is_limit = isinstance(objective, str) and objective.startswith("expected_limit")
    chooser = Chooser.of(
        scores,
        masses,
        resolution,
        limit=to_choose if is_limit else make_objective("expected_limit", **options),
        mass_range=mass_range,
        peak_sigma=peak_sigma,
        n_folds=n_folds,
        min_effective_events=min_effective_events,
        n_fine_bins=n_fine_bins,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    choices = chooser.choose(to_choose, n, equal=equal_categories)
    return quote(
        chooser,
        choices,
        to_choose,
        kind=kind,
        objective_name=name_of(objective),
        channel=channel,
        confidence_level=confidence_level,
        yield_per_efficiency=yield_per_efficiency,
        limit_unit=limit_unit,
        peak_sigma=peak_sigma,
    )


def check_kind(kind: str, n_categories: int) -> int:
    """Number of categories of a kind of working point.

    Raises:
        InputError: If there is no such kind, or the number is out of range.
    """
    if kind not in ("categories", "threshold"):
        raise InputError(f"working_points.kind is {kind!r}: choose 'categories' or 'threshold'")
    n = 1 if kind == "threshold" else n_categories
    if not 1 <= n <= 10:
        raise InputError(f"working_points.n_categories is {n_categories}: it goes from 1 to 10")
    return n


def name_of(objective: str | Objective) -> str:
    """What documents call an objective."""
    return objective if isinstance(objective, str) else getattr(objective, "__name__", "function")


def quote(
    chooser: Chooser,
    choices: Sequence[Choice],
    objective: Objective,
    *,
    kind: Kind,
    objective_name: str,
    channel: str,
    confidence_level: float,
    yield_per_efficiency: float,
    limit_unit: str,
    peak_sigma: float,
) -> WorkingPoints:
    """Working points of choices, with figures that no event flatters."""
    quoted, seen = chooser.count(choices), chooser.count(choices, seen=True)
    figures = make_figures(
        chooser.masses, quoted, seen, chooser.ceiling, chooser.limit, chooser.shortcut, objective,
        yield_per_efficiency, chooser.min_effective_events,
    )  # fmt: skip
    freedoms = [int(choice.curves.coefficients.shape[1]) for choice in choices]
    left_out = {str(k): float(np.mean([choice.judged[k] for choice in choices])) for k in choices[0].judged}
    bias = chooser.ceiling.bias
    return WorkingPoints(
        kind=kind,
        n_categories=choices[0].boundaries.shape[1],
        mass_grid=chooser.grid,
        boundaries=np.stack([choice.boundaries for choice in choices]),
        figures=figures,
        channel=channel,
        objective=objective_name,
        confidence_level=confidence_level,
        yield_per_efficiency=yield_per_efficiency,
        limit_unit=limit_unit,
        peak_sigma=peak_sigma,
        choice={
            "folds": len(choices),
            "freedom_in_mass": freedoms,
            "mean_log_objective_left_out": left_out,
            "signal_rows": len(chooser.rows.signal_mass),
            "background_rows": len(chooser.rows.weight),
            "ceiling_bins": chooser.n_fine_bins,
            "ceiling_bias": float(np.nanmin(bias)) if np.isfinite(bias).any() else None,
            "min_effective_events": chooser.min_effective_events,
            "largest_tail_spread": _largest(figures.tail_spread),
            "more_simulation": _largest(figures.more_simulation),
            **mean_optimism_of(figures, quoted, seen, chooser.shortcut),
        },
    )


def _largest(values: NDArray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else None
