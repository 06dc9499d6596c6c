"""Backgrounds that the leading order does not have: a fourth photon, and e+e-γ whose tracks are lost.

Both are approximate on purpose and say how: they test whether a classifier and a scan hold against what a
leading-order training has not seen, they do not predict rates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from darksieve.constants import ALPHA_QED
from darksieve.datasets.simulation.decays import Floats, direction, massless
from darksieve.datasets.simulation.photons.qed import ThreePhotonGenerator
from darksieve.datasets.simulation.photons.sources import pole_cosine

_SURVEY_SEED = 20241126  # its own stream: the cross section is the same for every sample
_N_SURVEY = 200_000


@dataclass(frozen=True)
class _FromThreePhotons(ABC):
    """A source that turns exact three-photon events into others and keeps a part of them.

    Attributes:
        sqrt_s: Centre-of-mass energy in GeV.
        min_energy, min_cos_theta, max_cos_theta: Cuts on every particle in the CMS.
    """

    sqrt_s: float
    min_energy: float
    min_cos_theta: float
    max_cos_theta: float

    force_fake: ClassVar[bool] = False
    capped_at: ClassVar[float] = 1.0  # quantile of the weights above which all count alike

    @cached_property
    def _three_photons(self) -> ThreePhotonGenerator:
        return ThreePhotonGenerator(self.sqrt_s, self.min_energy, self.min_cos_theta, self.max_cos_theta)

    def _inside(self, momenta: Floats) -> Floats:
        """1 where all particles pass the cuts, shape (n,)."""
        cosine = momenta[..., 2] / momenta[..., 3]
        passed = (momenta[..., 3] > self.min_energy) & (cosine > self.min_cos_theta)
        return (passed & (cosine < self.max_cos_theta)).all(axis=1).astype(float)

    @abstractmethod
    def _weighted(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        """Proposals (n, n_photons, 4) and their weights relative to the three-photon cross section."""

    @cached_property
    def _survey(self) -> tuple[float, float, float]:
        """Mean weight, its error and the largest weight that is reached."""
        _, weight = self._weighted(np.random.default_rng(_SURVEY_SEED), _N_SURVEY)
        error = float(weight.std() / np.sqrt(_N_SURVEY))
        return float(weight.mean()), error, float(np.quantile(weight, self.capped_at))

    @property
    def cross_section_fb(self) -> float:
        return self._three_photons.cross_section_fb * self._survey[0]

    @property
    def cross_section_error_fb(self) -> float:
        mean, error, _ = self._survey
        both = np.hypot(
            error / mean, self._three_photons.cross_section_error_fb / self._three_photons.cross_section_fb
        )
        return float(self.cross_section_fb * both)

    def generate(self, rng: np.random.Generator, n_events: int) -> Floats:
        parts: list[Floats] = []
        missing = n_events
        mean, _, largest = self._survey
        while missing > 0:
            momenta, weight = self._weighted(rng, min(int(1.2 * missing * largest / mean) + 64, _N_SURVEY))
            kept = momenta[rng.random(len(weight)) * largest < weight][:missing]
            parts.append(kept)
            missing -= len(kept)
        return np.concatenate(parts) if parts else np.empty((0, len(self.mothers), 4))

    @property
    @abstractmethod
    def mothers(self) -> tuple[int, ...]:
        """Particle number of each photon's mother, 0 for none."""


@dataclass(frozen=True)
class FourPhotonSource(_FromThreePhotons):
    """e+e- -> γγγγ, approximately: a softest photon radiated off the beams of an exact γγγ event.

    The softest photon follows the eikonal factor (2α/π) dω/ω dc/(1 - c²) times (1 + (1 - x)²)/2 with
    x = 2ω/√s, the collinear splitting; the other three are an exact event of the remaining mass, boosted. It
    is exact where the fourth photon is soft; interference of hard photons is left out. All four pass the
    cuts.

    References:
        V. N. Baier, V. S. Fadin, V. A. Khoze, Nucl. Phys. B 65 (1973) 381: radiation off the beams.
    """

    @property
    def mothers(self) -> tuple[int, ...]:
        return (0, 0, 0, 0)

    def _weighted(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        three = self._three_photons.generate(rng, n)
        log_range = np.log(self.sqrt_s / 4 / self.min_energy)
        energy = self.min_energy * np.exp(log_range * rng.random(n))
        cosine = pole_cosine(rng, n, self.min_cos_theta, self.max_cos_theta)
        photon = massless(energy, direction(cosine, rng.uniform(-np.pi, np.pi, n)))
        rest = np.concatenate([-photon[:, :3], (self.sqrt_s - energy)[:, None]], axis=1)
        mass = np.sqrt(rest[:, 3] ** 2 - energy**2)
        others = _boosted(three * (mass / self.sqrt_s)[:, None, None], rest, mass)
        x = 2 * energy / self.sqrt_s
        poles = np.arctanh(self.max_cos_theta) - np.arctanh(self.min_cos_theta)
        radiator = 2 * ALPHA_QED / np.pi * log_range * poles
        momenta = np.concatenate([others, photon[:, None]], axis=1)
        softest = (energy < others[..., 3].min(axis=1)).astype(float)
        return momenta, radiator * 0.5 * (1 + (1 - x) ** 2) * softest * self._inside(momenta)


@dataclass(frozen=True)
class RadiativeBhabhaSource(_FromThreePhotons):
    """e+e- -> e+e-γ whose two tracks are lost, so that three clusters look like photons.

    The matrix element is exact for massless electrons; all three are at least ``min_angle_rad`` apart, since
    closer ones make one cluster. The rate is that of the process times the squared probability of a lost
    track, which is illustrative. Their clusters are those of photons. The steepest 0.2 % of phase space are
    flattened, which moves some 12 % of the events; the rate is kept.

    References:
        F. A. Berends et al. (CALKUL), Phys. Lett. B 103 (1981) 124, for |M|².
    """

    lost_track_probability: float = 0.0
    min_angle_rad: float = 0.06

    capped_at: ClassVar[float] = 0.998

    @property
    def mothers(self) -> tuple[int, ...]:
        return (0, 0, 0)

    def _weighted(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        three = self._three_photons.generate(rng, n)
        # who is the electron, the positron and the photon: any of six ways, each 3! times the density
        momenta = three[np.arange(n)[:, None], np.argsort(rng.random((n, 3)), axis=1)]
        ratio = radiative_bhabha_over_three_photons(momenta, self.sqrt_s)
        unit = momenta[..., :3] / momenta[..., 3:]
        apart = np.ones(n, dtype=bool)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            apart &= (unit[:, i] * unit[:, j]).sum(axis=1) < np.cos(self.min_angle_rad)
        return momenta, 6 * self.lost_track_probability**2 * ratio * apart


def _boosted(momenta: Floats, frame: Floats, mass: Floats) -> Floats:
    """Momenta (n, k, 4) given in the rest frame of ``frame`` (n, 4), seen from where it moves."""
    along = (momenta[..., :3] * frame[:, None, :3]).sum(axis=-1)  # (n, k)
    energy = (frame[:, None, 3] * momenta[..., 3] + along) / mass[:, None]
    factor = (momenta[..., 3] + energy) / (frame[:, 3] + mass)[:, None]
    return np.concatenate(
        [momenta[..., :3] + factor[..., None] * frame[:, None, :3], energy[..., None]], axis=-1
    )


def radiative_bhabha_over_three_photons(momenta: Floats, sqrt_s: float) -> Floats:
    """|M|² of e+e- -> e+e-γ over that of e+e- -> γγγ at the same momenta, shape (n,).

    Both carry e⁶. With p± the beams, q± the electrons and k the photon, all massless, |M|² is e⁶ times
    [s s' (s² + s'²) + t t' (t² + t'²) + u u' (u² + u'²)] / (s s' t t') times the eikonal factor
    s/(p+k p-k) + s'/(q+k q-k) - t/(p+k q+k) - t'/(p-k q-k) + u/(p+k q-k) + u'/(p-k q+k).

    Args:
        momenta: Of electron, positron and photon in the CMS, GeV, shape (n, 3, 4).
        sqrt_s: Centre-of-mass energy in GeV.
    """
    half = 0.5 * sqrt_s
    minus, plus = np.array([0, 0, half, half]), np.array([0, 0, -half, half])  # the electron goes along z
    q_minus, q_plus, k = momenta[:, 0], momenta[:, 1], momenta[:, 2]

    def dot(a: Floats, b: Floats) -> Floats:
        return a[..., 3] * b[..., 3] - (a[..., :3] * b[..., :3]).sum(axis=-1)

    s, s1 = sqrt_s**2, 2 * dot(q_plus, q_minus)
    t, t1 = -2 * dot(plus, q_plus), -2 * dot(minus, q_minus)
    u, u1 = -2 * dot(plus, q_minus), -2 * dot(minus, q_plus)
    p_k, m_k, qp_k, qm_k = dot(plus, k), dot(minus, k), dot(q_plus, k), dot(q_minus, k)
    spins = (s * s1 * (s**2 + s1**2) + t * t1 * (t**2 + t1**2) + u * u1 * (u**2 + u1**2)) / (s * s1 * t * t1)
    eikonal = (
        s / (p_k * m_k)
        + s1 / (qp_k * qm_k)
        - t / (p_k * qp_k)
        - t1 / (m_k * qm_k)
        + u / (p_k * qm_k)
        + u1 / (m_k * qp_k)
    )
    kk = np.stack([half * (momenta[..., 3] - momenta[..., 2]), half * (momenta[..., 3] + momenta[..., 2])])
    product = kk[0] * kk[1]
    three = s * (product * (kk[0] ** 2 + kk[1] ** 2)).sum(axis=-1) / product.prod(axis=-1)
    return spins * eikonal / three
