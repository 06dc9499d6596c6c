"""Backgrounds: something with a vertex in a hadronic event, beside a photon that converts or another vertex.

Momenta come from parametrised spectra, not from an event generator (see ``Spectra``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from darksieve.constants import B_PLUS_MASS, K_SHORT_MASS, KAON_MASS, PI0_MASS, PION_MASS
from darksieve.datasets.simulation.decays import (
    Floats,
    direction,
    massless,
    one_plus_cosine_squared,
    uniform_sphere,
)
from darksieve.datasets.simulation.displaced.conversions import (
    convert,
    converting_directions,
    mean_conversion_probability,
)
from darksieve.datasets.simulation.displaced.events import (
    B_CTAU_CM,
    DZERO,
    DZERO_CTAU_CM,
    DZERO_MASS,
    ELECTRON,
    KAON,
    KSHORT,
    KSHORT_CTAU_CM,
    LAMBDA,
    LAMBDA_CTAU_CM,
    LAMBDA_MASS,
    PHOTON,
    PION,
    PROTON,
    PROTON_MASS,
    Rest,
    TrueEvents,
    TruePairs,
    charge_symmetric,
    same_particles,
)
from darksieve.datasets.simulation.displaced.kinematics import decay_points, isotropic_two_body, three_body
from darksieve.datasets.simulation.displaced.settings import DisplacedSettings, Spectra
from darksieve.datasets.simulation.displaced.signal import collision_points

Pairs = Callable[[np.random.Generator, DisplacedSettings, Floats], tuple[TruePairs, Floats, float]]


def thermal_momenta(
    rng: np.random.Generator, n: int, mass: float, temperature: float, largest: float
) -> Floats:
    """Momenta in GeV from p²/E exp(-E/T) up to ``largest``, shape (n,)."""
    grid = np.linspace(0.0, largest, 4001)
    energy = np.sqrt(grid**2 + mass**2)
    with np.errstate(invalid="ignore"):
        density = np.where(grid > 0, grid**2 / energy, 0.0) * np.exp(-(energy - mass) / temperature)
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return np.interp(rng.random(n) * cumulative[-1], cumulative, grid)


def _moving(momentum: Floats, mass: float, unit: Floats) -> Floats:
    return np.concatenate([momentum[:, None] * unit, np.sqrt(momentum**2 + mass**2)[:, None]], axis=1)


def _hadrons(
    rng: np.random.Generator, settings: DisplacedSettings, n: int, mass: float, temperature: float
) -> Floats:
    """Laboratory four-momenta of hadrons in continuum events, shape (n, 4)."""
    unit = direction(one_plus_cosine_squared(rng, n), rng.uniform(-np.pi, np.pi, n))
    largest = np.sqrt(settings.beams.sqrt_s**2 / 4 - mass**2)
    return settings.beams.to_lab(_moving(thermal_momenta(rng, n, mass, temperature, largest), mass, unit))


def kshorts(
    rng: np.random.Generator, settings: DisplacedSettings, start: Floats
) -> tuple[TruePairs, Floats, float]:
    """K_S → π+π-: pairs, proper lengths and their mean in cm."""
    n = len(start)
    parent = _hadrons(rng, settings, n, K_SHORT_MASS, settings.spectra.kshort_temperature)
    whole, own = np.full(n, K_SHORT_MASS), np.full(n, PION_MASS)
    first, second = isotropic_two_body(rng, parent, whole, own, own)
    lengths = rng.exponential(KSHORT_CTAU_CM, n)
    point = decay_points(start, parent, whole, lengths)
    pairs = TruePairs(same_particles(PION, PION, n), np.stack([first, second], axis=1), point, KSHORT)
    return pairs, lengths, KSHORT_CTAU_CM


def lambdas(
    rng: np.random.Generator, settings: DisplacedSettings, start: Floats
) -> tuple[TruePairs, Floats, float]:
    """Λ → p π- and its conjugate."""
    n = len(start)
    parent = _hadrons(rng, settings, n, LAMBDA_MASS, settings.spectra.lambda_temperature)
    whole = np.full(n, LAMBDA_MASS)
    proton, pion = isotropic_two_body(rng, parent, whole, np.full(n, PROTON_MASS), np.full(n, PION_MASS))
    lengths = rng.exponential(LAMBDA_CTAU_CM, n)
    point = decay_points(start, parent, whole, lengths)
    numbers, momenta = charge_symmetric(rng, (PROTON, PION), proton, pion)
    return TruePairs(numbers, momenta, point, LAMBDA), lengths, LAMBDA_CTAU_CM


def prompt_pairs(
    rng: np.random.Generator, settings: DisplacedSettings, start: Floats
) -> tuple[TruePairs, Floats, float]:
    """Two pions from the collision whose badly measured tracks cross somewhere along one of them."""
    n, spectra = len(start), settings.spectra
    momenta = np.stack(
        [_hadrons(rng, settings, n, PION_MASS, spectra.pion_temperature) for _ in range(2)], axis=1
    )
    sine = np.hypot(momenta[:, 0, 0], momenta[:, 0, 1]) / np.linalg.norm(momenta[:, 0, :3], axis=1)
    unit = momenta[:, 0, :3] / np.linalg.norm(momenta[:, 0, :3], axis=1)[:, None]
    distance = rng.exponential(spectra.fake_vertex_cm, n) / np.maximum(sine, 0.1)
    point = start + distance[:, None] * unit
    pairs = TruePairs(same_particles(PION, PION, n), momenta, point, 0, is_fake=True)
    return pairs, np.full(n, np.nan), float("nan")


def dzeros(
    rng: np.random.Generator, settings: DisplacedSettings, start: Floats
) -> tuple[TruePairs, Floats, float]:
    """D0 → K-π+π0 from B decays: the vertex is that of the D0, behind the B's."""
    n, beams = len(start), settings.beams
    b_momentum = np.sqrt(np.maximum(beams.sqrt_s**2 / 4 - B_PLUS_MASS**2, 0))
    b = beams.to_lab(_moving(np.full(n, b_momentum), B_PLUS_MASS, direction(*uniform_sphere(rng, n))))
    b_point = decay_points(start, b, np.full(n, B_PLUS_MASS), rng.exponential(B_CTAU_CM, n))
    momentum = thermal_momenta(rng, n, DZERO_MASS, settings.spectra.dzero_temperature, 2.3)
    parent = beams.to_lab(_moving(momentum, DZERO_MASS, direction(*uniform_sphere(rng, n))))
    _, kaon, pion = three_body(rng, parent, DZERO_MASS, PI0_MASS, (KAON_MASS, PION_MASS))
    lengths = rng.exponential(DZERO_CTAU_CM, n)
    point = decay_points(b_point, parent, np.full(n, DZERO_MASS), lengths)
    numbers, momenta = charge_symmetric(rng, (KAON, PION), kaon, pion)
    return TruePairs(numbers, momenta, point, DZERO), lengths, DZERO_CTAU_CM


def kshort_rate(spectra: Spectra) -> float:
    """Cross section in fb of events times the number of K_S → π+π- in one."""
    return spectra.continuum_fb * spectra.kshort_number * spectra.kshort_to_pions


def lambda_rate(spectra: Spectra) -> float:
    """The same of Λ → p π-, both charges."""
    return spectra.continuum_fb * spectra.lambda_number * spectra.lambda_to_proton


def prompt_rate(spectra: Spectra) -> float:
    """The same of pairs of opposite pions with a fake vertex."""
    return spectra.continuum_fb * (spectra.pion_number / 2) ** 2 * spectra.fake_vertex_probability


def dzero_rate(spectra: Spectra) -> float:
    """The same of D0 → K-π+π0 in BB events, both charges."""
    return spectra.upsilon_fb * spectra.dzero_number * spectra.dzero_to_kpipi0


def kshort_pair_rate(spectra: Spectra) -> float:
    """The same of ordered pairs of K_S → π+π-: either may be taken for h'."""
    return spectra.continuum_fb * (spectra.kshort_number * spectra.kshort_to_pions) ** 2


@dataclass(frozen=True)
class KshortPairSource:
    """Two K_S → π+π- of one continuum event, the second of which is taken for χ2 → χ1 e+e-.

    The cross section is that of candidates; the particles of an event are taken as independent.
    """

    settings: DisplacedSettings

    @property
    def cross_section_fb(self) -> float:
        return kshort_pair_rate(self.settings.spectra)

    def generate(self, rng: np.random.Generator, n: int) -> TrueEvents:
        """Events with one candidate each."""
        start = collision_points(rng, self.settings, n)
        first, first_lengths, mean = kshorts(rng, self.settings, start)
        second, second_lengths, _ = kshorts(rng, self.settings, start)
        return TrueEvents(
            hprime=first,
            chi2=second,
            rest=rest_of_event(rng, self.settings, first, second.momenta.sum(axis=1)),
            proper_lengths=np.stack([first_lengths, second_lengths], axis=1),
            mean_lengths=np.full((n, 2), mean),
            masses=np.full(n, np.nan),
        )


@dataclass(frozen=True)
class HadronicSource:
    """Pairs of one kind in hadronic events, each with a photon of the same event that converts.

    The cross section counts pairs times converted photons, so it is that of candidates; one candidate is
    made per event. Particles of an event are taken as independent.
    """

    settings: DisplacedSettings
    pairs: Pairs
    rate_fb: float

    @cached_property
    def conversion_probability(self) -> float:
        """Of a photon of the spectrum, in the tracker's acceptance."""
        tracker = self.settings.tracker
        return mean_conversion_probability(
            self.settings.material, self.settings.beams, tracker.start_deg, tracker.end_deg
        )

    @property
    def cross_section_fb(self) -> float:
        return self.rate_fb * self.settings.spectra.photon_number * self.conversion_probability

    def generate(self, rng: np.random.Generator, n: int) -> TrueEvents:
        """Events with one candidate each."""
        settings, spectra = self.settings, self.settings.spectra
        start = collision_points(rng, settings, n)
        pairs, lengths, mean = self.pairs(rng, settings, start)
        unit = converting_directions(
            rng, settings.material, settings.beams, n, settings.tracker.start_deg, settings.tracker.end_deg
        )
        energy = thermal_momenta(rng, n, 0.0, spectra.photon_temperature, settings.beams.sqrt_s / 2)
        photons = settings.beams.to_lab(massless(energy, unit))
        positron, electron, point = convert(rng, settings.material, photons, start)
        conversion = TruePairs(
            same_particles(ELECTRON, ELECTRON, n), np.stack([positron, electron], axis=1), point, PHOTON
        )
        none = np.full(n, np.nan)
        return TrueEvents(
            hprime=pairs,
            chi2=conversion,
            rest=rest_of_event(rng, settings, pairs, photons),
            proper_lengths=np.stack([lengths, none], axis=1),
            mean_lengths=np.stack([np.full(n, mean), none], axis=1),
            masses=none,
        )


def rest_of_event(
    rng: np.random.Generator, settings: DisplacedSettings, pairs: TruePairs, others: Floats
) -> Rest:
    """Most of what is left of the collision's energy, roughly balancing the momenta; illustrative.

    Args:
        pairs: What is taken for h'.
        others: Four-momenta of what is taken for χ2 in the laboratory, shape (n, 4).
    """
    n, spectra, beams = len(others), settings.spectra, settings.beams
    used = beams.to_cms(pairs.momenta.sum(axis=1) + others)
    left = np.maximum(beams.sqrt_s - used[:, 3], 0.0)
    # a beta distribution of the given mean that vanishes at 0 and 1
    mean = min(max(spectra.rest_energy, 0.01), 0.99)
    energy = left * rng.beta(8 * mean, 8 * (1 - mean), n)
    missing = (left - energy) * np.cbrt(rng.random(n))
    space = -used[:, :3] - missing[:, None] * direction(*uniform_sphere(rng, n))
    size = np.linalg.norm(space, axis=1)
    shrink = np.minimum(1.0, energy / np.maximum(size, 1e-12))
    tracks = rng.poisson(spectra.rest_tracks, n).astype(np.int32)
    neutral = energy * rng.beta(2, 4, n)
    return Rest(np.concatenate([shrink[:, None] * space, energy[:, None]], axis=1), tracks, neutral)
