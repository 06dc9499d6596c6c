"""Decays B → K(*) P, P → γγ with their helicities: P is the light particle of a search, or a π0, η, η'."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.constants import (
    B_PLUS_MASS,
    B_ZERO_MASS,
    ETA_MASS,
    ETA_PRIME_MASS,
    K_SHORT_MASS,
    KAON_MASS,
    KSTAR_PLUS_MASS,
    KSTAR_ZERO_MASS,
    PI0_MASS,
    PION_MASS,
)
from darksieve.datasets.simulation.bfactory.generation import SignalDecays
from darksieve.datasets.simulation.bfactory.particles import Position
from darksieve.datasets.simulation.bfactory.pythia import B_PLUS_PDG, B_ZERO_PDG, Generated
from darksieve.datasets.simulation.phase_space import (
    Floats,
    boosted,
    cosine_squared,
    invariant_mass,
    two_body_along_flight,
    two_body_at_rest,
)

ALP_PDG = 9000005
KSTAR_WIDTH = 0.0505  # GeV, of K*(892), PDG 2024, from memory
_KSTAR_REACH = 10.0  # widths above its mass that the line shape is generated to
_MARGIN = 1e-3  # GeV above the thresholds of K* → K π and of the B decay
LIFETIME_MM = {B_PLUS_PDG: 0.4911, B_ZERO_PDG: 0.4551}  # c τ, PDG 2024, from memory
KSHORT_LIFETIME_MM = 26.844  # c τ, PDG 2024, from memory
LIGHT_MESONS = {"pi0": (111, PI0_MASS), "eta": (221, ETA_MASS), "etaprime": (331, ETA_PRIME_MASS)}


@dataclass(frozen=True)
class KaonMode:
    """B → K(*) + light particle.

    Attributes:
        name: As in ``rates.KAON_MODES``.
        number: Its number in the branch ``mode``.
        b_pdg: B+ or B0.
        meson_pdg: K+, K_S, K*+ or K*0.
        submodes: Final states of the meson that are generated, in the order of ``Rates.submodes``.
    """

    name: str
    number: int
    b_pdg: int
    meson_pdg: int
    submodes: tuple[str, ...]

    @property
    def b_mass(self) -> float:
        return B_PLUS_MASS if self.b_pdg == B_PLUS_PDG else B_ZERO_MASS

    @property
    def largest_mass(self) -> float:
        """Mass of the light particle, in GeV, below which the decay is open; a K* has its nominal mass."""
        return self.b_mass - MESON_MASSES[self.meson_pdg]


MESON_MASSES = {321: KAON_MASS, 310: K_SHORT_MASS, 323: KSTAR_PLUS_MASS, 313: KSTAR_ZERO_MASS}
MODES = {
    mode.name: mode
    for mode in (
        KaonMode("kplus", 0, B_PLUS_PDG, 321, ("K+",)),
        KaonMode("kshort", 1, B_ZERO_PDG, 310, ("K_S",)),
        KaonMode("kstarplus", 2, B_PLUS_PDG, 323, ("K_S pi+", "K+ pi0")),
        KaonMode("kstarzero", 3, B_ZERO_PDG, 313, ("K+ pi-",)),
    )
}
SUBMODES = ("K+", "K_S", "K_S pi+", "K+ pi0", "K+ pi-")  # their numbers, in the branch genSubmode


def decay_signals(
    rng: np.random.Generator,
    mode: KaonMode,
    fractions: tuple[float, ...],
    light_pdg: int,
    masses: NDArray[np.float64],
) -> SignalDecays:
    """Decays B → K(*) P of signal Bs at rest.

    P is spinless, so its photons are isotropic, and a K* is longitudinal: cos² of its helicity angle. The
    mass of a K* follows a non-relativistic line shape, as far as phase space reaches.

    Args:
        fractions: Relative rates of the mode's final states.
        light_pdg: Particle number of P.
        masses: Its mass in each event in GeV, shape (n,).
    """
    n = len(masses)
    chosen = rng.choice(len(fractions), size=n, p=np.array(fractions) / sum(fractions))
    b_time = rng.exponential(LIFETIME_MM[mode.b_pdg], n)
    meson_mass = _meson_masses(rng, mode, mode.b_mass - np.asarray(masses, dtype=np.float64))
    meson, light = two_body_at_rest(rng, mode.b_mass, meson_mass, masses, n)
    photons = _isotropic(rng, light, 0.0)
    chains = [
        _finished(
            rng, mode, mode.submodes[which], np.flatnonzero(chosen == which), meson, light, photons, b_time
        )
        for which in range(len(fractions))
    ]
    numbers = np.array([SUBMODES.index(name) for name in mode.submodes], dtype=np.int32)
    return _assembled(chains, light_pdg, np.asarray(masses, dtype=np.float64), numbers[chosen])


@dataclass(frozen=True)
class _Chain:
    """Events of one final state: k particles each."""

    events: NDArray[np.int64]
    pdg: list[int]
    mother: list[int]
    position: list[int]
    is_final: list[bool]
    momenta: Floats  # (n, k, 4)
    vertices: Floats  # (n, k, 4)


_LIGHT = -1  # stands for the light particle's number until it is known


def _meson_masses(rng: np.random.Generator, mode: KaonMode, room: Floats) -> Floats:
    """Masses of K(*) where the decay leaves ``room`` GeV: fixed, or a Breit-Wigner inside the thresholds."""
    nominal = MESON_MASSES[mode.meson_pdg]
    if mode.meson_pdg not in (313, 323):
        return np.full(len(room), nominal)
    low = np.arctan((K_SHORT_MASS + PION_MASS + _MARGIN - nominal) / (0.5 * KSTAR_WIDTH))
    most = np.minimum(room - _MARGIN, nominal + _KSTAR_REACH * KSTAR_WIDTH)
    high = np.arctan((most - nominal) / (0.5 * KSTAR_WIDTH))
    return nominal + 0.5 * KSTAR_WIDTH * np.tan(low + (high - low) * rng.random(len(room)))


def _isotropic(rng: np.random.Generator, parent: Floats, daughter: float) -> tuple[Floats, Floats]:
    first, second = two_body_at_rest(rng, invariant_mass(parent), daughter, daughter, len(parent))
    return boosted(first, parent), boosted(second, parent)


def _finished(
    rng: np.random.Generator,
    mode: KaonMode,
    submode: str,
    events: NDArray[np.int64],
    meson: Floats,
    light: Floats,
    photons: tuple[Floats, Floats],
    b_time: Floats,
) -> _Chain:
    """Everything of the events of one final state: B, meson, P, its photons, what the meson decays to."""
    n = len(events)
    kaon, p, gamma = meson[events], light[events], (photons[0][events], photons[1][events])
    at_rest = np.zeros((n, 4))
    at_rest[:, 3] = mode.b_mass
    origin = np.zeros((n, 4))
    decay = np.zeros((n, 4))
    decay[:, 3] = b_time[events]
    pdg = [mode.b_pdg, mode.meson_pdg, _LIGHT, 22, 22]
    mother = [-1, 0, 0, 2, 2]
    position: list[int] = [
        Position.B,
        Position.MESON,
        Position.LIGHT,
        Position.LIGHT_PHOTON,
        Position.LIGHT_PHOTON,
    ]
    four = [at_rest, kaon, p, *gamma]
    where = [origin, decay, decay, decay, decay]

    def add(number: int, above: int, what: Position, momentum: Floats, place: Floats) -> int:
        pdg.append(number)
        mother.append(above)
        position.append(what)
        four.append(momentum)
        where.append(place)
        return len(pdg) - 1

    def kshort_decay(above: int) -> None:
        k_short = four[above]
        time = rng.exponential(KSHORT_LIFETIME_MM, n) / K_SHORT_MASS
        place = where[above] + time[:, None] * k_short
        for number, momentum in zip((211, -211), _isotropic(rng, k_short, PION_MASS), strict=True):
            add(number, above, Position.KSHORT_PION, momentum, place)

    def kstar_decay(first: float, second: float) -> tuple[Floats, Floats]:
        return two_body_along_flight(rng, kaon, first, second, cosine_squared(rng, n))

    if submode == "K_S":
        kshort_decay(1)
    elif submode == "K_S pi+":
        k_short, pion = kstar_decay(K_SHORT_MASS, PION_MASS)
        above = add(310, 1, Position.MESON_DAUGHTER, k_short, decay)
        add(211, 1, Position.MESON_DAUGHTER, pion, decay)
        kshort_decay(above)
    elif submode == "K+ pi0":
        charged, pi0 = kstar_decay(KAON_MASS, PI0_MASS)
        add(321, 1, Position.MESON_DAUGHTER, charged, decay)
        above = add(111, 1, Position.MESON_PI0, pi0, decay)
        for momentum in _isotropic(rng, pi0, 0.0):
            add(22, above, Position.MESON_PI0_PHOTON, momentum, decay)
    elif submode == "K+ pi-":
        charged, pion = kstar_decay(KAON_MASS, PION_MASS)
        add(321, 1, Position.MESON_DAUGHTER, charged, decay)
        add(-211, 1, Position.MESON_DAUGHTER, pion, decay)
    is_final = [i not in mother for i in range(len(pdg))]
    return _Chain(events, pdg, mother, position, is_final, np.stack(four, axis=1), np.stack(where, axis=1))


def _assembled(
    chains: list[_Chain], light_pdg: int, masses: Floats, submode: NDArray[np.int32]
) -> SignalDecays:
    n = len(masses)
    counts = np.zeros(n, np.int64)
    for chain in chains:
        counts[chain.events] = len(chain.pdg)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    m = int(offsets[-1])
    pdg, mother = np.empty(m, np.int32), np.empty(m, np.int64)
    position, is_final = np.empty(m, np.int8), np.empty(m, np.bool_)
    momenta, vertices = np.empty((m, 4)), np.empty((m, 4))
    for chain in chains:
        start = offsets[chain.events][:, None]
        rows = start + np.arange(len(chain.pdg))
        pdg[rows] = [light_pdg if number == _LIGHT else number for number in chain.pdg]
        above = np.array(chain.mother)
        mother[rows] = np.where(above >= 0, start + above, -1)
        position[rows] = chain.position
        is_final[rows] = chain.is_final
        momenta[rows], vertices[rows] = chain.momenta, chain.vertices
    generated = Generated(offsets, pdg, momenta, vertices, mother, is_final, np.zeros(n, np.int32))
    return SignalDecays(generated, position, masses, submode)
