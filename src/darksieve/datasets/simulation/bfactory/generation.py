"""Events at the Υ(4S) in the laboratory: continuum, B pairs, and B pairs of which one decays as told."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch, Position, side_by_side
from darksieve.datasets.simulation.bfactory.pythia import (
    B_MASSES,
    Generated,
    TwoBodyChoice,
    continuum,
    decays_of_pairs,
    pythia_seed,
)
from darksieve.datasets.simulation.decays import Floats, direction

_ABOVE_THRESHOLD = 1e-4  # GeV: a collision's energy is clipped there, where a B pair is just possible


def sine_squared(rng: np.random.Generator, n: int) -> Floats:
    """Draws of cos θ from 1 - cos²θ on -1 to 1, shape (n,), by inverting its distribution function."""
    # x³ - 3x + 2q = 0 with q uniform in -1 to 1 has the root 2 cos((arccos(-q) + 4π)/3) inside -1 to 1
    q = rng.uniform(-1, 1, n)
    return 2 * np.cos((np.arccos(-q) + 4 * np.pi) / 3)


def b_momenta(
    rng: np.random.Generator, beams: Beams, energy_spread: float, mass: float, n: int
) -> tuple[Floats, Floats]:
    """Υ(4S) → B B̄ in the centre-of-mass system: the four-momenta of both, each of shape (n, 4).

    The direction follows sin²θ: a vector decays into two pseudoscalars. The collision's energy is Gaussian,
    clipped at the threshold.
    """
    energy = np.maximum(rng.normal(beams.sqrt_s, energy_spread, n), 2 * mass + _ABOVE_THRESHOLD) / 2
    unit = direction(sine_squared(rng, n), rng.uniform(-np.pi, np.pi, n))
    p = np.sqrt(energy**2 - mass**2)[:, None] * unit
    return np.column_stack([p, energy]), np.column_stack([-p, energy])


@dataclass(frozen=True)
class SignalDecays:
    """Decays of signal Bs at rest, by a generator of our own.

    Attributes:
        generated: The particles of each, the B first, at rest and begun at 0.
        position: A ``Position`` of each particle, shape (m,).
        mass: Generated mass of the light particle in GeV, shape (n,).
        submode: Number of the decay, shape (n,).
    """

    generated: Generated
    position: NDArray[np.int8]
    mass: NDArray[np.float64]
    submode: NDArray[np.int32]


def continuum_events(rng: np.random.Generator, beams: Beams, min_mass: float, n: int) -> ParticleBatch:
    """e+e- → q q̄ with radiation; ``submode`` is the primary quark's number, 1 to 4 for d, u, s, c."""
    made = continuum(beams.sqrt_s, n, pythia_seed(rng), min_mass=min_mass)
    everyone = np.tile([0.0, 0.0, 0.0, 1.0], (n, 1))
    return _in_laboratory(made, everyone, beams, ancestor=-1, submode=made.flavour)


def b_pair_events(
    rng: np.random.Generator,
    beams: Beams,
    energy_spread: float,
    pdg: int,
    n: int,
    two_body: TwoBodyChoice | None = None,
) -> ParticleBatch:
    """e+e- → Υ(4S) → B B̄, both decaying in all ways but for ``two_body``; ``pdg`` is that of B+ or B0."""
    made = decays_of_pairs(pdg, n, pythia_seed(rng), two_body)
    first, second = b_momenta(rng, beams, energy_spread, B_MASSES[pdg], n)
    parts = [
        _in_laboratory(_every_second(made, which), momenta, beams, ancestor=which)
        for which, momenta in enumerate((first, second))
    ]
    return side_by_side(parts)


def signal_events(
    rng: np.random.Generator, beams: Beams, energy_spread: float, pdg: int, decays: SignalDecays
) -> ParticleBatch:
    """e+e- → Υ(4S) → B B̄ of which one decays as given, the other in all ways.

    The signal B, which is ancestor 0, is a B in every even event and an anti-B in every odd one: there the
    particles of its decay, given for a B, are replaced by their antiparticles.

    Args:
        pdg: That of B+ or B0.
        decays: Decays of the signal B.
    """
    n = len(decays.mass)
    made = decays_of_pairs(pdg, -(-n // 2), pythia_seed(rng))
    others = np.arange(n) ^ 1  # pairs come as B, anti-B: the other B of event 0 is the first anti-B
    own, other = b_momenta(rng, beams, energy_spread, B_MASSES[pdg], n)
    signal = _in_laboratory(
        _conjugated(decays.generated),
        own,
        beams,
        ancestor=0,
        position=decays.position,
        mass=decays.mass,
        submode=decays.submode,
    )
    rest = _in_laboratory(made.taken(others), other, beams, ancestor=1)
    return side_by_side([signal, rest])


def _every_second(made: Generated, first: int) -> Generated:
    return made.taken(np.arange(first, len(made.offsets) - 1, 2))


_OWN_ANTIPARTICLES = (
    22, 111, 113, 221, 223, 331, 333, 310, 130, 441, 443, 10441, 20443, 30443, 100441, 100443,
    9000005, 9000006,
)  # fmt: skip


def antiparticles_in_odd(pdg: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int32]:
    """Particle numbers with those of every second event replaced by their antiparticles'."""
    odd = np.repeat(np.arange(len(offsets) - 1) % 2 == 1, np.diff(offsets))
    changes = odd & ~np.isin(pdg, _OWN_ANTIPARTICLES)
    return np.where(changes, -pdg, pdg).astype(np.int32)


def _conjugated(made: Generated) -> Generated:
    """Every second event with all particles replaced by their antiparticles."""
    return replace(made, pdg=antiparticles_in_odd(made.pdg, made.offsets))


def _in_laboratory(
    made: Generated,
    frames: Floats,
    beams: Beams,
    *,
    ancestor: int,
    position: NDArray[np.int8] | None = None,
    mass: NDArray[np.float64] | None = None,
    submode: NDArray[np.int32] | None = None,
) -> ParticleBatch:
    """Events given in the rest frames of ``frames``, four-momenta in the centre-of-mass system."""
    n, m = len(made.offsets) - 1, len(made.pdg)
    momenta, vertices = np.empty((m, 4)), np.empty((m, 4))
    _boost(made.momenta, made.vertices, made.offsets, frames, beams.cms_to_lab, momenta, vertices)
    return ParticleBatch(
        offsets=made.offsets,
        pdg=made.pdg,
        momenta=momenta,
        vertices=np.ascontiguousarray(vertices[:, :3]),
        mother=made.mother,
        ancestor=np.full(m, ancestor, np.int8),
        position=np.full(m, Position.NONE, np.int8) if position is None else position,
        is_final=made.is_final,
        mass=np.full(n, np.nan) if mass is None else mass,
        weight=np.ones(n),
        submode=np.zeros(n, np.int32) if submode is None else submode,
    )


@njit(cache=True)
def _boost(momenta, vertices, offsets, frames, to_lab, out_momenta, out_vertices):  # type: ignore[no-untyped-def]
    """From the rest frame of each event's frame to the centre-of-mass system, then to the laboratory."""
    matrix = np.empty((4, 4))
    boost = np.empty((4, 4))
    for event in range(len(offsets) - 1):
        frame = frames[event]
        mass = np.sqrt(frame[3] ** 2 - frame[0] ** 2 - frame[1] ** 2 - frame[2] ** 2)
        for i in range(3):
            for j in range(3):
                boost[i, j] = frame[i] * frame[j] / (mass * (mass + frame[3])) + (1.0 if i == j else 0.0)
            boost[i, 3] = boost[3, i] = frame[i] / mass
        boost[3, 3] = frame[3] / mass
        for i in range(4):
            for j in range(4):
                matrix[i, j] = 0.0
                for k in range(4):
                    matrix[i, j] += to_lab[i, k] * boost[k, j]
        for row in range(offsets[event], offsets[event + 1]):
            for i in range(4):
                p, x = 0.0, 0.0
                for j in range(4):
                    p += matrix[i, j] * momenta[row, j]
                    x += matrix[i, j] * vertices[row, j]
                out_momenta[row, i] = p
                out_vertices[row, i] = x
