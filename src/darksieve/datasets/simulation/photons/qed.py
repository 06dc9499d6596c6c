"""e+e- -> γγγ at leading order: the exact matrix element, its cross section and unweighted events."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from darksieve.constants import ALPHA_QED, GEV2_TO_FB
from darksieve.errors import InputError

# e^6 = (4 π α)^3; the spin-averaged sum carries e^6 once (facts: checked against the explicit Dirac trace)
_E6 = (4 * np.pi * ALPHA_QED) ** 3
_N_SURVEY = 4_000_000  # phase-space points that fix the cross section to 0.1 to 0.2 %
_SURVEY_SEED = 20200806  # its own stream: the cross section is the same for every sample


def three_photon_matrix_element(cms_momenta: ArrayLike, sqrt_s: float) -> NDArray[np.float64]:
    """Spin-averaged |M|² of e+e- -> γγγ at leading order with massless electrons.

    |M|² = e⁶ s Σ_i k_i k'_i (k_i² + k'_i²) / Π_i k_i k'_i, where k_i and k'_i are the products of photon i's
    four-momentum with the electron's and the positron's.

    Args:
        cms_momenta: Photon four-momenta (px, py, pz, E) in the CMS, electron along z, in GeV,
            shape (..., 3, 4).
        sqrt_s: Centre-of-mass energy in GeV.

    Returns:
        |M|² in GeV⁻², shape (...).

    References:
        F. A. Berends, R. Kleiss, Nucl. Phys. B 186 (1981) 22.
    """
    momenta = np.asarray(cms_momenta, dtype=np.float64)
    if momenta.shape[-2:] != (3, 4):
        raise ValueError(f"three four-momenta per event are needed, not shape {momenta.shape}")
    with_electron = 0.5 * sqrt_s * (momenta[..., 3] - momenta[..., 2])
    with_positron = 0.5 * sqrt_s * (momenta[..., 3] + momenta[..., 2])
    product = with_electron * with_positron
    numerator = (product * (with_electron**2 + with_positron**2)).sum(axis=-1)
    return _E6 * sqrt_s**2 * numerator / product.prod(axis=-1)


@njit(cache=True)
def _point(place, cuts):  # type: ignore[no-untyped-def]
    """One phase-space point: (weight in fb, w3, c3, w1, c1, azimuth of photon 1 about photon 3).

    Photon 3 is the softest and photon 1 the more forward of the others, which is one of the six orderings of
    the identical photons and so takes their 1/3! away. Mapped: log(w3), and cos by 1/(1 - cos²) for 3 and 1.
    """
    sqrt_s, min_energy, min_rapidity, max_rapidity, min_cos, max_cos = cuts
    log_range = np.log(sqrt_s / 3 / min_energy)
    w3 = min_energy * np.exp(log_range * place[0])
    rapidity_range = max_rapidity - min_rapidity
    c3 = np.tanh(min_rapidity + rapidity_range * place[1])
    c1 = np.tanh(min_rapidity + rapidity_range * place[2])
    azimuth = 2 * np.pi * place[3]
    cos13 = np.sqrt((1 - c1 * c1) * (1 - c3 * c3)) * np.cos(azimuth) + c1 * c3
    open_energy = sqrt_s - w3 * (1 - cos13)
    w1 = 0.5 * sqrt_s * (sqrt_s - 2 * w3) / open_energy
    w2 = sqrt_s - w1 - w3
    if w1 < w3 or w2 < w3:
        return 0.0, w3, c3, w1, c1, azimuth
    c2 = -(w1 * c1 + w3 * c3) / w2
    if c2 < min_cos or c2 > max_cos or abs(c2) > abs(c1):
        return 0.0, w3, c3, w1, c1, azimuth
    # |M|² = 8 e⁶ Σ w⁴ (1 - c⁴) / Π w² (1 - c²); the poles of photons 1 and 3 cancel against the mapping
    pole2 = w2 * w2 * (1 - c2 * c2)
    sum_of_terms = w1**4 * (1 - c1**4) + w2**4 * (1 - c2**4) + w3**4 * (1 - c3**4)
    matrix_element = 8 * _E6 * sum_of_terms / (w1 * w1 * pole2)  # times (1 - c1²)(1 - c3²) w3²
    # dΦ₃ = (2π)^-5 · ½ w3 dw3 dΩ3 · w1 dΩ1 / (4 [√s - w3 (1 - cos13)]), dw3 = w3 d(log w3)
    phase_space = 0.125 * w1 / open_energy / (2 * np.pi) ** 3 * log_range * rapidity_range**2
    return GEV2_TO_FB * matrix_element * phase_space / (2 * sqrt_s * sqrt_s), w3, c3, w1, c1, azimuth


@njit(cache=True)
def _survey(rng, n_points, n_kept, cuts):  # type: ignore[no-untyped-def]
    """Sum of weights and of their squares, and the maximum after climbing from the heaviest points."""
    heaviest = np.zeros(n_kept)
    places = np.zeros((n_kept, 4))
    total = 0.0
    total2 = 0.0
    lightest = 0
    place = np.zeros(4)
    for _ in range(n_points):
        for d in range(4):
            place[d] = rng.random()
        weight = _point(place, cuts)[0]
        total += weight
        total2 += weight * weight
        if weight > heaviest[lightest]:
            heaviest[lightest] = weight
            places[lightest] = place
            lightest = int(np.argmin(heaviest))
    for i in range(n_kept):
        reach = 0.05
        while reach > 1e-7:
            climbed = False
            for _ in range(100):
                for d in range(4):
                    place[d] = min(max(places[i, d] + reach * rng.standard_normal(), 0.0), 1.0)
                weight = _point(place, cuts)[0]
                if weight > heaviest[i]:
                    heaviest[i] = weight
                    places[i] = place
                    climbed = True
            if not climbed:
                reach *= 0.5
    return total, total2, heaviest.max()


@njit(cache=True)
def _unweighted(rng, n_events, max_weight, cuts):  # type: ignore[no-untyped-def]
    """Unweighted events, shape (n_events, 3, 4), the trials they took and how many exceeded the maximum."""
    momenta = np.empty((n_events, 3, 4))
    place = np.empty(4)
    n_trials = 0
    n_over = 0
    done = 0
    while done < n_events:
        n_trials += 1
        for d in range(4):
            place[d] = rng.random()
        weight, w3, c3, w1, c1, azimuth = _point(place, cuts)
        if weight <= rng.random() * max_weight:
            continue
        if weight > max_weight:
            n_over += 1
        turn = 2 * np.pi * rng.random()
        s3 = w3 * np.sqrt(1 - c3 * c3)
        s1 = w1 * np.sqrt(1 - c1 * c1)
        event = momenta[done]
        event[0, 0], event[0, 1] = s1 * np.cos(azimuth + turn), s1 * np.sin(azimuth + turn)
        event[0, 2], event[0, 3] = w1 * c1, w1
        event[2, 0], event[2, 1] = s3 * np.cos(turn), s3 * np.sin(turn)
        event[2, 2], event[2, 3] = w3 * c3, w3
        for d in range(3):
            event[1, d] = -event[0, d] - event[2, d]
        event[1, 3] = np.sqrt(event[1, 0] ** 2 + event[1, 1] ** 2 + event[1, 2] ** 2)
        done += 1
    return momenta, n_trials, n_over


@dataclass(frozen=True)
class ThreePhotonGenerator:
    """Unweighted e+e- -> γγγ events at leading order inside cuts that all three photons pass.

    Attributes:
        sqrt_s: Centre-of-mass energy in GeV.
        min_energy: Smallest photon energy in the CMS, GeV.
        min_cos_theta: Smallest cosine of a photon's polar angle in the CMS (electron along z).
        max_cos_theta: Largest.

    Raises:
        InputError: If the cuts leave no phase space, or touch the poles at E = 0 and |cos θ| = 1.
    """

    sqrt_s: float
    min_energy: float = 0.46
    min_cos_theta: float = -0.96
    max_cos_theta: float = 0.976

    def __post_init__(self) -> None:
        if not 0 < self.min_energy < self.sqrt_s / 3:
            raise InputError(
                f"generator cut min_energy is {self.min_energy} GeV; "
                f"it lies in 0 to {self.sqrt_s / 3:.3f} (√s/3)"
            )
        if not -1 < self.min_cos_theta < self.max_cos_theta < 1:
            raise InputError(
                f"generator cuts on cos θ* are {self.min_cos_theta} to {self.max_cos_theta}; "
                "they rise and lie inside -1 to 1"
            )

    @property
    def _cuts(self) -> tuple[float, float, float, float, float, float]:
        return (
            float(self.sqrt_s),
            float(self.min_energy),
            float(np.arctanh(self.min_cos_theta)),
            float(np.arctanh(self.max_cos_theta)),
            float(self.min_cos_theta),
            float(self.max_cos_theta),
        )

    @cached_property
    def survey(self) -> tuple[float, float, float]:
        """Cross section, its statistical error and the largest weight, in fb; the same for every seed."""
        return _surveyed(self._cuts)

    @property
    def cross_section_fb(self) -> float:
        return self.survey[0]

    @property
    def cross_section_error_fb(self) -> float:
        return self.survey[1]

    @property
    def efficiency(self) -> float:
        """Fraction of phase-space points that become events."""
        return self.survey[0] / self.survey[2]

    def generate(self, rng: np.random.Generator, n_events: int) -> NDArray[np.float64]:
        """Photon four-momenta in the CMS, GeV, shape (n_events, 3, 4), in no particular photon order."""
        return self.generate_counted(rng, n_events)[0]

    def generate_counted(
        self, rng: np.random.Generator, n_events: int
    ) -> tuple[NDArray[np.float64], int, int]:
        """As :meth:`generate`, with the trials made and the events whose weight exceeded the maximum."""
        return _unweighted(rng, n_events, self.survey[2], self._cuts)


@lru_cache(maxsize=64)
def _surveyed(cuts: tuple[float, ...]) -> tuple[float, float, float]:
    rng = np.random.default_rng(_SURVEY_SEED)
    total, total2, heaviest = _survey(rng, _N_SURVEY, 16, cuts)
    if not total > 0:
        raise InputError(f"the generator cuts leave no phase space for three photons: {cuts[1:]}")
    mean = total / _N_SURVEY
    error = np.sqrt(max(total2 / _N_SURVEY - mean**2, 0.0) / _N_SURVEY)
    return float(mean), float(error), float(1.005 * heaviest)
