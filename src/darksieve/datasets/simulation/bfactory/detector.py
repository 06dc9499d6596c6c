"""The toy detector at the Υ(4S): numbers for tracks, particle identification, hadrons in the calorimeter.

Not a simulation of Belle or Belle II. The forms are those of public B-factory papers, quoted from memory;
where no source is named, a number is illustrative. Photons go through the calorimeter of the photon searches.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from darksieve.errors import InputError


def as_floats(numbers: Any) -> tuple[float, ...]:
    """The values of a dataclass of numbers; a whole number among them would compile the kernels anew."""
    return tuple(float(value) for value in asdict(numbers).values())


def _refuse_negative(section: str, values: dict[str, float], probabilities: tuple[str, ...]) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value >= 0):
            raise InputError(f"{section}.{name} is {value}; it is a finite number of at least 0")
        if name in probabilities and value > 1:
            raise InputError(f"{section}.{name} is {value}; a probability is at most 1")


@dataclass(frozen=True)
class Tracking:
    """Tracks: GeV, degrees, cm and radians as named."""

    # acceptance of the drift chamber: Belle II AcceptanceVariables.cc
    min_theta_deg: float = 17.0
    max_theta_deg: float = 150.0
    # efficiency × (1 - exp(-(p_t - threshold)/turn_on)); illustrative
    efficiency: float = 0.965
    threshold_pt: float = 0.05
    turn_on_pt: float = 0.045
    # a track that starts at radius r is found with a factor exp(-(r/lost_radius_cm)²); illustrative
    lost_radius_cm: float = 45.0
    # σ(p_t)/p_t = curvature p_t (+) scattering/β, p_t in GeV: Belle's drift chamber, from memory
    curvature: float = 0.0011
    scattering: float = 0.0030
    angle_sigma_rad: float = 0.0012  # of θ, and of φ times sin θ; illustrative
    # σ(dr), σ(dz) = constant (+) scattering/p_t, cm, p_t in GeV; illustrative
    impact_constant_cm: float = 0.003
    impact_scattering_cm: float = 0.006
    # K_S → ππ: both tracks are found, and a vertex beyond min_flight_cm with this efficiency; illustrative
    kshort_efficiency: float = 0.85
    kshort_min_flight_cm: float = 0.15
    kshort_flight_sigma_cm: float = 0.05
    kshort_mass_window: float = 0.015  # GeV to each side of the K_S mass
    # two tracks from the collision, of a mass inside the window, that make a vertex by chance; illustrative
    kshort_fake_probability: float = 0.004

    def __post_init__(self) -> None:
        values = asdict(self)
        _refuse_negative("tracking", values, ("efficiency", "kshort_efficiency", "kshort_fake_probability"))
        if not self.min_theta_deg < self.max_theta_deg <= 180:
            raise InputError(
                f"tracking acceptance {self.min_theta_deg} to {self.max_theta_deg} degrees does not rise "
                "below 180"
            )
        for name in ("turn_on_pt", "lost_radius_cm"):
            if values[name] == 0:
                raise InputError(f"tracking.{name} is 0; it must be positive")


@dataclass(frozen=True)
class Identification:
    """Particle identification: a Student-t measurement along one axis for each pair of neighbours.

    The separation of two hypotheses in standard deviations falls with momentum:
    K/π ``separation`` / (1 + (p/``momentum_gev``)²), so the likelihoods overlap more and more.
    Illustrative, set to some 90 % kaon efficiency at 4 % pion misidentification around 2.5 GeV
    (kaonID > 0.6), about what B factories quote (from memory).
    """

    kaon_pion: float = 6.0
    kaon_proton: float = 6.0
    lepton: float = 4.5  # of electrons and of muons from hadrons
    momentum_gev: float = 4.5
    degrees_of_freedom: float = 5.0  # of the Student t: its tails

    def __post_init__(self) -> None:
        _refuse_negative("identification", asdict(self), ())
        for name in ("momentum_gev", "degrees_of_freedom"):
            if getattr(self, name) == 0:
                raise InputError(f"identification.{name} is 0; it must be positive")


@dataclass(frozen=True)
class HadronShowers:
    """Hadrons in the calorimeter: clusters that look like photons; all illustrative."""

    neutral_probability: float = 0.5  # K_L and neutrons
    charged_probability: float = 0.08  # a cluster apart from the track's own
    threshold: float = 0.05  # GeV; energy = threshold + exponential of scale, at most the hadron's
    neutral_scale: float = 0.3
    charged_scale: float = 0.08
    charged_angle_rad: float = 0.15  # how far from the track's direction, exponential

    def __post_init__(self) -> None:
        _refuse_negative("showers", asdict(self), ("neutral_probability", "charged_probability"))
