"""Couplings: what a cross section, a branching fraction or a lifetime says about a parameter, and back.

Axion-like particles (ALPs) with photon or W couplings, and the mixing angle of a dark Higgs boson. Masses
in GeV, couplings in 1/GeV, lengths in mm, cross sections in fb. Every function broadcasts its array
arguments and refuses what it cannot answer (outside the kinematic range, negative, not finite) with a
``ValueError`` that names the value: no NaN goes in or comes out. Inverse functions undo the forward ones.

A limit that assumed *prompt* decays turns into a limit on a coupling only where that coupling makes the
particle decay promptly; elsewhere the efficiency is a function of the lifetime. `flight_length_mm` and
`ranges_where` mark where.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.constants import (
    ALPHA_QED,
    B_PLUS_MASS,
    B_ZERO_MASS,
    ELECTRON_MASS,
    FERMI_CONSTANT,
    GEV2_TO_FB,
    HBAR_C_MM,
    K_SHORT_MASS,
    KAON_MASS,
    KSTAR_PLUS_MASS,
    KSTAR_ZERO_MASS,
    MUON_MASS,
    PI0_MASS,
    PION_MASS,
    SIN2_THETA_W,
    TOP_MASS,
    UPSILON_4S_MASS,
    V_TB_V_TD,
    V_TB_V_TS,
    W_MASS,
)
from darksieve.errors import nearest

Floats = NDArray[np.float64]

C_MM_PER_S = 2.99792458e11
B_PLUS_LIFETIME = 1.638e-12  # s, PDG 2024
B_ZERO_LIFETIME = 1.517e-12  # s, PDG 2024
HIGGS_VACUUM_VALUE = (np.sqrt(2) * FERMI_CONSTANT) ** -0.5  # GeV, 246.22
TAU_MASS = 1.77693  # GeV, PDG 2024
LEPTON_MASSES = {"electron": ELECTRON_MASS, "muon": MUON_MASS, "tau": TAU_MASS}


def _refuse(wrong: NDArray[np.bool_], values: Floats, what: str, allowed: str) -> None:
    if np.any(wrong):
        first = np.broadcast_to(values, np.shape(wrong))[wrong].flat[0]
        count = int(np.count_nonzero(wrong))
        more = f" (and {count - 1} more)" if count > 1 else ""
        raise ValueError(f"{what} {first:.6g}{more} is not allowed: {allowed}")


def _not_negative(values: ArrayLike, what: str) -> Floats:
    checked = np.asarray(values, dtype=np.float64)
    _refuse(~(np.isfinite(checked) & (checked >= 0)), checked, what, "it must be finite and not negative")
    return checked


def _positive(values: ArrayLike, what: str) -> Floats:
    checked = np.asarray(values, dtype=np.float64)
    _refuse(~(np.isfinite(checked) & (checked > 0)), checked, what, "it must be finite and positive")
    return checked


def _mass_below(values: ArrayLike, limit: ArrayLike, reason: str) -> Floats:
    masses = np.asarray(values, dtype=np.float64)
    limits = np.asarray(limit, dtype=np.float64)
    wrong = ~((masses >= 0) & (masses < limits))
    _refuse(wrong, masses, "mass in GeV", f"it must be at least 0 and below {reason}")
    return masses


# e+e- -> gamma a -----------------------------------------------------------------------------------------


def _cross_section_fb_per_coupling2(mass: ArrayLike, sqrt_s: ArrayLike) -> Floats:
    energies = _positive(sqrt_s, "sqrt(s) in GeV")
    masses = _mass_below(mass, energies, f"sqrt(s) = {np.min(energies):.6g} GeV")
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
    coupling = _not_negative(g_agammagamma, "g_agammagamma in 1/GeV")
    return _cross_section_fb_per_coupling2(mass, sqrt_s) * coupling**2


def g_agammagamma_from_cross_section(
    mass: ArrayLike, cross_section_fb: ArrayLike, *, sqrt_s: ArrayLike = UPSILON_4S_MASS
) -> Floats:
    """Coupling in 1/GeV that gives this cross section of e+e- → γa in fb; undoes `alp_cross_section_fb`.

    Raises:
        ValueError: If a mass is outside the kinematic range or a cross section is negative or not finite.
    """
    cross_section = _not_negative(cross_section_fb, "cross section in fb")
    return np.sqrt(cross_section / _cross_section_fb_per_coupling2(mass, sqrt_s))


# B -> h a ------------------------------------------------------------------------------------------------


def scalar_form_factor_b_to_k(q2: Floats) -> Floats:
    """f0 of B → K (q² in GeV²): P. Ball, R. Zwicky, hep-ph/0406232; about 12 % uncertain at q² = 0."""
    return 0.330 / (1 - q2 / 37.46)


def scalar_form_factor_b_to_pi(q2: Floats) -> Floats:
    """f0 of B → π (q² in GeV²): P. Ball, R. Zwicky, hep-ph/0406232; about 12 % uncertain at q² = 0."""
    return 0.258 / (1 - q2 / 33.81)


def axial_form_factor_b_to_kstar(q2: Floats) -> Floats:
    """A0 of B → K* (q² in GeV²): P. Ball, R. Zwicky, hep-ph/0412079; about 10 % uncertain at q² = 0."""
    return 1.364 / (1 - q2 / 27.88) - 0.990 / (1 - q2 / 36.78)


@dataclass(frozen=True)
class QuarkTransition:
    """b → s or b → d into one kind of hadron.

    Attributes:
        ckm: |V_tb V_tq*|.
        is_vector: Whether the hadron has spin 1 (K*), else spin 0.
        form_factor: f0(q²) of a spin-0 hadron, A0(q²) of a vector; q² in GeV².
        source: Where the form factor comes from.
    """

    ckm: float
    is_vector: bool
    form_factor: Callable[[Floats], Floats]
    source: str


@dataclass(frozen=True)
class BDecay:
    """One decay B → h a through the loop with a W coupling.

    Attributes:
        parent_mass: GeV.
        parent_lifetime: s.
        hadron_mass: GeV.
        fraction: Share of the flavour eigenstate that the named hadron is (1/2 for K_S).
    """

    parent_mass: float
    parent_lifetime: float
    hadron_mass: float
    transition: QuarkTransition
    fraction: float = 1.0

    @property
    def largest_mass(self) -> float:
        """Kinematic end of the ALP mass in GeV."""
        return self.parent_mass - self.hadron_mass


_SCALAR_SOURCE = "P. Ball, R. Zwicky, Phys. Rev. D 71 (2005) 014015, hep-ph/0406232"
_VECTOR_SOURCE = "P. Ball, R. Zwicky, Phys. Rev. D 71 (2005) 014029, hep-ph/0412079"
_TO_K = QuarkTransition(V_TB_V_TS, False, scalar_form_factor_b_to_k, _SCALAR_SOURCE)
_TO_KSTAR = QuarkTransition(V_TB_V_TS, True, axial_form_factor_b_to_kstar, _VECTOR_SOURCE)
_TO_PI = QuarkTransition(V_TB_V_TD, False, scalar_form_factor_b_to_pi, _SCALAR_SOURCE)

B_DECAYS: dict[str, BDecay] = {
    "K+": BDecay(B_PLUS_MASS, B_PLUS_LIFETIME, KAON_MASS, _TO_K),
    "K0": BDecay(B_ZERO_MASS, B_ZERO_LIFETIME, K_SHORT_MASS, _TO_K),
    "K_S": BDecay(B_ZERO_MASS, B_ZERO_LIFETIME, K_SHORT_MASS, _TO_K, fraction=0.5),
    "K*+": BDecay(B_PLUS_MASS, B_PLUS_LIFETIME, KSTAR_PLUS_MASS, _TO_KSTAR),
    "K*0": BDecay(B_ZERO_MASS, B_ZERO_LIFETIME, KSTAR_ZERO_MASS, _TO_KSTAR),
    "pi+": BDecay(B_PLUS_MASS, B_PLUS_LIFETIME, PION_MASS, _TO_PI),
}


def b_decay(hadron: str) -> BDecay:
    """The decay B → `hadron` a: K+, K0, K_S, K*+, K*0 or pi+.

    Raises:
        ValueError: If the hadron is unknown; the nearest known one is offered.
    """
    try:
        return B_DECAYS[hadron]
    except KeyError:
        raise ValueError(
            f"no decay B → {hadron} a{nearest(hadron, B_DECAYS)}; known hadrons: {', '.join(B_DECAYS)}"
        ) from None


def loop_function(x: ArrayLike) -> Floats:
    """f(x) = x [1 + x (ln x − 1)] / (1 − x)² of the top-W loop, x = m_t²/M_W²; x > 0, f(1) = 1/2.

    References:
        E. Izaguirre, T. Lin, B. Shuve, arXiv:1611.09355.
    """
    ratios = _positive(x, "mass ratio squared")
    step = ratios - 1
    near_one = np.abs(step) < 1e-4  # 0/0 at x = 1: Taylor series, good to 1e-12 there
    safe = np.where(near_one, 2.0, ratios)
    exact = safe * (1 + safe * (np.log(safe) - 1)) / (1 - safe) ** 2
    return np.where(near_one, 0.5 + step / 3 - step**2 / 12, exact)


def _branching_fraction_per_coupling2(hadron: str, mass: ArrayLike) -> Floats:
    decay = b_decay(hadron)
    transition = decay.transition
    masses = _mass_below(mass, decay.largest_mass, f"{decay.largest_mass:.6g} GeV, the end of B → {hadron} a")
    big, small = decay.parent_mass, decay.hadron_mass
    # effective flavour-changing coupling for g_aW = 1/GeV; charm and up in the loop are negligible
    loop = loop_function((TOP_MASS / W_MASS) ** 2)
    g_flavour = 3 * np.sqrt(2) * FERMI_CONSTANT * W_MASS**2 / (16 * np.pi**2) * transition.ckm * loop
    phase_space = (1 - ((masses + small) / big) ** 2) * (1 - ((masses - small) / big) ** 2)
    if transition.is_vector:
        kinematics = phase_space**1.5
    else:
        kinematics = (1 - (small / big) ** 2) ** 2 * np.sqrt(phase_space)
    width = big**3 / (64 * np.pi) * g_flavour**2 * kinematics * transition.form_factor(masses**2) ** 2
    return decay.fraction * width * decay.parent_lifetime * C_MM_PER_S / HBAR_C_MM


def alp_branching_fraction(hadron: str, mass: ArrayLike, g_aW: ArrayLike) -> Floats:
    """Branching fraction of B → h a for an ALP that couples to W bosons, L = −(g_aW/4) a W W̃.

    Args:
        hadron: K+, K0, K_S (half of K0), K*+, K*0 or pi+.
        mass: ALP mass in GeV, below the kinematic end.
        g_aW: Coupling in 1/GeV.

    Returns:
        Branching fraction, broadcast shape, proportional to g_aW². a → γγ takes all of it for
        m_a << M_W (B(a → γγ) = 1), whatever the lifetime.

    Raises:
        ValueError: If the hadron is unknown, a mass is out of range, or a coupling is negative or not finite.

    References:
        E. Izaguirre, T. Lin, B. Shuve, arXiv:1611.09355; form factors as in `B_DECAYS`.
    """
    coupling = _not_negative(g_aW, "g_aW in 1/GeV")
    return _branching_fraction_per_coupling2(hadron, mass) * coupling**2


def g_aW_from_branching_fraction(hadron: str, mass: ArrayLike, branching_fraction: ArrayLike) -> Floats:
    """Coupling g_aW in 1/GeV that gives this branching fraction of B → h a (see `alp_branching_fraction`).

    It takes the number as it is: a limit that assumed prompt decays stays one only where the coupling that
    comes out is prompt, see `flight_length_mm`.

    Raises:
        ValueError: If the hadron is unknown, a mass is out of range, or a branching fraction is negative or
            not finite.
    """
    fraction = _not_negative(branching_fraction, "branching fraction")
    return np.sqrt(fraction / _branching_fraction_per_coupling2(hadron, mass))


# lifetimes -----------------------------------------------------------------------------------------------


def alp_photon_width(mass: ArrayLike, g_agammagamma: ArrayLike) -> Floats:
    """Width of a → γγ in GeV: Γ = g² m³/(64π)."""
    masses = _positive(mass, "mass in GeV")
    return _not_negative(g_agammagamma, "g_agammagamma in 1/GeV") ** 2 * masses**3 / (64 * np.pi)


def g_agammagamma_from_g_aW(g_aW: ArrayLike) -> Floats:
    """Photon coupling that a pure W coupling gives: g_aγγ = g_aW sin²θ_W, both in 1/GeV."""
    return _not_negative(g_aW, "g_aW in 1/GeV") * SIN2_THETA_W


def alp_decay_length_mm(mass: ArrayLike, g_agammagamma: ArrayLike) -> Floats:
    """Proper decay length cτ in mm of an ALP that decays to two photons only.

    For a W coupling, pass `g_agammagamma_from_g_aW` (g_aW): cτ is 928 mm at g_aW = 1e-5/GeV and 0.2 GeV.

    Raises:
        ValueError: If a mass or a coupling is not positive and finite: what is stable has no decay length.
    """
    coupling = _positive(g_agammagamma, "g_agammagamma in 1/GeV")
    return HBAR_C_MM / alp_photon_width(mass, coupling)


def two_body_momentum(parent_mass: ArrayLike, mass: ArrayLike, other_mass: ArrayLike) -> Floats:
    """Momentum in GeV of either daughter in the parent's rest frame.

    Raises:
        ValueError: If the decay is kinematically forbidden or a mass is negative or not finite.
    """
    parent = _positive(parent_mass, "parent mass in GeV")
    other = _not_negative(other_mass, "mass in GeV")
    masses = _not_negative(mass, "mass in GeV")
    wrong = masses + other > parent
    _refuse(wrong, masses, "mass in GeV", "the decay is kinematically forbidden")
    return np.sqrt((parent**2 - (masses + other) ** 2) * (parent**2 - (masses - other) ** 2)) / (2 * parent)


def flight_length_mm(decay_length_mm: ArrayLike, mass: ArrayLike, momentum: ArrayLike) -> Floats:
    """Mean flight length βγ cτ in mm, with βγ = momentum/mass in the frame of the momentum.

    "Prompt" fails where this exceeds what the selection tolerates (a config length): use `ranges_where`.
    For e+e- → γa the momentum in the centre-of-mass frame is `two_body_momentum` (sqrt_s, m, 0); for
    B → h a it is `two_body_momentum` (m_B, m, m_h) in the frame of the B. The boost of the beams adds to
    it by a factor that depends on the direction (between 0.75 and 1.33 at βγ = 0.28 for fast particles).
    """
    masses = _positive(mass, "mass in GeV")
    momenta = _not_negative(momentum, "momentum in GeV")
    return _not_negative(decay_length_mm, "decay length in mm") * momenta / masses


def alp_flight_length_mm(hadron: str, mass: ArrayLike, g_aW: ArrayLike) -> Floats:
    """Mean flight length βγ cτ in mm of the ALP of B → h a, in the frame of the B, for a pure W coupling.

    Args:
        hadron: As in `alp_branching_fraction`.
        mass: ALP mass in GeV, above 0 and below the kinematic end.
        g_aW: Coupling in 1/GeV, above 0.

    Raises:
        ValueError: If the hadron is unknown, or a mass or coupling is out of range.
    """
    decay = b_decay(hadron)
    masses = _mass_below(mass, decay.largest_mass, f"{decay.largest_mass:.6g} GeV, the end of B → {hadron} a")
    momentum = two_body_momentum(decay.parent_mass, masses, decay.hadron_mass)
    decay_length = alp_decay_length_mm(masses, g_agammagamma_from_g_aW(g_aW))
    return flight_length_mm(decay_length, masses, momentum)


def g_aW_with_flight(
    hadron: str, mass: ArrayLike, branching_fraction: ArrayLike, radius_mm: ArrayLike
) -> Floats:
    """Coupling g_aW in 1/GeV whose decays B → h a *inside a radius* have this branching fraction.

    A prompt limit on B(B → h a) bounds the product of the branching fraction and the share of the ALPs that
    decay within the radius, 1 - exp(-radius/flight length): the efficiency is taken as the prompt one inside
    and zero outside. Both factors rise with the coupling, so there is one solution; it is never below that
    of `g_aW_from_branching_fraction`. The flight length is the mean one in the frame of the B.

    Args:
        hadron: As in `alp_branching_fraction`.
        mass: ALP mass in GeV.
        branching_fraction: Limit for prompt decays, above 0.
        radius_mm: Radius in mm within which a decay is reconstructed as a prompt one is.

    Raises:
        ValueError: If the hadron is unknown, or a number is out of range.
    """
    fraction = _positive(branching_fraction, "branching fraction")
    radius = _positive(radius_mm, "radius in mm")
    per_coupling2 = _branching_fraction_per_coupling2(hadron, mass)
    # radius over flight length per coupling squared: lengths fall as 1/g²
    decays = radius / alp_flight_length_mm(hadron, mass, np.ones_like(np.asarray(mass, dtype=np.float64)))
    # x = decays g²: x (1 - exp(-x)) = product, with x from the product itself to its root where x is small
    product = fraction / per_coupling2 * decays
    low, high = np.log(product), np.log(product + np.sqrt(2 * product) + 1)
    for _ in range(60):
        middle = 0.5 * (low + high)
        x = np.exp(middle)
        above = x * -np.expm1(-x) > product
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.sqrt(np.exp(0.5 * (low + high)) / decays)


def ranges_where(masses: ArrayLike, condition: ArrayLike) -> list[tuple[float, float]]:
    """Ranges [low, high] in GeV that cover the masses where a condition holds.

    Args:
        masses: Ascending masses in GeV, shape (n,).
        condition: Where it holds, boolean, shape (n,); e.g. flight length > config length.

    Returns:
        One pair for each run of neighbouring masses that fulfil it; a single mass gives low == high.

    Raises:
        ValueError: If the masses do not ascend or the shapes differ.
    """
    points = np.asarray(masses, dtype=np.float64)
    holds = np.asarray(condition, dtype=bool)
    if points.ndim != 1 or points.shape != holds.shape:
        raise ValueError(f"shapes of masses {points.shape} and condition {holds.shape} do not match")
    if not np.all(np.diff(points) > 0):
        raise ValueError("masses must ascend, without repetition")
    padded = np.concatenate([[False], holds, [False]]).astype(np.int8)
    starts = np.flatnonzero(np.diff(padded) == 1)
    ends = np.flatnonzero(np.diff(padded) == -1) - 1
    return [(float(points[i]), float(points[j])) for i, j in zip(starts, ends, strict=True)]


# dark Higgs ----------------------------------------------------------------------------------------------


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
    masses = _positive(mass, "mass in GeV")
    mixing = _not_negative(sin_theta, "sin(theta)")
    _refuse(mixing > 1, mixing, "sin(theta)", "it must be at most 1")
    lepton_mass = _lepton_mass(lepton)
    beta2 = np.clip(1 - (2 * lepton_mass / masses) ** 2, 0, None)
    return mixing**2 * lepton_mass**2 * masses / (8 * np.pi * HIGGS_VACUUM_VALUE**2) * beta2**1.5


def sin_theta_from_lepton_width(lepton: str, mass: ArrayLike, width: ArrayLike) -> Floats:
    """Sine of the mixing angle that gives this width of h' → l+l- in GeV (see `dark_higgs_lepton_width`).

    Raises:
        ValueError: If a mass is at or below threshold, a width is negative, or it would need sin θ > 1.
    """
    masses = _positive(mass, "mass in GeV")
    threshold = 2 * _lepton_mass(lepton)
    _refuse(masses <= threshold, masses, "mass in GeV", f"it must exceed 2 m({lepton}) = {threshold:.6g}")
    mixing = np.sqrt(_not_negative(width, "width in GeV") / dark_higgs_lepton_width(lepton, masses, 1.0))
    _refuse(mixing > 1, mixing, "sin(theta)", "no mixing gives so large a width")
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
    masses = _positive(mass, "mass in GeV")
    mixing = _positive(sin_theta, "sin(theta)")
    if hadron_width_at_full_mixing is None:
        _refuse(
            masses >= 2 * PI0_MASS,
            masses,
            "mass in GeV",
            "from 2 m(pi0) = 0.26995 GeV on, hadron_width_at_full_mixing is needed",
        )
        other: Floats = np.zeros(())
    else:
        other = _not_negative(hadron_width_at_full_mixing, "width in GeV")
    widths = [dark_higgs_lepton_width(lepton, masses, mixing) for lepton in LEPTON_MASSES]
    width = sum(widths, mixing**2 * other)
    _refuse(width <= 0, masses, "mass in GeV", "the particle has no open decay")
    return HBAR_C_MM / width


def sin_theta_from_decay_length(
    mass: ArrayLike, decay_length_mm: ArrayLike, *, hadron_width_at_full_mixing: ArrayLike | None = None
) -> Floats:
    """Sine of the mixing angle that gives this proper decay length (see `dark_higgs_decay_length_mm`)."""
    at_full = dark_higgs_decay_length_mm(mass, 1.0, hadron_width_at_full_mixing=hadron_width_at_full_mixing)
    mixing = np.sqrt(at_full / _positive(decay_length_mm, "decay length in mm"))
    _refuse(mixing > 1, mixing, "sin(theta)", "no mixing gives so short a decay length")
    return mixing
