"""Two-body kinematics: production of a photon with a resonance, and decays, as exact four-vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def uniform_sphere(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Cosines and azimuths of isotropic directions, each of shape (n,)."""
    return rng.uniform(-1, 1, n), rng.uniform(-np.pi, np.pi, n)


def one_plus_cosine_squared(rng: np.random.Generator, n: int) -> Floats:
    """Draws of cos θ from 1 + cos²θ on -1 to 1, shape (n,), by inverting its cubic distribution function."""
    q = 4 * rng.random(n) - 2
    root = np.sqrt(q * q + 1)
    return np.cbrt(q + root) + np.cbrt(q - root)


def direction(cosine: Floats, azimuth: Floats) -> Floats:
    """Unit vectors, shape (n, 3)."""
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    return np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], axis=-1)


def massless(energy: Floats, unit_vectors: Floats) -> Floats:
    """Four-momenta (px, py, pz, E) of photons, shape (n, 4)."""
    return np.concatenate([energy[:, None] * unit_vectors, energy[:, None]], axis=1)


def photon_and_recoil(
    sqrt_s: float, masses: Floats, cosine: Floats, azimuth: Floats
) -> tuple[Floats, Floats]:
    """e+e- -> γX at rest: the photon in the given direction and X against it, each of shape (n, 4)."""
    energy = (sqrt_s**2 - masses**2) / (2 * sqrt_s)
    photon = massless(energy, direction(cosine, azimuth))
    recoil = np.concatenate([-photon[:, :3], (sqrt_s - energy)[:, None]], axis=1)
    return photon, recoil


def decay_with_photon(
    parent: Floats, parent_mass: Floats, daughter_mass: float, cosine: Floats, azimuth: Floats
) -> tuple[Floats, Floats]:
    """X -> γY in X's helicity frame: the polar axis is X's direction of flight.

    Args:
        parent: Four-momenta of X, shape (n, 4); X moves.
        parent_mass: Masses of X, shape (n,).
        daughter_mass: Mass of Y in GeV; 0 for a second photon.
        cosine: Cosine of the photon's helicity angle, shape (n,).
        azimuth: Azimuth of the photon about X's direction, from the plane of X and the z axis, shape (n,).

    Returns:
        Photon and Y in the frame of ``parent``, each of shape (n, 4); they add up to it.
    """
    momentum = np.sqrt((parent[:, :3] ** 2).sum(axis=1))
    axis = parent[:, :3] / momentum[:, None]
    transverse = np.hypot(axis[:, 0], axis[:, 1])
    safe = np.where(transverse > 0, transverse, 1.0)
    sine_phi = axis[:, 1] / safe
    cosine_phi = np.where(transverse > 0, axis[:, 0] / safe, 1.0)
    polar = np.stack([axis[:, 2] * cosine_phi, axis[:, 2] * sine_phi, -transverse], axis=1)  # of rising theta
    normal = np.stack([-sine_phi, cosine_phi, np.zeros_like(sine_phi)], axis=1)
    at_rest = (parent_mass**2 - daughter_mass**2) / (2 * parent_mass)
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    gamma, gamma_beta = parent[:, 3] / parent_mass, momentum / parent_mass
    along = at_rest * (gamma_beta + gamma * cosine)
    photon3 = (
        along[:, None] * axis
        + (at_rest * sine * np.cos(azimuth))[:, None] * polar
        + (at_rest * sine * np.sin(azimuth))[:, None] * normal
    )
    photon = np.concatenate([photon3, np.sqrt((photon3**2).sum(axis=1))[:, None]], axis=1)
    other = parent - photon
    if daughter_mass == 0:
        other[:, 3] = np.sqrt((other[:, :3] ** 2).sum(axis=1))
    return photon, other
