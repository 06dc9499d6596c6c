"""One model of the background for every choice: where simulation ends, and where it says nothing."""

from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.comparisons import (
    ChoiceYields,
    compare_channels,
    compare_choices,
    count_choices,
    global_thresholds,
)
from darksieve.evaluation.objectives import make_objective
from darksieve.evaluation.tails import FEWEST
from darksieve.workflow.comparing import choices_of

LOW, HIGH, SIGMA, SEPARATION = 0.5, 3.0, 0.02, 1.5
MASSES = np.linspace(0.7, 2.8, 6)
LIMIT = make_objective("expected_limit_counting")


@dataclass(frozen=True)
class Scored:
    key: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    mass: np.ndarray
    observable: np.ndarray
    score: np.ndarray


def chooser_of(n_background, *, in_window=100.0, n_signal=20_000, seed=0, gap=None, n_bootstrap=20):
    """Gaussian scores N(1.5, 1) against N(0, 1); few simulated events stand for many, none in the gap."""
    rng = np.random.default_rng(seed)
    mass = rng.uniform(LOW, HIGH, n_signal)
    background = rng.uniform(LOW - 0.1, HIGH + 0.1, n_background)
    if gap is not None:
        background = background[np.abs(background - gap[0]) > gap[1]]
    n = len(background)
    label = np.repeat([1.0, 0.0], [n_signal, n])
    per_row = in_window * (HIGH - LOW + 0.2) / (4 * SIGMA) / n_background
    scored = Scored(
        key=rng.integers(0, 2**63, n_signal + n).astype(np.uint64),
        label=label,
        weight=np.where(label == 1, 0.4 * (HIGH - LOW) / n_signal, per_row),
        mass=np.concatenate([mass, np.full(n, np.nan)]),
        observable=np.concatenate([mass + SIGMA * rng.normal(size=n_signal), background]),
        score=rng.normal(size=n_signal + n) + SEPARATION * label,
    )
    return Chooser.of(
        scored, MASSES, np.full(len(MASSES), SIGMA), limit=LIMIT, mass_range=(LOW, HIGH),
        n_bootstrap=n_bootstrap,
    )  # fmt: skip


@pytest.fixture(scope="module")
def thin():
    return chooser_of(2500)


@pytest.mark.parametrize("cut", [2.6, 2.8, 3.0])
def test_a_threshold_beyond_the_simulation_has_the_background_of_the_tail_not_of_an_empty_window(thin, cut):
    counted = thin.count_thresholds([cut, cut])
    assert counted.beyond.any()
    assert not counted.unknown.any()
    truth = 100 * norm.sf(cut)
    ratio = np.exp(np.log(counted.expected[:, 0] / truth).mean())
    # 2500 events tell the tail to a factor of three at 3 σ, where three pass
    assert 1 / 3 < ratio < 3
    assert (counted.expected > 0).all()


def test_a_tighter_threshold_never_expects_more(thin):
    tails = [thin.count_thresholds([cut, cut]).tails[:, :, 0] for cut in (2.6, 3.0, 3.4, 3.8)]
    for looser, tighter in pairwise(tails):
        assert (tighter <= looser * (1 + 1e-9)).all()


def test_what_is_modelled_has_errors_of_the_simulation(thin):
    counted = thin.count_thresholds([2.8, 2.8])
    assert counted.beyond.all()
    spread = np.log(counted.expected_replicates[:, :, 0]).std(axis=0)
    # a dozen events of 2500 are beyond 2.6: their number alone is known to a quarter
    assert (spread > 0.1).all()
    assert (spread < 2).all()


def test_one_score_for_all_masses_is_the_same_as_a_curve_that_does_not_move(thin):
    from darksieve.evaluation.boundaries import Boundaries

    cut = 1.0
    flat = Boundaries(thin.grid, np.full((len(thin.grid), 1), cut))
    rows = thin.rows
    edges = np.full((len(thin.nodes), 1), norm.sf(cut - SEPARATION))
    by_curve = thin.count_categories(
        flat.category(rows.signal_observable, rows.signal_score),
        flat.category(rows.observable, rows.score), 1, edges,
    )  # fmt: skip
    by_score = thin.count_thresholds([cut, cut])
    np.testing.assert_allclose(by_curve.efficiency, by_score.efficiency)
    # the tail's edge is known to the curves of signal quantiles
    np.testing.assert_allclose(by_curve.expected, by_score.expected, rtol=0.1)


def test_a_window_of_many_light_events_and_no_heavy_one_is_not_known():
    # 40 000 light events are 2 of 100 expected in a window; 2500 heavy ones are the others
    rng = np.random.default_rng(7)
    n = {"signal": 20_000, "heavy": 2500, "light": 40_000}
    of = np.repeat([0, 1, 2], list(n.values()))
    mass = np.where(of == 0, rng.uniform(LOW, HIGH, len(of)), np.nan)
    per_event = (HIGH - LOW + 0.2) / (4 * SIGMA)
    scored = Scored(
        key=rng.integers(0, 2**63, len(of)).astype(np.uint64),
        label=(of == 0).astype(float),
        weight=np.array(
            [0.4 * (HIGH - LOW) / n["signal"], 100 * per_event / n["heavy"], 2 * per_event / n["light"]]
        )[of],
        mass=mass,
        observable=np.where(
            of == 0, mass + SIGMA * rng.normal(size=len(of)), rng.uniform(LOW - 0.1, HIGH + 0.1, len(of))
        ),
        score=rng.normal(size=len(of)) + SEPARATION * (of == 0),
    )
    chooser = Chooser.of(
        scored, MASSES, np.full(len(MASSES), SIGMA), limit=LIMIT, mass_range=(LOW, HIGH), n_bootstrap=0
    )
    counted = chooser.count_thresholds([2.8, 2.8])
    assert counted.beyond.all()
    ratio = np.exp(np.log(counted.expected[:, 0] / (102 * norm.sf(2.8))).mean())
    assert 1 / 3 < ratio < 3


def test_rectangular_cuts_that_few_pass_have_the_share_that_passes_at_any_mass(thin):
    rows = thin.rows
    rng = np.random.default_rng(3)
    passing = rng.permutation(len(rows.row)) < 30  # of 2500 at any mass
    every = np.ones(len(rows.signal_row), np.int8)
    counted = thin.count_categories(every, passing.astype(np.int8), 1)
    assert counted.beyond.any()
    assert not counted.unknown.any()
    expected = 100 * 30 / len(rows.row)
    at = counted.beyond[:, 0]
    # the total of a window of 30 events is known to 18 %
    np.testing.assert_allclose(counted.expected[at, 0], expected, rtol=0.6)
    spread = counted.expected_replicates[:, at, 0].std(axis=0) / counted.expected[at, 0]
    assert (spread > 0.1).all()


def test_rectangular_cuts_that_hardly_any_event_passes_are_not_known(thin):
    rows = thin.rows
    passing = np.arange(len(rows.row)) < FEWEST - 1
    every = np.ones(len(rows.signal_row), np.int8)
    counted = thin.count_categories(every, passing.astype(np.int8), 1)
    assert counted.unknown.any()
    assert np.array_equal(counted.unknown, counted.beyond)
    choices = {"no_classifier": thin.count_all(), "rectangular": counted}
    yields = {name: ChoiceYields.of(one, 1.0) for name, one in choices.items()}
    found = compare_choices(yields, MASSES, LIMIT, LIMIT)
    assert np.isfinite(found.limits["no_classifier"]).all()
    assert np.array_equal(np.isnan(found.limits["rectangular"]), counted.unknown[:, 0])


def test_where_no_event_is_near_no_choice_has_a_limit_and_the_order_is_not_judged():
    chooser = chooser_of(3000, gap=(MASSES[2], 0.9), n_bootstrap=8)
    thresholds, categories = chooser.choose(LIMIT, 1, freedoms=(1,)), chooser.choose(LIMIT, 2, freedoms=(1,))
    counted = count_choices(
        chooser, thresholds=thresholds, categories=categories, global_cut=global_thresholds(chooser)
    )
    yields = {name: ChoiceYields.of(one, 1.0) for name, one in counted.items()}
    found = compare_choices(yields, MASSES, LIMIT, LIMIT)
    for name in ("global_threshold", "threshold", "categories"):
        assert np.isnan(found.limits[name][2]), name
        assert np.isfinite(found.limits[name][[0, 5]]).all(), name
    for order in found.orders:
        assert np.isnan(order.excess[2])
        assert order.to_json()["judged"] < len(MASSES)


def test_channels_together_are_better_than_each_and_equal_ones_by_their_number():
    one = chooser_of(40_000, in_window=1e4, n_bootstrap=6)
    yields = {
        "no_classifier": ChoiceYields.of(one.count_all(), 1.0),
        "global_threshold": ChoiceYields.of(one.count_thresholds([1.0, 1.0]), 1.0),
    }
    alone = compare_choices(yields, MASSES, LIMIT, LIMIT)
    half = {name: y.placed(np.arange(3), 3) for name, y in _first(yields, 3).items()}
    together = compare_channels({"a": (MASSES, yields), "b": (MASSES[:3], half)}, LIMIT, LIMIT)
    for name, limits in together.limits.items():
        # the information of two equal channels adds up: 1/√2; beyond its range a channel says nothing
        np.testing.assert_allclose(limits[:3], alone.limits[name][:3] / np.sqrt(2), rtol=0.02)
        np.testing.assert_allclose(limits[3:], alone.limits[name][3:], rtol=1e-6)


def _first(yields, n):
    return {
        name: ChoiceYields(
            y.signal[:n], y.background[:n], y.drawn_signal[:, :n], y.drawn_background[:, :n], y.tails[:, :n],
            y.known[:n],
        )
        for name, y in yields.items()
    }  # fmt: skip


def test_simple_choices_are_of_all_candidates_where_earlier_cuts_left_some():
    """Earlier cuts halve the background: what no classifier gives knows nothing of them."""
    everything, left = chooser_of(40_000, in_window=200.0), chooser_of(20_000, in_window=100.0, seed=1)
    table = SimpleNamespace(variables={}, label=np.zeros(0))
    thresholds, categories = (left.choose(LIMIT, n, freedoms=(1,)) for n in (1, 2))
    alone, beside = (
        choices_of(left, table, thresholds, categories, 1.0, (), uncut) for uncut in (None, everything)
    )
    assert list(beside.yields) == list(alone.yields)
    ratio = beside.yields["no_classifier"].background / alone.yields["no_classifier"].background
    np.testing.assert_allclose(ratio, 2.0, rtol=0.2)  # windows of some hundreds of events
    for name in ("global_threshold", "threshold", "categories"):
        np.testing.assert_array_equal(beside.yields[name].background, alone.yields[name].background)
