"""Cluster-like variables of the toy detector: what tells a photon from what only looks like one.

They depend on what made the cluster, its energy and its part of the calorimeter, and on nothing else: for
real single photons they know nothing of the process. Ranges and trends resemble those of a crystal
calorimeter; every number is illustrative.
"""

from __future__ import annotations

import numpy as np
from numba import njit

PHOTON, BEAM_BACKGROUND, SPLIT_OFF, MERGED = 0, 1, 2, 3
KINDS = ("photon", "beam_background", "split_off", "merged")
FORWARD, BARREL, BACKWARD = 1, 2, 3  # clusterReg of basf2

# basf2 variable names, in the order of the arrays
SHAPES = (
    "clusterE1E9",
    "clusterE9E21",
    "clusterLAT",
    "clusterSecondMoment",
    "clusterZernikeMVA",
    "clusterTiming",
    "clusterErrorTiming",
    "minC2TDist",
)
MAX_TRACK_DISTANCE_CM = 250.0  # basf2's upper limit of minC2TDist, which events without tracks have


@njit(cache=True)
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return 1 / (1 + np.exp(-x))


@njit(cache=True)
def draw_shapes(rng, kind, energy, region, opening, out):  # type: ignore[no-untyped-def]
    """Fills ``out``, shape (8,), with the variables of one cluster in the order of ``SHAPES``.

    Args:
        kind: What made it.
        energy: Measured laboratory energy in GeV.
        region: Part of the calorimeter.
        opening: Angle between two merged photons in radians, else 0.
    """
    # one hidden breadth of the shower correlates all shapes; fakes and merged photons are broader
    breadth = rng.standard_normal()
    if kind == BEAM_BACKGROUND:
        breadth = 1.2 + 1.3 * breadth
    elif kind == SPLIT_OFF:
        breadth = 1.6 + 1.2 * breadth
    elif kind == MERGED:
        breadth = 0.8 + 35 * opening + breadth
    if region != BARREL:
        breadth += 0.2
    log_energy = np.log(energy)
    out[0] = _sigmoid(0.3 + 0.12 * log_energy - 0.35 * breadth + 0.4 * rng.standard_normal())
    out[1] = max(1 - 0.03 * np.exp(0.35 * breadth - 0.1 * log_energy + 0.3 * rng.standard_normal()), 0.3)
    out[2] = min(max(0.22 - 0.01 * log_energy + 0.06 * breadth + 0.04 * rng.standard_normal(), 0.01), 0.99)
    out[3] = np.exp(0.1 + 0.2 * breadth + 0.15 * rng.standard_normal())  # cm²
    out[4] = _sigmoid(2.6 - 1.4 * breadth + rng.standard_normal())

    # dt99 is the width that holds 99 % of in-time photons: 2.576 standard deviations
    dt99 = (2.0 + 4.0 / np.sqrt(energy)) * np.exp(0.1 * rng.standard_normal())  # ns
    sigma = dt99 / 2.576
    if kind == BEAM_BACKGROUND:
        out[5] = 40 * (2 * rng.random() - 1)
    elif kind == SPLIT_OFF:
        out[5] = 0.3 * sigma + 1.3 * sigma * rng.standard_normal()
    else:
        out[5] = sigma * rng.standard_normal()
    out[6] = dt99

    # tracks are rare in these events; those of the beam background come along with its clusters
    if kind == BEAM_BACKGROUND:
        near_track, reach = 0.55, 60.0
    else:
        near_track, reach = 0.25, 120.0
    out[7] = MAX_TRACK_DISTANCE_CM
    if rng.random() < near_track:
        out[7] = min(5 + reach * rng.standard_exponential(), MAX_TRACK_DISTANCE_CM)
