"""Classifiers in a row: which candidates each is for, and what earlier ones let through to its training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config import ClassifierConfig, SearchConfig
from darksieve.datasets.events import Events
from darksieve.datasets.expressions import Expression
from darksieve.errors import InputError
from darksieve.models.bundle import Bundle
from darksieve.workflow.context import Context

Masks = Mapping[str, NDArray[np.bool_]]  # channel -> candidates that it selects


def bundle_path(context: Context, classifier: ClassifierConfig) -> Path:
    """Where the bundle of a classifier lies."""
    return context.run / "bundles" / classifier.name


def channels_of(config: SearchConfig, classifier: ClassifierConfig) -> tuple[str, ...]:
    """Channels that a classifier is for: all where the config names none."""
    return tuple(config.channels) if classifier.channels is None else tuple(classifier.channels)


def classifiers_of(config: SearchConfig, channel: str) -> tuple[ClassifierConfig, ...]:
    """Classifiers of a channel, in order; the last one's score is divided into categories."""
    return tuple(c for c in config.classifiers if channel in channels_of(config, c))


def earlier_classifiers(config: SearchConfig, classifier: ClassifierConfig) -> tuple[ClassifierConfig, ...]:
    """Those before it that share a channel with it."""
    position = [c.name for c in config.classifiers].index(classifier.name)
    own = set(channels_of(config, classifier))
    return tuple(c for c in config.classifiers[:position] if own & set(channels_of(config, c)))


def applies_to(config: SearchConfig, classifier: ClassifierConfig, masks: Masks) -> NDArray[np.bool_]:
    """Candidates that a classifier scores: those of its channels, shape (n,)."""
    return np.logical_or.reduce([masks[channel] for channel in channels_of(config, classifier)])


def score_where_it_applies(bundle: Bundle, events: Events, rows: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Out-of-fold scores of the rows, NaN for all others, shape (n,)."""
    score = np.full(len(events), np.nan, np.float32)
    score[rows] = bundle.score(events, np.flatnonzero(rows))
    return score


def gate(score: NDArray, events: Events, rows: NDArray[np.bool_], lets_through: float) -> float:
    """Score above which a share of the signal's weight lies, among the given rows.

    Raises:
        InputError: If there is no signal among them.
    """
    signal = np.flatnonzero(rows & (events.label == 1) & (events.weight > 0))
    if not len(signal):
        raise InputError("there is no signal to find the gate with")
    order = signal[np.argsort(score[signal], kind="stable")]
    share = np.cumsum(events.weight[order]) / events.weight[order].sum()
    return float(score[order[np.searchsorted(share, 1 - lets_through)]])


def training_rows(
    context: Context, events: Events, masks: Masks, classifier: ClassifierConfig
) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """Candidates that a classifier learns from, shape (n,), and how many each step left.

    They are of its channels and samples, pass its selection, and have passed the gates of the classifiers
    before it. A gate is a threshold in the out-of-fold score, per channel, that a share ``lets_through`` of
    the signal passes; the cut that the search applies is chosen later, with all others.

    Raises:
        InputError: If a step leaves no signal or no background.
    """
    config, place = context.config, f"classifiers.{classifier.name}"
    rows = applies_to(config, classifier, masks)
    steps: dict[str, Any] = {"channels": int(rows.sum())}
    if classifier.samples is not None:
        wanted = [i for i, sample in enumerate(events.samples) if sample.name in classifier.samples]
        rows = rows & np.isin(events.sample_index, wanted)
        steps["samples"] = int(rows.sum())
    if classifier.select is not None:
        rows = rows & Expression(classifier.select).select(events.columns)
        steps["select"] = int(rows.sum())
    _need_both(events, rows, f"{place}.samples and select leave")
    for earlier in earlier_classifiers(config, classifier):
        score = score_where_it_applies(
            Bundle.load(bundle_path(context, earlier)), events, applies_to(config, earlier, masks)
        )
        gates = {}
        passed = np.zeros(len(events), dtype=bool)
        for channel in channels_of(config, classifier):
            if channel not in channels_of(config, earlier):
                passed |= masks[channel]
                continue
            gates[channel] = gate(score, events, masks[channel], earlier.lets_through)
            passed |= masks[channel] & (score >= gates[channel])
        rows = rows & passed
        steps[earlier.name] = {"candidates": int(rows.sum()), "gates": gates}
        _need_both(events, rows, f"{place}: {earlier.name} lets through")
    return rows, steps


def _need_both(events: Events, rows: NDArray[np.bool_], what: str) -> None:
    label = events.label[rows]
    for value, name in ((1, "signal"), (0, "background")):
        if not (label == value).any():
            raise InputError(
                f"{what} no {name} to train on; name a sample of {name}, loosen select, or raise lets_through"
            )
