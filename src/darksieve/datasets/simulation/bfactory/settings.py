"""Settings of the searches in B decays: beams, generator, detector, reconstruction and rates."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.detector import HadronShowers, Identification, Tracking
from darksieve.datasets.simulation.bfactory.rates import Rates
from darksieve.datasets.simulation.photons.detector import Detector
from darksieve.datasets.simulation.settings import Settings
from darksieve.errors import InputError


@dataclass(frozen=True)
class Generator:
    """How events are generated.

    Attributes:
        energy_spread: Standard deviation of the collision's energy in GeV, for B pairs.
        min_continuum_mass: Smallest mass of the q q̄ system after radiation, GeV.
    """

    energy_spread: float = 0.0053  # GeV; KEKB and PEP-II had about 5 MeV, from memory
    min_continuum_mass: float = 4.0

    def __post_init__(self) -> None:
        if not 0 <= self.energy_spread <= 0.1:
            raise InputError(f"generator.energy_spread is {self.energy_spread}; it lies in 0 to 0.1 GeV")
        if not 2 <= self.min_continuum_mass <= 10:
            raise InputError(
                f"generator.min_continuum_mass is {self.min_continuum_mass}; it lies in 2 to 10 GeV"
            )


@dataclass(frozen=True)
class Preselection:
    """What is a candidate of B → K(*) a, loosely.

    Attributes:
        min_mbc, max_abs_delta_e: Of the B candidate, GeV.
        min_kaon_id: Smallest kaonID of a charged kaon.
        min_pion_id: Smallest pionID of the pion of a K*.
        max_dr_cm, max_dz_cm: How near to the collision a track from it passes.
        min_photon_energy: Of clusters, GeV in the laboratory, here and in the rest of the event.
        min_alp_photon_energy: Of the two photons of the light particle, GeV in the laboratory.
        min_alp_mass: Smallest mass of the two, GeV.
        kstar_half_width: GeV to each side of the K* mass.
        pi0_half_width: GeV to each side of the π0 mass, for K*+ → K+ π0.
        min_pi0_photon_energy: Of the two photons of that π0, GeV in the laboratory.
    """

    min_mbc: float = 5.20
    max_abs_delta_e: float = 0.3
    min_kaon_id: float = 0.1
    min_pion_id: float = 0.1
    max_dr_cm: float = 0.5
    max_dz_cm: float = 3.0
    min_photon_energy: float = 0.05
    min_alp_photon_energy: float = 0.1
    min_alp_mass: float = 0.05
    kstar_half_width: float = 0.10
    pi0_half_width: float = 0.015
    min_pi0_photon_energy: float = 0.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"preselection.{name} is {value}; it is a finite number of at least 0")


def refuse_other_than_upsilon4s(beams: Beams) -> None:
    """Raise InputError unless the beams collide at the Υ(4S)."""
    if not 10.56 < beams.sqrt_s < 10.62:
        raise InputError(f"beams: sqrt(s) is {beams.sqrt_s:.4f} GeV; the Υ(4S) is at 10.58 GeV")


@dataclass(frozen=True)
class BFactorySettings(Settings):
    """Everything but the seed and the size that decides what a sample at the Υ(4S) contains.

    Raises:
        InputError: If the beams do not reach the threshold of B pairs.
    """

    beams: Beams = field(default_factory=lambda: Beams.named("belle"))
    generator: Generator = field(default_factory=Generator)
    tracking: Tracking = field(default_factory=Tracking)
    identification: Identification = field(default_factory=Identification)
    calorimeter: Detector = field(default_factory=Detector)
    showers: HadronShowers = field(default_factory=HadronShowers)
    preselection: Preselection = field(default_factory=Preselection)
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        refuse_other_than_upsilon4s(self.beams)

    def unit_and_source(self) -> dict[str, dict[str, float | str]]:
        return self.rates.unit_and_source()
