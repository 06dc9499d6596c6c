"""How well a score separates: AUC, ROC, background at given signal efficiencies, with errors by event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError
from darksieve.evaluation.bootstrap import bootstrap_draws

SIGNAL_EFFICIENCIES = (0.9, 0.7, 0.5)


@dataclass(frozen=True)
class Measured:
    """A number with its statistical error."""

    value: float
    error: float


@numba.njit(cache=True)
def _auc_sorted(signal, background, group_end):  # type: ignore[no-untyped-def]  # pragma: no cover
    # weights sorted by score; rows up to each group_end share one score: ties count half
    below = 0.0
    total = 0.0
    signal_sum = 0.0
    start = 0
    for end in group_end:
        s = 0.0
        b = 0.0
        for i in range(start, end):
            s += signal[i]
            b += background[i]
        total += s * (below + 0.5 * b)
        below += b
        signal_sum += s
        start = end
    if signal_sum > 0.0 and below > 0.0:
        return total / (signal_sum * below)
    return np.nan


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Rows of signal and background by growing score."""

    score: NDArray[np.float64]
    signal: NDArray[np.float64]  # weight, 0 for background
    background: NDArray[np.float64]  # weight, 0 for signal
    key: NDArray[np.uint64]
    group_end: NDArray[np.int64]

    def draws(self, n_bootstrap: int, seed: int) -> Iterator[tuple[NDArray, NDArray]]:
        """Weights of signal and background in each replicate of a bootstrap by event."""
        for r in range(n_bootstrap):
            n = bootstrap_draws(self.key, replicate=r, seed=seed)
            yield self.signal * n, self.background * n


def _sorted(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None, key: ArrayLike | None) -> _Sorted:
    score, label = np.asarray(score, np.float64), np.asarray(label, np.float64)
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, np.float64)
    key = np.arange(len(score), dtype=np.uint64) if key is None else np.asarray(key, np.uint64)
    rows = np.flatnonzero((label == 0) | (label == 1))
    if not np.isfinite(score[rows]).all():
        raise InputError("scores are NaN or infinite: metrics need finite scores")
    if not np.isfinite(weight[rows]).all() or (weight[rows] < 0).any():
        raise InputError(f"weights go down to {np.nanmin(weight[rows]):g}: metrics need finite weights >= 0")
    rows = rows[np.argsort(score[rows], kind="stable")]
    is_signal = label[rows] == 1
    s, b = np.where(is_signal, weight[rows], 0.0), np.where(is_signal, 0.0, weight[rows])
    if not s.sum() > 0 or not b.sum() > 0:
        raise InputError("a metric needs both signal and background with positive weight")
    ends = np.append(np.flatnonzero(np.diff(score[rows]) > 0) + 1, len(rows))
    return _Sorted(score[rows], s, b, key[rows], ends)


def weighted_auc(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Probability that a signal candidate scores higher than one of background; ties count half. Exact.

    Args:
        score: Shape (n,).
        label: 1 signal, 0 background, other rows are left out, shape (n,).
        weight: >= 0, shape (n,); 1 where absent.

    Raises:
        InputError: If a score is not finite, a weight is negative, or one of the two classes is absent.
    """
    rows = _sorted(score, label, weight, None)
    return float(_auc_sorted(rows.signal, rows.background, rows.group_end))


def auc_with_error(
    score: ArrayLike,
    label: ArrayLike,
    weight: ArrayLike | None = None,
    key: ArrayLike | None = None,
    *,
    n_bootstrap: int = 50,
    seed: int = 0,
) -> Measured:
    """AUC with its error from a bootstrap by event.

    Args:
        score: Shape (n,).
        label: As for ``weighted_auc``.
        weight: As for ``weighted_auc``.
        key: Hash of each row's event; every row an event of its own where absent, shape (n,).
        n_bootstrap: Replicates.
        seed: Of the bootstrap.

    Raises:
        InputError: As for ``weighted_auc``.
    """
    rows = _sorted(score, label, weight, key)
    value = float(_auc_sorted(rows.signal, rows.background, rows.group_end))
    drawn = [_auc_sorted(s, b, rows.group_end) for s, b in rows.draws(n_bootstrap, seed)]
    return Measured(value, _spread(drawn))


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Efficiencies above falling thresholds, both from 0 to 1.

    Attributes:
        threshold: Scores, falling, shape (n,); a candidate passes at or above it. The first is infinite.
        signal_efficiency: Shape (n,).
        background_efficiency: Shape (n,).
    """

    threshold: NDArray[np.float64]
    signal_efficiency: NDArray[np.float64]
    background_efficiency: NDArray[np.float64]


def roc_curve(
    score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, *, n_points: int | None = 1000
) -> RocCurve:
    """The ROC curve, thinned to about n_points evenly spaced in signal efficiency (all where None).

    Raises:
        InputError: As for ``weighted_auc``.
    """
    rows = _sorted(score, label, weight, None)
    # walking down from the highest score: sums of whole groups of equal scores
    first = np.concatenate([[0], rows.group_end[:-1]])
    s = np.cumsum(np.add.reduceat(rows.signal, first)[::-1])
    b = np.cumsum(np.add.reduceat(rows.background, first)[::-1])
    threshold = np.concatenate([[np.inf], rows.score[first][::-1]])
    s, b = np.concatenate([[0.0], s / s[-1]]), np.concatenate([[0.0], b / b[-1]])
    if n_points is not None and len(s) > n_points:
        pick = np.unique(np.concatenate([[0, len(s) - 1], np.searchsorted(s, np.linspace(0, 1, n_points))]))
        pick = pick[pick < len(s)]
        threshold, s, b = threshold[pick], s[pick], b[pick]
    return RocCurve(threshold, s, b)


def _background_at(rows: _Sorted, signal: NDArray, background: NDArray, efficiencies: NDArray) -> NDArray:
    """Background efficiency where given shares of the signal pass, linear within equal scores."""
    first = np.concatenate([[0], rows.group_end[:-1]])
    s = np.concatenate([[0.0], np.cumsum(np.add.reduceat(signal, first)[::-1])])
    b = np.concatenate([[0.0], np.cumsum(np.add.reduceat(background, first)[::-1])])
    if not (s[-1] > 0 and b[-1] > 0):
        return np.full(len(efficiencies), np.nan)
    # where several thresholds have the same signal efficiency the loosest stands for them: no luck in
    # empty steps
    keep = np.append(np.diff(s) > 0, True)
    return np.interp(efficiencies, s[keep] / s[-1], b[keep] / b[-1])


def background_efficiency(
    score: ArrayLike,
    label: ArrayLike,
    weight: ArrayLike | None = None,
    key: ArrayLike | None = None,
    *,
    signal_efficiencies: Sequence[float] = SIGNAL_EFFICIENCIES,
    n_bootstrap: int = 50,
    seed: int = 0,
) -> dict[str, Measured]:
    """Share of the background that is left at given signal efficiencies, by efficiency as text ("0.9").

    Raises:
        InputError: As for ``weighted_auc``, or if an efficiency does not lie between 0 and 1.
    """
    at = np.asarray(signal_efficiencies, np.float64)
    if ((at <= 0) | (at >= 1)).any():
        raise InputError(f"signal efficiencies {list(signal_efficiencies)}: they lie between 0 and 1")
    rows = _sorted(score, label, weight, key)
    values = _background_at(rows, rows.signal, rows.background, at)
    drawn = np.array([_background_at(rows, s, b, at) for s, b in rows.draws(n_bootstrap, seed)])
    return {
        f"{e:g}": Measured(float(v), _spread(drawn[:, i]) if len(drawn) else float("nan"))
        for i, (e, v) in enumerate(zip(at, values, strict=True))
    }


def auc_by_mass(
    score: ArrayLike,
    label: ArrayLike,
    observable: ArrayLike,
    mass: ArrayLike,
    weight: ArrayLike | None,
    key: ArrayLike | None,
    *,
    masses: ArrayLike,
    half_width: ArrayLike,
    n_bootstrap: int = 50,
    seed: int = 0,
) -> list[Measured]:
    """AUC inside mass windows: background of the window against signal generated and found in it.

    Args:
        score: Shape (n,).
        label: Shape (n,).
        observable: Reconstructed mass, GeV, shape (n,).
        mass: Generated mass of signal, shape (n,).
        weight: Shape (n,) or None.
        key: Hash of each row's event, shape (n,), or None.
        masses: Centres of the windows, shape (n_windows,).
        half_width: Their half widths, GeV.
        n_bootstrap: Replicates.
        seed: Of the bootstrap.

    Returns:
        One for each window; NaN where a class is absent.
    """
    score, label, observable, mass = (np.asarray(v, np.float64) for v in (score, label, observable, mass))
    centres = np.atleast_1d(np.asarray(masses, np.float64))
    out = []
    for centre, half in zip(centres, np.broadcast_to(half_width, centres.shape), strict=True):
        inside = np.abs(observable - centre) < half
        inside &= (label == 0) | (np.abs(mass - centre) < half)
        pick = np.flatnonzero(inside)
        try:
            found = auc_with_error(
                score[pick],
                label[pick],
                None if weight is None else np.asarray(weight)[pick],
                None if key is None else np.asarray(key)[pick],
                n_bootstrap=n_bootstrap,
                seed=seed,
            )
        except InputError:
            found = Measured(float("nan"), float("nan"))
        out.append(found)
    return out


def _spread(values: Sequence[float] | NDArray) -> float:
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.std(finite, ddof=1)) if len(finite) > 1 else float("nan")
