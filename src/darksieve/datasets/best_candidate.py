"""The best candidate of an event, where an event has several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.events import Events
from darksieve.errors import InputError

KEEP = ("highest", "lowest")


@dataclass(frozen=True)
class BestCandidate:
    """Which candidate of an event is kept.

    Attributes:
        by: Column that is compared; a candidate in which it is missing (NaN) is the worst.
        keep: Whether the highest or the lowest value is the best. Of equal ones the lowest ``__candidate__``
            is kept, and where that is equal, too, the first.

    Raises:
        InputError: If ``keep`` is neither.
    """

    by: str
    keep: str = "highest"

    def __post_init__(self) -> None:
        if self.keep not in KEEP:
            raise InputError(f"candidates.best.keep is {self.keep!r}; it is one of {list(KEEP)}")

    def choose(self, events: Events, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The best candidate of each event of each sample, among some rows, shape (n,).

        Args:
            events: Candidates; those of one event need not be in consecutive rows, but must all be there.
            rows: Candidates that are compared, shape (n,).
        """
        some = np.flatnonzero(rows)
        value = np.asarray(events[self.by], dtype=np.float64)[some]
        if self.keep == "highest":
            value = -value  # NaN is sorted last
        key, sample = events.key[some], events.sample_index[some]
        order = np.lexsort((events.candidate[some], value, sample, key))
        key, sample = key[order], sample[order]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (key[1:] != key[:-1]) | (sample[1:] != sample[:-1])
        best = np.zeros(len(events), dtype=bool)
        best[some[order[is_first]]] = True
        return best


@dataclass(frozen=True)
class Multiplicity:
    """How many candidates the events of one sample have.

    Attributes:
        n_candidates: Candidates.
        n_events: Events with at least one.
        n_events_with_several: Events with more than one.
        most: Most candidates in one event.
        n_kept: Candidates that were kept.
        n_events_with_truth: Events one of whose candidates is the true one; None where truth is unknown.
        n_true_kept: Those of them in which the true one was kept.
    """

    n_candidates: int
    n_events: int
    n_events_with_several: int
    most: int
    n_kept: int
    n_events_with_truth: int | None = None
    n_true_kept: int | None = None

    @classmethod
    def of(
        cls, events: Events, rows: NDArray[np.bool_], kept: NDArray[np.bool_], truth: str | None = None
    ) -> Multiplicity:
        """Count the candidates of one sample.

        Args:
            events: Candidates, n of them.
            rows: Those of the sample that were compared, shape (n,).
            kept: Those that were kept, shape (n,).
            truth: Column that is 1 for a true candidate.
        """
        _, event, counts = np.unique(events.key[rows], return_inverse=True, return_counts=True)
        n_true = n_true_kept = None
        if truth is not None:
            is_true = np.asarray(events[truth][rows] == 1)
            n_true = len(np.unique(event[is_true]))
            n_true_kept = int((is_true & kept[rows]).sum())
        return cls(
            n_candidates=len(event),
            n_events=len(counts),
            n_events_with_several=int((counts > 1).sum()),
            most=int(counts.max(initial=0)),
            n_kept=int((kept & rows).sum()),
            n_events_with_truth=n_true,
            n_true_kept=n_true_kept,
        )

    def __add__(self, other: Multiplicity) -> Multiplicity:
        """That of two parts of a sample which share no event."""

        def both(name: str) -> int | None:
            first, second = getattr(self, name), getattr(other, name)
            return None if first is None or second is None else first + second

        return Multiplicity(
            self.n_candidates + other.n_candidates,
            self.n_events + other.n_events,
            self.n_events_with_several + other.n_events_with_several,
            max(self.most, other.most),
            self.n_kept + other.n_kept,
            both("n_events_with_truth"),
            both("n_true_kept"),
        )

    def to_json(self) -> dict[str, float | int | None]:
        """The numbers, with candidates per event and the fraction in which the best is the true one."""
        per_event = self.n_candidates / self.n_events if self.n_events else None
        fraction = None
        if self.n_events_with_truth and self.n_true_kept is not None:
            fraction = self.n_true_kept / self.n_events_with_truth
        return {**vars(self), "candidates_per_event": per_event, "best_is_true": fraction}
