"""The plan of a fold: which rows its model learns from, with which weights, and which stop it early."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.events import Events
from darksieve.datasets.folds import fold_of
from darksieve.errors import InputError
from darksieve.training.limit_rows import LimitRows
from darksieve.training.mass_matching import MassMatching, Target, match_masses

TRUE_PAIR = "is_true_pair"
_JUDGE_SALT = 1013  # divides the validation part, independently of folds and of itself
_VALIDATION_SALT = 1009  # divides events into fit and validation independently of their fold


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """Rows of one fold's training.

    Attributes:
        fold: The fold that is left out.
        rows: Positions in the events, ordered by event key and candidate, or rising; shape (n,).
        weight: Their weights with the matching's factors, shape (n,).
        validation: Rows that stop the fit early and are not in it otherwise, shape (n,).
        matchings: Column -> matching, in the order in which they were made.
        mass_range: Lowest and highest own mass of the signal in GeV, or None.
    """

    fold: int
    rows: NDArray[np.intp]
    weight: NDArray[np.float64]
    validation: NDArray[np.bool_]
    matchings: Mapping[str, MassMatching]
    mass_range: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class FoldPlanner:
    """Makes the plan of each fold.

    Attributes:
        events: All events.
        fold: Fold of each, shape (n,).
        mass_column: The candidate's own mass, or None.
        matching: How the classes are matched in it.
        decorrelate: Columns in which background is given the signal's distribution afterwards.
        matching_cap: Greatest factor of a matching over its mean.
        max_rows: Most rows of each class.
        validation_share: Part of the training events that stops the fit early.
        place: Start of error messages.
        in_blocks: Rows rise, to be read from front to back; the numbers then depend on their order.
    """

    events: Events
    fold: NDArray[np.int8]
    mass_column: str | None
    matching: Target
    decorrelate: tuple[str, ...]
    matching_cap: float
    max_rows: int | None
    validation_share: float
    place: str
    in_blocks: bool = False

    def plan(self, fold: int) -> FoldPlan:
        """The plan of one fold.

        Raises:
            InputError: If only one class is left to train on or to validate.
        """
        events = self.events
        is_signal = events.is_signal
        rows = np.flatnonzero(labelled(events) & (self.fold != fold) & (events.weight > 0))
        if not self.in_blocks or self.max_rows is not None:
            # By key: the numbers do not depend on the order of files and chunks.
            rows = rows[np.lexsort((events.candidate[rows], events.key[rows]))]
        if self.max_rows is not None:
            kept = np.zeros(len(rows), dtype=bool)
            for signal in (False, True):
                kept[np.flatnonzero(is_signal[rows] == signal)[: self.max_rows]] = True
            rows = rows[kept]
        if self.in_blocks:
            rows = np.sort(rows)
        self._need_both(is_signal[rows], f"fold {fold}: the training")
        weight = events.weight[rows].copy()
        matchings: dict[str, MassMatching] = {}
        targets: dict[str, Target] = {} if self.mass_column is None else {self.mass_column: self.matching}
        targets |= dict.fromkeys(self.decorrelate, "background_to_signal")
        for column, target in targets.items():
            values = events[column][rows]
            matchings[column] = match_masses(
                values, is_signal[rows], weight, target=target, cap=self.matching_cap
            )
            weight *= matchings[column].factor(values, is_signal[rows])
        rows, weight = rows[weight > 0], weight[weight > 0]
        validation = np.zeros(len(rows), dtype=bool)
        if self.validation_share > 0:
            parts = max(2, round(1 / self.validation_share))
            validation = fold_of(events.key[rows], min(parts, 127), _VALIDATION_SALT) == 0
            self._need_both(is_signal[rows][validation], f"fold {fold}: the validation part")
        self._need_both(is_signal[rows][~validation], f"fold {fold}: the training")
        mass_range = None
        if self.mass_column is not None:
            masses = events[self.mass_column][rows[is_signal[rows]]]
            mass_range = (float(masses.min()), float(masses.max()))
        return FoldPlan(fold, rows, weight, validation, matchings, mass_range)

    def limit_rows(self, plan: FoldPlan) -> LimitRows:
        """What a sensitivity needs to know of a fold's rows."""
        events, rows = self.events, plan.rows
        is_signal = events.is_signal[rows]
        return LimitRows(
            yields=events.weight[rows],
            true_mass=np.where(is_signal, events.mass[rows], np.nan),
            judges=fold_of(events.key[rows], 2, _JUDGE_SALT) == 0,
            expected_background=float(events.weight[labelled(events) & ~events.is_signal].sum()),
        )

    def auc(self, plan: FoldPlan, score: NDArray[np.float32]) -> float | None:
        """Area under the ROC curve on the fold that was left out, classes matched as in the training."""
        from sklearn.metrics import roc_auc_score

        rows = np.flatnonzero(labelled(self.events) & (self.fold == plan.fold))
        is_signal = self.events.is_signal[rows]
        weight = self.events.weight[rows].copy()
        for column, matching in plan.matchings.items():
            weight *= matching.factor(self.events[column][rows], is_signal)
        if not (weight[is_signal].any() and weight[~is_signal].any()):
            return None
        return float(roc_auc_score(is_signal, score[rows], sample_weight=weight))

    def _need_both(self, is_signal: NDArray[np.bool_], what: str) -> None:
        for signal, name in ((True, "signal"), (False, "background")):
            if not (is_signal == signal).any():
                raise InputError(
                    f"{self.place}: {what} has no {name} rows with weight; give more {name}, fewer folds or"
                    " wider selections"
                )


def labelled(events: Events) -> NDArray[np.bool_]:
    """Rows that are of a class: background, and correctly paired signal, shape (n,)."""
    signal = events.is_signal
    if TRUE_PAIR in events.columns:
        signal = signal & events[TRUE_PAIR].astype(bool)
    return events.is_background | signal


def digest_of(plans: Iterable[FoldPlan], keys: NDArray[np.uint64]) -> str:
    """SHA-256 over keys and weights of all training rows."""
    sha = hashlib.sha256()
    for plan in plans:
        for values in (keys[plan.rows], plan.weight, plan.validation):
            sha.update(np.ascontiguousarray(values).data)
    return sha.hexdigest()
