"""The full information of a score: fine equal-signal bins with a smooth background, and the limit they reach.

Thin bins fake information (a bin that happens to be empty looks pure), so background and signal densities
in the score are smoothed: the logarithm of the density is a polynomial in the normal quantile of the
signal efficiency (a straight line for two Gaussians of equal width), fitted to counts pooled over
neighbouring masses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray
from scipy.special import ndtri

from darksieve.evaluation.bootstrap import bootstrap_sums
from darksieve.evaluation.full_limit import objective_at
from darksieve.evaluation.objectives import Objective
from darksieve.evaluation.pooling import BackgroundRows, estimate_background, wide_windows
from darksieve.evaluation.windows import Windows

_MAX_NODES = 96
_EVENTS_OF_A_FIT = 10000.0  # effective events that a node pools where it can
_EVENTS_OF_A_TOTAL = 400.0
_EVENTS_OF_A_BIN = 10.0  # fewer simulated events are no evidence of how pure a bin is
_RIDGE = 0.1  # events; keeps a slope finite where one end of the score is empty


def smooth_shares(
    counts: NDArray, *, order: int, start: NDArray | None = None, n_steps: int = 40
) -> tuple[NDArray, NDArray]:
    """Smooth share of each equal-signal bin, by penalised Poisson maximum likelihood, many at once.

    Args:
        counts: Effective events by bin, shape (n, n_bins). The last bin, which also holds what lies below all
            signal, keeps its own share.
        order: Of the polynomial in the normal quantile.
        start: Coefficients to start from, shape (n, order + 1).
        n_steps: At most so many Newton steps.

    Returns:
        Shares of shape (n, n_bins), each row summing to 1 (or 0 where there are no events), and coefficients.
    """
    n_bins = counts.shape[1]
    x = ndtri((np.arange(n_bins - 1) + 0.5) / n_bins)
    design = legendre.legvander(2 * (x - x[0]) / (x[-1] - x[0]) - 1, order)
    body = counts[:, :-1]
    total = body.sum(axis=1)
    ridge = _RIDGE * np.arange(order + 1) ** 2
    if start is None:
        start = np.zeros((len(counts), order + 1))
        start[:, 0] = np.log(np.maximum(total, 0.5) / (n_bins - 1))
    beta = start.copy()

    def loss(b: NDArray) -> NDArray:
        eta = np.clip(b @ design.T, -50, 50)
        return np.sum(np.exp(eta) - body * eta, axis=1) + 0.5 * np.sum(ridge * b * b, axis=1)

    value = loss(beta)
    outer = design[:, :, None] * design[:, None, :]
    flat = outer.reshape(len(design), -1)
    for _ in range(n_steps):
        mean = np.exp(np.clip(beta @ design.T, -50, 50))
        hessian = (mean @ flat).reshape(len(beta), order + 1, order + 1) + np.diag(ridge + 1e-9)
        gradient = (body - mean) @ design - ridge * beta
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        length = np.ones(len(beta))
        new = beta + step
        new_value = loss(new)
        for _ in range(30):
            worse = new_value > value + 1e-9 * np.abs(value)
            if not worse.any():
                break
            length = np.where(worse, length / 2, length)
            new = beta + length[:, None] * step
            new_value = loss(new)
        done = np.max(np.abs(new_value - value)) < 1e-6
        beta, value = new, new_value
        if done:
            break
    shares = np.concatenate([np.exp(np.clip(beta @ design.T, -50, 50)), counts[:, -1:]], axis=1)
    norm = shares.sum(axis=1, keepdims=True)
    empty = counts.sum(axis=1) <= 0
    shares = np.where(empty[:, None], 0.0, shares / np.where(norm > 0, norm, 1.0))
    return shares, beta


def choose_order(counts: NDArray, orders: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)) -> int:
    """Polynomial order of least Akaike information, one for all rows of counts."""
    body = counts[:, :-1]
    n_bins = counts.shape[1]
    scores = []
    for order in orders:
        shares, _ = smooth_shares(counts, order=order)
        expected = shares[:, :-1] * counts.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_term = np.where(body > 0, body * np.log(body / np.maximum(expected, 1e-300)), 0.0)
        deviance = 2 * np.sum(log_term - body + expected)
        scores.append(deviance + 2 * (order + 1) * len(counts) * n_bins / max(n_bins - order - 2, 1))
    return orders[int(np.argmin(scores))]


@dataclass(frozen=True, eq=False)
class FineTable:
    """Signal and background of the fine bins of the score at nodes in mass.

    Attributes:
        masses: The nodes, shape (n_nodes,).
        signal: Efficiency by bin, shape (n_nodes, n_bins), purest bin first.
        background: Expected events by bin, same shape.
        counts: Effective simulated events that the background of each bin was smoothed from, same shape.
        event_weight: Expected events per simulated (effective) event that the shares rest on, shape
            (n_nodes,).
        n_parameters: Parameters of the smooth background of one node.
        replicates: Bootstrap replicates of the background, shape (n_replicates, n_nodes, n_bins).
        drawn_counts: The counts of the same replicates, same shape.
    """

    masses: NDArray[np.float64]
    signal: NDArray[np.float64]
    background: NDArray[np.float64]
    counts: NDArray[np.float64]
    event_weight: NDArray[np.float64]
    n_parameters: int
    replicates: NDArray[np.float64]
    drawn_counts: NDArray[np.float64]


def node_masses(masses: NDArray, max_nodes: int = _MAX_NODES) -> NDArray[np.float64]:
    """At most so many of the masses, evenly picked, both ends among them."""
    if len(masses) <= max_nodes:
        return masses
    return masses[np.unique(np.round(np.linspace(0, len(masses) - 1, max_nodes)).astype(int))]


def fine_table(
    rows: BackgroundRows,
    signal: NDArray,
    masses: NDArray,
    half_width: NDArray,
    *,
    n_replicates: int = 0,
    seed: int = 0,
) -> FineTable:
    """The table at the given nodes.

    Args:
        rows: Background; its column is the equal-signal bin, and n_columns counts one more for what passes
            nothing.
        signal: Efficiency by bin at the nodes, shape (n_nodes, n_bins).
        masses: Nodes.
        half_width: Half widths of the counting windows at the nodes, GeV.
        n_replicates: Bootstrap replicates by event.
        seed: Of the bootstrap.
    """
    n_bins = signal.shape[1]
    one_column = replace(rows, column=np.zeros_like(rows.column), n_columns=1)
    total = estimate_background(one_column, masses, half_width, min_effective_events=_EVENTS_OF_A_TOTAL)
    # shares come from the window that has events enough for a fit, the same one for all bins
    wide = estimate_background(one_column, masses, half_width, min_effective_events=_EVENTS_OF_A_FIT)
    window = wide_windows(rows, masses, half_width, wide.total_factor)
    pooled = _pooled_counts(rows, window, n_replicates, seed)
    counts, replicates, typical_weight = pooled
    counts_in = counts[:, :n_bins]
    order = choose_order(counts_in)
    shares, beta = smooth_shares(counts_in, order=order)
    in_bins = np.where(
        counts.sum(axis=1) > 0, counts_in.sum(axis=1) / np.maximum(counts.sum(axis=1), 1e-300), 0
    )
    background = total.expected * shares * in_bins[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        event_weight = np.where(
            counts.sum(axis=1) > 0, total.expected[:, 0] / counts.sum(axis=1), typical_weight
        )
    drawn = np.zeros((0, len(masses), n_bins))
    drawn_counts = replicates[:, :, :n_bins]
    if n_replicates:
        flat = drawn_counts.reshape(-1, n_bins)
        new_shares, _ = smooth_shares(flat, order=order, start=np.tile(beta, (n_replicates, 1)), n_steps=3)
        drawn = total.expected * new_shares.reshape(n_replicates, len(masses), n_bins) * in_bins[:, None]
    return FineTable(masses, signal, background, counts_in, event_weight, order + 1, drawn, drawn_counts)


def _pooled_counts(
    rows: BackgroundRows, window: Windows, n_replicates: int, seed: int
) -> tuple[NDArray, NDArray, NDArray]:
    """Effective counts by bin in the wide windows, their replicates, and the weight of one event."""
    n = rows.n_columns
    sums = window.sums(rows.observable, rows.column, rows.weight, n)
    squares = window.sums(rows.observable, rows.column, rows.weight**2, n)
    total, total_squares = sums.sum(axis=1), squares.sum(axis=1)
    typical = float(rows.weight.mean()) if len(rows.weight) else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(total > 0, total_squares / total, typical)  # of an effective event
    drawn = np.zeros((0, len(window), n))
    if n_replicates:
        cell = window.cells(rows.observable) * n + rows.column
        drawn = bootstrap_sums(
            cell, rows.weight, rows.key, n_cells=window.n_cells * n, n_replicates=n_replicates, seed=seed
        )
        drawn = np.maximum(window.from_cells(drawn.reshape(n_replicates, -1, n)), 0.0) / weight[:, None]
    return sums / weight[:, None], drawn, weight


@dataclass(frozen=True, eq=False)
class Ceiling:
    """Best limit that a score allows, relative to one bin without any cut.

    Attributes:
        masses: Nodes, shape (n_nodes,).
        relative_limit: Limit of the fine bins over that of one bin, shape (n_nodes,), at most 1.
        replicates: Shape (n_replicates, n_nodes).
        bias: Expected relative error of the limit from overfitting the background's shares, shape
            (n_nodes,): so much too good is the ceiling, on average.
    """

    masses: NDArray[np.float64]
    relative_limit: NDArray[np.float64]
    replicates: NDArray[np.float64]
    bias: NDArray[np.float64]

    def at(self, masses: NDArray) -> NDArray[np.float64]:
        """Relative limit at any masses, shape (n_masses,)."""
        return np.interp(masses, self.masses, self.relative_limit)

    def replicates_at(self, masses: NDArray) -> NDArray[np.float64]:
        """Shape (n_replicates, n_masses)."""
        return np.array([np.interp(masses, self.masses, r) for r in self.replicates]).reshape(-1, len(masses))


def _groups(counts: NDArray) -> NDArray[np.int64]:
    """Group of each bin, from the purest on, so that each holds events enough; shape of the counts."""
    before = np.cumsum(counts, axis=1) - counts  # a group takes bins up to the one that fills it
    steps = np.floor(before / _EVENTS_OF_A_BIN + 1e-9)
    return np.cumsum(np.diff(steps, axis=1, prepend=steps[:, :1]) > 0, axis=1)


def _in_groups(values: NDArray, group: NDArray) -> NDArray[np.float64]:
    """Sums over groups of bins, padded with empty ones to the same shape."""
    out = np.zeros_like(values)
    for i in range(len(values)):
        out[i] = np.bincount(group[i], values[i], values.shape[1])
    return out


def score_ceiling(table: FineTable, objective: Objective) -> Ceiling:
    """The ceiling of a score from its fine table; bins are joined where too few events say what they hold."""

    group = _groups(table.counts)
    signal = _in_groups(table.signal, group)
    judge = objective_at(objective, table.masses)

    def relative(background: NDArray) -> NDArray:
        floor = np.maximum(background, 1e-9 * background.sum(axis=-1, keepdims=True))
        one = judge(signal.sum(axis=-1, keepdims=True), floor.sum(axis=-1, keepdims=True))
        fine = judge(signal, _in_groups(floor, group))
        with np.errstate(invalid="ignore"):
            return np.where(np.isfinite(fine) & np.isfinite(one), fine / one, np.nan)

    with np.errstate(divide="ignore", invalid="ignore"):
        n_events = table.background.sum(axis=1) / table.event_weight
        # relative variance of Σs²/b from n_parameters fitted numbers is about n_parameters over the events
        bias = np.where(n_events > 0, -0.5 * table.n_parameters / n_events, np.nan)
    replicates = (
        np.array([relative(r) for r in table.replicates])
        if len(table.replicates)
        else np.zeros((0, len(table.masses)))
    )
    return Ceiling(table.masses, relative(table.background), replicates, bias)
