"""Plans of samples: any block of one can be made from the plan alone, in any order and in any process."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.measurement import measure
from darksieve.datasets.simulation.ntuple import Columns, key_columns, ntuple_columns
from darksieve.datasets.simulation.settings import SimulationSettings
from darksieve.datasets.simulation.sources import ALP_PDG, Source, photon_with_resonance

BLOCK = 20_000  # generated events of one random stream; changing it changes every sample
EVENT_STRIDE = 65_536  # event numbers of one block of pseudo-data, whose size is random
_MAX_RUN = 2**31 - 1


@dataclass(frozen=True)
class Block:
    columns: Columns
    n_generated: int


class Plan(Protocol):
    """What the workers share: any block of a sample can be made from it alone, in any order."""

    @property
    def n_blocks(self) -> int: ...

    def make(self, block: int) -> Block: ...


def _stream(seed: int, production: int, block: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(production, block)))


def _run_number(seed: int) -> int:
    """Run number of a seed: samples of different seeds share no event key."""
    if seed < _MAX_RUN:
        return seed
    digest = hashlib.sha256(str(seed).encode()).digest()
    return int.from_bytes(digest[:4], "little") % _MAX_RUN


def _measured_columns(
    rng: np.random.Generator,
    source_photons: NDArray[np.float64],
    settings: SimulationSettings,
    *,
    mothers: tuple[int, ...],
    force_fake: bool,
    masses: NDArray[np.float64] | None,
    with_truth: bool,
) -> tuple[Columns, NDArray[np.int64]]:
    measured = measure(
        rng,
        source_photons,
        beams=settings.beams,
        detector=settings.detector,
        selection=settings.selection,
        force_fake=force_fake,
    )
    mass = np.full(len(measured.event), np.nan) if masses is None else masses[measured.event]
    return ntuple_columns(measured, mothers=mothers, mass=mass, with_truth=with_truth), measured.event


@dataclass(frozen=True)
class BackgroundPlan:
    source: Source
    production: int
    settings: SimulationSettings
    seed: int
    n_events: int

    @property
    def n_blocks(self) -> int:
        return math.ceil(self.n_events / BLOCK)

    def make(self, block: int) -> Block:
        first = block * BLOCK
        n = min(BLOCK, self.n_events - first)
        rng = _stream(self.seed, self.production, block)
        columns, kept = _measured_columns(
            rng,
            self.source.generate(rng, n),
            self.settings,
            mothers=self.source.mothers,
            force_fake=self.source.force_fake,
            masses=None,
            with_truth=True,
        )
        keys = key_columns(
            (first + 1 + kept).astype(np.uint32), run=_run_number(self.seed), production=self.production
        )
        return Block(keys | columns, n)


@dataclass(frozen=True)
class SignalPlan:
    production: int
    settings: SimulationSettings
    seed: int
    n_events: int
    masses: tuple[tuple[float, int], ...]  # empty for a flat sample
    mass_range: tuple[float, float] | None

    @property
    def n_blocks(self) -> int:
        return math.ceil(self.n_events / BLOCK)

    def make(self, block: int) -> Block:
        first = block * BLOCK
        n = min(BLOCK, self.n_events - first)
        rng = _stream(self.seed, self.production, block)
        if self.mass_range is not None:
            masses = rng.uniform(*self.mass_range, n)
        else:
            ends = np.cumsum([number for _, number in self.masses])
            of_event = np.searchsorted(ends, first + np.arange(n), side="right")
            masses = np.array([mass for mass, _ in self.masses])[of_event]
        columns, kept = _measured_columns(
            rng,
            photon_with_resonance(rng, self.settings.beams.sqrt_s, masses),
            self.settings,
            mothers=(0, ALP_PDG, ALP_PDG),
            force_fake=False,
            masses=masses,
            with_truth=True,
        )
        keys = key_columns(
            (first + 1 + kept).astype(np.uint32), run=_run_number(self.seed), production=self.production
        )
        return Block(keys | columns, n)


@dataclass(frozen=True)
class PseudoDataPlan:
    """Slices of luminosity, each with Poisson numbers of every process, shuffled."""

    sources: tuple[tuple[int, Source], ...]  # production number of the process, its source
    production: int
    settings: SimulationSettings
    seed: int
    luminosity_fb: float

    @property
    def n_expected(self) -> float:
        return sum(source.cross_section_fb for _, source in self.sources) * self.luminosity_fb

    @property
    def n_blocks(self) -> int:
        return max(1, math.ceil(self.n_expected / BLOCK))

    def make(self, block: int) -> Block:
        slice_fb = self.luminosity_fb / self.n_blocks
        rng = _stream(self.seed, self.production, block)
        parts: list[Columns] = []
        n_generated = 0
        for _, source in self.sources:
            n = int(rng.poisson(source.cross_section_fb * slice_fb))
            columns, _ = _measured_columns(
                rng,
                source.generate(rng, n),
                self.settings,
                mothers=source.mothers,
                force_fake=source.force_fake,
                masses=None,
                with_truth=False,
            )
            n_generated += n
            parts.append(columns)
        merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = rng.permutation(len(merged["M_ggg"]))
        event = (block * EVENT_STRIDE + 1 + np.arange(len(order))).astype(np.uint32)
        keys = key_columns(event, run=_run_number(self.seed), production=self.production)
        return Block(keys | {name: values[order] for name, values in merged.items()}, n_generated)
