import numpy as np
import pytest

from darksieve.errors import InputError
from darksieve.evaluation.signal_efficiency import fit_signal_efficiency

LOW, HIGH = 0.2, 9.8


def true_efficiency(masses):
    return 0.35 * (1 - np.exp(-np.asarray(masses) / 0.8)) * (1 - 0.02 * np.asarray(masses))


def flat_sample(n_generated, seed):
    rng = np.random.default_rng(seed)
    mass = rng.uniform(LOW, HIGH, n_generated)
    mass = mass[rng.uniform(size=n_generated) < true_efficiency(mass)]
    return mass, np.full(len(mass), (HIGH - LOW) / n_generated), rng.integers(1, 3, len(mass))


def discrete_sample(masses, n_generated, seed):
    rng = np.random.default_rng(seed)
    n = rng.binomial(n_generated, true_efficiency(masses))
    mass = np.repeat(masses, n)
    return mass, np.full(len(mass), 1 / n_generated), rng.integers(1, 3, len(mass))


AT = np.linspace(0.25, 9.7, 30)


def assert_consistent(values, errors, truth):
    pull = (values - truth) / errors
    assert np.sqrt(np.mean(pull**2)) < 2  # few parameters: pulls of neighbouring masses move together
    assert np.abs(pull).max() < 5
    assert np.median(errors / truth) < 0.03


@pytest.mark.parametrize(
    "sample",
    [flat_sample(200_000, 1), discrete_sample(np.linspace(LOW, HIGH, 25), 8000, 2)],
    ids=["flat", "discrete"],
)
def test_fit_gives_the_true_efficiency_within_its_error(sample):
    mass, weight, category = sample
    fit = fit_signal_efficiency(mass, weight, category, 2, mass_range=(LOW, HIGH))
    assert_consistent(fit(AT), fit.error(AT), true_efficiency(AT) / 2)
    n_dof = fit.values.size - fit.coefficients.size
    assert abs(fit.chi2_per_dof - 1) < 5 * np.sqrt(2 / n_dof)


def test_a_flat_and_a_discrete_sample_can_be_fitted_together():
    flat, discrete = flat_sample(100_000, 3), discrete_sample(np.linspace(0.5, 9.5, 10), 10_000, 4)
    mass, weight, category = (np.concatenate(pair) for pair in zip(flat, discrete, strict=True))
    fit = fit_signal_efficiency(mass, weight, category, 2, mass_range=(LOW, HIGH))
    assert_consistent(fit(AT).sum(axis=0), np.hypot(*fit.error(AT)), true_efficiency(AT))


def test_categories_add_up_to_the_whole():
    mass, weight, category = flat_sample(50_000, 5)
    fit = fit_signal_efficiency(mass, weight, category, 2, mass_range=(LOW, HIGH))
    whole = fit_signal_efficiency(mass, weight, np.ones(len(mass)), 1, mass_range=(LOW, HIGH))
    np.testing.assert_allclose(fit.values.sum(axis=0), whole.values[0], rtol=1e-9)
    assert_consistent(fit(AT).sum(axis=0), np.hypot(*fit.error(AT)), true_efficiency(AT))


def test_rejected_rows_do_not_count():
    mass, weight, category = flat_sample(50_000, 6)
    category = np.where(category == 2, 0, 1)
    fit = fit_signal_efficiency(mass, weight, category, 1, mass_range=(LOW, HIGH))
    assert_consistent(fit(AT), fit.error(AT), true_efficiency(AT) / 2)


def test_one_mass_gives_its_efficiency_and_binomial_error():
    mass, weight = np.full(300, 2.0), np.full(300, 1e-3)
    fit = fit_signal_efficiency(mass, weight, np.ones(300), 1)
    assert fit([2.0])[0, 0] == pytest.approx(0.3)
    assert fit.error([2.0])[0, 0] == pytest.approx(np.sqrt(0.3 * 0.7 / 1000), rel=1e-6)


def test_a_mass_outside_the_simulated_range_is_an_input_error():
    mass, weight, category = flat_sample(5000, 7)
    fit = fit_signal_efficiency(mass, weight, category, 2, mass_range=(LOW, HIGH))
    with pytest.raises(InputError, match=r"no signal efficiency at 10 GeV.*0\.2 to 9\.8"):
        fit([1.0, 10.0])


def test_refitting_the_same_values_changes_nothing():
    mass, weight, category = flat_sample(20_000, 8)
    fit = fit_signal_efficiency(mass, weight, category, 2, mass_range=(LOW, HIGH))
    np.testing.assert_allclose(fit.refitted(fit.values), fit.coefficients, rtol=1e-9, atol=1e-12)


def test_negative_weights_and_empty_selections_are_input_errors():
    with pytest.raises(InputError, match="weights"):
        fit_signal_efficiency([1.0, 2.0], [1.0, -1.0], [1, 1], 1)
    with pytest.raises(InputError, match="no signal candidate is left"):
        fit_signal_efficiency([1.0, 2.0], [1.0, 1.0], [0, 0], 1)
