import numpy as np
import pytest
from scipy.stats import kstest

from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.compile import compile_search
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.goodness import goodness_by_toys, goodness_of_fits

EDGES = np.linspace(0.0, 2.0, 61)
MIDDLES = (EDGES[1:] + EDGES[:-1]) / 2


def search(counts, background, mean=1.0, **more):
    data = {"edges": EDGES.tolist()} | (
        {} if counts is None else {"counts": np.asarray(counts, float).tolist()}
    )
    shape = {"shape": "gaussian", "sigma": 0.1, "window": [0, 2], "yield_per_unit": 1.0, "mean": mean}
    channel = {"name": "c", "data": data, "background": background}
    points = [{"label": "a", "mass": 1.0, "channels": {"c": shape}}]
    document = {"format": "darksieve-search/1", "channels": [channel], "points": points}
    return SearchModel.parse(document | more)


def test_the_p_value_is_uniform_for_the_true_shape():
    generator = np.random.default_rng(1)
    p_values, n_dof = [], set()
    for _ in range(200):
        counts = generator.poisson(50 * np.exp(-MIDDLES))
        [test] = goodness_of_fits(compile_search(search(counts, {"family": "exponential"})))
        p_values.append(test.p_value)
        n_dof.add(test.n_dof)
    assert n_dof == {60 - 2 - 1}
    assert kstest(p_values, "uniform").pvalue > 1e-3


def test_sparse_bins_are_merged_so_that_the_asymptotic_law_holds():
    generator = np.random.default_rng(2)
    tests = []
    for _ in range(200):
        counts = generator.poisson(2 * np.exp(-MIDDLES / 2))
        tests.append(goodness_of_fits(compile_search(search(counts, {"family": "exponential"})))[0])
    assert max(test.n_dof for test in tests) < 25
    assert np.mean([test.p_value for test in tests]) == pytest.approx(0.5, abs=0.1)


def test_a_wrong_shape_is_noticed_asymptotically_and_by_toys():
    counts = np.random.default_rng(3).poisson(100 * np.exp(-MIDDLES))
    batch = compile_search(search(counts, {"family": "chebyshev", "order": 0}))
    assert goodness_of_fits(batch)[0].p_value < 1e-6
    by_toys = goodness_by_toys(batch, 0, n_toys=200, generator=np.random.default_rng(1))
    assert by_toys.p_value < 0.02


def test_toys_agree_with_the_asymptotic_law_where_bins_are_full():
    counts = np.random.default_rng(5).poisson(100 * np.exp(-MIDDLES))
    nuisances = [{"name": "width", "on": "sigma", "kind": "linear", "size": 0.1}]
    batch = compile_search(search(counts, {"family": "exponential"}, nuisances=nuisances))
    [asymptotic] = goodness_of_fits(batch)
    n = 600
    toys = goodness_by_toys(batch, 0, n_toys=n, generator=np.random.default_rng(1))
    assert toys.chi2 == pytest.approx(asymptotic.chi2, rel=1e-6)
    assert toys.n_dof == asymptotic.n_dof
    assert toys.p_value == pytest.approx(asymptotic.p_value, abs=4 * 0.5 / np.sqrt(n) + 0.02)


def test_answers_state_it_and_blind_ones_or_counts_do_not(tmp_path):
    counts = np.random.default_rng(4).poisson(50 * np.exp(-MIDDLES))
    for background in (
        {"family": "exponential"},
        [{"family": "exponential"}, {"family": "chebyshev", "order": 2}],
    ):
        curve = answer_documents([search(counts, background)])
        curve.save(tmp_path / "limits.json")
        assert 0.001 < type(curve).load(tmp_path / "limits.json").points[0].goodness_of_fit.p_value < 1
    blind = {"family": "exponential", "yield": 1000.0, "coefficients": [-1.0]}
    assert answer_documents([search(None, blind)]).points[0].goodness_of_fit is None
    known = {"family": "known", "yield": 50.0, "uncertainty": 7.0}
    channel = {"name": "c", "data": {"counts": [60]}, "background": known}
    points = [{"label": "a", "channels": {"c": {"yield_per_unit": 1.0}}}]
    document = {"format": "darksieve-search/1", "channels": [channel], "points": points}
    assert answer_documents([document]).points[0].goodness_of_fit is None
