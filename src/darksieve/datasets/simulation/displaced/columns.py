"""Candidates of displaced events as branches: two vertices, four tracks, what is missing, and the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.decays import Floats
from darksieve.datasets.simulation.displaced.events import ELECTRON, KAON, MUON, PION, TrueEvents, TruePairs
from darksieve.datasets.simulation.displaced.settings import DisplacedSettings, Preselection
from darksieve.datasets.simulation.displaced.signal import generate_signal
from darksieve.datasets.simulation.displaced.tracking import (
    MeasuredPairs,
    daughter_masses,
    find_pairs,
    identify,
    measure_pairs,
)
from darksieve.datasets.simulation.ntuple import Columns, key_columns

MASS_BRANCH = "genM_hprime"
LENGTH_BRANCH = "genProperLength_hprime"
LENGTH_BRANCH_CHI2 = "genProperLength_chi2"
HYPOTHESES = {"mumu": MUON, "pipi": PION, "KK": KAON}


def _rows(pairs: TruePairs, rows: NDArray[np.intp]) -> TruePairs:
    return TruePairs(pairs.pdg[rows], pairs.momenta[rows], pairs.vertex[rows], pairs.mother, pairs.is_fake)


def measured_columns(
    rng: np.random.Generator, events: TrueEvents, settings: DisplacedSettings
) -> tuple[Columns, NDArray[np.intp]]:
    """Branches of the candidates that pass the preselection, all but the key, and their events' positions.

    The h' candidate is the first pair, under three mass hypotheses; χ2 is the pair of electrons.
    """
    tracker, selection = settings.tracker, settings.selection
    rows = np.flatnonzero(find_pairs(rng, tracker, events.hprime) & find_pairs(rng, tracker, events.chi2))
    true = (_rows(events.hprime, rows), _rows(events.chi2, rows))
    measured = tuple(measure_pairs(rng, tracker, pairs) for pairs in true)
    identified = tuple(
        identify(rng, tracker, pairs.pdg, made.momenta) for pairs, made in zip(true, measured, strict=True)
    )
    columns: Columns = {}
    for name, particle in HYPOTHESES.items():
        columns[f"hprime_M_{name}"] = measured[0].mass(daughter_masses(particle))
    columns["chi2_M_ee"] = measured[1].mass(daughter_masses(ELECTRON))
    for prefix, made in zip(("hprime", "chi2"), measured, strict=True):
        columns |= {f"{prefix}_{name}": values for name, values in _vertex(made).items()}
    for prefix, made, likelihoods in zip(("x", "e"), measured, identified, strict=True):
        for i, charge in enumerate(("plus", "minus")):
            p = made.momenta[:, i]
            columns[f"{prefix}{charge}_p"] = np.linalg.norm(p, axis=1)
            columns[f"{prefix}{charge}_pt"] = np.hypot(p[:, 0], p[:, 1])
            columns[f"{prefix}{charge}_cosTheta"] = p[:, 2] / np.linalg.norm(p, axis=1)
            for name, values in likelihoods.items():
                columns[f"{prefix}{charge}_{name}"] = values[:, i]
    columns |= _whole_event(events, rows, measured[0], measured[1], settings)
    columns |= _truth(events, rows)
    passed = np.flatnonzero(_passes(columns, selection))
    made_columns = {
        name: values[passed].astype(np.int32 if values.dtype.kind in "ib" else np.float32)
        for name, values in columns.items()
    }
    return made_columns, rows[passed]


def _vertex(pairs: MeasuredPairs) -> dict[str, Floats]:
    """basf2's variables of a vertex: cm, GeV; distances are from the nominal collision point."""
    total = pairs.momenta.sum(axis=1)
    momentum = np.linalg.norm(total, axis=1)
    distance = np.linalg.norm(pairs.vertex, axis=1)
    pointing = (total * pairs.vertex).sum(axis=1) / np.maximum(momentum * distance, 1e-12)
    error = np.sqrt((pairs.along * pointing) ** 2 + pairs.across**2 * np.maximum(1 - pointing**2, 0))
    first, second = pairs.momenta[:, 0], pairs.momenta[:, 1]
    product = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return {
        "dr": np.hypot(pairs.vertex[:, 0], pairs.vertex[:, 1]),
        "dz": pairs.vertex[:, 2],
        "flightDistance": distance,
        "significanceOfDistance": distance / error,
        "chiProb": pairs.chi2_probability,
        "cosAngleBetweenMomentumAndVertexVector": np.clip(pointing, -1, 1),
        "p": momentum,
        "pt": np.hypot(total[:, 0], total[:, 1]),
        "cosOpeningAngle": np.clip((first * second).sum(axis=1) / product, -1, 1),
    }


def _whole_event(
    events: TrueEvents,
    rows: NDArray[np.intp],
    hprime: MeasuredPairs,
    chi2: MeasuredPairs,
    settings: DisplacedSettings,
) -> Columns:
    """What is seen and what is missing, in the CMS; the h' tracks are taken as pions."""
    beams = settings.beams
    seen = np.zeros((len(rows), 4))
    for made, particle in ((hprime, PION), (chi2, ELECTRON)):
        mass = daughter_masses(particle)[0]
        energy = np.sqrt((made.momenta**2).sum(axis=2) + mass**2)
        seen += np.concatenate([made.momenta, energy[:, :, None]], axis=2).sum(axis=1)
    total = beams.to_cms(seen) + events.rest.momenta[rows]
    missing_energy = beams.sqrt_s - total[:, 3]
    missing_square = (total[:, :3] ** 2).sum(axis=1)
    missing_lab = beams.to_lab(np.concatenate([-total[:, :3], missing_energy[:, None]], axis=1))
    size = np.linalg.norm(missing_lab[:, :3], axis=1)
    return {
        "visibleEnergyOfEventCMS": total[:, 3],
        "missingEnergyOfEventCMS": missing_energy,
        "missingMass2OfEvent": missing_energy**2 - missing_square,
        "missingMomentumOfEventCMS": np.sqrt(missing_square),
        "missingMomentumOfEvent_cosTheta": missing_lab[:, 2] / np.maximum(size, 1e-12),
        "nTracks": events.rest.n_tracks[rows] + 4,
        "roeEextra": events.rest.extra_energy[rows],
    }


def _truth(events: TrueEvents, rows: NDArray[np.intp]) -> Columns:
    is_signal = np.isfinite(events.masses[rows])
    n = len(rows)
    return {
        "isSignal": is_signal,
        MASS_BRANCH: events.masses[rows],
        LENGTH_BRANCH: events.proper_lengths[rows, 0],
        LENGTH_BRANCH_CHI2: events.proper_lengths[rows, 1],
        "genCtau_hprime": events.mean_lengths[rows, 0],
        "genCtau_chi2": events.mean_lengths[rows, 1],
        "genRadius_hprime": np.hypot(*events.hprime.vertex[rows, :2].T),
        "genRadius_chi2": np.hypot(*events.chi2.vertex[rows, :2].T),
        "hprime_mcPDG": np.full(n, events.hprime.mother),
        "chi2_mcPDG": np.full(n, events.chi2.mother),
        "xplus_mcPDG": events.hprime.pdg[rows, 0],
        "xminus_mcPDG": events.hprime.pdg[rows, 1],
    }


def _passes(columns: Columns, selection: Preselection) -> NDArray[np.bool_]:
    displaced = np.maximum(columns["hprime_dr"], columns["chi2_dr"]) > selection.min_displacement_cm
    n_trigger = np.zeros(len(displaced), dtype=int)
    for prefix, vertex in (("x", "hprime"), ("e", "chi2")):
        near = columns[f"{vertex}_dr"] < selection.trigger_radius_cm
        for charge in ("plus", "minus"):
            n_trigger += near & (columns[f"{prefix}{charge}_pt"] > selection.trigger_pt)
    electrons = columns["eplus_p"] + columns["eminus_p"]
    fired = (n_trigger >= selection.trigger_tracks) | (electrons > selection.trigger_energy)
    return displaced & fired & (columns["chi2_M_ee"] < selection.max_pair_mass)


def no_rows(settings: DisplacedSettings) -> Columns:
    """Every branch, without a row."""
    rng = np.random.default_rng(0)
    events = generate_signal(rng, settings, np.empty(0), MUON)
    columns, _ = measured_columns(rng, events, settings)
    return key_columns(np.empty(0, np.uint32), run=0, production=0) | columns
