"""Measurement of true photons by the toy detector: losses, smearing, merging, fakes, and the preselection."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import asdict, fields
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.photons.clusters import (
    BEAM_BACKGROUND,
    MERGED,
    PHOTON,
    SHAPES,
    SPLIT_OFF,
    draw_shapes,
)
from darksieve.datasets.simulation.photons.detector import Detector, Selection
from darksieve.datasets.simulation.photons.response import (
    beside,
    measured_direction,
    measured_share,
    region,
)

MAX_CLUSTERS = 32
_Numbers = namedtuple("_Numbers", [f.name for f in fields(Detector)])  # type: ignore[misc]  # what numba understands


class MeasuredEvents(NamedTuple):
    """Events that pass the preselection, clusters ordered by measured CMS energy, hardest first.

    There are as many places as the selection has, three or four; where an event has fewer clusters, the last
    places have NaN, region 0 and kind, photon and partner -1.

    Attributes:
        event: Position of the event among the generated ones, shape (n,).
        momenta: Measured laboratory four-momenta in GeV, shape (n, n_places, 4).
        angles: Measured theta and phi, shape (n, n_places, 2).
        shapes: Cluster variables in the order of ``clusters.SHAPES``, shape (n, n_places, n_shapes).
        region: Part of the calorimeter: 1 forward, 2 barrel, 3 backward, shape (n, n_places).
        kind: What made the cluster, one of ``clusters.KINDS``, shape (n, n_places).
        photon: Position of the true photon (of the first of two merged ones, of a split-off's parent), -1 for
            beam background, shape (n, n_places).
        partner: Position of the second of two merged photons, else -1, shape (n, n_places).
    """

    event: NDArray[np.int64]
    momenta: NDArray[np.float64]
    angles: NDArray[np.float64]
    shapes: NDArray[np.float64]
    region: NDArray[np.int32]
    kind: NDArray[np.int32]
    photon: NDArray[np.int32]
    partner: NDArray[np.int32]

    @classmethod
    def none(cls, n_places: int) -> MeasuredEvents:
        """No events."""
        labels = np.empty((0, n_places), np.int32)
        return cls(
            np.empty(0, np.int64),
            np.empty((0, n_places, 4)),
            np.empty((0, n_places, 2)),
            np.empty((0, n_places, len(SHAPES))),
            labels, labels, labels, labels,
        )  # fmt: skip


def measure(
    rng: np.random.Generator,
    cms_momenta: NDArray[np.float64],
    *,
    beams: Beams,
    detector: Detector,
    selection: Selection,
    force_fake: bool = False,
) -> MeasuredEvents:
    """Passes true photons through the toy detector and keeps the events with the wanted number of clusters.

    Args:
        cms_momenta: True photon four-momenta in the CMS, GeV, shape (n, n_photons, 4).
        force_fake: Each event has at least one fake cluster above the laboratory threshold, drawn from the
            conditional distribution; the caller takes the probability of it into the cross section.
    """
    n_photons = cms_momenta.shape[1]
    if cms_momenta.ndim != 3 or cms_momenta.shape[2] != 4 or not 1 <= n_photons <= 8:
        raise ValueError(f"momenta of 1 to 8 photons per event are needed, not shape {cms_momenta.shape}")
    numbers = _Numbers(**{name: float(value) for name, value in asdict(detector).items()})
    return MeasuredEvents(
        *_measure(
            rng,
            np.ascontiguousarray(cms_momenta),
            np.ascontiguousarray(beams.cms_to_lab),
            np.ascontiguousarray(beams.lab_to_cms[3]),
            numbers,
            float(selection.min_energy_cms),
            float(selection.min_energy_lab),
            selection.n_clusters[0],
            selection.n_clusters[1],
            selection.n_places,
            force_fake,
        )
    )


@njit(cache=True)
def _poisson(rng, mean):  # type: ignore[no-untyped-def]
    """Poisson number by multiplying uniforms: means are of order one or less."""
    limit = np.exp(-mean)
    n = 0
    product = rng.random()
    while product > limit:
        n += 1
        product *= rng.random()
    return n


@njit(cache=True)
def _poisson_above_zero(rng, mean):  # type: ignore[no-untyped-def]
    """Poisson number given that it is not 0, by inversion."""
    u = np.exp(-mean) + rng.random() * (1 - np.exp(-mean))
    n = 1
    term = mean * np.exp(-mean)
    cumulative = np.exp(-mean) + term
    while u > cumulative and n < MAX_CLUSTERS // 2:
        n += 1
        term *= mean / n
        cumulative += term
    return n


@njit(cache=True)
def _draw_fakes(  # type: ignore[no-untyped-def]
    rng, n_photons, beam_rate, split_rate, has_split_off, force_fake
):
    """Fills which photons split off; returns the number of beam-background clusters.

    Forced: the sources are taken in turn, each with its probability to be the first that fires given that
    one does; those after the first are free. This is the exact conditional distribution.
    """
    first = -1  # -1: beam background; i: photon i
    if force_fake:
        none_left = np.exp(-beam_rate)
        for i in range(n_photons):
            none_left *= 1 - split_rate[i]
        u = rng.random() * (1 - none_left)
        none_so_far = np.exp(-beam_rate)
        cumulative = 1 - none_so_far
        while u > cumulative and first < n_photons - 1:
            first += 1
            cumulative += none_so_far * split_rate[first]
            none_so_far *= 1 - split_rate[first]
    for i in range(n_photons):
        if force_fake and i <= first:
            has_split_off[i] = i == first
        else:
            has_split_off[i] = rng.random() < split_rate[i]
    if not force_fake:
        return _poisson(rng, beam_rate)
    if first == -1:
        return _poisson_above_zero(rng, beam_rate)
    return 0


@njit(cache=True)
def _measure(  # type: ignore[no-untyped-def]
    rng, cms, cms_to_lab, to_cms_energy, det, min_cms, min_lab, fewest, most, n_places, force_fake
):
    n_events, n_photons, _ = cms.shape
    index = np.empty(n_events, np.int64)
    momenta = np.full((n_events, n_places, 4), np.nan)
    angles = np.full((n_events, n_places, 2), np.nan)
    shapes = np.full((n_events, n_places, len(SHAPES)), np.nan)
    labels = np.full((4, n_events, n_places), -1, np.int32)
    labels[0] = 0
    lab = np.empty((n_photons, 4))
    split_rate = np.empty(n_photons)
    has_split_off = np.empty(n_photons, np.bool_)
    merged_with = np.empty(n_photons, np.int32)
    energy = np.empty(MAX_CLUSTERS)
    energy_cms = np.empty(MAX_CLUSTERS)
    theta = np.empty(MAX_CLUSTERS)
    phi = np.empty(MAX_CLUSTERS)
    opening = np.empty(MAX_CLUSTERS)
    kind = np.empty(MAX_CLUSTERS, np.int32)
    photon = np.empty(MAX_CLUSTERS, np.int32)
    partner = np.empty(MAX_CLUSTERS, np.int32)
    beam_above = max(min_lab - det.beam_background_threshold, 0.0)
    beam_rate = det.beam_background_mean * np.exp(-beam_above / det.beam_background_scale)
    beam_start = max(min_lab, det.beam_background_threshold)
    split_above = max(min_lab - det.split_off_threshold, 0.0)
    split_start = max(min_lab, det.split_off_threshold)
    n_out = 0
    for event in range(n_events):
        for i in range(n_photons):
            for row in range(4):
                total = 0.0
                for column in range(4):
                    total += cms_to_lab[row, column] * cms[event, i, column]
                lab[i, row] = total
            scale = det.split_off_scale + det.split_off_slope * lab[i, 3]
            split_rate[i] = det.split_off_probability * np.exp(-split_above / scale)
        n_beam = _draw_fakes(rng, n_photons, beam_rate, split_rate, has_split_off, force_fake)
        n = 0

        # split-offs take their energy from their photon; they need a photon that hits the calorimeter
        for i in range(n_photons):
            if not has_split_off[i]:
                continue
            e = lab[i, 3]
            parent_theta = np.arccos(lab[i, 2] / e)
            scale = det.split_off_scale + det.split_off_slope * e
            e_split = split_start + scale * rng.standard_exponential()
            away = det.split_off_min_angle_rad + det.split_off_angle_scale_rad * rng.standard_exponential()
            around = 2 * np.pi * rng.random()
            if e_split > 0.5 * e or region(parent_theta, det) == 0 or n == MAX_CLUSTERS:
                continue
            parent_phi = np.arctan2(lab[i, 1], lab[i, 0])
            theta[n], phi[n] = beside(parent_theta, parent_phi, away, around)
            energy[n] = e_split
            kind[n], photon[n], partner[n], opening[n] = SPLIT_OFF, i, -1, 0.0
            for row in range(4):
                lab[i, row] *= 1 - e_split / e
            n += 1

        for _ in range(n_beam):
            if n == MAX_CLUSTERS:
                break
            theta[n] = (
                np.pi
                / 180
                * (det.forward_start_deg + rng.random() * (det.backward_end_deg - det.forward_start_deg))
            )
            phi[n] = np.pi * (2 * rng.random() - 1)
            energy[n] = beam_start + det.beam_background_scale * rng.standard_exponential()
            kind[n], photon[n], partner[n], opening[n] = BEAM_BACKGROUND, -1, -1, 0.0
            n += 1

        # true photons, two close ones as one cluster
        for i in range(n_photons):
            merged_with[i] = -1
        for i in range(n_photons):
            for j in range(i + 1, n_photons):
                if merged_with[i] >= 0 or merged_with[j] >= 0:
                    continue
                dot = lab[i, 0] * lab[j, 0] + lab[i, 1] * lab[j, 1] + lab[i, 2] * lab[j, 2]
                angle = np.arccos(min(dot / (lab[i, 3] * lab[j, 3]), 1.0))
                steps = (angle - det.merge_angle_rad) / det.merge_width_rad
                if steps < 30 and rng.random() < 1 / (1 + np.exp(steps)):
                    merged_with[i] = j
                    merged_with[j] = i
        for i in range(n_photons):
            j = merged_with[i]
            if (0 <= j < i) or n == MAX_CLUSTERS:
                continue
            px, py, pz, e = lab[i, 0], lab[i, 1], lab[i, 2], lab[i, 3]
            open_angle = 0.0
            if j >= 0:
                dot = px * lab[j, 0] + py * lab[j, 1] + pz * lab[j, 2]
                open_angle = np.arccos(min(dot / (e * lab[j, 3]), 1.0))
                px, py, pz, e = px + lab[j, 0], py + lab[j, 1], pz + lab[j, 2], e + lab[j, 3]
            true_theta = np.arctan2(np.hypot(px, py), pz)
            if region(true_theta, det) == 0 or rng.random() > det.photon_efficiency:
                continue
            share = measured_share(rng, e, det)
            if share <= 0:
                continue
            energy[n] = e * share
            theta[n], phi[n] = measured_direction(rng, true_theta, np.arctan2(py, px), e, det)
            opening[n] = open_angle
            kind[n] = MERGED if j >= 0 else PHOTON
            photon[n], partner[n] = i, j
            n += 1

        # clusters that count
        n_good = 0
        for c in range(n):
            if energy[c] < min_lab or region(theta[c], det) == 0:
                energy_cms[c] = -1.0
                continue
            st = np.sin(theta[c])
            energy_cms[c] = energy[c] * (
                to_cms_energy[0] * st * np.cos(phi[c])
                + to_cms_energy[1] * st * np.sin(phi[c])
                + to_cms_energy[2] * np.cos(theta[c])
                + to_cms_energy[3]
            )
            if energy_cms[c] < min_cms:
                energy_cms[c] = -1.0
            else:
                n_good += 1
        if n_good < fewest or n_good > most:
            continue
        for place in range(min(n_good, n_places)):
            c = int(np.argmax(energy_cms[:n]))
            energy_cms[c] = -2.0
            st = np.sin(theta[c])
            momenta[n_out, place, 0] = energy[c] * st * np.cos(phi[c])
            momenta[n_out, place, 1] = energy[c] * st * np.sin(phi[c])
            momenta[n_out, place, 2] = energy[c] * np.cos(theta[c])
            momenta[n_out, place, 3] = energy[c]
            angles[n_out, place, 0] = theta[c]
            angles[n_out, place, 1] = phi[c]
            part = region(theta[c], det)
            draw_shapes(rng, kind[c], energy[c], part, opening[c], shapes[n_out, place])
            labels[0, n_out, place] = part
            labels[1, n_out, place] = kind[c]
            labels[2, n_out, place] = photon[c]
            labels[3, n_out, place] = partner[c]
        index[n_out] = event
        n_out += 1
    return (
        index[:n_out], momenta[:n_out], angles[:n_out], shapes[:n_out],
        labels[0, :n_out], labels[1, :n_out], labels[2, :n_out], labels[3, :n_out],
    )  # fmt: skip
