"""B candidates as basf2-style branches: the candidate, the rest of its event, and the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.constants import B_PLUS_MASS, B_ZERO_MASS
from darksieve.datasets.features.event_shapes import event_shapes
from darksieve.datasets.names import root_name
from darksieve.datasets.simulation.bfactory.alp_fit import constrained_mass
from darksieve.datasets.simulation.bfactory.detected import KAON, DetectedBatch
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch
from darksieve.datasets.simulation.bfactory.reconstruction import (
    K_PLUS_PI0,
    K_SHORT_PION,
    BCandidates,
)
from darksieve.datasets.simulation.bfactory.rest_of_event import (
    HAS_CHARGED_KAON,
    HAS_KSHORT,
    IS_KSTAR,
    VETO_MASSES,
    SplitEvents,
    split_events,
)
from darksieve.datasets.simulation.bfactory.settings import BFactorySettings
from darksieve.datasets.simulation.bfactory.truth import truth_numbers
from darksieve.datasets.simulation.ntuple import Columns, key_columns, rounded
from darksieve.datasets.simulation.phase_space import invariant_mass, to_rest_frame
from darksieve.datasets.simulation.photons.clusters import SHAPES

MASS_BRANCH = "genM_a"
MODE_OF_SUBMODE = np.array([0, 1, 2, 2, 3])  # K+, K_S, K*+, K*+, K*0
_IS_CHARGED_B = np.array([True, False, True, True, False])
_SHAPE_BITS = 12  # mantissa bits kept: 1e-4, far below any resolution, and files shrink
_TRACK_DISTANCE = "minC2TDist"
_CALORIMETER_RADIUS_CM = 135.0
_FARTHEST_CM = 250.0


def candidate_columns(
    candidates: BCandidates, particles: ParticleBatch, detected: DetectedBatch, settings: BFactorySettings
) -> Columns:
    """Branches of B candidates, all but the event key; float32 or int32, shape (n,) each.

    Candidates without anything in the rest of their event have no event shapes: they must have been left out.
    """
    beams = settings.beams
    split = split_events(candidates, detected, beams)
    shapes = event_shapes(split.signal, split.rest, beams, primary_daughters=split.daughters)
    floats = {
        **_of_candidate(candidates, detected, split, settings),
        **_of_photons(candidates, detected, settings),
        **_of_rest(split, settings),
        **{root_name(name): values for name, values in shapes.items()},
    }
    columns: Columns = {
        name: rounded(np.ascontiguousarray(values, dtype=np.float32), _SHAPE_BITS)
        if name not in _EXACT
        else values.astype(np.float32)
        for name, values in floats.items()
    }
    integers = {
        "mode": MODE_OF_SUBMODE[candidates.submode],
        "submode": candidates.submode,
        "deltaE_rank": _rank(candidates.event, np.abs(candidates.delta_e)),
        "deltaE_rank_in_mode": _rank(
            candidates.event * 8 + MODE_OF_SUBMODE[candidates.submode], np.abs(candidates.delta_e)
        ),
        **truth_numbers(candidates, particles, detected),
    }
    columns |= {name: np.asarray(values).astype(np.int32) for name, values in integers.items()}
    columns[MASS_BRANCH] = particles.mass[candidates.event].astype(np.float32)
    return columns


_EXACT = ("Mbc", "deltaE", "M_gg", "M_gg_fit")  # what is fitted or scanned keeps all its digits


def _of_candidate(
    candidates: BCandidates, detected: DetectedBatch, split: SplitEvents, settings: BFactorySettings
) -> dict[str, NDArray]:
    submode, tracks = candidates.submode, detected.tracks
    photons = detected.clusters.momenta[candidates.clusters[:, :2]]
    cms_photons = settings.beams.to_cms(photons)
    meson_cms = settings.beams.to_cms(candidates.meson)
    resolution = settings.calorimeter.energy_resolution(photons[:, :, 3])
    b_mass = np.where(_IS_CHARGED_B[submode], B_PLUS_MASS, B_ZERO_MASS)
    identity = tracks.probabilities[:, KAON]
    kaon = candidates.tracks[:, 0]
    alp, alp_cms = photons.sum(axis=1), cms_photons.sum(axis=1)
    b = candidates.meson + alp
    flight = np.zeros(len(candidates))
    has = HAS_KSHORT[submode]
    flight[has] = detected.kshorts.flight_cm[candidates.kshort[has]]
    pi0 = detected.clusters.momenta[candidates.clusters[:, 2:]].sum(axis=1)
    p_meson = np.sqrt((meson_cms[:, :3] ** 2).sum(axis=1))
    return {
        "Mbc": candidates.mbc,
        "deltaE": candidates.delta_e,
        "M_gg": invariant_mass(alp),
        "M_gg_fit": constrained_mass(meson_cms, cms_photons, resolution, 0.5 * settings.beams.sqrt_s, b_mass),
        "kaonID": np.where(HAS_CHARGED_KAON[submode], identity[kaon], 1.0),
        "M_K": invariant_mass(candidates.meson),
        "K_pCMS": p_meson,
        "K_flight_cm": flight,
        "M_pi0": np.where(submode == K_PLUS_PI0, invariant_mass(pi0), 0.0),
        "cosHelicityAngle_K": np.where(IS_KSTAR[submode], _meson_helicity(candidates, detected), 0.0),
        "cosHelicityAngle_a": -_cosine(to_rest_frame(photons[:, 0], alp), to_rest_frame(b, alp)),
        "cosTheta_B": (meson_cms + alp_cms)[:, 2] / _length(meson_cms + alp_cms),
        "openingAngle_a": np.arccos(np.clip(_cosine(photons[:, 0], photons[:, 1]), -1, 1)),
        **{f"M_closest_{name}": split.closest_masses[:, i] for i, name in enumerate(VETO_MASSES)},
    }


def _length(four: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt((four[:, :3] ** 2).sum(axis=1))


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine between the momenta of two four-vectors, shape (n,)."""
    return (a[:, :3] * b[:, :3]).sum(axis=1) / np.maximum(_length(a) * _length(b), 1e-30)


def _meson_helicity(candidates: BCandidates, detected: DetectedBatch) -> NDArray[np.float64]:
    """cos of the angle of the kaon in the K* frame with the direction against B; no meaning for a K."""
    kaon = detected.tracks.four_momenta_of(candidates.tracks[:, 0], np.full(len(candidates), KAON))
    neutral = candidates.submode == K_SHORT_PION
    kaon[neutral] = detected.kshorts.momenta[candidates.kshort[neutral]]
    b = candidates.meson + detected.clusters.momenta[candidates.clusters[:, :2]].sum(axis=1)
    return -_cosine(to_rest_frame(kaon, candidates.meson), to_rest_frame(b, candidates.meson))


def _of_photons(
    candidates: BCandidates, detected: DetectedBatch, settings: BFactorySettings
) -> dict[str, NDArray]:
    clusters = detected.clusters
    out: dict[str, NDArray] = {}
    for place, name in enumerate(("gamma1", "gamma2")):
        rows = candidates.clusters[:, place]
        out[f"{name}_clusterE"] = clusters.energy[rows]
        out[f"{name}_ECMS"] = settings.beams.to_cms(clusters.momenta[rows])[:, 3]
        out[f"{name}_clusterTheta"] = clusters.theta[rows]
        out[f"{name}_clusterPhi"] = clusters.phi[rows]
        out[f"{name}_clusterReg"] = clusters.region[rows]
        for number, variable in enumerate(SHAPES):
            if variable == _TRACK_DISTANCE:
                out[f"{name}_{variable}"] = _track_distance(candidates.event, rows, detected)
            else:
                out[f"{name}_{variable}"] = clusters.shapes[rows, number]
    return out


def _track_distance(
    event: NDArray[np.int64], rows: NDArray[np.int64], detected: DetectedBatch
) -> NDArray[np.float64]:
    """Distance in cm of clusters to the nearest track, drawn straight on to the calorimeter, at most 250."""
    tracks = detected.tracks
    counts = np.diff(tracks.offsets)[event]
    owner = np.repeat(np.arange(len(event)), counts)
    starts = np.cumsum(counts) - counts
    track = np.arange(len(owner)) - np.repeat(starts - tracks.offsets[event], counts)
    cluster = detected.clusters.momenta[rows][owner]
    momenta = tracks.momenta[track]
    cosine = (cluster[:, :3] * momenta).sum(axis=1) / (cluster[:, 3] * np.sqrt((momenta**2).sum(axis=1)))
    distance = 2 * _CALORIMETER_RADIUS_CM * np.sin(np.arccos(np.clip(cosine, -1, 1)) / 2)
    nearest = np.full(len(event), _FARTHEST_CM)
    np.minimum.at(nearest, owner, distance)
    return nearest


def _of_rest(split: SplitEvents, settings: BFactorySettings) -> dict[str, NDArray]:
    rest = split.rest
    n = len(rest)
    owner = np.repeat(np.arange(n), np.diff(rest.offsets))
    total = np.empty((n, 4))
    for axis in range(4):
        total[:, axis] = np.bincount(owner, rest.momenta[:, axis], n)
    charged = np.bincount(owner, rest.charge != 0, n)
    beam_energy = 0.5 * settings.beams.sqrt_s
    return {
        "roe_nTracks": charged,
        "roe_nClusters": np.diff(rest.offsets) - charged,
        "roe_charge": np.bincount(owner, rest.charge, n),
        "roe_E": total[:, 3],
        "roe_M": invariant_mass(total),
        "roe_deltaE": total[:, 3] - beam_energy,
        "roe_Mbc": np.sqrt(np.maximum(beam_energy**2 - (total[:, :3] ** 2).sum(axis=1), 0)),
    }


def _rank(group: NDArray[np.int64], value: NDArray[np.float64]) -> NDArray[np.int64]:
    """1 for the smallest value of each group, 2 for the next, ..."""
    order = np.lexsort((value, group))
    ordered = group[order]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]
    starts = np.maximum.accumulate(np.where(new, np.arange(len(ordered)), 0))
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(ordered)) - starts + 1
    return rank


def with_key(columns: Columns, event: NDArray[np.int64], first: int, *, run: int, production: int) -> Columns:
    """Branches with the event key in front; candidates of an event are numbered in their order.

    Args:
        event: Place of each candidate's event in the block, rising.
        first: Events of the sample before the block.
    """
    keys = key_columns((first + 1 + event).astype(np.uint32), run=run, production=production)
    _, inverse, counts = np.unique(event, return_inverse=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    keys["__candidate__"] = (np.arange(len(event)) - starts[inverse]).astype(np.int32)
    keys["__ncandidates__"] = counts[inverse].astype(np.int32)
    return keys | columns
