"""Several scores, and several channels, against optima found by direct search over Gaussians' integrals."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from darksieve.evaluation.boundaries import Boundaries
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.comparisons import (
    ChoiceYields,
    choose_global_threshold,
    compare_choices,
    count_choices,
    global_thresholds,
)
from darksieve.evaluation.joint_channels import choose_channels
from darksieve.evaluation.joint_cuts import choose_jointly, joint_categories
from darksieve.evaluation.objectives import make_objective
from darksieve.evaluation.robustness import shifts_of

LOW, HIGH, SIGMA, EFFICIENCY = 0.5, 3.0, 0.02, 0.4
MASSES = np.linspace(0.7, 2.8, 8)
INSIDE = norm.cdf(2) - norm.cdf(-2)
LIMIT = make_objective("expected_limit_sidebands")


@dataclass(frozen=True)
class Scored:
    key: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    mass: np.ndarray
    observable: np.ndarray
    score: np.ndarray


def case_of(separations, *, in_window, n_signal=20_000, n_background=150_000, seed=0, slope=0.0):
    """Independent Gaussian scores N(d,1) against N(0,1); returns candidates of the first, and all columns."""
    rng = np.random.default_rng(seed)
    mass = rng.uniform(LOW, HIGH, n_signal)
    observable = np.concatenate(
        [mass + SIGMA * rng.normal(size=n_signal), rng.uniform(LOW - 0.2, HIGH + 0.2, n_background)]
    )
    label = np.repeat([1.0, 0.0], [n_signal, n_background])
    distance = 1 + slope * (observable - LOW)
    columns = np.stack([rng.normal(size=len(label)) + label * d * distance for d in separations], axis=1)
    width = HIGH - LOW + 0.4
    scored = Scored(
        key=rng.integers(0, 2**63, len(label)).astype(np.uint64),
        label=label,
        weight=np.where(
            label == 1, EFFICIENCY * (HIGH - LOW) / n_signal, in_window * width / (4 * SIGMA) / n_background
        ),
        mass=np.where(label == 1, np.concatenate([mass, np.zeros(n_background)]), np.nan),
        observable=observable,
        score=columns[:, 0],
    )
    return scored, columns


def chooser_of(scored, **options):
    settings = {"limit": LIMIT, "mass_range": (LOW, HIGH), "n_bootstrap": 0} | options
    return Chooser.of(scored, MASSES, np.full(len(MASSES), SIGMA), **settings)


def test_cuts_on_two_scores_reach_the_joint_optimum():
    scored, columns = case_of([1.2, 1.6], in_window=1e4)
    chooser = chooser_of(scored)
    rows = chooser.rows.without(0)
    found = choose_jointly(
        rows, columns, chooser.nodes, chooser.node_width, (LOW, HIGH), LIMIT, 1, chooser.grid, chooser.span
    )

    def limit(x):
        s = EFFICIENCY * INSIDE * norm.sf(x[0] - 1.2) * norm.sf(x[1] - 1.6)
        return float(LIMIT(np.array([s]), np.array([1e4 * norm.sf(x[0]) * norm.sf(x[1])])))

    best = minimize(limit, [1.0, 1.0], method="Nelder-Mead").fun
    alone = min(
        minimize(lambda x, i=i: limit([x[0], -9] if i == 0 else [-9, x[0]]), [1.0], method="Nelder-Mead").fun
        for i in (0, 1)
    )
    cuts = [float(np.interp(1.75, chooser.grid, edges[:, 0])) for edges in found.boundaries]
    assert limit(cuts) < 1.015 * best
    assert best < 0.85 * alone
    assert list(found.value) == sorted(found.value, reverse=True)


def test_a_score_without_information_is_not_cut_on():
    scored, columns = case_of([0.0, 1.6], in_window=1e4, seed=1)
    chooser = chooser_of(scored)
    found = choose_jointly(
        chooser.rows.without(0),
        columns,
        chooser.nodes,
        chooser.node_width,
        (LOW, HIGH),
        LIMIT,
        1,
        chooser.grid,
        chooser.span,
    )
    assert found.boundaries[1] is not None
    if found.boundaries[0] is not None:  # a cut that keeps nearly all does no harm
        assert norm.sf(found.boundaries[0].mean()) > 0.9


@pytest.mark.slow
def test_a_preselection_and_categories_are_better_together_than_categories_alone():
    scored, columns = case_of([1.5, 1.2], in_window=1e4, seed=2)
    chooser = chooser_of(scored)
    options = ((LOW, HIGH), LIMIT, 3, chooser.grid, chooser.span)
    args = (chooser.rows.without(0), columns, chooser.nodes, chooser.node_width)
    found = choose_jointly(*args, *options)
    alone = choose_jointly(args[0], columns[:, 1:], *args[2:], *options)
    assert found.value[-1] < alone.value[-1] - 0.15
    category = joint_categories(found, chooser.grid, scored.observable, columns)
    assert set(np.unique(category)) == {0, 1, 2, 3}
    cut, purest = (
        Boundaries(chooser.grid, edges[:, -1:]).at(scored.observable)[:, 0] for edges in found.boundaries
    )
    assert (category[columns[:, 0] < cut] == 0).all()
    assert (category[(category > 0) & (columns[:, 1] >= purest)] == 3).all()


def test_channels_that_share_a_strength_are_chosen_together():
    # few events: a channel that has next to no background of its own lets the other one be purer
    choosers, units = {}, {"pure": 1.0, "rich": 1.0}
    truth = {"pure": (3.0, 30.0), "rich": (1.5, 300.0)}
    for i, (name, (d, b)) in enumerate(truth.items()):
        scored, _ = case_of([d], in_window=b, seed=5 + i)
        choosers[name] = chooser_of(scored)

    def limit(x):
        s = [EFFICIENCY * INSIDE * norm.sf(xi - d) for xi, (d, _) in zip(x, truth.values(), strict=True)]
        b = [n * norm.sf(xi) for xi, (_, n) in zip(x, truth.values(), strict=True)]
        return float(LIMIT(np.array(s), np.array(b)))

    best = minimize(limit, [1.5, 1.5], method="Nelder-Mead")
    found = choose_channels(choosers, LIMIT, 1, units, freedoms=(1,))
    cuts = [np.mean([np.interp(1.75, choosers[n].grid, c.boundaries[:, 0]) for c in found[n]]) for n in truth]
    assert limit(cuts) < 1.015 * best.fun


def test_many_events_leave_channels_where_they_are_alone():
    choosers = {
        name: chooser_of(case_of([1.5], in_window=1e5, seed=s)[0]) for name, s in (("a", 7), ("b", 8))
    }
    together = choose_channels(choosers, LIMIT, 1, {"a": 1.0, "b": 2.0}, freedoms=(1,))
    for name, chooser in choosers.items():
        for one, other in zip(together[name], chooser.choose(LIMIT, 1, freedoms=(1,)), strict=True):
            np.testing.assert_allclose(one.boundaries.mean(), other.boundaries.mean(), atol=0.06)


@pytest.fixture(scope="module")
def compared():
    scored, columns = case_of([1.0], in_window=1e4, seed=11, slope=0.4, n_background=200_000)
    chooser = chooser_of(scored, n_bootstrap=20, limit=make_objective("expected_limit"))
    thresholds, categories = chooser.choose(chooser.limit, 1), chooser.choose(chooser.limit, 4)
    rng = np.random.default_rng(3)
    rectangular = (columns[:, 0] + rng.normal(size=len(columns)))[:, None]
    cut = global_thresholds(chooser)
    counted = count_choices(
        chooser, thresholds=thresholds, categories=categories, global_cut=cut, rectangular=rectangular
    )
    yields = {name: ChoiceYields.of(one, 1.0) for name, one in counted.items()}
    comparison = compare_choices(yields, chooser.masses, chooser.limit, chooser.shortcut)
    return chooser, thresholds, cut, comparison


@pytest.mark.slow
def test_more_effort_gives_better_limits_at_every_mass(compared):
    *_, comparison = compared
    assert list(comparison.limits) == [
        "no_classifier",
        "rectangular",
        "global_threshold",
        "threshold",
        "categories",
    ]
    assert [(o.simpler, o.better) for o in comparison.orders] == [
        ("global_threshold", "threshold"),
        ("threshold", "categories"),
    ]
    assert all(order.p_value > 0.05 for order in comparison.orders)
    assert comparison.orders[1].p_value > 0.99
    for simpler, better in (
        ("no_classifier", "rectangular"),
        ("rectangular", "threshold"),
        ("threshold", "categories"),
    ):
        assert (comparison.limits[better] < comparison.limits[simpler]).all()


@pytest.mark.slow
def test_a_threshold_by_mass_truly_beats_a_global_one_where_the_score_improves_with_mass(compared):
    chooser, thresholds, cut, _ = compared

    def true_limits(cut):
        distance = 1 + 0.4 * (MASSES - LOW)
        s, b = EFFICIENCY * INSIDE * norm.sf(cut - distance), 1e4 * norm.sf(cut + 0 * distance)
        return LIMIT(s[:, None], b[:, None])

    by_mass = np.mean(
        [true_limits(np.interp(MASSES, chooser.grid, one.boundaries[:, 0])) for one in thresholds], axis=0
    )
    overall = np.mean([true_limits(one) for one in cut], axis=0)
    assert np.log(overall / by_mass).mean() > 0


@pytest.mark.slow
def test_errors_of_ratios_are_smaller_than_those_of_limits(compared):
    *_, comparison = compared
    for simpler in (
        "global_threshold",
        "threshold",
    ):  # over the next better one, which counts the same events
        error = comparison.ratio_errors[simpler]
        assert (error > 0).all()
        assert error.mean() < 1.2 * (comparison.errors[simpler] / comparison.limits[simpler]).mean()


def test_global_threshold_is_the_best_of_all_for_equal_masses():
    scored, _ = case_of([2.0], in_window=1e3, seed=4)
    chooser = chooser_of(scored)
    found = choose_global_threshold(chooser.tables[0], make_objective("punzi"))

    # G. Punzi's optimum of N(2,1) against N(0,1), 10³ events: S_min/ε = 46.90527 at 2.37439
    def merit(x):
        return float(make_objective("punzi")(np.array([norm.sf(x - 2)]), np.array([1e3 * norm.sf(x)])))

    assert merit(found) < 1.01 * 46.90527


@pytest.mark.slow
def test_uncertainties_move_limits_as_they_must(compared):
    chooser, thresholds, *_ = compared
    sizes = {"width": 0.05, "background": 0.1, "efficiency": 0.04}
    shifts = shifts_of(chooser, thresholds, chooser.limit, sizes)
    assert [(s.cause, np.sign(s.size)) for s in shifts] == [(c, sign) for c in sizes for sign in (-1, 1)]
    for shift in shifts:
        if shift.cause == "efficiency":
            np.testing.assert_allclose(shift.limit, 1 / (1 + shift.size), rtol=0.01)
        else:  # some hundred events: nearly Gaussian
            np.testing.assert_allclose(shift.limit, np.sqrt(1 + shift.size), rtol=0.012)
        assert (shift.rechosen < shift.limit * 1.003).all()
        assert np.abs(shift.kept_signal).max() < 0.1
    with pytest.raises(ValueError, match="width, background, efficiency"):
        shifts_of(chooser, thresholds, chooser.limit, {"luminosity": 0.1})
