"""Widths and lifetime of a dark Higgs boson that mixes with the Higgs boson of the Standard Model."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from darksieve.constants import ELECTRON_MASS, FERMI_CONSTANT, HBAR_C_MM, MUON_MASS, PI0_MASS
from darksieve.couplings.checks import Floats, not_negative, positive, refuse
from darksieve.errors import nearest

HIGGS_VACUUM_VALUE = (np.sqrt(2) * FERMI_CONSTANT) ** -0.5  # GeV, 246.22
TAU_MASS = 1.77693  # GeV, PDG 2024
LEPTON_MASSES = {"electron": ELECTRON_MASS, "muon": MUON_MASS, "tau": TAU_MASS}


def _lepton_mass(lepton: str) -> float:
    try:
        return LEPTON_MASSES[lepton]
    except KeyError:
        raise ValueError(
            f"no lepton {lepton!r}{nearest(lepton, LEPTON_MASSES)}; known: {', '.join(LEPTON_MASSES)}"
        ) from None


def dark_higgs_lepton_width(lepton: str, mass: ArrayLike, sin_theta: ArrayLike) -> Floats:
    """Width of h' → l+l- in GeV through Higgs mixing: sin²θ m_l² m/(8πv²) (1 − 4m_l²/m²)^(3/2).

    Args:
        lepton: electron, muon or tau.
        mass: Mass of the dark Higgs boson in GeV; the width is 0 below threshold.
        sin_theta: Sine of the mixing angle, 0 to 1.

    Raises:
        ValueError: If the lepton is unknown, a mass is not positive, or sin θ is outside [0, 1].

    References:
        M. W. Winkler, arXiv:1809.01876.
    """
    masses = positive(mass, "mass in GeV")
    mixing = not_negative(sin_theta, "sin(theta)")
    refuse(mixing > 1, mixing, "sin(theta)", "it must be at most 1")
    lepton_mass = _lepton_mass(lepton)
    beta2 = np.clip(1 - (2 * lepton_mass / masses) ** 2, 0, None)
    return mixing**2 * lepton_mass**2 * masses / (8 * np.pi * HIGGS_VACUUM_VALUE**2) * beta2**1.5


def sin_theta_from_lepton_width(lepton: str, mass: ArrayLike, width: ArrayLike) -> Floats:
    """Sine of the mixing angle that gives this width of h' → l+l- in GeV (see `dark_higgs_lepton_width`).

    Raises:
        ValueError: If a mass is at or below threshold, a width is negative, or it would need sin θ > 1.
    """
    masses = positive(mass, "mass in GeV")
    threshold = 2 * _lepton_mass(lepton)
    refuse(masses <= threshold, masses, "mass in GeV", f"it must exceed 2 m({lepton}) = {threshold:.6g}")
    mixing = np.sqrt(not_negative(width, "width in GeV") / dark_higgs_lepton_width(lepton, masses, 1.0))
    refuse(mixing > 1, mixing, "sin(theta)", "no mixing gives so large a width")
    return mixing


def dark_higgs_decay_length_mm(
    mass: ArrayLike, sin_theta: ArrayLike, *, hadron_width_at_full_mixing: ArrayLike | None = None
) -> Floats:
    """Proper decay length cτ in mm of a dark Higgs boson that decays through mixing alone.

    Args:
        mass: GeV.
        sin_theta: Sine of the mixing angle, above 0 and up to 1.
        hadron_width_at_full_mixing: Width to hadrons, photons and gluons in GeV for sin θ = 1, to be taken
            from the literature (M. W. Winkler, arXiv:1809.01876): it is uncertain by large factors between
            about 1 and 2 GeV, so none is built in. Needed at and above 2 m(π0) = 0.27 GeV; below, leptons
            alone are counted (h' → γγ, a few per cent below the dimuon threshold, is left out).

    Raises:
        ValueError: If a mass of 2 m(π0) or more comes without the width to hadrons, or a value is out of
            range.
    """
    masses = positive(mass, "mass in GeV")
    mixing = positive(sin_theta, "sin(theta)")
    if hadron_width_at_full_mixing is None:
        refuse(
            masses >= 2 * PI0_MASS,
            masses,
            "mass in GeV",
            "from 2 m(pi0) = 0.26995 GeV on, hadron_width_at_full_mixing is needed",
        )
        other: Floats = np.zeros(())
    else:
        other = not_negative(hadron_width_at_full_mixing, "width in GeV")
    widths = [dark_higgs_lepton_width(lepton, masses, mixing) for lepton in LEPTON_MASSES]
    width = sum(widths, mixing**2 * other)
    refuse(width <= 0, masses, "mass in GeV", "the particle has no open decay")
    return HBAR_C_MM / width


def sin_theta_from_decay_length(
    mass: ArrayLike, decay_length_mm: ArrayLike, *, hadron_width_at_full_mixing: ArrayLike | None = None
) -> Floats:
    """Sine of the mixing angle that gives this proper decay length (see `dark_higgs_decay_length_mm`)."""
    at_full = dark_higgs_decay_length_mm(mass, 1.0, hadron_width_at_full_mixing=hadron_width_at_full_mixing)
    mixing = np.sqrt(at_full / positive(decay_length_mm, "decay length in mm"))
    refuse(mixing > 1, mixing, "sin(theta)", "no mixing gives so short a decay length")
    return mixing
