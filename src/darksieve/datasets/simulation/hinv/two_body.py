"""Two-body decays B → h M of the Standard Model, which peak in the momentum of h where X of M's mass would.

Undetected parts of M's decays are seen as X: K_L, neutrinos, photons outside the calorimeter. They are
generated as samples of their own, each decay as often as any other and weighted with its branching fraction,
and left out of the generic B decays, whose own fractions are Pythia's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.generation import antiparticles_in_odd, b_pair_events
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch
from darksieve.datasets.simulation.bfactory.pythia import TwoBodyChoice
from darksieve.datasets.simulation.hinv.channels import B_PLUS_PDG, B_ZERO_PDG, CHANNELS


@dataclass(frozen=True)
class TwoBodyDecay:
    """B → h M.

    Attributes:
        channel: Name of the channel that h belongs to.
        label: Of M.
        pdg: Particle number of M, for B and h as the channel has them.
        fraction: Branching fraction.
        source: Of the fraction.
    """

    channel: str
    label: str
    pdg: int
    fraction: float
    source: str = "PDG 2024, from memory"

    @property
    def products(self) -> tuple[int, int]:
        """Particle numbers of h and M."""
        return CHANNELS[self.channel].h_pdg, self.pdg


TWO_BODY_DECAYS = (
    TwoBodyDecay("pi", "D̄0", -421, 4.61e-3),
    TwoBodyDecay("pi", "D̄*0", -423, 5.17e-3),
    TwoBodyDecay("pi", "K0", 311, 2.39e-5),
    TwoBodyDecay("pi", "K*(892)0", 313, 1.01e-5),
    TwoBodyDecay("pi", "J/ψ", 443, 3.92e-5),
    TwoBodyDecay("pi", "ψ(2S)", 100443, 2.44e-5),
    TwoBodyDecay("pi", "π0", 111, 5.31e-6),
    TwoBodyDecay("pi", "η", 221, 4.02e-6),
    TwoBodyDecay("pi", "η'", 331, 2.7e-6),
    TwoBodyDecay("pi", "ρ(770)0", 113, 8.3e-6),
    TwoBodyDecay("pi", "ω", 223, 6.9e-6),
    TwoBodyDecay("k", "D̄0", -421, 3.64e-4),
    TwoBodyDecay("k", "D̄*0", -423, 4.19e-4),
    TwoBodyDecay("k", "J/ψ", 443, 1.020e-3),
    TwoBodyDecay("k", "η_c", 441, 1.10e-3),
    TwoBodyDecay("k", "η_c(2S)", 100441, 4.4e-4),
    TwoBodyDecay("k", "χ_c0", 10441, 1.51e-4),
    TwoBodyDecay("k", "χ_c1", 20443, 4.74e-4),
    TwoBodyDecay("k", "ψ(2S)", 100443, 6.24e-4),
    TwoBodyDecay("k", "ψ(3770)", 30443, 4.3e-4),
    TwoBodyDecay("k", "K̄0", -311, 1.31e-6),
    TwoBodyDecay("k", "π0", 111, 1.32e-5),
    TwoBodyDecay("k", "η", 221, 2.4e-6),
    TwoBodyDecay("k", "η'", 331, 7.04e-5),
    TwoBodyDecay("k", "ρ(770)0", 113, 3.7e-6),
    TwoBodyDecay("k", "ω", 223, 6.5e-6),
    TwoBodyDecay("k", "φ", 333, 8.8e-6),
    TwoBodyDecay("ds", "D̄0", -421, 9.0e-3),
    TwoBodyDecay("ds", "D̄*0", -423, 8.2e-3),
    TwoBodyDecay("ds", "π0", 111, 1.6e-5),
    TwoBodyDecay("p", "Λ̄", -3122, 2.4e-7),
    TwoBodyDecay("p", "Σ̄_c(2455)0", -4112, 2.9e-5),
    TwoBodyDecay("d0", "π0", 111, 2.67e-4),
    TwoBodyDecay("d0", "η", 221, 2.36e-4),
    TwoBodyDecay("d0", "η'", 331, 1.38e-4),
    TwoBodyDecay("d0", "ρ(770)0", 113, 3.21e-4),
    TwoBodyDecay("d0", "ω", 223, 2.54e-4),
    TwoBodyDecay("d0", "K0", 311, 5.2e-5),
    TwoBodyDecay("d0", "K*(892)0", 313, 4.5e-5),
)


def two_body_decays(b_charge: int) -> tuple[TwoBodyDecay, ...]:
    """Those of the charged (1) or the neutral (0) B."""
    return tuple(decay for decay in TWO_BODY_DECAYS if CHANNELS[decay.channel].b_charge == b_charge)


# Pythia lists decays to a K0 as those to K_S and to K_L
_AS_PYTHIA_SAYS = {311: (310, 130, 311), -311: (310, 130, -311)}


def two_body_choice(b_charge: int, *, only: bool) -> TwoBodyChoice:
    """The decays of the charged (1) or neutral (0) B, to be left out of all its decays, or the only ones."""
    decays = tuple(
        tuple((decay.products[0], m) for m in _AS_PYTHIA_SAYS.get(decay.pdg, (decay.pdg,)))
        for decay in two_body_decays(b_charge)
    )
    return TwoBodyChoice(decays, only)


def two_body_events(
    rng: np.random.Generator, beams: Beams, energy_spread: float, b_charge: int, n: int
) -> ParticleBatch:
    """e+e- → Υ(4S) → B B̄ of which one decays in one of the two-body ways, the other in any other way.

    The B of a two-body decay, which is ancestor 0, is a B in every even event and an anti-B in every odd one.
    ``submode`` is the position of the decay in ``TWO_BODY_DECAYS``, from 1; ``weight`` its branching fraction
    over the mean one, since each is generated as often as any other.
    """
    b_pdg = B_PLUS_PDG if b_charge else B_ZERO_PDG
    batch = b_pair_events(rng, beams, energy_spread, b_pdg, n, two_body_choice(b_charge, only=True))
    submode = _submodes(batch)
    own = np.array([decay.fraction for decay in two_body_decays(b_charge)])
    fractions = np.array([decay.fraction for decay in TWO_BODY_DECAYS])
    return replace(
        batch,
        pdg=antiparticles_in_odd(batch.pdg, batch.offsets),
        submode=submode,
        weight=fractions[submode - 1] / own.mean(),
    )


def _submodes(batch: ParticleBatch) -> NDArray[np.int32]:
    """Number of the two-body decay of the first B of each event, from its daughters."""
    numbers = {
        tuple(sorted((decay.products[0], m))): number
        for number, decay in enumerate(TWO_BODY_DECAYS, start=1)
        for m in _AS_PYTHIA_SAYS.get(decay.pdg, (decay.pdg,))
    }
    first = batch.offsets[:-1]
    daughters = np.flatnonzero(np.isin(batch.mother, first))  # the first B is the first particle
    if (np.bincount(batch.event[daughters], minlength=batch.n_events) != 2).any():
        raise RuntimeError("Pythia's record of a two-body decay has not two daughters")
    pairs = np.sort(batch.pdg[daughters].reshape(-1, 2), axis=1)
    return np.array([numbers[int(a), int(b)] for a, b in pairs.tolist()], dtype=np.int32)
