import numpy as np
import pytest

from darksieve.evaluation.pooling import (
    BackgroundRows,
    effective_events,
    estimate_background,
    local_density,
    telling_events,
)


def rows(n, seed, weight=2.0):
    """Flat over 10 GeV; a tenth is in category 1."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 10, n))
    column = (rng.uniform(size=n) < 0.1).astype(int)
    return BackgroundRows(x, column, np.full(n, weight), np.arange(n, dtype=np.uint64), 2)


MASSES = np.linspace(1, 9, 33)


def test_enough_events_are_simply_counted():
    sample = rows(400_000, 1)
    estimate = estimate_background(sample, MASSES, 0.05, min_effective_events=200, first_column=1)
    inside = (sample.observable >= MASSES[3] - 0.05) & (sample.observable < MASSES[3] + 0.05)
    for column in (0, 1):
        assert estimate.expected[3, column] == 2 * (inside & (sample.column == column)).sum()
    assert (estimate.factor == 1).all()
    np.testing.assert_array_equal(estimate.effective_events, estimate.expected / 2)


def test_thin_categories_are_measured_over_wider_windows():
    estimate = estimate_background(rows(20_000, 2), MASSES, 0.05, min_effective_events=100, first_column=1)
    assert (estimate.factor[:, 1] > 1).all()
    assert (estimate.pooled_effective_events[:, 1] >= 100).all()
    expected = 20_000 * 2 * 0.01 * 0.1
    # 200 rows of the total in the window, 100 of the share
    assert np.abs(estimate.expected[:, 1] / expected - 1).max() < 4.5 * np.sqrt(1 / 200 + 1 / 100)
    assert estimate.effective_events[:, 1].max() < 100


def test_what_no_pooling_cures_is_visible():
    estimate = estimate_background(rows(500, 3), MASSES, 0.05, min_effective_events=400, first_column=1)
    assert (estimate.pooled_effective_events[:, 1] < 400).all()
    assert (estimate.factor[:, 1] == 16).all()


def test_effective_events_of_unequal_weights():
    sample = rows(100_000, 4)
    weight = np.where(np.arange(100_000) % 2, 1.0, 9.0)
    uneven = BackgroundRows(sample.observable, sample.column, weight, sample.key, 2)
    estimate = estimate_background(uneven, MASSES, 0.2)
    counts = estimate_background(sample, MASSES, 0.2).effective_events
    # (1 + 9)²/(2(1 + 81)) of the rows
    np.testing.assert_allclose(estimate.effective_events / counts, 100 / 164, rtol=0.15)


def test_bootstrap_errors_are_those_of_counting():
    sample = rows(200_000, 5)
    estimate = estimate_background(sample, MASSES, 0.05, min_effective_events=100, n_replicates=200)
    error = estimate.replicates.std(axis=0, ddof=1)
    # 200 replicates: 5 % for each error, independent windows
    np.testing.assert_allclose(error, 2 * np.sqrt(estimate.expected / 2), rtol=4.5 * 0.05)


def test_all_weights_scale_all_estimates():
    one = estimate_background(rows(20_000, 6, 1.0), MASSES, 0.05, n_replicates=3)
    three = estimate_background(rows(20_000, 6, 3.0), MASSES, 0.05, n_replicates=3)
    np.testing.assert_allclose(three.expected, 3 * one.expected)
    np.testing.assert_allclose(three.replicates, 3 * one.replicates)
    np.testing.assert_allclose(three.effective_events, one.effective_events)


def test_windows_at_the_edge_of_the_sample_use_its_width():
    sample = rows(3000, 7)
    estimate = estimate_background(sample, np.array([0.05]), 0.05, min_effective_events=200)
    assert estimate.total_factor[0] > 1
    assert 0.6 < estimate.expected.sum() / 60 < 1.4  # 200 rows: 7 %; the window is inside, wider ones are not


def test_a_share_that_changes_with_mass_is_right_up_to_the_end_of_the_spectrum():
    # a category whose share falls by e^-1 for a GeV: wide windows at the end reach to one side only
    rng = np.random.default_rng(8)
    n = 200_000
    x = np.sort(rng.uniform(0, 3, n))
    column = (rng.uniform(size=n) < 0.1 * np.exp(-x)).astype(int)
    sample = BackgroundRows(x, column, np.ones(n), np.arange(n, dtype=np.uint64), 2)
    masses = np.array([0.05, 1.0, 2.0, 2.9])
    estimate = estimate_background(
        sample, masses, 0.05, min_effective_events=300, first_column=1, n_replicates=50
    )
    assert estimate.factor[-1, 1] > 4
    true = n * 0.1 / 3 * 0.1 * np.exp(-masses)
    error = estimate.replicates.std(axis=0, ddof=1)[:, 1]
    assert (np.abs(estimate.expected[:, 1] - true) < 4 * error).all()
    assert (error[-1] < 0.2 * true[-1]) & (error[-1] > 0.04 * true[-1])  # 300 events, and their slope


@pytest.mark.parametrize("slope", [-30.0, -3.0, 0.0, 1e-9, 0.4, 12.0])
def test_the_density_of_an_exponential_is_found_anywhere_in_a_window(slope):
    low, high = 2.0, 3.0
    x = np.linspace(low, high, 200_001)
    y = np.exp(slope * (x - low))
    counts, moments = np.trapezoid(y, x), np.trapezoid(y * x, x)
    for at in (2.0, 2.3, 3.0):
        found = local_density(counts, moments, np.array(at), np.array(low), np.array(high), np.array(1e9))
        np.testing.assert_allclose(found, np.exp(slope * (at - low)), rtol=2e-3)


def test_many_light_events_tell_nothing_of_the_heavy_ones_that_are_missing():
    # column 0 holds 50 heavy and 500 light events, column 1 only 500 light ones
    sums, squares = np.array([50 * 30 + 500 * 0.1, 500 * 0.1]), np.array([50 * 900 + 5.0, 5.0])
    assert effective_events(sums, squares)[1] == pytest.approx(500)
    own, light = telling_events(sums, squares)
    assert own == pytest.approx(53.4, abs=1)
    assert light == pytest.approx(50 / 28.2, rel=0.05)  # its 50 expected events are two heavy ones


def test_events_of_one_weight_tell_what_they_are():
    n = np.array([3.0, 17.0, 0.0, 400.0])
    np.testing.assert_allclose(telling_events(2.5 * n, 6.25 * n), n)
