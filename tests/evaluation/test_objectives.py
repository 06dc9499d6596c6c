import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from darksieve.errors import InputError
from darksieve.evaluation.objectives import (
    OBJECTIVES,
    asimov_significance,
    make_objective,
    punzi_minimum_signal,
    punzi_minimum_signal_exact,
    punzi_minimum_signal_simple,
)


def test_punzi_formula_reference():
    # G. Punzi, arXiv:physics/0308063, a = 3, b = 1.28155
    np.testing.assert_allclose(
        punzi_minimum_signal([0, 1, 10, 100]), [3.083211, 7.953461, 17.465409, 46.897001], rtol=1e-6
    )


def test_punzi_with_poisson_probabilities_reference():
    np.testing.assert_allclose(
        punzi_minimum_signal_exact([0, 1, 10, 100]), [2.302585, 8.274674, 18.184270, 46.921397], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("d", "b0", "cut", "simple"),
    [(2.0, 1e3, 2.37439, 2.17114), (2.0, 1e4, 2.71996, 2.56969), (3.0, 1e4, 3.57764, 3.35039)],
)
def test_punzi_optimum_of_two_gaussians_reference(d, b0, cut, simple):
    def at(x, name):
        return make_objective(name)(np.array([norm.sf(x - d)]), np.array([b0 * norm.sf(x)]))

    for name, expected in (("punzi", cut), ("punzi_simple", simple)):
        found = minimize_scalar(at, bounds=(0.5, 5), args=(name,), method="bounded", options={"xatol": 1e-8})
        assert found.x == pytest.approx(expected, abs=2e-5)
    if (d, b0) == (2.0, 1e3):
        assert at(cut, "punzi") == pytest.approx(46.90527, rel=1e-6)


@pytest.mark.parametrize(
    ("s", "b", "z"), [(5, 1, 3.3913), (10, 100, 0.98399), (2, 0.5, 2.01176), (5.5, 5.5, 2.061368)]
)
def test_asimov_significance_reference(s, b, z):
    assert asimov_significance(s, b) == pytest.approx(z, rel=1e-5)


def test_asimov_significance_with_uncertainty_is_the_on_off_significance():
    # Li-Ma with (n_on, n_off, tau) = (s + b, tau b, tau) is the formula with σ² = b/tau
    n_on, n_off, tau = 140, 100, 1.2
    b = n_off / tau
    assert asimov_significance(n_on - b, b, np.sqrt(b / tau)) == pytest.approx(3.99781, rel=1e-5)


def test_a_vanishing_uncertainty_changes_nothing():
    assert asimov_significance(7.0, 30.0, 1e-3) == pytest.approx(asimov_significance(7.0, 30.0), rel=1e-6)


def test_discovery_objective_is_the_strength_of_its_significance():
    s, b = np.array([0.5, 0.2]), np.array([40.0, 2.0])
    mu = make_objective("discovery_known_background", n_sigma=5.0)(s, b)
    assert np.sqrt(np.sum(asimov_significance(mu * s, b) ** 2)) == pytest.approx(5, rel=1e-8)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_falls_with_signal_and_grows_with_background(name):
    objective = make_objective(name)
    s, b = np.array([[0.2, 0.1]]), np.array([[300.0, 60.0]])
    value = objective(s, b)
    assert value.shape == (1,)
    assert objective(2 * s, b) < value <= objective(s, 2 * b)
    np.testing.assert_allclose(
        objective(2 * s, b), value / 2, rtol=1e-6 if name == "expected_limit" else 1e-8
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_signal_is_infinitely_bad_and_no_background_is_finite(name):
    value = make_objective(name)(np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]]))
    assert np.isinf(value[0])
    assert np.isfinite(value[1])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_objectives_do_not_depend_on_the_order_of_categories(seed):
    rng = np.random.default_rng(seed)
    s, b = rng.uniform(0, 1, (3, 4)), 10 ** rng.uniform(-1, 4, (3, 4))
    order = rng.permutation(4)
    for name in ("expected_limit_sidebands", "expected_limit_counting", "punzi", "discovery"):
        objective = make_objective(name)
        np.testing.assert_allclose(objective(s, b), objective(s[:, order], b[:, order]), rtol=1e-6)


def test_a_function_of_the_user_is_taken_as_it_is():
    def mine(signal, background):
        return (background.sum(-1) + 1) / signal.sum(-1)

    assert make_objective(mine) is mine


def test_an_unknown_objective_is_an_input_error_with_the_nearest_name():
    with pytest.raises(InputError, match=r"'punzy'.*did you mean 'punzi'"):
        make_objective("punzy")


def test_negative_background_is_refused():
    with pytest.raises(ValueError, match="not negative"):
        punzi_minimum_signal_simple(-1.0)
