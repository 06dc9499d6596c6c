"""Mass of the light particle with the B's energy and momentum put in: photons are the worst measured."""

from __future__ import annotations

import numpy as np

from darksieve.datasets.simulation.decays import Floats

_ENERGY_SIGMA = 0.006  # GeV: half the collision's spread, and the meson's own resolution
_MBC_SIGMA = 0.0027  # GeV: half the collision's spread
_ITERATIONS = 4
_LARGEST_CHANGE = 0.3  # of a photon's energy in one step


def constrained_mass(
    meson: Floats, photons: Floats, resolution: Floats, beam_energy: float, b_mass: Floats
) -> Floats:
    """M(γγ) after a fit of both photon energies to E_B = E_beam and M_bc = m_B.

    Least squares in the two energies with four terms: each photon's own measurement, the energy of B, its
    momentum. Directions stay as measured.

    Args:
        meson: Four-momentum of the K or K* in the centre-of-mass system, GeV, shape (n, 4).
        photons: Those of the two photons, shape (n, 2, 4).
        resolution: Their relative energy resolutions, shape (n, 2).
        beam_energy: Half of √s, GeV.
        b_mass: Mass of the B in GeV, shape (n,).

    Returns:
        Mass in GeV, shape (n,).
    """
    p2_expected = beam_energy**2 - b_mass**2
    p2_sigma = 2 * b_mass * _MBC_SIGMA
    scale = np.ones((len(meson), 2))
    weight = 1 / resolution**2
    for _ in range(_ITERATIONS):
        scaled = scale[:, :, None] * photons
        total = meson + scaled.sum(axis=1)
        off_energy = (total[:, 3] - beam_energy) / _ENERGY_SIGMA
        off_p2 = ((total[:, :3] ** 2).sum(axis=1) - p2_expected) / p2_sigma
        of_energy = photons[:, :, 3] / _ENERGY_SIGMA  # derivatives by the scales, (n, 2)
        of_p2 = 2 * (photons[:, :, :3] * total[:, None, :3]).sum(axis=2) / p2_sigma[:, None]
        gradient = weight * (scale - 1) + off_energy[:, None] * of_energy + off_p2[:, None] * of_p2
        first = weight[:, 0] + of_energy[:, 0] ** 2 + of_p2[:, 0] ** 2
        second = weight[:, 1] + of_energy[:, 1] ** 2 + of_p2[:, 1] ** 2
        mixed = of_energy[:, 0] * of_energy[:, 1] + of_p2[:, 0] * of_p2[:, 1]
        determinant = first * second - mixed**2
        step = np.stack(
            [
                second * gradient[:, 0] - mixed * gradient[:, 1],
                first * gradient[:, 1] - mixed * gradient[:, 0],
            ],
            axis=1,
        )
        scale -= np.clip(step / determinant[:, None], -_LARGEST_CHANGE, _LARGEST_CHANGE)
        np.maximum(scale, 0.1, out=scale)
    alp = (scale[:, :, None] * photons).sum(axis=1)
    return np.sqrt(np.maximum(alp[:, 3] ** 2 - (alp[:, :3] ** 2).sum(axis=1), 0))
