"""Plans of B → h X samples: signals, continuum, B pairs and two-body decays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.bfactory.generation import b_pair_events, continuum_events, signal_events
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch, no_events
from darksieve.datasets.simulation.hinv.candidates import candidate_rows
from darksieve.datasets.simulation.hinv.channels import B_PLUS_PDG, B_ZERO_PDG, CHANNELS
from darksieve.datasets.simulation.hinv.settings import HinvSettings
from darksieve.datasets.simulation.hinv.signal_side import signal_side
from darksieve.datasets.simulation.hinv.two_body import two_body_choice, two_body_events
from darksieve.datasets.simulation.ntuple import Columns, key_columns
from darksieve.datasets.simulation.plans import Block, Extent, MassSpectrum, run_number, stream

BLOCK = 10_000  # generated events of one random stream, an even number; changing it changes every sample


class Source(Protocol):
    """Generator of one process."""

    @property
    def channel(self) -> str | None:
        """Name of the signal's channel, None for a background."""

    def generate(self, rng: np.random.Generator, settings: HinvSettings, first: int, n: int) -> ParticleBatch:
        """``n`` events that follow ``first`` others."""


@dataclass(frozen=True)
class SignalSource:
    """B → h X against a B that decays generically."""

    channel: str
    spectrum: MassSpectrum

    def generate(self, rng: np.random.Generator, settings: HinvSettings, first: int, n: int) -> ParticleBatch:
        channel = CHANNELS[self.channel]
        decays = signal_side(rng, channel, self.spectrum.draw(rng, first, n))
        return signal_events(rng, settings.beams, settings.generator.energy_spread, channel.b_pdg, decays)


@dataclass(frozen=True)
class ContinuumSource:
    """e+e- → q q̄."""

    channel: None = None

    def generate(self, rng: np.random.Generator, settings: HinvSettings, first: int, n: int) -> ParticleBatch:
        return continuum_events(rng, settings.beams, settings.generator.min_continuum_mass, n)


@dataclass(frozen=True)
class BPairSource:
    """e+e- → Υ(4S) → B B̄ without the two-body decays."""

    b_charge: int
    channel: None = None

    def generate(self, rng: np.random.Generator, settings: HinvSettings, first: int, n: int) -> ParticleBatch:
        left_out = two_body_choice(self.b_charge, only=False)
        pdg = B_PLUS_PDG if self.b_charge else B_ZERO_PDG
        return b_pair_events(rng, settings.beams, settings.generator.energy_spread, pdg, n, left_out)


@dataclass(frozen=True)
class TwoBodySource:
    """e+e- → Υ(4S) → B B̄ of which one decays to h and a meson or baryon."""

    b_charge: int
    channel: None = None

    def generate(self, rng: np.random.Generator, settings: HinvSettings, first: int, n: int) -> ParticleBatch:
        return two_body_events(rng, settings.beams, settings.generator.energy_spread, self.b_charge, n)


@dataclass(frozen=True)
class HinvPlan:
    """Events of one process, with the candidates found in them."""

    source: Source
    production: int
    settings: HinvSettings
    seed: int
    n_events: int | None

    @property
    def n_blocks(self) -> int | None:
        return Extent(BLOCK, self.n_events).n_blocks

    def make(self, block: int) -> Block:
        first, n = Extent(BLOCK, self.n_events).of(block)
        rng = stream(self.seed, self.production, block)
        batch = self.source.generate(rng, self.settings, first, n)
        columns, event = candidate_rows(rng, batch, self.settings, self.source.channel)
        return Block(_keys(first + 1 + event, run_number(self.seed), self.production) | columns, n)


def _keys(event: NDArray[np.int64], run: int, production: int) -> Columns:
    keys = key_columns(event.astype(np.uint32), run=run, production=production)
    begins = np.searchsorted(event, event)
    keys["__candidate__"] = (np.arange(len(event)) - begins).astype(np.int32)
    keys["__ncandidates__"] = (np.searchsorted(event, event, side="right") - begins).astype(np.int32)
    return keys


def no_rows(settings: HinvSettings) -> Columns:
    """The branches of any of these samples, without rows."""
    none = np.empty(0, dtype=np.int64)
    columns, event = candidate_rows(np.random.default_rng(0), no_events(), settings, None)
    return _keys(event, 0, 0) | {name: values[none] for name, values in columns.items()}
