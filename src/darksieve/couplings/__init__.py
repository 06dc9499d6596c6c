"""Couplings: what a cross section, a branching fraction or a lifetime says about a parameter, and back.

Axion-like particles (ALPs) with photon or W couplings, and the mixing angle of a dark Higgs boson. Masses
in GeV, couplings in 1/GeV, lengths in mm, cross sections in fb. Every function broadcasts its array
arguments and refuses what it cannot answer (outside the kinematic range, negative, not finite) with a
``ValueError`` that names the value: no NaN goes in or comes out. Inverse functions undo the forward ones.

A limit that assumed *prompt* decays turns into a limit on a coupling only where that coupling makes the
particle decay promptly; elsewhere the efficiency is a function of the lifetime. `flight_length_mm` and
`ranges_where` mark where.
"""

from darksieve.couplings.b_decays import (
    B_DECAYS,
    B_PLUS_LIFETIME,
    B_ZERO_LIFETIME,
    C_MM_PER_S,
    BDecay,
    QuarkTransition,
    alp_branching_fraction,
    axial_form_factor_b_to_kstar,
    b_decay,
    g_aW_from_branching_fraction,
    loop_function,
    scalar_form_factor_b_to_k,
    scalar_form_factor_b_to_pi,
)
from darksieve.couplings.dark_higgs import (
    HIGGS_VACUUM_VALUE,
    LEPTON_MASSES,
    TAU_MASS,
    dark_higgs_decay_length_mm,
    dark_higgs_lepton_width,
    sin_theta_from_decay_length,
    sin_theta_from_lepton_width,
)
from darksieve.couplings.dark_higgs_widths import (
    DarkHiggsWidths,
    dark_higgs_branching_fraction,
    dark_higgs_ctau_cm,
    dark_higgs_widths,
    dark_higgsstrahlung_cross_section_fb,
)
from darksieve.couplings.flight import (
    alp_decay_length_mm,
    alp_flight_length_mm,
    alp_photon_width,
    flight_length_mm,
    g_agammagamma_from_g_aW,
    g_aW_with_flight,
    ranges_where,
    two_body_momentum,
)
from darksieve.couplings.radiative import (
    alp_cross_section_fb,
    g_agammagamma_from_cross_section,
)

__all__ = [
    "B_DECAYS",
    "B_PLUS_LIFETIME",
    "B_ZERO_LIFETIME",
    "C_MM_PER_S",
    "HIGGS_VACUUM_VALUE",
    "LEPTON_MASSES",
    "TAU_MASS",
    "BDecay",
    "DarkHiggsWidths",
    "QuarkTransition",
    "alp_branching_fraction",
    "alp_cross_section_fb",
    "alp_decay_length_mm",
    "alp_flight_length_mm",
    "alp_photon_width",
    "axial_form_factor_b_to_kstar",
    "b_decay",
    "dark_higgs_branching_fraction",
    "dark_higgs_ctau_cm",
    "dark_higgs_decay_length_mm",
    "dark_higgs_lepton_width",
    "dark_higgs_widths",
    "dark_higgsstrahlung_cross_section_fb",
    "flight_length_mm",
    "g_aW_from_branching_fraction",
    "g_aW_with_flight",
    "g_agammagamma_from_cross_section",
    "g_agammagamma_from_g_aW",
    "loop_function",
    "ranges_where",
    "scalar_form_factor_b_to_k",
    "scalar_form_factor_b_to_pi",
    "sin_theta_from_decay_length",
    "sin_theta_from_lepton_width",
    "two_body_momentum",
]
