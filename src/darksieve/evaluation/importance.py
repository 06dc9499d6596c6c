"""What each feature is worth to a classifier: the merit that is lost when its values are shuffled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.datasets.events import Events

Merit = Callable[[NDArray[np.float64]], ArrayLike]  # scores (n,) -> merit, one number or one per mass
ScoreOf = Callable[[Events], NDArray]


@dataclass(frozen=True, eq=False)
class FeatureImportance:
    """One feature.

    Attributes:
        feature: Its name.
        merit: Merit with its values shuffled, mean over the repetitions, shape (n_merits,).
        loss: Merit of the untouched score less that, same shape.
        spread: Standard deviation of the loss over repetitions of the shuffling, same shape; NaN for one.
    """

    feature: str
    merit: NDArray[np.float64]
    loss: NDArray[np.float64]
    spread: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; None for what does not exist."""
        rows = {name: getattr(self, name) for name in ("merit", "loss", "spread")}
        return {"feature": self.feature} | {
            name: [float(v) if np.isfinite(v) else None for v in values] for name, values in rows.items()
        }


def shuffled_within(
    values: NDArray, column: NDArray | None, rng: np.random.Generator, rows_per_bin: int = 400
) -> NDArray:
    """Values shuffled among rows that are neighbours in a column (as a rule the mass), or among all.

    A score that is conditioned on a mass is then asked about rows of that mass, and not about pairs of
    features that no event could have.

    Args:
        values: Shape (n,).
        column: Shape (n,); None shuffles among all rows.
        rng: Of the shuffling.
        rows_per_bin: Rows that are shuffled among each other.
    """
    n = len(values)
    in_order = np.arange(n) if column is None else np.argsort(column, kind="stable")
    bins = np.zeros(n, np.int64) if column is None else np.arange(n) // rows_per_bin
    drawn = np.lexsort((rng.random(n), bins))  # sorted by bin, at random inside one
    out = np.empty_like(values)
    out[in_order] = values[in_order][drawn]
    return out


def permutation_importance(
    events: Events,
    features: Sequence[str],
    score_of: ScoreOf,
    merit: Merit,
    *,
    within: str | None = None,
    n_repeats: int = 1,
    seed: int = 0,
) -> list[FeatureImportance]:
    """Loss of merit for each feature, in the order of the features.

    What several features tell together is lost by none of them alone, so the losses do not add up.

    Args:
        events: Rows that the models which score them have not seen.
        features: Columns to shuffle, one at a time.
        score_of: Scores of events, out of fold: ``bundle.score``.
        merit: Of the scores of these rows; larger is better. It may return one number for each mass.
        within: Column among whose neighbours values are shuffled: the own mass of a conditioned model.
        n_repeats: Shufflings of each feature.
        seed: Of the shuffling; each feature has its own stream.

    References:
        L. Breiman, Mach. Learn. 45 (2001) 5.
    """
    whole = np.atleast_1d(np.asarray(merit(np.asarray(score_of(events), np.float64)), np.float64))
    column = None if within is None else np.asarray(events[within], np.float64)
    out = []
    for feature in features:
        name = np.frombuffer(feature.encode(), np.uint8)
        drawn = []
        for repeat in range(n_repeats):
            rng = np.random.default_rng([seed, repeat, *name.tolist()])
            shuffled = shuffled_within(events[feature], column, rng)
            score = np.asarray(score_of(events.with_columns(**{feature: shuffled})), np.float64)
            drawn.append(np.atleast_1d(np.asarray(merit(score), np.float64)))
        losses = whole - np.array(drawn)
        spread = losses.std(axis=0, ddof=1) if n_repeats > 1 else np.full(len(whole), np.nan)
        out.append(FeatureImportance(feature, np.mean(drawn, axis=0), losses.mean(axis=0), spread))
    return out
