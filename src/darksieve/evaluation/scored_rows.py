"""Scored candidates as the choice of working points uses them: checked, sorted, divided into folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.datasets.folds import choice_fold_of
from darksieve.errors import InputError
from darksieve.evaluation.pooling import BackgroundRows
from darksieve.evaluation.signal_efficiency import SignalEfficiency, fit_signal_efficiency


class ScoredCandidates(Protocol):
    """What choosing needs of scores; ``darksieve.models.scores.Scores`` has it. Arrays of shape (n,)."""

    @property
    def key(self) -> NDArray: ...
    @property
    def label(self) -> NDArray: ...
    @property
    def weight(self) -> NDArray: ...
    @property
    def mass(self) -> NDArray: ...
    @property
    def observable(self) -> NDArray: ...
    @property
    def score(self) -> NDArray: ...


Resolution = Callable[[NDArray], NDArray]


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Signal inside its counting window, and background sorted by the observable; weights for all events.

    Attributes:
        signal_mass: Generated mass, GeV, shape (n_signal,), as all that begin with ``signal_``.
        signal_row: Position among the candidates that were given.
        observable: Of the background, GeV, shape (n_background,), as all that follow.
        row: Position among the candidates that were given.
        fold: Fold of the event for choosing, 0 … n_folds - 1.
        pool_range: Range of the observable in which neighbouring masses may be pooled.
        n_folds: Number of folds.
    """

    signal_mass: NDArray[np.float64]
    signal_observable: NDArray[np.float64]
    signal_score: NDArray[np.float64]
    signal_weight: NDArray[np.float64]
    signal_key: NDArray[np.uint64]
    signal_fold: NDArray[np.int8]
    signal_row: NDArray[np.int64]
    observable: NDArray[np.float64]
    score: NDArray[np.float64]
    weight: NDArray[np.float64]
    key: NDArray[np.uint64]
    fold: NDArray[np.int8]
    row: NDArray[np.int64]
    pool_range: tuple[float, float]
    n_folds: int

    def select(self, signal: NDArray, background: NDArray, share: float = 1.0) -> ScoredRows:
        """Some of the rows, weighted up by the share of the events that they stand for."""
        changed = {}
        for one in fields(self):
            values = getattr(self, one.name)
            if isinstance(values, np.ndarray):
                changed[one.name] = values[signal if one.name.startswith("signal_") else background]
        changed["signal_weight"] = changed["signal_weight"] / share
        changed["weight"] = changed["weight"] / share
        return replace(self, **changed)

    def without(self, fold: int) -> ScoredRows:
        """All folds but one: those that choose for it."""
        share = (self.n_folds - 1) / self.n_folds
        return self.select(self.signal_fold != fold, self.fold != fold, share)

    def with_weight_of(self, share: float) -> ScoredRows:
        """The same background, weighted up as it is but a share of the events."""
        return replace(self, weight=self.weight / share)

    def with_scores(self, score: NDArray) -> ScoredRows:
        """The same rows with another score of all candidates that were given."""
        return replace(self, signal_score=score[self.signal_row], score=score[self.row])

    def background_rows(
        self, column: NDArray, n_columns: int, rows: NDArray | None = None, share: float = 1.0
    ) -> BackgroundRows:
        """The background by column; of some rows, which stand for a share of the events."""
        pick = slice(None) if rows is None else rows
        return BackgroundRows(
            self.observable[pick],
            np.asarray(column[pick], np.int64),
            self.weight[pick] / share,
            self.key[pick],
            n_columns,
            self.pool_range,
        )


def as_resolution(resolution: Resolution | ArrayLike, masses: NDArray) -> Resolution:
    if callable(resolution):
        at = np.asarray(resolution(masses), np.float64)
        function: Resolution = resolution
    else:
        at = np.broadcast_to(np.asarray(resolution, np.float64), masses.shape)

        def function(m: NDArray) -> NDArray:
            return np.interp(m, masses, at)

    if not np.all(np.isfinite(at) & (at > 0)):
        raise InputError("the mass resolution must be positive and finite at every mass")
    return function


def scored_rows(
    scores: ScoredCandidates, sigma: Resolution, peak_sigma: float, n_folds: int = 2
) -> ScoredRows:
    """Check candidates and take what is needed of them.

    Raises:
        InputError: If a weight is negative or not finite, a score is not finite, or a fold lacks signal or
            background.
    """
    label = np.asarray(scores.label, np.float64)
    weight = np.asarray(scores.weight, np.float64)
    used = (label == 0) | (label == 1)
    if not np.isfinite(weight[used]).all() or (weight[used] < 0).any():
        raise InputError(
            f"weights go down to {np.nanmin(weight[used]):g}: working points need finite weights >= 0; "
            "remove or reweight these events in the samples' selection"
        )
    score = np.asarray(scores.score, np.float64)
    if not np.isfinite(score[used]).all():
        raise InputError(
            f"{int((~np.isfinite(score[used])).sum())} of {int(used.sum())} scores are NaN or infinite: "
            "working points need finite scores"
        )
    observable = np.asarray(scores.observable, np.float64)
    mass = np.asarray(scores.mass, np.float64)
    signal = label == 1
    background = (label == 0) & np.isfinite(observable) & (weight > 0)
    if not signal.any() or not background.any():
        missing = "signal" if not signal.any() else "background"
        raise InputError(f"no {missing} candidate: a working point needs both signal and background")
    if not np.isfinite(mass[signal]).all():
        raise InputError("signal candidates without a generated mass: name the sample's mass in the config")
    b = np.flatnonzero(background)
    b = b[np.argsort(observable[b], kind="stable")]  # windows are fast on sorted rows
    s = np.flatnonzero(signal)
    inside = np.abs(observable[s] - mass[s]) < peak_sigma * sigma(mass[s])
    s = s[inside & (weight[s] > 0)]
    if not len(s):
        raise InputError(f"no signal candidate lies within ±{peak_sigma:g} resolutions of its mass")
    key = np.asarray(scores.key, np.uint64)
    fold = choice_fold_of(key, n_folds)
    for name, rows in (("signal", s), ("background", b)):
        found = np.unique(fold[rows])
        if len(found) < n_folds:
            raise InputError(
                f"{name} candidates are in {len(found)} of {n_folds} folds: working points need events to"
                " choose and others to quote in each; simulate more"
            )
    ends = np.array([mass[s].min(), mass[s].max()])
    low, high = ends + np.array([-1, 1]) * peak_sigma * sigma(ends)
    return ScoredRows(
        mass[s], observable[s], score[s], weight[s], key[s], fold[s], s,
        observable[b], score[b], weight[b], key[b], fold[b], b,
        (float(low), float(high)), n_folds,
    )  # fmt: skip


def efficiency_of_all(rows: ScoredRows, mass_range: tuple[float, float] | None) -> SignalEfficiency:
    """Efficiency of all signal in its counting window."""
    return fit_signal_efficiency(
        rows.signal_mass, rows.signal_weight, np.ones(len(rows.signal_mass)), 1, mass_range=mass_range
    )
