"""Decays in flight: closure of nested decays, masses, directions, three-body phase space."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darksieve.constants import ELECTRON_MASS
from darksieve.datasets.simulation.displaced.kinematics import (
    boosted,
    break_up_momentum,
    decay_points,
    isotropic_two_body,
    pair_masses,
    three_body,
)
from darksieve.datasets.simulation.displaced.settings import DisplacedSettings
from darksieve.datasets.simulation.displaced.signal import generate_chain


def invariant_mass(p):
    return np.sqrt(np.maximum(p[:, 3] ** 2 - (p[:, :3] ** 2).sum(axis=1), 0))


@pytest.fixture(scope="module")
def chain():
    rng = np.random.default_rng(3)
    settings = DisplacedSettings()
    masses = rng.uniform(0.25, 7.0, 20_000)
    return settings, masses, generate_chain(rng, settings, masses, 0.1056583755)


def test_nested_decays_close_to_five_in_10_to_the_15(chain):
    settings, _, made = chain
    # every boost is made on its own, no daughter is what is left of its parent
    final = made.first + made.second + made.chi1 + made.chi1_of_chi2 + made.electron + made.positron
    expected = np.array([0, 0, 0, settings.beams.sqrt_s])
    # a few roundings of numbers up to sqrt(s), a dozen boosts: the mean stays within 5e-15 of the energy
    difference = np.abs(final - expected) / settings.beams.sqrt_s
    assert difference.mean() < 5e-16
    assert np.quantile(difference, 0.999) < 5e-15


def test_particles_of_the_chain_have_their_masses(chain):
    settings, masses, made = chain
    model = settings.model
    for momenta, mass in (
        (made.hprime, masses),
        (made.dark_photon, model.dark_photon_mass),
        (made.chi1, model.chi1_mass),
        (made.chi2, model.chi2_mass),
        (made.chi1_of_chi2, model.chi1_mass),
        (made.electron + made.positron + made.chi1_of_chi2, model.chi2_mass),
        (made.first + made.second, masses),
    ):
        # E² - p² loses digits as (E/m)²: 1e-15 × (5/0.25)²
        np.testing.assert_allclose(invariant_mass(momenta), mass, rtol=1e-11)
    # electrons of several GeV: the mass is lost in E² - p², the energy is not
    space = np.linalg.norm(made.electron[:, :3], axis=1)
    np.testing.assert_allclose(made.electron[:, 3], np.hypot(space, ELECTRON_MASS), rtol=1e-13)


def test_electron_pairs_lie_between_threshold_and_the_splitting(chain):
    settings, _, made = chain
    mass = invariant_mass(made.electron + made.positron)
    splitting = settings.model.chi2_mass - settings.model.chi1_mass
    assert mass.max() < splitting
    assert mass.min() > 2 * ELECTRON_MASS * 0.9
    assert mass.max() > 0.95 * splitting


def test_hprime_follows_one_plus_cosine_squared(chain):
    _, _, made = chain
    cosine = made.hprime[:, 2] / np.linalg.norm(made.hprime[:, :3], axis=1)
    # <cos²> = 2/5 for 1 + cos²; its spread is sqrt(9/35 - 4/25)·... < 0.32
    assert np.mean(cosine**2) == pytest.approx(0.4, abs=4 * 0.32 / np.sqrt(len(cosine)))


def test_pair_masses_follow_the_two_momenta():
    rng = np.random.default_rng(5)
    drawn = pair_masses(rng, 40_000, 1.4, 1.0, (0.0005, 0.0005))
    edges = np.linspace(0.001, 0.4, 11)
    fine = np.linspace(0.001, 0.4, 20_001)
    density = break_up_momentum(np.full_like(fine, 1.4), np.asarray(1.0), fine) * break_up_momentum(
        fine, np.asarray(0.0005), np.asarray(0.0005)
    )
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    expected = np.diff(np.interp(edges, fine, cumulative / cumulative[-1])) * len(drawn)
    counts = np.histogram(drawn, edges)[0]
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 9 + 5 * np.sqrt(18)  # nine degrees of freedom


def test_decay_that_is_not_possible_is_refused():
    with pytest.raises(ValueError, match="does not decay"):
        three_body(np.random.default_rng(1), np.array([[0, 0, 0, 1.0]]), 1.0, 0.9, (0.1, 0.1))


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-5, 5),
    st.floats(-5, 5),
    st.floats(-5, 5),
    st.floats(0.3, 4),
    st.floats(0.0, 0.49),
    st.integers(0, 2**31),
)
def test_two_body_decay_gives_its_parent_back(px, py, pz, mass, share, seed):
    parent = np.array([[px, py, pz, np.sqrt(px**2 + py**2 + pz**2 + mass**2)]])
    first, second = isotropic_two_body(
        np.random.default_rng(seed),
        parent,
        np.array([mass]),
        np.array([share * mass]),
        np.array([0.5 * mass]),
    )
    np.testing.assert_allclose(first + second, parent, atol=1e-13)


def test_boost_of_a_particle_at_rest_gives_the_frame():
    frame = np.array([[0.3, -0.2, 4.0, np.sqrt(0.09 + 0.04 + 16 + 1.21)]])
    at_rest = np.array([[0.0, 0.0, 0.0, 1.1]])
    np.testing.assert_allclose(boosted(at_rest, frame, np.array([1.1])), frame, rtol=1e-15)


def test_decay_lengths_are_exponential_with_beta_gamma():
    rng = np.random.default_rng(9)
    n, ctau = 40_000, 2.5
    mass, momentum = np.full(n, 0.5), rng.uniform(0.1, 5, n)
    four = np.zeros((n, 4))
    four[:, 0], four[:, 3] = momentum, np.sqrt(momentum**2 + 0.25)
    points = decay_points(np.zeros((n, 3)), four, mass, rng.exponential(ctau, n))
    scaled = points[:, 0] / (momentum / mass) / ctau
    # mean 1 ± 1/sqrt(n), second moment 2 ± sqrt(20/n), the survival beyond 1 is 1/e
    assert scaled.mean() == pytest.approx(1, abs=4 / np.sqrt(n))
    assert (scaled**2).mean() == pytest.approx(2, abs=4 * np.sqrt(20 / n))
    assert (scaled > 1).mean() == pytest.approx(np.exp(-1), abs=4 * 0.483 / np.sqrt(n))
