"""Plans of samples: any block of one can be made from the plan alone, in any order and in any process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.ntuple import Columns

MAX_EVENTS = 2**32 - 2  # event numbers are 32 bits wide and start at 1
_MAX_RUN = 2**31 - 1


@dataclass(frozen=True)
class Block:
    """Rows of one block, and how many events were generated for it."""

    columns: Columns
    n_generated: int


class Plan(Protocol):
    """What the workers share: any block of a sample can be made from it alone, in any order."""

    @property
    def n_blocks(self) -> int | None:
        """Blocks of the sample; None where it ends with enough candidates."""

    def make(self, block: int) -> Block: ...


@dataclass(frozen=True)
class PlannedSample:
    """A plan of blocks, and what the finished sample stands for (see ``SampleRecord``).

    Attributes:
        plan: Makes the blocks.
        n_expected: Generated events, for the progress bar; None where the sample ends with enough candidates.
        cross_section_fb: With it, the luminosity is the generated events over it.
        cross_section_error_fb: Statistical error of it.
        luminosity_fb: Luminosity of a sample without one cross section (pseudo-data).
    """

    plan: Plan
    n_expected: int | None
    cross_section_fb: float | None = None
    cross_section_error_fb: float | None = None
    luminosity_fb: float | None = None


@dataclass(frozen=True)
class Extent:
    """Blocks of equal size that a sample's events lie in.

    Attributes:
        block: Generated events of a block, but for the last one.
        n_events: Generated events; None for as many whole blocks as it takes.
    """

    block: int
    n_events: int | None

    @property
    def n_blocks(self) -> int | None:
        return None if self.n_events is None else -(-self.n_events // self.block)

    def of(self, block: int) -> tuple[int, int]:
        """Number of events before a block, and in it."""
        first = block * self.block
        return first, self.block if self.n_events is None else min(self.block, self.n_events - first)


@dataclass(frozen=True)
class MassSpectrum:
    """Masses of a signal: so many events at each, in this order, or flat in a range.

    Attributes:
        discrete: Mass in GeV and number of events; empty for a flat one.
        flat: Range in GeV.
    """

    discrete: tuple[tuple[float, int], ...]
    flat: tuple[float, float] | None

    @classmethod
    def of(cls, masses: Mapping[float, int] | None, mass_range: tuple[float, float] | None) -> Self:
        discrete = tuple((float(mass), int(n)) for mass, n in (masses or {}).items())
        return cls(discrete, None if mass_range is None else (float(mass_range[0]), float(mass_range[1])))

    @property
    def n_events(self) -> int:
        """Events of all discrete masses."""
        return sum(number for _, number in self.discrete)

    def draw(self, rng: np.random.Generator, first: int, n: int) -> NDArray[np.float64]:
        """Masses of ``n`` events that follow ``first`` others, in GeV, shape (n,)."""
        if self.flat is not None:
            return rng.uniform(*self.flat, n)
        ends = np.cumsum([number for _, number in self.discrete])
        of_event = np.searchsorted(ends, first + np.arange(n), side="right")
        return np.array([mass for mass, _ in self.discrete])[of_event]


def stream(seed: int, production: int, block: int) -> np.random.Generator:
    """The random stream of one block."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(production, block)))


def run_number(seed: int) -> int:
    """Run number of a seed: samples of different seeds share no event key."""
    if seed < _MAX_RUN:
        return seed
    digest = hashlib.sha256(str(seed).encode()).digest()
    return int.from_bytes(digest[:4], "little") % _MAX_RUN
