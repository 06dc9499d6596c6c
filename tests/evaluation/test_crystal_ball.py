"""The double-sided Crystal Ball against numerical integration and its own inverse."""

import itertools

import numpy as np
import pytest
from scipy.integrate import quad

from darksieve.evaluation.crystal_ball import CrystalBall

SHAPES = [
    CrystalBall(0.5, 0.007, 1.4, 4.0, 1.8, 6.0),
    CrystalBall(-1.0, 2.0, 0.6, 2.2, 3.0, 1.3),
    CrystalBall(10.0, 0.1, 5.0, 120.0, 0.3, 150.0),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_density_integrates_to_one(shape):
    parts = [-np.inf, -20, -shape.alpha_left, 0, shape.alpha_right, 20, np.inf]
    total = sum(
        quad(lambda t: float(shape.density(shape.mean + shape.sigma * t)) * shape.sigma, a, b, epsabs=1e-11)[
            0
        ]
        for a, b in itertools.pairwise(parts)
    )
    assert total == pytest.approx(1.0, abs=2e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_cdf_is_the_integral_of_the_density(shape):
    points = shape.mean + shape.sigma * np.array([-6.0, -2.0, -0.5, 0.0, 0.5, 2.5, 7.0])
    for low, high in itertools.pairwise(points):
        breaks = [shape.mean - shape.alpha_left * shape.sigma, shape.mean + shape.alpha_right * shape.sigma]
        inside = [b for b in breaks if low < b < high]
        integral = quad(lambda x: float(shape.density(x)), low, high, points=inside or None, epsrel=1e-10)[0]
        assert float(shape.cdf(high) - shape.cdf(low)) == pytest.approx(integral, rel=1e-7, abs=1e-12)
    assert float(shape.cdf(1e30)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_quantile_inverts_the_cdf(shape):
    probabilities = np.concatenate(
        [np.logspace(-6, -1, 20), np.linspace(0.1, 0.9, 17), 1 - np.logspace(-6, -1, 20)]
    )
    np.testing.assert_allclose(shape.cdf(shape.quantile(probabilities)), probabilities, rtol=1e-9, atol=1e-12)


def test_without_tails_it_is_a_gaussian():
    from scipy.stats import norm

    shape = CrystalBall(1.0, 0.2, 7.0, 50.0, 7.0, 50.0)
    x = np.linspace(0.2, 1.8, 41)
    np.testing.assert_allclose(shape.density(x), norm.pdf(x, 1.0, 0.2), rtol=1e-9)


def test_parameters_broadcast_and_one_function_is_picked():
    shape = CrystalBall(np.array([1.0, 2.0]), np.array([0.1, 0.2]), 1.5, 4.0, 1.5, 4.0)
    np.testing.assert_allclose(shape.cdf(np.array([1.0, 2.0])), [0.5, 0.5], atol=1e-12)
    assert shape.one(1) == CrystalBall(2.0, 0.2, 1.5, 4.0, 1.5, 4.0)
    assert shape.one(1).as_dict() == {
        "mean": 2.0,
        "sigma": 0.2,
        "alpha_left": 1.5,
        "n_left": 4.0,
        "alpha_right": 1.5,
        "n_right": 4.0,
    }
