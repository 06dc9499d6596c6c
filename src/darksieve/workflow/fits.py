"""Fits of a search: which channels are fitted together, and how the parameter acts in each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from darksieve.config import ChannelConfig, SearchConfig
from darksieve.couplings import alp_branching_fraction, dark_higgs_branching_fraction
from darksieve.couplings.dark_higgs_widths import LARGEST_MASS
from darksieve.evaluation.search_building import ScanChannel

Ratio = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Fit:
    """One fit of a search.

    Attributes:
        part: None for the fit that the search is about, else of one in ``interpretation.also``.
        channels: Channels of the config that are fitted together.
        reference: Hadron h whose B(B → h a) is the parameter; in channels of other hadrons the same coupling
            to W bosons gives another branching fraction. None where all channels have one parameter.
        ctau_cm: Lifetime whose efficiency the fit takes; None where the scan has none.
        named_lifetime: Whether its files' names say so: that of the first lifetime and of all channels is
            plain.
        by_decay: Whether the channels are tied by the branching fractions of h'.
    """

    part: str | None
    channels: tuple[str, ...]
    reference: str | None = None
    ctau_cm: float | None = None
    named_lifetime: bool = False
    by_decay: bool = False

    @property
    def name(self) -> str | None:
        """What its files and pictures are called by; None for the fit that the search is about."""
        lifetime = [f"ctau{self.ctau_cm:g}cm"] if self.named_lifetime else []
        return "_".join([*([] if self.part is None else [self.part]), *lifetime]) or None

    def ratio(self, channel: ChannelConfig) -> Ratio | None:
        """What one unit of the parameter is in a channel, as a function of mass; None for one."""
        if self.by_decay and channel.final_state is not None:
            return partial(_share_of_decays, channel.final_state)
        if self.reference is None or channel.hadron is None or channel.hadron == self.reference:
            return None
        return partial(_ratio, channel.hadron, self.reference)

    def file_name(self, stem: str, suffix: str) -> str:
        """Name of a file of this fit: ``limits.json``, ``limits_NAME.json``."""
        return f"{stem}{suffix}" if self.name is None else f"{stem}_{self.name}{suffix}"

    def select(self, config: SearchConfig, channels: Iterable[tuple[str, ScanChannel]]) -> list[ScanChannel]:
        """The fit's channels, with the parameter's action in them.

        Args:
            config: The search.
            channels: Pairs of the config's channel and one of its categories.
        """
        return [
            replace(channel, ratio=self.ratio(config.channels[name]))
            for name, channel in channels
            if name in self.channels
        ]


def _ratio(hadron: str, reference: str, masses: NDArray[np.float64]) -> NDArray[np.float64]:
    return alp_branching_fraction(hadron, masses, 1.0) / alp_branching_fraction(reference, masses, 1.0)


def _share_of_decays(final_state: str, masses: NDArray[np.float64]) -> NDArray[np.float64]:
    """B(h' → final state), 0 where it is not known."""
    known = masses <= LARGEST_MASS
    out = np.zeros(len(masses))
    out[known] = dark_higgs_branching_fraction(final_state, masses[known])
    return out


def fits_of(config: SearchConfig) -> tuple[Fit, ...]:
    """The fit that the search is about and those of parts of its channels, at every lifetime."""
    interpretation = config.interpretation
    everything = tuple(config.channels)
    reference = config.channels[everything[0]].hadron if interpretation.parameter == "g_aW" else None
    by_decay = interpretation.parameter == "sin_theta"
    lifetimes: list[float | None] = [None] if config.scan.ctau_cm is None else [*config.scan.ctau_cm]
    fits = []
    # the mixing that ties all channels sets the lifetime, too: together they are fitted at the first alone
    for i, ctau in enumerate(lifetimes[:1] if by_decay else lifetimes):
        fits.append(Fit(None, everything, reference, ctau, i > 0, by_decay))
    for name, part in interpretation.also.items():
        hadrons = [config.channels[channel].hadron for channel in part.channels]
        own = hadrons[0] if all(hadrons) else None
        fits += [Fit(name, tuple(part.channels), own, ctau, ctau is not None) for ctau in lifetimes]
    return tuple(fits)
