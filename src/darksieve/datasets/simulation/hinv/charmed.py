"""Charmed h out of what is measured: D_s+ → φπ+, K_S K+ and D̄0 → K+π−, K+π−π0, K+2π−π+, and conjugates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from darksieve.constants import (
    D_S_MASS,
    D_ZERO_MASS,
    K_SHORT_MASS,
    KAON_MASS,
    PHI_MASS,
    PI0_MASS,
    PION_MASS,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

MAX_DAUGHTERS = 4
_PHI_PI, _K_SHORT_K = 1, 2  # numbers of the decays, as in channels.py
_K_PI, _K_PI_PI0, _K_3PI = 1, 2, 3


class MassWindows(NamedTuple):
    """Half-widths of the mass windows, GeV."""

    phi: float
    k_short: float
    pi0: float
    d_s: float
    d_zero: float
    d_zero_with_pi0: float


class MeasuredObjects(NamedTuple):
    """Tracks and clusters of many events, for combinatorics.

    Attributes:
        momentum: Three-momenta, GeV, shape (n, 3), in any one frame; of photons for clusters.
        charge: 0 for clusters, shape (n,).
        kaon, pion: Whether a track may be one, shape (n,).
        displaced: Whether a track may come from a K_S, shape (n,).
        offsets: Those of event e are from ``offsets[e]`` up to ``offsets[e + 1]``, shape (n_events + 1,).
    """

    momentum: Floats
    charge: Integers
    kaon: Flags
    pion: Flags
    displaced: Flags
    offsets: Integers


class Charmed(NamedTuple):
    """Candidates of a charmed h.

    Attributes:
        event: Shape (n,).
        decay: Number of the decay, shape (n,).
        charge: Of h, 0 for D0; shape (n,).
        kaon_charge: Of the kaon that tells D0 from its antiparticle, of D_s its own charge; shape (n,).
        momentum: Four-momenta with the measured mass, GeV, shape (n, 4).
        daughter_mass: Measured mass of φ, K_S or π0 in GeV, NaN where there is none; shape (n,).
        cos_helicity: Of K+ or K− from φ against D_s, NaN where there is no φ; shape (n,).
        objects: Positions of the daughters, -1 where there are fewer, shape (n, 4).
    """

    event: Integers
    decay: Integers
    charge: Integers
    kaon_charge: Integers
    momentum: Floats
    daughter_mass: Floats
    cos_helicity: Floats
    objects: Integers


_SCALARS = 4  # event, decay, charge, kaon charge
_NUMBERS = 6  # four-momentum, daughter's mass, helicity


def find_d_s(measured: MeasuredObjects, windows: MassWindows) -> Charmed:
    """All D_s candidates of both charges inside the windows."""
    return _collect(_find_d_s, measured, (windows.phi, windows.k_short, windows.d_s))


def find_d_zero(measured: MeasuredObjects, windows: MassWindows) -> Charmed:
    """All D0 candidates, particles and antiparticles, inside the windows."""
    return _collect(_find_d_zero, measured, (windows.pi0, windows.d_zero, windows.d_zero_with_pi0))


def _collect(kernel, measured: MeasuredObjects, windows: tuple[float, ...]) -> Charmed:  # type: ignore[no-untyped-def]
    capacity = 4 * len(measured.offsets) + 256
    while True:
        whole = np.empty((capacity, _SCALARS + MAX_DAUGHTERS), dtype=np.int64)
        numbers = np.empty((capacity, _NUMBERS))
        n = kernel(
            np.ascontiguousarray(measured.momentum, dtype=np.float64),
            measured.charge.astype(np.int64),
            measured.kaon,
            measured.pion,
            measured.displaced,
            measured.offsets.astype(np.int64),
            *windows,
            whole,
            numbers,
        )
        if n <= capacity:
            break
        capacity = n  # the kernel counts on when it is full
    whole, numbers = whole[:n], numbers[:n]
    event, decay, charge, kaon_charge = whole[:, :_SCALARS].T.copy()
    return Charmed(
        event=event,
        decay=decay,
        charge=charge,
        kaon_charge=kaon_charge,
        momentum=numbers[:, :4].copy(),
        daughter_mass=numbers[:, 4].copy(),
        cos_helicity=numbers[:, 5].copy(),
        objects=whole[:, _SCALARS:].copy(),
    )


@njit(cache=True)
def _four(momentum, mass):  # type: ignore[no-untyped-def]
    out = np.empty(4)
    out[:3] = momentum
    out[3] = np.sqrt(momentum[0] ** 2 + momentum[1] ** 2 + momentum[2] ** 2 + mass * mass)
    return out


@njit(cache=True)
def _mass(four):  # type: ignore[no-untyped-def]
    square = four[3] ** 2 - four[0] ** 2 - four[1] ** 2 - four[2] ** 2
    return np.sqrt(max(square, 0.0))


@njit(cache=True)
def _cosine_of_helicity(kaon, phi, d_s):  # type: ignore[no-untyped-def]
    """Cosine of the angle of the kaon against the D_s, turned round, in the rest frame of the φ."""
    m2 = phi[3] ** 2 - phi[0] ** 2 - phi[1] ** 2 - phi[2] ** 2
    k_phi = kaon[3] * phi[3] - kaon[0] * phi[0] - kaon[1] * phi[1] - kaon[2] * phi[2]
    d_phi = d_s[3] * phi[3] - d_s[0] * phi[0] - d_s[1] * phi[1] - d_s[2] * phi[2]
    k_d = kaon[3] * d_s[3] - kaon[0] * d_s[0] - kaon[1] * d_s[1] - kaon[2] * d_s[2]
    k_m2 = kaon[3] ** 2 - kaon[0] ** 2 - kaon[1] ** 2 - kaon[2] ** 2
    d_m2 = d_s[3] ** 2 - d_s[0] ** 2 - d_s[1] ** 2 - d_s[2] ** 2
    across = np.sqrt(max((k_phi**2 / m2 - k_m2) * (d_phi**2 / m2 - d_m2), 1e-30))
    return (k_d - k_phi * d_phi / m2) / across


@njit(cache=True)
def _put(  # type: ignore[no-untyped-def]
    whole, numbers, n, event, decay, charge, kaon_charge, four, daughter_mass, helicity, a, b, c, d
):
    if n < len(whole):
        whole[n] = (event, decay, charge, kaon_charge, a, b, c, d)
        numbers[n, :4] = four
        numbers[n, 4] = daughter_mass
        numbers[n, 5] = helicity
    return n + 1


@njit(cache=True)
def _find_d_s(  # type: ignore[no-untyped-def]
    momentum, charge, kaon, pion, displaced, offsets, phi_window, k_short_window, d_s_window, whole, numbers
):
    n = 0
    for event in range(len(offsets) - 1):
        low, high = offsets[event], offsets[event + 1]
        for i in range(low, high):
            for j in range(i + 1, high):
                if charge[i] == 0 or charge[i] + charge[j] != 0:
                    continue
                if kaon[i] and kaon[j]:
                    first = _four(momentum[i], KAON_MASS)
                    phi = first + _four(momentum[j], KAON_MASS)
                    phi_mass = _mass(phi)
                    if abs(phi_mass - PHI_MASS) < phi_window:
                        for k in range(low, high):
                            if charge[k] == 0 or k in (i, j) or not pion[k]:
                                continue
                            d_s = phi + _four(momentum[k], PION_MASS)
                            if abs(_mass(d_s) - D_S_MASS) < d_s_window:
                                cosine = _cosine_of_helicity(first, phi, d_s)
                                n = _put(
                                    whole, numbers, n, event, _PHI_PI, charge[k], charge[k], d_s, phi_mass,
                                    cosine, i, j, k, -1,
                                )  # fmt: skip
                if displaced[i] and displaced[j]:
                    k_short = _four(momentum[i], PION_MASS) + _four(momentum[j], PION_MASS)
                    k_short_mass = _mass(k_short)
                    if abs(k_short_mass - K_SHORT_MASS) < k_short_window:
                        for k in range(low, high):
                            if charge[k] == 0 or k in (i, j) or not kaon[k]:
                                continue
                            d_s = k_short + _four(momentum[k], KAON_MASS)
                            if abs(_mass(d_s) - D_S_MASS) < d_s_window:
                                n = _put(
                                    whole, numbers, n, event, _K_SHORT_K, charge[k], charge[k], d_s,
                                    k_short_mass, np.nan, i, j, k, -1,
                                )  # fmt: skip
    return n


@njit(cache=True)
def _find_d_zero(  # type: ignore[no-untyped-def]
    momentum, charge, kaon, pion, displaced, offsets, pi0_window, window, pi0_d_window, whole, numbers
):
    n = 0
    for event in range(len(offsets) - 1):
        low, high = offsets[event], offsets[event + 1]
        for i in range(low, high):
            if charge[i] == 0 or not kaon[i]:
                continue
            q = charge[i]
            for j in range(low, high):
                if charge[j] != -q or not pion[j]:
                    continue
                pair = _four(momentum[i], KAON_MASS) + _four(momentum[j], PION_MASS)
                pair_mass = _mass(pair)
                if abs(pair_mass - D_ZERO_MASS) < window:
                    n = _put(whole, numbers, n, event, _K_PI, 0, q, pair, np.nan, np.nan, i, j, -1, -1)
                if pair_mass > D_ZERO_MASS - PI0_MASS + pi0_d_window:
                    continue
                for k in range(low, high):
                    if charge[k] == 0:
                        for m in range(k + 1, high):
                            if charge[m] != 0:
                                continue
                            pi0 = _four(momentum[k], 0.0) + _four(momentum[m], 0.0)
                            pi0_mass = _mass(pi0)
                            if abs(pi0_mass - PI0_MASS) > pi0_window:
                                continue
                            # put on the π0's mass shell, along its direction
                            fitted = _four(pi0[:3] * (PI0_MASS / pi0_mass), PI0_MASS)
                            d_zero = pair + fitted
                            if abs(_mass(d_zero) - D_ZERO_MASS) < pi0_d_window:
                                n = _put(
                                    whole, numbers, n, event, _K_PI_PI0, 0, q, d_zero, pi0_mass, np.nan,
                                    i, j, k, m,
                                )  # fmt: skip
                    elif k > j and charge[k] == -q and pion[k]:
                        triple = pair + _four(momentum[k], PION_MASS)
                        if _mass(triple) > D_ZERO_MASS - PION_MASS + window:
                            continue
                        for m in range(low, high):
                            if charge[m] != q or m == i or not pion[m]:
                                continue
                            d_zero = triple + _four(momentum[m], PION_MASS)
                            if abs(_mass(d_zero) - D_ZERO_MASS) < window:
                                n = _put(
                                    whole, numbers, n, event, _K_3PI, 0, q, d_zero, np.nan, np.nan,
                                    i, j, k, m,
                                )  # fmt: skip
    return n
