"""The five channels of B → h X with X invisible, and the decays in which h is reconstructed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.constants import (
    B_PLUS_MASS,
    B_ZERO_MASS,
    D_S_MASS,
    D_ZERO_MASS,
    KAON_MASS,
    PHI_MASS,
    PI0_MASS,
    PION_MASS,
    PROTON_MASS,
)
from darksieve.datasets.simulation.phase_space import breakup_momentum
from darksieve.errors import InputError, nearest

INVISIBLE_PDG = 9000006  # X: no decay, no interaction
B_PLUS_PDG, B_ZERO_PDG = 521, 511
PION_PDG, KAON_PDG, PROTON_PDG, D_S_PDG, D_ZERO_PDG = 211, 321, 2212, 431, 421
K_SHORT_PDG, PI0_PDG, PHI_PDG, PHOTON_PDG = 310, 111, 333, 22


@dataclass(frozen=True)
class SecondaryDecay:
    """A decay in which a charmed h is generated and reconstructed.

    Attributes:
        name: As in the branch ``h_decayMode``, by its number.
        number: Of the branch.
        daughters: Particle numbers, for h as its channel has it.
        fraction: Branching fraction, with those of the daughters (φ → K+K−, K_S → π+π−, π0 → γγ).
        source: Of the fraction.
    """

    name: str
    number: int
    daughters: tuple[int, ...]
    fraction: float
    source: str

    @property
    def objects(self) -> tuple[int, ...]:
        """Particle numbers, without sign, of the tracks and photons that it is reconstructed from."""
        return tuple(
            number for daughter in self.daughters for number in _SEEN_AS.get(daughter, (abs(daughter),))
        )


_SEEN_AS = {
    PHI_PDG: (KAON_PDG, KAON_PDG),
    K_SHORT_PDG: (PION_PDG, PION_PDG),
    PI0_PDG: (PHOTON_PDG, PHOTON_PDG),
}

D_S_DECAYS = (
    SecondaryDecay(
        "phi pi+", 1, (PHI_PDG, PION_PDG), 0.0221, "B(D_s+ -> φπ+, φ -> K+K−), PDG 2024, from memory"
    ),
    SecondaryDecay(
        "K_S K+",
        2,
        (K_SHORT_PDG, KAON_PDG),
        0.01450 * 0.6920,
        "B(D_s+ -> K_S K+) × B(K_S -> π+π−), PDG 2024, from memory",
    ),
)
# of the anti-D0, which comes with a B0
D_ZERO_DECAYS = (
    SecondaryDecay("K+ pi-", 1, (KAON_PDG, -PION_PDG), 0.03947, "B(D0 -> K−π+), PDG 2024, from memory"),
    SecondaryDecay(
        "K+ pi- pi0",
        2,
        (KAON_PDG, -PION_PDG, PI0_PDG),
        0.144 * 0.98823,
        "B(D0 -> K−π+π0) × B(π0 -> γγ), PDG 2024, from memory",
    ),
    SecondaryDecay(
        "K+ pi- pi- pi+",
        3,
        (KAON_PDG, -PION_PDG, -PION_PDG, PION_PDG),
        0.0822,
        "B(D0 -> K−2π+π−), PDG 2024, from memory",
    ),
)


@dataclass(frozen=True)
class Channel:
    """B → h X.

    Attributes:
        name: In processes and files.
        label: For tables and pictures.
        b_pdg, h_pdg: Particle numbers of B and h; the charge conjugate is always meant, too.
        b_mass, h_mass: GeV.
        decays: In which h is reconstructed; empty for a track.
        b_charge: Charge of the signal B for h as in ``h_pdg``; the tag has the opposite.
    """

    name: str
    label: str
    b_pdg: int
    h_pdg: int
    b_mass: float
    h_mass: float
    decays: tuple[SecondaryDecay, ...] = ()

    @property
    def b_charge(self) -> int:
        return 1 if self.b_pdg == B_PLUS_PDG else 0

    @property
    def secondary_fraction(self) -> float:
        """Summed branching fraction of the decays in which h is reconstructed; 1 for a track."""
        return sum(decay.fraction for decay in self.decays) if self.decays else 1.0

    @property
    def largest_mass(self) -> float:
        """Mass of X in GeV at which h is at rest."""
        return self.b_mass - self.h_mass

    def momentum(self, mass: ArrayLike) -> NDArray[np.float64]:
        """Momentum of h in the signal B's rest frame, GeV; NaN where X is too heavy.

        Args:
            mass: Masses of X in GeV.
        """
        return breakup_momentum(self.b_mass, self.h_mass, mass)

    def recoil_mass_squared(self, momentum: ArrayLike) -> NDArray[np.float64]:
        """Squared mass of X in GeV² for a momentum of h in the signal B's rest frame, GeV.

        It is below 0 where a measured momentum is above the endpoint.
        """
        p = np.asarray(momentum, dtype=np.float64)
        return self.b_mass**2 + self.h_mass**2 - 2 * self.b_mass * np.sqrt(self.h_mass**2 + p**2)


CHANNELS: dict[str, Channel] = {
    channel.name: channel
    for channel in (
        Channel("pi", "B+ → π+ X", B_PLUS_PDG, PION_PDG, B_PLUS_MASS, PION_MASS),
        Channel("k", "B+ → K+ X", B_PLUS_PDG, KAON_PDG, B_PLUS_MASS, KAON_MASS),
        Channel("ds", "B+ → D_s+ X", B_PLUS_PDG, D_S_PDG, B_PLUS_MASS, D_S_MASS, D_S_DECAYS),
        Channel("p", "B+ → p X", B_PLUS_PDG, PROTON_PDG, B_PLUS_MASS, PROTON_MASS),
        Channel("d0", "B0 → D̄0 X", B_ZERO_PDG, -D_ZERO_PDG, B_ZERO_MASS, D_ZERO_MASS, D_ZERO_DECAYS),
    )
}

MASSES = {
    PION_PDG: PION_MASS,
    KAON_PDG: KAON_MASS,
    PROTON_PDG: PROTON_MASS,
    D_S_PDG: D_S_MASS,
    D_ZERO_PDG: D_ZERO_MASS,
    PHI_PDG: PHI_MASS,
    PI0_PDG: PI0_MASS,
}


def channel_named(name: str) -> Channel:
    """The channel of that name.

    Raises:
        InputError: If there is none.
    """
    try:
        return CHANNELS[name]
    except KeyError:
        raise InputError(
            f"channel {name!r} is not known; there are {sorted(CHANNELS)}{nearest(name, CHANNELS)}"
        ) from None
