"""K_S → π+π-: pairs of tracks with a vertex away from the collision, true ones and chance ones."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import fields

import numpy as np
from numba import njit

from darksieve.constants import K_SHORT_MASS, PION_MASS
from darksieve.datasets.simulation.bfactory.detected import KShorts, Tracks
from darksieve.datasets.simulation.bfactory.detector import Tracking, as_floats
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch

K_SHORT_PDG = 310
_CHANCE_FLIGHT_CM = 0.3  # scale of the exponential beyond the smallest flight; illustrative

_Numbers = namedtuple("_Numbers", [f.name for f in fields(Tracking)])  # type: ignore[misc]  # what numba understands


def find_kshorts(
    rng: np.random.Generator, particles: ParticleBatch, tracks: Tracks, tracking: Tracking
) -> KShorts:
    """K_S candidates of each event: opposite tracks with a mass near the K_S and a vertex."""
    return KShorts(
        *_find(
            rng,
            tracks.offsets,
            tracks.momenta,
            tracks.charge,
            tracks.truth,
            particles.pdg,
            particles.mother,
            particles.vertices,
            _Numbers(*as_floats(tracking)),
        )
    )


@njit(cache=True)
def _find(rng, offsets, momenta, charge, truth, pdg, mother, vertices, det):  # type: ignore[no-untyped-def]
    new_offsets = np.zeros(len(offsets), np.int64)
    size = 64 + len(momenta)
    four, mass, flight = np.empty((size, 4)), np.empty(size), np.empty(size)
    pair, parent = np.empty((size, 2), np.int64), np.empty(size, np.int64)
    energy = np.sqrt((momenta**2).sum(axis=1) + PION_MASS**2)
    n = 0
    for event in range(len(offsets) - 1):
        for i in range(offsets[event], offsets[event + 1]):
            for j in range(i + 1, offsets[event + 1]):
                if charge[i] == charge[j]:
                    continue
                e = energy[i] + energy[j]
                px = momenta[i, 0] + momenta[j, 0]
                py = momenta[i, 1] + momenta[j, 1]
                pz = momenta[i, 2] + momenta[j, 2]
                m = np.sqrt(max(e * e - px * px - py * py - pz * pz, 0.0))
                if abs(m - K_SHORT_MASS) > det.kshort_mass_window:
                    continue
                above = mother[truth[i]]
                is_true = above >= 0 and above == mother[truth[j]] and pdg[above] == K_SHORT_PDG
                if is_true:
                    decay = vertices[truth[i]]
                    travelled = np.hypot(decay[0], decay[1]) / 10  # mm to cm
                    travelled += det.kshort_flight_sigma_cm * rng.standard_normal()
                    if travelled < det.kshort_min_flight_cm or rng.random() > det.kshort_efficiency:
                        continue
                else:
                    if rng.random() > det.kshort_fake_probability:
                        continue
                    travelled = det.kshort_min_flight_cm + _CHANCE_FLIGHT_CM * rng.standard_exponential()
                if n == size:  # more chance pairs than tracks: not with sensible numbers, but possible
                    raise ValueError("kshort_fake_probability gives more K_S than tracks")
                four[n, 0], four[n, 1], four[n, 2], four[n, 3] = px, py, pz, e
                mass[n], flight[n] = m, travelled
                pair[n, 0], pair[n, 1] = i, j
                parent[n] = above if is_true else -1
                n += 1
        new_offsets[event + 1] = n
    return new_offsets, four[:n], mass[:n], flight[:n], pair[:n], parent[:n]
