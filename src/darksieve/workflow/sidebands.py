"""Candidates beside a channel's selection, which stand for the background inside where few are simulated."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config import ChannelConfig, SearchConfig
from darksieve.datasets.events import Events
from darksieve.evaluation.report import Table
from darksieve.evaluation.sidebands import extrapolate, signal_quantile
from darksieve.workflow.peaking import whole_peaks
from darksieve.workflow.reading import channel_expression
from darksieve.workflow.table import CandidateTable, join

DIFFERENT = 3.0  # σ at which a score is said to depend on the selection
log = logging.getLogger("darksieve")


def smooth_samples(config: SearchConfig) -> list[str]:
    """Background samples without a peak: a peak inside a selection is not that beside it."""
    peaking = set(whole_peaks(config))
    return [
        name
        for name, sample in config.samples.items()
        if sample.role == "background" and name not in peaking and sample.peaks is None
    ]


def beside_selection(
    name: str, channel: ChannelConfig, events: Events, selected: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Candidates of a channel's sideband, if it has one, that its own selection does not take, shape (n,)."""
    if channel.sideband is None:
        return np.zeros(len(events), dtype=bool)
    mask = channel_expression(name, channel.sideband, "sideband").select(events.columns) & ~selected
    return mask if channel.period is None else mask & events.in_period(channel.period)


def with_sidebands(
    config: SearchConfig, inside: CandidateTable, beside: CandidateTable
) -> tuple[CandidateTable, dict[str, dict[str, Any]]]:
    """Candidates of the channels, with those of the sidebands where they can stand for them.

    Args:
        inside: Candidates that the channels take.
        beside: Those of their sidebands.

    Returns:
        The table, and channel -> sample -> what was found.
    """
    found: dict[str, dict[str, Any]] = {}
    factor = np.ones(len(inside) + len(beside))
    kept = np.concatenate([np.ones(len(inside), bool), np.zeros(len(beside), bool)])
    both = join([inside, beside])
    is_inside = np.arange(len(both)) < len(inside)
    for i, channel in enumerate(both.channel_names):
        of_channel = both.channel == i
        if not (of_channel & ~is_inside).any():
            continue
        signal = of_channel & is_inside & both.is_signal
        if not signal.any():
            continue
        quantile = np.full(len(both), np.nan)
        quantile[of_channel] = _quantile(both.select(of_channel), signal[of_channel])
        found[channel] = {}
        for name in smooth_samples(config):
            rows = np.flatnonzero(of_channel & both.is_background & both.in_samples([name]))
            if not len(rows):
                continue
            made = extrapolate(both.observable[rows], quantile[rows], both.weight[rows], is_inside[rows])
            if made is None:
                found[channel][name] = {"n_inside": int(is_inside[rows].sum()), "used": False}
                continue
            factor[rows] = made.factor
            kept[rows] = True
            found[channel][name] = {"used": True, **made.to_json()}
            if abs(made.tilt_significance) > DIFFERENT:
                log.warning(
                    "channel %s: the score of %s tells whether a candidate is inside channels.%s.select"
                    " (tilt %.2f ± %.2f): what the sideband says of it is corrected for that by a line; see"
                    " classifiers.*.decorrelate",
                    channel, name, channel, made.tilt, made.tilt_error,
                )  # fmt: skip
    return both.with_weight(both.weight * factor).select(kept), found


def _quantile(table: CandidateTable, signal: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the signal that is less like signal, by the least signal-like of all scores, shape (n,).

    Where several classifiers cut, background that any of them refuses matters to nobody.
    """
    weight = table.weight[signal]
    scores = [values for values in table.scores.values() if np.isfinite(values).all()] or [table.score]
    least = np.min([signal_quantile(values, values[signal], weight) for values in scores], axis=0)
    return signal_quantile(least, least[signal], weight)


def sideband_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """For the report: what sidebands say of each channel's background."""
    from darksieve.evaluation.sidebands import SIGNAL_EFFICIENCIES

    rows = []
    for channel, of_samples in found.items():
        for sample, entry in of_samples.items():
            if not entry["used"]:
                rows.append([channel, sample, entry["n_inside"], "not used: too few inside", *[""] * 5])
                continue
            tilt = f"{entry['tilt']:.2f} ± {entry['tilt_error']:.2f}".replace("-", "−")
            ratios = [
                "" if one["ratio"] is None else f"{one['ratio']:.2f} ± {one['error']:.2f}"
                for one in entry["passing"]
            ]
            rows.append([channel, sample, entry["n_inside"], entry["n_outside"], tilt, *ratios])
    return Table(
        title="Background from sidebands: passing a score inside the selection, over passing it beside",
        columns=[
            "channel", "sample", "inside", "beside", "tilt",
            *(f"at {100 * efficiency:.0f} % signal" for efficiency in SIGNAL_EFFICIENCIES),
        ],
        rows=rows,
        note=(
            "Every candidate of a sideband stands for as many inside as the observable and, by a line (the"
            " tilt), the score say. Ratios are before that line; 1 where the score does not tell of the"
            " selection."
        ),
    )  # fmt: skip
