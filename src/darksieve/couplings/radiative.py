"""e+e- → γ a: cross section and ALP-photon coupling."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from darksieve.constants import ALPHA_QED, GEV2_TO_FB, UPSILON_4S_MASS
from darksieve.couplings.checks import Floats, mass_below, not_negative, positive


def _cross_section_fb_per_coupling2(mass: ArrayLike, sqrt_s: ArrayLike) -> Floats:
    energies = positive(sqrt_s, "sqrt(s) in GeV")
    masses = mass_below(mass, energies, f"sqrt(s) = {np.min(energies):.6g} GeV")
    return GEV2_TO_FB * ALPHA_QED / 24 * (1 - (masses / energies) ** 2) ** 3


def alp_cross_section_fb(
    mass: ArrayLike, g_agammagamma: ArrayLike, *, sqrt_s: ArrayLike = UPSILON_4S_MASS
) -> Floats:
    """Cross section of e+e- → γa at leading order: σ = α g²(1 − m²/s)³/24.

    Args:
        mass: ALP mass in GeV, 0 <= mass < sqrt_s.
        g_agammagamma: ALP-photon coupling in 1/GeV, of L = −(g/4) a F F̃.
        sqrt_s: Centre-of-mass energy in GeV.

    Returns:
        Cross section in fb, broadcast shape.

    Raises:
        ValueError: If a mass is outside the kinematic range or a coupling is negative or not finite.

    References:
        M. J. Dolan et al., arXiv:1709.00009; all angles, no initial-state radiation.
    """
    coupling = not_negative(g_agammagamma, "g_agammagamma in 1/GeV")
    return _cross_section_fb_per_coupling2(mass, sqrt_s) * coupling**2


def g_agammagamma_from_cross_section(
    mass: ArrayLike, cross_section_fb: ArrayLike, *, sqrt_s: ArrayLike = UPSILON_4S_MASS
) -> Floats:
    """Coupling in 1/GeV that gives this cross section of e+e- → γa in fb; undoes `alp_cross_section_fb`.

    Raises:
        ValueError: If a mass is outside the kinematic range or a cross section is negative or not finite.
    """
    cross_section = not_negative(cross_section_fb, "cross section in fb")
    return np.sqrt(cross_section / _cross_section_fb_per_coupling2(mass, sqrt_s))
