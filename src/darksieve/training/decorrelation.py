"""Decorrelation: how a classifier is kept from learning variables that the search scans or fits.

Three ways, the same for every model: take away the features that tell (dropping), give the background the
signal's distribution of the variable (planing), or make the scores' dependence on it cost (a penalty on the
distance correlation). What is left is measured as sculpting after a cut, not by a correlation coefficient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from darksieve.datasets.events import Events
from darksieve.errors import InputError, nearest

Method = Literal["planing", "penalty", "dropping", "none"]
METHODS: tuple[str, ...] = get_args(Method)
_MOST_ROWS = 100_000  # of background in one rank correlation: its error is 0.003


@dataclass(frozen=True)
class Decorrelation:
    """Variables that a classifier shall not know, and what is done about it.

    Attributes:
        variables: Columns: of the scan, or of a fit.
        method: ``planing``: background is weighted to the signal's distribution in each; ``penalty``: scores
            pay for their distance correlation with each; ``dropping``: features that tell of one are left
            out; ``none``: nothing is done, only the sculpting is measured.
        strength: Of the penalty, beside the mean cross-entropy.
        threshold: Of dropping: the largest |Spearman rank correlation| in background that a feature may have.

    Raises:
        InputError: If the method is not known, or a number is out of range.
    """

    variables: tuple[str, ...] = ()
    method: Method = "planing"
    strength: float = 3.0
    threshold: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(dict.fromkeys(self.variables)))
        if self.method not in METHODS:
            known = f"there are {list(METHODS)}{nearest(self.method, METHODS)}"
            raise InputError(f"decorrelation.method {self.method!r} is not known; {known}")
        if not (np.isfinite(self.strength) and self.strength >= 0):
            raise InputError(f"decorrelation.strength is {self.strength}; it is a number of at least 0")
        if not 0 < self.threshold <= 1:
            raise InputError(f"decorrelation.threshold is {self.threshold}; it lies above 0, at most at 1")

    def uses(self, method: Method) -> tuple[str, ...]:
        """The variables, if this is the method."""
        return self.variables if self.method == method else ()


@dataclass(frozen=True)
class DroppedFeature:
    """A feature that was left out, and the variable that it told most of."""

    feature: str
    variable: str
    correlation: float

    def to_json(self) -> dict[str, Any]:
        """Plain mapping."""
        return dict(vars(self))


def rank_correlation(first: Any, second: Any) -> float:
    """Spearman's rank correlation of rows in which both are finite; 0 where one is constant or all are not.

    Args:
        first: Shape (n,).
        second: Shape (n,).
    """
    from scipy.stats import rankdata

    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = rankdata(a[both]), rankdata(b[both])
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def features_that_tell(
    events: Events, features: Sequence[str], decorrelation: Decorrelation, place: str
) -> tuple[DroppedFeature, ...]:
    """Features whose rank correlation with a protected variable in background is above the threshold.

    All folds of background decide together, so that the models of all folds have the same features.

    Args:
        events: With the features and the variables as columns.
        features: Candidates, in order.
        decorrelation: With method ``dropping``.
        place: Start of error messages.

    Raises:
        InputError: If no feature would be left.
    """
    rows = np.flatnonzero(events.is_background)
    if len(rows) > _MOST_ROWS:
        rows = rows[np.argsort(events.key[rows], kind="stable")[:_MOST_ROWS]]  # keys are uniform hashes
    dropped = []
    for feature in features:
        found = [
            (v, rank_correlation(events[feature][rows], events[v][rows])) for v in decorrelation.variables
        ]
        variable, correlation = max(found, key=lambda pair: abs(pair[1]))
        if feature in decorrelation.variables:
            variable, correlation = feature, 1.0
        if abs(correlation) > decorrelation.threshold:
            dropped.append(DroppedFeature(feature, variable, correlation))
    if len(dropped) == len(features):
        raise InputError(
            f"{place}: every feature has a rank correlation above {decorrelation.threshold:g} with one of"
            f" {list(decorrelation.variables)}; raise decorrelation.threshold, or use planing or penalty"
        )
    return tuple(dropped)
