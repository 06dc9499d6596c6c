"""The signal: e+e- → h' A', h' → x+x-, A' → χ1 χ2, χ2 → χ1 e+e-."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from darksieve.constants import ELECTRON_MASS
from darksieve.datasets.simulation.decays import Floats, direction, one_plus_cosine_squared
from darksieve.datasets.simulation.displaced.events import (
    CHI2,
    ELECTRON,
    HPRIME,
    MASSES,
    Rest,
    TrueEvents,
    TruePairs,
    same_particles,
)
from darksieve.datasets.simulation.displaced.kinematics import (
    break_up_momentum,
    decay_points,
    isotropic_two_body,
    three_body,
)
from darksieve.datasets.simulation.displaced.settings import DisplacedSettings

BACKGROUND_ENERGY = 0.1  # GeV, mean extra energy of beam background; illustrative


@dataclass(frozen=True)
class SignalChain:
    """Four-momenta in the CMS of every particle of the chain, each of shape (n, 4)."""

    hprime: Floats
    dark_photon: Floats
    first: Floats
    second: Floats
    chi1: Floats
    chi2: Floats
    chi1_of_chi2: Floats
    electron: Floats
    positron: Floats


def generate_chain(
    rng: np.random.Generator, settings: DisplacedSettings, masses: Floats, daughter_mass: float
) -> SignalChain:
    """The decay chain for given masses of h' in GeV, shape (n,).

    h' follows 1 + cos²θ, which stands in for the true mixture of that and sin²θ, as the A' is transverse or
    longitudinal; all decays are isotropic, the three-body decay is phase space alone.
    """
    n, model = len(masses), settings.model
    sqrt_s = settings.beams.sqrt_s
    aprime_mass = np.full(n, model.dark_photon_mass)
    momentum = break_up_momentum(np.full(n, sqrt_s), masses, aprime_mass)
    unit = direction(one_plus_cosine_squared(rng, n), rng.uniform(-np.pi, np.pi, n))
    hprime, dark_photon = (
        np.concatenate([sign * momentum[:, None] * unit, np.sqrt(momentum**2 + mass**2)[:, None]], axis=1)
        for sign, mass in ((1.0, masses), (-1.0, aprime_mass))
    )
    own = np.full(n, daughter_mass)
    first, second = isotropic_two_body(rng, hprime, masses, own, own)
    chi1_mass, chi2_mass = np.full(n, model.chi1_mass), np.full(n, model.chi2_mass)
    chi1, chi2 = isotropic_two_body(rng, dark_photon, aprime_mass, chi1_mass, chi2_mass)
    other, electron, positron = three_body(
        rng, chi2, model.chi2_mass, model.chi1_mass, (ELECTRON_MASS, ELECTRON_MASS)
    )
    return SignalChain(hprime, dark_photon, first, second, chi1, chi2, other, electron, positron)


def collision_points(rng: np.random.Generator, settings: DisplacedSettings, n: int) -> Floats:
    """Points within the beam spot, cm, shape (n, 3)."""
    return rng.standard_normal((n, 3)) * np.array(settings.tracker.beam_spot_cm)


def generate_signal(
    rng: np.random.Generator, settings: DisplacedSettings, masses: Floats, daughter: int
) -> TrueEvents:
    """Signal events with h' → x+x- of the given particle number, for masses of h' in GeV, shape (n,)."""
    n, model, beams = len(masses), settings.model, settings.beams
    chain = generate_chain(rng, settings, masses, MASSES[daughter])
    start = collision_points(rng, settings, n)
    hprime_mean, hprime_length = model.hprime_lifetimes.draw(rng, n)
    chi2_mean, chi2_length = model.chi2_lifetimes.draw(rng, n)
    extra = rng.exponential(BACKGROUND_ENERGY, n)
    return TrueEvents(
        hprime=TruePairs(
            same_particles(daughter, daughter, n),
            beams.to_lab(np.stack([chain.first, chain.second], axis=1)),
            decay_points(start, beams.to_lab(chain.hprime), masses, hprime_length),
            HPRIME,
        ),
        chi2=TruePairs(
            same_particles(ELECTRON, ELECTRON, n),
            beams.to_lab(np.stack([chain.positron, chain.electron], axis=1)),
            decay_points(start, beams.to_lab(chain.chi2), np.full(n, model.chi2_mass), chi2_length),
            CHI2,
        ),
        rest=Rest(np.zeros((n, 4)), np.zeros(n, np.int32), extra),
        proper_lengths=np.stack([hprime_length, chi2_length], axis=1),
        mean_lengths=np.stack([hprime_mean, chi2_mean], axis=1),
        masses=masses,
    )
