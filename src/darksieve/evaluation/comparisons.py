"""What a choice is worth beside simpler ones: no classifier, rectangular cuts, one global threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.folds import fold_of
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.full_limit import objective_at
from darksieve.evaluation.joint_cuts import choose_jointly, joint_categories
from darksieve.evaluation.objectives import Objective, make_objective
from darksieve.evaluation.quoting import Counted, spread_of
from darksieve.evaluation.rotation import Choice
from darksieve.evaluation.scored_rows import ScoredRows
from darksieve.evaluation.windows import Windows

CHOICES = ("no_classifier", "rectangular", "global_threshold", "threshold", "categories")
_N_GLOBAL = 200  # thresholds of the global scan
_ROWS_OF_CUTS = 500_000  # background candidates that choose rectangular cuts; more would choose the same
_CUTS_SALT = 7773


@dataclass(frozen=True, eq=False)
class Comparison:
    """Expected limits of choices that grow in effort, every event counted by what other events chose.

    Attributes:
        masses: GeV, shape (n_masses,).
        limits: Choice (of ``CHOICES``, as far as made) -> expected limit, shape (n_masses,).
        errors: Choice -> bootstrap error of its limit, same shape.
        ratio_errors: Choice -> error of its limit over that of the next better choice, relative; the two
            count the same events.
        loss_errors: Choice -> error of its limit over that of the last choice, relative.
        global_thresholds: Score of the global threshold, by fold.
    """

    masses: NDArray[np.float64]
    limits: Mapping[str, NDArray[np.float64]]
    errors: Mapping[str, NDArray[np.float64]]
    ratio_errors: Mapping[str, NDArray[np.float64]]
    loss_errors: Mapping[str, NDArray[np.float64]]
    global_thresholds: tuple[float, ...]

    def out_of_order(self, n_sigma: float = 3.0) -> dict[str, list[float]]:
        """Masses at which a choice is worse than the next simpler one by more than its errors.

        Only thresholds and categories have an order: rectangular cuts may lose against no cut by chance.
        """
        found = {}
        for simpler, better in (("global_threshold", "threshold"), ("threshold", "categories")):
            if simpler not in self.ratio_errors:
                continue
            ratio = self.limits[better] / self.limits[simpler] - 1
            bad = ratio > n_sigma * self.ratio_errors[simpler] + 1e-3
            found[f"{better} <= {simpler}"] = self.masses[bad].tolist()
        return found


def choose_global_threshold(
    rows: ScoredRows, nodes: NDArray, node_width: NDArray, objective: Objective
) -> float:
    """One score threshold for all masses, that minimises the mean logarithm of an objective over the nodes.

    Args:
        rows: Candidates that choose.
        nodes: GeV.
        node_width: Half widths of the windows, GeV.
        objective: Of yields of shape (..., n_nodes, 1).
    """
    thresholds = np.unique(np.quantile(rows.signal_score, np.linspace(0, 0.995, _N_GLOBAL)))
    window = Windows.around(nodes, node_width)
    n = len(thresholds)
    column = n - np.searchsorted(thresholds, rows.score, side="right")  # 0 passes all thresholds
    background = np.cumsum(window.sums(rows.observable, column, rows.weight, n), axis=1)[:, ::-1]
    squares = np.cumsum(window.sums(rows.observable, column, rows.weight**2, n), axis=1)[:, ::-1]
    reach = np.maximum(4 * node_width, 0.02 * float(np.ptp(nodes)))
    near = Windows.around(nodes, reach)
    of_signal = n - np.searchsorted(thresholds, rows.signal_score, side="right")
    signal = np.cumsum(near.sums(rows.signal_mass, of_signal, rows.signal_weight, n), axis=1)[:, ::-1]
    total = near.sums(rows.signal_mass, np.zeros(len(of_signal), np.int64), rows.signal_weight, 1)
    share = signal / np.maximum(total, 1e-300)
    floor = float(np.sum(rows.weight**2) / np.sum(rows.weight))
    padded = background + np.where(squares > 0, squares / np.maximum(background, 1e-300), floor)
    values = objective_at(objective, nodes)(share.T[..., None], padded.T[..., None])  # (n, n_nodes)
    with np.errstate(divide="ignore"):
        logs = np.log(values)
    return float(thresholds[int(np.argmin(np.where(np.isfinite(logs), logs, 50.0).mean(axis=1)))])


def compare_choices(
    chooser: Chooser,
    *,
    thresholds: Sequence[Choice] | None = None,
    categories: Sequence[Choice] | None = None,
    rectangular: NDArray | None = None,
    yield_per_efficiency: float = 1.0,
) -> Comparison:
    """Limits of no classifier, rectangular cuts, a global Punzi threshold, a threshold by mass, categories.

    Args:
        chooser: Of the classifier's score.
        thresholds: Its threshold by mass, by fold; absent where there is no classifier, as the categories.
        categories: Its categories, by fold.
        rectangular: Variables for rectangular cuts of all candidates that were given, shape (n, d); both
            directions of each are tried. Absent: no such line.
        yield_per_efficiency: Divides the limits.
    """
    rows = chooser.rows
    counted: dict[str, Counted] = {
        "no_classifier": chooser.count_categories(
            np.ones(len(rows.signal_row), np.int8), np.ones(len(rows.row), np.int8), 1
        )
    }
    if rectangular is not None and rectangular.shape[1]:
        signal, background = _rectangular(chooser, rectangular)
        counted["rectangular"] = chooser.count_categories(signal, background, 1)
    cuts: tuple[float, ...] = ()
    if thresholds is not None and categories is not None:
        cuts = tuple(
            choose_global_threshold(
                rows.without(f), chooser.nodes, chooser.node_width, make_objective("punzi")
            )
            for f in range(rows.n_folds)
        )
        at = np.array(cuts)
        counted["global_threshold"] = chooser.count_categories(
            (rows.signal_score >= at[rows.signal_fold]).astype(np.int8),
            (rows.score >= at[rows.fold]).astype(np.int8),
            1,
        )
        counted["threshold"] = chooser.count(thresholds)
        counted["categories"] = chooser.count(categories)
    full, shortcut = (objective_at(one, chooser.masses) for one in (chooser.limit, chooser.shortcut))
    limits, errors, drawn = {}, {}, {}
    for name, one in counted.items():
        limits[name] = full(*one.yields()) / yield_per_efficiency
        fast = shortcut(*one.yields())
        if len(one.efficiency_replicates):
            drawn[name] = shortcut(*one.replicate_yields()) / fast
            errors[name] = spread_of(drawn[name]) * limits[name]
    names = list(counted)
    ratio_errors = {
        simpler: spread_of(drawn[better] / drawn[simpler])
        for simpler, better in pairwise(names)
        if simpler in drawn
    }
    loss_errors = {name: spread_of(drawn[names[-1]] / drawn[name]) for name in names[:-1] if name in drawn}
    return Comparison(chooser.masses, limits, errors, ratio_errors, loss_errors, cuts)


def _thinned(rows: ScoredRows) -> ScoredRows:
    """Background of some events, weighted up, where there is more than enough."""
    n_parts = int(min(max(len(rows.row) // _ROWS_OF_CUTS, 1), 127))
    if n_parts == 1:
        return rows
    kept = fold_of(rows.key, n_parts, salt=_CUTS_SALT) == 0
    return rows.select(np.ones(len(rows.signal_row), bool), kept).with_weight_of(1 / n_parts)


def _rectangular(chooser: Chooser, variables: NDArray) -> tuple[NDArray, NDArray]:
    """Categories (0 or 1) of signal and background by the best rectangular cuts, out of fold."""
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
