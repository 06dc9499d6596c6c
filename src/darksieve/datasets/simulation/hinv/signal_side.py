"""The signal side of an event: the signal B at rest and all that it decays to, in space and time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.bfactory.generation import SignalDecays
from darksieve.datasets.simulation.bfactory.particles import Position
from darksieve.datasets.simulation.bfactory.pythia import Generated
from darksieve.datasets.simulation.bfactory.signals import KSHORT_LIFETIME_MM, LIFETIME_MM
from darksieve.datasets.simulation.hinv.channels import K_SHORT_PDG, PHI_PDG, PI0_PDG, Channel
from darksieve.datasets.simulation.hinv.signal_decays import DecayedSignals, decay_signals
from darksieve.datasets.simulation.phase_space import Floats, invariant_mass

Integers = NDArray[np.int64]


def signal_side(rng: np.random.Generator, channel: Channel, masses: Floats) -> SignalDecays:
    """Signal Bs of the channel at rest, X of these masses; charmed h and π0 decay where the B does.

    Args:
        masses: Mass of X in each event, GeV, shape (n,).

    Returns:
        ``submode`` is the number of the decay of a charmed h, 0 for a track.
    """
    n = len(masses)
    groups = decay_signals(rng, channel, masses)
    size = np.zeros(n, dtype=np.int64)
    submode = np.zeros(n, dtype=np.int32)
    for number, group in enumerate(groups, start=1):
        size[group.events] = 1 + len(group.pdg)  # the B itself comes first
        submode[group.events] = number if channel.decays else 0
    offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    total = int(offsets[-1])
    made = Generated(
        offsets=offsets,
        pdg=np.zeros(total, dtype=np.int32),
        momenta=np.zeros((total, 4)),
        vertices=np.zeros((total, 4)),
        mother=np.full(total, -1, dtype=np.int64),
        is_final=np.zeros(total, dtype=np.bool_),
        flavour=np.zeros(n, dtype=np.int32),
    )
    position = np.zeros(total, dtype=np.int8)
    for group in groups:
        _fill(rng, made, position, channel, group)
    return SignalDecays(made, position, np.array(masses, dtype=np.float64), submode)


def _fill(
    rng: np.random.Generator,
    made: Generated,
    position: NDArray[np.int8],
    channel: Channel,
    group: DecayedSignals,
) -> None:
    """Puts the decays of one kind into their places."""
    first = made.offsets[:-1][group.events]
    n = len(first)
    made.pdg[first] = channel.b_pdg
    made.momenta[first, 3] = channel.b_mass
    position[first] = Position.B
    decay = np.zeros((n, 4))
    decay[:, 3] = rng.exponential(LIFETIME_MM[channel.b_pdg], n)
    ends = {-1: decay}  # where what comes from a particle starts
    for i, (pdg, mother) in enumerate(zip(group.pdg.tolist(), group.mother.tolist(), strict=True)):
        place = first + 1 + i
        made.pdg[place] = pdg
        made.momenta[place] = group.four[:, i]
        made.mother[place] = first + 1 + mother  # a mother of -1 is the B
        made.is_final[place] = i not in group.mother
        made.vertices[place] = ends[mother]
        position[place] = _position(group, i)
        ends[i] = ends[mother]
        if pdg == K_SHORT_PDG:
            k_short = group.four[:, i]
            proper = rng.exponential(KSHORT_LIFETIME_MM, n) / invariant_mass(k_short)
            ends[i] = ends[mother] + proper[:, None] * k_short


def _position(group: DecayedSignals, i: int) -> Position:
    """Position of a particle in the signal's chain; the kaons of a φ are daughters of h as well."""
    if i < 2:
        return (Position.MESON, Position.LIGHT)[i]
    pdg, of = group.pdg[i], group.pdg[group.mother[i]]
    if of == PI0_PDG:
        return Position.MESON_PI0_PHOTON
    if of == K_SHORT_PDG:
        return Position.KSHORT_PION
    if pdg == PI0_PDG:
        return Position.MESON_PI0
    return Position.NONE if pdg == PHI_PDG else Position.MESON_DAUGHTER
