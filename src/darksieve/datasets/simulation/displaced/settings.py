"""Settings of the displaced processes: the dark sector, tracker, material, spectra and preselection.

Not a simulation of Belle II or Belle. Forms and numbers are those of public B-factory papers, from memory,
where a line says so; the others are illustrative.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from darksieve.datasets.simulation.displaced.lifetimes import LifetimeRange
from darksieve.datasets.simulation.settings import Settings
from darksieve.errors import InputError


def _check_numbers(part: object, place: str, *, probabilities: tuple[str, ...] = ()) -> None:
    for name, value in vars(part).items():
        for number in value if isinstance(value, tuple) else (value,):
            if not (np.isfinite(number) and number >= 0):
                raise InputError(f"{place}.{name} is {value}; it is finite and at least 0")
            if name in probabilities and number > 1:
                raise InputError(f"{place}.{name} is {value}; a probability is at most 1")


@dataclass(frozen=True)
class DarkSector:
    """Six of the model's seven parameters; the mass of h' is the sample's.

    The model (M. Duerr et al., arXiv:2012.08595) has the masses of h', A', χ1 and χ2, the kinetic mixing ε,
    the Higgs mixing θ and the dark coupling α_D. Here the mean proper decay lengths of h' and χ2 stand for θ
    and ε, and the rate, which α_D sets with ε, is what the limit is on.

    Attributes:
        dark_photon_mass: m(A') in GeV.
        chi1_mass: m(χ1) in GeV, stable and unseen.
        chi2_mass: m(χ2) in GeV.
        hprime_ctau_cm: Smallest and largest cτ of h'; flat in the logarithm between.
        chi2_ctau_cm: The same of χ2.
    """

    dark_photon_mass: float = 3.0  # 3 m(χ1), a usual choice; illustrative
    chi1_mass: float = 1.0  # illustrative
    chi2_mass: float = 1.4  # a splitting of 0.4 m(χ1); illustrative
    hprime_ctau_cm: tuple[float, ...] = (0.01, 1000.0)  # illustrative
    chi2_ctau_cm: tuple[float, ...] = (0.01, 1000.0)  # illustrative

    def __post_init__(self) -> None:
        _check_numbers(self, "model")
        for name in ("hprime_ctau_cm", "chi2_ctau_cm"):
            value = getattr(self, name)
            if len(value) != 2:
                raise InputError(f"model.{name} is {list(value)}; it is two lengths in cm")
            LifetimeRange(*value)
        if self.chi2_mass - self.chi1_mass <= 2 * 0.000511:
            raise InputError(
                f"model.chi2_mass is {self.chi2_mass} GeV: χ2 → χ1 e+e- needs more than chi1_mass "
                f"{self.chi1_mass} GeV and two electrons"
            )
        if self.dark_photon_mass <= self.chi1_mass + self.chi2_mass:
            raise InputError(
                f"model.dark_photon_mass is {self.dark_photon_mass} GeV: A' → χ1 χ2 needs more than "
                f"{self.chi1_mass + self.chi2_mass} GeV"
            )

    @property
    def hprime_lifetimes(self) -> LifetimeRange:
        return LifetimeRange(*self.hprime_ctau_cm)

    @property
    def chi2_lifetimes(self) -> LifetimeRange:
        return LifetimeRange(*self.chi2_ctau_cm)


@dataclass(frozen=True)
class Tracker:
    """Numbers of the toy tracker; cm, GeV, mrad and degrees as named."""

    start_deg: float = 17.0  # acceptance of the drift chamber: Belle II AcceptanceVariables.cc
    end_deg: float = 150.0
    # efficiency = plateau (1 - exp(-(pt - threshold)/scale)); illustrative
    track_efficiency: float = 0.965
    track_threshold: float = 0.05
    track_scale: float = 0.045
    # sigma_pt / pt = slope pt (+) scattering / beta: a drift chamber in 1.5 T, from memory
    momentum_slope: float = 0.0011
    momentum_scattering: float = 0.0030
    angle_mrad: float = 1.0  # of theta and phi at the beam pipe; illustrative
    angle_growth_per_cm: float = 0.02  # relative growth with the vertex's radius: fewer hits; illustrative
    # efficiency to find a vertex of two found tracks, and its resolution across the flight, in steps of its
    # radius: inside the beam pipe, between the silicon layers, in the drift chamber; linear between; the
    # efficiency is 0 beyond the last radius; illustrative
    radii_cm: tuple[float, ...] = (0.0, 1.0, 4.0, 10.0, 14.0, 25.0, 40.0, 60.0, 80.0)
    vertex_efficiency: tuple[float, ...] = (0.85, 0.85, 0.80, 0.70, 0.55, 0.40, 0.25, 0.08, 0.0)
    vertex_resolution_cm: tuple[float, ...] = (0.0025, 0.003, 0.005, 0.01, 0.03, 0.05, 0.06, 0.08, 0.1)
    max_z_cm: float = 100.0  # |z| of a vertex that can be found; illustrative
    # nearly parallel tracks share hits: × (1 - exp(-angle/scale)); illustrative
    opening_scale_rad: float = 0.003
    max_along_flight_cm: float = 0.5  # the resolution along the flight is no worse: curvature; illustrative
    tail_fraction: float = 0.01  # vertices with ten times the resolution; illustrative
    beam_spot_cm: tuple[float, ...] = (0.0010, 0.00003, 0.035)  # x, y, z at SuperKEKB, from memory
    # separation of log likelihoods in units of their spread, at its best; illustrative
    electron_separation: float = 5.0
    muon_separation: float = 4.0
    kaon_separation: float = 3.5

    def __post_init__(self) -> None:
        _check_numbers(
            self,
            "tracker",
            probabilities=("track_efficiency", "vertex_efficiency", "tail_fraction"),
        )
        lengths = {len(self.radii_cm), len(self.vertex_efficiency), len(self.vertex_resolution_cm)}
        if len(lengths) != 1 or len(self.radii_cm) < 2:
            raise InputError(
                "tracker.radii_cm, vertex_efficiency and vertex_resolution_cm have one number per radius,"
                f" two or more; they have {sorted(lengths)}"
            )
        if min(self.vertex_resolution_cm) == 0 or self.max_along_flight_cm == 0:
            raise InputError(
                "tracker.vertex_resolution_cm and max_along_flight_cm are positive: no vertex is exact"
            )
        if self.radii_cm[0] != 0 or any(np.diff(self.radii_cm) <= 0):
            raise InputError(f"tracker.radii_cm is {list(self.radii_cm)}; it begins at 0 and rises")
        if len(self.beam_spot_cm) != 3:
            raise InputError(f"tracker.beam_spot_cm is {list(self.beam_spot_cm)}; it is x, y and z")
        for name in ("track_scale", "opening_scale_rad"):
            if getattr(self, name) == 0:
                raise InputError(f"tracker.{name} is 0; it must be positive")


@dataclass(frozen=True)
class Material:
    """Cylinders about the beams in which photons convert: radii and thicknesses at normal incidence.

    Beam pipe, two pixel layers, four strip layers, the drift chamber's inner wall; radii and thicknesses of
    Belle II from memory.
    """

    radii_cm: tuple[float, ...] = (1.0, 1.4, 2.2, 3.9, 8.0, 10.4, 13.5, 16.0)
    radiation_lengths: tuple[float, ...] = (0.008, 0.002, 0.002, 0.007, 0.007, 0.007, 0.007, 0.003)
    layer_cm: float = 0.05  # how thick a layer is in space; illustrative

    def __post_init__(self) -> None:
        _check_numbers(self, "material")
        if len(self.radii_cm) != len(self.radiation_lengths) or not self.radii_cm:
            raise InputError("material.radii_cm and radiation_lengths have one number per layer")
        if self.radii_cm[0] <= 0 or any(np.diff(self.radii_cm) <= 0):
            raise InputError(f"material.radii_cm is {list(self.radii_cm)}; it is positive and rises")


@dataclass(frozen=True)
class Spectra:
    """Rates of backgrounds, and momenta in hadronic events: dN/dp ∝ p²/E exp(-E/T) in the CMS.

    Numbers per event and temperatures T of the continuum were fitted to 20 000 events of Pythia 8.317
    (e+e- → u, d, s, c at √s = 10.58 GeV, no initial-state radiation); the fitted spectra have Pythia's mean
    momenta to 2 %. Directions follow 1 + cos²θ; particles of an event are independent of each other.
    """

    continuum_fb: float = 3.69e6  # e+e- → u, d, s, c at the Υ(4S), from memory
    upsilon_fb: float = 1.11e6  # e+e- → BB at the Υ(4S), from memory
    kshort_number: float = 0.467
    kshort_temperature: float = 0.475
    lambda_number: float = 0.097
    lambda_temperature: float = 0.441
    pion_number: float = 5.35
    pion_temperature: float = 0.367
    photon_number: float = 6.96
    photon_temperature: float = 0.1905
    kshort_to_pions: float = 0.692  # B(K_S → π+π-), PDG, from memory
    lambda_to_proton: float = 0.641  # B(Λ → pπ-), PDG, from memory
    fake_vertex_probability: float = 1e-3  # of a pair of prompt pions; illustrative
    fake_vertex_cm: float = 1.0  # mean radius of a fake vertex; illustrative
    dzero_number: float = 1.2  # D0 and anti-D0 per BB, from memory
    dzero_temperature: float = 0.25  # momenta of D from B reach 2.3 GeV; illustrative
    dzero_to_kpipi0: float = 0.144  # B(D0 → K-π+π0), PDG, from memory
    rest_tracks: float = 4.5  # further charged particles that are seen; illustrative
    rest_energy: float = 0.75  # mean visible fraction of what is left of √s; illustrative

    def __post_init__(self) -> None:
        _check_numbers(
            self,
            "spectra",
            probabilities=(
                "kshort_to_pions", "lambda_to_proton", "fake_vertex_probability", "dzero_to_kpipi0",
                "rest_energy",
            ),
        )  # fmt: skip
        for name, value in asdict(self).items():
            if name.endswith("_temperature") and value == 0:
                raise InputError(f"spectra.{name} is 0; it must be positive")


@dataclass(frozen=True)
class Preselection:
    """What is written: trigger-like, and at least one displaced vertex; illustrative.

    Attributes:
        min_displacement_cm: Smallest transverse distance of the farther one of the two vertices.
        trigger_tracks: Tracks that fire the track trigger: as many ...
        trigger_pt: ... with this transverse momentum ...
        trigger_radius_cm: ... that begin inside this radius; or
        trigger_energy: this much electron energy in the calorimeter fires the energy trigger, GeV.
        max_pair_mass: Largest e+e- mass, GeV.
    """

    min_displacement_cm: float = 0.05
    trigger_tracks: int = 2
    trigger_pt: float = 0.3
    trigger_radius_cm: float = 16.0
    trigger_energy: float = 1.0
    max_pair_mass: float = 3.0

    def __post_init__(self) -> None:
        _check_numbers(self, "selection")
        if self.trigger_tracks > 4:
            raise InputError(f"selection.trigger_tracks is {self.trigger_tracks}; a candidate has four")


@dataclass(frozen=True)
class DisplacedSettings(Settings):
    """Everything but masses, seed and size that decides what a displaced sample contains."""

    model: DarkSector = field(default_factory=DarkSector)
    tracker: Tracker = field(default_factory=Tracker)
    material: Material = field(default_factory=Material)
    spectra: Spectra = field(default_factory=Spectra)
    selection: Preselection = field(default_factory=Preselection)

    def unit_and_source(self) -> dict[str, dict[str, float | str]]:
        sources = {
            "continuum_fb": ("fb", "e+e- → u, d, s, c at the Υ(4S), from memory"),
            "upsilon_fb": ("fb", "e+e- → BB at the Υ(4S), from memory"),
            "kshort_number": ("1", "per continuum event, Pythia 8.317"),
            "lambda_number": ("1", "per continuum event, Pythia 8.317"),
            "pion_number": ("1", "per continuum event, Pythia 8.317"),
            "photon_number": ("1", "per continuum event, Pythia 8.317"),
            "kshort_to_pions": ("1", "PDG, from memory"),
            "lambda_to_proton": ("1", "PDG, from memory"),
            "fake_vertex_probability": ("1", "illustrative"),
            "dzero_number": ("1", "per BB event, from memory"),
            "dzero_to_kpipi0": ("1", "PDG, from memory"),
        }
        default = Spectra()
        return {
            name: {
                "value": getattr(self.spectra, name),
                "unit": unit,
                "source": source
                if getattr(self.spectra, name) == getattr(default, name)
                else f"settings (default {getattr(default, name)})",
            }
            for name, (unit, source) in sources.items()
        }
