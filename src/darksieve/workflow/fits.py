"""Fits of a search: which channels are fitted together, and how the parameter acts in each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from darksieve.config import SearchConfig
from darksieve.couplings import alp_branching_fraction
from darksieve.evaluation.search_building import ScanChannel

Ratio = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Fit:
    """One fit of a search.

    Attributes:
        name: None for the fit that the search is about, else of one in ``interpretation.also``.
        channels: Channels of the config that are fitted together.
        reference: Hadron h whose B(B → h a) is the parameter; in channels of other hadrons the same coupling
            to W bosons gives another branching fraction. None where all channels have one parameter.
    """

    name: str | None
    channels: tuple[str, ...]
    reference: str | None

    def ratio(self, hadron: str | None) -> Ratio | None:
        """Branching fraction of a channel's decay over the parameter, as a function of mass; None for one."""
        if self.reference is None or hadron is None or hadron == self.reference:
            return None
        return partial(_ratio, hadron, self.reference)

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
            replace(channel, ratio=self.ratio(config.channels[name].hadron))
            for name, channel in channels
            if name in self.channels
        ]


def _ratio(hadron: str, reference: str, masses: NDArray[np.float64]) -> NDArray[np.float64]:
    return alp_branching_fraction(hadron, masses, 1.0) / alp_branching_fraction(reference, masses, 1.0)


def fits_of(config: SearchConfig) -> tuple[Fit, ...]:
    """The fit that the search is about, and those of parts of its channels."""
    interpretation = config.interpretation
    everything = tuple(config.channels)
    reference = config.channels[everything[0]].hadron if interpretation.parameter == "g_aW" else None
    fits = [Fit(None, everything, reference)]
    for name, part in interpretation.also.items():
        hadrons = [config.channels[channel].hadron for channel in part.channels]
        fits.append(Fit(name, tuple(part.channels), hadrons[0] if all(hadrons) else None))
    return tuple(fits)
