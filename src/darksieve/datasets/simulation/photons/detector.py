"""The toy detector: the numbers that turn true photons into clusters. Not a simulation of Belle II or Belle.

Every number is an attribute of :class:`Detector`, to be changed at will. The functional forms are those of
public B-factory papers, quoted from memory; where no source is named, the number is illustrative.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.errors import InputError


@dataclass(frozen=True)
class Detector:
    """Numbers of the toy calorimeter and of its fake photons; GeV, degrees, mm and radians as named."""

    # acceptance of the calorimeter, with the two gaps between its parts: Belle II AcceptanceVariables.cc
    forward_start_deg: float = 12.4
    forward_end_deg: float = 31.4
    barrel_start_deg: float = 32.2
    barrel_end_deg: float = 128.7
    backward_start_deg: float = 130.7
    backward_end_deg: float = 155.1
    photon_efficiency: float = 0.955  # lost mostly to conversions; illustrative
    # sigma_E / E = noise/E (+) stochastic/E^(1/4) (+) constant, E in GeV: the Belle calorimeter, from memory
    energy_noise: float = 0.00066
    energy_stochastic: float = 0.0081
    energy_constant: float = 0.0134
    low_tail_fraction: float = 0.13  # clusters that leak; illustrative
    low_tail_sigmas: float = 1.7  # mean loss of those, in units of the resolution; illustrative
    # sigma_x = constant + root/sqrt(E) + fourth_root/E^(1/4), mm, at the radius: CsI(Tl), from memory
    position_constant_mm: float = 0.27
    position_root_mm: float = 3.4
    position_fourth_root_mm: float = 1.8
    position_radius_mm: float = 1350.0
    # two photons give one cluster with probability 1/(1 + exp((angle - merge_angle)/merge_width)); crystals
    # are some 40 mrad wide; illustrative
    merge_angle_rad: float = 0.055
    merge_width_rad: float = 0.008
    # clusters of beam background: Poisson number, energy = threshold + exponential; illustrative
    beam_background_mean: float = 1.5
    beam_background_threshold: float = 0.05
    beam_background_scale: float = 0.06
    # split-offs: probability per photon, energy = threshold + exponential of scale + slope × E(photon), at an
    # angle of at least split_off_min_angle with an exponential tail; illustrative
    split_off_probability: float = 0.12
    split_off_threshold: float = 0.05
    split_off_scale: float = 0.03
    split_off_slope: float = 0.006
    split_off_min_angle_rad: float = 0.06
    split_off_angle_scale_rad: float = 0.08

    def __post_init__(self) -> None:
        values = asdict(self)
        for name, value in values.items():
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"detector.{name} is {value}; it is a finite number of at least 0")
        for name in ("photon_efficiency", "low_tail_fraction", "split_off_probability"):
            if values[name] > 1:
                raise InputError(f"detector.{name} is {values[name]}; a probability is at most 1")
        for name in (
            "merge_width_rad", "beam_background_scale", "split_off_scale", "position_radius_mm",
            "split_off_angle_scale_rad",
        ):  # fmt: skip
            if values[name] == 0:
                raise InputError(f"detector.{name} is 0; it must be positive")
        edges = [values[name] for name in list(values)[:6]]
        if edges != sorted(edges) or edges[-1] > 180:
            raise InputError(f"detector acceptance edges must rise and end below 180 degrees: {edges}")

    def energy_resolution(self, energy: ArrayLike) -> NDArray[np.float64]:
        """Relative width of the Gaussian part of the energy response, sigma_E / E, at energies in GeV."""
        e = np.asarray(energy, dtype=np.float64)
        return np.sqrt(
            (self.energy_noise / e) ** 2 + (self.energy_stochastic / e**0.25) ** 2 + self.energy_constant**2
        )

    def angle_resolution(self, energy: ArrayLike) -> NDArray[np.float64]:
        """Angular resolution in radians (of theta, and of phi times sin theta) at energies in GeV."""
        e = np.asarray(energy, dtype=np.float64)
        sigma = (
            self.position_constant_mm
            + self.position_root_mm / np.sqrt(e)
            + self.position_fourth_root_mm / e**0.25
        )
        return sigma / self.position_radius_mm

    def in_acceptance(self, theta: ArrayLike) -> NDArray[np.bool_]:
        """Whether a laboratory polar angle in radians is seen by the calorimeter."""
        degrees = np.degrees(np.asarray(theta, dtype=np.float64))
        return (
            ((self.forward_start_deg < degrees) & (degrees < self.forward_end_deg))
            | ((self.barrel_start_deg < degrees) & (degrees < self.barrel_end_deg))
            | ((self.backward_start_deg < degrees) & (degrees < self.backward_end_deg))
        )

    def beam_background_rate(self, min_energy: float) -> float:
        """Mean number of beam-background clusters above an energy (laboratory, GeV)."""
        above = max(min_energy - self.beam_background_threshold, 0.0)
        return self.beam_background_mean * float(np.exp(-above / self.beam_background_scale))

    def split_off_rate(self, photon_energy: ArrayLike, min_energy: float) -> NDArray[np.float64]:
        """Probability that a photon (laboratory energies, GeV) makes a split-off above ``min_energy``."""
        scale = self.split_off_scale + self.split_off_slope * np.asarray(photon_energy, dtype=np.float64)
        above = max(min_energy - self.split_off_threshold, 0.0)
        return self.split_off_probability * np.exp(-above / scale)


# fewest and most clusters that pass
_N_CLUSTERS = {"exactly": (3, 3), "at_least": (3, 10_000), "two_to_four": (2, 4)}


@dataclass(frozen=True)
class Selection:
    """Preselection of events: clusters that count, and how many there are.

    Attributes:
        min_energy_cms: Smallest measured energy of a cluster in the CMS, GeV.
        min_energy_lab: Smallest measured energy in the laboratory, GeV; fakes below it are not simulated.
        clusters: ``exactly`` three clusters pass both thresholds, ``at_least`` three, of which the hardest
            are kept, or ``two_to_four``, all of which are kept.
    """

    min_energy_cms: float = 0.5
    min_energy_lab: float = 0.35
    clusters: str = "exactly"

    def __post_init__(self) -> None:
        if self.clusters not in _N_CLUSTERS:
            raise InputError(f"selection.clusters is {self.clusters!r}; it is one of {sorted(_N_CLUSTERS)}")
        for name in ("min_energy_cms", "min_energy_lab"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0.05):
                raise InputError(f"selection.{name} is {value}; clusters start at 0.05 GeV")

    @property
    def n_clusters(self) -> tuple[int, int]:
        """Fewest and most clusters of an event."""
        return _N_CLUSTERS[self.clusters]

    @property
    def n_places(self) -> int:
        """Clusters of an event that are kept."""
        return 4 if self.clusters == "two_to_four" else 3
