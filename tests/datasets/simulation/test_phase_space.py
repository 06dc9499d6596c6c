"""Decays: conservation, isotropy, helicity angles, flat phase space."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from darksieve.constants import D_ZERO_MASS, KAON_MASS, PHI_MASS, PI0_MASS, PION_MASS
from darksieve.datasets.simulation.phase_space import (
    boosted,
    breakup_momentum,
    cosine_squared,
    invariant_mass,
    phase_space_at_rest,
    to_rest_frame,
    two_body_along_flight,
    two_body_at_rest,
)

N = 20_000


def rng():
    return np.random.default_rng(11)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=5),
    st.floats(0.01, 3),
    st.integers(0, 2**32 - 1),
)
def test_any_decay_conserves_four_momentum_and_keeps_masses(masses, free, seed):
    parent = sum(masses) + free
    daughters = phase_space_at_rest(np.random.default_rng(seed), parent, masses, 20)
    np.testing.assert_allclose(sum(daughters), np.tile([0, 0, 0, parent], (20, 1)), atol=1e-9)
    for daughter, mass in zip(daughters, masses, strict=True):
        np.testing.assert_allclose(invariant_mass(daughter), mass, atol=2e-6)


def test_boosts_are_undone_by_their_inverse_and_keep_products():
    four = np.array([[0.3, -0.2, 0.5, 1.0], [0.0, 0.1, 0.0, 0.1]])
    frame = np.array([[1.0, 2.0, -0.5, 4.0], [-3.0, 0.0, 0.1, 3.5]])
    there = boosted(four, frame)
    np.testing.assert_allclose(to_rest_frame(there, frame), four, atol=1e-12)
    metric = np.array([-1.0, -1.0, -1.0, 1.0])
    np.testing.assert_allclose(
        (there * frame * metric).sum(axis=1), four[:, 3] * invariant_mass(frame), atol=1e-12
    )


def test_two_body_decays_at_rest_are_isotropic():
    first, _ = two_body_at_rest(rng(), 5.279, 0.14, 1.0, N)
    cosine = first[:, 2] / breakup_momentum(5.279, 0.14, 1.0)
    assert stats.kstest(cosine, "uniform", args=(-1, 2)).pvalue > 1e-3
    azimuth = np.arctan2(first[:, 1], first[:, 0])
    assert stats.kstest(azimuth, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-3


def test_a_longitudinal_phi_decays_with_the_squared_cosine_of_its_helicity_angle():
    generator = rng()
    phi, _ = two_body_at_rest(generator, 1.968, PHI_MASS, PION_MASS, N)
    kaon, other = two_body_along_flight(generator, phi, KAON_MASS, KAON_MASS, cosine_squared(generator, N))
    np.testing.assert_allclose(kaon + other, phi, atol=1e-12)
    in_phi = to_rest_frame(kaon, phi)
    cosine = (in_phi[:, :3] * phi[:, :3]).sum(axis=1)
    cosine /= np.linalg.norm(in_phi[:, :3], axis=1) * np.linalg.norm(phi[:, :3], axis=1)
    assert stats.kstest(cosine, lambda c: (1 + np.clip(c, -1, 1) ** 3) / 2).pvalue > 1e-3


def test_three_bodies_fill_the_dalitz_plot_evenly():
    kaon, pion, pi0 = phase_space_at_rest(rng(), D_ZERO_MASS, [KAON_MASS, PION_MASS, PI0_MASS], N)
    first = invariant_mass(kaon + pion) ** 2
    second = invariant_mass(pion + pi0) ** 2
    # at a given m²(Kπ) flat phase space is uniform in m²(ππ0) between its kinematic bounds
    m12 = np.sqrt(first)
    e_pion = (first - KAON_MASS**2 + PION_MASS**2) / (2 * m12)
    e_pi0 = (D_ZERO_MASS**2 - first - PI0_MASS**2) / (2 * m12)
    p_pion, p_pi0 = np.sqrt(e_pion**2 - PION_MASS**2), np.sqrt(e_pi0**2 - PI0_MASS**2)
    low = (e_pion + e_pi0) ** 2 - (p_pion + p_pi0) ** 2
    high = (e_pion + e_pi0) ** 2 - (p_pion - p_pi0) ** 2
    assert stats.kstest((second - low) / (high - low), "uniform").pvalue > 1e-3
    # and the density in m²(Kπ) is the length of that interval
    edges = np.linspace((KAON_MASS + PION_MASS) ** 2, (D_ZERO_MASS - PI0_MASS) ** 2, 11)
    grid = np.linspace(edges[0], edges[-1], 10_001)
    length = breakup_momentum(np.sqrt(grid), KAON_MASS, PION_MASS) * breakup_momentum(
        D_ZERO_MASS, np.sqrt(grid), PI0_MASS
    )
    density = np.nan_to_num(length / np.sqrt(grid))
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    expected = N * np.diff(np.interp(edges, grid, cumulative / cumulative[-1]))
    counts, _ = np.histogram(first, edges)
    assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3


def test_closed_decays_have_no_momentum_and_are_refused():
    assert np.isnan(breakup_momentum(1.0, 0.6, 0.5))
    assert breakup_momentum(1.0, 0.5, 0.5) == 0
    with pytest.raises(ValueError, match="do not decay"):
        phase_space_at_rest(rng(), 1.0, [0.6, 0.5], 3)
