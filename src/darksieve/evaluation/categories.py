"""Score categories as signal quantiles that are smooth in mass, chosen to minimise an objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.optimize import minimize

from darksieve.evaluation.ceiling import FineTable
from darksieve.evaluation.full_limit import MassDependent, objective_at
from darksieve.evaluation.objectives import Objective

_WORTH = 1e-3  # of the log objective on events left out, that more freedom in mass has to gain, on average
_STARTS = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95)
_RATIOS = (0.6, 1.0, 1.5, 2.2)  # signal of a category over that of the next purer one, to start from
_DIFFERENCE = 1e-4


@dataclass(frozen=True, eq=False)
class QuantileCurves:
    """Signal efficiencies of the category edges as smooth functions of mass.

    The efficiencies are running sums of shares, and the shares softmax(θ₁ … θ_n, 0) with θ a spline in
    mass, so the edges never cross.

    Attributes:
        mass_range: Range of the splines; beyond it the edges are constant.
        n_categories: Number of categories.
        coefficients: Spline coefficients, shape (n_curves, n_coefficients): one curve for each category, or a
            single one for the total where categories are equal.
    """

    mass_range: tuple[float, float]
    n_categories: int
    coefficients: NDArray[np.float64]

    def edges(self, masses: NDArray) -> NDArray[np.float64]:
        """Signal efficiencies above each lower edge, purest first, shape (n_masses, n_categories)."""
        design = spline_basis(masses, self.mass_range, self.coefficients.shape[1])
        return edges_of(design @ self.coefficients.T, self.n_categories)


def spline_basis(masses: NDArray, mass_range: tuple[float, float], n_coefficients: int) -> NDArray:
    """B-splines of degree up to 3 on equidistant knots, shape (n_masses, n_coefficients)."""
    low, high = mass_range
    if n_coefficients == 1 or high <= low:
        return np.ones((len(masses), 1))
    degree = min(3, n_coefficients - 1)
    inner = np.linspace(low, high, n_coefficients - degree + 1)
    knots = np.concatenate([[low] * degree, inner, [high] * degree])
    return BSpline.design_matrix(np.clip(masses, low, high), knots, degree).toarray()


def edges_of(theta: NDArray, n_categories: int) -> NDArray[np.float64]:
    """Running sums of softmax(θ, 0): shape (..., n_curves) -> (..., n_categories), increasing."""
    n_curves = theta.shape[-1]
    with_rejected = np.concatenate([theta, np.zeros((*theta.shape[:-1], 1))], axis=-1)
    shares = np.exp(with_rejected - with_rejected.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    if n_curves == n_categories:
        return np.cumsum(shares[..., :-1], axis=-1)
    return shares[..., :1] * np.arange(1, n_categories + 1) / n_categories


@dataclass(frozen=True, eq=False)
class StackedTable:
    """Fine tables of one score in each category of another: one edge divides them all.

    Attributes:
        tables: At the same nodes; their yields follow one another.
    """

    tables: tuple[FineTable, ...]

    @property
    def masses(self) -> NDArray[np.float64]:
        """The nodes."""
        return self.tables[0].masses


def yields_between(table: FineTable | StackedTable, edges: NDArray) -> tuple[NDArray, NDArray]:
    """Signal and background of the categories between efficiency edges.

    Args:
        table: Fine bins at n_nodes masses.
        edges: Increasing along the last axis, shape (..., n_nodes, n_categories); one for a stacked table.

    Returns:
        Efficiency and expected background, each of the shape of ``edges``. Every category's background
        counts one simulated event more than was seen: none is held for pure where an event may be missing.
    """
    if isinstance(table, StackedTable):
        parts = [yields_between(one, edges) for one in table.tables]
        return np.concatenate([s for s, _ in parts], axis=-1), np.concatenate([b for _, b in parts], axis=-1)
    n_bins = table.signal.shape[1]
    zero = np.zeros((len(table.masses), 1))
    running_signal = np.concatenate([zero, np.cumsum(table.signal, axis=1)], axis=1)
    running_background = np.concatenate([zero, np.cumsum(table.background, axis=1)], axis=1)
    position = np.clip(edges, 0, 1) * n_bins
    lower = np.minimum(position.astype(int), n_bins - 1)
    fraction = position - lower
    node = np.arange(len(table.masses))[:, None]

    # cubic Hermite: kinks at the bins' edges would stop a descent
    f2, f3 = fraction**2, fraction**3
    basis = (2 * f3 - 3 * f2 + 1, f3 - 2 * f2 + fraction, 3 * f2 - 2 * f3, f3 - f2)

    def between(running: NDArray, density: NDArray) -> NDArray:
        slope = np.concatenate(
            [density[:, :1], 0.5 * (density[:, 1:] + density[:, :-1]), density[:, -1:]], axis=1
        )
        at = (
            basis[0] * running[node, lower]
            + basis[1] * slope[node, lower]
            + basis[2] * running[node, lower + 1]
            + basis[3] * slope[node, lower + 1]
        )
        return np.maximum(np.diff(at, axis=-1, prepend=0.0), 0.0)

    background = between(running_background, table.background)
    return between(running_signal, table.signal), background + table.event_weight[:, None]


def optimise_quantiles(
    table: FineTable | StackedTable,
    objective: Objective | MassDependent,
    n_categories: int,
    mass_range: tuple[float, float],
    *,
    equal: bool = False,
    n_coefficients: int = 4,
    start: QuantileCurves | None = None,
    n_iterations: int = 200,
) -> QuantileCurves:
    """Curves that minimise the mean logarithm of the objective over the table's masses.

    Args:
        table: Fine bins at the masses.
        objective: See ``objectives``.
        n_categories: Number of categories; one is a threshold.
        mass_range: Range of the splines.
        equal: Categories of equal signal, of which only the total is optimised.
        n_coefficients: Freedom in mass: 1 a constant, 2 a straight line, …
        start: Where to begin.
        n_iterations: At most so many steps.
    """
    n_curves = 1 if equal else n_categories
    judge = objective_at(objective, table.masses)

    def curves(coefficients: NDArray) -> QuantileCurves:
        return QuantileCurves(mass_range, n_categories, coefficients)

    def losses(theta: NDArray) -> NDArray:
        """Mean log objective for each of (..., n_nodes, n_curves)."""
        merit = judge(*yields_between(table, edges_of(theta, n_categories)))
        with np.errstate(divide="ignore"):
            logs = np.log(merit)
        usable = np.isfinite(logs)
        return np.sum(np.where(usable, logs, 0.0), axis=-1) / np.maximum(usable.sum(axis=-1), 1)

    if start is None:
        ones = np.ones((len(table.masses), 1))
        trials = []
        for total in _STARTS:
            for ratio in (1.0,) if n_curves == 1 else _RATIOS:
                shares = total * ratio ** np.arange(n_curves)  # purest first
                shares *= 1.0 if equal else total / shares.sum()
                trials.append(np.log(shares / (1 - total))[:, None])
        values = losses(np.stack([ones @ t.T for t in trials]))
        start = curves(trials[int(np.argmin(values))])
    design = spline_basis(table.masses, mass_range, n_coefficients)
    dense = np.linspace(*mass_range, 200) if mass_range[1] > mass_range[0] else np.array([mass_range[0]])
    theta_start = spline_basis(dense, mass_range, start.coefficients.shape[1]) @ start.coefficients.T
    first = np.linalg.lstsq(spline_basis(dense, mass_range, n_coefficients), theta_start, rcond=None)[0].T

    def loss_and_gradient(x: NDArray) -> tuple[float, NDArray]:
        theta = design @ x.reshape(n_curves, -1).T
        # one curve at one mass moves only that mass, so each curve costs one evaluation for all coefficients
        shifts = _DIFFERENCE * np.eye(n_curves)[:, None, :]
        merit = judge(
            *yields_between(
                table, edges_of(np.concatenate([theta[None], theta + shifts, theta - shifts]), n_categories)
            )
        )
        with np.errstate(divide="ignore"):
            logs = np.log(merit)
        usable = np.isfinite(logs[0])
        n_usable = max(int(usable.sum()), 1)
        with np.errstate(invalid="ignore"):
            slopes = (logs[1 : n_curves + 1] - logs[n_curves + 1 :]) / (2 * _DIFFERENCE)
        slopes = np.where(usable & np.isfinite(slopes), slopes, 0.0)
        value = float(np.sum(np.where(usable, logs[0], 0.0)) / n_usable)
        # a weak pull keeps what the objective does not feel (a category nobody needs) from running away
        pull = 1e-5 * (x - first.ravel())
        return value + 0.5 * float(pull @ (x - first.ravel())), ((slopes @ design) / n_usable).ravel() + pull

    found = minimize(
        loss_and_gradient,
        first.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": n_iterations, "ftol": 1e-9, "gtol": 1e-7},
    )
    best = found.x.reshape(n_curves, -1)
    return curves(best if losses(design @ best.T) <= losses(design @ first.T) else first)


def mean_log_objective(
    table: FineTable | StackedTable, objective: Objective | MassDependent, curves: QuantileCurves
) -> float:
    """What the curves reach on a table, as the mean logarithm over its masses."""
    judge = objective_at(objective, table.masses)
    logs = np.log(judge(*yields_between(table, curves.edges(table.masses))))
    return float(np.mean(logs[np.isfinite(logs)])) if np.isfinite(logs).any() else np.inf


def choose_quantiles(
    table: FineTable | StackedTable,
    folds: Sequence[tuple[FineTable | StackedTable, FineTable | StackedTable]],
    objective: Objective | MassDependent,
    n_categories: int,
    mass_range: tuple[float, float],
    *,
    equal: bool = False,
    freedoms: Sequence[int] = (1, 2, 4, 7),
) -> tuple[QuantileCurves, dict[int, float], float]:
    """Curves whose freedom in mass is chosen by cross-validation on the same part of the events.

    Args:
        table: All events of the part.
        folds: Pairs of tables, to fit on and to judge by.
        objective: See ``objectives``.
        n_categories: Number of categories.
        mass_range: Range of the splines.
        equal: Categories of equal signal.
        freedoms: Numbers of spline coefficients to try, growing.

    Returns:
        The curves, the mean log objective on the events left out by number of coefficients, and that on all.
    """
    freedoms = [k for k in freedoms if k == 1 or k <= len(table.masses) // 2]
    judged: dict[int, float] = {}
    by_fold: dict[int, NDArray] = {}
    if len(freedoms) > 1 and folds:
        starts: list[QuantileCurves | None] = [None] * len(folds)
        for k in freedoms:
            reached = np.empty(len(folds))
            for i, (fit_on, judge_by) in enumerate(folds):
                starts[i] = optimise_quantiles(
                    fit_on, objective, n_categories, mass_range,
                    equal=equal, n_coefficients=k, start=starts[i], n_iterations=30,
                )  # fmt: skip
                reached[i] = mean_log_objective(judge_by, objective, starts[i])  # type: ignore[arg-type]
            by_fold[k] = reached
            judged[k] = float(reached.mean())
    best = freedoms[0]
    for k in freedoms[1:]:
        # what one part of the events gains and another loses is noise: then the simpler choice stays
        if judged and judged[k] < judged[best] - _WORTH and (by_fold[k] < by_fold[best]).all():
            best = k
    curves: QuantileCurves | None = None
    for k in [k for k in freedoms if k <= best]:
        curves = optimise_quantiles(
            table, objective, n_categories, mass_range, equal=equal, n_coefficients=k, start=curves
        )
    assert curves is not None
    return curves, judged, mean_log_objective(table, objective, curves)
