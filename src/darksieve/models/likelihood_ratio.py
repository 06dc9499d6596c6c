"""The exact leading-order likelihood ratio of γa(→γγ) against γγγ: the ceiling of any classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from darksieve.constants import UPSILON_4S_MASS
from darksieve.datasets.simulation.photons.qed import three_photon_matrix_element

COLUMNS = ("E_pair1", "E_pair2", "E_recoil", "cosTheta_pair1", "cosTheta_pair2", "cosThetaRecoil")


def cms_momenta(columns: Mapping[str, NDArray]) -> NDArray[np.float64]:
    """Four-momenta (px, py, pz, E) in the CMS of pair1, pair2 and recoil, shape (n, 3, 4), in GeV.

    The azimuths follow from the balance of the transverse momenta, up to a common rotation and a reflection,
    neither of which unpolarised beams can tell; where the momenta do not balance (no kinematic fit) they are
    those of the nearest triangle.

    Args:
        columns: ``COLUMNS``, shape (n,) each: energies in GeV and polar cosines, in the CMS.
    """
    energies = np.stack([np.asarray(columns[name], dtype=np.float64) for name in COLUMNS[:3]], axis=1)
    cosines = np.stack([np.asarray(columns[name], dtype=np.float64) for name in COLUMNS[3:]], axis=1)
    across = energies * np.sqrt(np.clip(1 - cosines**2, 0, None))  # (n, 3), transverse momenta
    t1, t2, t3 = across.T
    with np.errstate(divide="ignore", invalid="ignore"):
        cos1 = np.nan_to_num((t2**2 - t1**2 - t3**2) / (2 * t1 * t3), nan=1.0)
        cos2 = np.nan_to_num((t1**2 - t2**2 - t3**2) / (2 * t2 * t3), nan=1.0)
    cos1, cos2 = np.clip(cos1, -1, 1), np.clip(cos2, -1, 1)
    momenta = np.empty((len(energies), 3, 4))
    momenta[:, 0, 0], momenta[:, 0, 1] = t1 * cos1, t1 * np.sqrt(1 - cos1**2)
    momenta[:, 1, 0], momenta[:, 1, 1] = t2 * cos2, -t2 * np.sqrt(1 - cos2**2)
    momenta[:, 2, 0], momenta[:, 2, 1] = t3, 0.0
    momenta[:, :, 2] = energies * cosines
    momenta[:, :, 3] = energies
    return momenta


def log_likelihood_ratio(
    columns: Mapping[str, NDArray], *, sqrt_s: float = UPSILON_4S_MASS
) -> NDArray[np.float64]:
    """ln[(1 + cos²θ) / |M|²] of a candidate: signal over QED at the candidate's own mass, up to a constant.

    The pseudoscalar's production goes as 1 + cos²θ of the recoil photon and its decay is isotropic; phase
    space at a given mass cancels. So the ratio orders candidates of one mass as well as anything can.

    Args:
        columns: Candidate columns ``COLUMNS``, shape (n,) each, as a rule after the kinematic fit.
        sqrt_s: Centre-of-mass energy in GeV.

    Returns:
        Shape (n,).

    References:
        F. A. Berends, R. Kleiss, Nucl. Phys. B 186 (1981) 22, for |M|².
    """
    cos_recoil = np.asarray(columns["cosThetaRecoil"], dtype=np.float64)
    return np.log1p(cos_recoil**2) - np.log(three_photon_matrix_element(cms_momenta(columns), sqrt_s))


def mean_ratio_in_mass(
    log_ratio: NDArray, mass: NDArray, weight: NDArray, *, n_slices: int = 20, degree: int = 2
) -> Callable[[NDArray], NDArray[np.float64]]:
    """ln of the background's mean likelihood ratio as a function of mass, within a window about a mass.

    ``log_likelihood_ratio`` is known up to a factor that depends on the mass; less this function it is that
    of two densities at each mass, whose mean over background is 1. Without it candidates with the same angles
    are ordered by mass, and a cut, or a sum over bins of the ratio, also selects in mass.

    Args:
        log_ratio: Of background candidates, shape (n,).
        mass: Their masses in GeV, shape (n,).
        weight: Not negative, shape (n,).
        n_slices: Slices in mass of as many rows each, in which the mean is taken.
        degree: Of the polynomial through ln of the means.
    """
    edges = np.quantile(mass, np.linspace(0, 1, n_slices + 1))
    slices = np.clip(np.searchsorted(edges, mass, side="right") - 1, 0, n_slices - 1)
    height = log_ratio.max()
    total = np.bincount(slices, weight * np.exp(log_ratio - height), n_slices)
    mean = total / np.bincount(slices, weight, n_slices)
    centre = np.bincount(slices, mass, n_slices) / np.bincount(slices, minlength=n_slices)
    smooth = np.polynomial.Polynomial.fit(centre, np.log(mean), degree)
    return lambda values: height + smooth(values)
