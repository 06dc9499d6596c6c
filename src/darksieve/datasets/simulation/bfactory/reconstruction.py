"""Reconstruction of B → K(*) a, a → γγ: every combination of what was detected that may be one."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from darksieve.constants import KSTAR_PLUS_MASS, KSTAR_ZERO_MASS, PI0_MASS
from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.detected import (
    KAON,
    PION,
    Clusters,
    DetectedBatch,
    KShorts,
    Tracks,
)
from darksieve.datasets.simulation.bfactory.detector import as_floats
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch, no_events
from darksieve.datasets.simulation.bfactory.settings import Preselection
from darksieve.datasets.simulation.photons.clusters import SHAPES

MAX_MESONS = 400  # K(*) candidates of one event; the rest is left out, which no event came near
K_PLUS, K_SHORT, K_SHORT_PION, K_PLUS_PI0, K_PLUS_PION = range(5)  # numbers of signals.SUBMODES

_Numbers = namedtuple("_Numbers", [f.name for f in fields(Preselection)])  # type: ignore[misc]  # what numba understands


@dataclass(frozen=True)
class BCandidates:
    """Candidates of B → K(*) a, ordered by event.

    Attributes:
        event: Place of the event in its batch, shape (n,).
        submode: Final state of the meson, a number of ``signals.SUBMODES``, shape (n,).
        meson: Laboratory four-momentum of the K or K* in GeV, shape (n, 4).
        tracks: Places of its tracks (K+; π π of K_S; π π of K_S and π; K+; K+ and π), -1 for none,
            shape (n, 3).
        clusters: Places of the harder and the softer photon of a and of the two of a π0, -1 for none,
            shape (n, 4).
        kshort: Place of the K_S, -1 for none, shape (n,).
        mbc: Beam-constrained mass in GeV, shape (n,).
        delta_e: Energy of B minus that of the beam, centre-of-mass system, GeV, shape (n,).
    """

    event: NDArray[np.int64]
    submode: NDArray[np.int64]
    meson: NDArray[np.float64]
    tracks: NDArray[np.int64]
    clusters: NDArray[np.int64]
    kshort: NDArray[np.int64]
    mbc: NDArray[np.float64]
    delta_e: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.event)


def reconstruct(detected: DetectedBatch, beams: Beams, preselection: Preselection) -> BCandidates:
    """All candidates that pass the preselection and leave something for the rest of the event.

    No track or cluster is used twice in a candidate.
    """
    tracks, clusters, kshorts = detected.tracks, detected.clusters, detected.kshorts
    identity = tracks.probabilities
    near = (tracks.dr < preselection.max_dr_cm) & (np.abs(tracks.dz) < preselection.max_dz_cm)
    values = _reconstruct(
        tracks.offsets,
        near & (identity[:, KAON] > preselection.min_kaon_id),
        near & (identity[:, PION] > preselection.min_pion_id),
        tracks.four_momenta(KAON),
        tracks.four_momenta(PION),
        tracks.charge,
        clusters.offsets,
        clusters.momenta,
        kshorts.offsets,
        kshorts.momenta,
        kshorts.tracks,
        beams.lab_to_cms,
        0.5 * beams.sqrt_s,
        _Numbers(*as_floats(preselection)),
    )
    return BCandidates(*values)


def no_candidates() -> tuple[ParticleBatch, DetectedBatch, BCandidates]:
    """A batch without events, what is detected of it, and its candidates."""
    whole, offsets = np.empty(0, np.int64), np.zeros(1, np.int64)
    reals, four = np.empty(0), np.empty((0, 4))
    numbers = np.empty(0, np.int32)
    small = np.empty(0, np.int8)
    tracks = Tracks(offsets, np.empty((0, 3)), small, np.empty((0, 5)), reals, reals, whole)
    clusters = Clusters(
        offsets, four, reals, reals, numbers, np.empty((0, len(SHAPES))), numbers, whole, whole
    )
    kshorts = KShorts(offsets, four, reals, reals, np.empty((0, 2), np.int64), whole)
    candidates = BCandidates(
        whole, whole, four, np.empty((0, 3), np.int64), np.empty((0, 4), np.int64), whole, reals, reals
    )
    return no_events(), DetectedBatch(tracks, clusters, kshorts), candidates


@njit(cache=True)
def _add(mesons, used, n, four, submode, t0, t1, t2, c0, c1, kshort):  # type: ignore[no-untyped-def]
    if n >= MAX_MESONS:
        return n
    mesons[n] = four
    used[n, 0], used[n, 1], used[n, 2], used[n, 3] = submode, t0, t1, t2
    used[n, 4], used[n, 5], used[n, 6] = c0, c1, kshort
    return n + 1


@njit(cache=True)
def _mass(four):  # type: ignore[no-untyped-def]
    return np.sqrt(max(four[3] ** 2 - four[0] ** 2 - four[1] ** 2 - four[2] ** 2, 0.0))


@njit(cache=True)
def _mesons(  # type: ignore[no-untyped-def]
    tracks, is_kaon, is_pion, as_kaon, as_pion, charge, photons, photon_four, kshorts, kshort_four,
    kshort_tracks, cuts, mesons, used,
):  # fmt: skip
    """K+, K_S, K*+ and K*0 of one event; ``tracks``, ``photons``, ``kshorts`` are its ranges."""
    n = 0
    for i in range(tracks[0], tracks[1]):
        if is_kaon[i]:
            n = _add(mesons, used, n, as_kaon[i], K_PLUS, i, -1, -1, -1, -1, -1)
    for k in range(kshorts[0], kshorts[1]):
        first, second = kshort_tracks[k, 0], kshort_tracks[k, 1]
        n = _add(mesons, used, n, kshort_four[k], K_SHORT, first, second, -1, -1, -1, k)
        for i in range(tracks[0], tracks[1]):
            if not is_pion[i] or i in (first, second):
                continue
            four = kshort_four[k] + as_pion[i]
            if abs(_mass(four) - KSTAR_PLUS_MASS) < cuts.kstar_half_width:
                n = _add(mesons, used, n, four, K_SHORT_PION, first, second, i, -1, -1, k)
    for i in range(tracks[0], tracks[1]):
        if not is_kaon[i]:
            continue
        for j in range(tracks[0], tracks[1]):
            if i == j or not is_pion[j] or charge[i] == charge[j]:
                continue
            four = as_kaon[i] + as_pion[j]
            if abs(_mass(four) - KSTAR_ZERO_MASS) < cuts.kstar_half_width:
                n = _add(mesons, used, n, four, K_PLUS_PION, i, j, -1, -1, -1, -1)
        for c in range(photons[0], photons[1]):
            if photon_four[c, 3] < cuts.min_pi0_photon_energy:
                continue
            for d in range(c + 1, photons[1]):
                if photon_four[d, 3] < cuts.min_pi0_photon_energy:
                    continue
                pi0 = photon_four[c] + photon_four[d]
                if abs(_mass(pi0) - PI0_MASS) > cuts.pi0_half_width:
                    continue
                four = as_kaon[i] + pi0
                if abs(_mass(four) - KSTAR_PLUS_MASS) < cuts.kstar_half_width:
                    n = _add(mesons, used, n, four, K_PLUS_PI0, i, -1, -1, c, d, -1)
    return n


@njit(cache=True)
def _to_cms(matrix, four, out):  # type: ignore[no-untyped-def]
    for i in range(4):
        total = 0.0
        for j in range(4):
            total += matrix[i, j] * four[j]
        out[i] = total


@njit(cache=True)
def _reconstruct(  # type: ignore[no-untyped-def]
    track_offsets, is_kaon, is_pion, as_kaon, as_pion, charge, cluster_offsets, photon_four,
    kshort_offsets, kshort_four, kshort_tracks, lab_to_cms, beam_energy, cuts,
):  # fmt: skip
    size = 1024
    out_four, out_mass = np.empty((size, 4)), np.empty((size, 2))
    out = np.empty((size, 10), np.int64)
    mesons, used = np.empty((MAX_MESONS, 4)), np.empty((MAX_MESONS, 7), np.int64)
    meson_cms = np.empty(4)
    photon_cms = np.empty((len(photon_four), 4))
    for c in range(len(photon_four)):
        _to_cms(lab_to_cms, photon_four[c], photon_cms[c])
    low, high = beam_energy - cuts.max_abs_delta_e, beam_energy + cuts.max_abs_delta_e
    most_p2 = beam_energy**2 - cuts.min_mbc**2
    n = 0
    for event in range(len(track_offsets) - 1):
        tracks = (track_offsets[event], track_offsets[event + 1])
        photons = (cluster_offsets[event], cluster_offsets[event + 1])
        kshorts = (kshort_offsets[event], kshort_offsets[event + 1])
        n_mesons = _mesons(
            tracks, is_kaon, is_pion, as_kaon, as_pion, charge, photons, photon_four, kshorts, kshort_four,
            kshort_tracks, cuts, mesons, used,
        )  # fmt: skip
        for k in range(n_mesons):
            _to_cms(lab_to_cms, mesons[k], meson_cms)
            for c in range(photons[0], photons[1]):
                if photon_four[c, 3] < cuts.min_alp_photon_energy or c in (used[k, 4], used[k, 5]):
                    continue
                for d in range(c + 1, photons[1]):
                    if photon_four[d, 3] < cuts.min_alp_photon_energy:
                        continue
                    energy = meson_cms[3] + photon_cms[c, 3] + photon_cms[d, 3]
                    if not low < energy < high or d in (used[k, 4], used[k, 5]):
                        continue
                    p2 = 0.0
                    for axis in range(3):
                        p2 += (meson_cms[axis] + photon_cms[c, axis] + photon_cms[d, axis]) ** 2
                    if p2 > most_p2:
                        continue
                    m2 = (photon_four[c, 3] + photon_four[d, 3]) ** 2
                    for axis in range(3):
                        m2 -= (photon_four[c, axis] + photon_four[d, axis]) ** 2
                    if m2 < cuts.min_alp_mass**2:
                        continue
                    own = (used[k, 1:4] >= 0).sum() + (used[k, 4:6] >= 0).sum() + 2
                    if tracks[1] - tracks[0] + photons[1] - photons[0] == own:
                        continue  # nothing is left for the rest of the event
                    if n == size:
                        size *= 2
                        out_four, out_mass, out = _grown(out_four, out_mass, out, size)
                    out_four[n] = mesons[k]
                    out_mass[n, 0] = np.sqrt(beam_energy**2 - p2)
                    out_mass[n, 1] = energy - beam_energy
                    harder, softer = (c, d) if photon_four[c, 3] >= photon_four[d, 3] else (d, c)
                    out[n, 0], out[n, 1] = event, used[k, 0]
                    for i in range(3):
                        out[n, 2 + i] = used[k, 1 + i]
                    out[n, 5], out[n, 6], out[n, 7], out[n, 8] = harder, softer, used[k, 4], used[k, 5]
                    out[n, 9] = used[k, 6]
                    n += 1
    return (
        out[:n, 0].copy(), out[:n, 1].copy(), out_four[:n], out[:n, 2:5].copy(), out[:n, 5:9].copy(),
        out[:n, 9].copy(), out_mass[:n, 0].copy(), out_mass[:n, 1].copy(),
    )  # fmt: skip


@njit(cache=True)
def _grown(four, mass, out, size):  # type: ignore[no-untyped-def]
    n = len(four)
    new_four, new_mass = np.empty((size, 4)), np.empty((size, 2))
    new_out = np.empty((size, out.shape[1]), np.int64)
    new_four[:n], new_mass[:n], new_out[:n] = four, mass, out
    return new_four, new_mass, new_out
