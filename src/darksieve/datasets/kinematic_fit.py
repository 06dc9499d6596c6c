"""Kinematic fit: photons that must carry the whole four-momentum of the beams."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from darksieve.datasets.beams import Beams
from darksieve.errors import InputError

_MAX_ITERATIONS = 30
_CLOSURE = 1e-9  # GeV, in each component of the four-momentum
_CHI2_STEP = 1e-7


@dataclass(frozen=True)
class PhotonResolution:
    """What the fit assumes of a photon's energy and direction.

    σ_E/E = noise/E ⊕ stochastic/E^(1/4) ⊕ constant with E in GeV, and σ_θ = σ_φ sin θ = constant + root/√E +
    fourth_root/E^(1/4) in mrad. The numbers are those of a CsI(Tl) calorimeter at 1.35 m, from memory.

    Raises:
        InputError: If a number is negative or not finite, or all of one kind vanish.
    """

    energy_noise: float = 0.00066
    energy_stochastic: float = 0.0081
    energy_constant: float = 0.0134
    angle_constant_mrad: float = 0.27 / 1.35
    angle_root_mrad: float = 3.4 / 1.35
    angle_fourth_root_mrad: float = 1.8 / 1.35

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"resolution.{name} is {value}; it is a finite number of at least 0")
        for kind in ("energy", "angle"):
            if not any(value for name, value in asdict(self).items() if name.startswith(kind)):
                raise InputError(f"resolution: one of the {kind} terms must be positive")

    def energy(self, energy: ArrayLike) -> NDArray[np.float64]:
        """σ_E in GeV of photons of that energy in GeV, same shape."""
        e = np.asarray(energy, dtype=np.float64)
        terms = (self.energy_noise / e, self.energy_stochastic / e**0.25, self.energy_constant)
        return e * np.sqrt(terms[0] ** 2 + terms[1] ** 2 + terms[2] ** 2)

    def angle(self, energy: ArrayLike) -> NDArray[np.float64]:
        """σ_θ in radians of photons of that energy in GeV, same shape."""
        e = np.asarray(energy, dtype=np.float64)
        mrad = (
            self.angle_constant_mrad
            + self.angle_root_mrad / np.sqrt(e)
            + self.angle_fourth_root_mrad / e**0.25
        )
        return 1e-3 * mrad


@dataclass(frozen=True)
class FittedPhotons:
    """Result of the fit.

    Attributes:
        momenta: Laboratory four-momenta of massless photons, shape (n, n_photons, 4), px, py, pz, E in GeV;
            NaN where the fit failed.
        chi2: Shape (n,), NaN where the fit failed. Four degrees of freedom.
        converged: Shape (n,).
    """

    momenta: NDArray[np.float64]
    chi2: NDArray[np.float64]
    converged: NDArray[np.bool_]


def fit_photons(
    momenta: NDArray[np.float64], beams: Beams, resolution: PhotonResolution | None = None
) -> FittedPhotons:
    """Least-squares energies and directions of photons whose sum is the beams' four-momentum.

    Energy, polar angle and azimuth of each photon move by their resolutions until the four constraints hold,
    which are linearised about the last step and solved by Lagrange multipliers. Widths are those of the
    measured energies.

    Args:
        momenta: Measured laboratory four-momenta, shape (n, n_photons, 4), px, py, pz, E in GeV; two photons
            or more. Directions are those of (px, py, pz), energies those of E.
        beams: The beams.
        resolution: Widths of energies and angles.

    Returns:
        Fitted photons. A photon without energy, and a fit that does not converge, have failed.

    Raises:
        ValueError: If the shape is another.

    References:
        P. Avery, "Applied fitting theory VI: formulas for kinematic fitting", CBX 98-37 (1998).
    """
    momenta = np.asarray(momenta, dtype=np.float64)
    if momenta.ndim != 3 or momenta.shape[1] < 2 or momenta.shape[2] != 4:
        raise ValueError(f"momenta have shape {momenta.shape}: (n, n_photons, 4) is needed, n_photons >= 2")
    resolution = resolution if resolution is not None else PhotonResolution()
    px, py, pz, energy = (momenta[..., i] for i in range(4))
    with np.errstate(all="ignore"):
        transverse = np.hypot(px, py)
        measured = np.stack([energy, np.arctan2(transverse, pz), np.arctan2(py, px)], axis=-1)
        angle = resolution.angle(energy)
        sigma = np.stack([resolution.energy(energy), angle, angle / np.sin(measured[..., 1])], axis=-1)
    out = np.empty(momenta.shape)
    chi2 = np.empty(len(momenta))
    _fit_all(measured, sigma**2, np.array(beams.four_momentum), out, chi2)
    return FittedPhotons(out, chi2, np.isfinite(chi2))


def fit_photons_present(
    momenta: NDArray[np.float64], beams: Beams, resolution: PhotonResolution | None = None
) -> FittedPhotons:
    """The fit where events may lack photons: each with the photons that it has.

    Three photons or more must carry the whole four-momentum. Two cannot, their recoil being lost, so they
    stay as they were measured, with a χ² of 0 at no degree of freedom.

    Args:
        momenta: As of :func:`fit_photons`; all four components NaN for a photon that is not there.
        beams: The beams.
        resolution: Widths of energies and angles.

    Returns:
        Fitted photons, NaN for those that are not there. Events with fewer than two photons, or with a photon
        of which only a part is finite, have failed.
    """
    momenta = np.asarray(momenta, dtype=np.float64)
    finite = np.isfinite(momenta)
    there = finite.all(axis=2)  # (n, n_photons)
    whole = np.logical_or(there, ~finite.any(axis=2)).all(axis=1)
    out = np.full(momenta.shape, np.nan)
    chi2 = np.full(len(momenta), np.nan)
    two = np.flatnonzero(whole & (there.sum(axis=1) == 2))
    out[two], chi2[two] = momenta[two], 0.0
    pattern = there @ (1 << np.arange(there.shape[1]))
    for own in np.unique(pattern):
        rows = np.flatnonzero(whole & (pattern == own))
        places = np.flatnonzero(own >> np.arange(there.shape[1]) & 1)
        if len(rows) and len(places) > 2:
            fitted = fit_photons(momenta[np.ix_(rows, places)], beams, resolution)
            out[np.ix_(rows, places)] = fitted.momenta
            chi2[rows] = fitted.chi2
    return FittedPhotons(out, chi2, np.isfinite(chi2))


@njit(cache=True, nogil=True)
def _solve_positive(matrix, vector):  # type: ignore[no-untyped-def]
    """Solve a positive definite 4 × 4 system in place by Cholesky; False if it is not positive definite."""
    for i in range(4):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                matrix[i, i] = np.sqrt(total)
            else:
                matrix[i, j] = total / matrix[j, j]
    for i in range(4):
        for k in range(i):
            vector[i] -= matrix[i, k] * vector[k]
        vector[i] /= matrix[i, i]
    for i in range(3, -1, -1):
        for k in range(i + 1, 4):
            vector[i] -= matrix[k, i] * vector[k]
        vector[i] /= matrix[i, i]
    return True


@njit(cache=True, nogil=True)
def _fit_all(measured, variance, target, out, chi2_out):  # type: ignore[no-untyped-def]
    """Fit each event; parameters are energy, polar angle and azimuth of each photon."""
    n, n_photons, _ = measured.shape
    slopes = np.empty((n_photons, 3, 4))  # of px, py, pz, E in each parameter
    fitted = np.empty((n_photons, 3))
    matrix = np.empty((4, 4))
    multipliers = np.empty(4)
    for event in range(n):
        usable = True
        for i in range(n_photons):
            for a in range(3):
                fitted[i, a] = measured[event, i, a]
                usable = usable and np.isfinite(variance[event, i, a]) and np.isfinite(fitted[i, a])
            usable = usable and fitted[i, 0] > 0.0
        chi2 = 0.0
        chi2_before = -1.0
        converged = False
        for iteration in range(_MAX_ITERATIONS + 1):
            if not usable:
                break
            # the constraints at the last step, their slopes, and what the measured point would give
            for c in range(4):
                multipliers[c] = -target[c]
            gap = 0.0
            for i in range(n_photons):
                energy, theta, phi = fitted[i, 0], fitted[i, 1], fitted[i, 2]
                sin_theta, cos_theta = np.sin(theta), np.cos(theta)
                sin_phi, cos_phi = np.sin(phi), np.cos(phi)
                slopes[i, 0, 0] = sin_theta * cos_phi
                slopes[i, 0, 1] = sin_theta * sin_phi
                slopes[i, 0, 2] = cos_theta
                slopes[i, 0, 3] = 1.0
                slopes[i, 1, 0] = energy * cos_theta * cos_phi
                slopes[i, 1, 1] = energy * cos_theta * sin_phi
                slopes[i, 1, 2] = -energy * sin_theta
                slopes[i, 1, 3] = 0.0
                slopes[i, 2, 0] = -energy * sin_theta * sin_phi
                slopes[i, 2, 1] = energy * sin_theta * cos_phi
                slopes[i, 2, 2] = 0.0
                slopes[i, 2, 3] = 0.0
                for c in range(4):
                    multipliers[c] += energy * slopes[i, 0, c]
            for c in range(4):
                gap = max(gap, abs(multipliers[c]))
            if gap < _CLOSURE and abs(chi2 - chi2_before) < _CHI2_STEP * (1.0 + chi2):
                converged = True
                break
            if iteration == _MAX_ITERATIONS:
                break
            for c in range(4):
                for d in range(c + 1):
                    total = 0.0
                    for i in range(n_photons):
                        for a in range(3):
                            total += slopes[i, a, c] * variance[event, i, a] * slopes[i, a, d]
                    matrix[c, d] = total
            for i in range(n_photons):
                for a in range(3):
                    step = measured[event, i, a] - fitted[i, a]
                    for c in range(4):
                        multipliers[c] += slopes[i, a, c] * step
            if not _solve_positive(matrix, multipliers):
                break
            chi2_before = chi2
            chi2 = 0.0
            for i in range(n_photons):
                for a in range(3):
                    pull = 0.0
                    for c in range(4):
                        pull += slopes[i, a, c] * multipliers[c]
                    fitted[i, a] = measured[event, i, a] - variance[event, i, a] * pull
                    chi2 += variance[event, i, a] * pull * pull
                usable = usable and fitted[i, 0] > 0.0
            usable = usable and np.isfinite(chi2)
        chi2_out[event] = chi2 if converged else np.nan
        for i in range(n_photons):
            for c in range(4):
                out[event, i, c] = fitted[i, 0] * slopes[i, 0, c] if converged else np.nan
