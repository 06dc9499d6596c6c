"""How well a score separates: AUC, ROC, background at given efficiencies, sculpting of the observable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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


def kolmogorov_smirnov(
    first: ArrayLike,
    second: ArrayLike,
    first_weight: ArrayLike | None = None,
    second_weight: ArrayLike | None = None,
) -> float:
    """Largest distance between two weighted cumulative distributions, 0 … 1.

    Raises:
        ValueError: If one of the two is empty.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    w1 = np.ones(len(first)) if first_weight is None else np.asarray(first_weight, np.float64)
    w2 = np.ones(len(second)) if second_weight is None else np.asarray(second_weight, np.float64)
    if not w1.sum() > 0 or not w2.sum() > 0:
        raise ValueError("a distance needs two distributions that are not empty")
    values = np.concatenate([first, second])
    order = np.argsort(values, kind="stable")
    steps = np.concatenate([w1 / w1.sum(), -w2 / w2.sum()])[order]
    last = np.append(np.diff(values[order]) > 0, True)  # distances count after all equal values
    return float(np.abs(np.cumsum(steps)[last]).max())


@dataclass(frozen=True)
class Sculpting:
    """How much a cut changes the background's distribution of the observable.

    Attributes:
        signal_efficiency: Of the cut.
        distance: Kolmogorov-Smirnov distance between the background that passes and the one that does not.
        noise: Distance expected from the finite sample alone (mean of the Kolmogorov distribution).
        threshold: Score from which a candidate passes.
    """

    signal_efficiency: float
    distance: float
    noise: float
    threshold: float


def sculpting(
    score: ArrayLike,
    label: ArrayLike,
    observable: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    signal_efficiencies: Sequence[float] = SIGNAL_EFFICIENCIES,
) -> list[Sculpting]:
    """Sculpting of the observable by cuts of given signal efficiency.

    The passing and the failing background are independent samples, unlike before and after the cut, so the
    noise is 0.8687 √(1/n_pass + 1/n_fail) with effective numbers of events.

    Raises:
        InputError: As for ``weighted_auc``.
    """
    score, label = np.asarray(score, np.float64), np.asarray(label, np.float64)
    observable = np.asarray(observable, np.float64)
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, np.float64)
    roc = roc_curve(score, label, weight, n_points=None)
    background = (label == 0) & np.isfinite(observable)
    x, w, s = observable[background], weight[background], score[background]
    out = []
    for efficiency in signal_efficiencies:
        threshold = float(roc.threshold[np.searchsorted(roc.signal_efficiency, efficiency - 1e-12)])
        distance, noise = distance_of_passing(x, s >= threshold, w)
        out.append(Sculpting(float(efficiency), distance, noise, threshold))
    return out


def distance_of_passing(observable: ArrayLike, passing: ArrayLike, weight: ArrayLike) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance between rows that pass and that do not, and what chance alone gives.

    Args:
        observable: Shape (n,).
        passing: Shape (n,).
        weight: Not negative, shape (n,).

    Returns:
        Distance and mean of the Kolmogorov distribution for as many effective events; NaN where either part
        is empty.
    """
    x, w, cut = np.asarray(observable, np.float64), np.asarray(weight, np.float64), np.asarray(passing, bool)
    n_pass, n_fail = _effective(w[cut]), _effective(w[~cut])
    if n_pass == 0 or n_fail == 0:
        return float("nan"), float("nan")
    # mean of the Kolmogorov distribution: √(π/2) ln 2
    noise = float(np.sqrt(np.pi / 2) * np.log(2) * np.sqrt(1 / n_pass + 1 / n_fail))
    return kolmogorov_smirnov(x[cut], x[~cut], w[cut], w[~cut]), noise


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


class ClassifierScores(Protocol):
    """What the metrics need of scores; ``darksieve.models.scores.Scores`` has it. Arrays of shape (n,)."""

    @property
    def key(self) -> NDArray: ...
    @property
    def sample(self) -> NDArray: ...
    @property
    def label(self) -> NDArray: ...
    @property
    def weight(self) -> NDArray: ...
    @property
    def observable(self) -> NDArray: ...
    @property
    def fold(self) -> NDArray: ...
    @property
    def score(self) -> NDArray: ...


def classifier_metrics(
    scores: ClassifierScores,
    *,
    n_bootstrap: int = 50,
    seed: int = 0,
    processes: Mapping[str, str] | None = None,
    within: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """The entry of one classifier in ``metrics.json``, out of fold as the scores are.

    Args:
        scores: Signal (label 1) and background (label 0) are used, other rows are left out.
        n_bootstrap: Replicates of the errors, by event.
        seed: Of the bootstrap.
        processes: Sample -> process, where several samples are one process; by default each is its own.
        within: Rows that the scan looks at, shape (n,): of each process it is also told what is left there.

    Returns:
        auc, auc_error, folds, background_efficiency (by signal efficiency) and its errors, by_process (the
        same for each background process alone, its share of all background, and with ``within`` what is left
        ``in_scan``), sculpting. Numbers that do not exist are None.

    Raises:
        InputError: As for ``weighted_auc``.
    """
    label = np.asarray(scores.label, np.float64)
    columns = {
        "score": np.asarray(scores.score, np.float64),
        "label": label,
        "weight": np.asarray(scores.weight, np.float64),
        "key": np.asarray(scores.key, np.uint64),
    }
    fold = np.asarray(scores.fold)
    names, of_name = np.unique(np.asarray(scores.sample), return_inverse=True)
    process = np.array([(processes or {}).get(str(name), str(name)) for name in names] or [""])[of_name]
    options: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed}

    def entry(rows: NDArray) -> dict[str, Any]:
        picked = {name: values[rows] for name, values in columns.items()}
        auc = auc_with_error(**picked, **options)
        left = background_efficiency(**picked, **options)
        return {
            "auc": auc.value,
            "auc_error": _or_none(auc.error),
            "background_efficiency": {name: _or_none(m.value) for name, m in left.items()},
            "background_efficiency_error": {name: _or_none(m.error) for name, m in left.items()},
        }

    def in_scan(of_process: NDArray, of_signal: NDArray) -> dict[str, Any]:
        found: dict[str, Any] = {"n_candidates": int(of_process.sum())}
        weight = columns["weight"]
        if weight[of_process].sum() > 0 and weight[of_signal].sum() > 0:
            both = entry(np.flatnonzero(of_process | of_signal))
            return found | {name: both[name] for name in both if name.startswith("background_efficiency")}
        return found | {"background_efficiency": {}, "background_efficiency_error": {}}

    used = (label == 0) | (label == 1)
    result = entry(np.flatnonzero(used))
    result["folds"] = []
    for k in np.unique(fold[used]):
        rows = np.flatnonzero(used & (fold == k))
        picked = {name: values[rows] for name, values in columns.items() if name != "key"}
        try:
            result["folds"].append({"fold": int(k), "auc": weighted_auc(**picked)})
        except InputError:
            result["folds"].append({"fold": int(k), "auc": None})
    background_sum = columns["weight"][label == 0].sum()
    result["by_process"] = {}
    for name in np.unique(process[label == 0]):
        this = (label == 0) & (process == name)
        result["by_process"][str(name)] = {
            **entry(np.flatnonzero(this | (label == 1))),
            "share_of_background": float(columns["weight"][this].sum() / background_sum),
            "n_candidates": int(this.sum()),
        }
        if within is not None:
            result["by_process"][str(name)]["in_scan"] = in_scan(this & within, within & (label == 1))
    result["sculpting"] = [
        {
            "signal_efficiency": s.signal_efficiency,
            "ks_distance": _or_none(s.distance),
            "noise": _or_none(s.noise),
            "threshold": _or_none(s.threshold),
        }
        for s in sculpting(columns["score"], label, scores.observable, columns["weight"])
    ]
    return result


def _effective(weight: NDArray) -> float:
    squares = float(np.sum(weight**2))
    return float(np.sum(weight)) ** 2 / squares if squares > 0 else 0.0


def _spread(values: Sequence[float] | NDArray) -> float:
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.std(finite, ddof=1)) if len(finite) > 1 else float("nan")


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
