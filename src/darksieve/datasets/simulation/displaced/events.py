"""True events with two vertices, and the particles in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darksieve.constants import ELECTRON_MASS, KAON_MASS, MUON_MASS, PION_MASS
from darksieve.datasets.simulation.decays import Floats

ELECTRON, MUON, PION, KAON, PROTON = 11, 13, 211, 321, 2212
HPRIME, CHI2, KSHORT, LAMBDA, PHOTON, DZERO = 9000025, 9000023, 310, 3122, 22, 421

PROTON_MASS = 0.93827209  # GeV, PDG 2024
LAMBDA_MASS = 1.115683  # GeV, PDG 2024
DZERO_MASS = 1.86484  # GeV, PDG 2024
MASSES = {
    ELECTRON: ELECTRON_MASS, MUON: MUON_MASS, PION: PION_MASS, KAON: KAON_MASS, PROTON: PROTON_MASS,
}  # fmt: skip

KSHORT_CTAU_CM = 2.6844  # PDG 2024
LAMBDA_CTAU_CM = 7.89  # PDG 2024
B_CTAU_CM = 0.0473  # mean of B+ and B0, PDG, from memory
DZERO_CTAU_CM = 0.0123  # PDG, from memory


@dataclass(frozen=True)
class TruePairs:
    """Two particles of opposite charge from one point, for every event.

    Attributes:
        pdg: Particle numbers without sign, positive particle first, shape (n, 2).
        momenta: Laboratory four-momenta, shape (n, 2, 4).
        vertex: Where they begin, cm from the nominal collision point, shape (n, 3).
        mother: Particle number of what decayed, 0 for chance.
        is_fake: Whether the tracks have no vertex there in truth.
    """

    pdg: NDArray[np.int32]
    momenta: Floats
    vertex: Floats
    mother: int
    is_fake: bool = False


class Rest(NamedTuple):
    """What else an event has.

    Attributes:
        momenta: Visible four-momentum in the CMS, GeV, shape (n, 4).
        n_tracks: Further tracks, shape (n,).
        extra_energy: Further calorimeter energy in GeV, shape (n,).
    """

    momenta: Floats
    n_tracks: NDArray[np.int32]
    extra_energy: Floats


@dataclass(frozen=True)
class TrueEvents:
    """Events as generated: what may look like h' → x+x- and like χ2 → χ1 e+e-.

    Attributes:
        hprime: The pair that is taken for h'.
        chi2: The pair that is taken for the electrons of χ2.
        rest: What else is seen.
        proper_lengths: Proper decay lengths c·t in cm of both pairs' mothers, NaN for none, shape (n, 2).
        mean_lengths: Their generated means cτ in cm, NaN for none, shape (n, 2).
        masses: Generated masses of h', NaN for backgrounds, shape (n,).
    """

    hprime: TruePairs
    chi2: TruePairs
    rest: Rest
    proper_lengths: Floats
    mean_lengths: Floats
    masses: Floats

    def __len__(self) -> int:
        return len(self.masses)


def same_particles(first: int, second: int, n: int) -> NDArray[np.int32]:
    """The same two particle numbers for every event, shape (n, 2)."""
    return np.tile(np.array([first, second], dtype=np.int32), (n, 1))


def charge_symmetric(
    rng: np.random.Generator, pdg: tuple[int, int], first: Floats, second: Floats
) -> tuple[NDArray[np.int32], Floats]:
    """Either particle is the positive one in half of the events: numbers (n, 2) and momenta (n, 2, 4)."""
    numbers = same_particles(*pdg, len(first))
    momenta = np.stack([first, second], axis=1)
    swapped = rng.random(len(first)) < 0.5
    numbers[swapped] = numbers[swapped, ::-1]
    momenta[swapped] = momenta[swapped, ::-1]
    return numbers, momenta
