"""Toys of a point whose background's family is profiled: every toy is fitted with every family."""

from __future__ import annotations

from typing import Literal

import numpy as np

from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.envelope import PENALTY, combinations
from darksieve.evaluation.limits.family_curve import n_background_parameters
from darksieve.evaluation.limits.problem import Floats
from darksieve.evaluation.limits.search_toys import SearchToys


class EnvelopeToys(SearchToys):
    """As ``SearchToys``, with −ln L of a toy from the envelope of all families.

    Toys of a strength are thrown from the family that fits the data best there; blind, from the first.

    Args:
        model: As for ``SearchToys``; so are the others.
        penalty: Per free parameter of a family, in units of 2NLL.
    """

    def __init__(
        self,
        model: SearchModel,
        point: int,
        *,
        seed: np.random.SeedSequence,
        test_statistic: Literal["qtilde", "q"] = "qtilde",
        threads: int | None = None,
        penalty: float = PENALTY,
    ) -> None:
        super().__init__(model, point, seed=seed, test_statistic=test_statistic, threads=threads)
        self.members = [
            SearchToys(model, point, seed=seed, test_statistic=test_statistic, threads=threads, choice=choice)
            for choice in combinations(model, point)
        ]
        # in units of −ln L
        self.penalties = [
            0.5 * penalty * float(n_background_parameters(member.batch)[0]) for member in self.members
        ]
        self._best: dict[float, SearchToys] = {}

    def best(self, strength: float) -> SearchToys:
        """The family that fits the data best at a strength."""
        if strength not in self._best:
            self._best[strength] = self.members[0]
            if not self.batch.blind:
                counts, auxiliary = self.batch.rows.counts[None, :], self.batch.structure.auxiliary[:1]
                values = [
                    float(member._minima(counts, auxiliary, strength, strength, False)[0][0]) + penalty
                    for member, penalty in zip(self.members, self.penalties, strict=True)
                ]
                if not np.all(np.isnan(values)):
                    self._best[strength] = self.members[int(np.nanargmin(values))]
        return self._best[strength]

    def pulls(self, strength: float) -> Floats:
        """The nuisances of the best family there, shape (n_nuisances,)."""
        return self.best(strength).pulls(strength)

    def expectation(self, strength: float) -> Floats:
        """Expected counts of the best family there, shape (n_rows,)."""
        return self.best(strength).expectation(strength)

    def _minima(
        self, counts: Floats, auxiliary: Floats, strength: float | None, near: float, bounded: bool
    ) -> tuple[Floats, Floats]:
        pairs = [member._minima(counts, auxiliary, strength, near, bounded) for member in self.members]
        values = np.array([v + p for (v, _), p in zip(pairs, self.penalties, strict=True)])
        fitted = np.array([f for _, f in pairs])
        failed = np.isnan(values).any(axis=0)
        best = np.where(np.isnan(values), np.inf, values).argmin(axis=0)
        toys = np.arange(values.shape[1])
        return np.where(failed, np.nan, values[best, toys]), fitted[best, toys]
