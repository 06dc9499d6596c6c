"""Lifetimes: flat in the logarithm, and reweighted to any one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from darksieve.datasets.simulation.displaced.lifetimes import LifetimeRange, lifetime_efficiency
from darksieve.errors import InputError


def test_means_are_flat_in_the_logarithm():
    means, _ = LifetimeRange(0.01, 100.0).draw(np.random.default_rng(1), 40_000)
    counts = np.histogram(np.log10(means), np.linspace(-2, 2, 9))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 7 + 5 * np.sqrt(14)


@pytest.mark.parametrize("edges", [(0.1, 10.0), (2.0, 2.0), (1e-3, 1e3)])
def test_density_is_normalised_and_has_the_mean_of_the_range(edges):
    lifetimes = LifetimeRange(*edges)

    # in the logarithm of the length, where the integrand is smooth over all decades
    def integrand(log_t, power):
        t = np.exp(log_t)
        return t ** (1 + power) * float(lifetimes.density(np.array([t]))[0])

    low, high = np.log(edges[0]) - 20, np.log(edges[1]) + 5
    assert quad(integrand, low, high, args=(0,), limit=200)[0] == pytest.approx(1, abs=1e-7)
    expected = edges[0] if edges[0] == edges[1] else (edges[1] - edges[0]) / np.log(edges[1] / edges[0])
    assert quad(integrand, low, high, args=(1,), limit=200)[0] == pytest.approx(expected, rel=1e-6)


def test_density_at_zero_is_finite():
    assert LifetimeRange(0.1, 10.0).density(np.zeros(1))[0] == pytest.approx(
        (1 / 0.1 - 1 / 10) / np.log(100), rel=1e-12
    )


@pytest.mark.parametrize("ctau", [0.03, 1.0, 30.0])
def test_weighted_lengths_are_those_of_one_lifetime(ctau):
    lifetimes = LifetimeRange(0.01, 100.0)
    _, lengths = lifetimes.draw(np.random.default_rng(2), 100_000)
    weights = lifetimes.weights(lengths, ctau)
    error = weights.std() / np.sqrt(len(weights))
    assert weights.mean() == pytest.approx(1, abs=4 * error)
    moments = weights * lengths / ctau
    assert moments.mean() == pytest.approx(1, abs=4 * moments.std() / np.sqrt(len(weights)))


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1e4), st.floats(0, 1))
def test_weights_are_bounded_inside_the_range(length, place):
    lifetimes = LifetimeRange(0.01, 100.0)
    ctau = 0.01 * 1e4**place
    (weight,) = lifetimes.weights(np.array([length]), float(np.clip(ctau, 0.01, 100.0)))
    # t/τ exp(-t/τ) log(high/low) / (exp(-t/high) - exp(-t/low)) is largest near t = τ
    assert 0 <= weight <= np.log(1e4) * 1.7 * max(1.0, length / 100.0)


def test_efficiency_is_that_of_a_cut_on_the_length():
    lifetimes = LifetimeRange(0.01, 100.0)
    n = 200_000
    _, lengths = lifetimes.draw(np.random.default_rng(3), n)
    efficiency, error = lifetime_efficiency(lengths[(lengths > 1) & (lengths < 5)], n, lifetimes, 2.0)
    assert efficiency == pytest.approx(np.exp(-0.5) - np.exp(-2.5), abs=4 * error)
    assert error < 0.01


def test_lifetime_outside_what_was_generated_is_refused():
    with pytest.raises(InputError, match=r"outside what was generated, 0\.1 to 10"):
        LifetimeRange(0.1, 10.0).weights(np.ones(1), 20.0)


@pytest.mark.parametrize("edges", [(0.0, 1.0), (2.0, 1.0), (1.0, np.inf), (-1.0, 1.0)])
def test_impossible_ranges_are_refused(edges):
    with pytest.raises(InputError, match="range of cτ"):
        LifetimeRange(*edges)
