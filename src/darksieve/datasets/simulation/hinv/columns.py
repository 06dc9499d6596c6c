"""Branches of B → h X candidates, named as basf2 names such quantities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.beams import Beams
from darksieve.datasets.features.event_shapes import EVENT_SHAPES, event_shapes
from darksieve.datasets.features.particles import Particles
from darksieve.datasets.names import root_name
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch
from darksieve.datasets.simulation.hinv.h_candidates import HCandidates
from darksieve.datasets.simulation.hinv.objects import EventObjects
from darksieve.datasets.simulation.hinv.pairs import WRONG, Pairs, RestOfEvent
from darksieve.datasets.simulation.hinv.recoil import Recoil
from darksieve.datasets.simulation.ntuple import Columns
from darksieve.datasets.simulation.phase_space import invariant_mass

Integers = NDArray[np.int64]

# a tag's primary daughters are its final particles here: the moments of the latter would be the same again
SHAPES = tuple(name for name in EVENT_SHAPES if not name.endswith(",FS1)"))
MASS_BRANCH = "genM_X"
WEIGHT_BRANCH = "genTagWeight"


def shape_columns(
    signal: Particles, objects: EventObjects, candidates: HCandidates, pairs: Pairs, beams: Beams
) -> Columns:
    """Event shapes of tags against all else: h and the rest of the event.

    Args:
        signal: The particles of each tag, in the CMS.
    """
    made_of = candidates.objects[pairs.candidate]
    there = made_of >= 0
    flat, offsets = pairs.in_rest
    rows = np.concatenate([np.nonzero(there)[0], np.repeat(np.arange(len(pairs)), np.diff(offsets))])
    places = np.concatenate([made_of[there], flat])
    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=len(pairs))
    rest = Particles(
        objects.momentum[places[order]],
        objects.charge[places[order]].astype(np.float64),
        np.concatenate([[0], np.cumsum(counts)]),
    )
    made = event_shapes(signal, rest, beams)
    return {root_name(name): made[name].astype(np.float32) for name in SHAPES}


def candidate_columns(
    candidates: HCandidates,
    pairs: Pairs,
    rest: RestOfEvent,
    found: Recoil,
    tag_particles: Integers,
    beams: Beams,
) -> Columns:
    """Branches of h, tag and recoil.

    Args:
        tag_particles: Number of particles of each tag, shape (n,).
    """
    h = pairs.candidate
    momentum = candidates.momentum[h]
    in_lab = beams.to_lab(momentum)
    size = np.sqrt((momentum[:, :3] ** 2).sum(axis=1))
    tag = pairs.tags
    numbers: dict[str, NDArray] = {
        "p_h": found.momentum,
        "M2_X": found.mass_squared,
        "missingMass2": found.missing_mass_squared,
        "missingMomentum_theta": found.missing_theta,
        "h_pCMS": size,
        "h_cosThetaCMS": momentum[:, 2] / size,
        "h_px": in_lab[:, 0],
        "h_py": in_lab[:, 1],
        "h_pz": in_lab[:, 2],
        "h_E": in_lab[:, 3],
        "h_M": invariant_mass(momentum),
        "h_PID": candidates.pid[h],
        "h_daughterM": candidates.daughter_mass[h],
        "h_cosHelicityAngle": candidates.cos_helicity[h],
        "tag_Mbc": tag.mbc,
        "tag_deltaE": tag.delta_e,
        "tag_SignalProbability": tag.probability,
        "extraEnergy": rest.energy,
    }
    whole: dict[str, NDArray] = {
        "channel": candidates.channel[h],
        "h_charge": candidates.charge[h],
        "h_flavour": candidates.flavour[h],
        "h_decayMode": candidates.decay[h],
        "tag_nParticles": tag_particles,
        "nExtraTracks": rest.tracks,
        "nExtraClusters": rest.clusters,
    }
    columns: Columns = {name: values.astype(np.float32) for name, values in numbers.items()}
    return columns | {name: values.astype(np.int32) for name, values in whole.items()}


def truth_columns(
    pairs: Pairs,
    h_is_true: NDArray[np.bool_],
    h_pdg: Integers,
    batch: ParticleBatch,
) -> Columns:
    """Truth branches, which no classifier may see.

    Args:
        h_is_true: Of each candidate of h.
        h_pdg: True particle number of each candidate of h that is a track, 0 else.
        batch: Of which the mass of X, the number of the decay, and the weight before the tag are taken.
    """
    h = pairs.candidate
    is_right = pairs.b != WRONG
    return {
        "isSignal": (is_right & h_is_true[h]).astype(np.int32),
        "genTagIsRight": is_right.astype(np.int32),
        "h_isSignal": h_is_true[h].astype(np.int32),
        "h_mcPDG": h_pdg[h].astype(np.int32),
        "genSubmode": batch.submode[pairs.event].astype(np.int32),
        MASS_BRANCH: batch.mass[pairs.event].astype(np.float32),
        WEIGHT_BRANCH: (pairs.weight * batch.weight[pairs.event]).astype(np.float32),
    }
