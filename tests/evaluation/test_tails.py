"""Tails of the background beyond the simulation."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darksieve.evaluation.ceiling import FineTable
from darksieve.evaluation.tails import FAMILIES, tail_ratios, tail_tables

N_BINS = 120
EDGES = np.arange(N_BINS + 1) / N_BINS


def table_of(survival, n_events, *, seed=None, n_nodes=3, weight=1.0):
    """Fine bins of a background whose share above a signal efficiency is ``survival``, as it is or drawn."""
    expected = np.diff(survival(EDGES)) * n_events
    counts = np.tile(expected, (n_nodes, 1))
    if seed is not None:
        counts = np.random.default_rng(seed).poisson(counts).astype(float)
    return FineTable(
        masses=np.linspace(1, 2, n_nodes),
        signal=np.full(counts.shape, 1 / N_BINS),
        background=counts * weight,
        counts=counts,
        event_weight=np.full(n_nodes, weight),
        n_parameters=3,
        replicates=np.zeros((0, *counts.shape)),
        drawn_counts=np.zeros((0, *counts.shape)),
    )


def test_every_fitted_family_continues_an_exponential_as_it_is():
    # b ∝ e^4: an exponential in -ln(efficiency); one event is expected above 10 % signal efficiency
    exact = table_of(lambda e: e**4, 1e4)
    for family, table in tail_tables(exact).items():
        ratio = np.cumsum(table.background, axis=1) / np.cumsum(exact.background, axis=1)
        assert ratio[:, 6:] == pytest.approx(1, abs=0.15), family  # the slopes' grid has steps of 2 to 9 %


def test_families_agree_where_there_is_simulation():
    drawn = table_of(lambda e: 0.3 * e**2 + 0.7 * e**5, 2e4, seed=1)
    above = np.cumsum(drawn.counts[0]) > 400
    for table in tail_tables(drawn).values():
        np.testing.assert_allclose(
            np.cumsum(table.background, axis=1)[:, above],
            np.cumsum(drawn.background, axis=1)[:, above],
            rtol=0.01,
        )


def test_families_fork_beyond_the_simulation():
    # a power law above 20 % efficiency, nothing below: what comes after the last event is anybody's guess
    drawn = table_of(lambda e: e**3 * (1 + 4 * np.exp(-8 * (1 - e))), 3000, seed=2)
    at = {family: np.cumsum(table.background[0])[5] for family, table in tail_tables(drawn).items()}
    assert set(at) == set(FAMILIES)
    assert max(at.values()) > 1.3 * min(at.values())


@settings(deadline=None, max_examples=25)
@given(power=st.floats(0.5, 12), n=st.floats(30, 1e5), seed=st.integers(0, 1000))
def test_tails_are_backgrounds(power, n, seed):
    drawn = table_of(lambda e: e**power, n, seed=seed)
    for table in tail_tables(drawn).values():
        assert np.isfinite(table.background).all()
        assert (table.background >= 0).all()
        total = drawn.background.sum(axis=1)
        np.testing.assert_allclose(table.background.sum(axis=1), total, rtol=1e-6, atol=1e-9)


def test_scale_of_the_weights_is_that_of_the_tails():
    one, ten = (tail_tables(table_of(lambda e: e**4, 1e3, weight=w)) for w in (1.0, 10.0))
    for family in FAMILIES:
        np.testing.assert_allclose(ten[family].background, 10 * one[family].background, rtol=1e-9)


def test_limits_with_known_background_go_with_the_root_of_what_a_family_expects():
    def limit(signal, background):
        return 2 / np.sqrt(np.sum(signal**2 / background, axis=-1))

    signal, background = np.ones((3, 1)), np.full((3, 1), 100.0)
    tails = np.array([1.0, 4.0, 0.25, 1.0])[:, None, None] * background
    ratios = tail_ratios(signal, background, tails, limit)
    np.testing.assert_allclose(ratios, np.array([1, 2, 0.5, 1])[:, None] * np.ones(3))


def test_a_mass_without_signal_has_no_ratio():
    def limit(signal, background):
        with np.errstate(divide="ignore"):
            return 1 / np.sum(signal, axis=-1)

    assert np.isnan(tail_ratios(np.zeros((1, 1)), np.ones((1, 1)), np.ones((4, 1, 1)), limit)).all()


def test_what_lies_below_all_signal_says_nothing_of_the_tail():
    # the last bin also holds what no signal reaches: ten times more there is no steeper tail
    drawn = table_of(lambda e: e**4, 60, seed=3)
    counts, background = drawn.counts.copy(), drawn.background.copy()
    counts[:, -1] += 600
    background[:, -1] += 600
    heavy = tail_tables(replace(drawn, counts=counts, background=background))
    for family, table in tail_tables(drawn).items():
        np.testing.assert_allclose(
            np.cumsum(heavy[family].background, axis=1)[:, 20:-1],
            np.cumsum(table.background, axis=1)[:, 20:-1],
            rtol=0.35,
            err_msg=family,
        )
