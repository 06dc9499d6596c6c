"""Events whose signal B decays to hX and whose other B to kaons, pions and photons, seen perfectly."""

import numpy as np
import pytest

from darksieve.constants import B_PLUS_MASS, B_ZERO_MASS, KAON_MASS, PION_MASS
from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.bfactory.detected import (
    HYPOTHESES,
    Clusters,
    DetectedBatch,
    KShorts,
    Tracks,
)
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch, side_by_side
from darksieve.datasets.simulation.hinv.channels import CHANNELS, INVISIBLE_PDG
from darksieve.datasets.simulation.hinv.signal_side import signal_side
from darksieve.datasets.simulation.phase_space import boosted, phase_space_at_rest, with_mass
from darksieve.datasets.simulation.photons.clusters import PHOTON, SHAPES

KIND = {11: 0, 13: 1, 211: 2, 321: 3, 2212: 4}


@pytest.fixture(scope="session")
def beams():
    return Beams.named("belle")


def _tag_side(rng, b_momenta, charge):
    """B− → K−π+π−γγ or B̄0 → K−π+γγ, against signal Bs of that charge: few bodies, all of them seen."""
    n = len(b_momenta)
    neutral = charge == 0
    pdg = np.array([-321, 211, 22, 22] if neutral else [-321, 211, -211, 22, 22])
    mass = [KAON_MASS] + [PION_MASS] * (len(pdg) - 3) + [0.0, 0.0]
    parts = phase_space_at_rest(rng, B_ZERO_MASS if neutral else B_PLUS_MASS, mass, n)
    sign = np.full(n, 1 if neutral else charge)  # that of the signal B: the tag is its antiparticle
    k = len(pdg) + 1
    momenta = np.stack([b_momenta, *(boosted(part, b_momenta) for part in parts)], axis=1)
    flavours = np.where(np.isin(pdg, [22]), pdg, sign[:, None] * pdg)
    b_pdg = -511 * sign if neutral else -521 * sign
    mother = np.concatenate([[-1], np.zeros(len(pdg), dtype=int)])
    return ParticleBatch(
        offsets=np.arange(n + 1) * k,
        pdg=np.concatenate([b_pdg[:, None], flavours], axis=1).ravel().astype(np.int32),
        momenta=momenta.reshape(-1, 4),
        vertices=np.zeros((n * k, 3)),
        mother=np.where(np.tile(mother, n) < 0, -1, np.repeat(np.arange(n) * k, k)),
        ancestor=np.ones(n * k, dtype=np.int8),
        position=np.zeros(n * k, dtype=np.int8),
        is_final=np.tile(mother >= 0, n),
        mass=np.full(n, np.nan),
        weight=np.ones(n),
        submode=np.zeros(n, dtype=np.int32),
    )


def _moving(decays, b_momenta, sign):
    """Decays at rest as those of moving Bs, half of them conjugated; X and neutral particles stay."""
    seen = decays.generated
    event = np.repeat(np.arange(len(b_momenta)), np.diff(seen.offsets))
    own = np.isin(seen.pdg, (22, 111, 310, 333, INVISIBLE_PDG))
    return ParticleBatch(
        offsets=seen.offsets,
        pdg=np.where(own, seen.pdg, sign[event] * seen.pdg).astype(np.int32),
        momenta=boosted(seen.momenta, b_momenta[event]),
        vertices=np.zeros((len(event), 3)),
        mother=seen.mother,
        ancestor=np.zeros(len(event), dtype=np.int8),
        position=decays.position,
        is_final=seen.is_final,
        mass=decays.mass,
        weight=np.ones(len(b_momenta)),
        submode=decays.submode,
    )


def _signal_events(name, n, beams, mass=1.0, seed=3):
    """B → hX of both charges against such a tag, at the Υ(4S)."""
    rng = np.random.default_rng(seed)
    channel = CHANNELS[name]
    direction = rng.standard_normal((n, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    p = np.sqrt(beams.sqrt_s**2 / 4 - channel.b_mass**2)
    one, other = (beams.to_lab(with_mass(way * p * direction, channel.b_mass)) for way in (1, -1))
    sign = np.where(np.arange(n) % 2, -1, 1)
    signal = _moving(signal_side(rng, channel, np.full(n, mass)), one, sign)
    if channel.b_charge == 0:
        return side_by_side([signal, _tag_side(rng, other, 0)])
    tag = [_tag_side(rng, other[sign == s], s) for s in (1, -1)]
    both = {1: iter(range(n)), -1: iter(range(n))}
    order = np.array([next(both[s]) + (0 if s == 1 else int((sign == 1).sum())) for s in sign.tolist()])
    return side_by_side([signal, _one_after_another(tag).taken(order)])


def _one_after_another(parts):
    first, second = parts
    joined = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("pdg", "momenta", "vertices", "ancestor", "position", "is_final", "mass", "weight")
    }
    return ParticleBatch(
        offsets=np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
        mother=np.concatenate([first.mother, np.where(second.mother < 0, -1, second.mother + len(first))]),
        submode=np.concatenate([first.submode, second.submode]),
        **joined,
    )


def _perfect_detector(batch):
    """Every charged particle a track of the right kind, every photon a cluster, every K_S a pair."""
    kind = np.abs(batch.pdg)
    track = np.flatnonzero(batch.is_final & np.isin(kind, list(KIND)))
    photon = np.flatnonzero(batch.is_final & (kind == 22))
    charge = np.sign(batch.pdg[track]) * np.where(np.isin(kind[track], [11, 13]), -1, 1)
    likelihoods = np.full((len(track), len(HYPOTHESES)), -20.0)
    likelihoods[np.arange(len(track)), [KIND[k] for k in kind[track].tolist()]] = 0.0
    place = np.full(len(batch), -1)
    place[track] = np.arange(len(track))
    k_short = np.flatnonzero(kind == 310)
    pions = np.array([place[np.flatnonzero(batch.mother == k)] for k in k_short], dtype=np.int64).reshape(
        -1, 2
    )

    def offsets(rows):
        return np.searchsorted(rows, batch.offsets)

    momenta = batch.momenta[photon]
    return DetectedBatch(
        Tracks(
            offsets(track),
            batch.momenta[track, :3],
            charge.astype(np.int8),
            likelihoods,
            np.zeros(len(track)),
            np.zeros(len(track)),
            track,
        ),
        Clusters(
            offsets(photon),
            momenta,
            np.arccos(momenta[:, 2] / momenta[:, 3]),
            np.arctan2(momenta[:, 1], momenta[:, 0]),
            np.full(len(photon), 2, dtype=np.int32),
            np.zeros((len(photon), len(SHAPES))),
            np.full(len(photon), PHOTON, dtype=np.int32),
            photon,
            np.full(len(photon), -1),
        ),
        KShorts(
            offsets(k_short),
            batch.momenta[k_short],
            np.full(len(k_short), 0.4976),
            np.linalg.norm(batch.vertices[batch.offsets[:-1]], axis=1)[batch.event[k_short]],
            pions,
            k_short,
        ),
    )


@pytest.fixture(scope="session")
def signal_events(beams):
    """A function that makes a batch of such events: (channel, number, mass)."""

    def make(name, n, mass=1.0, seed=3):
        return _signal_events(name, n, beams, mass, seed)

    return make


@pytest.fixture(scope="session")
def perfect_detector():
    """A function from a batch to what a perfect detector sees of it."""
    return _perfect_detector
