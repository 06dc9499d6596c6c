import numpy as np
import pytest
from scipy.stats import spearmanr

from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.evaluation.correlations import RankCorrelations, rank_correlations


def events(**columns):
    n = len(next(iter(columns.values())))
    zeros = np.zeros(n)
    samples = (SampleInfo("b", Role.BACKGROUND),)
    return Events(
        columns, samples, zeros.astype(np.int16), zeros + 1, zeros, np.arange(n, dtype=np.uint64),
        zeros.astype(np.int32),
    )  # fmt: skip


def test_they_are_those_of_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    some = events(x=x, y=x**3 + rng.normal(size=500), tied=np.round(x))
    found = rank_correlations(some, ["x", "y", "tied"])
    np.testing.assert_allclose(found.values, spearmanr(np.stack(list(some.columns.values()), 1))[0])


def test_a_constant_has_none_and_missing_values_pull_to_none():
    x = np.arange(100.0)
    some = events(x=x, flat=np.ones(100), holes=np.where(x % 4 == 0, np.nan, x))
    found = rank_correlations(some, ["x", "flat", "holes"])
    assert np.isnan(found.values[1]).all()
    assert 0.7 < found.values[0, 2] < 1
    back = RankCorrelations.from_json(found.to_json())
    assert back.names == found.names
    np.testing.assert_allclose(back.values, found.values, atol=1e-5)


def test_rows_in_another_order_give_the_same():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 200))
    order = rng.permutation(200)
    first = rank_correlations(events(x=x, y=y), ["x", "y"]).values
    assert rank_correlations(events(x=x[order], y=y[order]), ["x", "y"]).values == pytest.approx(first)
