"""The particles of B candidates and of the rest of their events, with vetoes of π0, η and η'."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from darksieve.constants import ETA_MASS, ETA_PRIME_MASS, PI0_MASS
from darksieve.datasets.beams import Beams
from darksieve.datasets.features.particles import Particles
from darksieve.datasets.simulation.bfactory.detected import KAON, PION, DetectedBatch
from darksieve.datasets.simulation.bfactory.reconstruction import (
    K_PLUS,
    K_PLUS_PI0,
    K_PLUS_PION,
    K_SHORT,
    K_SHORT_PION,
    BCandidates,
)

VETO_MASSES = {"pi0": PI0_MASS, "eta": ETA_MASS, "etaprime": ETA_PRIME_MASS}  # GeV

# hypothesis of each of a candidate's tracks, by submode
_HYPOTHESES = np.full((5, 3), PION)
_HYPOTHESES[[K_PLUS, K_PLUS_PI0, K_PLUS_PION], 0] = KAON
HAS_CHARGED_KAON = np.isin(np.arange(5), [K_PLUS, K_PLUS_PI0, K_PLUS_PION])
IS_KSTAR = np.isin(np.arange(5), [K_SHORT_PION, K_PLUS_PI0, K_PLUS_PION])
HAS_KSHORT = np.isin(np.arange(5), [K_SHORT, K_SHORT_PION])


@dataclass(frozen=True)
class SplitEvents:
    """Each candidate's event in two, in the centre-of-mass system.

    Attributes:
        signal: Tracks and photons of the candidate.
        daughters: Its K(*) and its a.
        rest: All other tracks, as what they most likely are, and clusters.
        closest_masses: For π0, η, η': the mass of a photon of a and any other photon that is nearest to it,
            GeV, 0 where there is no other photon, shape (n, 3).
    """

    signal: Particles
    daughters: Particles
    rest: Particles
    closest_masses: NDArray[np.float64]


def split_events(candidates: BCandidates, detected: DetectedBatch, beams: Beams) -> SplitEvents:
    """Candidates and the rest of their events."""
    tracks, clusters = detected.tracks, detected.clusters
    n = len(candidates)
    track_cms = beams.to_cms(tracks.four_momenta(tracks.best_hypothesis))
    cluster_cms = beams.to_cms(clusters.momenta)
    meson = beams.to_cms(candidates.meson)
    rest, rest_charge, rest_offsets = _rest(
        candidates.event,
        candidates.tracks,
        candidates.clusters,
        tracks.offsets,
        clusters.offsets,
        track_cms,
        tracks.charge,
        cluster_cms,
    )

    alp = cluster_cms[candidates.clusters[:, :2]].sum(axis=1)
    charge = np.where(candidates.tracks >= 0, tracks.charge[candidates.tracks], 0)
    daughters = np.stack([meson, alp], axis=1).reshape(-1, 4)
    of_meson = np.stack([charge.sum(axis=1), np.zeros(n)], axis=1).ravel()

    hypotheses = _HYPOTHESES[candidates.submode]
    parts, charges, present = [], [], []
    for column in range(3):
        row = candidates.tracks[:, column]
        parts.append(beams.to_cms(tracks.four_momenta_of(row, hypotheses[:, column])))
        charges.append(charge[:, column])
        present.append(row >= 0)
    for column in range(4):
        row = candidates.clusters[:, column]
        parts.append(cluster_cms[row])
        charges.append(np.zeros(n))
        present.append(row >= 0)
    there = np.stack(present, axis=1)
    signal = Particles(
        np.stack(parts, axis=1)[there],
        np.stack(charges, axis=1)[there],
        np.concatenate([[0], np.cumsum(there.sum(axis=1))]),
    )
    return SplitEvents(
        signal=signal,
        daughters=Particles(daughters, of_meson, 2 * np.arange(n + 1)),
        rest=Particles(rest, rest_charge, rest_offsets),
        closest_masses=_closest(
            candidates.event,
            candidates.clusters,
            clusters.offsets,
            clusters.momenta,
            np.array(list(VETO_MASSES.values())),
        ),
    )


@njit(cache=True)
def _rest(  # type: ignore[no-untyped-def]
    event, own_tracks, own_clusters, track_offsets, cluster_offsets, track_cms, charge, cluster_cms
):
    n = len(event)
    offsets = np.zeros(n + 1, np.int64)
    for c in range(n):
        e = event[c]
        own = (own_tracks[c] >= 0).sum() + (own_clusters[c] >= 0).sum()
        everything = track_offsets[e + 1] - track_offsets[e] + cluster_offsets[e + 1] - cluster_offsets[e]
        offsets[c + 1] = offsets[c] + everything - own
    momenta, charges = np.empty((offsets[n], 4)), np.empty(offsets[n])
    for c in range(n):
        e, at = event[c], offsets[c]
        for row in range(track_offsets[e], track_offsets[e + 1]):
            if row not in (own_tracks[c, 0], own_tracks[c, 1], own_tracks[c, 2]):
                momenta[at], charges[at] = track_cms[row], charge[row]
                at += 1
        for row in range(cluster_offsets[e], cluster_offsets[e + 1]):
            own_row = own_clusters[c]
            if row not in (own_row[0], own_row[1], own_row[2], own_row[3]):
                momenta[at], charges[at] = cluster_cms[row], 0.0
                at += 1
    return momenta, charges, offsets


@njit(cache=True)
def _closest(event, own_clusters, cluster_offsets, photon_four, wanted):  # type: ignore[no-untyped-def]
    out = np.zeros((len(event), len(wanted)))
    for c in range(len(event)):
        e = event[c]
        for row in range(cluster_offsets[e], cluster_offsets[e + 1]):
            own_row = own_clusters[c]
            if row in (own_row[0], own_row[1], own_row[2], own_row[3]):
                continue
            for which in range(2):
                own = own_clusters[c, which]
                m2 = (photon_four[row, 3] + photon_four[own, 3]) ** 2
                for axis in range(3):
                    m2 -= (photon_four[row, axis] + photon_four[own, axis]) ** 2
                m = np.sqrt(max(m2, 0.0))
                for k in range(len(wanted)):
                    if abs(m - wanted[k]) < abs(out[c, k] - wanted[k]):
                        out[c, k] = m
    return out
