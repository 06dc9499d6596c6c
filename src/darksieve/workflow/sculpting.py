"""What cuts on scores make of the background: spurious signals of the scan's own fits, with their errors."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError
from darksieve.evaluation.distances import distance_of_passing
from darksieve.evaluation.peaks import rows_in_known_peak, rows_in_peak
from darksieve.evaluation.scan_grid import Resolution, data_range, mass_grid, scan_edges
from darksieve.evaluation.sculpting import (
    MEASURED,
    TOO_FEW,
    WORRYING,
    CutSculpting,
    combine,
    measure_sculpting,
    nuisance_sizes,
)
from darksieve.evaluation.search_building import in_vetoes
from darksieve.workflow.cascade import classifiers_of
from darksieve.workflow.channels import background_of, pooled_shape, range_of
from darksieve.workflow.context import Context
from darksieve.workflow.peaking import known_peaks, whole_peaks
from darksieve.workflow.scan_inputs import ScanInputs, scan_inputs
from darksieve.workflow.spurious_sizes import SIZE
from darksieve.workflow.table import CandidateTable

N_MASSES = 30  # at which a threshold of a classifier is looked at, before working points are chosen
BINS_PER_SIGMA = 4
ROW_KEYS = (
    "spurious_signal",
    "spurious_signal_error",
    "spurious_signal_events",
    "spurious_signal_events_error",
    "spurious_signal_of_limit",
    "spurious_signal_of_limit_error",
    "sculpting",
    "sculpting_error",
)

log = logging.getLogger("darksieve")


def sculpting_of_thresholds(
    context: Context, table: CandidateTable, name: str, thresholds: list[float]
) -> list[dict[str, Any]]:
    """For each threshold on a classifier: channel -> spurious signals; none where the signal has no shape.

    Args:
        table: Candidates of all channels.
        name: Of the classifier.
        thresholds: Scores from which a candidate passes.
    """
    config = context.config
    out: list[dict[str, Any]] = [{} for _ in thresholds]
    peaking = table.in_samples([sample for sample, given in config.samples.items() if given.peaking])
    for channel in config.channels:
        if name not in [classifier.name for classifier in classifiers_of(config, channel)]:
            continue
        try:
            shape = pooled_shape(context, table, channel)
        except InputError as error:  # the choice of working points will say it again, and end there
            log.warning("channel %s: its sculpting is not measured: %s", channel, error)
            continue
        low, high = range_of(context, channel)
        low, high = max(low, shape.mass_range[0]), min(high, shape.mass_range[1])
        choice = background_of(config, channel)
        grid = mass_grid((low, high), shape.sigma, 1.0)
        masses = grid[:: max(1, len(grid) // N_MASSES)]
        masses = masses[~in_vetoes(masses, config.scan.vetoes)]
        ends = data_range(
            (low, high), shape.sigma, margin_sigma=choice.window_sigma, limits=(0.0, context.beams.sqrt_s)
        )
        edges = scan_edges(ends, shape.sigma, bins_per_sigma=BINS_PER_SIGMA, position=shape.position)
        rows = (table.channel == table.channel_names.index(channel)) & table.is_background & ~peaking
        own = table.select(np.flatnonzero(rows & np.isfinite(table.scores[name])))
        for entry, threshold in zip(out, thresholds, strict=True):
            entry[channel] = measure_sculpting(
                own.observable,
                own.weight,
                own.scores[name] >= threshold,
                own.key,
                masses=masses,
                shape=shape,
                sigma=shape.sigma,
                edges=edges,
                choice=choice,
                exclude=tuple(config.scan.vetoes),
            ).to_json()
    return out


def add_sculpting(context: Context, document: dict[str, Any]) -> None:
    """Put into the document of working points what the fits find in background that its categories keep.

    The document must be in the run's folder already: the categories of candidates come from there.

    Args:
        document: Of ``working_points.json``; its points get ``ROW_KEYS`` and ``spurious_signal_status``,
            and ``sculpting`` holds each channel's curves.
    """
    document["sculpting"] = {}
    if not document["points"]:
        return
    try:
        _, inputs = scan_inputs(context)
    except InputError as error:  # of a category without a signal shape; the scan will say it again, and end
        log.warning("what the cuts make of the background is not measured: %s", error)
        return
    for given in inputs:
        rows = [row for row in document["points"] if row["channel"] == given.name]
        document["sculpting"][given.name] = _of_channel(context, given, rows)


def _of_channel(context: Context, given: ScanInputs, rows: list[dict[str, Any]]) -> dict[str, Any]:
    config, candidates = context.config, given.candidates
    n = len(given.channels)
    masses = np.array([row["mass"] for row in rows[::n]])
    found_limits = [row["expected_limit"] for row in rows[::n]]
    limits = np.array([np.nan if limit is None else limit for limit in found_limits])
    smooth = candidates.label == 0
    for sample in whole_peaks(config):
        smooth &= ~rows_in_peak(candidates, given.common, sample)
    for peak in known_peaks(config, given.name):
        smooth &= ~rows_in_known_peak(candidates, given.common, peak)
    key = given.key[smooth]
    observable, weight = candidates.observable[smooth], candidates.weight[smooth]
    category = candidates.category[smooth]
    finite = np.isfinite(observable)
    parts, yields, distances = [], [], []
    for c, channel in enumerate(given.channels, start=1):
        found = measure_sculpting(
            observable[finite],
            weight[finite],
            category[finite] == c,
            key[finite],
            masses=masses,
            shape=channel.shape,
            sigma=channel.sigma,
            edges=channel.edges,
            choice=background_of(config, given.name),
            exclude=tuple(config.scan.vetoes),
            expected=(channel.sums, channel.squares),
        )
        parts.append(found)
        yields.append(channel.yield_per_unit(masses))
        distance, noise = distance_of_passing(observable[finite], category[finite] == c, weight[finite])
        distances.append({"category": c, "ks_distance": _number(distance), "noise": _number(noise)})
        _put(rows[c - 1 :: n], found, channel.sigma, yields[-1] * limits)
        _warn(found, channel.name)
    together = combine(parts, yields)
    at_limit = np.sum(yields, axis=0) * limits
    return {
        "together": together.to_json()
        | {
            "of_limit": _numbers(together.events / at_limit),
            "of_limit_error": _numbers(together.events_error / at_limit),
        },
        "categories": [part.to_json() for part in parts],
        "observable": distances,
        "not_measured": int(sum((~part.is_measured).sum() for part in parts)),
        "worrying": [part.masses[part.is_worrying].tolist() for part in parts],
    }


def _put(
    rows: list[dict[str, Any]], found: CutSculpting, sigma: Resolution, at_limit: NDArray[np.float64]
) -> None:
    """Give the rows of one category, one for each mass, their numbers."""
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = (
            found.in_sigma,
            found.in_sigma_error,
            found.events,
            found.events_error,
            found.events / at_limit,
            found.events_error / at_limit,
            found.difference / found.sigma,
            found.difference_error / found.sigma,
        )
    for name, values in zip(ROW_KEYS, columns, strict=True):
        for row, value in zip(rows, _numbers(values), strict=True):
            row[name] = value
    for row, size in zip(rows, _numbers(nuisance_sizes(found, sigma)), strict=True):
        row[SIZE] = size
    for row, measured in zip(rows, found.is_measured, strict=True):
        row["spurious_signal_status"] = MEASURED if measured else TOO_FEW


def _warn(found: CutSculpting, name: str) -> None:
    if found.is_worrying.any():
        sizes = np.where(found.is_worrying, np.abs(found.in_sigma), -np.inf)
        i = int(np.argmax(sizes))
        log.warning(
            "%s: the fit finds a spurious signal in background alone: %.2f ± %.2f of its standard deviations"
            " at %.4g GeV, and more than %g at %d of %d masses; raise scan.background.order, narrow its"
            " window, decorrelate the classifier, or say scan.nuisances.spurious_signal: measured",
            name,
            found.in_sigma[i],
            found.in_sigma_error[i],
            found.masses[i],
            WORRYING,
            int(found.is_worrying.sum()),
            len(found.masses),
        )


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
