"""Plans of photon samples: backgrounds, signals, pseudo-data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.ntuple import Columns, key_columns
from darksieve.datasets.simulation.photons.columns import ntuple_columns
from darksieve.datasets.simulation.photons.measurement import measure
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.photons.sources import ALP_PDG, Source, photon_with_resonance
from darksieve.datasets.simulation.plans import Block, Extent, MassSpectrum, run_number, stream

BLOCK = 20_000  # generated events of one random stream; changing it changes every sample
EVENT_STRIDE = 65_536  # event numbers of one block of pseudo-data, whose size is random


def _measured_columns(
    rng: np.random.Generator,
    source_photons: NDArray[np.float64],
    settings: PhotonSettings,
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
    """Events of one background."""

    source: Source
    production: int
    settings: PhotonSettings
    seed: int
    n_events: int | None

    @property
    def n_blocks(self) -> int | None:
        return Extent(BLOCK, self.n_events).n_blocks

    def make(self, block: int) -> Block:
        first, n = Extent(BLOCK, self.n_events).of(block)
        rng = stream(self.seed, self.production, block)
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
            (first + 1 + kept).astype(np.uint32), run=run_number(self.seed), production=self.production
        )
        return Block(keys | columns, n)


@dataclass(frozen=True)
class SignalPlan:
    """Events of the signal, whose masses are given."""

    production: int
    settings: PhotonSettings
    seed: int
    n_events: int | None
    spectrum: MassSpectrum

    @property
    def n_blocks(self) -> int | None:
        return Extent(BLOCK, self.n_events).n_blocks

    def make(self, block: int) -> Block:
        first, n = Extent(BLOCK, self.n_events).of(block)
        rng = stream(self.seed, self.production, block)
        masses = self.spectrum.draw(rng, first, n)
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
            (first + 1 + kept).astype(np.uint32), run=run_number(self.seed), production=self.production
        )
        return Block(keys | columns, n)


@dataclass(frozen=True)
class PseudoDataPlan:
    """Slices of luminosity, each with Poisson numbers of every process, shuffled."""

    sources: tuple[tuple[int, Source], ...]  # production number of the process, its source
    production: int
    settings: PhotonSettings
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
        rng = stream(self.seed, self.production, block)
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
        keys = key_columns(event, run=run_number(self.seed), production=self.production)
        return Block(keys | {name: values[order] for name, values in merged.items()}, n_generated)
