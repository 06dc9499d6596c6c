"""Distances between distributions: what a cut on a score makes of the observable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.evaluation.separation import SIGNAL_EFFICIENCIES, roc_curve


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


def _effective(weight: NDArray) -> float:
    squares = float(np.sum(weight**2))
    return float(np.sum(weight)) ** 2 / squares if squares > 0 else 0.0
