"""Expected limits of counting bins against closed forms and a bracketing root finder."""

import numpy as np
import pytest
from scipy.optimize import brentq

from darksieve.evaluation.limits.asimov import band_levels, expected_limits_counting, limit_significance


def test_bands_match_the_reference_numbers_in_both_conventions():
    # asymptotic counting, b = 5.5 (closed forms)
    sigma = expected_limits_counting([1.0], [5.5], levels=band_levels("sigma"))
    quantile = expected_limits_counting([1.0], [5.5], levels=band_levels("quantile"))
    np.testing.assert_allclose(sigma, [2.848321, 4.006776, 5.956845, 9.081177, 13.501985], rtol=1e-6)
    np.testing.assert_allclose(quantile, [2.884173, 4.015031, 5.956845, 9.060200, 13.302348], rtol=1e-6)


@pytest.mark.parametrize("confidence_level", [0.9, 0.95])
def test_every_bin_counts_and_the_root_is_exact(confidence_level):
    rng = np.random.default_rng(1)
    signal = rng.random((40, 6)) * 10 ** rng.uniform(-3, 3, (40, 1))
    background = 10 ** rng.uniform(-4, 5, (40, 6))
    target = float(limit_significance(confidence_level))

    def root_of_q(mu, s, b):
        return np.sqrt(2 * np.sum(mu * s - b * np.log1p(mu * s / b))) - target

    expected = [
        brentq(root_of_q, 1e-9, 1e9, args=(s, b), rtol=1e-12) for s, b in zip(signal, background, strict=True)
    ]
    # where μs/b is tiny the reference itself cancels to some 1e-8
    limits = expected_limits_counting(signal, background, confidence_level)
    np.testing.assert_allclose(limits, expected, rtol=1e-6)


def test_without_background_the_limit_is_half_the_squared_significance():
    assert expected_limits_counting([2.0], [0.0]) == pytest.approx(0.25 * 1.959964**2, rel=1e-6)


def test_without_signal_the_limit_is_infinite():
    limits = expected_limits_counting([[0.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]])
    assert np.isinf(limits[0])
    assert np.isfinite(limits[1])


def test_splitting_into_a_better_category_tightens_the_limit():
    one = expected_limits_counting([10.0], [100.0])
    two = expected_limits_counting([7.0, 3.0], [20.0, 80.0])
    assert two < one


@pytest.mark.parametrize(("signal", "background"), [([-1.0], [1.0]), ([1.0], [np.nan]), ([np.inf], [1.0])])
def test_yields_that_make_no_sense_are_refused(signal, background):
    with pytest.raises(ValueError, match="finite and not negative"):
        expected_limits_counting(signal, background)


def test_hardly_any_signal_beside_a_bin_without_background_changes_no_limit():
    # Q = 2 μ s where no background is expected: μ = 1.96²/(2 s) at 95 %
    found = expected_limits_counting([[4.8e-20, 1.6e-115]], [[0.0, 7.7e-151]])
    assert found[0] == pytest.approx(1.959964**2 / 2 / 4.8e-20, rel=1e-6)
