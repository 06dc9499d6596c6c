"""Candidates beside a selection stand for those inside: toys whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from darksieve.errors import InputError
from darksieve.evaluation.sidebands import ENOUGH_ABOVE, FEWEST_INSIDE, extrapolate, signal_quantile


def toy(seed, n=40_000, tilt=0.0):
    """Background with few quantiles near one, and a chance to be inside that rises with the observable."""
    rng = np.random.default_rng(seed)
    observable = rng.exponential(1.0, n)
    quantile = rng.beta(0.4, 4.0, n)
    chance = expit(-3.5 + 0.5 * np.minimum(observable, 3) + tilt * quantile)
    return observable, quantile, rng.random(n) < chance, chance


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1e4))
@settings(max_examples=15, deadline=None)
def test_the_total_inside_stays_and_more_candidates_stand_for_it(seed, scale):
    observable, quantile, inside, _ = toy(seed, n=5000)
    weight = np.full(len(observable), scale)
    made = extrapolate(observable, quantile, weight, inside)
    after = weight * made.factor
    assert after.sum() == pytest.approx(weight[inside].sum(), rel=1e-9)
    assert (made.n_inside, made.n_outside) == (inside.sum(), (~inside).sum())
    assert after.sum() ** 2 / np.sum(after**2) > 5 * inside.sum()
    assert (after > 0).all()


def test_the_fitted_chance_is_the_one_that_made_the_toy():
    significance, shares = [], []
    for seed in range(40):
        observable, quantile, inside, chance = toy(seed, n=10_000)
        made = extrapolate(observable, quantile, np.ones(len(observable)), inside)
        significance.append(made.tilt_significance)
        high = quantile > 0.5
        shares.append(made.factor[high].sum() / chance[high].sum())
    # a pull has mean 0 and width 1: over 40 toys their errors are 0.16 and 0.11
    assert abs(np.mean(significance)) < 4 * 0.16
    assert abs(np.std(significance) - 1) < 4 * 0.11
    error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    assert np.mean(shares) == pytest.approx(1.0, abs=4 * error)


@pytest.mark.parametrize("tilt", [-3.0, 3.0])
def test_a_tilt_is_followed_as_far_as_candidates_inside_tell(tilt):
    observable, quantile, inside, _ = toy(4, tilt=tilt)
    made = extrapolate(observable, quantile, np.ones(len(observable)), inside)
    tilted = np.minimum(quantile, made.tilt_until) / made.tilt_until
    # where the likelihood is greatest; the ridge and the total, which is kept exactly, move it by little
    assert np.sum(made.factor * tilted) == pytest.approx(tilted[inside].sum(), rel=0.01)
    assert np.sum(inside & (quantile > made.tilt_until)) == pytest.approx(ENOUGH_ABOVE, abs=1)
    above = quantile > made.tilt_until
    chance = made.factor[above] / made.factor[quantile < 0.01 * made.tilt_until].mean()
    assert (np.mean(chance) > 1) == (tilt > 0)


def test_a_score_that_tells_of_the_selection_is_seen_where_it_passes_more_often():
    observable, quantile, inside, _ = toy(3, tilt=3.0)
    made = extrapolate(observable, quantile, np.ones(len(observable)), inside)
    assert made.tilt_significance > 5
    at_half = made.passing[2]
    assert at_half.signal_efficiency == 0.5
    assert (at_half.ratio - 1) / at_half.error > 3
    observable, quantile, inside, _ = toy(3)
    made = extrapolate(observable, quantile, np.ones(len(observable)), inside)
    for one in made.passing:
        assert abs(one.ratio - 1) < 4 * one.error


def test_the_error_of_the_tilt_is_that_of_weighted_candidates():
    """Half of the candidates with three times the weight have 0.8 of the effective number."""
    observable, quantile, inside, _ = toy(5)
    weight = np.where(np.arange(len(observable)) % 2, 3.0, 1.0)
    plain = extrapolate(observable, quantile, np.ones(len(observable)), inside)
    weighted = extrapolate(observable, quantile, weight, inside)
    assert weighted.tilt_error / plain.tilt_error == pytest.approx(np.sqrt(1 / 0.8), rel=0.1)


def test_too_few_inside_or_none_outside_tell_nothing():
    observable, quantile, inside, _ = toy(1, n=3000)
    few = inside & (np.cumsum(inside) < FEWEST_INSIDE)
    assert extrapolate(observable, quantile, np.ones(3000), few) is None
    assert extrapolate(observable, quantile, np.ones(3000), np.ones(3000, bool)) is None
    assert extrapolate(observable, quantile, np.zeros(3000), inside) is None


def test_one_value_of_the_observable_has_one_chance():
    *_, inside, _ = toy(2, n=4000)
    made = extrapolate(np.ones(4000), np.zeros(4000), np.ones(4000), inside)
    np.testing.assert_allclose(made.factor, inside.mean(), rtol=1e-6)


def test_negative_weights_are_refused():
    observable, quantile, inside, _ = toy(1, n=3000)
    with pytest.raises(InputError, match="negative weights"):
        extrapolate(observable, quantile, np.where(inside, 1.0, -1.0), inside)


def test_a_quantile_is_the_weight_of_signal_below():
    quantile = signal_quantile([0.0, 0.15, 0.35, 1.0], [0.1, 0.2, 0.3], [1.0, 2.0, 1.0])
    np.testing.assert_allclose(quantile, [0, 0.25, 1, 1])
