"""Window fits of the simulated background: exact where they can be, positive always."""

import numpy as np
import pytest
from iminuit import Minuit

from darksieve.errors import InputError
from darksieve.evaluation.background_model import expected_counts, fit_windows
from darksieve.evaluation.limits.components import PolynomialBackground
from darksieve.evaluation.scan_grid import place_windows

EDGES = np.linspace(1.0, 5.0, 1601)
MIDDLES = (EDGES[1:] + EDGES[:-1]) / 2


def sigma(masses):
    return np.full(np.shape(masses), 0.015)


def windows_at(*masses, window_sigma=20, exclude=()):
    return place_windows(masses, sigma, EDGES, window_sigma=window_sigma, exclude=exclude)


@pytest.mark.parametrize("family", ["chebyshev", "bernstein"])
@pytest.mark.parametrize("exclude", [(), [(1.9, 2.05)]])
def test_a_polynomial_is_recovered_exactly(family, exclude):
    windows = windows_at(1.1, 2.0, 4.9, exclude=exclude)
    primitive = 300 * EDGES + 40 * EDGES**2 - 6 * EDGES**3
    sums = np.diff(primitive)
    fitted = fit_windows(sums, 0.5 * sums, windows, family=family, order=3)
    for i in range(3):
        run = slice(windows.first[i], windows.last[i])
        np.testing.assert_allclose(expected_counts(fitted, windows, i), sums[run], rtol=1e-8)
        assert fitted.yields[i] == pytest.approx(sums[run][windows.usable[run]].sum(), rel=1e-12)
    assert not fitted.constrained.any()


@pytest.mark.parametrize("family", ["exponential", "power"])
def test_a_slope_is_recovered(family):
    windows = windows_at(2.0, 4.0)
    density = np.exp(-1.3 * MIDDLES) if family == "exponential" else MIDDLES**-2.5
    sums = 1e4 * density * np.diff(EDGES)
    fitted = fit_windows(sums, sums, windows, family=family)
    np.testing.assert_allclose(
        fitted.coefficients[:, 0], -1.3 if family == "exponential" else -2.5, rtol=1e-8
    )
    run = slice(windows.first[1], windows.last[1])
    np.testing.assert_allclose(expected_counts(fitted, windows, 1), sums[run], rtol=1e-6)


def test_fit_is_the_maximum_of_the_poisson_likelihood():
    rng = np.random.default_rng(4)
    counts = rng.poisson(30 * np.exp(-MIDDLES / 2)).astype(float)
    windows = windows_at(3.0)
    fitted = fit_windows(4 * counts, 16 * counts, windows, order=2)
    run = slice(windows.first[0], windows.last[0])
    u = 2 * (MIDDLES[run] - windows.low[0]) / (windows.high[0] - windows.low[0]) - 1

    def nll(total, c1, c2):
        mean = total * (1 + c1 * u + c2 * (2 * u * u - 1))
        return np.sum(mean - counts[run] * np.log(np.maximum(mean, 1e-9)))

    minuit = Minuit(nll, total=10.0, c1=0.0, c2=0.0)
    minuit.errordef, minuit.tol, minuit.strategy = 0.5, 1e-6, 2
    minuit.migrad()
    # bin centres instead of bin integrals: 1e-5
    np.testing.assert_allclose(fitted.coefficients[0], [minuit.values["c1"], minuit.values["c2"]], atol=2e-4)


def test_chi2_of_weighted_simulation_is_its_degrees_of_freedom():
    rng = np.random.default_rng(7)
    weight = 12.5
    counts = rng.poisson(20 * (1 + 0.1 * MIDDLES))
    windows = windows_at(*np.arange(1.4, 4.7, 0.6))  # disjoint
    fitted = fit_windows(weight * counts, weight**2 * counts, windows, order=2)
    total, n_degrees = fitted.chi2.sum(), fitted.n_degrees.sum()
    assert total / n_degrees == pytest.approx(1.0, abs=4 * np.sqrt(2 / n_degrees))
    np.testing.assert_allclose(
        fitted.effective_events, [counts[a:b].sum() for a, b in zip(windows.first, windows.last, strict=True)]
    )


@pytest.mark.parametrize("family", ["chebyshev", "bernstein"])
def test_sparse_windows_give_expectations_that_the_document_accepts(family):
    rng = np.random.default_rng(1)
    windows = windows_at(*np.linspace(1.05, 4.95, 150), window_sigma=10)
    # bursts and gaps: unconstrained polynomials would go negative in many of these windows
    counts = rng.poisson(np.where((MIDDLES * 2).astype(int) % 2 == 0, 0.9, 0.003)).astype(float)
    fitted = fit_windows(counts, counts, windows, family=family, order=3)
    assert fitted.constrained.sum() > 10
    for i in range(len(windows.masses)):
        background = PolynomialBackground.model_validate(
            {
                "family": family,
                "order": 3,
                "yield": float(fitted.yields[i]),
                "coefficients": fitted.coefficients[i].tolist(),
            }
        )
        assert background.yield_ == fitted.yields[i]
        expected = expected_counts(fitted, windows, i)
        assert (expected >= 0).all()
        assert expected.sum() == pytest.approx(fitted.yields[i])


def test_an_empty_window_expects_nothing():
    fitted = fit_windows(np.zeros(1600), np.zeros(1600), windows_at(2.0, 3.0))
    np.testing.assert_array_equal(fitted.yields, 0)
    np.testing.assert_array_equal(fitted.coefficients, 0)


def test_few_events_are_fitted_with_a_lower_order():
    rng = np.random.default_rng(2)
    counts = rng.poisson(0.06, 1600).astype(float)  # some 14 events in a window: at most two coefficients
    fitted = fit_windows(counts, counts, windows_at(2.0, 3.0, 4.0), order=3)
    assert fitted.yields.max() < 30
    np.testing.assert_array_equal(fitted.coefficients[:, 1:], 0)
    assert fitted.constrained.all()


def test_bad_input_is_refused():
    windows = windows_at(2.0)
    with pytest.raises(InputError, match="did you mean 'chebyshev'"):
        fit_windows(np.ones(1600), np.ones(1600), windows, family="chebychev")
    with pytest.raises(ValueError, match="1600 bins"):
        fit_windows(np.ones(10), np.ones(10), windows)
    with pytest.raises(ValueError, match="not negative"):
        fit_windows(-np.ones(1600), np.ones(1600), windows)
    at_zero = place_windows([0.1], sigma, np.linspace(0, 1, 401), window_sigma=20)
    with pytest.raises(InputError, match="power law needs windows above zero"):
        fit_windows(np.ones(400), np.ones(400), at_zero, family="power")
