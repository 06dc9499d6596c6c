import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from darksieve.evaluation.categories import (
    QuantileCurves,
    choose_quantiles,
    edges_of,
    mean_log_objective,
    optimise_quantiles,
    yields_between,
)
from darksieve.evaluation.ceiling import FineTable
from darksieve.evaluation.objectives import make_objective

MASSES = np.linspace(1, 9, 17)
RANGE = (1.0, 9.0)
N_BINS = 120


def table_of(separation, b0=1e5, event_weight=1e-6):
    """Exact fine bins of two Gaussians whose distance may change with mass."""
    levels = np.linspace(0, 1, N_BINS + 1)
    passing = norm.sf(norm.isf(levels)[None, :] + separation(MASSES)[:, None])
    return FineTable(
        MASSES,
        np.full((len(MASSES), N_BINS), 1 / N_BINS),
        b0 * np.diff(passing, axis=1),
        np.full((len(MASSES), N_BINS), 1e6),
        np.full(len(MASSES), event_weight),
        3,
        np.zeros((0, len(MASSES), N_BINS)),
        np.zeros((0, len(MASSES), N_BINS)),
    )


def test_a_threshold_finds_the_optimum_of_punzi():
    # d = 2, B0 = 10³: S_min/ε = 46.90527 at cut 2.37439, where ε = 0.35406 (G. Punzi's formula)
    table = table_of(lambda m: np.full(len(m), 2.0), b0=1e3)
    punzi = make_objective("punzi")
    curves = optimise_quantiles(table, punzi, 1, RANGE, n_coefficients=1)
    assert curves.edges(MASSES)[0, 0] == pytest.approx(0.35406, abs=0.01)
    assert np.exp(mean_log_objective(table, punzi, curves)) == pytest.approx(46.90527, rel=2e-3)


def test_edges_are_running_shares_and_never_cross():
    edges = edges_of(np.random.default_rng(0).normal(0, 3, (50, 4)), 4)
    assert (np.diff(edges, axis=1) > 0).all()
    assert ((edges > 0) & (edges < 1)).all()
    np.testing.assert_allclose(edges_of(np.zeros((1, 1)), 4), [[0.125, 0.25, 0.375, 0.5]])


def test_yields_add_up_to_the_table():
    table = table_of(lambda m: 1 + 0 * m)
    signal, background = yields_between(table, np.tile([0.2, 0.7, 1.0], (17, 1)))
    np.testing.assert_allclose(signal, [[0.2, 0.5, 0.3]] * 17)
    np.testing.assert_allclose(background.sum(axis=1), table.background.sum(axis=1), rtol=1e-9)


def test_a_category_without_background_counts_one_simulated_event():
    table = table_of(lambda m: 1 + 0 * m, b0=0.0, event_weight=2.5)
    _, background = yields_between(table, np.tile([0.5, 1.0], (17, 1)))
    assert (background == 2.5).all()


def test_optimised_categories_beat_equal_ones_and_one_cut():
    table = table_of(lambda m: 1.6 - 0.08 * m)
    objective = make_objective("expected_limit_counting")
    reached = {}
    for name, n, equal in (("one", 1, False), ("equal", 4, True), ("optimised", 4, False)):
        curves = optimise_quantiles(table, objective, n, RANGE, equal=equal, n_coefficients=4)
        reached[name] = mean_log_objective(table, objective, curves)
    assert reached["optimised"] < reached["equal"] < reached["one"]


def test_freedom_in_mass_is_used_where_the_optimum_moves_and_only_there():
    objective = make_objective("expected_limit_counting")
    moving, constant = table_of(lambda m: 2.4 - 0.2 * m), table_of(lambda m: 1.2 + 0 * m)
    for table, freedom in ((moving, 2), (constant, 1)):
        curves, judged, _ = choose_quantiles(table, [(table, table)], objective, 1, RANGE)
        assert curves.coefficients.shape[1] == 1 if freedom == 1 else curves.coefficients.shape[1] >= 2
        assert set(judged) == {1, 2, 4, 7}


def test_a_smooth_threshold_is_the_best_one_at_every_mass():
    table = table_of(lambda m: 2.2 - 0.15 * m)
    objective = make_objective("expected_limit_counting")
    curves = optimise_quantiles(table, objective, 1, RANGE, n_coefficients=4)
    reached = objective(*yields_between(table, curves.edges(MASSES)))
    for i, d in enumerate(2.2 - 0.15 * MASSES):

        def at(x, d=d):
            return objective(np.array([norm.sf(x - d)]), np.array([1e5 * norm.sf(x)]))

        best = minimize_scalar(at, bounds=(-2, 6), method="bounded").fun
        assert 1 - 2e-3 < reached[i] / best < 1.005


def test_curves_are_constant_beyond_their_range():
    curves = QuantileCurves(RANGE, 2, np.array([[0.0, 1.0, 2.0, 3.0], [0.5, 0.5, 0.5, 0.5]]))
    np.testing.assert_allclose(curves.edges(np.array([-5.0, 99.0])), curves.edges(np.array([1.0, 9.0])))


def test_a_function_of_the_user_can_be_minimised():
    table = table_of(lambda m: 1 + 0 * m)

    def keep_a_third(signal, background):
        return np.exp((signal.sum(axis=-1) - 1 / 3) ** 2)

    curves = optimise_quantiles(table, keep_a_third, 1, RANGE, n_coefficients=1)
    assert curves.edges(MASSES)[:, 0] == pytest.approx(1 / 3, abs=0.01)
