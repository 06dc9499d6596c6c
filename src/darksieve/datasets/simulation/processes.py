"""The registry of processes: their names, roles, production numbers and sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from darksieve.constants import ETA_MASS, ETA_PRIME_MASS
from darksieve.datasets.events import Role
from darksieve.datasets.simulation.settings import SimulationSettings
from darksieve.datasets.simulation.sources import (
    ETA_PDG,
    ETA_PRIME_PDG,
    OmegaSource,
    ResonanceSource,
    Source,
    ThreePhotonSource,
    TwoPhotonSource,
)
from darksieve.errors import InputError, nearest


@dataclass(frozen=True)
class Process:
    """One process that can be simulated.

    Attributes:
        name: Its name in configs, files and pictures.
        production: ``__production__`` of its events and the key of its random stream; no two are equal.
        role: What its samples are for.
        description: One line for tables.
        source: Makes the generator from the settings; None for the signal, which needs masses, and for
            pseudo-data, which mixes the others.
    """

    name: str
    production: int
    role: Role
    description: str
    source: Callable[[SimulationSettings], Source] | None = None


def _three_photons(settings: SimulationSettings) -> Source:
    return ThreePhotonSource(settings.beams.sqrt_s, *settings.generator_cuts)


def _two_photons(settings: SimulationSettings) -> Source:
    return TwoPhotonSource(
        settings.beams,
        settings.detector,
        settings.selection.min_energy_lab,
        settings.cross_sections.gamma_gamma_fb,
    )


def _form_factor_scale(settings: SimulationSettings) -> float:
    return (settings.cross_sections.form_factor_sqrt_s / settings.beams.sqrt_s) ** 4


def _eta(settings: SimulationSettings) -> Source:
    rates = settings.cross_sections
    rate = rates.gamma_eta_fb * rates.eta_to_two_photons * _form_factor_scale(settings)
    return ResonanceSource(settings.beams.sqrt_s, ETA_MASS, ETA_PDG, rate)


def _etaprime(settings: SimulationSettings) -> Source:
    rates = settings.cross_sections
    rate = rates.gamma_etaprime_fb * rates.etaprime_to_two_photons * _form_factor_scale(settings)
    return ResonanceSource(settings.beams.sqrt_s, ETA_PRIME_MASS, ETA_PRIME_PDG, rate)


def _omega(settings: SimulationSettings) -> Source:
    rates = settings.cross_sections
    _, min_cos_theta, max_cos_theta = settings.generator_cuts
    return OmegaSource(
        settings.beams.sqrt_s,
        rates.omega_electron_width,
        rates.omega_width,
        rates.omega_to_pi0_photon * rates.pi0_to_two_photons,
        min_cos_theta,
        max_cos_theta,
    )


SIGNAL = "gamma_alp"
PSEUDO_DATA = "gamma_alp_pseudo_data"

PROCESSES: dict[str, Process] = {
    process.name: process
    for process in (
        Process("qed_3gamma", 101, Role.BACKGROUND, "e+e- → γγγ, leading order", _three_photons),
        Process("gamma_gamma", 102, Role.BACKGROUND, "e+e- → γγ with a fake third cluster", _two_photons),
        Process("gamma_eta", 103, Role.BACKGROUND, "e+e- → γη(→γγ)", _eta),
        Process("gamma_etaprime", 104, Role.BACKGROUND, "e+e- → γη'(→γγ)", _etaprime),
        Process("gamma_omega", 105, Role.BACKGROUND, "e+e- → γω(→π0γ), initial-state radiation", _omega),
        Process(SIGNAL, 201, Role.SIGNAL, "e+e- → γa(→γγ)"),
        Process(PSEUDO_DATA, 301, Role.DATA, "all backgrounds and, on request, a signal, unlabelled"),
    )
}


def process_named(name: str) -> Process:
    """The process of that name.

    Raises:
        InputError: If there is none.
    """
    try:
        return PROCESSES[name]
    except KeyError:
        raise InputError(
            f"simulate: {name!r} is not a process; there are {sorted(PROCESSES)}{nearest(name, PROCESSES)}"
        ) from None


def background_sources(settings: SimulationSettings) -> dict[str, Source]:
    """Generators of all backgrounds, by process name."""
    return {
        name: process.source(settings) for name, process in PROCESSES.items() if process.source is not None
    }
