"""Background in mass windows by category, borrowed from neighbouring masses where simulation is thin.

The stated model: over neighbouring masses the logarithm of each category's density is a straight line, so a
thin category's share is measured in a wider window, at its mass, and multiplied with the total of the narrow
one; where even the total is thin, its density in a wider window stands in. A window that the end of the
spectrum cuts short on one side would be wrong to first order without the slope.

References:
    C. Loader, Ann. Statist. 24 (1996) 1602 (local likelihood density estimation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.evaluation.bootstrap import bootstrap_sums
from darksieve.evaluation.windows import Windows

_EVENTS_OF_NO_SLOPE = 5.0
POOLING_FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # widths in units of the window


@dataclass(frozen=True, eq=False)
class BackgroundRows:
    """Background candidates as the counting needs them, shape (n,) each.

    Attributes:
        observable: In GeV.
        column: Category or fine bin of the row, 0 … n_columns - 1.
        weight: Expected data events per row, >= 0.
        key: Hash of the row's event.
        n_columns: Number of columns.
        pool_range: Range of the observable that wider windows keep to: beyond the signal's masses
            categories mean something else.
    """

    observable: NDArray[np.float64]
    column: NDArray[np.int64]
    weight: NDArray[np.float64]
    key: NDArray[np.uint64]
    n_columns: int
    pool_range: tuple[float, float] = (-np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class BackgroundEstimate:
    """Expected background in windows around masses.

    Attributes:
        expected: Events in the window, shape (n_masses, n_columns).
        effective_events: (Σw)²/Σw² of the window itself, same shape.
        pooled_effective_events: Of the rows that the estimate rests on (``telling_events``), same shape.
        factor: Width of the window that the share comes from, in units of the window, same shape.
        total_factor: The same for the total, shape (n_masses,).
        replicates: Bootstrap replicates of ``expected``, shape (n_replicates, n_masses, n_columns).
    """

    expected: NDArray[np.float64]
    effective_events: NDArray[np.float64]
    pooled_effective_events: NDArray[np.float64]
    factor: NDArray[np.float64]
    total_factor: NDArray[np.float64]
    replicates: NDArray[np.float64]


def effective_events(sum_of_weights: NDArray, sum_of_squares: NDArray) -> NDArray[np.float64]:
    """(Σw)²/Σw², 0 where there is nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sum_of_squares > 0, sum_of_weights**2 / sum_of_squares, 0.0)


def telling_events(sum_of_weights: NDArray, sum_of_squares: NDArray) -> NDArray[np.float64]:
    """Effective events of each column, at most as many as its yield is of the typical ones in the window.

    A thousand light events say nothing of heavy ones, of which the window happens to hold none in a column.

    Args:
        sum_of_weights: Shape (..., n_columns), as all.
        sum_of_squares: Of the weights.
    """
    own = effective_events(sum_of_weights, sum_of_squares)
    total, squares = sum_of_weights.sum(axis=-1, keepdims=True), sum_of_squares.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        typical = np.where(squares > 0, sum_of_weights * total / squares, 0.0)
    return np.minimum(own, typical)


def local_density(
    counts: NDArray, moments: NDArray, at: NDArray, low: NDArray, high: NDArray, events: NDArray
) -> NDArray[np.float64]:
    """Density at a point of a window, its logarithm a straight line there (maximum likelihood).

    Args:
        counts: Sums of weights in the window, >= 0.
        moments: Sums of weight times position.
        at: Where the density is asked for; outside the window it is that of the end.
        low: Lower end of the window.
        high: Upper end.
        events: Effective events; few say little of a slope, which is drawn towards 0.

    Returns:
        In the shape of the counts.
    """
    middle, half = 0.5 * (low + high), np.maximum(0.5 * (high - low), 1e-12)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(counts > 0, (moments / np.where(counts > 0, counts, 1.0) - middle) / half, 0.0)
    mean = np.clip(mean, -0.95, 0.95) * events / (events + _EVENTS_OF_NO_SLOPE)
    slope = mean * (3 - mean**2) / (1 - mean**2)  # coth(t) - 1/t = mean, to 5 %
    for _ in range(2):
        near = np.abs(slope) < 1e-3
        t = np.where(near, 1.0, slope)
        value = 1 / np.tanh(t) - 1 / t - mean
        step = value / (1 / t**2 - 1 / np.sinh(t) ** 2)
        slope = np.where(near, slope, slope - step)
    t = np.where(np.abs(slope) < 1e-6, 1e-6, slope)
    place = np.clip((at - middle) / half, -1, 1)
    shape = t / np.sinh(t) * np.exp(t * place)
    return np.asarray(np.where(counts > 0, counts / (2 * half) * shape, 0.0), np.float64)


def wide_windows(rows: BackgroundRows, masses: NDArray, half_width: NDArray, factor: ArrayLike) -> Windows:
    """Windows of mass ± factor · half_width inside the range for pooling, never below factor 1."""
    plain = Windows.around(masses, half_width)
    wide = Windows.around(masses, np.asarray(factor) * half_width)
    low, high = rows.pool_range
    return Windows(
        np.minimum(np.maximum(wide.low, low), plain.low), np.maximum(np.minimum(wide.high, high), plain.high)
    )


def estimate_background(
    rows: BackgroundRows,
    masses: ArrayLike,
    half_width: ArrayLike,
    *,
    min_effective_events: float = 400.0,
    min_total_events: float | None = None,
    first_column: int = 0,
    n_replicates: int = 0,
    seed: int = 0,
) -> BackgroundEstimate:
    """Background by column in mass ± half_width, pooled only where it has to be.

    Args:
        rows: The background.
        masses: Centres, shape (n_masses,).
        half_width: Of the window in GeV, shape (n_masses,).
        min_effective_events: A column with fewer is measured in the narrowest wider window that has them.
        min_total_events: The same for the total of all columns; as ``min_effective_events`` where absent.
        first_column: Columns below it (what is rejected) count in the total but need no events of their own.
        n_replicates: Bootstrap replicates by event.
        seed: Of the bootstrap.
    """
    masses = np.asarray(masses, np.float64)
    half_width = np.broadcast_to(np.asarray(half_width, np.float64), masses.shape)
    min_total = min_effective_events if min_total_events is None else min_total_events
    windows = [wide_windows(rows, masses, half_width, f) for f in POOLING_FACTORS]
    low = rows.observable.min() if len(rows.observable) else 0.0
    high = rows.observable.max() if len(rows.observable) else 0.0

    n = rows.n_columns
    total_index = np.full(len(masses), -1)
    index = np.full((len(masses), n), -1)
    index[:, :first_column] = 0
    sums: dict[int, NDArray] = {}
    squares: dict[int, NDArray] = {}
    for i, window in enumerate(windows):
        sums[i] = window.sums(rows.observable, rows.column, rows.weight, n)
        squares[i] = window.sums(rows.observable, rows.column, rows.weight**2, n)
        of_columns = telling_events(sums[i], squares[i])
        of_total = effective_events(sums[i].sum(axis=1), squares[i].sum(axis=1))
        index[(index < 0) & (of_columns >= min_effective_events)] = i
        total_index[(total_index < 0) & (of_total >= min_total)] = i
        if (index >= 0).all() and (total_index >= 0).all():
            break
    widest = max(sums)
    first = {
        i: windows[i].sums(rows.observable, rows.column, rows.weight * rows.observable, n)
        for i in sums
        if i > 0
    }
    index[index < 0] = widest
    total_index[total_index < 0] = widest

    def widths(i: int) -> NDArray:
        return np.minimum(windows[i].high, high) - np.maximum(windows[i].low, low)

    def at_mass(i: int, counts: NDArray, moments: NDArray) -> NDArray:
        """Events in the narrow window as the density of window i has them at its mass."""
        if i == 0:
            return counts
        start, stop = np.maximum(windows[i].low, low), np.minimum(windows[i].high, high)
        events = effective_events(sums[i], squares[i])
        if counts.shape[-1] == 1:
            events = effective_events(sums[i].sum(axis=1), squares[i].sum(axis=1))[:, None]
        density = local_density(counts, moments, masses[:, None], start[:, None], stop[:, None], events)
        return density * np.maximum(widths(0), 0)[:, None]

    def combine(of_windows: dict[int, NDArray], moments: dict[int, NDArray]) -> NDArray:
        """Shape (..., n_masses, n_columns) from the sums of each window in use and its first moments."""
        expected = np.zeros_like(of_windows[min(of_windows)])
        total = np.zeros(expected.shape[:-1])
        for i in np.unique(total_index):
            everything = [
                v.sum(axis=-1, keepdims=True) for v in (of_windows[i], moments.get(i, of_windows[i]))
            ]
            total = np.where(total_index == i, at_mass(i, *everything)[..., 0], total)
        for i in np.unique(index):
            there = at_mass(i, of_windows[i], moments.get(i, of_windows[i]))
            of_all = there.sum(axis=-1, keepdims=True)
            share = np.where(of_all > 0, there / np.where(of_all > 0, of_all, 1.0), 0.0)
            expected = np.where(index == i, total[..., None] * share, expected)
        return expected

    used = sorted({*np.unique(index).tolist(), *np.unique(total_index).tolist()})
    replicates = np.zeros((0, len(masses), n))
    if n_replicates:
        of_windows: dict[int, NDArray] = {}
        moments: dict[int, NDArray] = {}
        for i in used:
            # every row counts where totals are drawn; else only thin columns, whose share is what fluctuates
            columns = np.flatnonzero((index == i).any(axis=0))
            everything = i == 0 or bool((total_index == i).any())
            pick = slice(None) if everything else np.isin(rows.column, columns)
            cell = windows[i].cells(rows.observable)[pick] * n + rows.column[pick]
            n_cells = windows[i].n_cells * n
            for power, found, into in ((0, sums[i], of_windows), (1, first.get(i), moments)):
                if found is None:
                    continue
                drawn = bootstrap_sums(
                    cell, rows.weight[pick] * rows.observable[pick] ** power, rows.key[pick],
                    n_cells=n_cells, n_replicates=n_replicates, seed=seed,
                )  # fmt: skip
                drawn = windows[i].from_cells(drawn.reshape(n_replicates, -1, n))
                if not everything:
                    drawn[..., np.setdiff1d(np.arange(n), columns)] = np.delete(found, columns, axis=1)
                into[i] = np.where(sums[i] > 0, np.maximum(drawn, 0.0), 0.0)
        replicates = combine(of_windows, moments)
    pooled = np.zeros((len(masses), n))
    for i in np.unique(index):
        pooled = np.where(index == i, telling_events(sums[i], squares[i]), pooled)
    return BackgroundEstimate(
        expected=combine({i: sums[i] for i in used}, first),
        effective_events=effective_events(sums[0], squares[0]),
        pooled_effective_events=pooled,
        factor=np.asarray(POOLING_FACTORS)[index],
        total_factor=np.asarray(POOLING_FACTORS)[total_index],
        replicates=replicates,
    )
