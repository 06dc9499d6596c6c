"""Several scores jointly: a cut on each, smooth in mass, and categories in the last, by coordinate descent.

Scores may be classifiers in a row, variables of a preselection, or a variable and its negative (a window).
Each turn optimises one score with the cuts on all others held: the candidates that pass those are all that
the turn sees, so correlations between the scores are what they are in the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.boundaries import Boundaries
from darksieve.evaluation.categories import StackedTable, choose_quantiles, yields_between
from darksieve.evaluation.ceiling import FineTable
from darksieve.evaluation.full_limit import objective_at
from darksieve.evaluation.objectives import Objective
from darksieve.evaluation.quantiles import SignalQuantiles
from darksieve.evaluation.quoting import quoted_fine_table
from darksieve.evaluation.rotation import choose, half_of, prepare
from darksieve.evaluation.scored_rows import ScoredRows

_N_BINS = 60
_LEAST_GAIN = 1e-3  # of the mean log objective, that a cut has to be worth
_FEWEST_ROWS = 200


@dataclass(frozen=True, eq=False)
class JointChoice:
    """A vector of cuts.

    Attributes:
        boundaries: Lower edges on the mass grid by score, shape (n_grid, 1), the last (n_grid, n_categories);
            None where a score is not cut on.
        value: Mean log objective on the events that chose, after each turn.
    """

    boundaries: tuple[NDArray[np.float64] | None, ...]
    value: tuple[float, ...]


def choose_jointly(
    rows: ScoredRows,
    columns: NDArray,
    nodes: NDArray,
    node_width: NDArray,
    mass_range: tuple[float, float] | None,
    objective: Objective,
    n_categories: int,
    grid: NDArray,
    span: tuple[float, float],
    *,
    n_sweeps: int = 3,
    freedoms: Sequence[int] = (1, 2, 4),
    ends: Sequence[tuple[float, float]] | None = None,
) -> JointChoice:
    """Cuts on every score, and categories in the last one, that minimise the objective together.

    Args:
        rows: Candidates that choose.
        columns: Scores of all candidates that were given to ``scored_rows``, the larger the more like signal,
            shape (n, n_scores).
        nodes: Masses at which the objective is judged, GeV.
        node_width: Half widths of their windows, GeV.
        mass_range: Range of a flat signal sample.
        objective: See ``objectives``.
        n_categories: In the last score; 1 for a cut.
        grid: Masses at which boundaries are tabulated.
        span: Range of the splines.
        n_sweeps: At most so many turns of each score.
        freedoms: Numbers of spline coefficients to try.
        ends: Lowest and highest edge allowed of each score; a score with a lowest one is always cut there.
    """
    n_scores = columns.shape[1]
    ends = [(-np.inf, np.inf)] * n_scores if ends is None else ends
    kept: list[NDArray | None] = [
        np.full((len(grid), 1), low) if np.isfinite(low) else None for low, _ in ends
    ]
    values: list[float] = []
    best = np.inf
    for _ in range(n_sweeps):
        before = best
        for j in reversed(range(n_scores)):
            signal, background = np.ones(len(rows.signal_row), bool), np.ones(len(rows.row), bool)
            for i, edges in enumerate(kept):
                if i != j and edges is not None and i != n_scores - 1:
                    curve = Boundaries(grid, edges[:, :1])
                    signal &= curve.category(rows.signal_observable, columns[rows.signal_row, i]) > 0
                    background &= curve.category(rows.observable, columns[rows.row, i]) > 0
            last = kept[-1] if j != n_scores - 1 else None
            found = _turn(
                rows, signal, background, columns, j, last, nodes, node_width, mass_range, objective,
                n_categories if j == n_scores - 1 else 1, grid, span, freedoms, ends[j],
            )  # fmt: skip
            if found is None:
                continue
            edges, value = found
            # a turn that gains nothing leaves the score as it was
            if value < best - (_LEAST_GAIN if kept[j] is None and j != n_scores - 1 else 0.0):
                kept[j], best = edges, value
            values.append(best)
        if before - best < _LEAST_GAIN:
            break
    return JointChoice(tuple(kept), tuple(values))


def joint_categories(
    choice: JointChoice, grid: NDArray, observable: NDArray, columns: NDArray
) -> NDArray[np.int8]:
    """Category of each candidate: 0 rejected by any cut, else that of the last score, shape (n,).

    Args:
        choice: The cuts.
        grid: Masses at which they are tabulated.
        observable: GeV, shape (n,).
        columns: Scores, shape (n, n_scores).
    """
    out = np.ones(len(observable), np.int8)
    last = len(choice.boundaries) - 1
    for j, edges in enumerate(choice.boundaries):
        if edges is None:
            continue
        category = Boundaries(grid, edges).category(observable, columns[:, j])
        out = np.where(out > 0, category if j == last else np.minimum(category, 1) * out, 0).astype(np.int8)
    return out


def _turn(
    rows: ScoredRows,
    signal: NDArray,
    background: NDArray,
    columns: NDArray,
    j: int,
    last: NDArray | None,
    nodes: NDArray,
    node_width: NDArray,
    mass_range: tuple[float, float] | None,
    objective: Objective,
    n_categories: int,
    grid: NDArray,
    span: tuple[float, float],
    freedoms: Sequence[int],
    ends: tuple[float, float],
) -> tuple[NDArray, float] | None:
    """Edges in score j given the others, and the mean log objective; None where too few are left."""
    if last is not None:  # a candidate below the last score's lowest edge counts in no category
        curve = Boundaries(grid, last)
        of_signal = curve.category(rows.signal_observable, columns[rows.signal_row, -1])
        of_background = curve.category(rows.observable, columns[rows.row, -1])
        signal, background = signal & (of_signal > 0), background & (of_background > 0)
    if min(signal.sum(), background.sum()) < _FEWEST_ROWS:
        return None
    own = rows.with_scores(columns[:, j]).select(signal, background)
    if np.ptp(own.signal_score) == 0:
        return None
    tables = prepare(own, nodes, node_width, mass_range, _N_BINS)
    if last is None or last.shape[1] == 1:
        choice = choose(tables, objective, n_categories, grid, span, freedoms=freedoms)
        return _within(ends, choice.boundaries, choice.value, tables.table, tables.quantiles, grid, objective)
    stacked = [
        _by_category(own, of_signal[signal], of_background[background], last.shape[1], tables.quantiles, half,
                     nodes, node_width, mass_range)
        for half in (None, 0, 1)
    ]  # fmt: skip
    curves, _, value = choose_quantiles(
        stacked[0],
        [(stacked[1], stacked[2]), (stacked[2], stacked[1])],
        objective,
        1,
        span,
        freedoms=freedoms,
    )
    edges = tables.quantiles.boundaries(curves.edges(tables.quantiles.mass_grid))
    on_grid = np.stack([np.interp(grid, tables.quantiles.mass_grid, edge) for edge in edges.T], axis=1)
    return _within(ends, on_grid, value, stacked[0], tables.quantiles, grid, objective)


def _within(
    ends: tuple[float, float],
    edges: NDArray,
    value: float,
    table: FineTable | StackedTable,
    quantiles: SignalQuantiles,
    grid: NDArray,
    objective: Objective,
) -> tuple[NDArray, float]:
    """Edges moved between their ends, and what they reach there."""
    inside = np.clip(edges, *ends)
    if np.array_equal(inside, edges):
        return edges, value
    boundaries = Boundaries(grid, inside).at(table.masses)[:, ::-1]  # purest first
    kept = quantiles.kept(table.masses, boundaries)
    logs = np.log(objective_at(objective, table.masses)(*yields_between(table, kept)))
    usable = np.isfinite(logs)
    return inside, float(np.mean(logs[usable])) if usable.any() else np.inf


def _by_category(
    rows: ScoredRows,
    of_signal: NDArray,
    of_background: NDArray,
    n_categories: int,
    quantiles: SignalQuantiles,
    half: int | None,
    nodes: NDArray,
    node_width: NDArray,
    mass_range: tuple[float, float] | None,
) -> StackedTable:
    """Fine tables of one score in each category of another."""
    in_half = half_of(rows.key) == half if half is not None else np.ones(len(rows.key), bool)
    tables: list[FineTable] = []
    for c in range(n_categories, 0, -1):
        mine = rows.select(of_signal == c, (of_background == c) & in_half)
        scaled = mine if half is None else mine.with_weight_of(0.5)
        tables.append(
            quoted_fine_table(
                scaled,
                quantiles.bins(mine.signal_observable, mine.signal_score),
                quantiles.bins(mine.observable, mine.score),
                quantiles.n_bins,
                nodes,
                node_width,
                mass_range,
            )
        )
    return StackedTable(tuple(tables))
