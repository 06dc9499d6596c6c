"""The displaced processes: their production numbers, plans and branches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from darksieve.datasets.events import Role
from darksieve.datasets.simulation.displaced.backgrounds import (
    HadronicSource,
    KshortPairSource,
    Pairs,
    dzero_rate,
    dzeros,
    kshort_rate,
    kshorts,
    lambda_rate,
    lambdas,
    prompt_pairs,
    prompt_rate,
)
from darksieve.datasets.simulation.displaced.columns import MASS_BRANCH, measured_columns, no_rows
from darksieve.datasets.simulation.displaced.events import KAON, MASSES, MUON, PION, TrueEvents
from darksieve.datasets.simulation.displaced.settings import DisplacedSettings, Spectra
from darksieve.datasets.simulation.displaced.signal import generate_signal
from darksieve.datasets.simulation.ntuple import key_columns
from darksieve.datasets.simulation.plans import (
    Block,
    Extent,
    MassSpectrum,
    PlannedSample,
    run_number,
    stream,
)
from darksieve.datasets.simulation.process import Process
from darksieve.errors import InputError

if TYPE_CHECKING:
    from darksieve.datasets.simulation.request import SampleRequest

BLOCK = 20_000  # generated events of one random stream; changing it changes every sample

Source = HadronicSource | KshortPairSource


def _beside_photon(pairs: Pairs, rate: Callable[[Spectra], float]) -> Callable[[DisplacedSettings], Source]:
    return lambda settings: HadronicSource(settings, pairs, rate(settings.spectra))


# name: production number, description, particle of h' → x+x-
SIGNALS: dict[str, tuple[int, str, int]] = {
    "dark_higgs_mumu": (801, "e+e- → h'(→μμ) A'(→χ1 χ2), χ2 → χ1 ee", MUON),
    "dark_higgs_pipi": (802, "e+e- → h'(→ππ) A'(→χ1 χ2), χ2 → χ1 ee", PION),
    "dark_higgs_kk": (803, "e+e- → h'(→KK) A'(→χ1 χ2), χ2 → χ1 ee", KAON),
}
# name: production number, description, what makes its source
BACKGROUNDS: dict[str, tuple[int, str, Callable[[DisplacedSettings], Source]]] = {
    "displaced_kshort": (
        851, "K_S → ππ and a converted photon in continuum", _beside_photon(kshorts, kshort_rate),
    ),
    "displaced_lambda": (
        852, "Λ → pπ and a converted photon in continuum", _beside_photon(lambdas, lambda_rate),
    ),
    "displaced_prompt": (
        853, "two prompt pions, fake vertex; converted photon", _beside_photon(prompt_pairs, prompt_rate),
    ),
    "displaced_b_decay": (
        854, "D0 → Kππ0 of a B decay and a converted photon", _beside_photon(dzeros, dzero_rate),
    ),
    "displaced_kshort_pair": (855, "two K_S → ππ in continuum, one taken for e+e-", KshortPairSource),
}  # fmt: skip


@dataclass(frozen=True)
class DisplacedPlan:
    """Events of one displaced process: of a signal with its spectrum of masses, or of a background."""

    process: str
    settings: DisplacedSettings
    seed: int
    n_events: int | None
    spectrum: MassSpectrum | None = None

    @property
    def n_blocks(self) -> int | None:
        return Extent(BLOCK, self.n_events).n_blocks

    def generate(self, rng: np.random.Generator, first: int, n: int) -> TrueEvents:
        """``n`` true events that follow ``first`` others."""
        if self.spectrum is not None:
            masses = self.spectrum.draw(rng, first, n)
            return generate_signal(rng, self.settings, masses, SIGNALS[self.process][2])
        return background_source(self.process, self.settings).generate(rng, n)

    def make(self, block: int) -> Block:
        production = (SIGNALS.get(self.process) or BACKGROUNDS[self.process])[0]
        first, n = Extent(BLOCK, self.n_events).of(block)
        rng = stream(self.seed, production, block)
        columns, kept = measured_columns(rng, self.generate(rng, first, n), self.settings)
        keys = key_columns(
            (first + 1 + kept).astype(np.uint32), run=run_number(self.seed), production=production
        )
        return Block(keys | columns, n)


def background_source(name: str, settings: DisplacedSettings) -> Source:
    """The generator of a background."""
    return BACKGROUNDS[name][2](settings)


def _settings(request: SampleRequest) -> DisplacedSettings:
    assert isinstance(request.settings, DisplacedSettings)
    return request.settings


def _plan_background(request: SampleRequest) -> PlannedSample:
    settings = _settings(request)
    cross_section = background_source(request.process, settings).cross_section_fb
    n = request.n_background(cross_section)
    return PlannedSample(DisplacedPlan(request.process, settings, request.seed, n), n, cross_section, 0.0)


def _plan_signal(request: SampleRequest) -> PlannedSample:
    particle = SIGNALS[request.process][2]
    threshold = 2 * MASSES[particle]
    spectrum = request.spectrum
    lowest = spectrum.flat[0] if spectrum.flat is not None else min(mass for mass, _ in spectrum.discrete)
    if lowest <= threshold:
        raise InputError(
            f"{request.process}: a mass of h' is {lowest} GeV; it must be above {threshold:.4f} GeV, the"
            " threshold of its decay"
        )
    n = request.n_signal
    return PlannedSample(DisplacedPlan(request.process, _settings(request), request.seed, n, spectrum), n)


def _largest_mass(settings: DisplacedSettings) -> float:
    return settings.beams.sqrt_s - settings.model.dark_photon_mass


DISPLACED_PROCESSES: tuple[Process, ...] = (
    *(
        Process(
            name, production, Role.SIGNAL, description, DisplacedSettings, _plan_signal, no_rows,
            mass_branch=MASS_BRANCH, largest_mass=_largest_mass,
        )
        for name, (production, description, _) in SIGNALS.items()
    ),
    *(
        Process(name, production, Role.BACKGROUND, description, DisplacedSettings, _plan_background, no_rows)
        for name, (production, description, _) in BACKGROUNDS.items()
    ),
)  # fmt: skip
