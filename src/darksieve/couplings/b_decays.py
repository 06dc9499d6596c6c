"""B → h a through the W loop: branching fraction and ALP-W coupling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from darksieve.constants import (
    B_PLUS_MASS,
    B_ZERO_MASS,
    FERMI_CONSTANT,
    HBAR_C_MM,
    K_SHORT_MASS,
    KAON_MASS,
    KSTAR_PLUS_MASS,
    KSTAR_ZERO_MASS,
    PION_MASS,
    TOP_MASS,
    V_TB_V_TD,
    V_TB_V_TS,
    W_MASS,
)
from darksieve.couplings.checks import Floats, mass_below, not_negative, positive
from darksieve.errors import nearest

C_MM_PER_S = 2.99792458e11
B_PLUS_LIFETIME = 1.638e-12  # s, PDG 2024
B_ZERO_LIFETIME = 1.517e-12  # s, PDG 2024


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
    ratios = positive(x, "mass ratio squared")
    step = ratios - 1
    near_one = np.abs(step) < 1e-4  # 0/0 at x = 1: Taylor series, good to 1e-12 there
    safe = np.where(near_one, 2.0, ratios)
    exact = safe * (1 + safe * (np.log(safe) - 1)) / (1 - safe) ** 2
    return np.where(near_one, 0.5 + step / 3 - step**2 / 12, exact)


def branching_fraction_per_coupling2(hadron: str, mass: ArrayLike) -> Floats:
    decay = b_decay(hadron)
    transition = decay.transition
    masses = mass_below(mass, decay.largest_mass, f"{decay.largest_mass:.6g} GeV, the end of B → {hadron} a")
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
    coupling = not_negative(g_aW, "g_aW in 1/GeV")
    return branching_fraction_per_coupling2(hadron, mass) * coupling**2


def g_aW_from_branching_fraction(hadron: str, mass: ArrayLike, branching_fraction: ArrayLike) -> Floats:
    """Coupling g_aW in 1/GeV that gives this branching fraction of B → h a (see `alp_branching_fraction`).

    It takes the number as it is: a limit that assumed prompt decays stays one only where the coupling that
    comes out is prompt, see `flight_length_mm`.

    Raises:
        ValueError: If the hadron is unknown, a mass is out of range, or a branching fraction is negative or
            not finite.
    """
    fraction = not_negative(branching_fraction, "branching fraction")
    return np.sqrt(fraction / branching_fraction_per_coupling2(hadron, mass))
