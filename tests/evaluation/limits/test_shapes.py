"""Templates of a batch against the analytic functions they stand for."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from darksieve.errors import InputError
from darksieve.evaluation.crystal_ball import CrystalBall
from darksieve.evaluation.limits.compile import compile_search
from darksieve.evaluation.limits.document import SearchModel

WINDOW = (0.4125, 0.5875)
TAILS = {"alpha_left": 1.4, "n_left": 4, "alpha_right": 1.8, "n_right": 6}
BALL = {"shape": "double_sided_crystal_ball", "mean": 0.5, "sigma": 0.007} | TAILS
MORPHS = [
    {"name": "width", "on": "sigma", "kind": "linear", "size": 0.10},
    {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": 0.2},
]


def compiled(signal, background, *, values=None, nuisances=(), window=WINDOW, n_bins=60, **options):
    edges = np.linspace(*WINDOW, n_bins + 1)
    data = {"values": values} if values is not None else {"edges": edges.tolist(), "counts": [1.0] * n_bins}
    model = SearchModel.parse(
        {
            "format": "darksieve-search/1",
            "channels": [{"name": "c", "data": data, "background": background}],
            "points": [
                {"label": "a", "channels": {"c": signal | {"window": list(window), "yield_per_unit": 1.0}}}
            ],
            "nuisances": list(nuisances),
        }
    )
    return compile_search(model, **options), edges


def templates(rows):
    size = int(rows.start[0, 1] - rows.start[0, 0])
    return rows.columns.reshape(-1, size)


def test_crystal_ball_bins_are_the_differences_of_its_cdf():
    batch, edges = compiled(BALL, {"family": "chebyshev", "order": 0})
    ball = CrystalBall(0.5, 0.007, 1.4, 4.0, 1.8, 6.0)
    fractions = ball.bin_fractions(edges) / (ball.cdf(WINDOW[1]) - ball.cdf(WINDOW[0]))
    np.testing.assert_allclose(templates(batch.rows)[0], fractions, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("power", [0.5, 1.0, 1.0000001, 3.0])
def test_crystal_ball_is_normalised_in_the_window_for_every_tail(power):
    batch, _ = compiled(BALL | {"n_left": power}, {"family": "chebyshev", "order": 0})
    signal = templates(batch.rows)[0]
    assert signal.sum() == pytest.approx(1.0, rel=1e-12)
    assert np.all(signal > 0)


def test_gaussian_bins_are_the_differences_of_its_cdf():
    batch, edges = compiled(
        {"shape": "gaussian", "mean": 0.49, "sigma": 0.01}, {"family": "chebyshev", "order": 0}
    )
    cdf = norm(0.49, 0.01).cdf(edges)
    np.testing.assert_allclose(
        templates(batch.rows)[0], np.diff(cdf) / (cdf[-1] - cdf[0]), rtol=1e-9, atol=1e-15
    )


def test_histogram_signal_is_spread_over_the_data_bins():
    signal = {"shape": "template", "edges": [0.45, 0.5, 0.55], "values": [1.0, 3.0]}
    batch, edges = compiled(signal, {"family": "chebyshev", "order": 0})
    expected = np.diff(np.interp(edges, [0.45, 0.5, 0.55], [0.0, 0.25, 1.0]))
    np.testing.assert_allclose(templates(batch.rows)[0], expected, atol=1e-12)


def test_morphs_follow_width_and_mean_to_second_order():
    batch, edges = compiled(BALL, {"family": "chebyshev", "order": 0}, nuisances=MORPHS)
    s, d_w, d_m, e_ww, e_wm, e_mm = templates(batch.rows)[:6]
    for w, m in ((1.0, 0.0), (0.0, -1.0), (0.6, -0.7), (-0.8, 0.9)):
        ball = CrystalBall(0.5 + 0.2 * 0.007 * m, 0.007 * (1 + 0.1 * w), 1.4, 4.0, 1.8, 6.0)
        exact = ball.bin_fractions(edges) / (ball.cdf(WINDOW[1]) - ball.cdf(WINDOW[0]))
        quadratic = s + w * d_w + m * d_m + 0.5 * (w * w * e_ww + m * m * e_mm) + w * m * e_wm
        linear = s + w * d_w + m * d_m
        assert np.abs(quadratic - exact).max() < 8e-3 * exact.max()
        assert np.abs(quadratic - exact).max() < np.abs(linear - exact).max()


@pytest.mark.parametrize("family", ["chebyshev", "bernstein"])
def test_polynomials_integrate_to_what_numpy_says(family):
    batch, edges = compiled(BALL, {"family": family, "order": 3})
    basis = templates(batch.rows)[1:]
    width = WINDOW[1] - WINDOW[0]
    for k in range(4):
        for r in (0, 17, 59):
            if family == "chebyshev":
                c = np.eye(4)[k]
                exact = quad(
                    lambda x, c=c: (
                        np.polynomial.chebyshev.chebval(2 * (x - WINDOW[0]) / width - 1, c) / width
                    ),
                    edges[r],
                    edges[r + 1],
                )[0]
            else:
                n_over_k = (1, 3, 3, 1)[k]
                exact = quad(
                    lambda x, k=k, n=n_over_k: (
                        4 / width * n * ((x - WINDOW[0]) / width) ** k * ((WINDOW[1] - x) / width) ** (3 - k)
                    ),
                    edges[r],
                    edges[r + 1],
                )[0]
            assert basis[k, r] == pytest.approx(exact, rel=1e-9, abs=1e-14)


def test_event_rows_hold_densities_relative_to_the_mean_density():
    values = [0.43, 0.4999, 0.5, 0.55]
    batch, _ = compiled(BALL, {"family": "chebyshev", "order": 1}, values=[*values, 0.9])
    rows = batch.events
    ball = CrystalBall(0.5, 0.007, 1.4, 4.0, 1.8, 6.0)
    density = ball.density(values) / (ball.cdf(WINDOW[1]) - ball.cdf(WINDOW[0]))
    width = WINDOW[1] - WINDOW[0]
    np.testing.assert_allclose(templates(rows)[0][:4], density * width / 4, rtol=1e-12)
    np.testing.assert_array_equal(rows.exposure[:5], [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(rows.counts[:5], [1, 1, 1, 1, 0])
    assert not np.any(rows.exposure[5:] + rows.counts[5:])  # guards of a positive density
    np.testing.assert_allclose(templates(rows)[:, 4], [1.0, 1.0, 0.0], atol=1e-15)


def test_fine_bins_of_values_hold_every_event_once():
    values = [*np.linspace(*WINDOW, 200), 0.3, 0.7]
    batch, _ = compiled(BALL, {"family": "chebyshev", "order": 1}, values=values)
    assert batch.rows.counts.sum() == 200


def test_signal_outside_the_excluded_interval_is_kept_not_renormalised():
    signal = BALL | {"exclude": [[0.5, 0.6]]}
    batch, edges = compiled(signal, {"family": "chebyshev", "order": 1})
    ball = CrystalBall(0.5, 0.007, 1.4, 4.0, 1.8, 6.0)
    whole = ball.cdf(WINDOW[1]) - ball.cdf(WINDOW[0])
    assert templates(batch.rows)[0].sum() == pytest.approx(
        (ball.cdf(0.5) - ball.cdf(WINDOW[0])) / whole, rel=1e-9
    )
    assert templates(batch.rows).shape[1] == np.sum(edges[1:] <= 0.5 + 1e-12)


def test_peaking_yield_is_of_the_whole_line():
    peak = BALL | {"name": "eta", "mean": 0.58, "yield": 50.0, "uncertainty": 0.1}
    batch, edges = compiled(BALL, {"family": "chebyshev", "order": 0, "peaking": [peak]})
    ball = CrystalBall(0.58, 0.007, 1.4, 4.0, 1.8, 6.0)
    np.testing.assert_allclose(
        templates(batch.rows)[1], 50 * ball.bin_fractions(edges), rtol=1e-9, atol=1e-14
    )


def test_peaking_tail_without_a_finite_area_is_refused():
    peak = BALL | {"name": "eta", "n_left": 0.9, "yield": 50.0}
    with pytest.raises(InputError, match="n > 1"):
        compiled(BALL, {"family": "chebyshev", "order": 0, "peaking": [peak]})
