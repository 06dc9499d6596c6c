"""Two scores on the same candidates: what one loses against the other, in AUC and in expected limit.

The reference is the exact likelihood ratio where it is known, or a network that was trained at all masses
where another has to interpolate between a few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError

N_BINS = 100  # of equal signal: a likelihood ratio of two classes loses 0.1 % of its reach in so many


@dataclass(frozen=True)
class ScoreComparison:
    """What a score loses against a reference on the same rows.

    Attributes:
        auc, reference_auc: Areas under the ROC curves.
        auc_loss: Reference's minus the score's, and its bootstrap error.
        limit_ratio: Expected limit of the reference over that of the score, both used in full: 1 is no loss,
            0.99 a limit that is 1 % worse. And its bootstrap error.
    """

    auc: float
    reference_auc: float
    auc_loss: float
    auc_loss_error: float
    limit_ratio: float
    limit_ratio_error: float


def compare_scores(
    score: ArrayLike,
    reference: ArrayLike,
    is_signal: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    n_bins: int = N_BINS,
    n_bootstrap: int = 50,
    seed: int = 0,
) -> ScoreComparison:
    """Compare two scores on candidates of one mass window.

    The expected limit of a score used in full goes as 1/√(Σ s²/b) over bins of equal signal, where many
    background events are expected: of it only the ratio is used, in which normalisations cancel.

    Args:
        score: Shape (n,), finite.
        reference: Of the same rows, shape (n,), finite.
        is_signal: Shape (n,).
        weight: Not negative, shape (n,); 1 where absent.
        n_bins: Of equal signal, in which the scores are used.
        n_bootstrap: Replicates; every row is an event of its own.
        seed: Of the bootstrap.

    Raises:
        InputError: If a score is not finite, or a class has fewer rows than there are bins.
    """
    signal = np.asarray(is_signal, bool)
    w = np.ones(len(signal)) if weight is None else np.asarray(weight, np.float64)
    both = [np.asarray(values, np.float64) for values in (score, reference)]
    for name, values in zip(("score", "reference"), both, strict=True):
        if not np.isfinite(values).all():
            raise InputError(f"the {name} is NaN or infinite in {int((~np.isfinite(values)).sum())} rows")
    for name, rows in (("signal", signal), ("background", ~signal)):
        if int(rows.sum()) < n_bins:
            raise InputError(
                f"scores are compared on {n_bins} bins: {int(rows.sum())} {name} rows are too few"
            )
    orders = [np.argsort(values, kind="stable") for values in both]
    rng = np.random.default_rng(seed)
    found = []
    for replicate in range(n_bootstrap + 1):
        times = w if replicate == 0 else w * rng.poisson(1.0, len(w))
        found.append([_auc_and_information(times[order], signal[order], n_bins) for order in orders])
    values = np.array(found)  # (replicates, score or reference, AUC or information)
    loss = values[:, 1, 0] - values[:, 0, 0]
    ratio = np.sqrt(values[:, 0, 1] / values[:, 1, 1])
    return ScoreComparison(
        auc=float(values[0, 0, 0]),
        reference_auc=float(values[0, 1, 0]),
        auc_loss=float(loss[0]),
        auc_loss_error=float(loss[1:].std(ddof=1)),
        limit_ratio=float(ratio[0]),
        limit_ratio_error=float(ratio[1:].std(ddof=1)),
    )


def _auc_and_information(weight: NDArray, signal: NDArray, n_bins: int) -> tuple[float, float]:
    """AUC, and Σ s²/b over bins of equal signal, of rows in rising order of the score."""
    s, b = np.where(signal, weight, 0.0), np.where(signal, 0.0, weight)
    below = np.cumsum(b)
    above_zero = np.cumsum(s)
    auc = float(s @ (below - 0.5 * b)) / (above_zero[-1] * below[-1])
    edges = np.searchsorted(above_zero, above_zero[-1] * np.arange(1, n_bins) / n_bins)
    in_bins = np.diff(np.concatenate([[0.0], below[edges], [below[-1]]])) / below[-1]
    shares = np.diff(np.concatenate([[0.0], above_zero[edges], [above_zero[-1]]])) / above_zero[-1]
    least = 1.0 / len(weight)  # of a bin that happens to be empty, less than one event
    return auc, float(np.sum(shares**2 / np.maximum(in_bins, least)))
