"""What a scan starts from: candidates of each channel with their categories, as channels of the fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config import SearchConfig
from darksieve.datasets.simulation.displaced.lifetimes import LifetimeRange
from darksieve.errors import InputError
from darksieve.evaluation.counting_windows import CountingChoice
from darksieve.evaluation.scan_channels import (
    CommonResolution,
    ScanCandidates,
    common_resolution,
    make_channels,
    of_category,
)
from darksieve.evaluation.search_building import ScanChannel
from darksieve.evaluation.signal_efficiency import SignalEfficiency, fit_signal_efficiency
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

FEWEST_EFFECTIVE = 50.0  # events of one lifetime, from which its efficiency is fitted


@dataclass(frozen=True, eq=False)
class ScanInputs:
    """What one channel of the config brings to the scan.

    Attributes:
        name: The channel's name in the config.
        candidates: Its simulated candidates with their categories.
        key: Hash of the event of each candidate, shape (n,).
        common: Resolution and binning of all its categories.
        channels: Its categories as channels of the fit, blind.
        at_lifetime: cτ in cm -> absolute efficiencies by category there; of the lifetimes that are scanned.
    """

    name: str
    candidates: ScanCandidates
    key: NDArray[np.uint64]
    common: CommonResolution
    channels: tuple[ScanChannel, ...]
    at_lifetime: Mapping[float, SignalEfficiency] = field(default_factory=dict)

    def channels_at(self, ctau_cm: float | None) -> tuple[ScanChannel, ...]:
        """Its categories with the efficiency at one lifetime; None for that of all generated ones."""
        if ctau_cm is None:
            return self.channels
        efficiency = self.at_lifetime[ctau_cm]
        return tuple(
            replace(channel, efficiency=of_category(efficiency, c))
            for c, channel in enumerate(self.channels, start=1)
        )


def counting_choice(config: SearchConfig) -> CountingChoice | None:
    """How the scan counts, None where it fits."""
    given = config.scan.counting
    return None if given is None else CountingChoice(**given.model_dump())


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
        mass_range=flat_mass_range(context, candidates.sample[signal]),
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
    if config.scan.counting is not None:  # the spectrum as it is, of which windows take averages
        worth = _typical_weight(candidates)
        made = tuple(replace(channel, modelled=True, event_weight=worth) for channel in channels)
    else:
        made = _modelled(channels, candidates, document["points"], position)
    at_lifetime = {
        ctau: efficiency_at(context, candidates, n_categories, ctau) for ctau in config.scan.ctau_cm or ()
    }
    return ScanInputs(name, candidates, table.key, common, made, at_lifetime)


def efficiency_at(
    context: Context, candidates: ScanCandidates, n_categories: int, ctau_cm: float
) -> SignalEfficiency:
    """Absolute efficiencies by category at one mean proper decay length, by weights on true lengths.

    Raises:
        InputError: If next to no selected event has such a lifetime.
    """
    signal = candidates.label == 1
    weight = weights_at(context, candidates, ctau_cm)
    effective = effective_events(weight[candidates.category > 0])
    if effective < FEWEST_EFFECTIVE:
        raise InputError(
            f"cτ = {ctau_cm:g} cm: the selected signal has {effective:.3g} effective events of this lifetime,"
            f" fewer than {FEWEST_EFFECTIVE:g}; simulate more, or leave it out of scan.ctau_cm"
        )
    return fit_signal_efficiency(
        candidates.mass[signal],
        weight[signal],
        candidates.category[signal],
        n_categories,
        mass_range=flat_mass_range(context, candidates.sample[signal]),
    )


def weights_at(context: Context, candidates: ScanCandidates, ctau_cm: float) -> NDArray[np.float64]:
    """Weights of the signal as if all of it had one lifetime, 0 for all other rows, shape (n,)."""
    signal = candidates.label == 1
    weight = candidates.weight * signal
    for name, sample in context.config.samples.items():
        if sample.lifetime is not None:
            rows = signal & (candidates.sample == name)
            lifetimes = LifetimeRange(*sample.lifetime.generated_cm)
            lengths = candidates.families[sample.lifetime.length][rows]
            if not (np.isfinite(lengths) & (lengths >= 0)).all():
                raise InputError(
                    f"samples.{name}.lifetime: {sample.lifetime.length} is negative or not finite for some"
                    " candidates; it is the true proper decay length in cm"
                )
            weight[rows] *= lifetimes.weights(lengths, ctau_cm)
    return weight


def effective_events(weight: NDArray[np.float64]) -> float:
    """Unweighted events of the same relative error."""
    total = float(weight.sum())
    return total**2 / float((weight**2).sum()) if total > 0 else 0.0


def _modelled(
    channels: Sequence[ScanChannel],
    candidates: ScanCandidates,
    points: Sequence[Mapping[str, Any]],
    position: Position,
) -> tuple[ScanChannel, ...]:
    """The channels, with the background that working points state where simulation is too thin to count."""
    typical = _typical_weight(candidates)
    out = []
    for c, channel in enumerate(channels, start=1):
        own = [p for p in points if p["channel"] == channel.selection and p["category"] == c]
        modelled = with_modelled_background(channel, own, position, typical)
        if modelled.modelled:
            log.info("%s: its expected background is that of its working points", channel.name)
        out.append(modelled)
    return tuple(out)


def _typical_weight(candidates: ScanCandidates) -> float:
    """Data events that one simulated background candidate stands for, whatever its category."""
    weight = candidates.weight[candidates.label == 0]
    return float(np.sum(weight**2) / np.sum(weight)) if weight.any() else 0.0


def flat_mass_range(context: Context, samples: NDArray[np.str_]) -> tuple[float, float] | None:
    """Range of the flat signal samples that these rows come from; None if masses are discrete.

    A channel that sees one final state takes the range of that one's sample: below its threshold another
    sample says nothing of it.
    """
    ranges = []
    for name in np.unique(samples):
        made = described_sample(context, str(name))
        if made.mass_range is not None:
            ranges.append(made.mass_range)
    if not ranges:
        return None
    return min(low for low, _ in ranges), max(high for _, high in ranges)
