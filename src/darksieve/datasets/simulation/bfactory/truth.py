"""What B candidates really are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.bfactory.detected import DetectedBatch
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch, Position
from darksieve.datasets.simulation.bfactory.reconstruction import (
    K_PLUS,
    K_PLUS_PI0,
    K_PLUS_PION,
    K_SHORT,
    K_SHORT_PION,
    BCandidates,
)
from darksieve.datasets.simulation.bfactory.signals import ALP_PDG
from darksieve.datasets.simulation.photons.clusters import PHOTON


def truth_numbers(
    candidates: BCandidates, particles: ParticleBatch, detected: DetectedBatch
) -> dict[str, NDArray]:
    """Truth branches of B candidates, whole numbers of shape (n,) each.

    ``isSignal``: all is right, and the light particle is the one searched for; ``genMatch``: it may also
    be a π0, η or η'. Merged photons are not right.
    """
    clusters, tracks = detected.clusters, detected.tracks
    position = np.concatenate([particles.position, [Position.NONE]])  # the last one stands for no particle
    pdg = np.concatenate([particles.pdg, [0]])
    mother = np.concatenate([particles.mother, [-1]])

    def photon(column: int) -> tuple[NDArray, NDArray, NDArray]:
        rows = candidates.clusters[:, column]
        truth = clusters.truth[rows]
        return clusters.kind[rows] == PHOTON, truth, position[truth]

    def track(column: int) -> tuple[NDArray, NDArray]:
        truth = tracks.truth[candidates.tracks[:, column]]
        return np.abs(pdg[truth]), position[truth]

    out: dict[str, NDArray] = {}
    right = np.ones(len(candidates), np.bool_)
    light = np.zeros(len(candidates), np.int32)
    for column, name in enumerate(("gamma1", "gamma2")):
        is_photon, truth, where = photon(column)
        right &= is_photon & (where == Position.LIGHT_PHOTON)
        out[f"{name}_mcPDG"] = np.where(truth >= 0, pdg[truth], 0)
        out[f"{name}_genMotherPDG"] = np.where(mother[truth] >= 0, pdg[mother[truth]], 0)
        light = np.where(where == Position.LIGHT_PHOTON, pdg[mother[truth]], light)
    kaon_pdg, kaon_where = track(0)
    second_pdg, second_where = track(1)
    third_pdg, third_where = track(2)
    kshort = np.concatenate([detected.kshorts.truth, [-1]])[candidates.kshort]
    kshort_where = position[kshort]
    direct, daughter = Position.MESON, Position.MESON_DAUGHTER
    soft = np.ones(len(candidates), np.bool_)
    for column in (2, 3):
        is_photon, _, where = photon(column)
        soft &= is_photon & (where == Position.MESON_PI0_PHOTON)
    meson_right = np.select(
        [candidates.submode == number for number in (K_PLUS, K_SHORT, K_SHORT_PION, K_PLUS_PI0, K_PLUS_PION)],
        [
            (kaon_pdg == 321) & (kaon_where == direct),
            kshort_where == direct,
            (kshort_where == daughter) & (third_pdg == 211) & (third_where == daughter),
            (kaon_pdg == 321) & (kaon_where == daughter) & soft,
            (kaon_pdg == 321) & (kaon_where == daughter) & (second_pdg == 211) & (second_where == daughter),
        ],
        default=False,
    )
    right &= meson_right
    out["isSignal"] = right & (light == ALP_PDG)
    out["genMatch"] = right
    out["K_mcPDG"] = np.where(candidates.tracks[:, 0] >= 0, pdg[tracks.truth[candidates.tracks[:, 0]]], 0)
    out["genSubmode"] = particles.submode[candidates.event]
    return out
