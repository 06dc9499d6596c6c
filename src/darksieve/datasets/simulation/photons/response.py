"""What the toy calorimeter makes of one photon, for every simulation that has one: for use inside numba.

``det`` has the numbers of a ``Detector``; angles are in rad and energies in GeV, in the laboratory.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from darksieve.datasets.simulation.photons.clusters import BACKWARD, BARREL, FORWARD


@njit(cache=True)
def region(theta, det):  # type: ignore[no-untyped-def]
    """Part of the calorimeter at a polar angle, 0 for none."""
    degrees = theta * 180 / np.pi
    if det.forward_start_deg < degrees < det.forward_end_deg:
        return FORWARD
    if det.barrel_start_deg < degrees < det.barrel_end_deg:
        return BARREL
    if det.backward_start_deg < degrees < det.backward_end_deg:
        return BACKWARD
    return 0


@njit(cache=True)
def beside(theta, phi, angle, around):  # type: ignore[no-untyped-def]
    """The direction at an angle from another, turned about it: theta and phi."""
    ct, st = np.cos(theta), np.sin(theta)
    cosine = np.cos(angle) * ct - np.sin(angle) * st * np.cos(around)
    along = np.cos(angle) * st + np.sin(angle) * ct * np.cos(around)
    turned = phi + np.arctan2(np.sin(angle) * np.sin(around), along)
    return np.arccos(min(max(cosine, -1.0), 1.0)), np.arctan2(np.sin(turned), np.cos(turned))


@njit(cache=True)
def measured_share(rng, energy, det):  # type: ignore[no-untyped-def]
    """Measured over true energy, with a tail to low values; not positive where nothing is measured."""
    sigma = np.sqrt(
        (det.energy_noise / energy) ** 2
        + (det.energy_stochastic / energy**0.25) ** 2
        + det.energy_constant**2
    )
    share = 1 + sigma * rng.standard_normal()
    if rng.random() < det.low_tail_fraction:
        share -= sigma * det.low_tail_sigmas * rng.standard_exponential()
    return share


@njit(cache=True)
def measured_direction(rng, theta, phi, energy, det):  # type: ignore[no-untyped-def]
    """Measured theta and phi."""
    sigma = (
        det.position_constant_mm
        + det.position_root_mm / np.sqrt(energy)
        + det.position_fourth_root_mm / energy**0.25
    ) / det.position_radius_mm
    measured = theta + sigma * rng.standard_normal()
    turned = phi + sigma / np.sin(theta) * rng.standard_normal()
    return measured, np.arctan2(np.sin(turned), np.cos(turned))
