"""The signal side of an event as generated particles, to be merged with what the other B decays to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.constants import K_SHORT_CTAU_MM
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch, Position
from darksieve.datasets.simulation.hinv.channels import (
    INVISIBLE_PDG,
    K_SHORT_PDG,
    PHI_PDG,
    PHOTON_PDG,
    PI0_PDG,
    Channel,
)
from darksieve.datasets.simulation.hinv.signal_decays import DecayedSignals, decay_signals
from darksieve.datasets.simulation.phase_space import Floats, boosted, invariant_mass

Integers = NDArray[np.int64]

_SELF_CONJUGATE = (PI0_PDG, K_SHORT_PDG, PHI_PDG, PHOTON_PDG, INVISIBLE_PDG)


def signal_side(
    rng: np.random.Generator, channel: Channel, masses: Floats, b_momenta: Floats, sign: Integers
) -> ParticleBatch:
    """Signal Bs and all that they decay to.

    Args:
        masses: Mass of X in each event, GeV, shape (n,).
        b_momenta: Laboratory four-momenta of the signal Bs, GeV, shape (n, 4).
        sign: 1 for the B of the channel, -1 for its antiparticle, shape (n,).
    """
    n = len(masses)
    groups = decay_signals(rng, channel, masses)
    size = np.zeros(n, dtype=np.int64)
    submode = np.zeros(n, dtype=np.int32)
    for number, group in enumerate(groups, start=1):
        size[group.events] = 1 + len(group.pdg)  # the B itself comes first
        submode[group.events] = number
    offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    total = int(offsets[-1])
    batch = ParticleBatch(
        offsets=offsets,
        pdg=np.zeros(total, dtype=np.int32),
        momenta=np.zeros((total, 4)),
        vertices=np.zeros((total, 3)),
        mother=np.full(total, -1, dtype=np.int64),
        ancestor=np.zeros(total, dtype=np.int8),
        position=np.zeros(total, dtype=np.int8),
        is_final=np.zeros(total, dtype=np.bool_),
        mass=np.array(masses, dtype=np.float64),
        weight=np.ones(n),
        submode=submode,
    )
    for group in groups:
        _fill(rng, batch, channel, group, b_momenta[group.events], sign[group.events])
    return batch


def _fill(
    rng: np.random.Generator,
    batch: ParticleBatch,
    channel: Channel,
    group: DecayedSignals,
    b_momenta: Floats,
    sign: Integers,
) -> None:
    """Puts the decays of one kind into their places."""
    first = batch.offsets[:-1][group.events]
    batch.pdg[first] = sign * channel.b_pdg
    batch.momenta[first] = b_momenta
    batch.position[first] = Position.B
    positions = _positions(group)
    for i, pdg in enumerate(group.pdg.tolist()):
        place = first + 1 + i
        batch.pdg[place] = pdg if pdg in _SELF_CONJUGATE else sign * pdg
        batch.momenta[place] = boosted(group.four[:, i], b_momenta)
        batch.mother[place] = first + 1 + group.mother[i]  # a mother of -1 is the B
        batch.position[place] = positions[i]
        batch.is_final[place] = i not in group.mother
        mother = int(group.mother[i])
        if mother >= 0:
            batch.vertices[place] = batch.vertices[first + 1 + mother]
            if group.pdg[mother] == K_SHORT_PDG and group.mother[i - 1] != mother:
                # both pions start where the K_S ends: its path is p/m × cτ × an exponential
                k_short = batch.momenta[first + 1 + mother]
                proper = K_SHORT_CTAU_MM * rng.exponential(size=len(first))
                path = k_short[:, :3] * (proper / invariant_mass(k_short))[:, None]
                batch.vertices[place] += path
            elif group.pdg[mother] == K_SHORT_PDG:
                batch.vertices[place] = batch.vertices[place - 1]


def _positions(group: DecayedSignals) -> list[Position]:
    """Position of each particle in the signal's chain; the kaons of a φ are daughters of h as well."""
    out = [Position.MESON, Position.LIGHT]
    for pdg, mother in list(zip(group.pdg.tolist(), group.mother.tolist(), strict=True))[2:]:
        of = group.pdg[mother]
        if pdg == PI0_PDG:
            out.append(Position.MESON_PI0)
        elif of == PI0_PDG:
            out.append(Position.MESON_PI0_PHOTON)
        elif of == K_SHORT_PDG:
            out.append(Position.KSHORT_PION)
        elif pdg == PHI_PDG:
            out.append(Position.NONE)
        else:
            out.append(Position.MESON_DAUGHTER)
    return out
