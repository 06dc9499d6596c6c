"""Sources of true photons: what each process makes in the CMS, and with which cross section."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np

from darksieve.constants import ALPHA_QED, GEV2_TO_FB, OMEGA_MASS, PI0_MASS
from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.decays import (
    Floats,
    decay_with_photon,
    direction,
    massless,
    one_plus_cosine_squared,
    photon_and_recoil,
    uniform_sphere,
)
from darksieve.datasets.simulation.photons.detector import Detector
from darksieve.datasets.simulation.photons.qed import ThreePhotonGenerator
from darksieve.errors import InputError

# particle numbers of the photons' mothers; 0: none
ALP_PDG = 9000005
ETA_PDG, ETA_PRIME_PDG, OMEGA_PDG, PI0_PDG = 221, 331, 223, 111


class Source(Protocol):
    """Generator of one process: photons in the CMS, shape (n, n_photons, 4), and their cross section."""

    @property
    def mothers(self) -> tuple[int, ...]:
        """Particle number of each photon's mother, 0 for none."""

    @property
    def force_fake(self) -> bool:
        """Whether the detector has to add at least one fake cluster."""

    @property
    def cross_section_fb(self) -> float:
        """Inside the generator's cuts, times branching fractions and filters."""

    @property
    def cross_section_error_fb(self) -> float:
        """Statistical error of it; 0 where it is a formula or a config number."""

    def generate(self, rng: np.random.Generator, n_events: int) -> Floats:
        """CMS four-momenta of ``n_events`` unweighted events."""


class ThreePhotonSource(ThreePhotonGenerator):
    """e+e- -> γγγ at leading order."""

    mothers = (0, 0, 0)
    force_fake = False


def photon_with_resonance(rng: np.random.Generator, sqrt_s: float, masses: Floats) -> Floats:
    """e+e- -> γX, X -> γγ for a spinless X: 1 + cos²θ of the first photon, isotropic decay.

    Args:
        masses: Mass of X in each event, GeV, above 0 and below ``sqrt_s``, shape (n,).

    Returns:
        CMS four-momenta of the recoil photon and the two from X, shape (n, 3, 4).
    """
    n = len(masses)
    photon, resonance = photon_and_recoil(
        sqrt_s, masses, one_plus_cosine_squared(rng, n), rng.uniform(-np.pi, np.pi, n)
    )
    first, second = decay_with_photon(resonance, masses, 0.0, *uniform_sphere(rng, n))
    return np.stack([photon, first, second], axis=1)


@dataclass(frozen=True)
class ResonanceSource:
    """e+e- -> γX, X -> γγ with a narrow X in the full solid angle; the rate includes the decay."""

    sqrt_s: float
    mass: float
    pdg: int
    cross_section_fb: float
    cross_section_error_fb: float = 0.0

    force_fake: ClassVar[bool] = False

    @property
    def mothers(self) -> tuple[int, ...]:
        return (0, self.pdg, self.pdg)

    def generate(self, rng: np.random.Generator, n_events: int) -> Floats:
        return photon_with_resonance(rng, self.sqrt_s, np.full(n_events, self.mass))


def pole_cosine(rng: np.random.Generator, n: int, low: float, high: float) -> Floats:
    """Draws of cos θ from 1/(1 - cos²θ) between two bounds, shape (n,)."""
    return np.tanh(rng.uniform(np.arctanh(low), np.arctanh(high), n))


@dataclass(frozen=True)
class OmegaSource:
    """e+e- -> γω, ω -> π0 γ, π0 -> γγ by initial-state radiation; γ* -> γω itself is forbidden by C.

    The radiated photon is peaked along the beams, inside bounds of its CMS polar angle. The ω that balances a
    hard photon is transverse, so its decay photon follows 1 + cos² of the helicity angle.

    References:
        M. Benayoun et al., Mod. Phys. Lett. A 14 (1999) 2605, hep-ph/9910523: the radiator.
    """

    sqrt_s: float
    electron_width: float
    width: float
    branching_fraction: float
    min_cos_theta: float
    max_cos_theta: float

    mothers: ClassVar[tuple[int, ...]] = (0, OMEGA_PDG, PI0_PDG, PI0_PDG)
    force_fake: ClassVar[bool] = False

    @property
    def cross_section_fb(self) -> float:
        """12 π² Γ_ee B / (m s) × W(x), W the radiator integrated over the photon's polar angle."""
        s = self.sqrt_s**2
        x = 1 - OMEGA_MASS**2 / s
        poles = np.arctanh(self.max_cos_theta) - np.arctanh(self.min_cos_theta)  # of 1/(1 - c²)
        radiator = (
            ALPHA_QED
            / (np.pi * x)
            * ((2 - 2 * x + x**2) * poles - x**2 / 2 * (self.max_cos_theta - self.min_cos_theta))
        )
        narrow = 12 * np.pi**2 * self.electron_width / (OMEGA_MASS * s)
        return float(GEV2_TO_FB * narrow * radiator * self.branching_fraction)

    @property
    def cross_section_error_fb(self) -> float:
        return 0.0

    def generate(self, rng: np.random.Generator, n_events: int) -> Floats:
        masses = self._masses(rng, n_events)
        photon, omega = photon_and_recoil(
            self.sqrt_s, masses, self._cosines(rng, n_events), rng.uniform(-np.pi, np.pi, n_events)
        )
        decay_photon, pi0 = decay_with_photon(
            omega,
            masses,
            PI0_MASS,
            one_plus_cosine_squared(rng, n_events),
            rng.uniform(-np.pi, np.pi, n_events),
        )
        first, second = decay_with_photon(
            pi0, np.full(n_events, PI0_MASS), 0.0, *uniform_sphere(rng, n_events)
        )
        return np.stack([photon, decay_photon, first, second], axis=1)

    def _masses(self, rng: np.random.Generator, n: int) -> Floats:
        """Breit-Wigner line, cut at 15 widths, well above the π0 mass."""
        edge = np.arctan(2 * min(15 * self.width, OMEGA_MASS / 2) / self.width) if self.width > 0 else 0.0
        return OMEGA_MASS + 0.5 * self.width * np.tan(edge * rng.uniform(-1, 1, n))

    def _cosines(self, rng: np.random.Generator, n: int) -> Floats:
        x = 1 - OMEGA_MASS**2 / self.sqrt_s**2
        out = np.empty(0)
        while len(out) < n:
            trial = pole_cosine(rng, 2 * (n - len(out)) + 16, self.min_cos_theta, self.max_cos_theta)
            kept = rng.random(len(trial)) < 1 - x**2 / 2 * (1 - trial**2) / (2 - 2 * x + x**2)
            out = np.concatenate([out, trial[kept]])
        return out[:n]


@dataclass(frozen=True)
class TwoPhotonSource:
    """e+e- -> γγ with at least one fake cluster above a threshold: the generator makes no others.

    The cross section is that of γγ inside 10 to 170 degrees (CMS) times the probability of such a fake, which
    is integrated over the angles; the detector draws the fakes from the conditional distribution.
    """

    beams: Beams
    detector: Detector
    min_fake_energy: float
    two_photon_cross_section_fb: float

    mothers: ClassVar[tuple[int, ...]] = (0, 0)
    force_fake: ClassVar[bool] = True
    max_cosine: ClassVar[float] = float(np.cos(np.radians(10.0)))

    @cached_property
    def fake_probability(self) -> float:
        """Mean probability of at least one fake above the threshold."""
        # the density is (1 + c²)/(1 - c²) dc = (1 + tanh² y) dy with c = tanh y: smooth in y
        nodes, weights = np.polynomial.legendre.leggauss(64)
        cosine = np.tanh(np.arctanh(self.max_cosine) * nodes)
        azimuth = np.linspace(-np.pi, np.pi, 64, endpoint=False)
        c, phi = np.meshgrid(cosine, azimuth, indexing="ij")
        of_direction = self._probability(self._photons(c.ravel(), phi.ravel())).reshape(c.shape).mean(axis=1)
        density = weights * (1 + cosine**2)
        return float((density * of_direction).sum() / density.sum())

    @property
    def cross_section_fb(self) -> float:
        return self.two_photon_cross_section_fb * self.fake_probability

    @property
    def cross_section_error_fb(self) -> float:
        return 0.0

    def _photons(self, cosine: Floats, azimuth: Floats) -> Floats:
        unit = direction(cosine, azimuth)
        energy = np.full(len(unit), 0.5 * self.beams.sqrt_s)
        return np.stack([massless(energy, unit), massless(energy, -unit)], axis=1)

    def _probability(self, photons: Floats) -> Floats:
        to_lab = self.beams.cms_to_lab[3]
        lab_energy = (photons * to_lab).sum(axis=-1)
        no_split_off = 1 - self.detector.split_off_rate(lab_energy, self.min_fake_energy)
        no_beam = np.exp(-self.detector.beam_background_rate(self.min_fake_energy))
        return 1 - no_beam * no_split_off.prod(axis=1)

    @cached_property
    def _largest_probability(self) -> float:
        _, _, _, energy = self.beams.four_momentum
        hardest = 0.5 * (energy + np.sqrt(energy**2 - self.beams.sqrt_s**2))
        none = (1 - self.detector.split_off_rate(hardest, self.min_fake_energy)) ** 2
        return float(1 - np.exp(-self.detector.beam_background_rate(self.min_fake_energy)) * none)

    def generate(self, rng: np.random.Generator, n_events: int) -> Floats:
        if n_events and self._largest_probability == 0:
            raise InputError("γγ events need a fake cluster, and the detector's settings make none")
        parts: list[Floats] = []
        missing = n_events
        while missing > 0:
            n = 3 * missing + 64
            cosine = pole_cosine(rng, n, -self.max_cosine, self.max_cosine)
            photons = self._photons(cosine, rng.uniform(-np.pi, np.pi, n))
            accept = 0.5 * (1 + cosine**2) * self._probability(photons) / self._largest_probability
            kept = photons[rng.random(n) < accept][:missing]
            parts.append(kept)
            missing -= len(kept)
        return np.concatenate(parts) if parts else np.empty((0, 2, 4))
