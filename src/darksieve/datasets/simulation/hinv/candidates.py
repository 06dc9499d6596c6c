"""From generated events to rows of the ntuple."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.features.particles import Particles
from darksieve.datasets.simulation.bfactory.calorimeter import measure_clusters
from darksieve.datasets.simulation.bfactory.detected import DetectedBatch
from darksieve.datasets.simulation.bfactory.kshorts import find_kshorts
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch
from darksieve.datasets.simulation.bfactory.tracks import measure_tracks
from darksieve.datasets.simulation.hinv.columns import candidate_columns, shape_columns, truth_columns
from darksieve.datasets.simulation.hinv.h_candidates import HCandidates, fast_enough, find_h
from darksieve.datasets.simulation.hinv.matching import event_objects, h_is_true, true_bs
from darksieve.datasets.simulation.hinv.objects import EventObjects
from darksieve.datasets.simulation.hinv.pairs import (
    WRONG,
    Pairs,
    pair_with_tags,
    rest_of_event,
    select_pairs,
    taken,
)
from darksieve.datasets.simulation.hinv.settings import HinvSettings
from darksieve.datasets.simulation.ntuple import Columns

Integers = NDArray[np.int64]


def candidate_rows(
    rng: np.random.Generator, batch: ParticleBatch, settings: HinvSettings, channel: str | None
) -> tuple[Columns, Integers]:
    """All candidates of a batch that pass the loose selection.

    Args:
        channel: Name of the signal's channel; None for a background.

    Returns:
        Branch name -> values, all but the event key, and the event of each row; rows of an event follow one
        another.
    """
    beams, tag, selection = settings.beams, settings.tag, settings.selection
    objects = event_objects(batch, _detected(rng, batch, settings), beams)
    found = fast_enough(
        find_h(objects, settings.channels, selection), beams.sqrt_s / 2, tag.min_mbc, selection.min_momentum
    )
    pairs = pair_with_tags(rng, objects, found, true_bs(batch, beams, tag), beams, tag)
    rest = rest_of_event(rng, objects, pairs, tag)
    kept, recoiling = select_pairs(found, pairs, rest, beams, tag, selection)
    pairs, rest = taken(pairs, kept), rest.taken(kept)
    particles = _tag_particles(batch, objects, pairs, settings)
    truth = h_is_true(batch, objects, found, channel)
    columns = (
        candidate_columns(found, pairs, rest, recoiling, np.diff(particles.offsets), beams)
        | shape_columns(particles, objects, found, pairs, beams)
        | truth_columns(pairs, truth, _h_pdg(batch, objects, found), batch)
    )
    return columns, pairs.event


def _detected(rng: np.random.Generator, batch: ParticleBatch, settings: HinvSettings) -> DetectedBatch:
    tracks = measure_tracks(rng, batch, settings.tracking, settings.identification)
    clusters = measure_clusters(
        rng, batch, settings.calorimeter, settings.showers, settings.selection.min_cluster_energy
    )
    return DetectedBatch(tracks, clusters, find_kshorts(rng, batch, tracks, settings.tracking))


def _tag_particles(
    batch: ParticleBatch, objects: EventObjects, pairs: Pairs, settings: HinvSettings
) -> Particles:
    """Particles of the tags in the CMS: the true ones of a right tag, the measured ones of a wrong one."""
    is_right = pairs.b != WRONG
    flat, offsets = pairs.in_tag
    of_wrong = np.repeat(np.arange(len(pairs)), np.diff(offsets))
    chosen = ~is_right[of_wrong]
    rows, momenta, charge = (
        [of_wrong[chosen]],
        [objects.momentum[flat[chosen]]],
        [objects.charge[flat[chosen]]],
    )
    right = np.flatnonzero(is_right)
    counts = np.diff(batch.offsets)[pairs.event[right]]
    row = np.repeat(right, counts)
    starts = np.repeat(batch.offsets[:-1][pairs.event[right]], counts)
    place = starts + np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    own = batch.is_final[place] & (batch.ancestor[place] == pairs.b[row])
    rows.append(row[own])
    momenta.append(settings.beams.to_cms(batch.momenta[place[own]]))
    charge.append(_charge(batch.pdg[place[own]]))
    order = np.argsort(np.concatenate(rows), kind="stable")
    per_row = np.bincount(np.concatenate(rows), minlength=len(pairs))
    return Particles(
        np.concatenate(momenta)[order],
        np.concatenate(charge)[order].astype(np.float64),
        np.concatenate([[0], np.cumsum(per_row)]),
    )


def _charge(pdg: NDArray[np.int32]) -> Integers:
    """Charges of final particles of a right tag: leptons, pions, kaons, protons and photons."""
    kind = np.abs(pdg)
    sign = np.sign(pdg).astype(np.int64)
    return np.where(np.isin(kind, (211, 321, 2212)), sign, np.where(np.isin(kind, (11, 13)), -sign, 0))


def _h_pdg(batch: ParticleBatch, objects: EventObjects, found: HCandidates) -> Integers:
    """True particle numbers of the first objects of h, 0 without one or where h is no track."""
    particle = objects.particle[found.objects[:, 0]]
    return np.where((particle >= 0) & (found.objects[:, 1] < 0), batch.pdg[particle], 0).astype(np.int64)
