import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from darksieve.evaluation.windows import Windows


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_sums_over_overlapping_windows_are_those_of_masks(seed, ordered):
    rng = np.random.default_rng(seed)
    x = rng.choice(np.linspace(0, 1, 41), 300)  # values fall on edges
    x = np.sort(x) if ordered else x
    column, weight = rng.integers(-1, 4, 300), rng.uniform(0, 1, 300)
    windows = Windows.around(rng.choice(np.linspace(0, 1, 21), 12), 0.1)
    sums = windows.sums(x, column, weight, 3)
    counts = windows.sums(x, column, None, 3)
    for i in range(len(windows)):
        for j in range(3):
            inside = (x >= windows.low[i]) & (x < windows.high[i]) & (column == j)
            np.testing.assert_allclose(sums[i, j], weight[inside].sum(), atol=1e-12)
            assert counts[i, j] == inside.sum()


def test_an_empty_window_sums_to_exactly_nothing():
    x = np.concatenate([np.linspace(0, 1, 1000), np.linspace(2, 3, 1000)])
    sums = Windows.around([0.5, 1.5, 2.5], 0.4).sums(x, np.zeros(2000, int), np.full(2000, 0.1), 1)
    assert sums[1, 0] == 0
