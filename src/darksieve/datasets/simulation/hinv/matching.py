"""From the toy detector to lists of objects, and from these back to the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.detected import DetectedBatch
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch, Position
from darksieve.datasets.simulation.hinv.channels import CHANNELS
from darksieve.datasets.simulation.hinv.h_candidates import CHANNEL_NUMBERS, HCandidates
from darksieve.datasets.simulation.hinv.objects import EventObjects
from darksieve.datasets.simulation.hinv.pairs import TrueBs
from darksieve.datasets.simulation.hinv.tag import TagSettings, right_tag_efficiency, tag_content
from darksieve.datasets.simulation.photons.clusters import MERGED, PHOTON

Integers = NDArray[np.int64]

_PHOTON_PDG = 22
_B_PDGS = (511, 521)
_SEEN_OF_H = (
    Position.MESON,
    Position.MESON_DAUGHTER,
    Position.MESON_PI0_PHOTON,
    Position.KSHORT_PION,
)


def event_objects(batch: ParticleBatch, detected: DetectedBatch, beams: Beams) -> EventObjects:
    """Tracks and clusters as one list, tracks of an event before its clusters."""
    tracks, clusters = detected.tracks, detected.clusters
    event = np.concatenate([_events(tracks.offsets), _events(clusters.offsets)])
    order = np.argsort(event, kind="stable")
    in_lab = np.concatenate([tracks.four_momenta(tracks.best_hypothesis), clusters.momenta])[order]
    n_tracks, n_clusters = len(tracks.charge), len(clusters.kind)
    truth = np.concatenate([tracks.truth, clusters.truth])[order].astype(np.int64)
    is_photon = (truth >= 0) & (batch.pdg[truth] == _PHOTON_PDG)
    kind = np.concatenate([np.full(n_tracks, -1), clusters.kind])[order]
    displaced = np.zeros(n_tracks, dtype=np.bool_)
    displaced[detected.kshorts.tracks.ravel()] = True
    return EventObjects(
        momentum=beams.to_cms(in_lab),
        energy_lab=in_lab[:, 3],
        charge=np.concatenate([tracks.charge, np.zeros(n_clusters)])[order].astype(np.int64),
        pid=np.concatenate([tracks.probabilities, np.zeros((n_clusters, 5))])[order],
        displaced=np.concatenate([displaced, np.zeros(n_clusters, dtype=np.bool_)])[order],
        particle=truth,
        primary=(kind == -1) | (is_photon & np.isin(kind, (PHOTON, MERGED))),
        b=np.where(truth >= 0, batch.ancestor[truth], -1).astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(event, minlength=batch.n_events))]),
    )


def _events(offsets: NDArray) -> Integers:
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def true_bs(batch: ParticleBatch, beams: Beams, settings: TagSettings) -> TrueBs:
    """The Bs of each event, with the efficiency of a tag."""
    n = batch.n_events
    event = batch.event
    final = batch.is_final
    pdg, ancestor = batch.pdg[final].astype(np.int64), batch.ancestor[final].astype(np.int64)
    content = tag_content(pdg, event[final], ancestor, n)
    momentum = np.zeros((n, 2, 4))
    rows = final & (batch.ancestor >= 0)
    np.add.at(momentum, (event[rows], batch.ancestor[rows]), batch.momenta[rows])
    kind = np.zeros((n, 2), dtype=np.int64)
    is_b = np.isin(np.abs(batch.pdg), _B_PDGS) & (batch.mother < 0)
    kind[event[is_b], batch.ancestor[is_b]] = batch.pdg[is_b]
    charged = np.abs(kind) == _B_PDGS[1]
    return TrueBs(
        momentum=beams.to_cms(momentum),
        charge=np.where(charged, np.sign(kind), 0),
        efficiency=right_tag_efficiency(content, charged, settings),
        tracks=content.tracks,
        photons=content.photons,
    )


def h_is_true(
    batch: ParticleBatch, objects: EventObjects, candidates: HCandidates, channel: str | None
) -> NDArray[np.bool_]:
    """Whether each candidate is the h of the signal, with all its particles and each as what it is.

    Args:
        channel: Name of the signal's channel; None for a background, which has no true h.
    """
    if channel is None:
        return np.zeros(len(candidates), dtype=np.bool_)
    seen = batch.is_final & np.isin(batch.position, _SEEN_OF_H)
    wanted = np.bincount(batch.event[seen], minlength=batch.n_events)
    there = candidates.objects >= 0
    particle = np.where(there, objects.particle[candidates.objects], -1)
    is_own = (particle >= 0) & seen[particle] & objects.primary[candidates.objects] & there
    ordered = np.sort(np.where(is_own, particle, -1 - np.arange(particle.shape[1])), axis=1)
    distinct = (np.diff(ordered, axis=1) != 0).all(axis=1)  # two clusters of one photon are not two photons
    as_itself = ~there | (np.abs(batch.pdg[particle]) == _assumed_pdg(candidates))
    submode = batch.submode[candidates.event] if CHANNELS[channel].decays else 0
    return (
        (candidates.channel == CHANNEL_NUMBERS[channel])
        & (candidates.decay == submode)
        & (is_own.sum(axis=1) == wanted[candidates.event])
        & (there.sum(axis=1) == wanted[candidates.event])
        & distinct
        & as_itself.all(axis=1)
    )


def _assumed_pdg(candidates: HCandidates) -> Integers:
    """Particle numbers, without sign, that the objects of each candidate are taken for, shape (n, 4)."""
    out = np.zeros(candidates.objects.shape, dtype=np.int64)
    for name, number in CHANNEL_NUMBERS.items():
        rows = candidates.channel == number
        channel = CHANNELS[name]
        if not channel.decays:
            out[rows, 0] = channel.h_pdg
        for decay in channel.decays:
            own = rows & (candidates.decay == decay.number)
            seen = decay.objects
            out[own, : len(seen)] = seen
    return out
