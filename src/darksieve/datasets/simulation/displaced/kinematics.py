"""Decays in flight: two and three bodies with exact four-momenta, and where they happen."""

from __future__ import annotations

import numpy as np

from darksieve.datasets.simulation.decays import Floats, direction, uniform_sphere


def break_up_momentum(parent_mass: Floats, first_mass: Floats, second_mass: Floats) -> Floats:
    """Momentum of either daughter in the parent's rest frame, GeV; 0 below threshold."""
    m, a, b = np.broadcast_arrays(parent_mass, first_mass, second_mass)
    # differences as products: no cancellation near the threshold
    square = (m - a - b) * (m + a + b) * (m - a + b) * (m + a - b)
    return np.sqrt(np.maximum(square, 0)) / (2 * m)


def boosted(four_momenta: Floats, frame: Floats, frame_mass: Floats) -> Floats:
    """Four-momenta given in the rest frame of others, shape (n, 4), as seen where those move so."""
    space, energy = four_momenta[:, :3], four_momenta[:, 3]
    along = (space * frame[:, :3]).sum(axis=1)
    gamma = frame[:, 3] / frame_mass
    factor = (along / (frame_mass * (1 + gamma)) + energy) / frame_mass
    out_energy = (energy * frame[:, 3] + along) / frame_mass
    return np.concatenate([space + factor[:, None] * frame[:, :3], out_energy[:, None]], axis=1)


def two_body(
    parent: Floats,
    parent_mass: Floats,
    first_mass: Floats,
    second_mass: Floats,
    cosine: Floats,
    azimuth: Floats,
) -> tuple[Floats, Floats]:
    """Daughters of a two-body decay, each of shape (n, 4), in the frame of ``parent``.

    The direction of the first daughter is given in the parent's rest frame, whose axes are the parent's.
    """
    momentum = break_up_momentum(parent_mass, first_mass, second_mass)
    first3 = momentum[:, None] * direction(cosine, azimuth)
    daughters = []
    for sign, mass in ((1.0, first_mass), (-1.0, second_mass)):
        energy = np.sqrt(momentum**2 + np.square(mass))
        at_rest = np.concatenate([sign * first3, energy[:, None]], axis=1)
        daughters.append(boosted(at_rest, parent, parent_mass))
    return daughters[0], daughters[1]


def isotropic_two_body(
    rng: np.random.Generator, parent: Floats, parent_mass: Floats, first_mass: Floats, second_mass: Floats
) -> tuple[Floats, Floats]:
    """Daughters of a parent without polarisation, each of shape (n, 4)."""
    n = len(parent)
    return two_body(parent, parent_mass, first_mass, second_mass, *uniform_sphere(rng, n))


def pair_masses(
    rng: np.random.Generator, n: int, parent_mass: float, single_mass: float, pair: tuple[float, float]
) -> Floats:
    """Masses of a pair in parent → single + pair by phase space alone, in GeV, shape (n,).

    Raises:
        ValueError: If the decay is not possible.
    """
    low, high = sum(pair), parent_mass - single_mass
    if not low < high:
        raise ValueError(f"{parent_mass} GeV does not decay to {single_mass} and {pair} GeV")

    def density(mass: Floats) -> Floats:
        outer = break_up_momentum(np.full_like(mass, parent_mass), np.asarray(single_mass), mass)
        return outer * break_up_momentum(mass, np.asarray(pair[0]), np.asarray(pair[1]))

    largest = 1.02 * float(density(np.linspace(low, high, 4001)).max())
    out = np.empty(0)
    while len(out) < n:
        trial = rng.uniform(low, high, 2 * (n - len(out)) + 64)
        out = np.concatenate([out, trial[rng.random(len(trial)) * largest < density(trial)]])
    return out[:n]


def three_body(
    rng: np.random.Generator,
    parent: Floats,
    parent_mass: float,
    single_mass: float,
    pair: tuple[float, float],
) -> tuple[Floats, Floats, Floats]:
    """Single particle and pair of a three-body decay by phase space alone, each of shape (n, 4)."""
    n = len(parent)
    masses = pair_masses(rng, n, parent_mass, single_mass, pair)
    whole = np.full(n, parent_mass)
    single, of_pair = isotropic_two_body(rng, parent, whole, np.full(n, single_mass), masses)
    first, second = isotropic_two_body(rng, of_pair, masses, np.full(n, pair[0]), np.full(n, pair[1]))
    return single, first, second


def decay_points(start: Floats, four_momenta: Floats, masses: Floats, proper_lengths: Floats) -> Floats:
    """Where particles decay after a proper length c·t: start + βγ c·t along the momentum, shape (n, 3)."""
    return start + four_momenta[:, :3] * (proper_lengths / masses)[:, None]
