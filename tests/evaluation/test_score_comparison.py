import numpy as np
import pytest
from scipy.stats import norm

from darksieve.errors import InputError
from darksieve.evaluation.score_comparison import compare_scores


def two_gaussians(n=40_000, distance=1.0, seed=1):
    rng = np.random.default_rng(seed)
    is_signal = np.repeat([False, True], n)
    return rng.normal(np.where(is_signal, distance, 0.0)), is_signal


def test_a_score_loses_nothing_against_itself_or_any_rising_function_of_it():
    x, is_signal = two_gaussians()
    found = compare_scores(np.exp(x), x, is_signal, n_bootstrap=5)
    assert found.auc_loss == 0
    assert found.limit_ratio == 1
    assert found.auc_loss_error == found.limit_ratio_error == 0


def test_the_loss_of_a_smeared_score_is_that_of_gaussians():
    """AUC is Φ(d/√2 σ), and ∫ s²/b of two Gaussians at distance d is exp(d²)."""
    x, is_signal = two_gaussians()
    smeared = x + np.random.default_rng(2).normal(0, 0.5, len(x))
    found = compare_scores(smeared, x, is_signal)
    d = 1 / np.sqrt(1.25)
    assert found.auc == pytest.approx(norm.cdf(d / np.sqrt(2)), abs=0.006)  # 3 errors of 40 000 rows
    assert found.auc_loss == pytest.approx(
        norm.cdf(1 / np.sqrt(2)) - norm.cdf(d / np.sqrt(2)), abs=4 * found.auc_loss_error
    )
    # exp(d²) up to what 100 bins and the last of them cost, the same for both to a fraction of a percent
    assert found.limit_ratio == pytest.approx(np.exp((d**2 - 1) / 2), abs=0.01 + 4 * found.limit_ratio_error)


def test_weights_count_as_repeated_rows():
    x, is_signal = two_gaussians(2000)
    y = x + np.random.default_rng(3).normal(0, 1, len(x))
    times = np.random.default_rng(4).integers(0, 3, len(x))
    weighted = compare_scores(y, x, is_signal, times, n_bootstrap=2)
    rows = np.repeat(np.arange(len(x)), times)
    repeated = compare_scores(y[rows], x[rows], is_signal[rows], n_bootstrap=2)
    assert weighted.auc_loss == pytest.approx(repeated.auc_loss, abs=2e-3)
    assert weighted.limit_ratio == pytest.approx(repeated.limit_ratio, abs=0.02)


def test_the_bootstrap_error_covers_the_spread_of_samples():
    losses, errors = [], []
    for seed in range(12):
        x, is_signal = two_gaussians(3000, seed=seed)
        y = x + np.random.default_rng(100 + seed).normal(0, 0.5, len(x))
        found = compare_scores(y, x, is_signal, n_bootstrap=30)
        losses.append(found.auc_loss)
        errors.append(found.auc_loss_error)
    # the spread of 12 samples is known to 1/√22, 21 %
    assert np.std(losses, ddof=1) == pytest.approx(np.mean(errors), rel=0.65)


def test_scores_that_are_not_finite_and_empty_classes_are_refused():
    x, is_signal = two_gaussians(200)
    bad = x.copy()
    bad[3] = np.nan
    with pytest.raises(InputError, match="score is NaN or infinite in 1 rows"):
        compare_scores(bad, x, is_signal)
    with pytest.raises(InputError, match="0 signal rows are too few"):
        compare_scores(x, x, np.zeros(len(x), bool))
