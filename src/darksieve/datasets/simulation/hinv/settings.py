"""Settings of B → h X: beams, generator, detector, tag, selection and rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.detector import HadronShowers, Identification, Tracking
from darksieve.datasets.simulation.bfactory.rates import Rates
from darksieve.datasets.simulation.bfactory.settings import Generator, refuse_other_than_upsilon4s
from darksieve.datasets.simulation.hinv.channels import CHANNELS, channel_named
from darksieve.datasets.simulation.hinv.selection import HSelection
from darksieve.datasets.simulation.hinv.tag import TagSettings
from darksieve.datasets.simulation.hinv.two_body import TWO_BODY_DECAYS
from darksieve.datasets.simulation.photons.detector import Detector
from darksieve.datasets.simulation.settings import Settings
from darksieve.errors import InputError

STAND_IN = "the tag is a stand-in for a hadronic full event interpretation, not a reconstruction"


@dataclass(frozen=True)
class HinvSettings(Settings):
    """Everything but the seed and the size that decides what a sample of B → h X or its backgrounds contains.

    Attributes:
        channels: Names of those that are reconstructed.

    Raises:
        InputError: If the beams do not reach the threshold of B pairs, or a channel is not known.
    """

    beams: Beams = field(default_factory=lambda: Beams.named("belle"))
    generator: Generator = field(default_factory=Generator)
    tracking: Tracking = field(default_factory=Tracking)
    identification: Identification = field(default_factory=Identification)
    calorimeter: Detector = field(default_factory=Detector)
    showers: HadronShowers = field(default_factory=HadronShowers)
    tag: TagSettings = field(default_factory=TagSettings)
    selection: HSelection = field(default_factory=HSelection)
    rates: Rates = field(default_factory=Rates)
    channels: tuple[str, ...] = tuple(CHANNELS)

    def __post_init__(self) -> None:
        refuse_other_than_upsilon4s(self.beams)
        if not self.channels:
            raise InputError(f"channels is empty; it lists some of {list(CHANNELS)}")
        for i, name in enumerate(self.channels):
            channel_named(name)
            if name in self.channels[:i]:
                raise InputError(f"channels lists {name!r} twice")

    def to_mapping(self) -> dict[str, Any]:
        return super().to_mapping() | {"channels": list(self.channels)}  # as JSON gives it back

    def unit_and_source(self) -> dict[str, dict[str, float | str]]:
        """Rates, tag efficiencies, and branching fractions of h and of the two-body decays."""
        out = dict(self.rates.unit_and_source())
        for name in ("efficiency_charged", "efficiency_neutral"):
            source = f"right tags per B, arXiv:1807.08680, from memory; {STAND_IN}"
            out[f"tag.{name}"] = {"value": getattr(self.tag, name), "unit": "1", "source": source}
        for channel in CHANNELS.values():
            for decay in channel.decays:
                entry: dict[str, float | str] = {"value": decay.fraction, "unit": "1", "source": decay.source}
                out[f"{channel.name} → {decay.name}"] = entry
        for two_body in TWO_BODY_DECAYS:
            entry = {"value": two_body.fraction, "unit": "1", "source": two_body.source}
            out[f"B → {two_body.channel} {two_body.label}"] = entry
        return out
