"""Choosing in rotation: the boundaries of a fold are chosen on all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.folds import fold_of
from darksieve.evaluation.categories import QuantileCurves, choose_quantiles
from darksieve.evaluation.ceiling import FineTable, fine_table
from darksieve.evaluation.full_limit import MassDependent
from darksieve.evaluation.objectives import Objective
from darksieve.evaluation.quantiles import SignalQuantiles, fit_signal_quantiles
from darksieve.evaluation.scored_rows import ScoredRows, efficiency_of_all

_FOLD_SALT = 7771  # halves for cross-validation within the folds that choose


@dataclass(frozen=True, eq=False)
class Tables:
    """What choosing on some of the events starts from.

    Attributes:
        quantiles: Curves of constant signal efficiency.
        table: Fine bins of all events that choose, at the nodes.
        halves: The same of two halves of them.
    """

    quantiles: SignalQuantiles
    table: FineTable
    halves: tuple[FineTable, FineTable]


@dataclass(frozen=True, eq=False)
class Choice:
    """Boundaries that one fold's complement chose.

    Attributes:
        curves: Efficiencies of the edges as functions of mass.
        judged: Mean log objective on events left out, by freedom in mass.
        boundaries: Lower score edges on the common mass grid, shape (n_grid, n_categories), increasing.
        value: Mean log objective on the events that chose.
    """

    curves: QuantileCurves
    judged: dict[int, float]
    boundaries: NDArray[np.float64]
    value: float


def half_of(key: NDArray) -> NDArray[np.int8]:
    """Half of each event for cross-validation within the folds that choose, 0 or 1."""
    return fold_of(np.asarray(key, np.uint64), 2, salt=_FOLD_SALT)


def prepare(
    rows: ScoredRows,
    nodes: NDArray,
    node_width: NDArray,
    mass_range: tuple[float, float] | None,
    n_bins: int,
) -> Tables:
    """Quantile curves and fine tables of rows that choose.

    Args:
        rows: Of the folds that choose.
        nodes: Masses at which the objective is judged, GeV.
        node_width: Half widths of their windows, GeV.
        mass_range: Range of a flat signal sample.
        n_bins: Fine bins.
    """
    quantiles = fit_signal_quantiles(
        rows.signal_mass, rows.signal_score, rows.signal_weight, observable=rows.signal_observable,
        n_bins=n_bins,
    )  # fmt: skip
    efficiency = efficiency_of_all(rows, mass_range)(nodes)[0]
    signal = np.repeat(efficiency[:, None] / n_bins, n_bins, axis=1)
    bins = quantiles.bins(rows.observable, rows.score)
    half = half_of(rows.key)

    def table(which: int | None) -> FineTable:
        pick = None if which is None else half == which
        background = rows.background_rows(bins, n_bins + 1, pick, 1.0 if which is None else 0.5)
        return fine_table(background, signal, nodes, node_width)

    return Tables(quantiles, table(None), (table(0), table(1)))


def choose(
    tables: Tables,
    objective: Objective | MassDependent,
    n_categories: int,
    grid: NDArray,
    mass_range: tuple[float, float],
    *,
    equal: bool = False,
    freedoms: Sequence[int] = (1, 2, 4, 7),
) -> Choice:
    """Boundaries that minimise the objective, with as much freedom in mass as cross-validation allows."""
    first, second = tables.halves
    curves, judged, value = choose_quantiles(
        tables.table,
        [(first, second), (second, first)],
        objective,
        n_categories,
        mass_range,
        equal=equal,
        freedoms=freedoms,
    )
    edges = curves.edges(tables.quantiles.mass_grid)  # purest first; categories count from the least pure
    own = np.maximum.accumulate(tables.quantiles.boundaries(edges)[:, ::-1], axis=1)
    on_grid = np.stack([np.interp(grid, tables.quantiles.mass_grid, edge) for edge in own.T], axis=1)
    return Choice(curves, judged, on_grid, value)
