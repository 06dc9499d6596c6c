"""Event shapes: what tells a jet-like continuum event from a B decay, named as basf2 names them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.beams import Beams
from darksieve.datasets.features.particles import Particles
from darksieve.errors import InputError

LARGEST_ROE_MOMENTUM = 3.2  # GeV in the CMS: no decay of a B gives more; basf2, ContinuumSuppression.cc

_MOMENTS = ("hso00", "hso01", "hso02", "hso03", "hso04", "hso10", "hso12", "hso14", "hso20", "hso22", "hso24")
KSFW_VARIABLES = ("et", "mm2", *_MOMENTS, "hoo0", "hoo1", "hoo2", "hoo3", "hoo4")
CONES = tuple(range(1, 10))

EVENT_SHAPES: tuple[str, ...] = (
    "thrustBm",
    "thrustOm",
    "cosTBTO",
    "cosTBz",
    "foxWolframR1",
    "R2",
    "foxWolframR3",
    "foxWolframR4",
    *(f"CleoConeCS({i})" for i in CONES),
    *(f"CleoConeCS({i},ROE)" for i in CONES),
    *(f"KSFWVariables({name})" for name in KSFW_VARIABLES),
    *(f"KSFWVariables({name},FS1)" for name in KSFW_VARIABLES),
    "sphericity",
    "aplanarity",
    "visibleEnergyOfEventCMS",
    "missingEnergyOfEventCMS",
    "missingMomentumOfEventCMS",
    "missingMass2OfEvent",
)
"""Every column that :func:`event_shapes` gives, in its order."""

ALIASES = {
    "foxWolframR2": "R2",
    **{f"CleoCone({i})": f"CleoConeCS({i})" for i in CONES},
}
"""Other names for the same quantities -> the column's name here."""


def event_shapes(
    signal: Particles,
    rest_of_event: Particles,
    beams: Beams,
    *,
    primary_daughters: Particles | None = None,
    largest_roe_momentum: float = LARGEST_ROE_MOMENTUM,
) -> dict[str, NDArray[np.float64]]:
    """Event shapes of n candidates, from four-momenta in the centre-of-mass system.

    B is the candidate, O the rest of the event, x its charged (0) and neutral (1) particles and the missing
    momentum (2); sums over "all" are over the final-state particles of both. √s is the beams' energy.

    - ``thrustBm``, ``thrustOm``: max over n of Σ|p·n| / Σ|p|, exactly (every plane through two momenta).
    - ``cosTBTO``, ``cosTBz``: |cos| of the angle between the two thrust axes, and of B's with the z axis.
    - ``R2``, ``foxWolframR1``, ``foxWolframR3``, ``foxWolframR4``: H_k / H_0 with
      H_k = Σ_ij |p_i||p_j| P_k(cos θ_ij) over all, i = j too.
    - ``CleoConeCS(i)``: Σ|p| in GeV of all between 10(i−1) and 10i degrees from B's thrust axis, both of its
      ends together; ``CleoConeCS(i,ROE)``: of the rest of the event only.
    - ``KSFWVariables(hso<x><k>)``: Σ_{i in B, j in O_x} |p_j| P_k(cos θ_ij) / M, times q_i q_j for odd k (so
      charged only), M = 2(√s − E_B). ``KSFWVariables(hoo<k>)``: Σ over pairs of O and the missing momentum of
      |p_i||p_j| P_k(cos θ_ij) / M², times q_i q_j for odd k. ``KSFWVariables(et)``: Σ p_t in GeV.
      ``KSFWVariables(mm2)``: E² − p² of what is missing, GeV²; −E² − p² where its energy is negative.
      B's primary daughters stand for B; in ``KSFWVariables(…,FS1)`` its final-state particles do.
    - ``sphericity`` = 3/2 (λ₂ + λ₃), ``aplanarity`` = 3/2 λ₃ of the tensor Σ p_a p_b / Σ p² over all.
    - ``visibleEnergyOfEventCMS`` (of all), ``missingEnergyOfEventCMS`` = √s − visible,
      ``missingMomentumOfEventCMS`` (magnitude), in GeV; ``missingMass2OfEvent`` = E² − p² missing, in GeV².

    :data:`ALIASES` lists other names that basf2 has or had for some of them.

    Args:
        signal: The candidates' final-state particles.
        rest_of_event: The particles of the same events that are not the candidate's. basf2 takes those
            photons and K_L above 0.05 GeV in the laboratory: a choice that is made before.
        beams: Of the collision; only √s is used.
        primary_daughters: The candidates' direct daughters, as K and a of B → K a; None where they are the
            final-state particles.
        largest_roe_momentum: Particles of the rest of the event above it, in GeV, are left out, as in basf2;
            infinity keeps all.

    Returns:
        Name -> values of shape (n,), the names of :data:`EVENT_SHAPES`. Where the rest of the event is empty,
        its thrust and ``cosTBTO`` are NaN and its sums 0; where the candidate has no momentum, ``thrustBm``,
        ``cosTBTO``, ``cosTBz`` and the cones are NaN; without any particle, what is divided by their sums is.

    Raises:
        InputError: If the numbers of candidates differ, or a candidate has the whole energy of the collision.

    References:
        basf2, analysis/ContinuumSuppression: KsfwMoments.cc, CleoCones.cc, FoxWolfram.cc, Thrust.cc;
        G. C. Fox, S. Wolfram, Phys. Rev. Lett. 41 (1978) 1581; S. H. Lee et al. (Belle), Phys. Rev. Lett. 91
        (2003) 261801 (KSFW); D. M. Asner et al. (CLEO), Phys. Rev. D 53 (1996) 1039 (cones).
    """
    from darksieve.datasets.features import kernels

    primary = signal if primary_daughters is None else primary_daughters
    for name, other in (("rest_of_event", rest_of_event), ("primary_daughters", primary)):
        if len(other) != len(signal):
            raise InputError(
                f"{name} has {len(other)} candidates, signal has {len(signal)}: they are the same"
            )
    if not largest_roe_momentum > 0:
        raise InputError(
            f"largest_roe_momentum is {largest_roe_momentum}; a momentum in GeV above 0 is needed"
        )
    sums = np.concatenate([[0.0], np.cumsum(primary.momenta[:, 3])])
    energy = sums[primary.offsets[1:]] - sums[primary.offsets[:-1]]
    if (energy >= beams.sqrt_s).any():
        worst = int(np.argmax(energy))
        raise InputError(
            f"candidate {worst} has {energy[worst]:.4g} GeV of the collision's {beams.sqrt_s:.4g} GeV; "
            "are the momenta in the centre-of-mass system, in GeV?"
        )
    out = np.empty((kernels.N_COLUMNS, len(signal)))
    kernels.shapes(
        signal.momenta, signal.charge, signal.offsets,
        primary.momenta, primary.charge, primary.offsets,
        rest_of_event.momenta, rest_of_event.charge, rest_of_event.offsets,
        beams.sqrt_s, largest_roe_momentum, out,
    )  # fmt: skip
    sphericity, aplanarity = _sphericity(out[kernels.TENSOR : kernels.TENSOR + 6])
    visible, *momentum = out[kernels.VISIBLE :]
    missing = beams.sqrt_s - visible
    missing_p2 = sum(component**2 for component in momentum)
    derived = (sphericity, aplanarity, visible, missing, np.sqrt(missing_p2), missing**2 - missing_p2)
    return dict(zip(EVENT_SHAPES, (*out[: kernels.TENSOR], *derived), strict=True))


def _sphericity(tensor: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sphericity and aplanarity from xx, xy, xz, yy, yz, zz of shape (6, n)."""
    full = tensor[[0, 1, 2, 1, 3, 4, 2, 4, 5]].T.reshape(-1, 3, 3)
    known = np.isfinite(full).all(axis=(1, 2))
    sphericity, aplanarity = np.full((2, len(full)), np.nan)
    eigenvalues = np.clip(np.linalg.eigvalsh(full[known]), 0.0, None)  # rising; rounding may give -1e-17
    sphericity[known] = 1.5 * (eigenvalues[:, 0] + eigenvalues[:, 1])
    aplanarity[known] = 1.5 * eigenvalues[:, 0]
    return sphericity, aplanarity


def thrust(particles: Particles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Thrust and its axis, exactly.

    Returns:
        Thrust of shape (n,), NaN where there is no momentum; unit vectors along the axes, z >= 0 (zero
        vectors there), shape (n, 3).
    """
    from darksieve.datasets.features import kernels

    value, axes = np.empty(len(particles)), np.empty((len(particles), 3))
    kernels.thrusts(particles.momenta, particles.offsets, value, axes)
    return value, axes
