import numpy as np

from darksieve.evaluation.bootstrap import bootstrap_draws, bootstrap_sums

KEYS = np.random.default_rng(0).integers(0, 2**63, 200_000).astype(np.uint64)


def test_draws_are_poisson_of_mean_one():
    n = bootstrap_draws(KEYS, replicate=3)
    size = len(KEYS)
    assert abs(n.mean() - 1) < 4 / np.sqrt(size)
    assert abs(n.var() - 1) < 4 * np.sqrt(
        3 / size
    )  # variance of a Poisson sample variance: (μ4 − σ⁴)/n = 3/n
    assert abs((n == 0).mean() - np.exp(-1)) < 4 * np.sqrt(0.25 / size)


def test_replicates_and_seeds_are_independent():
    first, second, other = (
        bootstrap_draws(KEYS, replicate=r, seed=s).astype(float) for r, s in ((0, 0), (1, 0), (0, 1))
    )
    for a, b in ((first, second), (first, other)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(len(KEYS))


def test_rows_of_one_event_are_drawn_together():
    n = bootstrap_draws(np.repeat(KEYS[:1000], 3), replicate=0).reshape(-1, 3)
    assert (n == n[:, :1]).all()


def test_sums_do_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(1)
    cell, weight = rng.integers(0, 7, 5000), rng.uniform(0, 1, 5000)
    order = rng.permutation(5000)
    one = bootstrap_sums(cell, weight, KEYS[:5000], n_cells=7, n_replicates=5)
    two = bootstrap_sums(cell[order], weight[order], KEYS[:5000][order], n_cells=7, n_replicates=5)
    np.testing.assert_allclose(one, two, rtol=1e-12)


def test_sums_are_the_sums_of_the_draws():
    cell, weight = np.arange(5000) % 3, np.linspace(0, 2, 5000)
    sums = bootstrap_sums(cell, weight, KEYS[:5000], n_cells=3, n_replicates=4, seed=9)
    for r in range(4):
        n = bootstrap_draws(KEYS[:5000], replicate=r, seed=9)
        np.testing.assert_allclose(sums[r], np.bincount(cell, n * weight), rtol=1e-12)
