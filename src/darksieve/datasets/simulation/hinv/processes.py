"""The processes of B → h X: five signals and their backgrounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from darksieve.datasets.events import Role
from darksieve.datasets.simulation.hinv.channels import CHANNELS, Channel
from darksieve.datasets.simulation.hinv.columns import MASS_BRANCH, WEIGHT_BRANCH
from darksieve.datasets.simulation.hinv.plans import (
    BPairSource,
    ContinuumSource,
    HinvPlan,
    SignalSource,
    Source,
    TwoBodySource,
    no_rows,
)
from darksieve.datasets.simulation.hinv.settings import HinvSettings
from darksieve.datasets.simulation.hinv.two_body import two_body_decays
from darksieve.datasets.simulation.plans import MassSpectrum, PlannedSample
from darksieve.datasets.simulation.process import Process

if TYPE_CHECKING:
    from darksieve.datasets.simulation.request import SampleRequest


def _settings(request: SampleRequest) -> HinvSettings:
    assert isinstance(request.settings, HinvSettings)
    return request.settings


def _two_body_fraction(b_charge: int) -> float:
    return sum(decay.fraction for decay in two_body_decays(b_charge))


def _continuum_fb(settings: HinvSettings) -> float:
    return settings.rates.continuum_fb


def _b_pairs_fb(b_charge: int) -> Callable[[HinvSettings], float]:
    """Neither B decays in one of the two-body ways."""

    def cross_section(settings: HinvSettings) -> float:
        other = 1 - _two_body_fraction(b_charge)
        return settings.rates.b_pairs_fb(charged=b_charge == 1) * other**2

    return cross_section


def _two_body_fb(b_charge: int) -> Callable[[HinvSettings], float]:
    """One of the Bs does, the other does not; both do in a thousandth of the pairs, which are left out."""

    def cross_section(settings: HinvSettings) -> float:
        own = _two_body_fraction(b_charge)
        return settings.rates.b_pairs_fb(charged=b_charge == 1) * 2 * own * (1 - own)

    return cross_section


def _background(
    name: str,
    production: int,
    description: str,
    source: Source,
    cross_section: Callable[[HinvSettings], float],
) -> Process:
    def plan(request: SampleRequest) -> PlannedSample:
        settings = _settings(request)
        rate = cross_section(settings)
        n = request.n_background(rate)
        return PlannedSample(HinvPlan(source, production, settings, request.seed, n), n, rate, 0.0)

    return Process(
        name,
        production,
        Role.BACKGROUND,
        description,
        HinvSettings,
        plan,
        no_rows,
        weight_branch=WEIGHT_BRANCH,
    )


def _signal(production: int, channel: Channel) -> Process:
    def plan(request: SampleRequest) -> PlannedSample:
        spectrum = MassSpectrum.of(request.masses, request.mass_range)
        n = spectrum.n_events if spectrum.flat is None else request.n_events
        source = SignalSource(channel.name, spectrum)
        return PlannedSample(HinvPlan(source, production, _settings(request), request.seed, n), n)

    def largest_mass(_: HinvSettings) -> float:
        return channel.largest_mass

    return Process(
        f"hinv_{channel.name}",
        production,
        Role.SIGNAL,
        f"{channel.label}, X invisible, against a generic B",
        HinvSettings,
        plan,
        no_rows,
        mass_branch=MASS_BRANCH,
        largest_mass=largest_mass,
        weight_branch=WEIGHT_BRANCH,
    )


HINV_PROCESSES: tuple[Process, ...] = (
    *(_signal(601 + i, channel) for i, channel in enumerate(CHANNELS.values())),
    _background("hinv_continuum", 611, "e+e- → q q̄, a hadronic tag faked", ContinuumSource(), _continuum_fb),
    _background(
        "hinv_charged", 612, "Υ(4S) → B+B−, a hadronic tag right or faked", BPairSource(1), _b_pairs_fb(1)
    ),
    _background(
        "hinv_neutral", 613, "Υ(4S) → B0B̄0, a hadronic tag right or faked", BPairSource(0), _b_pairs_fb(0)
    ),
    _background(
        "hinv_two_body_charged",
        614,
        "Υ(4S) → B+B−, one B+ → h M of the Standard Model",
        TwoBodySource(1),
        _two_body_fb(1),
    ),
    _background(
        "hinv_two_body_neutral",
        615,
        "Υ(4S) → B0B̄0, one B0 → D̄0 M of the Standard Model",
        TwoBodySource(0),
        _two_body_fb(0),
    ),
)
