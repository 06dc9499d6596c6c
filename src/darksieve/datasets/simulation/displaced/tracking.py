"""What the toy tracker makes of true pairs: losses, smeared tracks, vertices and identification."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.decays import Floats
from darksieve.datasets.simulation.displaced.events import ELECTRON, KAON, MASSES, MUON, PROTON, TruePairs
from darksieve.datasets.simulation.displaced.settings import Tracker

Mask = NDArray[np.bool_]
_STUDENT_FREEDOM = 4  # tails of the log likelihoods; illustrative


class MeasuredPairs(NamedTuple):
    """Pairs as measured.

    Attributes:
        momenta: Three-momenta of both tracks, positive first, GeV, shape (n, 2, 3).
        vertex: cm from the nominal collision point, shape (n, 3).
        along: Resolution of the vertex along the pair's momentum, cm, shape (n,).
        across: Resolution across it, cm, shape (n,).
        chi2_probability: Of the vertex fit, shape (n,).
    """

    momenta: Floats
    vertex: Floats
    along: Floats
    across: Floats
    chi2_probability: Floats

    def mass(self, hypothesis: tuple[float, float]) -> Floats:
        """Invariant mass under two particle masses in GeV, shape (n,)."""
        square = (self.momenta**2).sum(axis=2)
        energy = np.sqrt(square + np.square(np.array(hypothesis)))
        total = self.momenta.sum(axis=1)
        return np.sqrt(np.maximum(energy.sum(axis=1) ** 2 - (total**2).sum(axis=1), 0))


def opening_angles(momenta: Floats) -> Floats:
    """Angles between the two tracks, shape (n,), exact where they are small."""
    unit = momenta[:, :, :3] / np.linalg.norm(momenta[:, :, :3], axis=2)[:, :, None]
    return 2 * np.arcsin(np.clip(np.linalg.norm(unit[:, 0] - unit[:, 1], axis=1) / 2, 0, 1))


def track_efficiency(tracker: Tracker, momenta: Floats) -> Floats:
    """Probability that the tracks of momenta (..., 3 or 4) are found, wherever they begin."""
    pt = np.hypot(momenta[..., 0], momenta[..., 1])
    degrees = np.degrees(np.arctan2(pt, momenta[..., 2]))
    above = np.maximum(pt - tracker.track_threshold, 0)
    efficiency = -tracker.track_efficiency * np.expm1(-above / tracker.track_scale)
    return np.where((tracker.start_deg < degrees) & (degrees < tracker.end_deg), efficiency, 0.0)


def vertex_efficiency(tracker: Tracker, radius_cm: Floats, opening_rad: Floats) -> Floats:
    """Probability to find the vertex of two found tracks, at a radius and with an angle between them."""
    of_radius = np.interp(radius_cm, tracker.radii_cm, tracker.vertex_efficiency, right=0.0)
    return np.asarray(of_radius * -np.expm1(-opening_rad / tracker.opening_scale_rad))


def find_pairs(rng: np.random.Generator, tracker: Tracker, pairs: TruePairs) -> Mask:
    """Which pairs have both tracks and a vertex, shape (n,)."""
    tracks = (rng.random(pairs.momenta.shape[:2]) < track_efficiency(tracker, pairs.momenta)).all(axis=1)
    radius = np.hypot(pairs.vertex[:, 0], pairs.vertex[:, 1])
    efficiency = vertex_efficiency(tracker, radius, opening_angles(pairs.momenta))
    inside = np.abs(pairs.vertex[:, 2]) < tracker.max_z_cm
    return tracks & inside & (rng.random(len(radius)) < efficiency)


def measure_pairs(rng: np.random.Generator, tracker: Tracker, pairs: TruePairs) -> MeasuredPairs:
    """Smeared tracks and vertices of pairs that were found."""
    n = len(pairs.vertex)
    radius = np.hypot(pairs.vertex[:, 0], pairs.vertex[:, 1])
    momenta = _smeared(rng, tracker, pairs.momenta, radius)
    opening = opening_angles(pairs.momenta)
    across = np.interp(radius, tracker.radii_cm, tracker.vertex_resolution_cm)
    with np.errstate(divide="ignore"):
        along = np.minimum(across / np.sin(np.minimum(opening, np.pi / 2) / 2), tracker.max_along_flight_cm)
    along = np.maximum(along, across)
    stretch = np.where(rng.random(n) < tracker.tail_fraction, 10.0, 1.0)
    total = pairs.momenta[:, :, :3].sum(axis=1)
    unit = total / np.linalg.norm(total, axis=1)[:, None]
    noise = rng.standard_normal((n, 3))
    parallel = (noise * unit).sum(axis=1)[:, None] * unit
    shift = along[:, None] * parallel + across[:, None] * (noise - parallel)
    probability = rng.random(n)
    if pairs.is_fake:
        probability = probability**4  # most fits of tracks that do not belong together are bad; illustrative
    return MeasuredPairs(momenta, pairs.vertex + stretch[:, None] * shift, along, across, probability)


def _smeared(rng: np.random.Generator, tracker: Tracker, momenta: Floats, radius: Floats) -> Floats:
    pt = np.hypot(momenta[..., 0], momenta[..., 1])
    size = np.sqrt((momenta[..., :3] ** 2).sum(axis=-1))
    beta = size / momenta[..., 3]
    relative = np.hypot(tracker.momentum_slope * pt, tracker.momentum_scattering / beta)
    angle = 1e-3 * tracker.angle_mrad * (1 + tracker.angle_growth_per_cm * radius)[:, None]
    noise = rng.standard_normal((3, *pt.shape))
    new_pt = np.maximum(pt * (1 + relative * noise[0]), 1e-3)
    theta = np.arctan2(pt, momenta[..., 2]) + angle * noise[1]
    phi = np.arctan2(momenta[..., 1], momenta[..., 0]) + angle * noise[2] * size / np.maximum(pt, 1e-9)
    return np.stack([new_pt * np.cos(phi), new_pt * np.sin(phi), new_pt / np.tan(theta)], axis=-1)


def identify(
    rng: np.random.Generator, tracker: Tracker, pdg: NDArray[np.int32], momenta: Floats
) -> dict[str, Floats]:
    """Likelihood ratios in 0 to 1 that a track is what is asked, against all else; basf2's names.

    Each is the logistic function of a log likelihood: its separation depends on the momentum, its noise is
    Student's t. Muons need 0.6 GeV to reach the muon system; kaons and pions grow alike above 3 GeV.

    Args:
        pdg: True particle numbers without sign, shape (n, 2).
        momenta: Three-momenta, shape (n, 2, 3).

    Returns:
        electronID, muonID, kaonID, each of shape (n, 2).
    """
    p = np.sqrt((momenta**2).sum(axis=-1))
    known = {
        "electronID": (ELECTRON, tracker.electron_separation * np.clip((p - 0.2) / 0.5, 0, 1)),
        "muonID": (MUON, tracker.muon_separation * np.clip((p - 0.6) / 0.6, 0, 1)),
        "kaonID": (KAON, tracker.kaon_separation / (1 + (p / 3.0) ** 3)),
    }
    out = {}
    for name, (wanted, separation) in known.items():
        sign = np.where(pdg == wanted, 1.0, -1.0)
        if name == "kaonID":
            sign[pdg == PROTON] = 0.3  # slower than a pion, too
        noise = rng.standard_t(_STUDENT_FREEDOM, p.shape)
        out[name] = 1 / (1 + np.exp(-np.clip(sign * separation + noise, -30, 30)))
    return out


def daughter_masses(particle: int) -> tuple[float, float]:
    """Both masses of a pair of one kind."""
    return MASSES[particle], MASSES[particle]
