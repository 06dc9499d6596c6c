import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from darksieve.evaluation.limits.asimov import band_levels
from darksieve.evaluation.limits.counting import (
    Count,
    asimov_significance,
    exact_cls,
    exact_expected_counts,
    exact_expected_limits,
    exact_limit,
    exact_p0,
    li_ma_significance,
    log_poisson_cdf,
)

CLOSED = 1e-5


# exact Poisson CLs (closed form; = Bayesian with a flat prior), 2024
@pytest.mark.parametrize(
    ("n", "b", "at_90", "at_95"),
    [
        (1, 5.5, None, 3.418313),
        (6, 5.5, None, 7.013499),
        (11, 5.5, None, 12.731938),
        (0, 0.0, 2.302585, 2.995732),
        (0, 7.0, 2.302585, 2.995732),
        (1, 0.0, 3.8897, 4.7439),
        (3, 1.0, 5.7115, 6.7824),
        (3, 3.0, 4.3624, 5.3954),
        (10, 10.0, 6.6302, 8.0825),
        (100, 100.0, 17.798, 21.374),
    ],
)
def test_exact_limits_are_the_published_ones(n, b, at_90, at_95):
    assert exact_limit(n, b, 0.95) == pytest.approx(at_95, rel=CLOSED)
    if at_90 is not None:
        assert exact_limit(n, b, 0.90) == pytest.approx(at_90, rel=2e-5)


@pytest.mark.parametrize(("n", "limit"), [(1, 3.056928), (6, 6.432314), (11, 11.993319)])
def test_asymptotic_limits_of_a_count_are_the_closed_ones(n, limit):
    assert Count(n, 5.5).asymptotic_limit() == pytest.approx(limit, rel=CLOSED)


def test_both_conventions_of_the_band_are_the_closed_ones():
    sigma = Count(5, 5.5).asymptotic_expected_limits()
    assert sigma == pytest.approx((2.848321, 4.006776, 5.956845, 9.081177, 13.501985), rel=CLOSED)
    quantile = Count(5, 5.5).asymptotic_expected_limits(levels=band_levels("quantile"))
    assert quantile == pytest.approx((2.884173, 4.015031, 5.956845, 9.060200, 13.302348), rel=CLOSED)


@pytest.mark.parametrize(("n", "known", "log_normal"), [(11, 2.061368, 1.666480), (20, 4.758084, 3.584433)])
def test_discovery_significances_are_the_closed_ones(n, known, log_normal):
    assert Count(n, 5.5).discovery_significance() == pytest.approx(known, rel=CLOSED)
    uncertain = Count(n, 5.5, 0.3 * 5.5, "log_normal")
    assert uncertain.discovery_significance() == pytest.approx(log_normal, rel=CLOSED)


@pytest.mark.parametrize(
    ("n", "n_off", "alpha", "observed", "median"),
    [(6, 11, 0.5, 7.048118, 6.638127), (2, 10, 0.2, 4.299317, 4.299317)],
)
def test_on_off_limits_are_the_closed_ones(n, n_off, alpha, observed, median):
    count = Count(n, alpha * n_off, alpha * math.sqrt(n_off), "gamma")
    assert count.asymptotic_limit() == pytest.approx(observed, rel=CLOSED)
    assert count.asymptotic_expected_limits()[2] == pytest.approx(median, rel=CLOSED)


def test_exact_cls_at_a_strength_is_the_closed_one():
    assert exact_cls(6, 5.0, 5.5) == pytest.approx(0.148145, abs=1e-6)
    assert math.exp(log_poisson_cdf(6, 10.5)) == pytest.approx(0.101633, abs=1e-6)


@pytest.mark.parametrize(
    ("on", "off", "tau", "z"), [(140, 100, 1.2, 3.99781), (20, 10, 1, 1.84336), (4, 5, 5, 1.94730)]
)
def test_li_ma_significances_are_the_published_ones(on, off, tau, z):
    assert li_ma_significance(on, off, tau) == pytest.approx(z, rel=CLOSED)


@pytest.mark.parametrize(("s", "b", "z"), [(5, 1, 3.3913), (10, 100, 0.98399), (2, 0.5, 2.01176)])
def test_asimov_significances_are_the_published_ones(s, b, z):
    assert asimov_significance(s, b) == pytest.approx(z, rel=2e-5)


def test_asimov_significance_with_an_uncertainty_tends_to_the_known_background():
    assert asimov_significance(5, 10, 1e-5) == pytest.approx(asimov_significance(5, 10), rel=1e-6)
    assert asimov_significance(5, 10, 3.0) < asimov_significance(5, 10)


@given(st.integers(0, 60), st.floats(0, 60), st.floats(0.5, 0.99))
def test_the_exact_limit_solves_its_equation(n, b, confidence_level):
    limit = exact_limit(n, b, confidence_level)
    cls = (
        poisson.cdf(n, limit + b) / poisson.cdf(n, b) if poisson.cdf(n, b) > 1e-250 else 1 - confidence_level
    )
    assert cls == pytest.approx(1 - confidence_level, rel=1e-8)


def test_far_below_the_mean_nothing_underflows():
    assert exact_limit(0, 5000.0) == pytest.approx(2.995732, rel=CLOSED)
    assert log_poisson_cdf(3, 2000.0) == pytest.approx(poisson.logpmf(3, 2000.0) + math.log(1.0015), abs=1e-5)


def test_expected_counts_are_quantiles_of_the_background():
    counts = exact_expected_counts(5.5)
    assert counts == (1, 3, 5, 8, 11)
    assert exact_expected_limits(5.5)[0] == pytest.approx(3.418313, rel=CLOSED)
    assert exact_expected_counts(0.0) == (0, 0, 0, 0, 0)


def test_exact_p_values_count_the_tail_that_holds_the_observation():
    assert exact_p0(0, 3.0) == 1.0
    assert exact_p0(6, 5.5) == pytest.approx(poisson.sf(5, 5.5), rel=1e-12)
    assert exact_p0(3, 0.0) == 0.0


@pytest.mark.parametrize("constraint", ["gamma", "gaussian", "log_normal"])
def test_the_profiled_background_is_a_minimum(constraint):
    count = Count(8, 5.5, 1.5, constraint)
    for signal in (0.0, 2.0, 9.0, -3.0):
        b = count.profiled_background(signal)
        values = [count._two_nll(signal, b * factor) for factor in (0.999, 1.0, 1.001)]
        assert values[1] < min(values[0], values[2])


def test_errors_of_the_best_fit_stop_where_nothing_is_expected():
    low, high = Count(0, 5.5).interval()
    assert low == 0
    assert high == pytest.approx(0.5)
    low, high = Count(100, 50.0).interval()
    assert -low == pytest.approx(10, rel=0.05)
    assert high == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("bad", [(-1, 1.0), (math.nan, 1.0), (1, -1.0), (1, math.inf)])
def test_negative_and_non_finite_counts_are_refused(bad):
    with pytest.raises(ValueError, match="finite and not negative"):
        exact_limit(*bad)


def test_exact_limits_cover_at_least_their_confidence_level():
    # closed: the limit of each possible count against the truth; CLs over-covers
    for b in (0.0, 0.5, 3.0, 30.0):
        for truth in (0.5, 3.0, 10.0):
            n = np.arange(0, 120)
            covered = np.array([exact_limit(int(k), b) >= truth for k in n])
            assert poisson.pmf(n, truth + b)[covered].sum() >= 0.95
