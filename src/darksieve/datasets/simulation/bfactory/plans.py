"""Plans of samples at the Υ(4S): blocks of events, generated, detected and reconstructed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from darksieve.datasets.simulation.bfactory.columns import candidate_columns, with_key
from darksieve.datasets.simulation.bfactory.generation import b_pair_events, continuum_events, signal_events
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch
from darksieve.datasets.simulation.bfactory.rates import KAON_MODES
from darksieve.datasets.simulation.bfactory.reconstruction import reconstruct
from darksieve.datasets.simulation.bfactory.response import detect
from darksieve.datasets.simulation.bfactory.settings import BFactorySettings
from darksieve.datasets.simulation.bfactory.signals import (
    ALP_PDG,
    LIGHT_MESONS,
    MODES,
    KaonMode,
    decay_signals,
)
from darksieve.datasets.simulation.ntuple import Columns
from darksieve.datasets.simulation.plans import Block, Extent, MassSpectrum, run_number, stream


class EventSource(Protocol):
    """Generator of one process; what it makes comes in one or several batches."""

    block: ClassVar[int]
    """Events of one block: changing it changes every sample."""

    def batches(
        self, rng: np.random.Generator, settings: BFactorySettings, first: int, n: int
    ) -> Iterator[ParticleBatch]:
        """``n`` events that follow ``first`` others."""


@dataclass(frozen=True)
class ContinuumSource:
    """e+e- → q q̄."""

    block: ClassVar[int] = 20_000  # Pythia starts anew for each, which takes as long as some 1500 events

    def batches(
        self, rng: np.random.Generator, settings: BFactorySettings, first: int, n: int
    ) -> Iterator[ParticleBatch]:
        yield continuum_events(rng, settings.beams, settings.generator.min_continuum_mass, n)


@dataclass(frozen=True)
class PairSource:
    """e+e- → Υ(4S) → B B̄, both in all their decays."""

    pdg: int

    block: ClassVar[int] = 10_000

    def batches(
        self, rng: np.random.Generator, settings: BFactorySettings, first: int, n: int
    ) -> Iterator[ParticleBatch]:
        yield b_pair_events(rng, settings.beams, settings.generator.energy_spread, self.pdg, n)


def _exclusive(
    rng: np.random.Generator,
    settings: BFactorySettings,
    mode: KaonMode,
    light_pdg: int,
    masses: np.ndarray,
) -> ParticleBatch:
    decays = decay_signals(rng, mode, settings.rates.submodes(mode.name), light_pdg, masses)
    return signal_events(rng, settings.beams, settings.generator.energy_spread, mode.b_pdg, decays)


@dataclass(frozen=True)
class SignalSource:
    """B → K(*) a with one K(*), the other B in all its decays."""

    mode: str
    spectrum: MassSpectrum

    block: ClassVar[int] = 5_000

    def batches(
        self, rng: np.random.Generator, settings: BFactorySettings, first: int, n: int
    ) -> Iterator[ParticleBatch]:
        masses = self.spectrum.draw(rng, first, n)
        yield _exclusive(rng, settings, MODES[self.mode], ALP_PDG, masses)


@dataclass(frozen=True)
class PeakingSource:
    """B → K(*) meson, meson → γγ, in the four K(*) by their rates."""

    meson: str

    block: ClassVar[int] = 5_000

    def batches(
        self, rng: np.random.Generator, settings: BFactorySettings, first: int, n: int
    ) -> Iterator[ParticleBatch]:
        rates = np.array([settings.rates.peaking_fb(mode, self.meson) for mode in KAON_MODES])
        pdg, mass = LIGHT_MESONS[self.meson]
        for mode, number in zip(KAON_MODES, rng.multinomial(n, rates / rates.sum()), strict=True):
            if number:
                yield _exclusive(rng, settings, MODES[mode], pdg, np.full(number, mass))


@dataclass(frozen=True)
class BFactoryPlan:
    """Candidates of one process."""

    source: EventSource
    production: int
    settings: BFactorySettings
    seed: int
    n_events: int | None

    @property
    def n_blocks(self) -> int | None:
        return Extent(self.source.block, self.n_events).n_blocks

    def make(self, block: int) -> Block:
        first, n = Extent(self.source.block, self.n_events).of(block)
        rng = stream(self.seed, self.production, block)
        parts, before = [], first
        for particles in self.source.batches(rng, self.settings, first, n):
            parts.append(self._candidates(rng, particles, before))
            before += particles.n_events
        return Block({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, n)

    def _candidates(self, rng: np.random.Generator, particles: ParticleBatch, first: int) -> Columns:
        detected = detect(rng, particles, self.settings)
        candidates = reconstruct(detected, self.settings.beams, self.settings.preselection)
        columns = candidate_columns(candidates, particles, detected, self.settings)
        return with_key(
            columns, candidates.event, first, run=run_number(self.seed), production=self.production
        )
