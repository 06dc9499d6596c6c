"""A run's simulated candidates with their scores as one file, for whoever goes on in ROOT or pandas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darksieve.config import SearchConfig
from darksieve.datasets.events import Events
from darksieve.datasets.output import format_of, refuse_to_replace, write_events
from darksieve.models.bundle import Bundle
from darksieve.progress import say
from darksieve.workflow.cascade import applies_to, bundle_path, classifiers_of, score_where_it_applies
from darksieve.workflow.categorising import categoriser
from darksieve.workflow.chain import run_chain
from darksieve.workflow.context import Context
from darksieve.workflow.samples import Reading
from darksieve.workflow.scoring import Simulation, features_of

_ROWS_AT_ONCE = 100_000


def write_candidates(
    config: SearchConfig,
    run: Path,
    target: Path,
    *,
    format: str | None = None,  # noqa: A002  # the word of the command line
    overwrite: bool = False,
    workers: int = 1,
) -> int:
    """Write every simulated candidate that a channel takes; a run that is not trained is trained first.

    Each row has the columns that the search reads, what ``write_events`` says of it, ``NAME_score`` and
    ``NAME_fold`` of each classifier (out of fold; NaN where it is of another channel), ``takes_CHANNEL``, and
    where working points are chosen ``category_CHANNEL`` (0: rejected). Data are left out: their scores are
    in the run's folder once it is unblinded.

    Args:
        run: The run's folder.
        target: A .root or .parquet file.
        format: ``ttree``, ``rntuple`` or ``parquet``; None for that of the suffix.
        overwrite: Replace a file that is there.
        workers: As of ``run_chain``.

    Returns:
        The number of rows.

    Raises:
        InputError: As ``run_chain``, and if the file is there already or its suffix fits no format.
    """
    format_of(target, format)
    if not overwrite:
        refuse_to_replace(target)
    n_rows = 0

    def write(context: Context) -> None:
        nonlocal n_rows
        features = [f for classifier in config.classifiers for f in features_of(config, classifier)]
        simulation = Simulation(context, Reading(config, tuple(dict.fromkeys(features))))
        n_rows = write_events(_scored_parts(context, simulation), target, format=format, overwrite=overwrite)
        say(f"{target}: {n_rows} candidates")

    run_chain(config, run, "train", workers=workers, unblind=None, then=write)
    return n_rows


def _scored_parts(context: Context, simulation: Simulation) -> Iterator[Events]:
    """Candidates with their scores, some at a time."""
    config, events = context.config, simulation.events
    masks = simulation.channel_masks(events)
    bundles = {c.name: Bundle.load(bundle_path(context, c)) for c in config.classifiers}
    columns: dict[str, NDArray] = {f"takes_{channel}": mask for channel, mask in masks.items()}
    for c in config.classifiers:
        columns[f"{c.name}_score"] = score_where_it_applies(
            bundles[c.name], events, applies_to(config, c, masks)
        )
        columns[f"{c.name}_fold"] = bundles[c.name].fold(events)
    for channel, mask in masks.items():
        of_channel = classifiers_of(config, channel)
        boundaries = (bundles[of_channel[-1].name].working_points or {}) if of_channel else {}
        if channel in boundaries:
            rows = np.flatnonzero(mask)
            observable = np.asarray(events[boundaries[channel]["observable"]][rows], float)
            scores = {c.name: columns[f"{c.name}_score"][rows] for c in of_channel}
            category = np.zeros(len(events), np.int8)
            variables = {name: events[name][rows] for name in config.working_points.preselection}
            category[rows] = categoriser(boundaries[channel])(
                observable, scores | variables, events.key[rows]
            )
            columns[f"category_{channel}"] = category
    for start in range(0, max(len(events), 1), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(events)))
        yield events.select(rows).with_columns(**{name: values[rows] for name, values in columns.items()})
