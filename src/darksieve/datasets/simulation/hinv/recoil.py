"""Recoil against a tag: h in the rest frame of the signal B, and what is missing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.hinv.channels import Channel
from darksieve.datasets.simulation.phase_space import to_rest_frame, with_mass

Floats = NDArray[np.float64]


class Recoil(NamedTuple):
    """Each of shape (n,).

    Attributes:
        momentum: Of h in the rest frame of the signal B, GeV.
        mass_squared: Of X, from that momentum alone, GeV²; below 0 above the endpoint.
        missing_mass_squared: Of the collision less tag and h, GeV²: the same with the masses of B and h as
            measured.
        missing_theta: Polar angle of that in the laboratory, radians.
    """

    momentum: Floats
    mass_squared: Floats
    missing_mass_squared: Floats
    missing_theta: Floats


def recoil(h: Floats, tag: Floats, channel: Channel, beams: Beams) -> Recoil:
    """Recoil of h.

    The signal B flies against the tag with its mass and the tag's measured momentum: the tag's energy, which
    is measured worse, is left out.

    Args:
        h: Measured four-momenta in the CMS, GeV, shape (n, 4).
        tag: Measured four-momenta of the tags in the CMS, GeV, shape (n, 4).
    """
    signal_b = with_mass(-tag[:, :3], channel.b_mass)
    momentum = np.sqrt((to_rest_frame(h, signal_b)[:, :3] ** 2).sum(axis=1))
    half = beams.sqrt_s / 2
    missing = np.concatenate([-tag[:, :3] - h[:, :3], (half - h[:, 3])[:, None]], axis=1)
    in_lab = beams.to_lab(missing)
    return Recoil(
        momentum,
        channel.recoil_mass_squared(momentum),
        missing[:, 3] ** 2 - (missing[:, :3] ** 2).sum(axis=1),
        np.arctan2(np.hypot(in_lab[:, 0], in_lab[:, 1]), in_lab[:, 2]),
    )
