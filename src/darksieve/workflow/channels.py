"""What a channel scans, fits and yields, as its config and its selected simulation say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from darksieve.config import BackgroundConfig, SearchConfig
from darksieve.errors import InputError
from darksieve.evaluation.scan_grid import mass_grid
from darksieve.evaluation.search_building import BackgroundChoice, NamedUncertainty, Uncertainties
from darksieve.evaluation.signal_shape import SignalShape, fit_signal_shape, position_of
from darksieve.workflow.context import Context
from darksieve.workflow.table import CandidateTable


def observable_of(context: Context, channel: str) -> str:
    """The observable that a channel scans."""
    return context.config.channels[channel].observable or context.config.scan.observable


def range_of(context: Context, channel: str) -> tuple[float, float]:
    """The hypotheses that a channel sees."""
    low, high = context.config.scan.range
    own = context.config.channels[channel].range
    return (low, high) if own is None else (max(low, own[0]), min(high, own[1]))


def background_choice(background: BackgroundConfig) -> BackgroundChoice:
    """What is fitted, as the library takes it."""
    return BackgroundChoice(background.family, background.order, background.window_sigma)


def background_of(config: SearchConfig, channel: str) -> BackgroundChoice:
    """What is fitted in a channel."""
    return background_choice(config.channels[channel].background or config.scan.background)


def uncertainties_of(config: SearchConfig) -> Uncertainties:
    """Sizes of the nuisances."""
    sizes = config.scan.nuisances
    # what is measured is known only of the working points that are chosen
    spurious = 0.0 if sizes.spurious_signal == "measured" else sizes.spurious_signal
    named = tuple(
        NamedUncertainty(name, one.size, None if one.channels is None else tuple(one.channels), one.sizes)
        for name, one in sizes.named.items()
    )
    return Uncertainties(sizes.luminosity, sizes.efficiency, sizes.width, sizes.scale_sigma, spurious, named)


def pooled_shape(context: Context, table: CandidateTable, channel: str) -> SignalShape:
    """The signal's shape in a channel, all categories together: it sets grid, bins and windows."""
    rows = (table.channel == table.channel_names.index(channel)) & table.is_signal
    if not rows.any():
        raise InputError(
            f"channel {channel}: no signal candidate passes its selection; loosen channels.{channel}"
        )
    return fit_signal_shape(
        table.observable[rows],
        table.mass[rows],
        table.weight[rows],
        position=position_of(observable_of(context, channel)),
        name=f"signal in {channel}",
    )


def channels_with_background(table: CandidateTable) -> tuple[str, ...]:
    """Channels that can be fitted: those in which simulated background is left.

    The background of the others is not known, and a limit that supposes none would be too good.

    Raises:
        InputError: If there are none.
    """
    weight = np.bincount(
        table.channel, table.weight * table.is_background, minlength=len(table.channel_names)
    )
    out = tuple(name for name, total in zip(table.channel_names, weight, strict=True) if total > 0)
    if not out:
        raise InputError(
            "no channel has a candidate of simulated background; simulate more, or loosen the selections"
        )
    return out


def yield_per_efficiency(context: Context, channel: str) -> float:
    """Signal events for one unit of the linear parameter at full efficiency."""
    config = context.config
    parameter = config.linear_parameter[0]
    secondary = config.channels[channel].secondary_fraction
    if parameter == "cross_section":
        return config.luminosity_fb * secondary
    if parameter == "branching_fraction":
        parents = config.channels[channel].n_parents
        assert parents is not None
        period = config.channels[channel].period
        # the signal's weights add up to the efficiency over all periods; the parents are those of this one
        share = 1.0 if period is None else config.periods[period].luminosity_fb / config.luminosity_fb
        return parents * secondary / share
    return secondary


def scan_masses(context: Context, shapes: Mapping[str, SignalShape]) -> NDArray[np.float64]:
    """All hypotheses of the scan, vetoed ones included, in GeV.

    Raises:
        InputError: If a mass lies outside the simulated signal, or in no channel's range.
    """
    config = context.config
    low, high = config.scan.range
    for channel, shape in shapes.items():
        start, end = range_of(context, channel)
        if start < shape.mass_range[0] - 1e-3 or end > shape.mass_range[1] + 1e-3:
            raise InputError(
                f"scan.range: {start:g} to {end:g} GeV, but the selected signal of channel {channel} covers"
                f" {shape.mass_range[0]:.4g} to {shape.mass_range[1]:.4g} GeV; simulate more, or narrow it"
            )
    if config.scan.masses is not None:
        return np.unique(np.asarray(config.scan.masses, float))
    assert config.scan.step_sigma is not None

    def finest(masses: NDArray[np.float64]) -> NDArray[np.float64]:
        widths = []
        for channel, shape in shapes.items():
            start, end = range_of(context, channel)
            inside = (masses >= start) & (masses <= end)
            widths.append(np.where(inside, shape.sigma(np.clip(masses, *shape.mass_range)), np.inf))
        width = np.min(widths, axis=0)
        if not np.isfinite(width).all():
            gap = masses[~np.isfinite(width)][0]
            raise InputError(f"scan.range: no channel's range holds {gap:.4g} GeV; extend channels.*.range")
        return width

    return mass_grid((low, high), finest, config.scan.step_sigma)
