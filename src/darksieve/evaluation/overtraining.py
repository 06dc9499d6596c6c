"""Overtraining: whether a model scores the events that it learnt from otherwise than unseen events.

It does no harm to a result that is quoted out of fold, but says that more events or a smaller model would do
better.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kstwobign

from darksieve.evaluation.distances import kolmogorov_smirnov
from darksieve.evaluation.separation import auc_with_error


@dataclass(frozen=True)
class Overtraining:
    """One fold's model on its own training events and on the fold that was left out.

    Attributes:
        fold: The fold that was left out.
        auc_training: Area under the ROC curve on events of the training.
        auc_training_error: Its bootstrap error.
        auc_unseen: The same on the fold's own events.
        auc_unseen_error: Its bootstrap error.
        ks_signal: Kolmogorov-Smirnov distance between the scores of signal seen and unseen.
        p_signal: Probability of at least that distance for equal distributions, with effective numbers of
            events (asymptotic).
        ks_background: Distance for background.
        p_background: Its probability.
    """

    fold: int
    auc_training: float
    auc_training_error: float
    auc_unseen: float
    auc_unseen_error: float
    ks_signal: float
    p_signal: float
    ks_background: float
    p_background: float

    @property
    def difference(self) -> float:
        """Excess of the area on training events, in its own error."""
        error = np.hypot(self.auc_training_error, self.auc_unseen_error)
        return float((self.auc_training - self.auc_unseen) / error) if error > 0 else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self) | {"difference_in_errors": self.difference}


def measure_overtraining(
    fold: int,
    seen: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
    unseen: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
    *,
    n_bootstrap: int = 20,
    seed: int = 0,
) -> Overtraining:
    """Compare the scores of one model on events of its training and on others.

    Args:
        fold: Number of the fold that was left out.
        seen: Score, label (1 signal, 0 background), weight and event key of training events, each of shape
            (n,).
        unseen: The same of events of the fold.
        n_bootstrap: Replicates of the errors.
        seed: Of the bootstrap.

    Raises:
        InputError: If a class is absent in one of the two.
    """
    areas, parts = [], []
    for score, label, weight, key in (seen, unseen):
        areas.append(auc_with_error(score, label, weight, key, n_bootstrap=n_bootstrap, seed=seed))
        parts.append(tuple(np.asarray(values, np.float64) for values in (score, label, weight)))
    found = {}
    for name, wanted in (("signal", 1), ("background", 0)):
        samples = [(score[label == wanted], weight[label == wanted]) for score, label, weight in parts]
        (x, w), (y, v) = samples
        distance = kolmogorov_smirnov(x, y, w, v)
        found[f"ks_{name}"] = distance
        found[f"p_{name}"] = _probability(distance, w, v)
    return Overtraining(fold, areas[0].value, areas[0].error, areas[1].value, areas[1].error, **found)


def _probability(distance: float, first: NDArray, second: NDArray) -> float:
    """Asymptotic probability of at least this distance for two samples of the same distribution."""
    n, m = (float(w.sum()) ** 2 / float((w**2).sum()) for w in (first, second))
    return float(kstwobign.sf(distance * np.sqrt(n * m / (n + m))))
