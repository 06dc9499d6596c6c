"""Two-body decays B → h M of the Standard Model, which peak in the momentum of h where X of M's mass would.

Undetected parts of M's decays are seen as X: K_L, neutrinos, photons outside the calorimeter. They are
generated as samples of their own, each decay as often as any other and weighted with its branching fraction,
and left out of the generic B decays, whose own fractions are Pythia's.
"""

from __future__ import annotations

from dataclasses import dataclass

from darksieve.datasets.simulation.hinv.channels import CHANNELS


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
