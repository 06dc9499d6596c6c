"""How far an ALP flies, and where a limit for prompt decays holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from darksieve.constants import HBAR_C_MM, SIN2_THETA_W
from darksieve.couplings.b_decays import b_decay, branching_fraction_per_coupling2
from darksieve.couplings.checks import Floats, mass_below, not_negative, positive, refuse


def alp_photon_width(mass: ArrayLike, g_agammagamma: ArrayLike) -> Floats:
    """Width of a → γγ in GeV: Γ = g² m³/(64π)."""
    masses = positive(mass, "mass in GeV")
    return not_negative(g_agammagamma, "g_agammagamma in 1/GeV") ** 2 * masses**3 / (64 * np.pi)


def g_agammagamma_from_g_aW(g_aW: ArrayLike) -> Floats:
    """Photon coupling that a pure W coupling gives: g_aγγ = g_aW sin²θ_W, both in 1/GeV."""
    return not_negative(g_aW, "g_aW in 1/GeV") * SIN2_THETA_W


def alp_decay_length_mm(mass: ArrayLike, g_agammagamma: ArrayLike) -> Floats:
    """Proper decay length cτ in mm of an ALP that decays to two photons only.

    For a W coupling, pass `g_agammagamma_from_g_aW` (g_aW): cτ is 928 mm at g_aW = 1e-5/GeV and 0.2 GeV.

    Raises:
        ValueError: If a mass or a coupling is not positive and finite: what is stable has no decay length.
    """
    coupling = positive(g_agammagamma, "g_agammagamma in 1/GeV")
    return HBAR_C_MM / alp_photon_width(mass, coupling)


def two_body_momentum(parent_mass: ArrayLike, mass: ArrayLike, other_mass: ArrayLike) -> Floats:
    """Momentum in GeV of either daughter in the parent's rest frame.

    Raises:
        ValueError: If the decay is kinematically forbidden or a mass is negative or not finite.
    """
    parent = positive(parent_mass, "parent mass in GeV")
    other = not_negative(other_mass, "mass in GeV")
    masses = not_negative(mass, "mass in GeV")
    wrong = masses + other > parent
    refuse(wrong, masses, "mass in GeV", "the decay is kinematically forbidden")
    return np.sqrt((parent**2 - (masses + other) ** 2) * (parent**2 - (masses - other) ** 2)) / (2 * parent)


def flight_length_mm(decay_length_mm: ArrayLike, mass: ArrayLike, momentum: ArrayLike) -> Floats:
    """Mean flight length βγ cτ in mm, with βγ = momentum/mass in the frame of the momentum.

    "Prompt" fails where this exceeds what the selection tolerates (a config length): use `ranges_where`.
    For e+e- → γa the momentum in the centre-of-mass frame is `two_body_momentum` (sqrt_s, m, 0); for
    B → h a it is `two_body_momentum` (m_B, m, m_h) in the frame of the B. The boost of the beams adds to
    it by a factor that depends on the direction (between 0.75 and 1.33 at βγ = 0.28 for fast particles).
    """
    masses = positive(mass, "mass in GeV")
    momenta = not_negative(momentum, "momentum in GeV")
    return not_negative(decay_length_mm, "decay length in mm") * momenta / masses


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
    masses = mass_below(mass, decay.largest_mass, f"{decay.largest_mass:.6g} GeV, the end of B → {hadron} a")
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
    fraction = positive(branching_fraction, "branching fraction")
    radius = positive(radius_mm, "radius in mm")
    per_coupling2 = branching_fraction_per_coupling2(hadron, mass)
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
