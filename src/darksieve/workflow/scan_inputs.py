"""What a scan starts from: candidates of each channel with their categories, as channels of the fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.scan_channels import (
    CommonResolution,
    ScanCandidates,
    common_resolution,
    make_channels,
)
from darksieve.evaluation.search_building import ScanChannel
from darksieve.evaluation.signal_efficiency import fit_signal_efficiency
from darksieve.evaluation.signal_shape import Position, position_of
from darksieve.evaluation.thin_background import with_modelled_background
from darksieve.workflow.categorising import load_choice
from darksieve.workflow.channels import (
    background_of,
    channels_with_background,
    observable_of,
    range_of,
    yield_per_efficiency,
)
from darksieve.workflow.context import Context
from darksieve.workflow.correcting import bins_of, load_corrections
from darksieve.workflow.peaking import known_peaks, whole_peaks
from darksieve.workflow.samples import described_sample
from darksieve.workflow.table import CandidateTable

log = logging.getLogger("darksieve")


@dataclass(frozen=True, eq=False)
class ScanInputs:
    """What one channel of the config brings to the scan.

    Attributes:
        name: The channel's name in the config.
        candidates: Its simulated candidates with their categories.
        key: Hash of the event of each candidate, shape (n,).
        common: Resolution and binning of all its categories.
        channels: Its categories as channels of the fit, blind.
    """

    name: str
    candidates: ScanCandidates
    key: NDArray[np.uint64]
    common: CommonResolution
    channels: tuple[ScanChannel, ...]


def scan_inputs(context: Context) -> tuple[NDArray[np.float64], list[ScanInputs]]:
    """Masses and channels of the scan; every simulated event is in the category that it did not choose."""
    document, categorise = load_choice(context)
    table = CandidateTable.load(context.run / "candidates.parquet")
    inputs = [
        _inputs_of(context, name, table.of_channel(name), categorise[name], document)
        for name in channels_with_background(table)
    ]
    return np.asarray(document["masses"]), inputs


def _inputs_of(
    context: Context, name: str, table: CandidateTable, categorise: Any, document: Mapping[str, Any]
) -> ScanInputs:
    config, n_categories = context.config, document["n_categories"]
    corrections = load_corrections(config)
    names = np.array(table.sample_names)
    candidates = ScanCandidates(
        observable=table.observable,
        mass=table.mass,
        weight=table.weight,
        label=table.label.astype(np.float64),
        is_data=np.zeros(len(table), dtype=bool),
        sample=names[table.sample],
        category=categorise(table.observable, table.columns, table.key).astype(np.int64),
        bins=bins_of(table, corrections),
        families=table.families,
    )
    background = background_of(config, name)
    position = position_of(observable_of(context, name))
    common = common_resolution(
        candidates,
        mass_range=range_of(context, name),
        position=position,
        margin_sigma=background.window_sigma,
        bins_per_sigma=config.scan.bins_per_sigma,
        limits=(0.0, context.beams.sqrt_s),
        name=name,
    )
    signal = candidates.label == 1
    efficiency = fit_signal_efficiency(
        candidates.mass[signal],
        candidates.weight[signal],
        candidates.category[signal],
        n_categories,
        mass_range=flat_mass_range(context),
    )
    channels = make_channels(
        candidates,
        common,
        name=name,
        n_categories=n_categories,
        efficiency=efficiency,
        yield_per_efficiency=yield_per_efficiency(context, name),
        peaking=whole_peaks(config),
        known_peaks=known_peaks(config, name),
        peaking_uncertainty=config.scan.nuisances.peaking,
        mass_range=config.channels[name].range,
        background=background,
        corrections=[given.correction for given in corrections],
    )
    modelled = _modelled(channels, candidates, document["points"], position)
    return ScanInputs(name, candidates, table.key, common, modelled)


def _modelled(
    channels: Sequence[ScanChannel],
    candidates: ScanCandidates,
    points: Sequence[Mapping[str, Any]],
    position: Position,
) -> tuple[ScanChannel, ...]:
    """The channels, with the background that working points state where simulation is too thin to count."""
    weight = candidates.weight[candidates.label == 0]
    typical = float(np.sum(weight**2) / np.sum(weight)) if weight.any() else 0.0
    out = []
    for c, channel in enumerate(channels, start=1):
        own = [p for p in points if p["channel"] == channel.selection and p["category"] == c]
        modelled = with_modelled_background(channel, own, position, typical)
        if modelled.modelled:
            log.info("%s: its expected background is that of its working points", channel.name)
        out.append(modelled)
    return tuple(out)


def flat_mass_range(context: Context) -> tuple[float, float] | None:
    """Range of the flat signal samples together; None if masses are discrete."""
    ranges = []
    for name, sample in context.config.samples.items():
        if sample.role == "signal":
            made = described_sample(context, name)
            if made.mass_range is not None:
                ranges.append(made.mass_range)
    if not ranges:
        return None
    return min(low for low, _ in ranges), max(high for _, high in ranges)
