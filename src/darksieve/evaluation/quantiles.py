"""The score as a signal quantile: curves of constant signal efficiency in the plane of mass and score.

On these curves a cut means the same at every mass, so cuts, categories and fine bins are all numbers
between 0 and 1, and masses can be pooled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline
from scipy.special import ndtri

from darksieve.errors import InputError

_ROWS_PER_NODE = 400
_MAX_NODES = 160
_MIDDLE = np.linspace(0.9, 0.1, 9)  # quantiles whose mean is the middle of the scores
_CONTINUOUS = 0.5  # share of scores that differ from all others: those of few small trees have many ties
_LIKE_LEVELS = 0.4  # in the normal quantile: levels so far apart share their smoothness


@numba.njit(cache=True)
def _count_above(position, score, boundaries, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    # boundaries decrease along their second axis; out = how many lie above the score (binary search)
    n_levels = boundaries.shape[1]
    for i in range(position.size):
        s = score[i]
        if np.isnan(s):  # passes nothing
            out[i] = n_levels
            continue
        j = min(int(position[i]), boundaries.shape[0] - 2)
        f = position[i] - j
        low, high = 0, n_levels
        while low < high:
            middle = (low + high) // 2
            if (1 - f) * boundaries[j, middle] + f * boundaries[j + 1, middle] > s:
                low = middle + 1
            else:
                high = middle
        out[i] = low


@dataclass(frozen=True, eq=False)
class SignalQuantiles:
    """Score boundaries of fixed signal efficiency as functions of mass.

    Attributes:
        mass_grid: Equidistant masses, GeV, shape (n_grid,).
        efficiencies: Signal efficiencies of the boundaries, increasing from 0 to 1, shape (n_levels,).
        scores: Score above which that share of the signal lies, shape (n_grid, n_levels), not increasing
            along the levels. The outermost two are the last scores with signal, not infinities.
    """

    mass_grid: NDArray[np.float64]
    efficiencies: NDArray[np.float64]
    scores: NDArray[np.float64]

    @property
    def n_bins(self) -> int:
        """Number of equal-signal bins; bin 0 is the purest."""
        return len(self.efficiencies) - 1

    def bins(self, observable: ArrayLike, score: ArrayLike) -> NDArray[np.int64]:
        """Equal-signal bin of each candidate by its own observable, 0 (purest) … n_bins - 1, shape (n,).

        A NaN score is in bin n_bins, which no cut leaves.
        """
        score = np.ascontiguousarray(score, np.float64)
        grid = self.mass_grid
        position = np.interp(np.asarray(observable, np.float64), grid, np.arange(len(grid), dtype=float))
        out = np.empty(len(score), np.int64)
        _count_above(position, score, np.ascontiguousarray(self.scores[:, 1:-1]), out)
        out[np.isnan(score)] = self.n_bins
        return out

    def boundaries(self, efficiencies: NDArray) -> NDArray[np.float64]:
        """Scores of given signal efficiencies.

        Args:
            efficiencies: On the mass grid, shape (n_grid, n_edges), between 0 and 1.

        Returns:
            Shape (n_grid, n_edges).
        """
        position = np.asarray(efficiencies) * self.n_bins
        lower = np.clip(position.astype(int), 0, self.n_bins - 1)
        fraction = position - lower
        rows = np.arange(len(self.mass_grid))[:, None]
        return (1 - fraction) * self.scores[rows, lower] + fraction * self.scores[rows, lower + 1]

    def kept(self, masses: NDArray, scores: NDArray) -> NDArray[np.float64]:
        """Share of the signal above scores: the inverse of ``boundaries``.

        Args:
            masses: GeV, shape (n,).
            scores: At the masses, shape (n, n_edges).

        Returns:
            Shape (n, n_edges).
        """
        levels = np.stack([np.interp(masses, self.mass_grid, one) for one in self.scores.T[::-1]], axis=1)
        falling = self.efficiencies[::-1]
        return np.array([np.interp(s, level, falling) for s, level in zip(scores, levels, strict=True)])


def fit_signal_quantiles(
    mass: ArrayLike,
    score: ArrayLike,
    weight: ArrayLike,
    *,
    observable: ArrayLike | None = None,
    n_bins: int = 120,
    n_grid: int = 400,
) -> SignalQuantiles:
    """Signal quantile curves of the score from simulation at any masses.

    The middle of the scores as a smooth curve in mass is taken off first, unless they take few values: where
    scores move fast, a group of neighbouring masses would mix the scores of many. Then weighted quantiles in
    such groups (each mass by itself where few masses were generated), and one penalised spline in mass for
    every level, as smooth as leaving out groups allows for that level and its neighbours.

    Args:
        mass: Generated mass of signal candidates in GeV, shape (n,).
        score: Shape (n,).
        weight: >= 0, shape (n,).
        observable: Where the curves will be looked up for each candidate, GeV, shape (n,); the generated mass
            where absent.
        n_bins: Number of equal-signal bins.
        n_grid: Number of masses of the table.

    Raises:
        InputError: If there is no signal, its scores are not finite, or they are all the same.
    """
    observable = mass if observable is None else observable
    mass, score, weight, observable = (np.asarray(v, np.float64) for v in (mass, score, weight, observable))
    keep = weight > 0
    mass, score, weight, observable = mass[keep], score[keep], weight[keep], observable[keep]
    if len(score) < 20:
        raise InputError(
            f"{len(score)} signal candidates to place score boundaries: at least 20 are needed; simulate more"
        )
    if not np.isfinite(score).all():
        raise InputError("scores of signal are NaN or infinite: a working point needs finite scores")
    distinct = np.unique(score)
    if len(distinct) == 1:
        raise InputError(f"all scores of signal are {distinct[0]:g}: a constant score has no working point")
    efficiencies = np.linspace(0, 1, n_bins + 1)
    levels = np.clip(efficiencies, 0.1 / n_bins, 1 - 0.1 / n_bins)
    groups = _mass_groups(mass)
    nodes = np.array([np.average(mass[g], weights=weight[g]) for g in groups])
    grid = np.linspace(mass.min(), mass.max(), n_grid) if len(nodes) > 1 else np.repeat(nodes, 2)
    if len(nodes) == 1:
        grid = grid + np.array([-1e-6, 1e-6])
    counts = np.array([weight[g].sum() ** 2 / np.sum(weight[g] ** 2) for g in groups])
    stretch = _stretch(grid[0], grid[-1])
    is_continuous = len(distinct) > _CONTINUOUS * len(score)  # to take a trend off would tear ties apart
    best: tuple[float, NDArray] | None = None
    for scale in _scales(score, weight):
        on_scale = np.interp(score, *scale)
        middle = np.zeros(len(grid))
        for quantiles in (_MIDDLE, _MIDDLE, 1 - levels) if is_continuous else (1 - levels,):
            left = on_scale - np.interp(observable, grid, middle)
            values = np.stack([_weighted_quantiles(left[g], weight[g], quantiles) for g in groups])
            error, smooth = _smooth_in_mass(stretch(nodes), values, counts, stretch(grid))
            if quantiles is _MIDDLE:
                middle = middle + smooth.mean(axis=1)
        if best is None or error < best[0]:
            curves = -np.sort(
                -(middle[:, None] + smooth), axis=1
            )  # neighbouring levels may cross by rounding
            best = error, np.interp(curves, scale[1], scale[0])
    assert best is not None
    return SignalQuantiles(grid, efficiencies, best[1])


def _scales(score: NDArray, weight: NDArray) -> list[tuple[NDArray, NDArray]]:
    """Monotonous scales to smooth on, as tables (scores, values): whichever is smoothest in mass is best.

    The score as it is, its log-odds if it is a probability, and its normal quantile in the pooled signal.
    """
    order = np.argsort(score, kind="stable")
    distinct = np.unique(score)
    cumulative = np.cumsum(weight[order])
    last = np.flatnonzero(np.append(np.diff(score[order]) > 0, True))
    first = np.concatenate([[0], last[:-1] + 1])
    # ties share the middle of their ranks
    rank = 0.5 * (cumulative[last] + np.concatenate([[0.0], cumulative])[first]) / cumulative[-1]
    edge = 0.1 / len(score)
    scales = [(distinct, ndtri(np.clip(rank, edge, 1 - edge)))]
    if np.ptp(distinct) > 0 and len(distinct) > 2:
        scales.append((distinct, distinct))
        if distinct[0] >= 0 and distinct[-1] <= 1:
            tiny = 1e-7  # about what float32 resolves next to one
            scales.append((distinct, np.log(distinct + tiny) - np.log1p(tiny - distinct)))
    return scales


def _mass_groups(mass: NDArray) -> list[NDArray[np.int64]]:
    """Rows by group of neighbouring masses; a mass that was generated many times is a group of its own."""
    order = np.argsort(mass, kind="stable")
    distinct, counts = np.unique(mass, return_counts=True)
    if len(distinct) <= _MAX_NODES and counts.min() >= 20:
        return np.split(order, np.cumsum(counts)[:-1])
    n_groups = int(np.clip(len(mass) / _ROWS_PER_NODE, 1, _MAX_NODES))
    return list(np.array_split(order, n_groups))


def _stretch(low: float, high: float) -> Callable[[NDArray], NDArray]:
    """Mass, drawn out towards both ends: kinematics change fast where a photon gets soft."""
    offset = 0.02 * max(high - low, 1e-9)  # an end is so far from where the logarithm is infinite
    scale = np.log((high - low) / offset + 1)

    def coordinate(mass: NDArray) -> NDArray:
        from_low, from_high = np.maximum(mass - low, 0), np.maximum(high - mass, 0)
        ends = np.log(from_low / offset + 1) - np.log(from_high / offset + 1)
        return np.asarray((mass - low) / max(high - low, 1e-9) + ends / scale)

    return coordinate


def _weighted_quantiles(values: NDArray, weight: NDArray, probabilities: NDArray) -> NDArray:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    return np.interp(probabilities, (total - 0.5 * weight[order]) / total[-1], values[order])


def _smooth_in_mass(x: NDArray, y: NDArray, counts: NDArray, at: NDArray) -> tuple[float, NDArray]:
    """Penalised cubic splines through (n_nodes, n_levels), smoothness by leave-one-out over the nodes.

    Levels that are alike share theirs: near its end a score is known much better than in its bulk.

    Returns:
        Mean squared error of left-out nodes in units of the nodes' own spread, and the curves at ``at``.
    """
    if len(x) <= 3:
        degree = len(x) - 1
        scaled = (x - x.mean()) / max(np.ptp(x), 1e-12)
        coefficients = np.polyfit(scaled, y, degree)
        return 0.0, np.vander((at - x.mean()) / max(np.ptp(x), 1e-12), degree + 1) @ coefficients
    # a knot at every n-th node: as fine as the sample is
    n_inner = min(len(x) - 2, 60)
    ranks = np.linspace(0, 1, n_inner)
    inner = np.quantile(x, ranks)
    inner[0], inner[-1] = min(x[0], at[0]), max(x[-1], at[-1])
    knots = np.concatenate([[inner[0]] * 3, inner, [inner[-1]] * 3])
    design = BSpline.design_matrix(x, knots, 3).toarray()
    # penalty: the integral of the squared second derivative, by Gauss-Legendre between the knots
    spans = np.diff(inner)
    gauss = np.array([-1, 1]) / np.sqrt(3)
    points = (inner[:-1, None] + spans[:, None] * (gauss + 1) / 2).ravel()
    second = BSpline(knots, np.eye(design.shape[1]), 3)(points, 2)
    penalty = second.T @ (np.repeat(spans / 2, 2)[:, None] * second) * np.ptp(inner) ** 3
    w = counts / counts.mean()
    quarter = y.shape[1] // 4
    spread = np.maximum(y[:, quarter] - y[:, -quarter - 1], 1e-12)
    information = design.T @ (w[:, None] * design)
    right = design.T @ (w[:, None] * y)
    errors, fitted = [], []
    for log_strength in np.linspace(-16, 6, 23):
        solved = np.linalg.solve(
            information + np.exp(log_strength) * penalty + 1e-10 * np.eye(len(penalty)),
            np.hstack([design.T * w, right]),
        )
        leverage = np.einsum("ij,ji->i", design, solved[:, : len(x)])
        fitted.append(solved[:, len(x) :])
        residual = (y - design @ fitted[-1]) / np.maximum(1 - leverage, 1e-6)[:, None]
        errors.append(np.mean(w[:, None] * residual**2, axis=0))
    by_level = np.array(errors)  # (n_strengths, n_levels)
    normal = ndtri((np.arange(y.shape[1]) + 0.5) / y.shape[1])
    alike = np.exp(-0.5 * ((normal[:, None] - normal) / _LIKE_LEVELS) ** 2)
    relative = by_level / np.maximum(by_level.min(axis=0), 1e-300)
    picked = np.argmin(relative @ (alike / alike.sum(axis=0)), axis=0)
    level = np.arange(y.shape[1])
    error = float(np.mean(by_level[picked, level][1:-1] / np.mean(spread**2)))
    coefficients = np.array(fitted)[picked, :, level].T
    inside = np.clip(at, inner[0], inner[-1])
    return error, BSpline(knots, coefficients, 3)(inside)
