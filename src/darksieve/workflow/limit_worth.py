"""Which feature buys how much limit: the rise of the expected limit by mass when it is shuffled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config import ClassifierConfig
from darksieve.datasets.events import Events
from darksieve.errors import InputError
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.importance import permutation_importance
from darksieve.evaluation.plots.style import Stamp
from darksieve.evaluation.report import Cell, Table
from darksieve.models.bundle import Bundle
from darksieve.workflow.context import Context
from darksieve.workflow.pictures import Pictures
from darksieve.workflow.tuning_merit import ChannelOfMerit, limit_merit

MOST_FEATURES = 12  # each is one more scoring and choice in every channel
N_REPEATS = 2
N_COLUMNS = 6  # masses of a table


def limit_worth(
    context: Context,
    events: Events,
    masks: Mapping[str, NDArray[np.bool_]],
    classifier: ClassifierConfig,
    bundle: Bundle,
    features: Sequence[str],
) -> dict[str, Any]:
    """Channel -> masses in GeV and, for each feature, the rise of the log expected limit there.

    The limit is that of the score in fine bins, of events that did not choose the bins, relative to the limit
    without any score. What a channel cannot be judged for, as with too few events, it says in ``reason``.

    Args:
        events: With the weights of the search; scored by models that have not seen them.
        masks: Channel -> its candidates, shape (n,).
        features: Those to shuffle, the first ``MOST_FEATURES`` of them.
    """
    try:
        merit = limit_merit(context, events, masks, classifier)
    except InputError as error:
        return {name: {"reason": str(error)} for name in masks}
    found: dict[str, Any] = {}
    for channel in merit.channels:
        try:
            found[channel.name] = _of_channel(context, events, channel, bundle, features)
        except InputError as error:
            found[channel.name] = {"reason": str(error)}
    return found


def _of_channel(
    context: Context, events: Events, channel: ChannelOfMerit, bundle: Bundle, features: Sequence[str]
) -> dict[str, Any]:
    confidence_level = context.config.confidence_level
    rows = np.flatnonzero(channel.rows)
    everything = np.zeros(len(events))

    def chooser(scores: NDArray) -> Chooser:
        everything[rows] = scores
        return channel.chooser(events, everything, rows, confidence_level)

    def merit(scores: NDArray) -> NDArray[np.float64]:
        return -np.log(chooser(scores).ceiling.relative_limit)

    own = events.select(rows)
    worth = permutation_importance(
        own,
        features[:MOST_FEATURES],
        bundle.score,
        merit,
        within=bundle.mass_column,
        n_repeats=N_REPEATS,
        seed=context.config.seed,
    )
    ceiling = chooser(np.asarray(bundle.score(own), np.float64)).ceiling
    relative = [float(v) if np.isfinite(v) else None for v in ceiling.relative_limit]
    return {
        "masses": ceiling.masses.tolist(),
        "relative_limit": relative,
        "features": [feature.to_json() for feature in worth],
    }


def draw_limit_worth(pictures: Pictures, classifier: str, worth: Mapping[str, Any], stamp: Stamp) -> None:
    """A picture for each channel that could be judged."""
    from darksieve.evaluation.plots.score_maps import draw_limit_importance

    for channel, entry in worth.items():
        if "reason" not in entry:
            features = entry["features"]
            loss, spread = (np.array([f[key] for f in features], np.float64) for key in ("loss", "spread"))
            drawing = draw_limit_importance(
                entry["masses"],
                [f["feature"] for f in features],
                np.expm1(loss),
                spread=np.exp(loss) * spread,
                stamp=stamp,
            )
            pictures.keep(f"limit_importance_{classifier}_{channel}", drawing)


def limit_worth_tables(classifier: str, worth: Mapping[str, Any]) -> list[Table]:
    """For each channel the rise of the limit in per cent at a few masses, the most worth first."""
    tables = []
    for channel, entry in worth.items():
        title = f"Rise of the expected limit when a feature is shuffled (%): {classifier}, channel {channel}"
        if "reason" in entry:
            tables.append(Table(title, ["not judged"], [[entry["reason"]]]))
            continue
        masses = np.array(entry["masses"])
        shown = np.unique(np.linspace(0, len(masses) - 1, N_COLUMNS).round().astype(int))
        found = []
        for feature in entry["features"]:
            rise = 100 * np.expm1(np.array(feature["loss"], np.float64))
            known = rise[np.isfinite(rise)]
            found.append((float(known.mean()) if len(known) else np.nan, feature["feature"], rise[shown]))
        found.sort(key=lambda row: -np.nan_to_num(row[0], nan=-np.inf))
        columns = ["feature", "mean over masses", *(f"{mass:.3g} GeV" for mass in masses[shown])]
        rows: list[list[Cell]] = [[name, mean, *rise.tolist()] for mean, name, rise in found]
        tables.append(Table(title, columns, rows, digits=2))
    return tables
