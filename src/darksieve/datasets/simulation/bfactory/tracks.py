"""Charged particles in the toy detector: which become tracks, their momenta, origins and likelihoods."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import fields

import numpy as np
from numba import njit

from darksieve.datasets.simulation.bfactory.detected import HYPOTHESIS_MASSES, Tracks
from darksieve.datasets.simulation.bfactory.detector import Identification, Tracking, as_floats
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch

_CHARGED = np.array([11, 13, 211, 321, 2212])  # in the order of HYPOTHESES
_MASSES = np.array(HYPOTHESIS_MASSES)
_N_HYPOTHESES = 5

# what numba understands
_TrackingNumbers = namedtuple("_TrackingNumbers", [f.name for f in fields(Tracking)])  # type: ignore[misc]
_IdNumbers = namedtuple("_IdNumbers", [f.name for f in fields(Identification)])  # type: ignore[misc]


def measure_tracks(
    rng: np.random.Generator, particles: ParticleBatch, tracking: Tracking, identification: Identification
) -> Tracks:
    """Tracks of the charged final particles."""
    values = _measure(
        rng,
        particles.offsets,
        particles.pdg,
        particles.momenta,
        particles.vertices,
        particles.is_final,
        _TrackingNumbers(*as_floats(tracking)),
        _IdNumbers(*as_floats(identification)),
    )
    return Tracks(*values)


@njit(cache=True)
def _hypothesis(pdg):  # type: ignore[no-untyped-def]
    for i in range(_N_HYPOTHESES):
        if abs(pdg) == _CHARGED[i]:
            return i
    return -1


@njit(cache=True)
def _measure(rng, offsets, pdg, momenta, vertices, is_final, det, ident):  # type: ignore[no-untyped-def]
    n_max = 0
    for row in range(len(pdg)):
        if is_final[row] and _hypothesis(pdg[row]) >= 0:
            n_max += 1
    new_offsets = np.zeros(len(offsets), np.int64)
    measured = np.empty((n_max, 3))
    charge = np.empty(n_max, np.int8)
    likelihoods = np.empty((n_max, _N_HYPOTHESES))
    dr, dz = np.empty(n_max), np.empty(n_max)
    truth = np.empty(n_max, np.int64)
    n = 0
    for event in range(len(offsets) - 1):
        for row in range(offsets[event], offsets[event + 1]):
            kind = _hypothesis(pdg[row]) if is_final[row] else -1
            if kind < 0:
                continue
            px, py, pz = momenta[row, 0], momenta[row, 1], momenta[row, 2]
            pt = np.hypot(px, py)
            theta = np.arctan2(pt, pz)
            degrees = theta * 180 / np.pi
            if not det.min_theta_deg < degrees < det.max_theta_deg or pt <= det.threshold_pt:
                continue
            x, y, z = vertices[row, 0] / 10, vertices[row, 1] / 10, vertices[row, 2] / 10  # mm to cm
            found = det.efficiency * (1 - np.exp(-(pt - det.threshold_pt) / det.turn_on_pt))
            found *= np.exp(-(x * x + y * y) / det.lost_radius_cm**2)
            if rng.random() > found:
                continue
            p = np.hypot(pt, pz)
            beta = p / np.hypot(p, _MASSES[kind])
            sigma = np.hypot(det.curvature * pt, det.scattering / beta)
            new_pt = pt * max(1 + sigma * rng.standard_normal(), 0.05)
            new_theta = theta + det.angle_sigma_rad * rng.standard_normal()
            phi = np.arctan2(py, px) + det.angle_sigma_rad / np.sin(theta) * rng.standard_normal()
            measured[n, 0] = new_pt * np.cos(phi)
            measured[n, 1] = new_pt * np.sin(phi)
            measured[n, 2] = new_pt / np.tan(new_theta)
            # antiparticles of leptons are positive, of hadrons negative
            positive = (pdg[row] > 0) != (kind < 2)
            charge[n] = 1 if positive else -1
            # straight on to the point nearest to the collision
            along = (x * px + y * py) / pt
            spread = np.hypot(det.impact_constant_cm, det.impact_scattering_cm / pt)
            dr[n] = abs((x * py - y * px) / pt + spread * rng.standard_normal())
            dz[n] = z - along * pz / pt + spread * rng.standard_normal()
            _identify(rng, kind, p, ident, likelihoods[n])
            truth[n] = row
            n += 1
        new_offsets[event + 1] = n
    return new_offsets, measured[:n], charge[:n], likelihoods[:n], dr[:n], dz[:n], truth[:n]


@njit(cache=True)
def _identify(rng, kind, p, ident, out):  # type: ignore[no-untyped-def]
    """Log-likelihoods of one track, from three measurements: hadron axis, electron axis, muon axis."""
    falls = 1 / (1 + (p / ident.momentum_gev) ** 2)
    kaon_at = ident.kaon_pion * falls
    proton_at = kaon_at + ident.kaon_proton * falls
    nu = ident.degrees_of_freedom
    hadron = rng.standard_t(nu)
    if kind == 3:
        hadron += kaon_at
    elif kind == 4:
        hadron += proton_at
    electron = rng.standard_t(nu) + (ident.lepton if kind == 0 else 0.0)
    muon = rng.standard_t(nu) + (ident.lepton if kind == 1 else 0.0)
    for i in range(_N_HYPOTHESES):
        at = kaon_at if i == 3 else proton_at if i == 4 else 0.0
        out[i] = (
            _log_t(hadron - at, nu)
            + _log_t(electron - (ident.lepton if i == 0 else 0.0), nu)
            + _log_t(muon - (ident.lepton if i == 1 else 0.0), nu)
        )


@njit(cache=True)
def _log_t(x, nu):  # type: ignore[no-untyped-def]
    """Logarithm of Student's density, without its normalisation."""
    return -0.5 * (nu + 1) * np.log1p(x * x / nu)
