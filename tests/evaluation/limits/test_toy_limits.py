import numpy as np
import pytest

from darksieve.evaluation.limits.counting import exact_limit
from darksieve.evaluation.limits.toy_limits import Toys, ToySample, toy_cls, toy_limits


class CountToys:
    """A count over a known background: what the toys say has a closed answer."""

    def __init__(self, n, background, seed=0):
        self.n, self.background, self.seed = n, background, seed

    def q(self, n, strength):
        expected = strength + self.background
        best = np.maximum(n, self.background)
        q = 2 * (expected - best - n * np.log(expected / best))
        return np.where(n >= expected, 0.0, np.maximum(q, 0.0))

    def test_statistics(self, strength, n_toys, chunk=0):
        stream = np.random.SeedSequence(self.seed, spawn_key=(int(1e6 * strength), chunk))
        common = np.random.SeedSequence(self.seed, spawn_key=(0, chunk))
        with_signal = np.random.default_rng(stream).poisson(strength + self.background, n_toys)
        without = np.random.default_rng(common).poisson(self.background, n_toys)
        weight = np.exp(-strength) * (1 + strength / self.background) ** without
        observed = None if self.n is None else float(self.q(np.array(self.n), strength))
        return Toys(observed, self.q(with_signal, strength), self.q(without, strength), weight)


@pytest.mark.parametrize(("n", "b"), [(6, 5.5), (0, 3.0), (1, 5.5), (14, 5.5), (30, 30.0)])
def test_limits_by_toys_meet_the_exact_ones_within_their_error(n, b):
    pulls = []
    exact = exact_limit(n, b)
    for seed in range(6):
        found = toy_limits(CountToys(n, b, seed), [0.6 * exact, 1.5 * exact], n_toys=2000)
        assert found.observed_error < 0.05 * exact
        pulls.append((found.observed - exact) / found.observed_error)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(6)
    assert np.max(np.abs(pulls)) < 4


def test_the_bands_median_is_the_limit_of_the_median_count():
    found = toy_limits(CountToys(None, 5.5), [3.0, 13.0], n_toys=4000)
    assert found.observed is None
    exact = exact_limit(5, 5.5)
    assert abs(found.expected[2] - exact) < 4 * found.expected_error[2]


def test_reweighted_tails_are_unbiased_and_better():
    # at 1 count over 5.5 few toys with signal reach the data
    sample = ToySample(CountToys(1, 5.5), 3.4)
    sample.throw(20_000)
    value, error_signal, error_background = sample.cls(sample.observed)
    assert error_signal == 0
    direct = np.mean(sample.signal >= sample.observed - 1e-9) / np.mean(
        sample.background >= sample.observed - 1e-9
    )
    exact = 0.0507
    assert abs(value - exact) < 4 * error_background * exact + 1e-3
    assert abs(direct - value) < 4 * value / np.sqrt(20_000 * 0.0015)


def test_adding_chunks_shrinks_the_error():
    sample = ToySample(CountToys(6, 5.5), 7.0)
    sample.throw(1000)
    first = np.hypot(*sample.cls(sample.observed)[1:])
    for _ in range(3):
        sample.throw(1000)
    assert np.hypot(*sample.cls(sample.observed)[1:]) == pytest.approx(first / 2, rel=0.2)


def test_cls_falls_with_the_strength_for_every_level():
    values = [toy_cls(CountToys(6, 5.5), strength, 4000).expected for strength in (2.0, 5.0, 9.0)]
    assert np.all(np.diff(values, axis=0)[:, :4] < 0)


def test_a_limit_needs_a_start():
    with pytest.raises(ValueError, match="guess"):
        toy_limits(CountToys(6, 5.5), [float("nan"), -1.0])
