import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from darksieve.errors import InputError
from darksieve.training.mass_matching import effective_number, match_masses


def samples(n=40_000, seed=1, signal="flat"):
    rng = np.random.default_rng(seed)
    background = 10 * rng.beta(1.5, 3, n)
    if signal == "flat":
        masses = rng.uniform(0.5, 9.0, n)
    else:
        masses = rng.choice([0.5, 2, 5, 8], n) + 0.015 * rng.normal(size=n)
    column = np.concatenate([background, masses])
    return column, np.repeat([False, True], n), np.concatenate([np.full(n, 7.0), np.ones(n)])


def weighted_chi2(a, w_a, b, w_b, edges):
    """Chi-square of two normalised weighted histograms, and its p-value."""
    h_a, h_b = np.histogram(a, edges, weights=w_a)[0], np.histogram(b, edges, weights=w_b)[0]
    v_a, v_b = np.histogram(a, edges, weights=w_a**2)[0], np.histogram(b, edges, weights=w_b**2)[0]
    difference = h_a / w_a.sum() - h_b / w_b.sum()
    variance = v_a / w_a.sum() ** 2 + v_b / w_b.sum() ** 2
    used = variance > 0
    value = (difference[used] ** 2 / variance[used]).sum()
    return value, chi2.sf(value, used.sum() - 1)


@pytest.mark.parametrize("target", ["background_to_signal", "signal_to_background", "flat"])
def test_matched_classes_have_one_distribution(target):
    column, is_signal, weight = samples()
    matching = match_masses(column, is_signal, weight, target=target)
    fresh, signal, weights = samples(seed=2)  # held out: the bins have not seen these rows
    low, high = matching.edges[[0, -1]]
    inside = (fresh >= low) & (fresh <= high)
    before = weights * inside
    after = weights * matching.factor(fresh, signal)
    edges = np.linspace(low, high, 30)
    for weighted, same in ((before, False), (after, True)):
        b, s = ~signal & (weighted > 0), signal & (weighted > 0)
        value, p = weighted_chi2(fresh[b], weighted[b], fresh[s], weighted[s], edges)
        # 28 degrees of freedom; the factors' own noise, from as many rows, doubles the variance at most
        assert (p > 1e-6 or value < 2 * chi2.isf(1e-6, 28)) == same


def test_flat_is_flat():
    column, is_signal, weight = samples()
    matching = match_masses(column, is_signal, weight, target="flat", cap=1000)
    after = weight * matching.factor(column, is_signal)
    for rows in (is_signal, ~is_signal):
        counts, _ = np.histogram(column[rows], np.linspace(1, 8, 15), weights=after[rows])
        assert np.abs(counts / counts.mean() - 1).max() < 0.2


def test_background_is_gathered_where_discrete_masses_are():
    column, is_signal, weight = samples(signal="discrete")
    matching = match_masses(column, is_signal, weight, cap=1000)
    after = weight * matching.factor(column, is_signal)
    near = np.min(np.abs(column[:, None] - [0.5, 2, 5, 8]), axis=1) < 0.08
    assert after[~is_signal & near].sum() > 0.9 * after[~is_signal].sum()
    assert matching.n_effective[0] < 0.1 * matching.n_effective_before[0]


def test_the_cap_holds_and_is_counted():
    column, is_signal, weight = samples(signal="discrete")
    free = match_masses(column, is_signal, weight, cap=1e6)
    capped = match_masses(column, is_signal, weight, cap=3)
    assert free.n_capped == 0
    assert capped.n_capped > 0
    assert capped.background_factor.max() < free.background_factor.max()
    assert capped.n_effective[0] > free.n_effective[0]
    assert capped.summary()["n_capped"] == capped.n_capped


def test_effective_numbers_are_reported():
    column, is_signal, weight = samples()
    matching = match_masses(column, is_signal, weight)
    assert matching.n_effective_before == pytest.approx((40_000, 40_000))
    after = weight * matching.factor(column, is_signal)
    assert matching.n_effective[0] == pytest.approx(effective_number(after[~is_signal]))
    assert 1000 < matching.n_effective[0] < 40_000
    assert effective_number(np.zeros(0)) == 0


def test_none_changes_nothing():
    column, is_signal, weight = samples(n=100)
    matching = match_masses(column, is_signal, weight, target="none")
    np.testing.assert_array_equal(matching.factor(column, is_signal), 1)


def test_outside_the_common_range_there_is_no_weight():
    column, is_signal, weight = samples()
    matching = match_masses(column, is_signal, weight)
    outside = (column < 0.49) | (column > 9.01)
    assert (matching.factor(column, is_signal)[outside] == 0).all()


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 100))
def test_scale_and_order_change_nothing(scale, seed):
    column, is_signal, weight = samples(n=500)
    matching = match_masses(column, is_signal, weight)
    order = np.random.default_rng(seed).permutation(len(column))
    other = match_masses(column[order], is_signal[order], scale * weight[order])
    np.testing.assert_allclose(
        other.factor(column, is_signal), matching.factor(column, is_signal), rtol=1e-9, atol=1e-9
    )


def test_impossible_matchings_are_refused():
    column, is_signal, weight = samples(n=100)
    with pytest.raises(InputError, match="did you mean 'flat'"):
        match_masses(column, is_signal, weight, target="flatt")
    with pytest.raises(InputError, match="no mass in common"):
        match_masses(np.where(is_signal, column + 100, column), is_signal, weight)
    with pytest.raises(ValueError, match="both classes"):
        match_masses(column, np.ones(200, dtype=bool), weight)
    with pytest.raises(ValueError, match="cap"):
        match_masses(column, is_signal, weight, cap=1)
