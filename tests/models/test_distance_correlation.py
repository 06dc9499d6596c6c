import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from darksieve.models.distance_correlation import distance_correlation


def over_all_pairs(s, v, w):
    """The definition, with every pair in memory."""
    w = w / w.sum()

    def centred(x):
        distance = np.abs(x[:, None] - x)
        row = distance @ w
        return distance - row[:, None] - row + w @ row

    a, b, pairs = centred(s), centred(v), w[:, None] * w
    return (pairs * a * b).sum() / np.sqrt((pairs * a * a).sum() * (pairs * b * b).sum())


def sample(n=150, seed=0):
    rng = np.random.default_rng(seed)
    s = rng.random(n)
    return s, s**2 + 0.3 * rng.normal(size=n), rng.random(n)


def test_it_is_the_definition_over_all_pairs():
    s, v, w = sample()
    assert distance_correlation(s, v, w)[0] == pytest.approx(over_all_pairs(s, v, w), rel=1e-10)


def test_ties_count_as_in_the_definition():
    s, v, w = sample()
    s, v = np.round(s, 1), np.round(v, 1)
    assert distance_correlation(s, v, w)[0] == pytest.approx(over_all_pairs(s, v, w), rel=1e-10)


def test_its_gradient_is_that_of_finite_differences():
    s, v, w = sample()
    _, gradient = distance_correlation(s, v, w)
    step = 1e-6
    for k in range(0, len(s), 10):
        moved = np.eye(len(s))[k] * step
        slope = (over_all_pairs(s + moved, v, w) - over_all_pairs(s - moved, v, w)) / (2 * step)
        assert gradient[k] == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_a_copy_has_one_and_independent_columns_nearly_none():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 20_000))
    assert distance_correlation(x, 3 - 2 * x)[0] == pytest.approx(1, rel=1e-9)
    # under independence n × it has a mean of order one (Szekely et al. 2007, theorem 5: 1 for squared sizes)
    assert distance_correlation(x, y)[0] < 20 / len(x)


def test_it_sees_what_a_rank_correlation_does_not():
    x = np.random.default_rng(2).normal(size=5000)
    assert abs(np.corrcoef(x, x**2)[0, 1]) < 0.1
    assert distance_correlation(x, x**2)[0] > 0.1


def test_a_constant_tells_nothing_and_has_no_gradient():
    value, gradient = distance_correlation(np.full(10, 0.3), np.arange(10.0))
    assert value == 0
    assert not gradient.any()


def test_rows_without_weight_do_not_count():
    s, v, w = sample()
    w[:50] = 0
    value, gradient = distance_correlation(s, v, w)
    assert value == pytest.approx(distance_correlation(s[50:], v[50:], w[50:])[0], rel=1e-10)
    assert not gradient[:50].any()


@settings(deadline=None, max_examples=30)
@given(arrays(float, 20, elements=st.floats(-10, 10)), st.permutations(range(20)), st.floats(0.1, 10))
def test_order_and_scale_change_nothing(v, order, scale):
    order = np.array(order)
    s = np.sin(np.arange(20.0))
    value, _ = distance_correlation(s, v)
    assert distance_correlation(s[order] * scale + 1, v[order] * scale)[0] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("score", "weight"), [([0.0, np.nan], [1, 1]), ([0.0, 1.0], [1, -1]), ([0.0, 1.0], [0, 0])]
)
def test_bad_numbers_are_refused(score, weight):
    with pytest.raises(ValueError, match=r"finite|positive"):
        distance_correlation(score, [0.0, 1.0], weight)
