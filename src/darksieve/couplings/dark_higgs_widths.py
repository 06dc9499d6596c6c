"""Widths, branching fractions and production of a dark Higgs boson up to 2 GeV, with one choice of hadrons.

Widths to mesons are uncertain by large factors between about 1 and 2 GeV: what stands here is the dispersive
result of M. W. Winkler, arXiv:1809.01876, read off its figure, with its toy model of all other mesons. Take
another one's widths for another answer; every sin θ that follows hangs on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from darksieve.constants import ALPHA_QED, GEV2_TO_FB, PION_MASS, UPSILON_4S_MASS
from darksieve.couplings.checks import Floats, mass_below, not_negative, positive, refuse
from darksieve.couplings.dark_higgs import dark_higgs_decay_length_mm, dark_higgs_lepton_width
from darksieve.errors import nearest

LARGEST_MASS = 2.0  # GeV: above, mesons are no longer told one by one
OTHER_MESONS = 5.1e-9  # 1/GeV², 4π, ηη, ρρ …: width C m³ β, arXiv:1809.01876, from memory
FINAL_STATES = ("mumu", "pipi", "KK")

# Mass in GeV, widths to ππ and to KK (charged and neutral together) for sin θ = 1 in 1e-9 GeV: M. W. Winkler,
# arXiv:1809.01876, digitised by J.-L. Tastet (github.com/JLTastet/scalar_portal, MIT licence), thinned here;
# good to some 10 %, worse within 20 MeV of the f0(980) and of the KK threshold
_MESON_WIDTHS = np.array([
    (0.282, 0.841, 0), (0.285, 1.3, 0), (0.29, 1.87, 0), (0.3, 2.84, 0),
    (0.32, 4.44, 0), (0.35, 6.75, 0), (0.4, 11.2, 0), (0.45, 16.3, 0),
    (0.5, 22.1, 0), (0.55, 27.9, 0), (0.6, 34.3, 0), (0.65, 41.5, 0),
    (0.7, 51, 0), (0.75, 63.2, 0), (0.8, 82.2, 0), (0.84, 106, 0),
    (0.87, 135, 0), (0.9, 175, 0), (0.92, 228, 0), (0.94, 285, 0),
    (0.96, 420, 0), (0.97, 498, 0), (0.98, 595, 0), (0.99, 665, 0),
    (1, 704, 62.2), (1.005, 656, 123), (1.01, 421, 144), (1.015, 339, 143),
    (1.02, 289, 142), (1.03, 231, 141), (1.04, 180, 138), (1.06, 111, 126),
    (1.08, 74.8, 117), (1.1, 52.7, 109), (1.13, 32.2, 99.6), (1.16, 20.3, 93.5),
    (1.2, 12.4, 88.6), (1.25, 9.45, 86.3), (1.3, 10.3, 89.1), (1.35, 11.4, 92.9),
    (1.4, 9.95, 91.2), (1.45, 7.07, 87.4), (1.5, 3.46, 83.9), (1.525, 2.76, 82.2),
    (1.55, 3.14, 80.3), (1.6, 5.6, 75.8), (1.65, 7.48, 69.6), (1.7, 7.17, 61.7),
    (1.75, 5.41, 54.8), (1.8, 4, 49.5), (1.9, 3.38, 41.4), (2, 3.59, 34.9),
])  # fmt: skip


@dataclass(frozen=True, eq=False)
class DarkHiggsWidths:
    """Partial widths for sin θ = 1 in GeV, each of the shape of the masses.

    Attributes:
        leptons: To e+e-, μ+μ- and τ+τ- together.
        mumu: To μ+μ-.
        pipi: To π+π- alone, two thirds of ππ.
        KK: To K+K- alone, half of KK.
        hadrons: To all hadrons.
    """

    leptons: Floats
    mumu: Floats
    pipi: Floats
    KK: Floats
    hadrons: Floats

    @property
    def total(self) -> Floats:
        return self.leptons + self.hadrons


def dark_higgs_widths(mass: ArrayLike) -> DarkHiggsWidths:
    """Widths of h' for sin θ = 1.

    Args:
        mass: GeV, above 0 and up to ``LARGEST_MASS``.

    Raises:
        ValueError: If a mass is out of range.

    References:
        M. W. Winkler, arXiv:1809.01876.
    """
    masses = positive(mass, "mass in GeV")
    refuse(masses > LARGEST_MASS, masses, "mass in GeV", "widths to single mesons are known up to 2 GeV")
    at, pions, kaons = _MESON_WIDTHS.T
    with np.errstate(divide="ignore"):
        of_pions = np.exp(np.interp(masses, at, np.log(pions))) * 1e-9
    # from the first point down to the threshold as the momentum of the pions
    below = np.sqrt(np.clip((masses**2 - 4 * PION_MASS**2) / (at[0] ** 2 - 4 * PION_MASS**2), 0, 1))
    of_pions = np.where(masses < at[0], of_pions * below, of_pions)
    of_kaons = np.interp(masses, at, kaons) * 1e-9
    beta2 = np.clip(1 - (4 * PION_MASS / masses) ** 2, 0, None)
    leptons = [dark_higgs_lepton_width(name, masses, 1.0) for name in ("electron", "muon", "tau")]
    return DarkHiggsWidths(
        leptons=sum(leptons, np.zeros(masses.shape)),
        mumu=leptons[1],
        pipi=of_pions * 2 / 3,
        KK=of_kaons / 2,
        hadrons=of_pions + of_kaons + OTHER_MESONS * masses**3 * np.sqrt(beta2),
    )


def dark_higgs_branching_fraction(final_state: str, mass: ArrayLike) -> Floats:
    """Branching fraction of h' → μ+μ- (``mumu``), π+π- (``pipi``) or K+K- (``KK``); it hangs on no mixing.

    Raises:
        ValueError: If the final state is unknown, or a mass is out of range.
    """
    if final_state not in FINAL_STATES:
        raise ValueError(
            f"no final state {final_state!r}{nearest(final_state, FINAL_STATES)}; there are"
            f" {', '.join(FINAL_STATES)}"
        )
    widths = dark_higgs_widths(mass)
    out: Floats = getattr(widths, final_state) / widths.total
    return out


def dark_higgs_ctau_cm(mass: ArrayLike, sin_theta: ArrayLike) -> Floats:
    """Mean proper decay length in cm of an h' with these widths.

    Raises:
        ValueError: If a mass or sin θ is out of range.
    """
    hadrons = dark_higgs_widths(mass).hadrons
    return dark_higgs_decay_length_mm(mass, sin_theta, hadron_width_at_full_mixing=hadrons) / 10


def dark_higgsstrahlung_cross_section_fb(
    mass: ArrayLike,
    *,
    dark_photon_mass: ArrayLike,
    alpha_dark: ArrayLike,
    epsilon: ArrayLike,
    sqrt_s: ArrayLike = UPSILON_4S_MASS,
) -> Floats:
    """Cross section of e+e- → h' A' in fb: dark Higgsstrahlung off an A' of kinetic mixing ε.

    σ = π α α_D ε² / (3 s) (1 − m_A'²/s)⁻² √λ [λ + 12 m_A'²/s], λ = λ(1, m_h'²/s, m_A'²/s).

    Args:
        mass: Of h' in GeV.
        dark_photon_mass: GeV.
        alpha_dark: Dark fine-structure constant.
        epsilon: Kinetic mixing.
        sqrt_s: Centre-of-mass energy in GeV.

    Raises:
        ValueError: If the masses together exceed the energy, or a number is out of range.

    References:
        B. Batell, M. Pospelov and A. Ritz, arXiv:0903.0363; lowest order, no initial-state radiation.
    """
    energy = positive(sqrt_s, "sqrt(s) in GeV")
    dark = positive(dark_photon_mass, "dark photon mass in GeV")
    masses = mass_below(mass, energy - dark, "sqrt(s) less the mass of the dark photon")
    x, y = (masses / energy) ** 2, (dark / energy) ** 2
    triangle = 1 + x**2 + y**2 - 2 * (x + y + x * y)
    coupling = not_negative(alpha_dark, "alpha_dark") * not_negative(epsilon, "epsilon") ** 2
    born = np.pi * ALPHA_QED * coupling / (3 * energy**2)
    return GEV2_TO_FB * born * np.sqrt(triangle) * (triangle + 12 * y) / (1 - y) ** 2
