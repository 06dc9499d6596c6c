"""Decays of the signal B: h and X, and of a charmed h what it is reconstructed from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darksieve.constants import K_SHORT_MASS, KAON_MASS, PHI_MASS, PI0_MASS, PION_MASS
from darksieve.datasets.simulation.hinv.channels import (
    INVISIBLE_PDG,
    K_SHORT_PDG,
    KAON_PDG,
    MASSES,
    PHI_PDG,
    PHOTON_PDG,
    PI0_PDG,
    PION_PDG,
    Channel,
    SecondaryDecay,
)
from darksieve.datasets.simulation.phase_space import (
    Floats,
    boosted,
    cosine_squared,
    phase_space_at_rest,
    two_body_along_flight,
    two_body_at_rest,
)
from darksieve.errors import InputError

FROM_B = -1  # mother of h and of X


class DecayedSignals(NamedTuple):
    """Signal Bs that decay in the same way; the particles of each in the same order, h first, X second.

    Attributes:
        events: Positions of the events, shape (n,).
        pdg: Particle numbers for h as its channel has it, shape (k,).
        mother: Positions of the mothers among the particles, ``FROM_B`` for h and X, shape (k,).
        four: Four-momenta in the rest frame of the B, GeV, shape (n, k, 4).
    """

    events: NDArray[np.int64]
    pdg: NDArray[np.int64]
    mother: NDArray[np.int64]
    four: Floats


def decay_signals(rng: np.random.Generator, channel: Channel, masses: Floats) -> list[DecayedSignals]:
    """Decays of signal Bs at rest, one entry for each decay of h.

    X is spinless or unpolarised, so B → hX is isotropic. φ from D_s → φπ is longitudinal: cos² of the
    helicity angle. The other decays are isotropic or flat in phase space: resonances in D → Kππ(π) are
    left out.

    Args:
        masses: Mass of X in each event, GeV, shape (n,).

    Raises:
        InputError: If a mass is outside 0 to the largest of the channel.
    """
    masses = np.asarray(masses, dtype=np.float64)
    n = len(masses)
    if n and not (np.isfinite(masses).all() and masses.min() >= 0 and masses.max() < channel.largest_mass):
        raise InputError(
            f"{channel.label}: masses of X from {masses.min():g} to {masses.max():g} GeV; they lie in 0 to"
            f" {channel.largest_mass:.3f} GeV"
        )
    h, x = two_body_at_rest(rng, channel.b_mass, channel.h_mass, masses, n)
    if not channel.decays:
        four = np.stack([h, x], axis=1)
        pdg, mother = np.array([channel.h_pdg, INVISIBLE_PDG]), np.array([FROM_B, FROM_B])
        return [DecayedSignals(np.arange(n), pdg, mother, four)]
    fractions = np.array([decay.fraction for decay in channel.decays])
    chosen = rng.choice(len(fractions), size=n, p=fractions / fractions.sum())
    out = []
    for i, decay in enumerate(channel.decays):
        events = np.flatnonzero(chosen == i)
        numbers, mothers, four = _decay_charmed(rng, channel.h_mass, decay, h[events])
        out.append(
            DecayedSignals(
                events,
                np.array([channel.h_pdg, INVISIBLE_PDG, *numbers]),
                np.array([FROM_B, FROM_B, *mothers]),
                np.concatenate([np.stack([h[events], x[events]], axis=1), four], axis=1),
            )
        )
    return out


_H, _FIRST = 0, 2  # positions of h and of its first daughter


def _decay_charmed(
    rng: np.random.Generator, mass: float, decay: SecondaryDecay, h: Floats
) -> tuple[list[int], list[int], Floats]:
    """Particle numbers, mothers and four-momenta, shape (n, k, 4), of what comes from h."""
    n = len(h)
    pdg = list(decay.daughters)
    mother = [_H] * len(pdg)
    if pdg[0] == PHI_PDG:
        phi, pion = two_body_at_rest(rng, mass, PHI_MASS, PION_MASS, n)
        daughters = [
            phi,
            pion,
            *two_body_along_flight(rng, phi, KAON_MASS, KAON_MASS, cosine_squared(rng, n)),
        ]
        pdg += [KAON_PDG, -KAON_PDG]
        mother += [_FIRST, _FIRST]
    elif pdg[0] == K_SHORT_PDG:
        k_short, kaon = two_body_at_rest(rng, mass, K_SHORT_MASS, KAON_MASS, n)
        daughters = [k_short, kaon, *_isotropic(rng, k_short, K_SHORT_MASS, PION_MASS)]
        pdg += [PION_PDG, -PION_PDG]
        mother += [_FIRST, _FIRST]
    else:
        daughters = phase_space_at_rest(rng, mass, [MASSES[abs(number)] for number in pdg], n)
        if PI0_PDG in pdg:
            place = pdg.index(PI0_PDG)
            daughters += _isotropic(rng, daughters[place], PI0_MASS, 0.0)
            pdg += [PHOTON_PDG, PHOTON_PDG]
            mother += [_FIRST + place] * 2
    in_b_frame = [boosted(four, h) for four in daughters]
    return pdg, mother, np.stack(in_b_frame, axis=1)


def _isotropic(rng: np.random.Generator, parent: Floats, mass: float, daughter: float) -> list[Floats]:
    """Isotropic decays of moving parents of one mass into two equal ones."""
    pair = two_body_at_rest(rng, mass, daughter, daughter, len(parent))
    return [boosted(four, parent) for four in pair]
