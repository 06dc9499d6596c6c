"""The exact unbinned likelihood against an independent one: own densities, own nuisances, MIGRAD, brentq."""

import math

import numpy as np
import pytest
from iminuit import Minuit
from scipy.optimize import brentq
from scipy.special import comb, log_ndtr

from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import limits_of_search

LOW, HIGH = 0.4125, 0.5875
SIGMA = 0.007


def document(values, family, order):
    background = {"family": family} | ({} if order is None else {"order": order})
    peak = {"shape": "double_sided_crystal_ball", "mean": 0.5, "sigma": SIGMA}
    tails = {"alpha_left": 1.4, "n_left": 4, "alpha_right": 1.8, "n_right": 6}
    return {
        "format": "darksieve-search/1",
        "channels": [{"name": "c", "data": {"values": list(values)}, "background": background}],
        "points": [
            {"label": "a", "channels": {"c": peak | tails | {"window": [LOW, HIGH], "yield_per_unit": 1.0}}}
        ],
        "nuisances": [
            {"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.08},
            {"name": "width", "on": "sigma", "kind": "linear", "size": 0.10},
            {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": 0.2},
        ],
    }


def background_density(family, c, x):
    width = HIGH - LOW
    u = (x - LOW) / width
    if family == "exponential":
        return np.exp(c[0] * u) * (c[0] / math.expm1(c[0]) if abs(c[0]) > 1e-8 else 1.0) / width
    if family == "power":
        return x ** c[0] * (c[0] + 1) / (HIGH ** (c[0] + 1) - LOW ** (c[0] + 1))
    if family == "chebyshev":
        series = np.polynomial.Chebyshev([1.0, *c])
        whole = series.integ()
        return series(2 * u - 1) / ((whole(1) - whole(-1)) / 2) / width
    weights = np.array([1.0, *c])  # Bernstein, relative to the first
    n = len(c)
    basis = np.array([comb(n, k) * u**k * (1 - u) ** (n - k) for k in range(n + 1)])
    return weights @ basis / weights.sum() * (n + 1) / width


class Reference:
    """Minimises with MIGRAD; parameters μ, three nuisances, background events, background shape."""

    def __init__(self, values, family, n_shape):
        self.values, self.family = np.asarray(values), family
        first = 1.0 if family == "bernstein" else 0.1
        self.start = np.array([0.1, 0.0, 0.0, 0.0, float(len(values)), *[first] * n_shape])
        edges = np.linspace(LOW, HIGH, 2001)
        self.edges, self.middles = edges, (edges[1:] + edges[:-1]) / 2

    def nll(self, x):
        mu, efficiency, width, scale, n_background = x[:5]
        ball = CrystalBall(0.5 + 0.2 * SIGMA * scale, SIGMA * (1 + 0.1 * width), 1.4, 4.0, 1.8, 6.0)
        n_signal = mu * 1.08**efficiency
        density = n_signal * ball.density(self.values) / (ball.cdf(HIGH) - ball.cdf(LOW))
        density = density + n_background * background_density(self.family, x[5:], self.values)
        if np.any(density <= 0):
            return 1e10
        return n_signal + n_background - np.log(density).sum() + 0.5 * np.sum(x[1:4] ** 2)

    def expectation(self, x):
        mu, efficiency, width, scale, n_background = x[:5]
        ball = CrystalBall(0.5 + 0.2 * SIGMA * scale, SIGMA * (1 + 0.1 * width), 1.4, 4.0, 1.8, 6.0)
        signal = ball.bin_fractions(self.edges) / (ball.cdf(HIGH) - ball.cdf(LOW))
        density = background_density(self.family, x[5:], self.middles)
        return mu * 1.08**efficiency * signal + n_background * density * np.diff(self.edges)

    def minimise(self, function, start, mu=None):
        x = np.array(start)
        if mu is not None:
            x[0] = mu
        minuit = Minuit(function, x)
        minuit.errordef = Minuit.LIKELIHOOD
        minuit.tol = 1e-3
        minuit.fixed[0] = mu is not None
        minuit.limits[4] = (0, None)
        if self.family == "bernstein":
            for i in range(5, x.size):
                minuit.limits[i] = (0, None)
        minuit.migrad()
        minuit.migrad()
        return float(minuit.fval), np.array(minuit.values)

    def limits(self, guess):
        nll_zero, x_zero = self.minimise(self.nll, self.start, 0.0)
        nll_best, x_best = self.minimise(self.nll, x_zero)
        reference = nll_zero if x_best[0] < 0 else nll_best
        x_zero[0] = 0.0
        asimov = self.expectation(x_zero)

        def asimov_nll(x):
            nu = self.expectation(x)
            if np.any(nu <= 0):
                return 1e10
            return np.sum(nu - asimov - asimov * np.log(nu / asimov)) + 0.5 * np.sum(
                (x[1:4] - x_zero[1:4]) ** 2
            )

        def root_a(mu):
            return math.sqrt(2 * self.minimise(asimov_nll, x_zero, mu)[0])

        def log_cls(mu):
            a = root_a(mu)
            q = 0.0 if mu < x_best[0] else max(2 * (self.minimise(self.nll, x_best, mu)[0] - reference), 0)
            if q > a * a:
                return log_ndtr(-(q + a * a) / (2 * a)) - log_ndtr(-(q - a * a) / (2 * a))
            return log_ndtr(-math.sqrt(q)) - log_ndtr(a - math.sqrt(q))

        observed = brentq(lambda mu: log_cls(mu) - math.log(0.05), 0.7 * guess[0], 1.4 * guess[0], rtol=1e-5)
        median = brentq(lambda mu: root_a(mu) - 1.959964, 0.7 * guess[1], 1.4 * guess[1], rtol=1e-5)
        return observed, median, x_best[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "order"), [("exponential", None), ("power", None), ("chebyshev", 2), ("bernstein", 2)]
)
@pytest.mark.parametrize("n_signal", [0, 40])
def test_limits_agree_with_an_unbinned_root_finding(family, order, n_signal):
    rng = np.random.default_rng(7)
    values = np.concatenate([LOW + (HIGH - LOW) * rng.random(600) ** 1.2, rng.normal(0.5, SIGMA, n_signal)])
    limits = limits_of_search(SearchModel.parse(document(values, family, order)))
    observed, median, best = Reference(values, family, 1 if order is None else order).limits(
        (limits.observed[0], limits.expected[0, 2])
    )
    # templates follow the nuisances to second order, which a large signal notices
    tolerance = 2e-3 if n_signal else 2e-4
    assert limits.observed[0] == pytest.approx(observed, rel=tolerance)
    assert limits.expected[0, 2] == pytest.approx(median, rel=2e-4)
    assert limits.best_fit[0] == pytest.approx(best, rel=tolerance, abs=0.02)


@pytest.mark.parametrize(("family", "order"), [("exponential", None), ("power", None), ("chebyshev", 3)])
def test_fine_bins_approach_the_unbinned_likelihood(family, order):
    rng = np.random.default_rng(8)
    values = LOW + (HIGH - LOW) * rng.random(2000) ** 1.2
    model = SearchModel.parse(document(values, family, order))
    exact = limits_of_search(model)
    binned = limits_of_search(model, unbinned=False)
    # bins of σ/24 scatter the observed limit by some 0.3 % rms and leave the expected one alone
    assert binned.observed[0] == pytest.approx(exact.observed[0], rel=0.015)
    assert binned.expected[0, 2] == pytest.approx(exact.expected[0, 2], rel=2e-3)


def test_few_events_are_fitted_without_bins():
    limits = limits_of_search(SearchModel.parse(document([0.4228, 0.4620], "exponential", None)))
    assert limits.status == ("converged",)
    assert 1.5 < limits.observed[0] < 6


def test_excluded_values_do_not_matter():
    rng = np.random.default_rng(9)
    values = LOW + (HIGH - LOW) * rng.random(500)
    body = document(values, "exponential", None)
    body["points"][0]["channels"]["c"]["exclude"] = [[0.43, 0.45]]
    fewer = document(values[(values < 0.43) | (values > 0.45)], "exponential", None)
    fewer["points"] = body["points"]
    one, other = (limits_of_search(SearchModel.parse(d)) for d in (body, fewer))
    assert one.observed[0] == pytest.approx(other.observed[0], rel=1e-9)
