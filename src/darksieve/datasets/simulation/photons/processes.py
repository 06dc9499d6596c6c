"""The photon processes: their production numbers, sources and plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from darksieve.constants import ETA_MASS, ETA_PRIME_MASS
from darksieve.datasets.events import Role
from darksieve.datasets.simulation.photons.beyond_leading_order import (
    FourPhotonSource,
    RadiativeBhabhaSource,
)
from darksieve.datasets.simulation.photons.columns import MASS_BRANCH, no_rows, no_rows_of_data
from darksieve.datasets.simulation.photons.plans import (
    EVENT_STRIDE,
    BackgroundPlan,
    PseudoDataPlan,
    SignalPlan,
)
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.photons.sources import (
    ALP_PDG,
    ETA_PDG,
    ETA_PRIME_PDG,
    OmegaSource,
    ResonanceSource,
    Source,
    ThreePhotonSource,
    TwoPhotonSource,
)
from darksieve.datasets.simulation.plans import MAX_EVENTS, PlannedSample
from darksieve.datasets.simulation.process import Process
from darksieve.errors import InputError

if TYPE_CHECKING:
    from darksieve.datasets.simulation.request import SampleRequest


def _three_photons(settings: PhotonSettings) -> Source:
    return ThreePhotonSource(settings.beams.sqrt_s, *settings.generator_cuts)


def _two_photons(settings: PhotonSettings) -> Source:
    return TwoPhotonSource(
        settings.beams,
        settings.detector,
        settings.selection.min_energy_lab,
        settings.cross_sections.gamma_gamma_fb,
    )


def _form_factor_scale(settings: PhotonSettings) -> float:
    return (settings.cross_sections.form_factor_sqrt_s / settings.beams.sqrt_s) ** 4


def _eta(settings: PhotonSettings) -> Source:
    rates = settings.cross_sections
    rate = rates.gamma_eta_fb * rates.eta_to_two_photons * _form_factor_scale(settings)
    return ResonanceSource(settings.beams.sqrt_s, ETA_MASS, ETA_PDG, rate)


def _etaprime(settings: PhotonSettings) -> Source:
    rates = settings.cross_sections
    rate = rates.gamma_etaprime_fb * rates.etaprime_to_two_photons * _form_factor_scale(settings)
    return ResonanceSource(settings.beams.sqrt_s, ETA_PRIME_MASS, ETA_PRIME_PDG, rate)


def _omega(settings: PhotonSettings) -> Source:
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


def _four_photons(settings: PhotonSettings) -> Source:
    return FourPhotonSource(settings.beams.sqrt_s, *settings.generator_cuts)


def _lost_tracks(settings: PhotonSettings) -> Source:
    lost = settings.cross_sections.lost_track_probability
    return RadiativeBhabhaSource(settings.beams.sqrt_s, *settings.generator_cuts, lost)


SIGNAL = "gamma_alp"
PSEUDO_DATA = "gamma_alp_pseudo_data"

# name: production number, description, source
_BACKGROUNDS: dict[str, tuple[int, str, Callable[[PhotonSettings], Source]]] = {
    "qed_3gamma": (101, "e+e- → γγγ, leading order", _three_photons),
    "gamma_gamma": (102, "e+e- → γγ with a fake third cluster", _two_photons),
    "gamma_eta": (103, "e+e- → γη(→γγ)", _eta),
    "gamma_etaprime": (104, "e+e- → γη'(→γγ)", _etaprime),
    "gamma_omega": (105, "e+e- → γω(→π0γ), initial-state radiation", _omega),
    "qed_4gamma": (106, "e+e- → γγγγ, a soft photon on the exact γγγ: approximate", _four_photons),
    "ee_gamma": (107, "e+e- → e+e-γ with both tracks lost: illustrative rate", _lost_tracks),
}
_SIGNAL_PRODUCTION, _PSEUDO_DATA_PRODUCTION = 201, 301


def background_sources(settings: PhotonSettings) -> dict[str, Source]:
    """Generators of all backgrounds, by process name."""
    return {name: source(settings) for name, (_, _, source) in _BACKGROUNDS.items()}


def _settings(request: SampleRequest) -> PhotonSettings:
    assert isinstance(request.settings, PhotonSettings)
    return request.settings


def _plan_background(request: SampleRequest) -> PlannedSample:
    settings = _settings(request)
    production, _, make_source = _BACKGROUNDS[request.process]
    source = make_source(settings)
    n = request.n_background(source.cross_section_fb)
    plan = BackgroundPlan(source, production, settings, request.seed, n)
    return PlannedSample(plan, n, source.cross_section_fb, source.cross_section_error_fb)


def _plan_signal(request: SampleRequest) -> PlannedSample:
    n = request.n_signal
    plan = SignalPlan(_SIGNAL_PRODUCTION, _settings(request), request.seed, n, request.spectrum)
    return PlannedSample(plan, n)


def _plan_pseudo_data(request: SampleRequest) -> PlannedSample:
    assert request.luminosity_fb is not None
    settings, inject = _settings(request), request.inject
    numbered = [(_BACKGROUNDS[name][0], source) for name, source in background_sources(settings).items()]
    if inject is not None:
        signal = ResonanceSource(settings.beams.sqrt_s, inject.mass, ALP_PDG, inject.cross_section_fb)
        numbered.append((_SIGNAL_PRODUCTION, signal))
    luminosity_fb = float(request.luminosity_fb)
    plan = PseudoDataPlan(tuple(numbered), _PSEUDO_DATA_PRODUCTION, settings, request.seed, luminosity_fb)
    if plan.n_blocks * EVENT_STRIDE > MAX_EVENTS:
        raise InputError(
            f"{request.process}: {request.luminosity_fb}/fb are {plan.n_expected:.0f} events, more than "
            "event numbers allow; make several samples with different seeds"
        )
    return PlannedSample(plan, round(plan.n_expected), luminosity_fb=luminosity_fb)


def _sqrt_s(settings: PhotonSettings) -> float:
    return settings.beams.sqrt_s


PHOTON_PROCESSES: tuple[Process, ...] = (
    *(
        Process(
            name, production, Role.BACKGROUND, description, PhotonSettings, _plan_background, no_rows
        )
        for name, (production, description, _) in _BACKGROUNDS.items()
    ),
    Process(
        SIGNAL, _SIGNAL_PRODUCTION, Role.SIGNAL, "e+e- → γa(→γγ)", PhotonSettings, _plan_signal, no_rows,
        mass_branch=MASS_BRANCH, largest_mass=_sqrt_s,
    ),
    Process(
        PSEUDO_DATA, _PSEUDO_DATA_PRODUCTION, Role.DATA,
        "all backgrounds and, on request, a signal, unlabelled",
        PhotonSettings, _plan_pseudo_data, no_rows_of_data, largest_mass=_sqrt_s,
    ),
)  # fmt: skip
