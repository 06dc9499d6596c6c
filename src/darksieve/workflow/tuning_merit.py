"""What a tuning minimises: the expected limit that a score could give, integrated over mass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config import ClassifierConfig
from darksieve.datasets.events import Events
from darksieve.datasets.folds import fold_of
from darksieve.errors import InputError
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.objectives import make_objective
from darksieve.evaluation.search_building import in_vetoes
from darksieve.evaluation.signal_shape import fit_signal_shape, position_of
from darksieve.models.feature_blocks import feature_matrix
from darksieve.workflow.cascade import channels_of
from darksieve.workflow.channels import observable_of, range_of
from darksieve.workflow.context import Context

N_MASSES = 24  # of each channel, spread evenly over the logarithm of the mass


@dataclass(frozen=True, eq=False)
class ChannelOfMerit:
    """One channel.

    Attributes:
        name: Its name.
        rows: Which events it selects, shape (n,).
        observable: In GeV of mass, shape (n,).
        masses: Where limits are asked for, GeV.
        sigma: Resolution there.
    """

    name: str
    rows: NDArray[np.bool_]
    observable: NDArray[np.float64]
    masses: NDArray[np.float64]
    sigma: NDArray[np.float64]

    def resolution(self, masses: NDArray) -> NDArray[np.float64]:
        """Resolution at any masses, GeV."""
        return np.interp(masses, self.masses, self.sigma)

    def chooser(
        self, events: Events, score: NDArray, rows: NDArray[np.intp], confidence_level: float
    ) -> Chooser:
        """Choices on a score of the events, shape (n,), of which some rows count."""
        return Chooser.of(
            _Scores(events, score, self.observable, rows),
            self.masses,
            self.resolution,
            limit=make_objective("expected_limit_sidebands", confidence_level=confidence_level),
            n_bootstrap=0,
        )


@dataclass(frozen=True, eq=False)
class LimitMerit:
    """Judges scores of events; smaller is better."""

    channels: tuple[ChannelOfMerit, ...]
    confidence_level: float

    def judge(self, events: Events, n_folds: int) -> Judge:
        """A judge of one trial, which is given fold after fold."""
        return Judge(self, events, n_folds)


@dataclass(eq=False)
class Judge:
    """Scores of the folds that were fitted so far, and the merit that they have."""

    merit: LimitMerit
    events: Events
    n_folds: int
    n_folds_seen: int = 0
    score: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.score = np.full(len(self.events), np.nan)
        self._fold = fold_of(self.events.key, self.n_folds)

    def with_fold(self, fold: int, classifier: Any, features: Sequence[str]) -> float:
        """Score the fold that this model has not seen; the mean log limit of all folds scored so far.

        Of each channel and mass it is the logarithm of the limit of the score in fine bins over that without
        any cut, so parts of the events are judged on one scale.
        """
        rows = np.flatnonzero(self._fold == fold)
        self.score[rows] = classifier.predict_proba(feature_matrix(self.events, features, rows))[:, 1]
        self.n_folds_seen += 1
        seen = np.isfinite(self.score)
        means = []
        for channel in self.merit.channels:
            pick = np.flatnonzero(seen & channel.rows)
            chooser = channel.chooser(self.events, self.score, pick, self.merit.confidence_level)
            ratio = chooser.ceiling.relative_limit
            means.append(float(np.nanmean(np.log(ratio))))
        return float(np.mean(means))


class _Scores:
    """Rows as the choice of working points takes them."""

    def __init__(self, events: Events, score: NDArray, observable: NDArray, rows: NDArray) -> None:
        self.key = events.key[rows]
        self.label = events.label[rows]
        self.weight = events.weight[rows]
        self.mass = events.mass[rows]
        self.observable = observable[rows]
        self.score = score[rows]


def limit_merit(
    context: Context, events: Events, masks: Mapping[str, NDArray[np.bool_]], classifier: ClassifierConfig
) -> LimitMerit:
    """The merit on the events that a classifier learns from, in its channels.

    Raises:
        InputError: If a channel has no signal.
    """
    channels = []
    for name in channels_of(context.config, classifier):
        observable = observable_of(context, name)
        rows = masks[name]
        values = np.asarray(events[observable], np.float64)
        signal = rows & (events.label == 1)
        if not signal.any():
            raise InputError(f"channel {name}: no signal candidate is left to tune with")
        shape = fit_signal_shape(
            values[signal],
            events.mass[signal],
            events.weight[signal],
            position=position_of(observable),
            name=f"signal in {name}",
        )
        low, high = range_of(context, name)
        low, high = max(low, shape.mass_range[0]), min(high, shape.mass_range[1])
        if context.config.scan.masses is not None:
            masses = np.unique([m for m in context.config.scan.masses if low <= m <= high])
        else:
            masses = np.geomspace(low, high, N_MASSES)
        masses = masses[~in_vetoes(masses, context.config.scan.vetoes)]
        squared = position_of(observable) == "mass_squared"
        in_mass = np.sqrt(np.maximum(values, 0)) if squared else values
        channels.append(ChannelOfMerit(name, rows, in_mass, masses, np.asarray(shape.sigma(masses))))
    return LimitMerit(tuple(channels), context.config.confidence_level)
