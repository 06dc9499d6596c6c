from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from darksieve.evaluation.ceiling import fine_table, node_masses, score_ceiling, smooth_shares
from darksieve.evaluation.objectives import make_objective
from darksieve.evaluation.pooling import BackgroundRows

N_BINS = 120
LIMIT = make_objective("expected_limit_counting")


def true_shares(d):
    """Share of a N(0,1) background in the equal-signal bins of a N(d,1) signal, purest first."""
    edges = norm.isf(np.linspace(0, 1, N_BINS + 1)) + d
    return np.diff(norm.sf(edges))


def test_shares_of_two_gaussians_are_a_straight_line_and_found():
    rng = np.random.default_rng(1)
    truth = true_shares(1.5)
    counts = rng.poisson(20_000 * truth, (200, N_BINS)).astype(float)
    shares, _ = smooth_shares(counts, order=2)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    # the purest bin has one of 20 000 events; the mean over 200 experiments knows it
    np.testing.assert_allclose(shares.mean(axis=0)[:-1], truth[:-1], rtol=0.1)
    spread = shares[:, 0].std() / truth[0]
    assert spread < 0.5 < 1 / np.sqrt(20_000 * truth[0])  # smoothing beats counting by far


def test_no_events_are_no_shares():
    shares, _ = smooth_shares(np.zeros((1, N_BINS)), order=3)
    assert (shares == 0).all()


def background(n, d, seed):
    rng = np.random.default_rng(seed)
    x, score = np.sort(rng.uniform(0, 10, n)), rng.normal(size=n)
    column = np.searchsorted(-(norm.isf(np.linspace(0, 1, N_BINS + 1))[1:-1] + d), -score)
    return BackgroundRows(x, column, np.full(n, 5.0), np.arange(n, dtype=np.uint64), N_BINS + 1)


@pytest.mark.parametrize("d", [0.7, 1.2])
def test_ceiling_of_two_gaussians_is_the_exact_one(d):
    masses, half = np.linspace(1, 9, 9), np.full(9, 0.05)
    signal = np.full((9, N_BINS), 0.3 / N_BINS)
    table = fine_table(background(600_000, d, 2), signal, masses, half, n_replicates=20)
    ceiling = score_ceiling(table, LIMIT)
    b = 600_000 * 5 * 0.01
    fine = norm.isf(np.linspace(1e-7, 1, 4000)) + d
    s_fine = -np.diff(norm.sf(fine - d), prepend=0)[1:]
    exact = LIMIT(0.3 * np.abs(s_fine), b * np.abs(np.diff(norm.sf(fine)))) / LIMIT(
        np.array([0.3]), np.array([b])
    )
    error = ceiling.replicates.std(axis=0)
    assert (np.abs(ceiling.relative_limit / exact - 1) < 4 * error / exact + 0.012).all()
    assert ceiling.relative_limit.mean() == pytest.approx(
        exact, rel=0.015
    )  # the purest signal of all is in one bin
    assert (np.abs(ceiling.bias) < 0.005).all()


def test_a_useless_score_has_no_ceiling_above_no_cut():
    masses, half = np.linspace(1, 9, 9), np.full(9, 0.05)
    rng = np.random.default_rng(3)
    n = 300_000
    rows = BackgroundRows(
        np.sort(rng.uniform(0, 10, n)), rng.integers(0, N_BINS, n), np.ones(n),
        np.arange(n, dtype=np.uint64), N_BINS + 1,
    )  # fmt: skip
    table = fine_table(rows, np.full((9, N_BINS), 0.3 / N_BINS), masses, half)
    relative = score_ceiling(table, LIMIT).relative_limit
    # plain counts in 120 bins of 25 events would fake 1 − 1/√(1 + 1/25) = 2 %
    assert (relative > 0.995).all()
    assert (relative <= 1 + 1e-9).all()


def test_a_bin_that_happens_to_be_empty_is_no_pure_signal():
    masses, half = np.linspace(1, 9, 9), np.full(9, 0.05)
    rows = background(300_000, 1.0, 4)
    hollow = np.where(
        rows.column < 3, 3, rows.column
    )  # boundaries a little too tight: three bins without events
    table = fine_table(replace(rows, column=hollow), np.full((9, N_BINS), 0.3 / N_BINS), masses, half)
    table = replace(table, background=np.where(np.arange(N_BINS) < 3, 1e-9, table.background))
    relative = score_ceiling(table, LIMIT).relative_limit
    filled = fine_table(rows, np.full((9, N_BINS), 0.3 / N_BINS), masses, half)
    # taken as pure they would give a ceiling several times too good
    assert (relative > 0.8 * score_ceiling(filled, LIMIT).relative_limit).all()


def test_nodes_keep_both_ends():
    masses = np.linspace(0, 1, 1234)
    nodes = node_masses(masses, 50)
    assert len(nodes) == 50
    assert nodes[[0, -1]].tolist() == [0, 1]
    np.testing.assert_array_equal(node_masses(masses[:7], 50), masses[:7])
