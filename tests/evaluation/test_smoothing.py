"""Penalised splines: lines stay lines, curves are followed, and the errors decide how closely."""

import numpy as np
import pytest

from darksieve.evaluation.smoothing import SmoothCurve, smooth_counts, smooth_points


def test_points_on_a_line_give_the_line_and_its_continuation():
    x = np.linspace(1.0, 9.0, 20)
    curve = smooth_points(x, 2.0 - 0.3 * x, np.full(20, 0.01))
    far = np.array([-3.0, 0.0, 5.0, 9.0, 12.0])
    np.testing.assert_allclose(curve(far), 2.0 - 0.3 * far, atol=1e-5)
    assert curve.effective_parameters == pytest.approx(2.0, abs=0.05)


def test_residual_pulls_of_noisy_points_are_unit_gaussians_within_the_fitted_freedom():
    rng = np.random.default_rng(5)
    x = np.linspace(0, 10, 60)
    chi2, truth_chi2 = [], []
    for _ in range(40):
        y = np.sin(x) + 0.1 * rng.normal(size=60)
        curve = smooth_points(x, y, np.full(60, 0.1))
        chi2.append(np.sum(((y - curve(x)) / 0.1) ** 2) / (60 - curve.effective_parameters))
        truth_chi2.append(np.sum(((np.sin(x) - curve(x)) / 0.1) ** 2) / curve.effective_parameters)
    # 40 fits of about 50 degrees of freedom: the mean of chi2/n scatters by sqrt(2 / (40 * 50)) = 0.03
    assert np.mean(chi2) == pytest.approx(1.0, abs=0.13)
    assert np.mean(truth_chi2) < 1.5  # the distance to the truth is no more than the freedom's noise


@pytest.mark.parametrize(("x", "expected"), [([3.0], 7.0), ([3.0, 3.0], 7.0)])
def test_one_position_gives_a_constant(x, expected):
    curve = smooth_points(x, np.full(len(x), 7.0), np.ones(len(x)))
    np.testing.assert_allclose(curve([0.0, 3.0, 8.0]), expected)


def test_two_positions_give_a_straight_line():
    curve = smooth_points([1.0, 3.0], [0.0, 4.0], [0.1, 0.1])
    np.testing.assert_allclose(curve([0.0, 1.0, 2.0, 5.0]), [-2.0, 0.0, 2.0, 8.0], atol=1e-5)


def test_counts_follow_the_density_within_their_errors():
    rng = np.random.default_rng(2)
    x = np.arange(400) + 0.5
    density = 200 * np.exp(-x / 150) * (1 + 0.3 * np.sin(x / 30))
    curve = smooth_counts(x, rng.poisson(density), np.ones(400))
    pulls = (np.exp(curve(x)) - density) / np.sqrt(density)
    # the curve's error is that of about 15 parameters over 400 bins: 0.2 of a bin's error
    assert np.sqrt(np.mean(pulls**2)) < 0.35
    assert 6 < curve.effective_parameters < 40


def test_counts_of_an_exponential_need_no_more_than_a_parabola():
    rng = np.random.default_rng(3)
    x = np.arange(300) + 0.5
    curve = smooth_counts(x, rng.poisson(300 * np.exp(-x / 100)), np.ones(300))
    assert curve.effective_parameters < 7


def test_empty_ends_do_not_disturb_the_rest():
    rng = np.random.default_rng(4)
    x = np.arange(300) + 0.5
    density = np.where(x < 60, 0.0, 50.0)
    curve = smooth_counts(x, rng.poisson(density), np.ones(300))
    assert np.exp(curve(x))[:40].sum() < 5
    assert np.exp(curve(x))[100:].mean() == pytest.approx(50.0, abs=4 * np.sqrt(50 / 200) + 0.5)


def test_a_curve_survives_its_dictionary():
    curve = smooth_points(np.arange(8.0), np.arange(8.0) ** 2, np.full(8, 0.5))
    again = SmoothCurve.from_dict(curve.as_dict())
    np.testing.assert_array_equal(again(np.linspace(-1, 9, 7)), curve(np.linspace(-1, 9, 7)))


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="positive"):
        smooth_points([1.0, 2.0], [1.0, 2.0], [0.1, 0.0])
    with pytest.raises(ValueError, match="negative"):
        smooth_counts([1.0, 2.0, 3.0], [1.0, -1.0, 2.0], np.ones(3))
