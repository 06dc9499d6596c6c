"""The processes at the Υ(4S): their production numbers, cross sections and plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from darksieve.datasets.events import Role
from darksieve.datasets.simulation.bfactory.columns import MASS_BRANCH, candidate_columns, with_key
from darksieve.datasets.simulation.bfactory.plans import (
    BFactoryPlan,
    ContinuumSource,
    EventSource,
    PairSource,
    PeakingSource,
    SignalSource,
)
from darksieve.datasets.simulation.bfactory.pythia import B_PLUS_PDG, B_ZERO_PDG, import_pythia
from darksieve.datasets.simulation.bfactory.rates import KAON_MODES, PEAKING_MESONS, Rates
from darksieve.datasets.simulation.bfactory.reconstruction import no_candidates
from darksieve.datasets.simulation.bfactory.settings import BFactorySettings
from darksieve.datasets.simulation.bfactory.signals import MODES
from darksieve.datasets.simulation.ntuple import Columns
from darksieve.datasets.simulation.plans import PlannedSample
from darksieve.datasets.simulation.process import Process

if TYPE_CHECKING:
    from darksieve.datasets.simulation.request import SampleRequest


def _no_rows(settings: BFactorySettings) -> Columns:
    particles, detected, candidates = no_candidates()
    columns = candidate_columns(candidates, particles, detected, settings)
    return with_key(columns, np.empty(0, np.int64), 0, run=0, production=0)


def _settings(request: SampleRequest) -> BFactorySettings:
    import_pythia()  # said here, before any work, where it is absent
    assert isinstance(request.settings, BFactorySettings)
    return request.settings


def _background(
    name: str, production: int, description: str, source: EventSource, cross_section: Callable[[Rates], float]
) -> Process:
    def plan(request: SampleRequest) -> PlannedSample:
        settings = _settings(request)
        rate = cross_section(settings.rates)
        n = request.n_background(rate)
        return PlannedSample(BFactoryPlan(source, production, settings, request.seed, n), n, rate, 0.0)

    return Process(name, production, Role.BACKGROUND, description, BFactorySettings, plan, _no_rows)


def _signal(mode: str, production: int, description: str) -> Process:
    def plan(request: SampleRequest) -> PlannedSample:
        settings = _settings(request)
        source = SignalSource(mode, request.spectrum)
        n = request.n_signal
        return PlannedSample(BFactoryPlan(source, production, settings, request.seed, n), n)

    return Process(
        f"b_to_{mode}_alp",
        production,
        Role.SIGNAL,
        description,
        BFactorySettings,
        plan,
        _no_rows,
        mass_branch=MASS_BRANCH,
        largest_mass=lambda _: MODES[mode].largest_mass,
    )


def _peaking(meson: str, production: int, description: str) -> Process:
    def cross_section(rates: Rates) -> float:
        return sum(rates.peaking_fb(mode, meson) for mode in KAON_MODES)

    return _background(f"b_to_k_{meson}", production, description, PeakingSource(meson), cross_section)


_SIGNS = {
    "kplus": "B+ → K+ a(→γγ)",
    "kshort": "B0 → K_S(→π+π-) a(→γγ)",
    "kstarplus": "B+ → K*+(→K_S π+, K+ π0) a(→γγ)",
    "kstarzero": "B0 → K*0(→K+ π-) a(→γγ)",
}
_MESON_SIGNS = {"pi0": "π0", "eta": "η", "etaprime": "η'"}

B_FACTORY_PROCESSES: tuple[Process, ...] = (
    _background(
        "continuum", 401, "e+e- → u ū, d d̄, s s̄, c c̄ with radiation", ContinuumSource(),
        lambda rates: rates.continuum_fb,
    ),
    _background(
        "b_charged_pairs", 402, "Υ(4S) → B+B-, all decays", PairSource(B_PLUS_PDG),
        lambda rates: rates.b_pairs_fb(charged=True),
    ),
    _background(
        "b_neutral_pairs", 403, "Υ(4S) → B0 anti-B0, all decays", PairSource(B_ZERO_PDG),
        lambda rates: rates.b_pairs_fb(charged=False),
    ),
    *(_signal(mode, 411 + i, _SIGNS[mode]) for i, mode in enumerate(KAON_MODES)),
    *(
        _peaking(meson, 421 + i, f"B → K(*) {_MESON_SIGNS[meson]}(→γγ) in the four K(*)")
        for i, meson in enumerate(PEAKING_MESONS)
    ),
)  # fmt: skip
