"""Yields of categories by mass: counted, borrowed from neighbours, or of the tail beyond the simulation.

One model for every choice. What lies in an interval of the score has the background that is counted, and that
of the tail's families where next to nothing is. What does not (rectangular cuts) has the share of the
background that passes anywhere. Where neither is known, ``unknown`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.bootstrap import bootstrap_sums
from darksieve.evaluation.pooling import (
    BackgroundEstimate,
    BackgroundRows,
    effective_events,
    estimate_background,
)
from darksieve.evaluation.scored_rows import ScoredRows
from darksieve.evaluation.signal_efficiency import efficiency_points, fit_signal_efficiency
from darksieve.evaluation.tails import FEWEST, Tails, middle_of


@dataclass(frozen=True, eq=False)
class Counted:
    """Yields by mass and category, with replicates.

    Attributes:
        efficiency: Absolute, shape (n_masses, n_categories).
        efficiency_replicates: Shape (n_replicates, n_masses, n_categories).
        all_efficiency: Of all signal, shape (n_masses,).
        background: What was counted; its column 0 is rejected.
        expected: Background as counted, or modelled where there is next to nothing, shape (n_masses,
            n_categories).
        expected_replicates: Of the same, shape (n_replicates, n_masses, n_categories).
        tails: The same by family, where it matters, shape (n_families, n_masses, n_categories).
        unknown: Categories of which simulation says nothing, shape (n_masses, n_categories): their
            background is one simulated event.
        is_modelled: Where the background is not counted, shape (n_masses, n_categories).
        floor: Expected events of one simulated event.
        masses: GeV, shape (n_masses,).
        tail: Of the score, and the edges of the categories at its nodes; None where they divide no score.
    """

    efficiency: NDArray[np.float64]
    efficiency_replicates: NDArray[np.float64]
    all_efficiency: NDArray[np.float64]
    background: BackgroundEstimate
    expected: NDArray[np.float64]
    expected_replicates: NDArray[np.float64]
    tails: NDArray[np.float64]
    unknown: NDArray[np.bool_]
    is_modelled: NDArray[np.bool_]
    floor: float
    masses: NDArray[np.float64]
    tail: tuple[Tails, NDArray] | None = None

    @property
    def beyond(self) -> NDArray[np.bool_]:
        """Categories whose background is modelled, shape (n_masses, n_categories)."""
        return self.background.pooled_effective_events[:, 1:] < FEWEST

    def modelled(self, there: NDArray[np.bool_]) -> Counted:
        """With the model of the tail for all categories at some masses, for choices of which one needs it.

        Args:
            there: Shape (n_masses,).
        """
        if self.tail is None or not there.any():
            return self
        model, edges = self.tail
        families = model.by_family(edges, self.masses)
        use = (there & model.is_near(self.masses))[:, None]
        replicates = self.expected_replicates
        if len(replicates):
            replicates = np.where(use, model.replicates(edges, self.masses), replicates)
        return replace(
            self,
            expected=np.where(use, middle_of(families), self.expected),
            expected_replicates=replicates,
            tails=np.where(use, families, self.tails),
            is_modelled=self.is_modelled | use,
        )

    def yields(self) -> tuple[NDArray, NDArray]:
        """Signal and background."""
        return self.efficiency, self.expected

    def replicate_yields(self) -> tuple[NDArray, NDArray]:
        """The same, drawn by event."""
        return self.efficiency_replicates, self.expected_replicates


def count(
    rows: ScoredRows,
    signal_category: NDArray,
    category: NDArray,
    n_categories: int,
    *,
    masses: NDArray,
    half_width: NDArray,
    mass_range: tuple[float, float] | None,
    min_effective_events: float,
    n_bootstrap: int,
    seed: int,
    tail: tuple[Tails, NDArray] | None = None,
) -> Counted:
    """Yields of categories.

    Args:
        rows: All candidates.
        signal_category: Category of each signal candidate, 0 for rejected ones, shape (n_signal,).
        category: The same of the background, shape (n_background,).
        n_categories: Categories that are kept.
        masses: GeV.
        half_width: Of the windows, GeV.
        mass_range: Range of a flat signal sample.
        min_effective_events: See ``choose_working_points``.
        n_bootstrap: Replicates.
        seed: Of the bootstrap: equal seeds draw equal events.
        tail: Of the score, and the efficiency edges of the categories at its nodes (purest first), shape
            (n_nodes, n_categories); absent where categories are no intervals of the score.
    """
    n = n_categories
    points = efficiency_points(rows.signal_mass, mass_range)
    fit = fit_signal_efficiency(rows.signal_mass, rows.signal_weight, signal_category, n, points=points)
    everything = fit_signal_efficiency(
        rows.signal_mass, rows.signal_weight, np.ones(len(signal_category)), 1, points=points
    )
    efficiency_replicates = np.zeros((0, len(masses), n))
    if n_bootstrap:
        n_points = len(points.masses)
        sums = bootstrap_sums(
            signal_category.astype(np.int64) * n_points + points.point, rows.signal_weight, rows.signal_key,
            n_cells=(n + 1) * n_points, n_replicates=n_bootstrap, seed=seed,
        )  # fmt: skip
        values = sums.reshape(n_bootstrap, n + 1, n_points)[:, 1:] / points.widths
        refitted = fit.refitted(values) @ fit.design(masses).T
        efficiency_replicates = np.maximum(np.moveaxis(refitted, 1, 2), 0.0)
    of_categories = rows.background_rows(category, n + 1)
    background = estimate_background(
        of_categories, masses, half_width,
        min_effective_events=min_effective_events, first_column=1, n_replicates=n_bootstrap, seed=seed,
    )  # fmt: skip
    floor = float(np.sum(rows.weight**2) / np.sum(rows.weight))
    expected, replicates = (
        np.where(counted > 0, counted, floor)
        for counted in (background.expected[:, 1:], background.replicates[..., 1:])
    )
    beyond = background.pooled_effective_events[:, 1:] < FEWEST
    tails, unknown = expected[None], np.zeros(beyond.shape, bool)
    if tail is not None:
        model, edges = tail
        families = model.by_family(edges, masses)
        middle = middle_of(families)
        near = model.is_near(masses)[:, None]
        unknown = beyond & ~near
        expected = np.where(beyond & near, middle, expected)
        # where the simulation speaks all families agree, and what they differ from it is no matter of tails
        tails = np.where(near | ~beyond, expected * families / middle, np.nan)
        if n_bootstrap and (beyond & near).any():
            replicates = np.where(beyond & near, model.replicates(edges, masses), replicates)
    elif beyond.any():
        share, drawn_share, known = _share_anywhere(of_categories, n_bootstrap, seed)
        unknown = beyond & ~known
        use = beyond & known & (background.expected.sum(axis=1, keepdims=True) > 0)
        expected = np.where(use, background.expected.sum(axis=1, keepdims=True) * share, expected)
        total = background.replicates.sum(axis=2, keepdims=True)
        replicates = np.where(use, np.maximum(total * drawn_share[:, None], 1e-3 * floor), replicates)
        unknown |= beyond & ~use
        tails = expected[None]
    return Counted(
        fit(masses).T, efficiency_replicates, everything(masses)[0], background, expected, replicates, tails,
        unknown, beyond, floor, masses, tail,
    )  # fmt: skip


def _share_anywhere(
    rows: BackgroundRows, n_replicates: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Share of each category in all of the background, its replicates, and whether enough events tell it."""
    low, high = rows.pool_range
    inside = (rows.observable >= low) & (rows.observable <= high)
    column, weight, key = rows.column[inside], rows.weight[inside], rows.key[inside]
    sums = np.bincount(column, weight, rows.n_columns)
    squares = np.bincount(column, weight**2, rows.n_columns)
    known = effective_events(sums, squares)[1:] >= FEWEST
    drawn = bootstrap_sums(column, weight, key, n_cells=rows.n_columns, n_replicates=n_replicates, seed=seed)
    shares = [v / np.maximum(v.sum(axis=-1, keepdims=True), 1e-300) for v in (sums, drawn)]
    return shares[0][1:], shares[1][:, 1:], known
