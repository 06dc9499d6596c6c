"""Photons and hadrons in the toy calorimeter: clusters, merged ones, split-offs and those of the beams."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import fields

import numpy as np
from numba import njit

from darksieve.datasets.simulation.bfactory.detected import Clusters
from darksieve.datasets.simulation.bfactory.detector import HadronShowers, as_floats
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch
from darksieve.datasets.simulation.photons.clusters import (
    BEAM_BACKGROUND,
    MERGED,
    PHOTON,
    SHAPES,
    SPLIT_OFF,
    draw_shapes,
)
from darksieve.datasets.simulation.photons.detector import Detector
from darksieve.datasets.simulation.photons.response import (
    beside,
    measured_direction,
    measured_share,
    region,
)

MAX_CLUSTERS = 96  # of one event; the softest particles come last in Pythia, and none had half as many

# what numba understands
_Calorimeter = namedtuple("_Calorimeter", [f.name for f in fields(Detector)])  # type: ignore[misc]
_Showers = namedtuple("_Showers", [f.name for f in fields(HadronShowers)])  # type: ignore[misc]


def measure_clusters(
    rng: np.random.Generator,
    particles: ParticleBatch,
    calorimeter: Detector,
    showers: HadronShowers,
    min_energy: float,
) -> Clusters:
    """Clusters without a track, of at least ``min_energy`` (GeV, laboratory).

    Photons are taken to come from the collision; those of K_S → π0π0 come from a little beside it.
    """
    values = _measure(
        rng,
        particles.offsets,
        particles.pdg,
        particles.momenta,
        particles.is_final,
        _Calorimeter(*as_floats(calorimeter)),
        _Showers(*as_floats(showers)),
        float(min_energy),
    )
    return Clusters(*values)


@njit(cache=True)
def _merge(rng, photon, unit, det, merged_with):  # type: ignore[no-untyped-def]
    """Pairs up photons that the calorimeter does not tell apart."""
    n = len(photon)
    reach = np.cos(det.merge_angle_rad + 12 * det.merge_width_rad)
    for i in range(n):
        merged_with[i] = -1
    for i in range(n):
        for j in range(i + 1, n):
            if merged_with[i] >= 0 or merged_with[j] >= 0:
                continue
            cosine = unit[i, 0] * unit[j, 0] + unit[i, 1] * unit[j, 1] + unit[i, 2] * unit[j, 2]
            if cosine < reach:
                continue
            steps = (np.arccos(min(cosine, 1.0)) - det.merge_angle_rad) / det.merge_width_rad
            if rng.random() < 1 / (1 + np.exp(steps)):
                merged_with[i], merged_with[j] = j, i


@njit(cache=True)
def _measure(rng, offsets, pdg, momenta, is_final, det, showers, min_energy):  # type: ignore[no-untyped-def]
    n_events = len(offsets) - 1
    new_offsets = np.zeros(n_events + 1, np.int64)
    size = 1024 + 20 * n_events
    four, shapes = np.empty((size, 4)), np.empty((size, len(SHAPES)))
    angles, labels = np.empty((size, 2)), np.empty((size, 4), np.int64)
    photon, unit = np.empty(MAX_CLUSTERS, np.int64), np.empty((MAX_CLUSTERS, 3))
    merged_with = np.empty(MAX_CLUSTERS, np.int64)
    energy, theta, phi = np.empty(MAX_CLUSTERS), np.empty(MAX_CLUSTERS), np.empty(MAX_CLUSTERS)
    opening, kind = np.empty(MAX_CLUSTERS), np.empty(MAX_CLUSTERS, np.int64)
    truth, partner = np.empty(MAX_CLUSTERS, np.int64), np.empty(MAX_CLUSTERS, np.int64)
    n_out = 0
    for event in range(n_events):
        n_photons, n = 0, 0
        for row in range(offsets[event], offsets[event + 1]):
            if not is_final[row]:
                continue
            number = abs(pdg[row])
            e = momenta[row, 3]
            if number == 22:
                if e > 0.5 * min_energy and n_photons < MAX_CLUSTERS:
                    photon[n_photons] = row
                    for axis in range(3):
                        unit[n_photons, axis] = momenta[row, axis] / e
                    n_photons += 1
                continue
            is_neutral = number in (130, 2112)
            if not is_neutral and number not in (211, 321, 2212):
                continue
            probability = showers.neutral_probability if is_neutral else showers.charged_probability
            if rng.random() > probability or n >= MAX_CLUSTERS:
                continue
            p = np.sqrt(momenta[row, 0] ** 2 + momenta[row, 1] ** 2 + momenta[row, 2] ** 2)
            scale = showers.neutral_scale if is_neutral else showers.charged_scale
            energy[n] = min(showers.threshold + scale * rng.standard_exponential(), p)
            theta[n] = np.arccos(momenta[row, 2] / p)
            phi[n] = np.arctan2(momenta[row, 1], momenta[row, 0])
            if not is_neutral:
                away = showers.charged_angle_rad * rng.standard_exponential()
                theta[n], phi[n] = beside(theta[n], phi[n], away, 2 * np.pi * rng.random())
            kind[n], truth[n], partner[n], opening[n] = SPLIT_OFF, row, -1, 0.0
            n += 1

        _merge(rng, photon[:n_photons], unit, det, merged_with)
        for i in range(n_photons):
            j = merged_with[i]
            if (0 <= j < i) or n >= MAX_CLUSTERS:
                continue
            row = photon[i]
            px, py, pz, e = momenta[row, 0], momenta[row, 1], momenta[row, 2], momenta[row, 3]
            angle = 0.0
            if j >= 0:
                other = photon[j]
                cosine = unit[i, 0] * unit[j, 0] + unit[i, 1] * unit[j, 1] + unit[i, 2] * unit[j, 2]
                angle = np.arccos(min(cosine, 1.0))
                px, py, pz = px + momenta[other, 0], py + momenta[other, 1], pz + momenta[other, 2]
                e += momenta[other, 3]
            true_theta, true_phi = np.arctan2(np.hypot(px, py), pz), np.arctan2(py, px)
            if region(true_theta, det) == 0 or rng.random() > det.photon_efficiency:
                continue
            if rng.random() < det.split_off_probability and n + 1 < MAX_CLUSTERS:
                scale = det.split_off_scale + det.split_off_slope * e
                part = det.split_off_threshold + scale * rng.standard_exponential()
                if part < 0.5 * e:
                    away = det.split_off_min_angle_rad
                    away += det.split_off_angle_scale_rad * rng.standard_exponential()
                    theta[n], phi[n] = beside(true_theta, true_phi, away, 2 * np.pi * rng.random())
                    energy[n] = part
                    kind[n], truth[n], partner[n], opening[n] = SPLIT_OFF, row, -1, 0.0
                    n += 1
                    e -= part
            share = measured_share(rng, e, det)
            if share <= 0:
                continue
            energy[n] = e * share
            theta[n], phi[n] = measured_direction(rng, true_theta, true_phi, e, det)
            kind[n] = MERGED if j >= 0 else PHOTON
            truth[n], partner[n], opening[n] = row, (photon[j] if j >= 0 else -1), angle
            n += 1

        for _ in range(rng.poisson(det.beam_background_mean)):
            if n >= MAX_CLUSTERS:
                break
            span = det.backward_end_deg - det.forward_start_deg
            theta[n] = np.pi / 180 * (det.forward_start_deg + rng.random() * span)
            phi[n] = np.pi * (2 * rng.random() - 1)
            energy[n] = det.beam_background_threshold + det.beam_background_scale * rng.standard_exponential()
            kind[n], truth[n], partner[n], opening[n] = BEAM_BACKGROUND, -1, -1, 0.0
            n += 1

        if n_out + n > size:
            grown = 2 * size + n
            four, shapes = _grown(four, grown), _grown(shapes, grown)
            angles, labels = _grown(angles, grown), _grown(labels, grown)
            size = grown
        for c in range(n):
            part_of = region(theta[c], det)
            if energy[c] < min_energy or part_of == 0:
                continue
            st = np.sin(theta[c])
            four[n_out, 0] = energy[c] * st * np.cos(phi[c])
            four[n_out, 1] = energy[c] * st * np.sin(phi[c])
            four[n_out, 2] = energy[c] * np.cos(theta[c])
            four[n_out, 3] = energy[c]
            angles[n_out, 0], angles[n_out, 1] = theta[c], phi[c]
            draw_shapes(rng, kind[c], energy[c], part_of, opening[c], shapes[n_out])
            labels[n_out, 0], labels[n_out, 1] = part_of, kind[c]
            labels[n_out, 2], labels[n_out, 3] = truth[c], partner[c]
            n_out += 1
        new_offsets[event + 1] = n_out
    return (
        new_offsets, four[:n_out], angles[:n_out, 0].copy(), angles[:n_out, 1].copy(),
        labels[:n_out, 0].astype(np.int32), shapes[:n_out], labels[:n_out, 1].astype(np.int32),
        labels[:n_out, 2].copy(), labels[:n_out, 3].copy(),
    )  # fmt: skip


@njit(cache=True)
def _grown(values, size):  # type: ignore[no-untyped-def]
    out = np.empty((size, values.shape[1]), values.dtype)
    out[: len(values)] = values
    return out
