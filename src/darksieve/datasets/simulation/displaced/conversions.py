"""Photons that convert in the material of the beam pipe and the tracker."""

from __future__ import annotations

import numpy as np

from darksieve.constants import ELECTRON_MASS
from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.decays import Floats, direction, one_plus_cosine_squared
from darksieve.datasets.simulation.displaced.settings import Material

_PAIR_PRODUCTION = 7 / 9  # per radiation length, at high energy; PDG review of the passage of particles


def conversion_probabilities(material: Material, sine_theta: Floats) -> Floats:
    """Probability to convert in each layer, for photons from the axis, shape (n, n_layers).

    The high-energy limit is taken at every energy, which is some 20 % too much at 0.1 GeV.
    """
    depth = _PAIR_PRODUCTION * np.array(material.radiation_lengths) / np.asarray(sine_theta)[:, None]
    before = np.cumsum(depth, axis=1) - depth
    return np.exp(-before) * -np.expm1(-depth)


def mean_conversion_probability(material: Material, beams: Beams, start_deg: float, end_deg: float) -> float:
    """Probability to convert, averaged over 1 + cos²θ* in the CMS; 0 outside the polar angles given."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    azimuth = np.linspace(-np.pi, np.pi, 48, endpoint=False)
    cosine, phi = np.meshgrid(nodes, azimuth, indexing="ij")
    probability = _of_direction(material, beams, cosine.ravel(), phi.ravel(), start_deg, end_deg)
    of_cosine = probability.reshape(cosine.shape).mean(axis=1)
    density = weights * (1 + nodes**2)
    return float((density * of_cosine).sum() / density.sum())


def _lab_directions(beams: Beams, cosine: Floats, azimuth: Floats) -> Floats:
    unit = direction(cosine, azimuth)
    lab = beams.to_lab(np.concatenate([unit, np.ones((len(unit), 1))], axis=1))
    return lab[:, :3] / lab[:, 3:]


def _of_direction(
    material: Material, beams: Beams, cosine: Floats, azimuth: Floats, start_deg: float, end_deg: float
) -> Floats:
    lab = _lab_directions(beams, cosine, azimuth)
    degrees = np.degrees(np.arccos(np.clip(lab[:, 2], -1, 1)))
    seen = (start_deg < degrees) & (degrees < end_deg)
    sine = np.hypot(lab[:, 0], lab[:, 1])
    total = conversion_probabilities(material, np.where(seen, sine, 1.0)).sum(axis=1)
    return np.where(seen, total, 0.0)


def converting_directions(
    rng: np.random.Generator, material: Material, beams: Beams, n: int, start_deg: float, end_deg: float
) -> Floats:
    """CMS directions of photons that convert, from 1 + cos²θ* times the probability, shape (n, 3)."""
    steepest = np.sin(np.radians([start_deg, end_deg])).min()
    largest = float(conversion_probabilities(material, np.array([steepest])).sum())
    found: list[Floats] = []
    missing = n
    while missing > 0:
        size = 4 * missing + 64
        cosine = one_plus_cosine_squared(rng, size)
        azimuth = rng.uniform(-np.pi, np.pi, size)
        probability = _of_direction(material, beams, cosine, azimuth, start_deg, end_deg)
        kept = np.flatnonzero(rng.random(size) * largest < probability)[:missing]
        found.append(direction(cosine[kept], azimuth[kept]))
        missing -= len(kept)
    return np.concatenate(found) if found else np.empty((0, 3))


def energy_shares(rng: np.random.Generator, n: int) -> Floats:
    """The positron's share of the photon's energy, from 1 - 4/3 x(1-x), shape (n,).

    References:
        Y.-S. Tsai, Rev. Mod. Phys. 46 (1974) 815: the high-energy limit.
    """
    out = np.empty(0)
    while len(out) < n:
        trial = rng.random(2 * (n - len(out)) + 16)
        out = np.concatenate([out, trial[rng.random(len(trial)) < 1 - 4 / 3 * trial * (1 - trial)]])
    return out[:n]


def convert(
    rng: np.random.Generator, material: Material, photons: Floats, start: Floats
) -> tuple[Floats, Floats, Floats]:
    """Positrons, electrons and conversion points of photons that convert.

    Each lepton has a transverse momentum of the order of the electron mass against the other; the nucleus
    takes the small rest of the balance.

    Args:
        photons: Laboratory four-momenta, shape (n, 4).
        start: Where they begin, cm, shape (n, 3).

    Returns:
        Four-momenta, each of shape (n, 4), and points in cm, shape (n, 3), inside a layer.
    """
    n = len(photons)
    unit = photons[:, :3] / photons[:, 3:]
    sine = np.hypot(unit[:, 0], unit[:, 1])
    probabilities = conversion_probabilities(material, sine)
    cumulative = np.cumsum(probabilities, axis=1)
    pick = rng.random(n) * cumulative[:, -1]
    layer = np.minimum((pick[:, None] > cumulative).sum(axis=1), len(material.radii_cm) - 1)
    radius = np.array(material.radii_cm)[layer] + material.layer_cm * (rng.random(n) - 0.5)
    # the photon begins near the axis: the distance along it to the cylinder
    along = (start[:, :2] * unit[:, :2]).sum(axis=1)
    square = (start[:, :2] ** 2).sum(axis=1)
    distance = (-along + np.sqrt(along**2 + sine**2 * (radius**2 - square))) / sine**2
    point = start + distance[:, None] * unit
    share = energy_shares(rng, n)
    normal = np.cross(unit, np.array([0.0, 0.0, 1.0])) / sine[:, None]
    other = np.cross(unit, normal)
    turn = rng.uniform(-np.pi, np.pi, n)
    kick = 0.5 * ELECTRON_MASS * rng.rayleigh(1.0, n)
    transverse = kick[:, None] * (np.cos(turn)[:, None] * normal + np.sin(turn)[:, None] * other)
    leptons = []
    for sign, fraction in ((1.0, share), (-1.0, 1 - share)):
        energy = np.maximum(fraction * photons[:, 3], 2 * ELECTRON_MASS)
        size = np.sqrt(energy**2 - ELECTRON_MASS**2)
        space = size[:, None] * unit + sign * transverse
        total = np.sqrt((space**2).sum(axis=1) + ELECTRON_MASS**2)
        leptons.append(np.concatenate([space, total[:, None]], axis=1))
    return leptons[0], leptons[1], point
