"""The tail of the background's score beyond the simulation: several stated families, and how far they differ.

The coordinate is x = -ln(signal efficiency above a score), in which the signal falls as e^-x by construction
and the background of many classifiers nearly exponentially, too. Families: an exponential fitted above the
93 % quantile of the background, one above its 98.5 % quantile, a generalised Pareto distribution above the
93 % quantile, and the polynomial in the normal quantile that smooths all fine bins (``ceiling``). They take
over, smoothly, beyond the last ``TAIL_EVENTS`` simulated events (pooled over neighbouring
masses): where there is simulation it speaks for itself. Choices are made on the last one, with one simulated
event more in each category: they stay within the simulation, and the families say what is uncertain there.

References:
    J. Pickands, Ann. Statist. 3 (1975) 119 (generalised Pareto tails).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.categories import yields_between
from darksieve.evaluation.ceiling import FineTable

FAMILIES = ("exponential_93", "exponential_985", "generalised_pareto", "normal")
TAIL_EVENTS = 30.0
FEWEST = 10.0  # events that a family is fitted to, at least
_QUANTILES = {"exponential_93": 0.93, "exponential_985": 0.985, "generalised_pareto": 0.93}
_SLOPES = np.geomspace(0.2, 40, 240)
_SHAPES = np.linspace(-0.8, 0.8, 33)
_TINY = 1e-300
_ANCHOR = 4.0  # times TAIL_EVENTS above which the family hangs on the smoothed simulation
_HARDLY_ANY = 0.1  # expected events: that a tail has fewer moves no limit by more than 3 %


@dataclass(frozen=True, eq=False)
class Tails:
    """Background of intervals of the score as the families have it: one model for every choice on a score.

    Attributes:
        table: Fine bins of all events, with replicates.
    """

    table: FineTable

    @cached_property
    def _families(self) -> tuple[FineTable, ...]:
        return tuple(tail_tables(self.table).values())

    @cached_property
    def _drawn(self) -> list[tuple[FineTable, ...]]:
        """Families fitted anew to each replicate."""
        parts = zip(self.table.replicates, self.table.drawn_counts, strict=True)
        return [
            tuple(tail_tables(replace(self.table, background=background, counts=counts)).values())
            for background, counts in parts
        ]

    def is_near(self, masses: NDArray) -> NDArray[np.bool_]:
        """Where there is any simulated event: else no family has anything to continue."""
        return np.interp(masses, self.table.masses, self.table.background.sum(axis=1) > 0) > 0.5

    def by_family(self, edges: NDArray, masses: NDArray) -> NDArray[np.float64]:
        """Expected events of categories.

        Args:
            edges: Their efficiency edges at the nodes, purest first, shape (n_nodes, n_categories).
            masses: GeV.

        Returns:
            Least pure first, shape (n_families, n_masses, n_categories).
        """
        return np.array([_at_masses(table, edges, masses) for table in self._families])

    def replicates(self, edges: NDArray, masses: NDArray) -> NDArray[np.float64]:
        """Replicates of the families' geometric mean, shape (n_replicates, n_masses, n_categories)."""
        drawn = [middle_of(np.array([_at_masses(t, edges, masses) for t in one])) for one in self._drawn]
        return np.array(drawn).reshape(-1, len(masses), edges.shape[1])


def middle_of(families: NDArray) -> NDArray[np.float64]:
    """What is expected where the families disagree: their geometric mean, over the first axis."""
    return np.asarray(np.exp(np.log(families).mean(axis=0)), np.float64)


def _at_masses(table: FineTable, edges: NDArray, masses: NDArray) -> NDArray[np.float64]:
    """Background of categories, least pure first, from a fine table: log-linear between its nodes."""
    _, background = yields_between(table, edges)
    at_nodes = np.log(np.maximum(background[:, ::-1], 1e-9))
    found = np.exp(np.stack([np.interp(masses, table.masses, column) for column in at_nodes.T], axis=1))
    return np.maximum(found, _HARDLY_ANY)


def tail_tables(table: FineTable) -> dict[str, FineTable]:
    """The table with its purest bins as each family has them.

    Args:
        table: Fine bins, purest first; its counts say where the simulation ends.

    Returns:
        Family -> table without replicates and event weight, of the same background above the bin where it
        takes over.
    """
    counts = table.counts
    cumulative = np.cumsum(counts, axis=1)
    # the last bin also holds what lies below all signal: no family continues that
    last = counts.shape[1] - 1
    anchor = np.minimum(_first(cumulative, np.full(len(counts), _ANCHOR * TAIL_EVENTS)), last)
    background = np.cumsum(table.background, axis=1)
    smooth = np.log(np.maximum(background, _TINY))
    weight = 1 / (1 + (cumulative / TAIL_EVENTS) ** 4)  # of the family
    none = table.replicates[:0]
    bare = replace(table, replicates=none, drawn_counts=none, event_weight=np.zeros(len(counts)))
    out = {}
    for family, quantile in _QUANTILES.items():
        # never fitted to less than what it is to continue
        fitted = np.maximum(np.minimum(_first(cumulative, (1 - quantile) * cumulative[:, -1]), last), anchor)
        pareto = family == "generalised_pareto"
        shares = _generalised_pareto(counts, fitted) if pareto else _exponential(counts, fitted)
        run = background.copy()
        for i, k in enumerate(anchor):
            at = np.maximum(shares[i, 1 : k + 1], _TINY)
            if k > 0:
                own = np.log(background[i, k - 1] + _TINY) + np.log(at / at[-1])
                w = weight[i, :k]
                run[i, :k] = np.exp(w * own + (1 - w) * smooth[i, :k])
        values = np.maximum(np.diff(run, axis=1, prepend=0.0), 0.0)
        out[family] = replace(bare, background=values)
    return out | {"normal": bare}


def tail_ratios(
    signal: NDArray,
    background: NDArray,
    tails: NDArray,
    limit: Callable[[NDArray, NDArray], NDArray],
) -> NDArray[np.float64]:
    """Limit with the background of each family over the limit with the expected one.

    Args:
        signal: Shape (n_masses, n_categories); categories of several channels side by side.
        background: Expected events, same shape.
        tails: The same as each family has it, shape (n_families, n_masses, n_categories); NaN where it has
            nothing to continue.
        limit: Of yields of that shape, shape (n_masses,).

    Returns:
        Shape (n_families, n_masses); NaN where there is no limit, or a category without a tail.
    """
    known = np.isfinite(tails)
    nominal = limit(signal, background)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.array([limit(signal, tail) / nominal for tail in np.where(known, tails, background)])
    return np.where(np.isfinite(ratios) & known.all(axis=-1), ratios, np.nan)


def _first(cumulative: NDArray, wanted: NDArray) -> NDArray[np.int64]:
    """Number of purest bins that stay below the wanted count."""
    return np.sum(cumulative < wanted[:, None], axis=1)


def _edges(k: int) -> NDArray[np.float64]:
    """x of the edges 0 … k over that of edge k, in the direction of the tail: infinite at edge 0."""
    with np.errstate(divide="ignore"):
        return np.log(max(k, 1) / np.arange(k + 1))


def _exponential(counts: NDArray, fitted: NDArray) -> NDArray[np.float64]:
    """Share of the events above edge k that lies above each purer edge, shape (n, n_bins + 1)."""
    out = np.zeros((counts.shape[0], counts.shape[1] + 1))
    for i, k in enumerate(fitted):
        x = _edges(int(k))
        survival = np.exp(-_SLOPES[:, None] * x)
        out[i, : k + 1] = survival[_best(survival, counts[i, :k])]
    return out


def _generalised_pareto(counts: NDArray, fitted: NDArray) -> NDArray[np.float64]:
    """As ``_exponential``; slope and shape by maximum likelihood on a grid."""
    out = np.zeros((counts.shape[0], counts.shape[1] + 1))
    slopes, shapes = (g.ravel()[:, None] for g in np.meshgrid(_SLOPES[::4], _SHAPES))
    for i, k in enumerate(fitted):
        x = _edges(int(k))
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            inner = np.maximum(1 + shapes * slopes * x, 0.0)
            survival = np.where(
                np.abs(shapes) < 1e-9, np.exp(-slopes * x), inner ** (-1 / np.where(shapes == 0, 1, shapes))
            )
        survival = np.nan_to_num(survival, nan=0.0, posinf=0.0)
        survival[:, 0] = 0.0
        out[i, : k + 1] = survival[_best(survival, counts[i, :k])]
    return out


def _best(survival: NDArray, counts: NDArray) -> int:
    """Row of greatest likelihood of binned counts; survival at the bins' edges, the last one 1."""
    if not counts.sum() > 0:
        return int(np.argmin(np.abs(np.log(survival[:, -2] + _TINY)))) if survival.shape[1] > 1 else 0
    likelihood = np.log(np.maximum(np.diff(survival, axis=1), _TINY)) @ counts
    return int(np.argmax(likelihood))
