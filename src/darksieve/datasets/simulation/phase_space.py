"""Decays into two and more bodies: isotropic, along a helicity axis, or flat in phase space.

Four-vectors are arrays of shape (n, 4), ordered px, py, pz, E, in GeV.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.datasets.simulation.decays import direction, uniform_sphere

Floats = NDArray[np.float64]

_ROUNDS = 10_000  # of accept-reject; one round accepts a tenth and more


def breakup_momentum(parent: ArrayLike, first: ArrayLike, second: ArrayLike) -> Floats:
    """Momentum of the two daughters in the parent's rest frame, GeV; NaN where the decay is closed.

    Args:
        parent, first, second: Masses in GeV, of shapes that broadcast.
    """
    m, a, b = (np.asarray(value, dtype=np.float64) for value in (parent, first, second))
    product = (m**2 - (a + b) ** 2) * (m**2 - (a - b) ** 2)
    open_ = (m > 0) & (m >= a + b)
    return np.sqrt(np.where(open_, product, np.nan)) / (2 * m)


def with_mass(momentum: Floats, mass: ArrayLike) -> Floats:
    """Four-vectors of three-momenta, shape (n, 3), on a mass shell."""
    energy = np.sqrt((momentum**2).sum(axis=-1) + np.asarray(mass, dtype=np.float64) ** 2)
    return np.concatenate([momentum, energy[..., None]], axis=-1)


def invariant_mass(four: Floats) -> Floats:
    """Mass of four-vectors, shape (..., 4), in GeV; 0 for spacelike ones."""
    return np.sqrt(np.maximum(four[..., 3] ** 2 - (four[..., :3] ** 2).sum(axis=-1), 0))


def boosted(four: Floats, frame: Floats) -> Floats:
    """Four-vectors given in the rest frame of ``frame``, in the frame where ``frame`` has its momentum.

    Args:
        four: Shape (n, 4).
        frame: Timelike four-momenta, shape (n, 4).
    """
    mass = invariant_mass(frame)
    along = (four[:, :3] * frame[:, :3]).sum(axis=1)
    energy = (four[:, 3] * frame[:, 3] + along) / mass
    factor = (four[:, 3] + energy) / (mass + frame[:, 3])
    out = np.empty_like(four)
    out[:, :3] = four[:, :3] + factor[:, None] * frame[:, :3]
    out[:, 3] = energy
    return out


def to_rest_frame(four: Floats, frame: Floats) -> Floats:
    """The inverse of :func:`boosted`."""
    return boosted(four, frame * np.array([-1.0, -1.0, -1.0, 1.0]))


def two_body_at_rest(
    rng: np.random.Generator, parent: ArrayLike, first: ArrayLike, second: ArrayLike, n: int
) -> tuple[Floats, Floats]:
    """Isotropic two-body decays at rest: the two daughters, each of shape (n, 4).

    Args:
        parent, first, second: Masses in GeV, numbers or of shape (n,); the decay is open.
    """
    momentum = breakup_momentum(parent, first, second) * np.ones(n)
    unit = direction(*uniform_sphere(rng, n))
    p = momentum[:, None] * unit
    return with_mass(p, first), with_mass(-p, second)


def cosine_squared(rng: np.random.Generator, n: int) -> Floats:
    """Draws of cos θ from cos²θ on -1 to 1, shape (n,), by inverting its distribution function."""
    return np.cbrt(rng.uniform(-1, 1, n))


def two_body_along_flight(
    rng: np.random.Generator, parent: Floats, first: float, second: float, cosine: Floats
) -> tuple[Floats, Floats]:
    """Two-body decays of moving parents with given helicity angles; the azimuth is uniform.

    Args:
        parent: Four-momenta in the grandparent's rest frame, shape (n, 4).
        first, second: Masses of the daughters in GeV.
        cosine: Cosine of the angle between the first daughter, in the parent's rest frame, and the parent's
            direction of flight, shape (n,).
    """
    n = len(parent)
    axis = parent[:, :3] / np.sqrt((parent[:, :3] ** 2).sum(axis=1))[:, None]
    # any vector that is not along the axis spans the plane normal to it
    helper = np.where(np.abs(axis[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    normal = np.cross(axis, helper)
    normal /= np.sqrt((normal**2).sum(axis=1))[:, None]
    third = np.cross(axis, normal)
    azimuth = rng.uniform(-np.pi, np.pi, n)
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    unit = (
        cosine[:, None] * axis
        + (sine * np.cos(azimuth))[:, None] * normal
        + (sine * np.sin(azimuth))[:, None] * third
    )
    p = breakup_momentum(invariant_mass(parent), first, second)[:, None] * unit
    return boosted(with_mass(p, first), parent), boosted(with_mass(-p, second), parent)


def phase_space_at_rest(
    rng: np.random.Generator, parent: float, masses: Sequence[float], n: int
) -> list[Floats]:
    """Decays at rest into two to six bodies, flat in phase space: the daughters, each of shape (n, 4).

    Raises:
        ValueError: If the daughters are heavier than the parent.

    References:
        F. James, Monte Carlo phase space, CERN 68-15 (1968): the chain of two-body decays, by accept-reject.
    """
    masses = [float(mass) for mass in masses]
    free = parent - sum(masses)
    if not 2 <= len(masses) <= 6 or free < 0:
        raise ValueError(f"{parent} GeV do not decay into {masses}")
    if len(masses) == 2:
        return list(two_body_at_rest(rng, parent, masses[0], masses[1], n))
    k = len(masses)
    sums = np.cumsum(masses)
    largest = np.prod(
        [breakup_momentum(free + sums[i], sums[i - 1], masses[i]) for i in range(1, k)]
    )  # each factor at its own largest, together a bound
    accepted: list[Floats] = []
    missing = n
    for _ in range(_ROUNDS):
        if missing <= 0:
            break
        trial = 4 * missing + 64
        steps = np.sort(rng.random((trial, k - 2)), axis=1)
        inner = sums[1 : k - 1] + free * steps  # (trial, k - 2): masses of the first 2, 3, … bodies
        chain = np.concatenate([np.full((trial, 1), masses[0]), inner, np.full((trial, 1), parent)], axis=1)
        momenta = np.stack(
            [breakup_momentum(chain[:, i], chain[:, i - 1], masses[i]) for i in range(1, k)], axis=1
        )
        kept = chain[rng.random(trial) * largest < momenta.prod(axis=1)][:missing]
        accepted.append(kept)
        missing -= len(kept)
    else:
        raise RuntimeError(f"phase space of {parent} -> {masses} was not filled in {_ROUNDS} rounds")
    chain = np.concatenate(accepted) if accepted else np.empty((0, k))
    system = np.concatenate([np.zeros((n, 3)), np.full((n, 1), parent)], axis=1)
    out: list[Floats] = []
    for i in range(k - 1, 0, -1):
        rest, body = two_body_at_rest(rng, chain[:, i], chain[:, i - 1], masses[i], n)
        out.append(boosted(body, system))
        system = boosted(rest, system)
    return [system, *reversed(out)]
