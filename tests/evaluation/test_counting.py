import numpy as np
import pytest

from darksieve.evaluation.counting import (
    counting_limit_exact,
    expected_limits_floating,
    low_count_correction,
    median_limit_exact,
    sideband_ratio,
)
from darksieve.evaluation.limits.asimov import expected_limits_counting


@pytest.mark.parametrize(
    ("n", "b", "level", "limit"),
    [  # exact CLs, closed: Q(n+1, s+b) = (1 − CL) Q(n+1, b)
        (1, 5.5, 0.95, 3.418313),
        (6, 5.5, 0.95, 7.013499),
        (11, 5.5, 0.95, 12.731938),
        (0, 0.0, 0.95, 2.995732),
        (0, 0.0, 0.90, 2.302585),
        (3, 1.0, 0.90, 5.7115),
        (10, 10.0, 0.95, 8.0825),
        (100, 100.0, 0.90, 17.798),
    ],
)
def test_exact_limit_is_the_closed_form(n, b, level, limit):
    assert counting_limit_exact(n, b, level) == pytest.approx(limit, rel=2e-5)


@pytest.mark.parametrize(("n_off", "alpha", "median"), [(11, 0.5, 6.638127)])
def test_floating_limit_is_the_on_off_limit(n_off, alpha, median):
    # the reference's Asimov set profiles n = 6 with n_off; b = alpha·n_off alone is within 3 % of it
    limit = expected_limits_floating([[1.0]], [[n_off * alpha]], ratio=1 / alpha)[0]
    assert limit == pytest.approx(median, rel=0.03)


def test_floating_limit_minimises_the_on_off_likelihood():
    s, b, ratio = 3.0, 7.0, 2.5
    mu = expected_limits_floating([[s]], [[b]], ratio=ratio)[0]
    beta = np.linspace(1e-3, 3 * b, 2_000_001)
    log_likelihood = b * np.log(mu * s + beta) - mu * s - beta + ratio * b * np.log(beta) - ratio * beta
    best = b * np.log(b) - b + ratio * b * np.log(b) - ratio * b
    assert np.sqrt(2 * (best - log_likelihood.max())) == pytest.approx(1.959964, rel=1e-6)


def test_floating_background_known_without_end_is_the_known_background():
    rng = np.random.default_rng(1)
    s, b = rng.uniform(0, 1, (50, 4)), 10 ** rng.uniform(-1, 5, (50, 4))
    known = expected_limits_counting(s, b, 0.95)
    np.testing.assert_allclose(expected_limits_floating(s, b, ratio=1e12), known, rtol=1e-7)


def test_floating_background_costs_what_the_gaussian_limit_says():
    limit = expected_limits_floating([[1.0]], [[1e9]], ratio=4.0)[0]
    assert limit == pytest.approx(1.959964 * np.sqrt(1e9 * (1 + 1 / 4)), rel=1e-4)


def test_categories_never_worsen_a_limit():
    rng = np.random.default_rng(2)
    s, b = rng.uniform(0.1, 1, (100, 5)), rng.uniform(1, 1e3, (100, 5))
    fine = expected_limits_floating(s, b, ratio=3.0)
    coarse = expected_limits_floating(s.sum(1, keepdims=True), b.sum(1, keepdims=True), ratio=3.0)
    assert (fine <= coarse * (1 + 1e-9)).all()


def test_no_signal_gives_an_infinite_limit_and_no_background_a_finite_one():
    np.testing.assert_allclose(
        expected_limits_floating([[0.0], [1.0]], [[5.0], [0.0]], ratio=3.0), [np.inf, 1.92073], rtol=1e-4
    )


def test_sideband_ratio_of_a_flat_background_is_the_ratio_of_widths():
    assert sideband_ratio(20, 2, 0) == pytest.approx(9)
    assert sideband_ratio(20, 2, 1) == pytest.approx(9)  # odd terms integrate to nothing under the peak


def test_higher_orders_know_less():
    ratios = [sideband_ratio(20, 2, order) for order in (1, 2, 4, 6)]
    assert ratios == sorted(ratios, reverse=True)


def test_median_limit_without_background_excludes_three_events():
    assert median_limit_exact(0.0) == pytest.approx(2.995732, rel=1e-6)


def test_low_count_correction_fades_from_exact_to_asymptotic():
    b = np.array([[0.0], [1.0], [300.0], [3000.0], [1e4]])
    correction = low_count_correction(np.ones_like(b), b)
    asymptotic = expected_limits_counting(np.ones_like(b), b, 0.95)
    exact = median_limit_exact(b[:3, 0])
    np.testing.assert_allclose(correction[1:3] * asymptotic[1:3], exact[1:], rtol=1e-5)
    assert correction[0] == pytest.approx(2.995732 / 1.920729, rel=1e-3)
    np.testing.assert_array_equal(correction[3:], 1)


def test_low_count_correction_follows_the_median_of_toys():
    # smooth median against the mean over draws of the exact limit: both are centres of the same distribution
    rng = np.random.default_rng(3)
    for b in (3.0, 8.0):
        n = rng.poisson(b, 4000).astype(float)
        limits = counting_limit_exact(n, np.full(n.shape, b))
        lower, upper = np.quantile(limits, [0.3, 0.7])
        assert lower < median_limit_exact(b) < upper


@pytest.mark.parametrize("background", [-1.0, np.nan, np.inf])
def test_impossible_yields_are_refused(background):
    with pytest.raises(ValueError, match="background yields"):
        expected_limits_floating([[1.0]], [[background]], ratio=3.0)


def test_sidebands_must_reach_beyond_the_peak():
    with pytest.raises(ValueError, match="no sidebands"):
        sideband_ratio(2, 2, 1)
