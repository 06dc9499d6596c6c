"""Toy CLs against closed forms; streams that do not depend on threads or portions."""

import numpy as np
import pytest
from scipy.stats import chisquare, norm, poisson

from darksieve.evaluation.limits.compilation import compiled
from darksieve.evaluation.limits.compile import compile_search
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import upper_limits
from darksieve.evaluation.limits.streams import normal, start_stream
from darksieve.evaluation.limits.streams import poisson as draw_poisson
from darksieve.evaluation.limits.toys import toy_cls


def counting(n, background=5.5, **more):
    model = {
        "format": "darksieve-search/1",
        "channels": [
            {
                "name": "c",
                "data": {"counts": [n]},
                "background": {"family": "known", "yield": background} | more,
            }
        ],
        "points": [{"label": "a", "channels": {"c": {"yield_per_unit": 0.5}}}],
    }
    return compile_search(SearchModel.parse(model))


def spectrum(n_bins=40, n_events=1500):
    rng = np.random.default_rng(2)
    edges = np.linspace(-10, 10, n_bins + 1)
    peak = {"shape": "gaussian", "mean": 0.0, "sigma": 1.0, "window": [-10, 10], "yield_per_unit": 1.0}
    document = {
        "format": "darksieve-search/1",
        "channels": [
            {
                "name": "c",
                "data": {
                    "edges": edges.tolist(),
                    "counts": rng.poisson(n_events / n_bins, n_bins).astype(float).tolist(),
                },
                "background": {"family": "bernstein", "order": 2},
            }
        ],
        "points": [{"label": str(i), "channels": {"c": peak | {"mean": float(i)}}} for i in range(2)],
        "nuisances": [
            {"name": "efficiency", "on": "yield", "kind": "log_normal", "size": 0.08},
            {"name": "scale", "on": "mean", "kind": "linear", "size_sigma": 0.2},
        ],
    }
    return compile_search(SearchModel.parse(document))


@compiled()
def _draw(mean, seed, out):
    state = np.zeros(1, np.uint64)
    for i in range(out.size):
        start_stream(state, seed, 0, 0, i)
        out[i] = draw_poisson(state, mean) if mean > 0.0 else normal(state)


@pytest.mark.parametrize("mean", [0.3, 4.0, 9.9, 10.1, 33.0, 900.0])
def test_counts_follow_the_poisson_distribution(mean):
    counts = np.empty(40000)
    _draw(mean, 5, counts)
    edges = np.unique(poisson.ppf(np.linspace(0.02, 0.98, 20), mean))
    cdf = np.concatenate([[0.0], poisson.cdf(edges, mean), [1.0]])
    observed = np.histogram(counts, np.concatenate([[-1.0], edges, [np.inf]]) + 0.5)[0]
    expected = np.diff(cdf) * counts.size
    used = expected > 5
    assert (
        chisquare(
            np.append(observed[used], observed[~used].sum() + 1e-9),
            np.append(expected[used], expected[~used].sum() + 1e-9),
        ).pvalue
        > 1e-4
    )


def test_normal_numbers_have_unit_width():
    draws = np.empty(40000)
    _draw(-1.0, 6, draws)
    assert draws.mean() == pytest.approx(0.0, abs=4 / 200)
    assert draws.var() == pytest.approx(1.0, abs=4 * np.sqrt(2) / 200)
    assert np.mean(draws > norm.isf(0.01)) == pytest.approx(0.01, abs=4 * np.sqrt(0.01 / 40000))


def test_counting_cls_matches_the_closed_form():
    # n = 6, b = 5.5, s = 5: CLs 0.148145, CLs+b 0.101633
    result = toy_cls(counting(6), 10.0, 40000, seed=4)[0]
    assert result.n_failed == 0
    assert abs(result.cls_plus_b - 0.101633) < 4 * np.sqrt(0.1 * 0.9 / 40000)
    assert abs(result.cls - 0.148145) < 4 * result.cls_error
    assert result.cls_error < 0.003


def test_nothing_seen_excludes_three_events_without_background():
    result = toy_cls(counting(0, 1e-9), 2 * 2.995732, 40000, seed=5)[0]
    assert abs(result.cls - 0.05) < 4 * result.cls_error


def test_constraints_are_sampled():
    # with a measured background the same count excludes less
    known, measured = (
        toy_cls(counting(6, **more), 14.0, 20000, seed=6)[0]
        for more in ({}, {"uncertainty": 2.5, "constraint": "log_normal"})
    )
    assert measured.cls > known.cls + 3 * known.cls_error


def test_toys_agree_with_the_asymptotic_formulae_at_many_events():
    batch = spectrum()
    limits = upper_limits(batch)
    for p, result in enumerate(toy_cls(batch, limits.observed, 4000, seed=7)):
        assert result.n_failed == 0
        assert abs(result.cls - 0.05) < 4 * result.cls_error + 0.005
        at = upper_limits(batch, cls_at=limits.observed)
        expected = result.cls_expected([-1.0, 0.0, 1.0])
        error = result.cls_expected_error([-1.0, 0.0, 1.0])
        assert np.all(np.abs(expected - at.cls_expected[p, 1:4]) < 4 * error + 0.02)


def test_threads_and_portions_change_no_toy():
    batch = spectrum()
    one = toy_cls(batch, 40.0, 600, seed=8, threads=1)
    two = toy_cls(batch, 40.0, 600, seed=8, threads=2)
    parts = [toy_cls(batch, 40.0, 300, seed=8, first_toy=i, problems=[1])[0] for i in (0, 300)]
    np.testing.assert_array_equal(one[1].q_with_signal, two[1].q_with_signal)
    merged = parts[0].merged(parts[1])
    np.testing.assert_array_equal(merged.q_without_signal, one[1].q_without_signal)
    assert merged.cls == one[1].cls
    assert not np.array_equal(one[0].q_with_signal, toy_cls(batch, 40.0, 600, seed=9)[0].q_with_signal)


def test_sets_that_share_toys_or_test_something_else_are_not_merged():
    batch = spectrum()
    first, again, other = (
        toy_cls(batch, mu, 50, seed=8, first_toy=i, problems=[0])[0]
        for mu, i in ((40.0, 0), (40.0, 20), (41.0, 50))
    )
    with pytest.raises(ValueError, match="share toys"):
        first.merged(again)
    with pytest.raises(ValueError, match="different tests"):
        first.merged(other)


def test_a_strength_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="positive"):
        toy_cls(counting(3), 0.0, 10)
