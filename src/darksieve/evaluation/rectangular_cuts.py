"""The best rectangular cuts by mass: what a classifier is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.folds import fold_of
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.joint_cuts import choose_jointly, joint_categories
from darksieve.evaluation.scored_rows import ScoredRows

_ROWS_OF_CUTS = 500_000  # background candidates that choose; more would choose the same
_CUTS_SALT = 7773


def rectangular_categories(chooser: Chooser, variables: NDArray) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Categories (0 or 1) of signal and background by the best cuts on both ends of variables, out of fold.

    Args:
        chooser: The candidates, and the limit that cuts minimise.
        variables: Of all candidates that were given, shape (n, n_variables).
    """
    # a variable cut from below and from above: two directions
    columns = np.concatenate([variables, -variables], axis=1).astype(np.float64)
    rows = chooser.rows
    signal, background = np.zeros(len(rows.signal_row), np.int8), np.zeros(len(rows.row), np.int8)
    for fold in range(rows.n_folds):
        choice = choose_jointly(
            _thinned(rows.without(fold)), columns, chooser.nodes, chooser.node_width, chooser.mass_range,
            chooser.shortcut, 1, chooser.grid, chooser.span,
        )  # fmt: skip
        for out, of_fold, observable, row in (
            (signal, rows.signal_fold, rows.signal_observable, rows.signal_row),
            (background, rows.fold, rows.observable, rows.row),
        ):
            mine = of_fold == fold
            out[mine] = joint_categories(choice, chooser.grid, observable[mine], columns[row[mine]])
    return signal, background


def _thinned(rows: ScoredRows) -> ScoredRows:
    """Background of some events, weighted up, where there is more than enough."""
    n_parts = int(min(max(len(rows.row) // _ROWS_OF_CUTS, 1), 127))
    if n_parts == 1:
        return rows
    kept = fold_of(rows.key, n_parts, salt=_CUTS_SALT) == 0
    return rows.select(np.ones(len(rows.signal_row), bool), kept).with_weight_of(1 / n_parts)
